from __future__ import annotations

import numpy as np
import pytest
from tuner_plugins.enet import kernels
from tuner_plugins.enet.penalty import soft_threshold, violation
from tuner_plugins.native.build import open_library

SOME = np.array([-3.0, -1.0, -0.4, -0.0, 0.0, 0.3, 1.0, 2.5])
VALUES, COEFS, L1 = (
    np.ascontiguousarray(part.ravel())
    for part in np.meshgrid(SOME, SOME, [0.0, 0.4, 1.0, 10.0], indexing="ij")
)


IN_C = """
#include "lanes.h"
struct problem {
    const double *values, *coefs, *l1;
    int64_t count;
    double *out;
};

void formulas(const struct problem *p)
{
    const double *values = p->values, *coefs = p->coefs, *l1 = p->l1;
    double *out = p->out;
    int64_t count = p->count;
    for (int64_t at = 0; at < count; at += LANES) {
        lanes value = load_some(values + at, LANES), coef = load_some(coefs + at, LANES);
        lanes limit = load_some(l1 + at, LANES);
        store_some(out + at, soft_threshold(value, limit), LANES);
        store_some(out + count + at, violation(value, coef, limit), LANES);
    }
}
"""


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


def test_compiled_formulas_have_the_same_bits():
    wanted = np.array([soft_threshold(VALUES, L1), violation(VALUES, COEFS, L1)])
    files = {**kernels.FILES, "formulas.c": IN_C}
    library = open_library("test", files, (("formulas.c",),), kernels.FLAGS)
    if library is None:
        pytest.skip("no C compiler here")
    out = np.full_like(wanted, np.nan)
    library.formulas(kernels.words(VALUES, COEFS, L1, VALUES.size, out))
    np.testing.assert_array_equal(out, wanted)
