"""Inject faults of every kind and print what they did: `make faults`.

    python -m tests.faults [--seed N] [--scale X] [--only WORDS]

A table with a line a kind: faults that were injected, and the harm that they did. Exit code 1 where
there was any.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from rich.table import Table

from tests.conftest import install_toy
from tests.faults import clusters, files, kills, misbehaviour, partners, resources, services
from tests.faults.toll import COLUMNS, Toll
from tests.fork import preload
from tuner.report.terminal import make_console

Kind = Callable[[Path, int, int], Toll]

BOTH = (clusters.POSTGRES, clusters.MLFLOW)
ON_DASK: tuple[tuple[str, tuple[str, ...], int, int], ...] = (
    (clusters.WORKER, BOTH, 60, 20),
    (clusters.NANNY, BOTH, 60, 15),
    (clusters.SCHEDULER, BOTH[:1], 60, 15),  # the study is started again each time
    (clusters.POSTGRES, BOTH[:1], 60, 15),
    (clusters.MLFLOW, BOTH, 200, 15),  # which takes long to start again
)
"""Part, servers that studies use, their trials, and how often the part is killed."""

KINDS: tuple[tuple[str, Kind, int], ...] = (
    ("coordinator killed", kills.kills_of_coordinators, 80),
    (
        "coordinator killed, tracked",
        lambda folder, seed, count: kills.kills_of_coordinators(folder, seed, count, tracked=True),
        20,
    ),
    ("worker killed", kills.kills_of_parts, 40),
    (
        "tracking process killed",
        lambda folder, seed, count: kills.kills_of_parts(folder, seed, count, tracked=True),
        10,
    ),
    ("plug-in misbehaves", misbehaviour.misbehaving_plugins, 100),
    ("disk full", resources.full_disk, 40),
    ("small or read-only disk", resources.small_disks, 20),
    ("no room for results", resources.full_results, 16),
    ("clock jumps", resources.jumping_clock, 20),
    ("several coordinators", resources.several_coordinators, 20),
    ("several, PostgreSQL", services.several_on_postgres, 10),
    ("coordinator stopped", resources.sleeping_coordinator, 20),
    ("MLflow server fails", services.faulty_mlflow_server, 5),
    ("MLflow server absent", services.absent_mlflow_server, 4),
    ("PostgreSQL restarts", services.restarted_postgres, 10),
    *(
        (
            f"{part} killed, Dask",
            partial(clusters.kills_on_dask, parts=(part,), servers=servers, wanted=wanted),
            often,
        )
        for part, servers, wanted, often in ON_DASK
    ),
    ("coordinator killed, Dask", clusters.coordinators_on_dask, 20),
    ("partner killed", partners.partners_killed, 20),
    ("leader killed, partners", partners.leaders_killed, 20),
    ("PostgreSQL restarts, partners", partners.restarted_postgres, 10),
    *((f"damaged {name}", _damaged, 80) for name, _damaged in files.BY_FORMAT.items()),
)
"""Name, what injects faults of the kind, and how often it does so at scale 1."""


def main() -> int:
    """Run all kinds; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scale", type=float, default=1.0, help="multiply the number of faults")
    parser.add_argument("--only", default="", help="kinds whose name contains this")
    options = parser.parse_args()
    console = make_console()
    table = Table(title="faults injected, and the harm done")
    for column in ("kind", *COLUMNS, "minutes"):
        table.add_column(column.replace("_", " "), justify="left" if column == "kind" else "right")
    total = Toll()
    with tempfile.TemporaryDirectory(prefix="tuner-faults-") as name:
        place = Path(name).resolve()
        (place / "site").mkdir()
        install_toy(place / "site")
        sys.path.insert(0, str(place / "site"))
        paths = [str(place / "site"), os.environ.get("PYTHONPATH", "")]
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
        preload()
        for kind, inject, count in KINDS:
            if options.only not in kind:
                continue
            begun = time.monotonic()
            folder = place / kind.replace(" ", "-")
            folder.mkdir()
            toll = inject(folder, options.seed, max(1, round(options.scale * count)))
            minutes = f"{(time.monotonic() - begun) / 60:.1f}"
            counts = [str(getattr(toll, column)) for column in COLUMNS]
            console.print(kind, *counts, minutes)
            for line in toll.details:
                console.print(line, markup=False, highlight=False, soft_wrap=True)
            table.add_row(kind, *counts, minutes)
            total.add(toll)
    table.add_section()
    table.add_row("all", *(str(getattr(total, column)) for column in COLUMNS), "")
    console.print(table)
    return 0 if total.harmless else 1


if __name__ == "__main__":
    sys.exit(main())
