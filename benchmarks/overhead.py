"""What the engine costs: time per trial beyond the plug-in's own work.

    python -m benchmarks.overhead [--json FILE] [--trials N]

A function that takes no time is tuned three ways, in turns, on SQLite files, by the same sampler:

optuna          ``study.optimize`` of the function.
optuna_mlflow   ``ask``, the function, ``tell``, and a child run a trial logged by hand.
tuner           this engine's coordinator with a worker process, tracking on.

Milliseconds per trial, means over the trials of the second half: all that the engine does is in,
now and then a stall too. ``ratio`` is tuner over optuna.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import optuna

REPEATS = 3
LOW, HIGH = -5.0, 5.0


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    """Work in an empty folder."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as name:
        os.chdir(name)
        try:
            yield Path(name)
        finally:
            os.chdir(before)


def by_hand(trials: int, mlflow_too: bool) -> list[float]:
    """Return the moments at which trials ended."""
    study = optuna.create_study(
        storage="sqlite:///study.db",
        sampler=optuna.samplers.TPESampler(seed=0),
        direction="maximize",
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


def by_engine(trials: int) -> list[float]:
    """Return when each trial ended: a worker process runs it, MLflow is written to."""
    from benchmarks.overhead_plugin import install
    from tuner.config.load import load_config
    from tuner.records import TrialRecord
    from tuner.run import session

    moments: list[float] = []

    class Moments:
        """Notes when trials end."""

        def begin(self, name: str, total: int, records: Sequence[TrialRecord]) -> None:
            """Nothing to note."""

        def trial(self, record: TrialRecord, best: TrialRecord | None) -> None:
            """Note the moment."""
            moments.append(time.perf_counter())

        def beat(self) -> None:
            """Nothing to note."""

        def phase(self, name: str, detail: str = "") -> None:
            """Nothing to note."""

        def note(self, text: str) -> None:
            """Nothing to note."""

        def end(self) -> None:
            """Nothing to note."""

    install(Path.cwd())
    config = {
        "plugin": "nothing",
        "study": {"trials": trials, "storage": "sqlite:///study.db"},
        "search_space": {"x": {"low": LOW, "high": HIGH}},
        "objective": "value",
        "tracking": {"uri": f"sqlite:///{Path.cwd()}/mlflow.db"},
    }
    Path("study.yaml").write_text(json.dumps(config))
    session.run(load_config(Path("study.yaml")), Moments(), lambda: False)
    return moments


def per_trial(moments: list[float]) -> float:
    """Return milliseconds per trial, the mean over the second half."""
    half = moments[len(moments) // 2 :]
    return 1000 * (half[-1] - half[0]) / (len(half) - 1)


def measure(trials: int) -> dict[str, float]:
    """Run all three in turns; return the medians of their milliseconds per trial."""
    ways = {
        "optuna": lambda: by_hand(trials, mlflow_too=False),
        "optuna_mlflow": lambda: by_hand(trials, mlflow_too=True),
        "tuner": lambda: by_engine(trials),
    }
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(REPEATS):
        for name, way in ways.items():
            with folder():
                found[name].append(per_trial(way()))
    medians = {name: statistics.median(values) for name, values in found.items()}
    paired = [ours / raw for ours, raw in zip(found["tuner"], found["optuna"], strict=True)]
    return {**medians, "ratio": statistics.median(paired)}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, help="write the figures here too")
    parser.add_argument("--trials", type=int, default=100)
    given = parser.parse_args(arguments)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    results = measure(given.trials)
    for name in ("optuna", "optuna_mlflow", "tuner"):
        print(f"{name:14} {results[name]:8.1f} ms per trial")
    print(f"{'tuner / optuna':14} {results['ratio']:8.2f}")
    if given.json:
        given.json.write_text(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
