from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import ElasticNet
from tuner_plugins.elasticnet.nested import nested
from tuner_plugins.enet import summarise
from tuner_plugins.enet.cross_validation import Problem, cross_validate, refit
from tuner_plugins.enet.cv_results import Sweep
from tuner_plugins.enet.path import fit_grid
from tuner_plugins.enet.validation import DataError

ALPHAS, RATIOS = [0.05, 0.004], [0.3, 1.0]
TESTED = 4


def _data(seed: int = 0, cells: int = 120, genes: int = 6):
    """Return X (4 perturbations, 2 covariates, two copies of the second), Y and folds."""
    rng = np.random.default_rng(seed)
    D = np.eye(TESTED + 1)[rng.integers(0, TESTED + 1, cells)][:, :TESTED]
    C = rng.normal([3.0, 40.0], [1.0, 9.0], (cells, 2))
    versions = C[:, [1]] + rng.normal(0, 4.0, (cells, 3))
    X = np.hstack([D, C[:, :1], versions])
    B = rng.normal(0, 0.8, (TESTED, genes))
    Y = D @ B + C @ rng.normal(0, [[0.4], [0.05]], (2, genes)) + rng.normal(2, 1, (cells, genes))
    return X, Y * np.linspace(0.5, 3.0, genes), np.arange(cells) % 3


def _problem(kind: str) -> tuple[Problem, np.ndarray, np.ndarray, np.ndarray]:
    X, Y, folds = _data()
    columns = [np.array([0, 1, 2, 3, 4, 5])] * 4
    chosen = [np.ones(6, dtype=bool)] * 4
    factor = np.array([1.0] * TESTED + [0.0, 0.0])
    if kind in ("versions", "all"):
        columns = [np.array([0, 1, 2, 3, 4, 5 + v % 3]) for v in range(4)]
    if kind in ("genes", "all"):
        chosen = [np.arange(6) != v for v in range(4)]
    if kind in ("penalised", "all"):
        factor = np.ones(6)
    problem = Problem(
        summarise(X, Y, folds), columns, chosen, TESTED, factor, kind in ("scaled", "all")
    )
    return problem, X, Y, folds


def _scaled(problem, X, Y, train):
    """Divide by what the training cells say, where the problem wants it."""
    X, Y = X.copy(), Y.copy()
    if problem.penalty_factor[TESTED:].all():
        X[:, TESTED:] /= X[train, TESTED:].std(axis=0)
    return X, Y / Y[train].std(axis=0) if problem.scale_genes else Y


def _oracle(X, Y, train, held, factor, alpha, ratio):
    """Return held-out squared errors of one fold by scikit-learn, free columns projected out."""
    free, tied = np.flatnonzero(factor == 0), np.flatnonzero(factor)
    Z = np.column_stack([np.ones(len(X)), X[:, free]])
    net = ElasticNet(alpha=alpha, l1_ratio=ratio, fit_intercept=False, tol=1e-14, max_iter=10**6)
    errors = []
    for y in Y.T:
        on_x = np.linalg.lstsq(Z[train], X[train][:, tied], rcond=None)[0]
        on_y = np.linalg.lstsq(Z[train], y[train], rcond=None)[0]
        left = X[:, tied] - Z @ on_x
        beta = net.fit(left[train], y[train] - Z[train] @ on_y).coef_
        errors.append(((y[held] - Z[held] @ on_y - left[held] @ beta) ** 2).sum())
    return np.array(errors)


