from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import ElasticNet
from tuner_plugins.enet.solvers.numpy_solver import solve


def _solve(X, Y, factor, alpha, ratio):
    Z = np.column_stack([np.ones(len(X)), X])
    return solve(Z.T @ Z, Z.T @ Y, (Y**2).sum(axis=0), np.r_[0.0, factor], alpha, ratio)


@settings(deadline=None, max_examples=40)
@given(
    st.integers(0, 10**6),
    st.integers(8, 60),
    st.integers(1, 9),
    st.sampled_from([1e-4, 1e-2, 0.3, 10.0]),
    st.sampled_from([0.01, 0.5, 1.0]),
)
def test_coefficients_are_scikit_learns(seed, cells, columns, alpha, ratio):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(cells, columns)) * rng.uniform(0.2, 3, columns)
    X[:, : columns // 2] = X[:, : columns // 2] > 0.5
    Y = X @ rng.normal(size=(columns, 3)) + rng.normal(size=(cells, 3))
    coef, residual = _solve(X, Y, np.ones(columns), alpha, ratio)
    assert residual < 1e-9
    net = ElasticNet(alpha=alpha, l1_ratio=ratio, tol=1e-14, max_iter=10**6)
    for gene in range(3):
        y = Y[:, gene]
        fitted = net.fit(X, y)
        ours = np.r_[coef[:, gene]]
        # where columns depend on each other only the fit is unique, so that is what is compared
        predictions = ours[0] + X @ ours[1:]
        scale = 1e-7 * (1 + np.abs(y).max())
        np.testing.assert_allclose(predictions, fitted.predict(X), atol=scale)


@pytest.mark.parametrize("trouble", ["duplicate", "constant", "zero", "no_controls", "one_cell"])
@pytest.mark.parametrize("free", [False, True])
def test_degenerate_columns(trouble, free):
    rng = np.random.default_rng(0)
    D = np.eye(4)[np.arange(80) % 4][:, : 4 if trouble == "no_controls" else 3]
    C = rng.normal(size=(80, 3))
    if trouble == "duplicate":
        C[:, 2] = C[:, 1]
    if trouble in ("constant", "zero"):
        C[:, 2] = 3.0 * (trouble == "constant")
    if trouble == "one_cell":
        D[:, 2] = np.arange(80) == 7
    X, Y = np.hstack([D, C]), rng.normal(size=(80, 5)) + D[:, :1]
    factor = np.r_[np.ones(D.shape[1]), np.full(3, 0.0 if free else 1.0)]
    coef, residual = _solve(X, Y, factor, 0.01, 0.5)
    assert residual < 1e-9
    assert np.isfinite(coef).all()


def test_nothing_is_left_at_a_large_alpha():
    rng = np.random.default_rng(1)
    X, Y = rng.normal(size=(50, 4)), rng.normal(size=(50, 3)) + 5
    coef, residual = _solve(X, Y, np.ones(4), 100.0, 0.5)
    assert not coef[1:].any()
    np.testing.assert_allclose(coef[0], Y.mean(axis=0))
    assert residual < 1e-9
