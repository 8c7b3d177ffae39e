from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tuner_plugins.nmf.io.step_functions import Runs
from tuner_plugins.nmf.model.factorize import Loadings
from tuner_plugins.nmf.model.null import draw_shifts, shifted_correlations

from tuner.measure.luck import compare


def random_runs(rng: np.random.Generator, size: int, count: int) -> np.ndarray:
    return np.unique(np.append(rng.integers(1, size, count), size))


@given(seed=st.integers(0, 10**6), size=st.integers(20, 300))
@settings(max_examples=30, deadline=None, derandomize=True)
def test_it_is_what_rolling_the_annotation_gives(seed: int, size: int) -> None:
    rng = np.random.default_rng(seed)
    ends, genes = random_runs(rng, size, 12), random_runs(rng, size, 6)
    loadings = Loadings(rng.random((3, len(ends))), ends, np.ones((3, 1)))
    loadings.values[2] = 0.7  # constant
    values = rng.integers(0, 2, len(genes)).astype(float)
    values[0], values[-1] = 1.0, np.nan
    shifts = rng.integers(0, size + 1, 9)
    found = shifted_correlations(loadings, Runs(genes, values), shifts)
    columns = np.repeat(loadings.values, np.diff(ends, prepend=0), axis=1)
    annotation = np.repeat(np.nan_to_num(values), np.diff(genes, prepend=0))
    for shift, row in zip(shifts, found, strict=True):
        rolled = np.roll(annotation, shift)
        expected = [
            np.corrcoef(column, rolled)[0, 1] if np.ptp(column) and np.ptp(rolled) else 0.0
            for column in columns
        ]
        np.testing.assert_allclose(row, expected, atol=1e-9)


def test_a_planted_signal_passes_and_chance_does_not() -> None:
    rng = np.random.default_rng(0)
    size = 100_000
    genes = np.append(np.arange(5_000, size, 5_000), size)
    values = (rng.random(len(genes)) < 0.4).astype(float)
    bins = np.arange(1000, size + 1, 1000)
    planted = values[(bins - 1) // 5000] + rng.normal(0, 0.5, len(bins))
    chance = rng.normal(0, 1, len(bins))
    p_values = []
    for loading in (planted, chance):
        loadings = Loadings(np.stack([loading - loading.min()] * 2), bins, np.ones((2, 1)))
        zero = shifted_correlations(loadings, Runs(genes, values), np.array([0]))
        draws = shifted_correlations(loadings, Runs(genes, values), draw_shifts(size, 499, 0))
        null = compare("a", zero.max(), draws.max(axis=1), "maximize", False)
        p_values.append(null.p_value)
        assert null.draws == 499
    assert p_values[0] == pytest.approx(1 / 500, abs=2e-2)
    assert p_values[1] > 0.02


def test_a_null_is_compared_in_the_metrics_direction() -> None:
    draws = np.arange(1.0, 20.0)
    up = compare("a", 18.0, draws, "maximize", True)
    down = compare("a", 2.0, draws, "minimize", True)
    assert up.p_value == down.p_value == pytest.approx(3 / 20)
    assert up.point > up.mean > down.point