@pytest.mark.parametrize("kind", ["plain", "versions", "genes", "penalised", "scaled", "all"])
def test_scores_from_statistics_are_those_of_predictions(kind):
    problem, X, Y, folds = _problem(kind)
    surface = cross_validate(problem, ALPHAS, RATIOS)
    assert surface.kkt < 1e-9
    shape = (3, 2, 2, 6)
    sse, base, sst, variance = np.zeros(shape), np.zeros(shape), np.zeros((3, 6)), np.zeros((3, 6))
    for fold in range(3):
        train, held = folds != fold, folds == fold
        mine, values = _scaled(problem, X[:, problem.columns[fold]], Y, train)
        sst[fold] = ((values[held] - values[train].mean(axis=0)) ** 2).sum(axis=0)
        variance[fold] = values[train].var(axis=0)
        covariates = mine * np.r_[np.zeros(TESTED), 1, 1]  # a column of zeros has no coefficient
        for a, alpha in enumerate(ALPHAS):
            for r, ratio in enumerate(RATIOS):
                rest = (values, train, held, problem.penalty_factor, alpha, ratio)
                sse[fold, a, r] = _oracle(mine, *rest)
                base[fold, a, r] = _oracle(covariates, *rest)
    counts = np.array(problem.chosen[:3])
    w = counts[:, None, None, :]
    np.testing.assert_allclose(
        surface.r2, 1 - (sse * w).sum((0, 3)) / (sst * counts).sum(), atol=1e-10
    )
    z = w / variance[:, None, None, :]
    np.testing.assert_allclose(
        surface.partial_r2, 1 - (sse * z).sum((0, 3)) / (base * z).sum((0, 3)), atol=1e-10
    )
    alone = 1 - (base * w).sum((0, 3)) / (sst * counts).sum()
    np.testing.assert_allclose(surface.r2_covariates + 0 * alone, alone, atol=1e-10)
    np.testing.assert_allclose(
        surface.delta_r2, ((base - sse) * w).sum((0, 3)) / (sst * counts).sum(), atol=1e-10
    )
    np.testing.assert_allclose(
        surface.delta_r2_genes, ((base - sse) * w).sum(0) / (sst * counts).sum(0), atol=1e-10
    )
    np.testing.assert_allclose(
        surface.delta_r2_folds,
        ((base - sse) * w).sum(3) / (sst * counts).sum(1)[:, None, None],
        atol=1e-10,
    )
    np.testing.assert_allclose(
        surface.r2_genes, 1 - (sse * w).sum(0) / (sst * counts).sum(0), atol=1e-10
    )
    by_fold = 1 - (sse * w).sum(3) / (sst * counts).sum(1)[:, None, None]
    np.testing.assert_allclose(surface.r2_folds, by_fold, atol=1e-10)
    np.testing.assert_allclose(surface.r2_se, by_fold.std(0, ddof=1) / np.sqrt(3), atol=1e-10)


def test_without_covariates_the_base_is_the_training_mean():
    X, Y, folds = _data()
    problem = Problem.of(summarise(X[:, :TESTED], Y, folds))
    surface = cross_validate(problem, [0.01], [0.5])
    np.testing.assert_allclose(surface.base[:, 0, 0], surface.sst, rtol=1e-9)


def test_a_constant_gene_counts_for_nothing():
    X, Y, folds = _data()
    Y = np.column_stack([Y, np.full(len(Y), 3.0)])
    factor = np.r_[np.ones(TESTED), 0, 0]
    with_it, alone = (
        cross_validate(Problem.of(sums, factor, tested=TESTED), [0.01], [0.5])
        for sums in (summarise(X[:, :6], Y, folds), summarise(X[:, :6], Y[:, :6], folds))
    )
    for name in ("r2", "r2_covariates", "delta_r2", "partial_r2", "r2_mean"):
        assert getattr(with_it, name) == pytest.approx(getattr(alone, name), abs=1e-12)


@pytest.mark.parametrize("kind", ["plain", "all"])
def test_nested_estimate_never_sees_its_fold(kind):
    problem, X, Y, folds = _problem(kind)
    surface = cross_validate(problem, ALPHAS, RATIOS)
    found = nested(problem, surface)
    assert found is not None
    sse = sst = 0.0
    for fold in range(3):
        outer, keep = folds != fold, problem.chosen[fold]
        # scales are those of the outer training set
        mine, values = _scaled(problem, X[:, problem.columns[fold]], Y, outer)
        inner = np.zeros((2, 2))
        for other in set(range(3)) - {fold}:
            rest = (values, outer & (folds != other), folds == other, problem.penalty_factor)
            for a, alpha in enumerate(ALPHAS):
                for r, ratio in enumerate(RATIOS):
                    inner[a, r] += _oracle(mine, *rest, alpha, ratio)[keep].sum()
        a, r = np.unravel_index(np.argmin(inner), (2, 2))
        assert (found.alphas[fold], found.l1_ratios[fold]) == (ALPHAS[a], RATIOS[r])
        sse += surface.sse[fold, a, r][keep].sum()
        sst += surface.sst[fold][keep].sum()
    assert found.r2 == pytest.approx(1 - sse / sst, abs=1e-12)
    assert found.r2 <= surface.r2.max() + 1e-12


def test_two_folds_leave_none_to_choose_by():
    X, Y, _ = _data()
    problem = Problem.of(summarise(X[:, :6], Y, np.arange(len(X)) % 2))
    assert nested(problem, cross_validate(problem, ALPHAS, RATIOS)) is None
    with pytest.raises(DataError, match="two folds"):
        cross_validate(replace(problem, statistics=summarise(X, Y)), ALPHAS, RATIOS)


