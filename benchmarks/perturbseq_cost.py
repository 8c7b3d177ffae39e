"""What `tuner run` and `tuner analyse` take: ``python -m benchmarks.perturbseq_cost [--cells N]``.

A screen is simulated, tuned (40 trials) and analysed with the shipped options; each command is a
process of its own. CPU seconds are those of it and its children, memory is the peak of the largest.
The simulation is one too: a process begins with the peak of the one that it was forked from.
``--set analysis.KEY=VALUE ...`` changes the analysis.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import yaml
from tuner_plugins.perturbseq.simulate import CONTROL, simulate


def config_of(folder: Path, cells: int, genes: int, perturbations: int) -> Path:
    """Simulate a screen and write a configuration for it."""
    sizes = {"cells": cells, "genes": genes, "perturbations": perturbations}
    paths = simulate(folder, seed=1, **sizes)
    covariates = ["total_counts", "pct_counts_mt", "S_score", "G2M_score"]
    data: dict[str, Any] = {"counts": str(paths["screen"]), "control": [CONTROL], "guide": "guide"}
    data |= {"batch": "batch", "covariates": covariates, "genes": {"min_cells": 10}}
    sections = {
        "study": {"name": "cost", "trials": 40, "seed": 0},
        "plugin": "elasticnet",
        "data": data,
        "analysis": {"gene_sets": str(paths["gene_sets"])},
        "objective": "r2",
    }
    path = folder / "cost.yaml"
    path.write_text(yaml.safe_dump(sections))
    return path


def cost(command: list[str], folder: Path) -> tuple[float, float]:
    """Return CPU seconds and GB of a command."""
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command)} failed")
    return used.ru_utime + used.ru_stime, used.ru_maxrss / 2**20


def main() -> None:
    """Measure both commands; print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=int, default=20_000)
    parser.add_argument("--genes", type=int, default=2000)
    parser.add_argument("--perturbations", type=int, default=50)
    parser.add_argument("--set", action="append", default=[], metavar="analysis.KEY=VALUE")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        with ProcessPoolExecutor(1, get_context("spawn")) as apart:
            sizes = given.cells, given.genes, given.perturbations
            config = apart.submit(config_of, folder, *sizes).result()
        changed = [word for one in given.set for word in ("--set", one)]
        for verb, options in (("run", []), ("analyse", ["-o", "report", *changed])):
            command = [sys.executable, "-m", "tuner", verb, str(config), *options]
            seconds, memory = cost(command, folder)
            print(f"tuner {verb:<8} {seconds:8.1f} s of CPU  {memory:6.2f} GB", flush=True)


if __name__ == "__main__":
    main()
