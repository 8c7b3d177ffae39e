"""What a whole process costs beside ``run`` is measured, kept and part of every time."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.search.test_loop import Harness
from tuner.execution.jobs import FixedCostJob, JobDone, Setup, now
from tuner.execution.runner import Bench
from tuner.measure.stopwatch import timed_process
from tuner.records import CaseRecord
from tuner.search.clocks import FIXED_COSTS
from tuner.search.startup_cost import FixedCosts
from tuner.search.stopped import StudyStopped

pytestmark = pytest.mark.usefixtures("toy")


@pytest.fixture
def harness(write_config: Callable[..., Path]) -> Callable[..., Harness]:
    def make(start_up: float | None = 0.2, timing: object = None, **data: object) -> Harness:
        path = write_config(
            plugin="toy",
            study={"trials": 3, "sampler": "random"},
            search_space={"x": {"low": -5, "high": 5}},
            data={"seconds": 0.01, "start_up": start_up, **data},
            timing=timing or {"fixed_cost_repeats": 2},
        )
        return Harness(path)

    return make


def test_the_fixed_cost_is_what_the_process_takes_beyond_run(
    harness: Callable[..., Harness],
) -> None:
    study = harness(targets=[1.0, 2.0])
    study.run()
    kept = json.loads(study.study.user_attrs[FIXED_COSTS])
    (seconds,) = kept["seconds"].values()
    assert set(seconds) == {"target1", "target2"}
    assert all(0.2 < value < 0.8 for value in seconds.values())
    for record in study.records:  # the baseline is charged as well
        for case in record.cases:
            assert case.run_seconds is not None
            assert case.seconds == pytest.approx(case.run_seconds + seconds[case.name])
            assert record.metrics["time"] > 0.2
    baseline, trial = study.records[:2]
    ratio = baseline.cases[0].seconds / trial.cases[0].seconds
    assert trial.cases[0].metrics["speedup"] == pytest.approx(ratio)
    assert ratio < 2  # by `run` alone it would be five


@pytest.mark.parametrize("workers", [1, 2])
def test_each_kind_of_setting_is_charged_its_own(
    write_config: Callable[..., Path], workers: int
) -> None:
    path = write_config(
        plugin="toy",
        study={"trials": 3, "sampler": "brute-force"},
        workers=workers,
        search_space={"mode": {"choices": ["fine", "reference"]}},
        data={"start_up": 0.1, "slow_mode": "reference", "baseline_mode": "fine"},
        timing={"fixed_cost_repeats": 2},
    )
    study = Harness(path)
    study.run()
    kept = json.loads(study.study.user_attrs[FIXED_COSTS])["seconds"]
    assert len(kept) == 2
    seconds = {"fine": kept["{}"]["target3"], "reference": kept['{"mode": "reference"}']["target3"]}
    assert 0.1 < seconds["fine"] < 0.25 < seconds["reference"] - seconds["fine"] < 0.4
    for record in study.records:
        (case,) = record.cases
        assert case.run_seconds is not None
        charged = case.run_seconds + seconds[str(record.params["mode"])]
        assert case.seconds == pytest.approx(charged)
    assert {record.params["mode"] for record in study.records} == set(seconds)
    assert len(study.executor.jobs) == 3
    assert all(record.state == "complete" for record in study.records)


def test_what_was_never_measured_is_not_charged_as_nothing(
    harness: Callable[..., Harness],
) -> None:
    study = harness()
    clocks = study.coordinator().clocks
    params = {"x": 0.0, "size": 1, "mode": "fine"}
    case = CaseRecord("target3", {}, 1.0, run_seconds=1.0)
    done = JobDone(1, "complete", now(), now(), [case])
    with pytest.raises(KeyError):
        clocks.stated(done, params)
    clocks.complete(done, params, study.executor, lambda: None)
    assert 0.2 < clocks.stated(done, params)[0].seconds - 1
    assert study.coordinator().clocks.lacks(done, params) is None


def test_it_is_measured_once_a_study(harness: Callable[..., Harness]) -> None:
    harness().run()
    again = harness()
    before = again.study.user_attrs[FIXED_COSTS]
    again.config.engine.__dict__["study"] = again.config.engine.study.model_copy(
        update={"trials": 4}
    )
    again.run()
    assert len(again.records) == 4
    assert again.study.user_attrs[FIXED_COSTS] == before
    assert again.records[-1].cases[0].seconds > 0.2


@pytest.mark.parametrize(("start_up", "timing"), [(None, {}), (0.2, {"fixed_cost_repeats": 0})])
def test_without_a_command_or_a_wish_run_alone_is_timed(
    harness: Callable[..., Harness], start_up: float | None, timing: object
) -> None:
    study = harness(start_up=start_up, timing=timing)
    study.run()
    for record in study.records:
        assert record.cases[0].seconds == record.cases[0].run_seconds < 0.15


def test_a_script_that_fails_stops_the_study_and_says_why(
    harness: Callable[..., Harness],
) -> None:
    study = harness(start_up=-5.0)
    with pytest.raises(StudyStopped, match="sleep length must be non-negative") as caught:
        study.run()
    assert "timing.fixed_cost_repeats: 0" in str(caught.value)
    assert study.records == []


def test_held_out_cases_have_a_fixed_cost_too(workplace: Path) -> None:
    sections = {"data": {"held_out": [5.0], "start_up": 0.05}}
    bench, params = Bench(Setup("toy", sections)), {"x": 0.0, "size": 1, "mode": "fine"}
    for held_out, name in ((False, "target3"), (True, "held5")):
        job = FixedCostJob(params, 0, repeats=2, held_out=held_out)
        done = bench.run(job, lambda cases: True)
        assert set(done.fixed_costs) == {name}
        assert done.fixed_costs[name] > 0


def test_a_whole_process_is_not_charged_twice(harness: Callable[..., Harness]) -> None:
    study = harness()
    seconds = {"{}": {"a": 2.0}, "held out: {}": {"b": 4.0}}
    costs = FixedCosts(study.config.task, seconds)
    case = CaseRecord("a", {}, 1.0, run_seconds=1.0)
    params = {"x": 0.0, "size": 1, "mode": "fine"}
    assert costs.knows(params)
    assert costs.charge(case, params).seconds == 3.0
    assert costs.charge(costs.charge(case, params), params).seconds == 3.0
    assert costs.charge(replace(case, run_seconds=None), params).seconds == 1.0
    assert costs.charge(replace(case, name="b"), params).seconds == 1.0
    assert costs.charge(replace(case, name="b"), params, held_out=True).seconds == 5.0


def test_a_process_is_timed_from_start_to_exit() -> None:
    sleeping = timed_process([sys.executable, "-S", "-c", "import time; time.sleep(0.3)"])
    assert 0.3 < sleeping.seconds < 1.5
    assert sleeping.cpu_seconds < 0.2
    busy = "import time\nwhile time.process_time() < 0.2: pass"
    assert 0.2 <= timed_process([sys.executable, "-S", "-c", busy]).cpu_seconds < 0.5
    with pytest.raises(RuntimeError, match="exit code 3"):
        timed_process([sys.executable, "-S", "-c", "raise SystemExit(3)"])
    assert subprocess.run([sys.executable, "-c", ""], check=True).returncode == 0
