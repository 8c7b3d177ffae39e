"""What every executor does: local processes and Dask workers, each on the same tests."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.execution.jobs import job, outcome
from tuner.execution.alone import run_alone
from tuner.execution.executor import Executor
from tuner.execution.jobs import (
    CaseDone,
    FixedCostJob,
    FreezeJob,
    PresentJob,
    Setup,
    TimeJob,
)
from tuner.execution.local import LocalExecutor
from tuner.plugin import Provenance

pytestmark = pytest.mark.usefixtures("toy")

Make = Callable[..., Executor]


@pytest.fixture(params=["local", "dask"])
def make(request: pytest.FixtureRequest) -> Iterator[Make]:
    made: list[Executor] = []
    place = request.getfixturevalue("dask_scheduler") if request.param == "dask" else None

    def _make(data: dict | None = None, **limits: float) -> Executor:
        phase = limits.pop("phase_seconds", None)
        setup = Setup("toy", {"data": data or {}}, phase_seconds=phase)
        case, memory = limits.pop("case_seconds", 60.0), limits.pop("memory", None)
        if place is None:
            executor: Executor = LocalExecutor(setup, 1, case, memory)
        else:
            from tuner.execution.dask.executor import DaskExecutor, DaskOptions

            options = DaskOptions(address=place)
            executor = DaskExecutor(setup, 1, case, memory, options=options)
        made.append(executor)
        return executor

    yield _make
    for executor in made:
        executor.close()


def test_a_trial_gives_metrics_and_times(make: Make) -> None:
    executor = make({"targets": [1.0, 3.0], "seconds": 0.05})
    executor.submit(job(x=1.0))
    done = outcome(executor)
    assert done.state == "complete"
    assert [(c.name, c.metrics["fit"]) for c in done.cases] == [("target1", 0.0), ("target3", -4.0)]
    assert all(0.05 <= c.seconds < 5 and c.cpu_seconds < c.seconds for c in done.cases)
    assert done.started < done.finished
    assert done.started.tzinfo is not None


def test_an_exception_is_a_failure_with_its_traceback(make: Make) -> None:
    executor = make()
    executor.submit(job(mode="raise"))
    done = outcome(executor)
    assert done.state == "failed"
    assert done.reason is not None
    assert done.reason.startswith("ValueError: this setting is broken\n")
    assert "tuner_toy.py" in done.reason
    executor.submit(job(1))
    assert outcome(executor).state == "complete"


def test_a_death_is_a_failure_with_the_last_words(make: Make) -> None:
    executor = make()
    executor.submit(job(mode="die"))
    done = outcome(executor)
    assert done.state == "failed"
    assert done.reason == "the worker died: exited with code 7\nlast words of the worker"
    executor.submit(job(1))
    assert outcome(executor).state == "complete"


def test_over_time_is_infeasible(make: Make) -> None:
    executor = make(case_seconds=0.3)
    executor.submit(job(mode="hang"))
    done = outcome(executor)
    assert done.state == "infeasible"
    assert (done.reason or "").startswith("over the time limit of 0.3 s in run (limits.case_time)")


def test_over_memory_is_infeasible(make: Make) -> None:
    executor = make(memory=700_000_000)
    executor.submit(job(mode="hog"))
    done = outcome(executor)
    assert done.state == "infeasible"
    assert (done.reason or "").startswith("over the memory limit")


def test_bad_input_is_told_apart(make: Make) -> None:
    executor = make()
    executor.submit(job(mode="input"))
    done = outcome(executor)
    assert done.bad_input
    assert done.reason == "data.targets: cannot be used; give others"
    executor = make({"width": 13})
    executor.submit(job())
    assert outcome(executor).bad_input


def test_stepwise_jobs_wait_for_a_word(make: Make) -> None:
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


def test_presenting_scores_held_out_cases_and_writes(make: Make, tmp_path: Path) -> None:
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


def test_scripts_are_frozen_and_timed(make: Make, tmp_path: Path) -> None:
    executor = make({"targets": [1.0], "start_up": 0.05})
    params = {"x": 1.0, "size": 1, "mode": "fine"}
    path = tmp_path / "best.py"
    done = run_alone(executor, FreezeJob(params, path, Provenance("study")), lambda: None)
    assert done.state == "complete", done.reason
    assert "PARAMS" in path.read_text()
    assert os.access(path, os.X_OK)
    done = run_alone(executor, TimeJob(params, 0), lambda: None)
    assert [case.seconds > 0.05 for case in done.cases] == [True]
    done = run_alone(executor, FixedCostJob(params, 0, repeats=1), lambda: None)
    assert done.fixed_costs["target1"] > 0.05
