from __future__ import annotations

import numpy as np
from numba import njit
from tuner_plugins.enet.penalty import soft_threshold, violation
from tuner_plugins.enet.simd.vector import LANES, get, put

SOME = np.array([-3.0, -1.0, -0.4, -0.0, 0.0, 0.3, 1.0, 2.5])
VALUES, COEFS, L1 = (
    np.ascontiguousarray(part.reshape(-1, LANES))
    for part in np.meshgrid(SOME, SOME, [0.0, 0.4, 1.0, 10.0], indexing="ij")
)


@njit
def _numbers(values, coefs, l1, out):
    for at in np.ndindex(values.shape):
        out[0][at] = soft_threshold(values[at], l1[at])
        out[1][at] = violation(values[at], coefs[at], l1[at])


@njit
def _lanes(values, coefs, l1, out):
    for row in range(values.shape[0]):
        value, coef, limit = get(values, row), get(coefs, row), get(l1, row)
        put(out[0], row, soft_threshold(value, limit))
        put(out[1], row, violation(value, coef, limit))


def test_formulas_are_the_textbooks():
    with_signs = np.sign(VALUES) * np.maximum(np.abs(VALUES) - L1, 0.0)
    np.testing.assert_array_equal(soft_threshold(VALUES, L1), with_signs)
    # The subdifferential of l1 |w| is an interval at 0, a point elsewhere.
    low = VALUES + np.where(COEFS == 0, -L1, L1 * np.sign(COEFS))
    high = VALUES + np.where(COEFS == 0, L1, L1 * np.sign(COEFS))
    nearest = np.clip(0.0, low, high)
    np.testing.assert_array_equal(violation(VALUES, COEFS, L1), np.abs(nearest))


def test_what_soft_threshold_returns_violates_nothing():
    w = soft_threshold(VALUES, L1)
    np.testing.assert_allclose(violation(w - VALUES, w, L1), 0.0, atol=1e-15)


def test_compiled_numbers_and_lanes_have_the_same_bits():
    wanted = np.array([soft_threshold(VALUES, L1), violation(VALUES, COEFS, L1)])
    for compiled in (_numbers, _lanes):
        out = np.full_like(wanted, np.nan)
        compiled(VALUES, COEFS, L1, out)
        np.testing.assert_array_equal(out, wanted)
