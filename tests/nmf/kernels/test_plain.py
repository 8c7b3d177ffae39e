"""The kernels in Python: what is asked of those in C, and the same answers."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tuner_plugins.nmf.kernels import build
from tuner_plugins.nmf.kernels.plain import PlainKernels
from tuner_plugins.nmf.kernels.plain_factorize import taut_string
from tuner_plugins.nmf.model import prox_tv_numba
from tuner_plugins.nmf.model.prox_tv import prox_tv1d

from benchmarks.prox import kkt_residual
from tests.nmf.kernels import test_fast_path as quick
from tests.nmf.model.test_prox_tv import SHAPES, VALUES, brute_force, signals

tracks, frozen_setting = quick.tracks, quick.frozen_setting

test_both_paths_give_the_same = quick.both_paths_of(8_000, 12_000)  # it is Python's own pace
test_more_loadings_than_tracks = quick.test_more_loadings_than_tracks
test_tracks_without_the_chromosome = quick.test_tracks_without_the_chromosome_are_left_out
test_equal_tracks_are_left_alone = quick.test_equal_tracks_are_left_alone
test_loadings_that_are_all_constant = quick.test_loadings_that_are_all_constant
test_files_of_every_kind_are_binned_alike = quick.test_files_of_every_kind_are_binned_alike
test_disorder_is_left_alone = quick.test_disorder_is_left_alone
test_what_is_refused_is_left_alone = quick.test_what_the_careful_reader_refuses_is_left_alone
test_a_chromosome_list = quick.test_a_chromosome_list_that_contradicts_itself_is_left_alone
test_the_file_is_an_array_of_numpys = quick.test_the_file_is_an_array_of_numpys


@pytest.fixture(autouse=True, scope="module")
def plain():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(build._OPENED, True, PlainKernels())
        yield


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    pairs=st.lists(st.tuples(VALUES, st.floats(0.1, 10)), min_size=1, max_size=8),
    lam=st.floats(0.01, 50),
)
def test_equals_the_best_of_all_cuts(pairs, lam):
    y, weights = np.array(pairs).T
    found = taut_string(y.tolist(), weights.tolist(), lam)
    np.testing.assert_allclose(found, brute_force(y, lam, weights), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("shape", SHAPES)
def test_is_optimal_on_every_shape(shape):
    rng = np.random.default_rng(3)
    y = signals(shape, 9_000, rng)
    weights = rng.uniform(0.1, 50, y.size)
    assert taut_string(y.tolist(), weights.tolist(), 0.0) == y.tolist()
    for lam in (0.01, 1.0, 30.0, 1000.0, 1e9):
        found = np.array(taut_string(y.tolist(), weights.tolist(), lam))
        assert kkt_residual(y, found, lam, weights) <= 1e-9
        assert y.min() <= found.min() <= found.max() <= y.max()


@pytest.mark.parametrize("numba", [True, False])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_numba_takes_over(monkeypatch, dtype, numba):
    """After some positions; where there is none, Python goes on."""
    y = np.random.default_rng(0).normal(size=400).astype(dtype)
    expected = prox_tv1d(y, 2.0)
    monkeypatch.setattr(prox_tv_numba, "MOST_PLAIN", 900)
    if not numba:
        monkeypatch.setitem(sys.modules, "numba", None)
    prox_tv_numba._compile_taut_string.cache_clear()
    used = []
    make = prox_tv_numba._compile_taut_string
    monkeypatch.setattr(
        prox_tv_numba, "_compile_taut_string", lambda: used.append(make()) or used[-1]
    )
    solve, found = prox_tv_numba.numba_prox.__wrapped__(), np.empty_like(y)
    for _ in range(4):
        assert solve(y, None, found, 2.0) == 0
        np.testing.assert_allclose(
            found, expected, rtol=0, atol=1e-6 if dtype is np.float32 else 1e-12
        )
    assert [kernel is not None for kernel in used] == [numba] * 2
    make.cache_clear()
