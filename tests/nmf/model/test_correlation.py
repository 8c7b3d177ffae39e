from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tuner_plugins.nmf.io.step_functions import Runs
from tuner_plugins.nmf.model.correlation import annotation_correlations, best_correlation
from tuner_plugins.nmf.model.factorize import Loadings


def make_loadings(values: np.ndarray, ends: np.ndarray) -> Loadings:
    return Loadings(values, ends, np.ones((len(values), 1)))


@settings(max_examples=50)
@given(st.integers(0, 2**32 - 1), st.sampled_from([np.float64, np.float32]))
def test_equals_pearson_over_positions(seed: int, dtype: type) -> None:
    rng = np.random.default_rng(seed)
    size = int(rng.integers(50, 400))
    ends, genes = (np.append(np.unique(rng.integers(1, size, 12)), size) for _ in range(2))
    values = rng.uniform(size=(3, ends.size)).astype(dtype)
    annotation = rng.integers(0, 2, genes.size).astype(np.float32)
    annotation[:2] = 0, 1
    loadings = make_loadings(values, ends)
    dense = np.repeat(annotation.astype(float), np.diff(genes, prepend=0))
    expected = [np.corrcoef(column, dense)[0, 1] for column in loadings.expand().T.astype(float)]
    found = annotation_correlations(loadings, Runs(genes, annotation))
    np.testing.assert_allclose(found, expected, atol=1e-10)


def test_missing_annotation_counts_as_zero() -> None:
    loadings = make_loadings(np.array([[1.0, 5.0]]), np.array([10, 20]))
    with_nan = annotation_correlations(loadings, Runs(np.array([10, 20]), np.array([np.nan, 1.0])))
    assert with_nan[0] == pytest.approx(1.0)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_constant_loading_has_no_correlation(dtype: type) -> None:
    ends = np.array([10, 20, 30])
    rounding = 1 + 4 * np.finfo(dtype).eps
    values = np.array([[3, 3, 3], [7, 7 * rounding, 7], [0, 0, 0], [1, 2, 1]], dtype)
    found = annotation_correlations(
        make_loadings(values, ends), Runs(ends, np.array([0.0, 1.0, 0.0]))
    )
    np.testing.assert_allclose(found, [0, 0, 0, 1], atol=1e-12)


def test_a_constant_annotation_has_no_correlation() -> None:
    loadings = make_loadings(np.array([[1.0, 2.0]]), np.array([5, 10]))
    found = annotation_correlations(loadings, Runs(np.array([10]), np.array([1.0])))
    np.testing.assert_array_equal(found, 0)


def test_best_is_signed_unless_absolute() -> None:
    found = np.array([-0.6, 0.2, 0.0])
    assert best_correlation(found) == 0.2
    assert best_correlation(found, absolute=True) == 0.6


def test_an_annotation_of_another_region_is_refused() -> None:
    loadings = make_loadings(np.array([[1.0, 2.0]]), np.array([5, 10]))
    with pytest.raises(ValueError, match="11 positions, the loadings 10"):
        annotation_correlations(loadings, Runs(np.array([11]), np.array([1.0])))
