from __future__ import annotations

import math

import numpy as np
import pytest
from numba import njit
from numba.core.errors import TypingError
from tuner_plugins.enet.penalty import choose
from tuner_plugins.enet.simd.lanes import add_product, list_changes, set_product
from tuner_plugins.enet.simd.vector import (
    LANES,
    every,
    fetch,
    get,
    prefetch,
    put,
    some,
    spread,
)


@pytest.fixture
def rows() -> np.ndarray:
    drawn = np.random.default_rng(0).normal(size=(7, LANES))
    drawn[2, 3] = 0.0
    return drawn


@njit
def _compute(rows, out):
    a, b, zero = get(rows, 0), get(rows, 1), spread(0.0)
    put(out, 0, a + b)
    put(out, 1, a - b)
    put(out, 2, a * b)
    put(out, 3, a / b)
    put(out, 4, -a)
    put(out, 5, math.sqrt(abs(a)))
    put(out, 6, choose((a < zero) | (b > zero), a, b))
    put(out, 7, choose(a <= b, a, b))
    put(out, 8, choose(get(rows, 2) == zero, spread(1.0), zero))


def test_operators_work_lane_by_lane(rows):
    out = np.zeros((9, LANES))
    _compute(rows, out)
    a, b = rows[:2]
    wanted = [
        a + b,
        a - b,
        a * b,
        a / b,
        -a,
        np.sqrt(np.abs(a)),
        np.where((a < 0) | (b > 0), a, b),
        np.minimum(a, b),
        rows[2] == 0,
    ]
    np.testing.assert_array_equal(out, wanted)


@njit
def _judge(rows):
    a, zero = get(rows, 0), spread(0.0)
    return some(a < zero), every(a < zero), some(a < a), every(a == a)


def test_some_and_every(rows):
    assert _judge(rows) == (True, False, False, True)
    assert _judge(-np.abs(rows)) == (True, True, False, True)
    rows[0, 5] = np.nan
    assert _judge(rows) == (True, False, False, False)


@njit
def _fetch(matrix, row, column, out):
    prefetch(matrix, row, column)
    put(out, 0, fetch(matrix, row, column))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_numbers_are_fetched_from_anywhere_in_a_row(dtype):
    matrix = np.random.default_rng(1).normal(size=(5, LANES + 8)).astype(dtype)
    out = np.zeros((1, LANES))
    _fetch(matrix[1:], 2, 5, out)
    np.testing.assert_array_equal(out[0], matrix[3, 5 : 5 + LANES])


def test_arrays_of_another_order_do_not_compile(rows):
    with pytest.raises(TypingError, match="C-ordered"):
        _judge(np.asfortranarray(rows))


@njit
def _products(out, base, factors, lanes, chosen):
    add_product(out[0], base, factors, lanes, chosen, chosen.shape[0])
    set_product(out[1], factors, lanes, chosen, chosen.shape[0])


@pytest.mark.parametrize("width", [2, 8, 14, 20])
def test_products_of_chosen_rows(rows, width):
    """Widths that fill the blocks of registers, and that leave pairs over."""
    rng = np.random.default_rng(2)
    factors, base = rng.normal(size=(7, width)), rng.normal(size=(width, LANES))
    chosen, out = np.array([0, 3, 6]), np.zeros((2, width, LANES))
    _products(out, base, factors, rows, chosen)
    product = factors[chosen].T @ rows[chosen]
    np.testing.assert_allclose(out[0], base + product, rtol=1e-13, atol=1e-13)
    np.testing.assert_allclose(out[1], product, rtol=1e-13, atol=1e-13)


@njit
def _changes(new, old, change, moved):
    return list_changes(new, old, change, moved, old.shape[0])


def test_changed_rows_are_listed(rows):
    old, change, moved = rows.copy(), np.ones_like(rows), np.zeros(8, dtype=np.int64)
    old[1, 4] += 1.0
    old[6] = np.nan
    assert _changes(rows, old, change, moved) == 2
    assert moved[:2].tolist() == [1, 6]
    np.testing.assert_array_equal(old, rows)
    assert change[1, 4] == -1.0
    assert np.isnan(change[6]).all()
    assert not change[[0, 2, 3, 4, 5]].any()
