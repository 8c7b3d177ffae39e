"""The exported script's first run, on an empty cache, beside its later ones.

    python -m benchmarks.first_run [--python PYTHON] [--repeats N] [--scale F] [--json FILE]

On simulated tracks of the three graded sizes, by an interpreter that need not have NumPy:

carried      the kernels compiled in the script (``export.kernels: both``)
source       C source alone, compiled by the first run
no compiler  C source alone, and nothing that compiles it

Each round runs all of them and a later run (``warm``), one after the other; ratios are taken within
a round. ``score``: what is left of a later run's score, which goes with the root of the time.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tuner_plugins.nmf.params import DEFAULTS

from benchmarks.nmf import Size, freeze, graded_sizes, print_table, script_command, simulate
from benchmarks.processes import run_process
from tuner.measure.stopwatch import machine

NO_COMPILER = {"PATH": "/nonexistent", "CC": ""}
KINDS: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "carried": ("both", {}),
    "source": ("source", {}),
    "no compiler": ("source", NO_COMPILER),
}
"""How the script is exported, and where it runs."""

Rows = Callable[[Path, Path, Size, str, int], list[Any]]


def empty_cache(work: Path) -> dict[str, str]:
    """Return the variables that name a cache where nothing is."""
    place = tempfile.mkdtemp(dir=work)
    return {"XDG_CACHE_HOME": place, "NUMBA_CACHE_DIR": place}


def first_runs(work: Path, folder: Path, size: Size, python: str, repeats: int) -> list[Any]:
    """Return a row for each kind of script."""
    scripts = {
        kernels: freeze(folder, size, DEFAULTS, work / f"{kernels}.py", kernels)
        for kernels, _ in KINDS.values()
    }
    out, kept = work / "out.npy", empty_cache(work)
    commands = {
        kernels: [python, *script_command(script, folder, size, out)[1:]]
        for kernels, script in scripts.items()
    }
    run_process(commands["both"], kept, out)
    seconds: dict[str, list[float]] = {name: [] for name in ("warm", *KINDS)}
    for _ in range(repeats):
        seconds["warm"].append(run_process(commands["both"], kept, out).wall)
        for name, (kernels, where) in KINDS.items():
            cold = {**empty_cache(work), **where}
            seconds[name].append(run_process(commands[kernels], cold, out).wall)
    return [_row(size.name, name, seconds[name], seconds["warm"]) for name in seconds]


def _row(what: str, name: str, found: Sequence[float], warm: Sequence[float]) -> dict[str, Any]:
    ratios = [a / b for a, b in zip(found, warm, strict=True)]
    ratio = statistics.median(ratios)
    return {
        "what": what,
        "run": name,
        "seconds": statistics.median(found),
        "from": min(found),
        "to": max(found),
        "ratio": ratio,
        "lowest": min(ratios),
        "highest": max(ratios),
        "score": math.sqrt(1 / ratio),
    }


def compare(description: str | None, rows_of: Rows, repeats: int) -> None:
    """Print a table for each graded size: the command line of this and of `floor`."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--python", default=sys.executable, help="who runs the scripts")
    parser.add_argument("--repeats", type=int, default=repeats, help="rounds")
    parser.add_argument("--scale", type=float, default=1.0, help="fraction of each region's length")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    given = parser.parse_args()
    print(machine())
    rows = []
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        sizes = graded_sizes(given.scale)
        folder = simulate(work / "data", 21, sizes, 13, "pileup")
        for size in sizes:
            found = rows_of(work, folder, size, given.python, given.repeats)
            print_table(size.name, found)
            rows += found
    if given.json:
        given.json.write_text(json.dumps(rows, indent=2))


if __name__ == "__main__":
    compare(__doc__, first_runs, 5)
