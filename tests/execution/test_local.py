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

from tuner.execution.jobs import (
    CaseDone,
    JobDone,
    PhaseBegun,
    PresentJob,
    Setup,
    TrialJob,
    run_alone,
)
from tuner.execution.local import LocalExecutor
from tuner.records import Trial

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


def job(
    ticket: int = 0, mode: str = "fine", x: float = 1.0, is_baseline: bool = False, **options: bool
) -> TrialJob:
    params = {"x": x, "size": 1, "mode": mode}
    trial = Trial(number=ticket, params=params, searched={}, is_baseline=is_baseline)
    return TrialJob(trial, 0, **options)


def outcome(executor: LocalExecutor, timeout: float = 60.0) -> JobDone:
    while isinstance(event := executor.wait(timeout), PhaseBegun):
        pass
    assert isinstance(event, JobDone)
    return event


def test_a_trial_gives_metrics_and_times(make: Callable[..., LocalExecutor]) -> None:
    executor = make({"targets": [1.0, 3.0], "seconds": 0.05})
    executor.submit(job(x=1.0))
    done = outcome(executor)
    assert done.state == "complete"
    assert [(c.name, c.metrics["fit"]) for c in done.cases] == [("target1", 0.0), ("target3", -4.0)]
    assert all(0.05 <= c.seconds < 5 and c.cpu_seconds < c.seconds for c in done.cases)
    assert done.started < done.finished
    assert done.started.tzinfo is not None


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


def test_an_exception_is_a_failure_with_its_traceback(make: Callable[..., LocalExecutor]) -> None:
    executor = make()
    executor.submit(job(mode="raise"))
    done = outcome(executor)
    assert done.state == "failed"
    assert done.reason is not None
    assert done.reason.startswith("ValueError: this setting is broken\n")
    assert "tuner_toy.py" in done.reason
    executor.submit(job(1))
    assert outcome(executor).state == "complete"


def test_a_death_is_a_failure_with_the_last_words(make: Callable[..., LocalExecutor]) -> None:
    executor = make()
    executor.submit(job(mode="die"))
    done = outcome(executor)
    assert done.state == "failed"
    assert done.reason == "the worker died: exited with code 7\nlast words of the worker"
    executor.submit(job(1))
    assert outcome(executor).state == "complete"


def test_a_killed_worker_is_named_by_its_signal(make: Callable[..., LocalExecutor]) -> None:
    executor = make()
    executor.submit(job(mode="hang"))
    assert executor.wait(1.0) is None
    os.kill(executor._workers[0].process.pid, signal.SIGKILL)
    assert (outcome(executor).reason or "").startswith(
        "the worker died: killed by signal 9 (SIGKILL)"
    )


def test_over_time_is_infeasible(make: Callable[..., LocalExecutor]) -> None:
    executor = make(case_seconds=0.3)
    executor.submit(job(mode="hang"))
    done = outcome(executor)
    assert done.state == "infeasible"
    assert (done.reason or "").startswith("over the time limit of 0.3 s in run (limits.case_time)")


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


def test_over_memory_is_infeasible(make: Callable[..., LocalExecutor]) -> None:
    executor = make(memory=700_000_000)
    executor.submit(job(mode="hog"))
    done = outcome(executor)
    assert done.state == "infeasible"
    assert (done.reason or "").startswith("over the memory limit")


def test_bad_input_is_told_apart(make: Callable[..., LocalExecutor]) -> None:
    executor = make()
    executor.submit(job(mode="input"))
    done = outcome(executor)
    assert done.bad_input
    assert done.reason == "data.targets: cannot be used; give others"
    executor = make({"width": 13})
    executor.submit(job())
    assert outcome(executor).bad_input


def test_stepwise_jobs_wait_for_a_word(make: Callable[..., LocalExecutor]) -> None:
    executor = make({"targets": [1.0, 2.0, 3.0]})
    executor.submit(job(stepwise=True))
    event = executor.wait(60)
    assert isinstance(event, CaseDone)
    assert len(event.cases) == 1
    assert executor.wait(0.3) is None
    executor.proceed(0, True)
    event = executor.wait(60)
    assert isinstance(event, CaseDone)
    assert len(event.cases) == 2
    executor.proceed(0, False)
    done = outcome(executor)
    assert (done.state, len(done.cases)) == ("pruned", 2)
    assert done.reason == "pruned after case 'target2'"


def test_presenting_scores_held_out_cases_and_writes(
    make: Callable[..., LocalExecutor], tmp_path: Path
) -> None:
    executor = make({"targets": [1.0], "held_out": [2.0]})
    params = {"x": 1.0, "size": 1, "mode": "fine"}
    baseline = {"x": 0.0, "size": 1, "mode": "reference"}
    executor.submit(PresentJob(params, 0, tmp_path / "plots", baseline))
    done = outcome(executor)
    assert done.state == "complete", done.reason
    assert [(c.name, c.metrics["fit"]) for c in done.held_out] == [("held2", -1.0)]
    assert [c.metrics["fit"] for c in done.held_out_baseline] == [-4.0]
    written = sorted(p.name for p in (tmp_path / "plots").iterdir())
    assert written == ["cases.txt", "fits.csv", "fits.png"]
    assert (tmp_path / "plots" / "cases.txt").read_text() == "target1 held2"


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
