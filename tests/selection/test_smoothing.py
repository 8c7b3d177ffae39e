"""A lucky spike without good neighbours is not what is frozen."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from threadpoolctl import threadpool_info, threadpool_limits

from tests.selection.test_finalists import make_record
from tuner.config.objective import Objective
from tuner.records import Finalist
from tuner.selection.smoothing import LEAST, MOST, expected_values, smoothed_best

SPACE = {
    "rate": FloatDistribution(1e-3, 10.0, log=True),
    "rounds": IntDistribution(1, 50),
    "kind": CategoricalDistribution(("plain", "log")),
}


def draw(seed: int, count: int = 60) -> tuple[list[dict[str, Any]], np.ndarray]:
    """Draw settings, and what they are worth on all data: best at rate 0.1, 20 rounds, kind log."""
    rng = np.random.default_rng(seed)
    drawn = [
        {
            "rate": float(10 ** rng.uniform(-3, 1)),
            "rounds": int(rng.integers(1, 51)),
            "kind": str(rng.choice(["plain", "log"])),
        }
        for _ in range(count)
    ]
    worth = [
        2.0
        - (np.log10(s["rate"]) + 1) ** 2 / 2
        - (s["rounds"] - 20) ** 2 / 800
        + 0.5 * (s["kind"] == "log")
        for s in drawn
    ]
    return drawn, np.array(worth)


def test_what_is_chosen_holds_up_better_than_the_best_as_measured():
    lost, lost_by_best = [], []
    for seed in range(24):
        drawn, worth = draw(seed)
        luck = np.random.default_rng(100 + seed).standard_normal(len(worth)) * 0.6
        expected = expected_values(drawn, worth + luck, SPACE)
        lost.append(worth.max() - worth[np.argmax(expected)])
        lost_by_best.append(worth.max() - worth[np.argmax(worth + luck)])
    assert np.mean(lost) < 0.75 * np.mean(lost_by_best)


def test_without_luck_the_surface_goes_through_the_values():
    drawn, worth = draw(3)
    expected = expected_values(drawn, worth, SPACE)
    kept = worth > np.quantile(worth, 0.3)
    assert np.abs(expected - worth)[kept].max() < 0.25
    assert worth.max() - worth[np.argmax(expected)] < 0.05


def test_a_single_spike_does_not_win():
    drawn, worth = draw(5)
    spike = int(np.argsort(worth)[len(worth) // 2])
    measured = worth.copy()
    measured[spike] = worth.max() + 0.3
    assert np.argmax(expected_values(drawn, measured, SPACE)) != spike


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), shift=st.floats(-50, 50), factor=st.floats(0.01, 100))
def test_neither_order_nor_unit_matters(seed, shift, factor):
    drawn, worth = draw(seed, 20)
    worth = worth + np.random.default_rng(seed).standard_normal(20) * 0.3
    expected = expected_values(drawn, worth, SPACE)
    scaled = expected_values(drawn, shift + factor * worth, SPACE)
    np.testing.assert_allclose(scaled, shift + factor * expected, rtol=1e-3, atol=1e-2 * factor)
    order = np.random.default_rng(seed).permutation(20)
    turned = expected_values([drawn[i] for i in order], worth[order], SPACE)
    np.testing.assert_allclose(turned, expected[order], rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize("values", [[1.0] * 30, list(range(LEAST - 1))])
def test_where_there_is_nothing_to_learn_values_stay(values):
    drawn, _ = draw(0, len(values))
    np.testing.assert_array_equal(expected_values(drawn, values, SPACE), values)


def test_of_very_many_only_the_best_are_looked_at():
    drawn, worth = draw(0, MOST + 30)
    expected = expected_values(drawn, worth, SPACE)
    assert np.isinf(expected).sum() == 30
    assert worth[np.isinf(expected)].max() <= worth[np.isfinite(expected)].min()


def standing(number: int, score: float) -> Finalist:
    return Finalist(number, 3, {}, {}, {}, score, score - 0.1, score + 0.1, 0.5)


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        (None, "smooth"),  # the search's own figures
        ({"spike": 2.8, "smooth": 2.4}, "smooth"),  # timed again, as before
        ({"spike": 2.8, "smooth": 0.6}, "spike"),  # as a whole script the smooth one is slow
        ({"spike": 2.8}, "spike"),  # the only one that was timed again
    ],
)
def test_what_the_race_has_shown_counts_as_well(scores, expected):
    drawn, worth = draw(5)
    spike, smooth = int(np.argsort(worth)[len(worth) // 2]), int(np.argmax(worth))
    worth[spike] = worth.max() + 0.3
    records = [make_record(i, score, 0.0, drawn[i]) for i, score in enumerate(worth)]
    objective = Objective({"r": "maximize"}, {"score": "maximize"})
    numbers = {"spike": spike, "smooth": smooth}
    final: Any = None
    if scores is not None:
        rows = [standing(numbers[name], score) for name, score in scores.items()]
        final = SimpleNamespace(finalists=rows)
    chosen, reason = smoothed_best(records, records[spike], final, objective, SPACE)
    assert (chosen.number == spike) == (expected == "spike")
    assert (reason == "") == (expected == "spike")


def test_the_surface_takes_one_thread_of_blas(monkeypatch: pytest.MonkeyPatch) -> None:
    from sklearn.gaussian_process import GaussianProcessRegressor

    seen: list[int] = []
    for name in ("fit", "predict"):
        real = getattr(GaussianProcessRegressor, name)

        def looked(self: Any, *args: Any, real: Any = real) -> Any:
            seen.extend(pool["num_threads"] for pool in threadpool_info())
            return real(self, *args)

        monkeypatch.setattr(GaussianProcessRegressor, name, looked)
    drawn, worth = draw(3, 12)
    with threadpool_limits(4):
        if max(pool["num_threads"] for pool in threadpool_info()) == 1:
            pytest.skip("BLAS was built for one thread")
        expected_values(drawn, worth, SPACE)
    assert set(seen) == {1}
