"""What peers do at the faults that `make faults` injects here.

    python -m benchmarks.faults [--optuna PYTHON] [--ray PYTHON] [--hydra PYTHON] [--limit SECONDS]

Each tuner runs 12 trials of a function that takes 0.3 s, at two faults: a trial misbehaves (it
raises, returns NaN, kills its process, sleeps for ever), and the program is killed with -9 in
mid-study and started again by the same command. A line each: trials that completed, that ran
again although they had completed, that stay RUNNING, and whether the program ended within its time.

PYTHON is an interpreter with the peer installed: ``optuna``; ``ray[tune]``; ``hydra-core``,
``hydra-optuna-sweeper``, ``sqlalchemy<2``, ``alembic<1.9`` and ``setuptools<80``. A peer whose
interpreter is not given is left out.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import tempfile
import textwrap
import time
from collections import Counter
from pathlib import Path

TRIALS = 12
FAULTS = ("none", "raise", "nan", "die", "hang")

FUNCTION = """
import os, sys, time

def value(x):
    with open(os.environ["LOG"], "a") as stream:
        stream.write(f"begun {x!r}\\n")
    time.sleep(0.3)
    fault = os.environ["FAULT"]
    if x > 3.0 and fault == "raise": raise ValueError("this trial is broken")
    if x > 3.0 and fault == "nan": return float("nan")
    if x > 3.0 and fault == "die": os.kill(os.getpid(), 9)
    if x > 3.0 and fault == "hang": time.sleep(3600)
    with open(os.environ["LOG"], "a") as stream:
        stream.write(f"ended {x!r}\\n")
    return -x * x
"""

OPTUNA = """
import optuna
study = optuna.create_study(storage="sqlite:///study.db", study_name="s", load_if_exists=True,
                            direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0))
left = TRIALS - len(study.get_trials(states=[optuna.trial.TrialState.COMPLETE]))
study.optimize(lambda trial: value(trial.suggest_float("x", -5, 5)), n_trials=left)
"""

OPTUNA_STATES = """
import collections, optuna
study = optuna.load_study(storage="sqlite:///study.db", study_name="s")
print(dict(collections.Counter(trial.state.name for trial in study.trials)))
"""

RAY = """
import os
from ray import tune
where = os.path.abspath("results")
def trainable(config): tune.report({"value": value(config["x"])})
if tune.Tuner.can_restore(where + "/s"):
    tuner = tune.Tuner.restore(where + "/s", trainable, resume_unfinished=True)
else:
    tuner = tune.Tuner(
        trainable, param_space={"x": tune.uniform(-5, 5)},
        tune_config=tune.TuneConfig(
            metric="value", mode="max", num_samples=TRIALS, max_concurrent_trials=1),
        run_config=tune.RunConfig(name="s", storage_path=where, verbose=0))
tuner.fit()
"""

RAY_STATES = """
import collections, json, glob
state = sorted(glob.glob("results/s/experiment_state-*.json"))[-1]
trials = [json.loads(trial[0]) for trial in json.load(open(state))["trial_data"]]
print(dict(collections.Counter(trial["status"] for trial in trials)))
"""

HYDRA = """
import hydra
@hydra.main(version_base=None, config_path=".", config_name="config")
def main(config): return value(config.x)
main()
"""

HYDRA_CONFIG = """
defaults: [{override hydra/sweeper: optuna}]
hydra:
  mode: MULTIRUN
  sweeper:
    storage: sqlite:///study.db
    study_name: s
    direction: maximize
    n_trials: 12
    n_jobs: 1
    params: {x: "interval(-5.0, 5.0)"}
x: 0.0
"""

PEERS = {
    "optuna": (OPTUNA, OPTUNA_STATES),
    "ray": (RAY, RAY_STATES),
    "hydra": (HYDRA, OPTUNA_STATES),
}


def run(python: str, folder: Path, fault: str, kill_after: float | None, limit: float) -> str:
    """Run the program in `folder` for at most `limit` seconds; return how it ended."""
    log, here = str(folder / "log.txt"), {"PYTHONPATH": str(folder), "RAY_DEDUP_LOGS": "0"}
    with (folder / "said.txt").open("ab") as said:
        process = subprocess.Popen(
            [python, "program.py"],
            cwd=folder,
            env={**os.environ, **here, "LOG": log, "FAULT": fault},
            stdout=said,
            stderr=said,
            start_new_session=True,
        )
    try:
        if kill_after is None:
            return f"exit code {process.wait(limit)}"
        _wait_for(Path(log), int(kill_after), limit)
        process.kill()
        return f"killed: {process.wait()}"
    except subprocess.TimeoutExpired:
        return f"no end within {limit:g} s"
    finally:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


def _wait_for(log: Path, ended: int, limit: float) -> None:
    until = time.monotonic() + limit
    while not log.exists() or log.read_text().count("ended") < ended:
        if time.monotonic() > until:
            raise RuntimeError("the program does not begin; see said.txt")
        time.sleep(0.05)


def report(python: str, peer: str, fault: str, killed: bool, limit: float) -> str:
    """Return one line of the table."""
    program, states = PEERS[peer]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        head = f"TRIALS = {TRIALS}\n"
        (folder / "program.py").write_text(textwrap.dedent(FUNCTION + head + program))
        (folder / "config.yaml").write_text(HYDRA_CONFIG)
        endings = [run(python, folder, fault, 5, limit)] if killed else []
        endings.append(run(python, folder, fault, None, limit))
        told = subprocess.run(
            [python, "-W", "ignore", "-c", states], cwd=folder, capture_output=True, text=True
        )
        lines = (
            (folder / "log.txt").read_text().splitlines() if (folder / "log.txt").exists() else []
        )
        ended = Counter(line for line in lines if line.startswith("ended"))
        again = sum(count - 1 for count in ended.values())
        stored = told.stdout.strip() or told.stderr.strip()[-80:]
        what = "killed with -9, started again" if killed else f"trial: {fault}"
        return (
            f"{peer:8s} {what:32s} {'; '.join(endings):45s} {sum(ended.values()):3d} ended, "
            f"{again} of them twice; stored {stored}"
        )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    for peer in PEERS:
        parser.add_argument(f"--{peer}", metavar="PYTHON")
    parser.add_argument("--limit", type=float, default=90.0, help="seconds that a study may take")
    options = vars(parser.parse_args())
    limit = options.pop("limit")
    for peer, python in options.items():
        if python is None:
            continue
        for fault in FAULTS:
            print(report(python, peer, fault, killed=False, limit=limit), flush=True)
        print(report(python, peer, "none", killed=True, limit=limit), flush=True)


if __name__ == "__main__":
    main()
