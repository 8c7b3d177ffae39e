"""One time for one trial: the final measurement takes the place of the search's estimate."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.driver import Driver
from tests.studies import CASES, make_trials
from tuner.config.objective import Objective
from tuner.records import Final, Finalist, TrialRecord
from tuner.selection.measured import measured_baseline, measured_trial

OBJECTIVE = Objective({"r": "maximize"}, {"score": "maximize"})
FIRST, SECOND = CASES


def trials() -> tuple[TrialRecord, TrialRecord]:
    complete = [record for record in make_trials(9) if record.state == "complete"]
    return complete[0], complete[1]


def final_of(record: TrialRecord, baseline: TrialRecord) -> Final:
    """Twice and three times as fast as the baseline, which took 1 and 2 s."""
    seconds, before = {FIRST: 0.5, SECOND: 2 / 3}, {FIRST: 1.0, SECOND: 2.0}
    pairs = zip(record.cases, baseline.cases, strict=True)
    gains = [case.metrics["r"] - beside.metrics["r"] for case, beside in pairs]
    score = (gains[0] * math.sqrt(2) + gains[1] * math.sqrt(3)) / 2
    errors = {FIRST: 0.01, SECOND: 0.02}
    row = Finalist(
        *(record.number, 4, seconds, {}, {FIRST: 2.0, SECOND: 3.0}),
        *(score, score - 0.1, score + 0.2, 0.9, errors),
    )
    return Final([row], "process", before, 0.9, 0.9, 0.01, 7, {FIRST: 0.0, SECOND: 0.0})


def test_the_chosen_trial_is_stated_by_its_final_times() -> None:
    baseline, record = trials()
    final = final_of(record, baseline)
    stated = measured_trial(record, baseline, final, OBJECTIVE)
    (row,) = final.finalists
    assert [case.seconds for case in stated.cases] == [0.5, 2 / 3]
    assert [case.metrics["speedup"] for case in stated.cases] == pytest.approx([2, 3])
    assert stated.metrics["time"] == pytest.approx((0.5 + 2 / 3) / 2)
    assert stated.metrics["score"] == pytest.approx(row.score)
    assert (stated.metrics["score_low"], stated.metrics["score_high"]) == (row.low, row.high)
    spread = 1.96 * math.hypot(2 * 0.01, 3 * 0.02) / 2
    assert stated.metrics["speedup_low"] == pytest.approx(2.5 - spread)
    assert stated.metrics["r"] == pytest.approx(record.metrics["r"])
    assert stated.estimate == {n: record.metrics[n] for n in ("time", "speedup", "score")}


def test_the_baseline_is_stated_by_the_times_of_the_same_race() -> None:
    baseline, record = trials()
    stated = measured_baseline(baseline, final_of(record, baseline), OBJECTIVE)
    assert stated is not None
    assert [case.seconds for case in stated.cases] == [1.0, 2.0]
    assert (stated.metrics["speedup"], stated.metrics["score"]) == (1.0, 0.0)


def test_what_was_not_timed_again_stays_an_estimate() -> None:
    baseline, record = trials()
    final = final_of(replace(record, number=99), baseline)
    assert measured_trial(record, baseline, final, OBJECTIVE) is record
    assert measured_trial(record, baseline, None, OBJECTIVE) is record
    assert not record.estimate


@pytest.mark.usefixtures("toy", "undrawn")
def test_table_json_best_and_script_state_one_score(
    driver: Driver, write_config: Callable[..., Path]
) -> None:
    config = write_config(
        plugin="toy",
        study={"trials": 4, "sampler": "random"},
        data={"targets": [2.0], "held_out": [3.0], "seconds": 0.01, "start_up": 0.1},
        search_space={"x": {"low": 1, "high": 3}},
        timing={"finalists": 2, "final_time": 1, "fixed_cost_repeats": 1},
        tracking={"enabled": False},
    ).name

    def tuner(*arguments: str) -> str:
        done = driver.run(*arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    result = json.loads(tuner("run", config, "--json"))
    best, (first, *_) = result["best"], result["final"]["finalists"]
    assert best["number"] == first["number"]
    assert best["metrics"]["score"] == pytest.approx(first["score"])
    assert best["cases"][0]["seconds"] == first["seconds"]["target2"]
    assert result["baseline"]["cases"][0]["seconds"] == result["final"]["baseline"]["target2"]
    assert best["estimate"]["score"] != best["metrics"]["score"]
    # held-out cases are timed as the tuned ones are: as whole scripts, 0.1 s of start-up in each
    (held,), (beside,) = result["held_out"], result["held_out_baseline"]
    assert held["run_seconds"] is None
    assert held["seconds"] > 0.1
    assert beside["seconds"] > 0.1
    assert held["metrics"]["speedup"] == pytest.approx(beside["seconds"] / held["seconds"])
    assert json.loads(tuner("best", config, "--json"))["best"] == best
    again = json.loads(tuner("run", config, "--json"))
    assert again["best"] == best
    assert again["held_out_baseline"] == result["held_out_baseline"]
