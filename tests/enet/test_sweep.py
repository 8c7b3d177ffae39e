from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from tuner_plugins.elasticnet import DataError, Problem, cross_validate, fit, summarise
from tuner_plugins.enet import sweep

from tests.enet.designs import simulate

ALPHAS, RATIOS = np.array([0.3, 0.02, 0.001]), np.array([0.0, 0.5, 1.0])


@given(
    seed=st.integers(0, 1000),
    genes=st.integers(1, 20),
    multiplicity=st.integers(1, 2),
    folds=st.integers(2, 5),
)
@settings(max_examples=12, deadline=None, derandomize=True)
def test_r2_equals_r2_from_predictions(seed, genes, multiplicity, folds):
    p = simulate(seed, 90, 6, 2, genes, folds, multiplicity=multiplicity)
    result = sweep(p.X, p.Y, ALPHAS, RATIOS, p.folds)
    assert result.kkt <= 1e-9
    for a, alpha in enumerate(ALPHAS):
        for r, ratio in enumerate(RATIOS):
            sse, sst = np.zeros(genes), np.zeros(genes)
            for fold in range(folds):
                held = p.folds == fold
                one = fit(summarise(p.X[~held], p.Y[~held]), alpha, ratio)
                errors = p.Y[held] - p.X[held] @ one.coef.T - one.intercept
                sse += (errors**2).sum(axis=0)
                sst += ((p.Y[held] - p.Y[~held].mean(axis=0)) ** 2).sum(axis=0)
            np.testing.assert_allclose(result.r2_genes[a, r], 1 - sse / sst, atol=1e-10)
            assert result.r2[a, r] == pytest.approx(1 - sse.sum() / sst.sum(), abs=1e-10)


def test_held_out_cells_change_no_fit():
    p = simulate(1)
    rng = np.random.default_rng(0)
    before = summarise(p.X, p.Y, p.folds)
    X, Y = p.X.copy(), p.Y.copy()
    held = p.folds == 2
    X[held] = rng.permutation(X[held])
    Y[held] = rng.normal(size=Y[held].shape) * 5
    after = summarise(X, Y, p.folds)
    others = np.arange(4) != 2

    def without(summed):
        return type(summed)(
            summed.gram[others],
            summed.cross[others],
            summed.squares[others],
            summed.x_shift,
            summed.y_shift,
        )

    for alpha in ALPHAS:
        np.testing.assert_allclose(
            fit(without(before), alpha, 0.5).coef, fit(without(after), alpha, 0.5).coef, atol=1e-11
        )
    # The sweep's own fit of fold 2 is that fit.
    from tuner_plugins.elasticnet import fit_grid

    for summed in (before, after):
        grid = fit_grid(summed, ALPHAS, [0.5], coefficients=True)
        np.testing.assert_allclose(
            grid.coef[2, 1, 0], fit(without(before), ALPHAS[1], 0.5).coef, atol=1e-11
        )


def test_shuffled_labels_gain_nothing():
    p = simulate(2, cells=600, genes=40)
    rng = np.random.default_rng(3)
    factor = np.r_[np.ones(p.design), np.zeros(p.X.shape[1] - p.design)]
    gains = []
    for shuffled in (False, True):
        X = p.X.copy()
        if shuffled:
            X[:, : p.design] = rng.permutation(X[:, : p.design])
        summed = summarise(X, p.Y, p.folds)
        found = cross_validate(Problem.of(summed, factor, tested=p.design), [1e-3], [0.5])
        gain = 1 - found.sse.sum(axis=(1, 2, 3)) / found.base.sum(axis=(1, 2, 3))
        gains.append((gain.mean(), gain.std(ddof=1) / 2))
    assert gains[0][0] > 10 * gains[0][1]
    assert gains[1][0] <= 2 * gains[1][1]


def test_sparse_equals_dense():
    p = simulate(4)
    Y = np.where(p.Y > 0.5, p.Y, 0.0)
    dense = sweep(p.X, Y, ALPHAS, RATIOS, p.folds)
    for X in (sp.csr_matrix(p.X), sp.csc_array(p.X)):
        sparse = sweep(X, sp.csr_array(Y), ALPHAS, RATIOS, p.folds)
        np.testing.assert_allclose(sparse.r2_genes, dense.r2_genes, atol=1e-10)
        np.testing.assert_allclose(sparse.coef(0.02, 0.5), dense.coef(0.02, 0.5), atol=1e-10)


def test_refit_is_on_all_cells_and_off_the_grid_too():
    p = simulate(5)
    result = sweep(p.X, p.Y, ALPHAS, RATIOS, p.folds, threads=2)
    for alpha, ratio in ((0.02, 0.5), (0.007, 0.77)):
        want = fit(summarise(p.X, p.Y), alpha, ratio)
        np.testing.assert_allclose(result.coef(alpha, ratio), want.coef, atol=1e-11)
        np.testing.assert_allclose(result.intercept(alpha, ratio), want.intercept, atol=1e-11)
    assert result.coef(0.02, 0.5).shape == (11, 12)
    assert result.best[0] in ALPHAS


def test_any_integer_labels_are_folds():
    p = simulate(6)
    names = np.array([7, -2, 100, 31])[p.folds]
    order = np.argsort([7, -2, 100, 31])
    result = sweep(p.X, p.Y, ALPHAS, RATIOS, names)
    np.testing.assert_allclose(
        result.sse, sweep(p.X, p.Y, ALPHAS, RATIOS, p.folds).sse[order], rtol=1e-12
    )


def test_shapes_and_errors_of_the_mean():
    p = simulate(7)
    result = sweep(p.X, p.Y, ALPHAS, RATIOS[:2], p.folds)
    assert result.sse.shape == (4, 3, 2, 11)
    assert result.r2.shape == result.r2_se.shape == result.nonzeros.shape == (3, 2)
    np.testing.assert_allclose(result.r2_se, result.r2_folds.std(axis=0, ddof=1) / 2)
    assert (np.diff(result.nonzeros[:, 1]) > 0).all()


def test_constant_gene_and_absent_perturbation_give_finite_scores():
    p = simulate(8)
    Y = p.Y.copy()
    Y[:, 3] = 1.7
    folds = p.folds.copy()
    folds[p.X[:, 4] == 1] = 0
    result = sweep(p.X, Y, ALPHAS, RATIOS, folds)
    assert np.isfinite(result.r2_genes).all()
    assert (result.r2_genes[:, :, 3] == 0).all()
    assert (result.coef(0.001, 0.5)[3] == 0).all()
    assert result.kkt <= 1e-9


@pytest.mark.parametrize(
    ("folds", "message"),
    [
        (lambda f: f * 0, "two folds at least"),
        (lambda f: f[:-1], "integers"),
        (lambda f: f.astype(float), "integer label"),
        (lambda f: f.astype(str), "integer label"),
    ],
)
def test_bad_folds_are_named(folds, message):
    p = simulate(9)
    with pytest.raises(DataError, match=message):
        sweep(p.X, p.Y, ALPHAS, RATIOS, folds(p.folds))
