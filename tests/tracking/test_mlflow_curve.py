"""The curves of a study's own run: the best so far, in the order in which trials ended."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.studies import START, make_study, make_trials
from tuner.records import TrialRecord
from tuner.tracking import mlflow_curve, mlflow_runs

STUDY = make_study()
TRIALS = make_trials(30)


def brute_force_best(trials: list[TrialRecord], moment: object) -> float | None:
    done = [t.metrics["score"] for t in trials if t.state == "complete" and t.finished <= moment]
    return max(done, default=None)


@given(st.permutations(range(12)), st.randoms(use_true_random=False))
def test_curve_is_the_best_of_what_had_ended_in_whatever_order_it_came(order, random) -> None:
    trials = [
        replace(trial, finished=START + timedelta(seconds=random.randrange(10_000) + i / 100))
        for i, trial in enumerate(TRIALS[:12])
    ]
    curve = mlflow_curve.parent_curve(STUDY, [trials[i] for i in order])
    ended = sorted(trials, key=lambda trial: trial.finished)
    expected = {
        step: best
        for step, trial in enumerate(ended, start=1)
        if (best := brute_force_best(trials, trial.finished)) is not None
    }
    assert {step: values[mlflow_curve.BEST_SO_FAR] for step, _, values in curve} == pytest.approx(
        expected, rel=1e-5
    )
    assert [at for _, at, _ in curve] == [
        mlflow_runs.milliseconds(ended[step - 1].finished) for step, _, _ in curve
    ]


def test_curve_goes_down_where_the_objective_is_minimised() -> None:
    study = make_study(objectives={"time": "minimize"})
    values = [
        point[2][mlflow_curve.BEST_SO_FAR] for point in mlflow_curve.parent_curve(study, TRIALS)
    ]
    assert values == sorted(values, reverse=True)
    assert values[-1] == pytest.approx(
        min(t.metrics["time"] for t in TRIALS if t.state == "complete"), rel=1e-5
    )
