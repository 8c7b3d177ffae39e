"""The score is the formula; what the sampler sees is monotone in the metric and in the time."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuner.config.objective import Objective, Reference, score, search_score
from tuner.records import CaseRecord

GAINS = st.floats(-2, 2, allow_nan=False)
SPEEDUPS = st.floats(1e-4, 1e6)
OBJECTIVE = Objective({"r": "maximize"}, {"score": "maximize"})


def test_the_score_is_the_formula() -> None:
    reference = Reference({"a": 0.3, "b": 0.5}, {"a": 90.0, "b": 10.0})
    cases = [
        OBJECTIVE.annotate(CaseRecord("a", {"r": 0.5}, 0.1), reference),
        OBJECTIVE.annotate(CaseRecord("b", {"r": 0.4}, 2.5), reference),
    ]
    assert cases[0].metrics["score"] == pytest.approx(0.2 * math.sqrt(900))
    assert cases[1].metrics["score"] == pytest.approx(-0.1 * 2)
    means = OBJECTIVE.summarise(cases)
    assert means["score"] == pytest.approx((6.0 - 0.2) / 2)
    assert means["r"] == pytest.approx(0.45)
    assert means["time"] == pytest.approx(1.3)
    assert means["speedup"] == pytest.approx((900 + 4) / 2)


def test_a_minimised_metric_counts_the_other_way() -> None:
    objective = Objective({"loss": "minimize"}, {"score": "maximize"})
    reference = Reference({"a": 1.0}, {"a": 1.0})
    better = objective.annotate(CaseRecord("a", {"loss": 0.5}, 0.25), reference)
    assert better.metrics["score"] == pytest.approx(0.5 * 2)


@given(gain=st.floats(0, 2), speedup=SPEEDUPS)
def test_above_the_baseline_the_sampler_sees_the_score(gain: float, speedup: float) -> None:
    assert search_score(gain, speedup) == score(gain, speedup)


@given(gains=st.tuples(GAINS, GAINS), speedup=SPEEDUPS)
def test_the_sampler_sees_more_for_a_better_metric(
    gains: tuple[float, float], speedup: float
) -> None:
    low, high = sorted(gains)
    assert search_score(low, speedup) <= search_score(high, speedup)


@given(gain=GAINS, speedups=st.tuples(SPEEDUPS, SPEEDUPS))
def test_the_sampler_never_sees_less_for_a_faster_run(
    gain: float, speedups: tuple[float, float]
) -> None:
    slow, fast = sorted(speedups)
    assert search_score(gain, slow) <= search_score(gain, fast)


def test_the_formula_itself_rewards_slowness_below_the_baseline() -> None:
    assert score(-0.1, 1.0) > score(-0.1, 100.0)
    assert search_score(-0.1, 1.0) < search_score(-0.1, 100.0)


def test_several_objectives_are_told_in_order() -> None:
    objective = Objective({"r": "maximize"}, {"time": "minimize", "r": "maximize"})
    assert objective.values([CaseRecord("a", {"r": 0.5}, 2.0)], None) == [2.0, 0.5]


def test_the_goal_names_each_direction() -> None:
    both = Objective({"r": "maximize"}, {"r": "maximize", "time": "minimize"})
    assert both.goal == "maximize r, minimize time"
