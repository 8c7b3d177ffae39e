"""Kill the coordinator, interrupt it, run two at once: nothing is lost and nothing runs twice."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import optuna
import psutil
import pytest

from tests.driver import Command, Driver
from tests.processes import running_below
from tuner.tracking.tracker import prepare

pytestmark = pytest.mark.usefixtures("toy", "undrawn")

TRIALS = 14
TRACKED = ("--set", "tracking.enabled=true")


@pytest.fixture
def config(write_config: Callable[..., Path]) -> str:
    sections = {
        "plugin": "toy",
        "study": {"trials": TRIALS},
        "data": {"targets": [2.0, 4.0], "seconds": 0.1, "log": "ran.jsonl", "start_up": 0.01},
        "search_space": {"x": {}, "size": {"low": 1, "high": 2}},
        "workers": 2,
        "timing": {"repeats": 1, "final_time": 1},  # what ran is counted
        "tracking": {"enabled": False},
    }
    return write_config(**sections).name


@pytest.fixture
def told_of_hangups() -> Iterator[None]:
    """Let programs be told that the terminal is gone, though the suite may run under nohup."""
    before = signal.signal(signal.SIGHUP, lambda *_: None)  # the default again in what is started
    yield
    signal.signal(signal.SIGHUP, before)


Start = Callable[..., Command]


@pytest.fixture
def start(driver: Driver, config: str) -> Start:
    return lambda *more: driver.start("run", config, "--json", *more)


def completed() -> int:
    """Count the trials whose second case has begun, by what the plug-in itself wrote.

    What runs at x = 0 is not counted: fixed costs are measured there, and the baseline is.
    """
    log = Path("ran.jsonl")
    lines = log.read_text().splitlines() if log.exists() else []
    return sum('"target4"' in line and '"x": 0.0' not in line for line in lines)


def wait_for(count: int, process: Command | subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 120
    while completed() < count:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.05)


def finish(process: Command, code: int = 0) -> tuple[str, str]:
    out, err = process.communicate()
    assert process.returncode == code, out + err
    return out, err


@pytest.mark.usefixtures("store")
def test_kill_9_in_mid_study_loses_and_repeats_nothing(workplace: Path, start: Start) -> None:
    for threshold in (3, 7):
        process = start(*TRACKED)
        wait_for(threshold, process)
        children = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        process.communicate()
        _, alive = psutil.wait_procs(children, timeout=10)
        assert not alive, "workers outlived the coordinator"
    out, _ = finish(start(*TRACKED))
    result = json.loads(out)
    assert result["trials"]["complete"] == TRIALS, out
    assert list(workplace.glob(".tuner-*")) == []

    study = optuna.load_study(study_name="study", storage="sqlite:///tuner.db")
    states = Counter(trial.state.name for trial in study.get_trials())
    assert states == {"COMPLETE": TRIALS}
    drawn = [tuple(trial.params.values()) for trial in study.get_trials()]
    assert len(set(drawn)) == TRIALS

    prepare()
    from mlflow import MlflowClient

    client = MlflowClient("sqlite:///mlflow.db")
    experiment = client.get_experiment_by_name("toy")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], max_results=1000)
    parents = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    children = [run for run in runs if "mlflow.parentRunId" in run.data.tags]
    assert [parent.info.run_id for parent in parents] == [result["tracking"]["run_id"]]
    assert {parent.info.status for parent in parents} == {"FINISHED"}
    assert len(children) == TRIALS
    assert {child.data.tags["mlflow.parentRunId"] for child in children} == {parents[0].info.run_id}
    assert len({child.info.run_name for child in children}) == TRIALS
    assert {child.info.status for child in children} == {"FINISHED"}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_lets_running_trials_end_and_says_how_to_resume(
    workplace: Path, config: str, start: Start, number: signal.Signals
) -> None:
    process = start()
    wait_for(3, process)
    process.send_signal(number)
    if number == signal.SIGHUP:  # a shell passes on what the terminal has sent already
        process.send_signal(number)
    out, err = finish(process, code=130)
    assert f"stopped; to resume: tuner run {config}" in err
    result = json.loads(out)
    assert result["ending"] == "interrupted"
    study = optuna.load_study(study_name="study", storage="sqlite:///tuner.db")
    assert {trial.state.name for trial in study.get_trials()} == {"COMPLETE"}
    assert 3 <= len(study.get_trials()) < TRIALS
    again = json.loads(finish(start())[0])
    assert again["trials"]["complete"] == TRIALS


@pytest.mark.usefixtures("told_of_hangups")
def test_a_closed_terminal_stops_a_study_in_order(workplace: Path, config: str) -> None:
    ours, theirs = os.openpty()
    command = [sys.executable, "-m", "tuner", "run", config]
    with subprocess.Popen(
        [sys.executable, "-c", IN_TERMINAL, *command],
        start_new_session=True,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    ) as process:
        os.close(theirs)
        threading.Thread(target=read_all, args=[ours], daemon=True).start()
        wait_for(3, process)
        closing.set()
        assert process.wait(240) == 130
    study = optuna.load_study(study_name="study", storage="sqlite:///tuner.db")
    assert {trial.state.name for trial in study.get_trials()} == {"COMPLETE"}
    assert 3 <= len(study.get_trials()) < TRIALS


IN_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""

closing = threading.Event()


def read_all(terminal: int) -> None:
    """Read what is written to a terminal until it is to be closed, and close it."""
    while not closing.is_set():
        if select.select([terminal], (), (), 0.1)[0]:
            os.read(terminal, 65536)
    os.close(terminal)


def test_a_second_coordinator_is_refused(workplace: Path, start: Start) -> None:
    first = start()
    wait_for(2, first)
    _, err = finish(start(), code=2)
    assert f"is being run by process {first.pid} on" in err
    finish(first)
    study = optuna.load_study(study_name="study", storage="sqlite:///tuner.db")
    assert {trial.state.name for trial in study.get_trials()} == {"COMPLETE"}
    drawn = {tuple(trial.params.values()) for trial in study.get_trials()}
    assert len(drawn) == len(study.get_trials()) == TRIALS
    ran = [json.loads(line) for line in Path("ran.jsonl").read_text().splitlines()]
    assert len({line["pid"] for line in ran}) == 2, "workers of another coordinator ran"
    assert {(line["x"], line["size"]) for line in ran} >= {d for d in drawn if d[0] != 0.0}


def test_a_worker_killed_from_outside_fails_its_trial_alone(workplace: Path, start: Start) -> None:
    process = start()
    wait_for(2, process)
    workers = running_below(process.pid, "tuner.execution.worker")
    os.kill(workers[0].pid, signal.SIGKILL)
    result = json.loads(finish(process)[0])
    assert result["trials"]["complete"] == TRIALS
    assert result["trials"]["failed"] <= 1