@pytest.mark.parametrize("kind", ["plain", "penalised", "scaled", "all"])
def test_refit_is_on_the_scale_of_the_data(kind):
    problem, X, Y, _ = _problem(kind)
    mine, keep = X[:, problem.columns[3]], problem.chosen[3]
    found = refit(problem, 0.01, 0.5)
    assert found.kkt < 1e-9
    everything = np.ones(len(X), dtype=bool)
    scaled, values = _scaled(problem, mine, Y, everything)
    errors = _oracle(scaled, values, everything, everything, problem.penalty_factor, 0.01, 0.5)
    unit = Y.std(axis=0) if problem.scale_genes else np.ones(6)
    left = ((Y[:, keep] - mine @ found.coef.T - found.intercept) ** 2).sum(axis=0)
    np.testing.assert_allclose(left / unit[keep] ** 2, errors[keep], rtol=1e-9)
    if kind == "penalised":
        net = ElasticNet(alpha=0.01, l1_ratio=0.5, tol=1e-14, max_iter=10**6)
        scale = mine.std(axis=0) / scaled.std(axis=0)
        for gene, coef in zip(Y.T, found.coef, strict=True):
            np.testing.assert_allclose(net.fit(scaled, gene).coef_ / scale, coef, atol=1e-9)


def test_threads_change_nothing():
    problem, *_ = _problem("all")
    one, two = (cross_validate(problem, ALPHAS, RATIOS, threads=t) for t in (1, 2))
    np.testing.assert_array_equal(one.sse, two.sse)


def _surface(r2_folds: np.ndarray, nonzeros: np.ndarray) -> Sweep:
    folds = r2_folds.shape[0]
    return Sweep(
        np.array([0.01, 0.1, 1.0]),
        np.array([0.5]),
        (1 - r2_folds)[..., None],
        np.ones((folds, 1, 1, 1)),
        np.ones((folds, 1)),
        np.ones((folds, 1)),
        np.ones((folds, 1), dtype=bool),
        nonzeros,
        0.0,
        lambda alpha, l1_ratio: None,
    )


def test_one_standard_error_is_that_of_paired_differences():
    # folds differ much more than settings do: unpaired errors would let the sparsest setting pass
    fold = np.array([0.1, 0.5, 0.9])[:, None]
    loss = np.array([0.0, 0.01, 0.05]) + np.array([[0, 0.02, 0], [0, -0.025, 0], [0, 0.012, 0]])
    surface = _surface((fold - loss)[..., None], np.array([[9.0], [4.0], [1.0]]))
    assert surface.best_index == (0, 0)
    assert surface.best == (0.01, 0.5)
    assert surface.one_standard_error() == (1, 0)
    same = _surface(np.repeat(fold, 3, axis=1)[..., None], np.array([[9.0], [4.0], [1.0]]))
    assert same.one_standard_error() == (2, 0)


@pytest.mark.parametrize("kind", ["versions", "all"])
def test_folds_that_differ_are_fitted_once_each(kind, monkeypatch):
    problem, _, _, _ = _problem(kind)
    sets = []

    def counted(*args, **named):
        fits = fit_grid(*args, **named)
        sets.append(len(fits.sse))
        return fits

    monkeypatch.setattr("tuner_plugins.enet.cross_validation.fit_grid", counted)
    cross_validate(problem, ALPHAS, RATIOS)
    assert sets == [1] * (6 if kind == "all" else 3)  # penalised covariates have fits of their own


@pytest.mark.parametrize("method", ["newton", "descent"])
def test_held_cells_are_scored_by_a_fit_of_all_others(method):
    X, Y, folds = _data()
    summed = summarise(X[:, :6], Y, folds)
    options = {"coefficients": True, "method": method}
    every = fit_grid(summed, ALPHAS, RATIOS, **options)
    for fold in range(3):
        one = slice(fold, fold + 1)
        training, held = summed.training(one), summed.folds(one)
        alone = fit_grid(training, ALPHAS, RATIOS, held=held, **options)
        for name in ("sse", "coef", "intercept"):
            got, want = getattr(alone, name)[0], getattr(every, name)[fold]
            np.testing.assert_allclose(got, want, rtol=1e-11, atol=1e-12)
        np.testing.assert_array_equal(alone.nonzero[0], every.nonzero[fold])
    with pytest.raises(DataError, match="one fold"):
        fit_grid(summed, ALPHAS, RATIOS, held=summed)
