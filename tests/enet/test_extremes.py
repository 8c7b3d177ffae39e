"""Values at the ends of what a float64 holds: defined answers, by either solver and the script's.

Squares are summed: responses beyond 1e150 are refused, and below 1e-160 they vanish. A gene that is
constant, or zero in effect, has no coefficients.
"""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from sklearn.linear_model import ElasticNet, LinearRegression, Ridge
from tuner_plugins.enet import fit, summarise
from tuner_plugins.enet.solvers.numpy_solver import solve
from tuner_plugins.enet.validation import DataError

CELLS, COLUMNS, GENES = 60, 5, 4


def design() -> tuple[np.ndarray, np.ndarray]:
    """Make a one-hot design with controls, and responses."""
    rng = np.random.default_rng(0)
    X = np.zeros((CELLS, COLUMNS))
    X[np.arange(50), np.arange(50) % COLUMNS] = 1.0
    return X, rng.normal(size=(CELLS, GENES)) + X @ rng.normal(size=(COLUMNS, GENES))


def by_numpy(X, Y, alpha, ratio):
    """Fit as the stand-alone script does, (genes, columns)."""
    Z = np.column_stack([np.ones(len(X)), X])
    factor = np.r_[0.0, np.ones(X.shape[1])]
    coef, residual = solve(Z.T @ Z, Z.T @ Y, (Y**2).sum(axis=0), factor, alpha, ratio)
    return coef[1:].T, residual


def by(method):
    def fitted(X, Y, alpha, ratio):
        found = fit(summarise(X, Y), alpha, ratio, method=method)
        return found.coef, found.kkt

    return fitted


SOLVERS = {"newton": by("newton"), "descent": by("descent"), "numpy": by_numpy}


def peer(X, Y, alpha, ratio):
    """Fit by scikit-learn."""
    if alpha == 0:
        return LinearRegression().fit(X, Y).coef_
    if ratio == 0:
        return Ridge(alpha=alpha * len(X), solver="svd").fit(X, Y).coef_
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = ElasticNet(alpha=alpha, l1_ratio=ratio, tol=1e-14, max_iter=100_000)
        return np.array([model.fit(X, y).coef_ for y in Y.T])


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("scale", [1e-150, 1e-30, 1.0, 1e30, 1e150])
def test_units_of_the_responses_are_free(solver, scale):
    X, Y = design()
    Y = Y / np.abs(Y).max()
    coef, residual = SOLVERS[solver](X, Y * scale, 0.01 * scale, 1.0)  # a squared penalty has units
    assert residual <= 1e-9
    np.testing.assert_allclose(coef / scale, peer(X, Y, 0.01, 1.0), atol=1e-9)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize(("alpha", "ratio"), [(0.0, 0.5), (0.02, 0.0), (0.02, 1.0), (1e12, 0.5)])
@pytest.mark.parametrize("genes", [GENES, 1])
def test_ends_of_the_penalties_equal_scikit_learn(solver, alpha, ratio, genes):
    X, Y = design()
    coef, residual = SOLVERS[solver](X, Y[:, :genes], alpha, ratio)
    assert residual <= 1e-9
    np.testing.assert_allclose(coef, np.atleast_2d(peer(X, Y[:, :genes], alpha, ratio)), atol=1e-9)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("value", [0.0, 7.3, 1e30, 5e-324, 1e-200])
@pytest.mark.parametrize("ratio", [0.0, 0.5, 1.0])
def test_a_constant_gene_has_no_coefficients_and_harms_no_other(solver, value, ratio):
    X, Y = design()
    Y[:, 1] = value
    coef, residual = SOLVERS[solver](X, Y, 0.02, ratio)
    assert residual <= 1e-9
    assert np.abs(coef[1]).max() <= 1e-12 * value
    others = [0, 2, 3]
    np.testing.assert_allclose(coef[others], peer(X, Y[:, others], 0.02, ratio), atol=1e-9)


@pytest.mark.parametrize("solver", SOLVERS)
def test_one_cell_of_a_perturbation_is_fitted(solver):
    X, Y = design()
    X[:, 0] = 0.0
    X[3] = [1.0, 0.0, 0.0, 0.0, 0.0]
    coef, residual = SOLVERS[solver](X, Y, 0.001, 0.5)
    assert residual <= 1e-9
    np.testing.assert_allclose(coef, peer(X, Y, 0.001, 0.5), atol=1e-9)


@pytest.mark.parametrize("value", [1e155, 1e300, -1e300])
def test_squares_that_overflow_are_refused(value):
    X, Y = design()
    Y[5, 2] = value
    with pytest.raises(DataError, match=r"Y holds .*beyond 1e150.* 1 column\(s\) \(2\).*rescale"):
        summarise(X, Y)
    with pytest.raises(DataError, match=r"X holds .*beyond 1e150"):
        summarise(np.column_stack([X, Y[:, 2]]), Y[:, :2])
