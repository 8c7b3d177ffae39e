from __future__ import annotations

import warnings

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import ElasticNet, LinearRegression, Ridge
from tuner_plugins.elasticnet import DataError, alpha_max, fit, fit_grid, summarise
from tuner_plugins.enet.problem import disjoint_columns, worth_eliminating

from tests.enet.designs import kkt_residual, needs_compiler, objective, simulate

METHODS = ("newton", "descent", "numpy")
RATIOS = (0.0, 0.35, 1.0)


def peer(X, Y, alpha, l1_ratio):
    """Fit by scikit-learn, as tightly as it goes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.simplefilter("ignore", UserWarning)
        if l1_ratio == 0.0:
            model = Ridge(alpha=alpha * X.shape[0], solver="svd").fit(X, Y)
        else:
            model = ElasticNet(alpha=alpha, l1_ratio=l1_ratio, tol=1e-14, max_iter=500_000)
            model.fit(X, Y)
    return np.atleast_2d(model.coef_), np.atleast_1d(model.intercept_)


def traps() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return X and Y of each design with a unique solution that has broken a solver."""
    p = simulate(11)
    X, Y, d = p.X, p.Y, p.design
    collinear = np.hstack([X, X[:, [d]] + X[:, [d + 1]]])
    lonely = X.copy()
    lonely[np.flatnonzero(X[:, 2])[1:], 2] = 0.0
    constant = Y.copy()
    constant[:, 1] = 2.5
    batches = (np.random.default_rng(0).integers(0, 3, X.shape[0])[:, None] == range(3)) * 1.0
    # Controls are what makes the solution unique, so without them the group sizes must not balance.
    no_controls = simulate(12, controls=0.0)
    return {
        "plain": (X, Y),
        "no_controls": (no_controls.X, no_controls.Y),
        "duplicate": (np.hstack([X, X[:, [d]]]), Y),
        "constant_covariate": (np.hstack([X, np.full((len(X), 1), 7.0)]), Y),
        "zero_covariate": (np.hstack([X, np.zeros((len(X), 1))]), Y),
        "empty_perturbation": (np.hstack([X[:, :d], np.zeros((len(X), 1)), X[:, d:]]), Y),
        "collinear": (collinear, Y),
        "one_cell": (lonely, Y),
        "constant_gene": (X, constant),
        "all_batches": (np.hstack([X, batches]), Y),
        "large_units": (X * np.r_[np.ones(d + 2), 1e4], Y),
        "multi_hot": (simulate(13, multiplicity=3).X, simulate(13, multiplicity=3).Y),
        "dense": (np.random.default_rng(1).normal(size=X.shape), Y),
    }


TRAPS = traps()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("trap", TRAPS)
def test_equals_scikit_learn(trap, method):
    X, Y = TRAPS[trap]
    summed = summarise(X, Y)
    for ratio in RATIOS:
        # Ridge has no alpha_max.
        top = alpha_max(summed, ratio or 1.0)
        alphas = top * np.array([1.0, 0.3, 0.03, 0.003])
        grid = fit_grid(summed, alphas, ratio, coefficients=True, method=method)
        assert grid.kkt.max() <= 1e-9
        for at, alpha in enumerate(alphas):
            coef, intercept = grid.coef[0, at, 0], grid.intercept[0, at, 0]
            want, want_intercept = peer(X, Y, alpha, ratio)
            spread = X.std(axis=0)
            assert kkt_residual(X, Y, coef, intercept, alpha, ratio) <= 1e-9 * max(1, X.max())
            if unique(trap, ratio):
                np.testing.assert_allclose(coef * spread, want * spread, atol=1e-9)
                np.testing.assert_allclose(intercept, want_intercept, atol=1e-9)
            else:
                np.testing.assert_allclose(
                    objective(X, Y, coef, intercept, alpha, ratio),
                    objective(X, Y, want, want_intercept, alpha, ratio),
                    rtol=1e-10,
                )


def unique(trap: str, ratio: float) -> bool:
    """Return whether the minimum is unique; two equal columns can share a lasso's weight."""
    return ratio < 1.0 or trap not in ("duplicate", "collinear", "all_batches")


@pytest.mark.parametrize("method", METHODS)
def test_everything_is_zero_at_alpha_max_and_not_below(method):
    p = simulate(14)
    summed = summarise(p.X, p.Y)
    for factor in (None, np.r_[np.ones(p.design), 0, 0, 0.5]):
        for ratio in (0.2, 1.0):
            top = alpha_max(summed, ratio, factor)
            fits = fit_grid(summed, [top * (1 + 1e-9), top * 0.999], ratio, factor, method=method)
            assert not fits.nonzero[0, 0].any()
            assert fits.nonzero[0, 1].any()


@pytest.mark.parametrize("method", METHODS)
def test_no_penalty_is_least_squares(method):
    p = simulate(15)
    got = fit(summarise(p.X, p.Y), 0.0, 0.5, method=method)
    want = LinearRegression().fit(p.X, p.Y)
    np.testing.assert_allclose(got.coef, want.coef_, atol=1e-10)
    free = fit(summarise(p.X, p.Y), 7.0, 0.5, np.zeros(p.X.shape[1]), method=method)
    np.testing.assert_allclose(free.coef, want.coef_, atol=1e-10)


