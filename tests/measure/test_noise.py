"""Intervals that hold what they state, and repeats put together."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tuner.config.objective import Objective, Reference
from tuner.measure.noise import Noise, combine
from tuner.records import CaseRecord
from tuner.selection.racing import DRAWS, score_value

OBJECTIVE = Objective({"r": "maximize"}, {"score": "maximize"})


def timed(seconds: float, r: float = 0.5, name: str = "a", **more: float) -> CaseRecord:
    return CaseRecord(name, {"r": r}, seconds, seconds, seconds, **more)


@pytest.mark.parametrize(("repeats", "cases"), [(1, 1), (1, 3), (3, 1), (3, 2)])
def test_the_true_score_lies_in_the_interval_as_often_as_it_says(repeats: int, cases: int) -> None:
    rng = np.random.default_rng(repeats * 10 + cases)
    noise = Noise()
    assert noise.one == pytest.approx(0.03)
    names = "abc"[:cases]
    inside = {"score": 0, "speedup": 0}
    for _ in range(800):
        base = [timed(30 * math.exp(rng.normal(0, 0.03)), 0.4, n) for n in names]
        reference = Reference.of(base, "r", noise)
        found = []
        for name in names:
            looks = [timed(0.5 * math.exp(rng.normal(0, 0.03)), 0.5, name) for _ in range(repeats)]
            found.append(OBJECTIVE.annotate(combine(looks), reference))
        bounds = OBJECTIVE.bounds(found, reference, noise)
        for metric, truth in (("score", 0.1 * math.sqrt(60)), ("speedup", 60.0)):
            inside[metric] += bounds[f"{metric}_low"] <= truth <= bounds[f"{metric}_high"]
    for count in inside.values():
        assert 0.93 <= count / 800 <= 0.98


def test_repeats_are_medians_and_keep_the_metrics() -> None:
    whole = combine([timed(1.0, 0.7), timed(9.0), timed(1.1)])
    assert whole.seconds == pytest.approx(1.1)
    assert whole.run_seconds == pytest.approx(1.1)
    assert whole.metrics == {"r": 0.7}
    assert whole.repeats == 3
    assert whole.spread > 1


def test_noise_is_learnt_from_repeats() -> None:
    rng = np.random.default_rng(0)
    noise = Noise()
    for _ in range(200):
        noise.learn([combine([timed(math.exp(rng.normal(0, 0.1))) for _ in range(3)])])
    assert noise.one == pytest.approx(0.1, rel=0.1)
    crowded = timed(1.0, crowded=0.4)
    assert Noise().error(crowded) > 2 * Noise().error(timed(1.0))


def test_the_baselines_error_widens_the_final_interval_and_tells_none_apart() -> None:
    gains = [{"a": 0.1}, {"a": 0.1}]
    seconds = [np.full((1, DRAWS), 1.0), np.full((1, DRAWS), 1.02)]
    value = score_value(gains, {"a": 30.0}, {"a": 0.05})
    first, second = value(0, seconds[0]), value(1, seconds[1])
    assert np.std(np.log(first)) == pytest.approx(0.025, rel=0.05)
    assert np.all(first > second)
    assert value(0, np.array([[1.0]]))[0] == pytest.approx(0.1 * math.sqrt(30))
