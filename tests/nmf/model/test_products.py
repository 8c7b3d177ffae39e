"""The dense products of a round against NumPy, on both kinds of kernel."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tuner_plugins.nmf.kernels.build import load_kernels
from tuner_plugins.nmf.model import products
from tuner_plugins.nmf.model.products import project, weighted_products


@pytest.fixture(params=["c", "numpy"])
def kernel(request, monkeypatch):
    if request.param == "c" and load_kernels() is None:
        pytest.skip("no C compiler here: NumPy alone is tested")
    if request.param == "numpy":
        monkeypatch.setattr(products, "load_kernels", lambda: None)


@pytest.mark.parametrize("stored", [np.float32, np.float64])
def test_products_are_what_numpy_gives_for_any_shape(kernel, stored) -> None:
    @settings(max_examples=60, deadline=None)
    @given(
        st.integers(1, 12),
        st.integers(1, 9),
        st.sampled_from([1, 7, 8, 15, 16, 17, 40, 1023, 1500]),
        st.booleans(),
        st.integers(0, 2**32 - 1),
    )
    def check(k: int, tracks: int, runs: int, weighted: bool, seed: int) -> None:
        rng = np.random.default_rng(seed)
        signal = rng.normal(size=(tracks, runs)).astype(stored)
        factors = rng.normal(size=(k, tracks))
        lengths = rng.integers(1, 50, runs).astype(float) if weighted else None
        loadings = np.full((k, runs), np.nan)
        project(signal, factors, loadings)
        np.testing.assert_allclose(loadings, np.maximum(factors @ signal, 0), atol=1e-13)
        gram, cross = weighted_products(loadings, signal, lengths)
        heavy = loadings if lengths is None else loadings * lengths
        np.testing.assert_allclose(gram, heavy @ loadings.T, rtol=1e-12, atol=1e-11)
        np.testing.assert_allclose(cross, heavy @ signal.T, rtol=1e-12, atol=1e-11)

    check()


def test_threads_change_no_digit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "_SPAN", 100)
    rng = np.random.default_rng(0)
    signal, factors = rng.normal(size=(5, 1234)), rng.normal(size=(3, 5))
    found = []
    for threads in (1, 2):
        loadings = np.empty((3, 1234))
        project(signal, factors, loadings, threads)
        found.append((loadings, *weighted_products(loadings, signal, None, threads)))
    for one, two in zip(*found, strict=True):
        np.testing.assert_array_equal(one, two)


def test_rows_of_a_slice_are_taken_where_they_lie(kernel) -> None:
    signal = np.random.default_rng(0).normal(size=(4, 100))[:, 10:60]
    loadings = np.empty((2, 50))
    project(signal, np.ones((2, 4)), loadings)
    np.testing.assert_allclose(loadings[1], np.maximum(signal.sum(axis=0), 0), atol=1e-14)