@pytest.mark.parametrize("method", METHODS)
def test_free_columns_equal_residualising(method):
    """Free covariates equal projecting them out of X and Y first (Frisch, Waugh, Lovell)."""
    p = simulate(16)
    d = p.design
    C = np.hstack([np.ones((len(p.X), 1)), p.X[:, d:], p.X[:, [d]] * 2])
    away = np.eye(len(C)) - C @ np.linalg.pinv(C)
    X = np.hstack([p.X, p.X[:, [d]] * 2])
    factor = np.r_[np.ones(d), np.zeros(4)]
    got = fit(summarise(X, p.Y), 0.02, 0.5, factor, method=method)
    want, _ = peer(away @ p.X[:, :d], away @ p.Y, 0.02, 0.5)
    np.testing.assert_allclose(got.coef[:, :d], want, atol=1e-10)
    assert kkt_residual(X, p.Y, got.coef, got.intercept, 0.02, 0.5, factor) < 1e-12


@given(
    seed=st.integers(0, 10_000),
    cells=st.integers(12, 80),
    perturbations=st.integers(1, 14),
    covariates=st.integers(0, 5),
    genes=st.integers(1, 20),
    multiplicity=st.integers(1, 2),
    controls=st.sampled_from([0.0, 0.02, 0.5]),
    log_alpha=st.floats(-5, 0.5),
    ratio=st.sampled_from([0.0, 0.1, 0.5, 0.95, 1.0]),
    free=st.booleans(),
)
@settings(max_examples=80, deadline=None, derandomize=True)
def test_any_shape_is_optimal_for_both_methods(
    seed, cells, perturbations, covariates, genes, multiplicity, controls, log_alpha, ratio, free
):
    p = simulate(seed, cells, perturbations, covariates, genes, 3, controls, multiplicity)
    factor = np.r_[np.ones(perturbations), np.full(covariates, 0.0 if free else 1.0)]
    alpha = 10.0**log_alpha
    summed = summarise(p.X, p.Y, p.folds, 3)
    found = []
    for method in METHODS:
        got = fit(summed, alpha, ratio, factor, method=method)
        assert got.kkt <= 1e-9
        assert kkt_residual(p.X, p.Y, got.coef, got.intercept, alpha, ratio, factor) <= 1e-9
        found.append(p.X @ got.coef.T + got.intercept)
    # Coefficients need not be unique without controls; fitted values are.
    for other in found[1:]:
        np.testing.assert_allclose(other, found[0], atol=1e-8)


def test_certificate_agrees_with_the_cells():
    """The residual that is reported is the one that the cells give, in its own unit."""
    p = simulate(17)
    summed = summarise(p.X, p.Y)
    good = fit(summed, 0.01, 0.5)
    assert 0.0 < good.kkt < 1e-9
    bad = good.coef + 1e-3
    assert kkt_residual(p.X, p.Y, bad, good.intercept, 0.01, 0.5) > 1e-5


def test_threads_and_company_change_no_bit():
    p = simulate(18, genes=200)
    summed = summarise(p.X, p.Y, p.folds)
    grid = ([0.1, 0.001], [0.1, 1.0])
    one = fit_grid(summed, *grid, coefficients=True)
    two = fit_grid(summed, *grid, coefficients=True, threads=2)
    assert np.array_equal(one.coef, two.coef)
    assert np.array_equal(one.sse, two.sse)


def test_order_of_alphas_is_the_callers():
    p = simulate(19)
    summed = summarise(p.X, p.Y, p.folds)
    down = fit_grid(summed, [0.1, 0.01, 0.001], [0.5], coefficients=True)
    mixed = fit_grid(summed, [0.01, 0.001, 0.1], [0.5], coefficients=True)
    np.testing.assert_allclose(mixed.coef, down.coef[:, [1, 2, 0]], atol=1e-12)
    np.testing.assert_allclose(mixed.sse, down.sse[:, [1, 2, 0]], rtol=1e-11)


def test_disjoint_columns_are_found():
    p = simulate(20)
    summed = summarise(np.hstack([p.X[:, p.design :], p.X[:, : p.design]]), p.Y, p.folds)
    found = disjoint_columns(summed.gram)
    assert set(range(4, 13)) <= set(found.tolist())
    assert worth_eliminating(found, 13)
    multi = simulate(20, multiplicity=3)
    summed = summarise(multi.X, multi.Y)
    assert not worth_eliminating(disjoint_columns(summed.gram), 13)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([-0.1], [0.5]), "alphas must be"),
        (([np.nan], [0.5]), "alphas must be"),
        (([0.1], [1.5]), "l1_ratios must be"),
        (([], [0.5]), "alphas must be"),
        (([0.1], [0.5], [1.0, 2.0]), "penalty_factor must be 12"),
        (([0.1], [0.5], -np.ones(12)), "penalty_factor must be 12"),
    ],
)
def test_bad_penalties_are_named(arguments, message):
    p = simulate(21)
    with pytest.raises(DataError, match=message):
        fit_grid(summarise(p.X, p.Y), *arguments)


@needs_compiler
def test_newton_needs_few_steps_and_leaves_nothing_over():
    """Wrong steps would still end in the right fits, by coordinate descent, many times slower."""
    p = simulate(21, cells=600, perturbations=20, covariates=5, genes=160)
    fits = fit_grid(
        summarise(p.X, p.Y, p.folds), np.geomspace(0.3, 1e-3, 8), [0.1, 0.5, 1.0], method="newton"
    )
    assert fits.polished == 0
    assert 0 < fits.steps < 2 * fits.sse.size
