from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm
from scipy import sparse
from scipy.stats import t
from tuner_plugins.perturbseq.inference.fold_changes import fold_changes


def _screen(seed, *, cells=600, targets=4, genes=20, multiple=False, dispersion=0.15, rate=-6.5):
    """Return counts, sizes, design, covariates and the planted log2 fold changes."""
    rng = np.random.default_rng(seed)
    if multiple:
        design = (rng.random((cells, targets)) < 0.3).astype(float)
    else:
        labels = rng.integers(0, targets + 2, cells)
        design = (labels[:, None] == np.arange(targets)).astype(float)
    sizes = np.exp(rng.normal(8.5, 0.4, cells))
    covariates = np.column_stack([sizes, rng.normal(size=cells)])
    truth = rng.normal(0, 1, (targets, genes)) * (rng.random((targets, genes)) < 0.4)
    mean = sizes[:, None] * np.exp(rng.normal(rate, 0.5, genes)) * np.exp2(design @ truth)
    mean *= np.exp(0.2 * covariates[:, [1]])
    counts = rng.poisson(rng.gamma(1 / dispersion, dispersion * mean))
    return counts, sizes, design, covariates, truth.T


def _found(counts, sizes, design, covariates, **options):
    given = sparse.csr_matrix(counts), sizes, sparse.csr_matrix(design), covariates
    return fold_changes(*given, **options)


@pytest.mark.parametrize("multiple", [False, True])
def test_coefficients_are_those_of_statsmodels(multiple):
    counts, sizes, design, covariates, _ = _screen(0, genes=3, multiple=multiple)
    found = _found(counts, sizes, design, covariates, level=0.9, threads=2)
    scaled = (covariates - covariates.mean(axis=0)) / covariates.std(axis=0)
    x = np.column_stack([np.ones(len(sizes)), scaled, design])
    for gene in range(3):
        model = sm.GLM(counts[:, gene], x, sm.families.Poisson(), offset=np.log(sizes))
        peer = model.fit(tol=1e-12)
        np.testing.assert_allclose(found["log2fc"][gene], peer.params[3:] / np.log(2), atol=1e-6)
        error = _sandwich(counts[:, gene], peer.fittedvalues, x)[3:]
        free = len(sizes) - x.shape[1]
        reach = t.ppf(0.95, free) * error / np.log(2)
        np.testing.assert_allclose(found["high"][gene] - found["log2fc"][gene], reach, atol=1e-5)
        np.testing.assert_allclose(found["log2fc"][gene] - found["low"][gene], reach, atol=1e-5)
        p = 2 * t.sf(np.abs(peer.params[3:] / error), free)
        np.testing.assert_allclose(found["p"][gene], p, atol=1e-6)


def _sandwich(y, mean, x):
    """Return standard errors, where the variance is scale x (mean + excess x mean^2)."""
    excess = max(((y - mean) ** 2 - mean).sum() / (mean**2).sum(), 0)
    variance = mean + excess * mean**2
    scale = ((y - mean) ** 2 / variance).sum() / (len(y) - x.shape[1])
    bread = np.linalg.inv(x.T @ (x * mean[:, None]))
    return np.sqrt(np.diag(bread @ (x.T @ (x * (scale * variance)[:, None])) @ bread))


@pytest.mark.parametrize("multiple", [False, True])
def test_intervals_hold_the_truth_as_often_as_they_say(multiple):
    inside, idle = [], []
    for seed in range(8):
        *given, truth = _screen(seed, multiple=multiple)
        found = _found(*given)
        inside.append((found["low"] <= truth) & (truth <= found["high"]))
        idle.append(found["p"][truth == 0])
    assert 0.92 < np.mean(inside) < 0.98
    assert 0.03 < np.mean(np.concatenate(idle) < 0.05) < 0.08


def test_a_perturbation_without_a_count_has_a_bound():
    covered = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        design = np.repeat([[1.0], [0.0]], [15, 285], axis=0)
        counts = rng.poisson(0.2 * np.exp2(-2.0 * design))
        found = {
            k: v.item() for k, v in _found(counts, np.ones(300), design, np.empty((300, 0))).items()
        }
        if counts[:15].sum() == 0:
            assert found["log2fc"] == found["low"] == -np.inf
            assert np.isnan(found["p"])
            assert np.isfinite(found["high"])
        covered.append(found["low"] <= -2.0 <= found["high"])
    assert np.mean(covered) > 0.85


def test_a_gene_without_counts_has_nothing():
    counts = np.zeros((60, 2), dtype=int)
    counts[:, 0] = np.random.default_rng(0).poisson(3.0, 60)
    design = np.repeat([[1.0], [0.0]], 30, axis=0)
    found = _found(
        counts, np.ones(60), design, np.ones((60, 1))
    )  # a constant covariate is left out
    assert np.isfinite(found["log2fc"][0])
    assert np.isnan(found["log2fc"][1])


def test_a_perturbation_that_is_never_alone_leaves_the_others_as_they_are():
    counts, sizes, design, covariates, _ = _screen(3, genes=6)
    twice = np.column_stack([design, design[:, 0]])  # two that only come together
    alone, found = (_found(counts, sizes, x, covariates) for x in (design, twice))
    for key, values in found.items():
        assert np.isnan(values[:, [0, 4]]).all()
        np.testing.assert_allclose(values[:, 1:4], alone[key][:, 1:], rtol=1e-6)


def test_a_covariate_that_is_a_perturbation_leaves_the_others_as_they_are():
    counts, sizes, design, covariates, _ = _screen(4, genes=6)
    found = _found(counts, sizes, design, np.column_stack([covariates, design[:, 0]]))
    assert np.isnan(found["log2fc"][:, 0]).all()
    alone = _found(counts, sizes, design, covariates)
    np.testing.assert_allclose(found["log2fc"][:, 1:], alone["log2fc"][:, 1:], rtol=1e-6)


def test_covariates_that_depend_on_others_change_nothing():
    counts, sizes, design, covariates, _ = _screen(5, genes=6)
    found = _found(counts, sizes, design, np.column_stack([covariates, covariates.sum(axis=1)]))
    for key, values in _found(counts, sizes, design, covariates).items():
        assert np.isfinite(values).all()
        np.testing.assert_allclose(found[key], values, rtol=1e-5, atol=1e-12)
