from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm
from scipy import sparse
from scipy.stats import t
from tuner_plugins.perturbseq.inference.fold_changes import fold_changes

from benchmarks.perturbseq_tails import mocks


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
        wald = 2 * t.sf(np.abs(peer.params[3:] / error), free)
        np.testing.assert_allclose(found["p"][gene], wald, atol=0.02)  # of many counts


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
            assert 0.002 < found["p"] < 0.3  # of 15 cells that have a count each fifth time
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


@pytest.mark.parametrize("rate", [0.15, 2.0])
def test_p_is_that_of_permuted_labels(rate):
    rng = np.random.default_rng(1)
    design = np.repeat([[1.0], [0.0]], [25, 175], axis=0)
    counts = rng.poisson(rate * rng.gamma(2.0, 0.5, (200, 60)) * np.exp2(0.8 * design))
    found = _found(counts, np.ones(200), design, np.empty((200, 0)))["p"].ravel()
    orders = rng.permuted(np.tile(np.arange(200), (20_000, 1)), axis=1)[:, :25]
    for gene, p in enumerate(found):
        sums, own = counts[orders, gene].sum(axis=1), counts[:25, gene].sum()
        tails = ((sums > own).mean(), (sums < own).mean())
        counted = min(2 * (min(tails) + (sums == own).mean() / 2), 1.0)
        assert 0.7 * counted - 0.002 < p < 2.5 * counted + 0.002


@pytest.mark.parametrize("mean", [0.02, 5.0])
@pytest.mark.parametrize("multiple", [False, True])
def test_small_p_of_few_cells_are_no_smaller_than_they_should_be(mean, multiple):
    p, wald = mocks(25, mean, genes=300, controls=500, multiple=multiple)
    assert (p < 0.05).mean() < 0.06
    assert (p < 0.01).mean() < 0.014
    assert (p < 0.001).mean() < 0.0025
    if mean < 1:
        assert (wald < 0.001).sum() > 0.004 * np.isfinite(wald).sum()


def _pair(rng, lone, genes, change=1.0):
    """Simulate 200 controls, `lone` cells of A, 60 of B and 40 of both, with a column for the pair.

    `change`: of the mean, wherever A is.
    """
    design = np.repeat([[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 1]], [200, lone, 60, 40], axis=0)
    mean = np.exp(rng.normal(1.5, 1.2, genes)) * np.where(design[:, :1] > 0, change, 1.0)
    counts = rng.poisson(rng.gamma(5.0, mean / 5.0))
    return _found(counts, np.ones(len(design)), design.astype(float), np.empty((len(design), 0)))


def test_p_of_a_perturbation_of_few_cells_beside_a_pair_are_no_smaller_than_they_should_be():
    p = _pair(np.random.default_rng(0), lone=3, genes=3000)["p"]
    for level, most in ((0.05, 1.2), (0.01, 1.3), (0.001, 2.0)):
        assert ((p < level).mean(axis=0) < most * level).all()
    assert np.nanmin(p) > 1e-7  # was 2e-308


def test_a_column_for_a_pair_takes_no_evidence_from_both():
    found = _pair(np.random.default_rng(1), lone=60, genes=20, change=0.125)
    error = (found["high"] - found["low"])[:, 0]
    clear = np.abs(found["log2fc"][:, 0]) > 2.5 * error  # ten standard errors
    assert clear.sum() > 5
    assert found["p"][clear, 0].max() < 1e-12


def test_one_cell_with_most_counts_is_no_evidence():
    rng = np.random.default_rng(0)
    design = np.repeat([[1.0], [0.0]], [25, 175], axis=0)
    counts = rng.poisson(0.3, (200, 1))
    counts[3] = 40
    assert _found(counts, np.ones(200), design, np.empty((200, 0)))["p"].item() > 0.05


def test_a_gene_in_few_cells_has_no_p():
    design = np.repeat([[1.0], [0.0]], [50, 150], axis=0)
    counts = np.zeros((200, 2), dtype=int)
    counts[::40, 0] = counts[::25, 1] = 1
    found = _found(counts, np.ones(200), design, np.empty((200, 0)))
    assert np.isfinite(found["log2fc"]).all()
    assert np.isnan(found["p"]).ravel().tolist() == [True, False]


def test_a_gene_that_single_cells_lack_concerns_its_pair_alone():
    rng = np.random.default_rng(0)
    label = np.arange(1000) % 5  # none, A, B, both, C
    a, b = np.isin(label, (1, 3)), np.isin(label, (2, 3))
    design = np.column_stack([a, b, a & b, label == 4]).astype(float)
    covariates = rng.normal(size=(1000, 1))
    counts = rng.poisson(0.8, (1000, 2))
    counts[label == 1, 0] = 0
    found = _found(counts, np.ones(1000), design, covariates)
    assert np.isfinite(found["log2fc"][1]).all()
    without = design[:, [1, 3]][label % 2 == 0], covariates[label % 2 == 0]
    alone = _found(counts[label % 2 == 0], np.ones(600), *without)
    for key, values in found.items():
        assert np.isnan(values[0, [0, 2]]).all()
        np.testing.assert_allclose(values[0, [1, 3]], alone[key][0], atol=0.1)


def test_a_batch_without_a_count_leaves_the_others_as_they_are():
    counts, sizes, design, covariates, _ = _screen(6, genes=4)
    batch = np.arange(600) % 10 == 0
    counts[batch, 0] = 0
    found = _found(counts, sizes, design, np.column_stack([covariates, batch]))
    alone = _found(counts[~batch], sizes[~batch], design[~batch], covariates[~batch])
    for key, values in found.items():
        np.testing.assert_allclose(values[0], alone[key][0], rtol=1e-5)


def test_a_pair_says_nothing_where_one_of_both_has_no_count():
    label = np.arange(400) % 4  # none, A, B, both
    a, b = np.isin(label, (1, 3)), np.isin(label, (2, 3))
    design = np.column_stack([a, b, a & b]).astype(float)
    counts = np.random.default_rng(0).poisson(0.8, (400, 1)) * ~a[:, None]
    found = _found(counts, np.ones(400), design, np.empty((400, 0)))
    assert found["log2fc"][0, 0] == -np.inf
    assert found["p"][0, 0] < 1e-6
    assert found["p"][0, 1] > 0.01
    assert np.isnan([values[0, 2] for values in found.values()]).all()
