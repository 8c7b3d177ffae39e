"""What the engine costs: time per trial beyond the plug-in's own work.

    python -m benchmarks.overhead [--json FILE] [--trials N] [--sampler NAME] [--repeats N]

A function that takes no time is tuned in several ways, in turns, each in a process of its own:

optuna          ``study.optimize`` of the function, SQLite.
optuna_mlflow   ``ask``, the function, ``tell``, and a child run a trial logged by hand; SQLite.
tuner           this engine's coordinator with a worker process, tracking on; SQLite.
tuner_two       the same with two workers, untracked, its files in memory where there is /dev/shm.

``wall``: milliseconds per trial, means over the trials of the second half: all that the engine does
is in, now and then a stall too. ``cpu``: those of all its processes together, by the difference
between a long study and a short one: what starting takes is not in. ``drain``: seconds that the
command goes on for the tracking store's sake, once all else is done. Least of the repeats, for what
else runs on the machine only adds; ratios are medians of adjacent pairs.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna

REPEATS = 3
LOW, HIGH = -5.0, 5.0
WAYS = ("optuna", "optuna_mlflow", "tuner", "tuner_two")
MEMORY = Path("/dev/shm")
ROOT = Path(__file__).resolve().parents[1]
DRAINING = "writing to the tracking store"


def by_hand(trials: int, sampler: str, mlflow_too: bool) -> list[float]:
    """Return the moments at which trials ended."""
    samplers = {"tpe": optuna.samplers.TPESampler, "random": optuna.samplers.RandomSampler}
    study = optuna.create_study(
        storage="sqlite:///study.db", sampler=samplers[sampler](seed=0), direction="maximize"
    )
    space: dict[str, Any] = {"x": optuna.distributions.FloatDistribution(LOW, HIGH)}
    client = parent = None
    if mlflow_too:
        from mlflow.tracking import MlflowClient

        client = MlflowClient(f"sqlite:///{Path.cwd()}/mlflow.db")
        experiment = client.create_experiment("by hand")
        parent = client.create_run(experiment)
    moments = []
    if client is None:

        def objective(trial: optuna.Trial) -> float:
            return -(trial.suggest_float("x", LOW, HIGH) ** 2)

        study.optimize(
            objective,
            n_trials=trials,
            callbacks=[lambda study, trial: moments.append(time.perf_counter())],
        )
        return moments
    for _ in range(trials):
        trial = study.ask(space)
        value = -(trial.params["x"] ** 2)
        study.tell(trial, value)
        if parent is not None:
            run = client.create_run(
                parent.info.experiment_id, tags={"mlflow.parentRunId": parent.info.run_id}
            )
            client.log_param(run.info.run_id, "x", trial.params["x"])
            for name in ("value", "time", "score"):
                client.log_metric(run.info.run_id, name, value)
            client.set_terminated(run.info.run_id)
        moments.append(time.perf_counter())
    return moments


class Moments:
    """Notes when trials end, and when the command waits for the tracking store."""

    def __init__(self) -> None:
        self.trials: list[float] = []
        self.waits = self.ended = 0.0

    def begin(self, name: str, total: int, records: Sequence[object]) -> None:
        """Nothing to note."""

    def trial(self, record: object, best: object) -> None:
        """Note the moment."""
        self.trials.append(time.perf_counter())

    def beat(self) -> None:
        """Nothing to note."""

    def phase(self, name: str, detail: str = "") -> None:
        """Note when the tracking store is waited for."""
        if name == DRAINING:
            self.waits = time.perf_counter()

    def note(self, text: str) -> None:
        """Nothing to note."""

    def end(self) -> None:
        """Note the end."""
        self.ended = time.perf_counter()


def by_engine(trials: int, sampler: str, workers: int, tracked: bool) -> Moments:
    """Return when each trial ended: worker processes run it, MLflow is written to."""
    from benchmarks.overhead_plugin import install
    from tuner.config.load import load_config
    from tuner.run import session

    moments = Moments()
    install(Path.cwd())
    config = {
        "plugin": "nothing",
        "study": {"trials": trials, "storage": "sqlite:///study.db", "sampler": sampler},
        "search_space": {"x": {"low": LOW, "high": HIGH}},
        "objective": "value",
        "workers": workers,
        "tracking": {"uri": f"sqlite:///{Path.cwd()}/mlflow.db", "enabled": tracked},
    }
    Path("study.yaml").write_text(json.dumps(config))
    session.run(load_config(Path("study.yaml")), moments, lambda: False)
    return moments


def run_here(way: str, trials: int, sampler: str) -> dict[str, float]:
    """Run one way in this process and folder; return what it took."""
    drain = 0.0
    if way.startswith("optuna"):
        ended = by_hand(trials, sampler, mlflow_too=way == "optuna_mlflow")
    else:
        alone = way == "tuner"
        noted = by_engine(trials, sampler, workers=1 if alone else 2, tracked=alone)
        ended, drain = noted.trials, noted.ended - noted.waits if alone else 0.0
    half = ended[len(ended) // 2 :]
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return {
        "wall": 1000 * (half[-1] - half[0]) / (len(half) - 1),
        "cpu": 1000 * sum(usage.ru_utime + usage.ru_stime for usage in used),
        "drain": drain,
    }


def one(way: str, trials: int, sampler: str) -> dict[str, float]:
    """Run one way in a process and a folder of its own."""
    home = MEMORY if way == "tuner_two" and MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(dir=home) as folder:
        paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        command = [sys.executable, "-m", "benchmarks.overhead", "--here", way]
        command += ["--trials", str(trials), "--sampler", sampler]
        environment = {**os.environ, "PYTHONPATH": paths}
        done = subprocess.run(
            command, cwd=folder, env=environment, stdout=subprocess.PIPE, check=True, text=True
        )
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def measure(trials: int, sampler: str, repeats: int) -> dict[str, dict[str, float]]:
    """Run all ways in turns; return what each took per trial."""
    found: dict[str, list[Mapping[str, float]]] = {way: [] for way in WAYS}
    short = max(20, trials // 4)
    for _ in range(repeats):
        for way in WAYS:
            brief, whole = one(way, short, sampler), one(way, trials, sampler)
            cpu = (whole["cpu"] - brief["cpu"]) / (trials - short)
            found[way].append({**whole, "cpu": cpu})
    least = {
        way: {name: min(row[name] for row in rows) for name in rows[0]}
        for way, rows in found.items()
    }
    for way in WAYS[1:]:
        for name in ("wall", "cpu"):
            pairs = zip(found[way], found["optuna"], strict=True)
            ratios = [ours[name] / raw[name] for ours, raw in pairs]
            least[way][f"{name}_ratio"] = statistics.median(ratios)
    return least


def main(arguments: Sequence[str] | None = None) -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, help="write the figures here too")
    parser.add_argument("--trials", type=int, default=300)
    parser.add_argument("--repeats", type=int, default=REPEATS)
    parser.add_argument("--sampler", choices=("tpe", "random"), default="tpe")
    parser.add_argument("--here", choices=WAYS, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    if given.here:
        print(json.dumps(run_here(given.here, given.trials, given.sampler)))
        return
    results = measure(given.trials, given.sampler, given.repeats)
    for way, row in results.items():
        line = f"{way:14} {row['wall']:7.1f} ms wall {row['cpu']:7.1f} ms CPU a trial"
        if way != "optuna":
            line += f"  ({row['wall_ratio']:.2f} and {row['cpu_ratio']:.2f} of optuna's)"
        line += f"  {1000 / row['wall']:.0f} trials/s" if way == "tuner_two" else ""
        print(line + (f"  drain {row['drain']:.1f} s" if way == "tuner" else ""))
    if given.json:
        given.json.write_text(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
