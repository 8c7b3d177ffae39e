"""Run many quick trials: time per trial at the start and the end, and the memory held.

    python -m benchmarks.endurance [--trials N] [--sampler NAME ...] [--untracked]

A line a sampler: milliseconds per trial over the second and the last twentieth of the trials, their
ratio, the coordinator's resident memory after these, and whether storage and store agree. The
coordinator runs in a process of its own, with two workers.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import optuna
import psutil

from benchmarks.overhead_plugin import install

PART = 20


class Watch:
    """Follows a run: notes the moment and the resident memory at each trial."""

    def __init__(self) -> None:
        self.moments: list[float] = []
        self.resident: list[int] = []
        self._process = psutil.Process()

    def trial(self, record: object, best: object) -> None:
        """Note a trial."""
        self.moments.append(time.perf_counter())
        self.resident.append(self._process.memory_info().rss)

    def begin(self, name: str, total: int, records: Sequence[object]) -> None:
        """Nothing to note."""

    def beat(self) -> None:
        """Nothing to note."""

    def phase(self, name: str, detail: str = "") -> None:
        """Nothing to note."""

    def note(self, text: str) -> None:
        """Nothing to note."""

    def end(self) -> None:
        """Nothing to note."""


def run(trials: int, sampler: str, tracked: bool) -> None:
    """Run the study in the current folder; print what was noted as JSON."""
    from tuner.config.load import load_config
    from tuner.run import session

    x = {"low": -5.0, "high": 5.0}
    config = {
        "plugin": "nothing",
        "study": {"trials": trials, "storage": "sqlite:///study.db", "sampler": sampler},
        "search_space": {"x": {**x, "step": 10.0 / (2 * trials)} if sampler == "grid" else x},
        "objective": "value",
        "workers": 2,
        "tracking": {"uri": f"sqlite:///{Path.cwd()}/mlflow.db", "enabled": tracked},
    }
    Path("study.yaml").write_text(json.dumps(config))
    watch = Watch()
    result = session.run(load_config(Path("study.yaml")), watch, lambda: False)
    part = trials // PART

    def pace(last: int) -> float:
        return 1000 * (watch.moments[last - 1] - watch.moments[last - part]) / (part - 1)

    ends = 2 * part, len(watch.moments)
    noted = {
        "ms": [pace(end) for end in ends],
        "MB": [watch.resident[end - 1] / 1e6 for end in ends],
        "problems": list(result.tracking.problems),
    }
    print(json.dumps(noted))


def agreement(tracked: bool) -> str:
    """Return how many trials the storage and the store hold, by state."""
    study = optuna.load_study(study_name="study", storage="sqlite:///study.db")
    trials = study.get_trials(deepcopy=False)
    states = Counter(trial.state.name for trial in trials)
    told = f"{len({trial.number for trial in trials})} trials {dict(states)}"
    if tracked:
        import sqlite3

        with sqlite3.connect("mlflow.db") as store:
            rows = store.execute("select status, count(*) from runs group by status").fetchall()
        told += f"; MLflow's runs {dict(rows)}"
    return told


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--sampler", nargs="+", default=["random", "grid", "tpe"])
    parser.add_argument("--untracked", action="store_true", help="without MLflow")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.here:
        run(given.trials, given.sampler[0], not given.untracked)
        return
    root = Path(__file__).resolve().parents[1]
    for sampler in given.sampler:
        with tempfile.TemporaryDirectory() as name:
            os.chdir(name)
            install(Path(name))
            os.environ["PYTHONPATH"] = os.pathsep.join([str(root), os.environ["PYTHONPATH"]])
            command = [sys.executable, "-m", "benchmarks.endurance", "--here"]
            command += ["--trials", str(given.trials), "--sampler", sampler]
            command += ["--untracked"] * given.untracked
            done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
            noted = json.loads(done.stdout.splitlines()[-1])
            (first, last), (before, after) = noted["ms"], noted["MB"]
            print(
                f"{sampler:8} {first:6.2f} -> {last:6.2f} ms a trial ({last / first:.2f}x), "
                f"{before:.0f} -> {after:.0f} MB; {agreement(not given.untracked)}; "
                f"{noted['problems'] or 'no problem'}",
                flush=True,
            )
            os.chdir(root)


if __name__ == "__main__":
    main()
