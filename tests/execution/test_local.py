"""Worker processes: what they give, how they fail, and that none outlives its coordinator."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.execution.jobs import job, outcome
from tuner.execution.alone import run_alone
from tuner.execution.jobs import Setup
from tuner.execution.local import LocalExecutor

pytestmark = pytest.mark.usefixtures("toy")


@pytest.fixture
def make() -> Iterator[Callable[..., LocalExecutor]]:
    made: list[LocalExecutor] = []

    def _make(data: dict | None = None, slots: int = 1, **limits: float) -> LocalExecutor:
        phase = limits.pop("phase_seconds", None)
        setup = Setup("toy", {"data": data or {}}, phase_seconds=phase)
        executor = LocalExecutor(setup, slots, limits.pop("case_seconds", 60.0), **limits)
        made.append(executor)
        return executor

    yield _make
    for executor in made:
        executor.close()


def test_two_slots_run_at_the_same_time(make: Callable[..., LocalExecutor]) -> None:
    executor = make({"seconds": 0.4}, slots=2)
    executor.submit(job(0))
    executor.submit(job(1))
    first, second = outcome(executor), outcome(executor)
    assert {first.ticket, second.ticket} == {0, 1}
    executor.submit(job(2))
    executor.submit(job(3))
    with pytest.raises(RuntimeError, match="busy"):
        executor.submit(job(4))


def test_a_killed_worker_is_named_by_its_signal(make: Callable[..., LocalExecutor]) -> None:
    executor = make()
    executor.submit(job(mode="hang"))
    assert executor.wait(1.0) is None
    os.kill(executor._workers[0].process.pid, signal.SIGKILL)
    assert (outcome(executor).reason or "").startswith(
        "the worker died: killed by signal 9 (SIGKILL)"
    )


def test_the_baseline_may_take_longer_but_not_for_ever(make: Callable[..., LocalExecutor]) -> None:
    executor = make({"seconds": 2.0}, case_seconds=0.1)
    executor.submit(job(is_baseline=True))
    assert outcome(executor).state == "complete"
    executor = make({}, case_seconds=0.1, phase_seconds=10.0)
    executor.submit(job(is_baseline=True, mode="hang"))
    done = outcome(executor)
    assert done.state == "infeasible"
    assert done.reason == "over the time limit of 10 s in run (limits.phase_time)"


def test_a_worker_that_died_after_its_job_fails_no_other(
    make: Callable[..., LocalExecutor],
) -> None:
    executor = make()
    executor.submit(job(0))
    assert outcome(executor).state == "complete"
    keeper = executor._workers[0].process
    os.kill(keeper.pid, signal.SIGKILL)
    keeper.wait(10)
    executor.submit(job(1))
    assert outcome(executor).state == "complete"


def test_a_job_that_is_run_alone_gets_a_second_worker(make: Callable[..., LocalExecutor]) -> None:
    executor = make()
    done = run_alone(executor, job(mode="die"), lambda: None)
    assert (done.state, done.died) == ("failed", True)
    assert executor._spawned == 2


def test_a_script_over_its_time_leaves_no_folder(
    make: Callable[..., LocalExecutor], workplace: Path
) -> None:
    executor = make({"start_up": 3600.0}, case_seconds=0.3)
    executor.submit(job(process=True, scored=False))
    done = outcome(executor)
    assert (done.reason or "").startswith("over the time limit of 0.3 s in run")
    assert list(workplace.glob(".tuner-*")) != []
    executor.close()
    assert list(workplace.iterdir()) == []


def test_threads_are_pinned_in_workers(
    make: Callable[..., LocalExecutor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "64")
    executor = make()
    executor.submit(job(mode="hang"))
    assert executor.wait(1.0) is None
    variables = psutil.Process(executor._workers[0].process.pid).environ()
    assert variables["OMP_NUM_THREADS"] == "1"
    assert variables["NUMBA_NUM_THREADS"] == "1"


def test_workers_end_when_the_coordinator_is_killed(workplace: Path) -> None:
    program = (
        "import sys\n"
        "from tuner.execution.jobs import Setup, TrialJob\n"
        "from tuner.records import Trial\n"
        "from tuner.execution.local import LocalExecutor\n"
        "executor = LocalExecutor(Setup('toy', {}), 1, 60.0)\n"
        "params = {'x': 1.0, 'size': 1, 'mode': 'hang'}\n"
        "executor.submit(TrialJob(Trial(number=0, params=params, searched={}), 0))\n"
        "executor.wait(1.0)\n"
        "print(executor._workers[0].process.pid, flush=True)\n"
        "executor.wait(60.0)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as coordinator:
        assert coordinator.stdout is not None
        worker = psutil.Process(int(coordinator.stdout.readline()))
        assert worker.is_running()
        coordinator.kill()
    until = time.monotonic() + 10
    while worker.is_running() and worker.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < until, "the worker outlived its coordinator"
        time.sleep(0.05)
