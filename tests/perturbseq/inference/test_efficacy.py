from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from scipy.stats import fisher_exact, norm
from sklearn.covariance import ledoit_wolf
from sklearn.metrics import roc_auc_score
from tuner_plugins.perturbseq.data.labels import Labels
from tuner_plugins.perturbseq.data.screen import Recipe, open_screen
from tuner_plugins.perturbseq.errors import AnalysisError
from tuner_plugins.perturbseq.inference.calibration import pseudo_perturbations
from tuner_plugins.perturbseq.inference.efficacy import efficacy_weights, whiten
from tuner_plugins.perturbseq.inference.mixture import fit_mixture, log_normal, tail_p
from tuner_plugins.perturbseq.model.load import load
from tuner_plugins.perturbseq.report.steps import weighted


def refit(x, y, added):
    x, y = (m.toarray() if sparse.issparse(m) else np.asarray(m) for m in (x, y))
    centred = x - x.mean(axis=0)
    gram = centred.T @ centred + np.diag(added + 1.0)
    coef = np.linalg.solve(gram, centred.T @ (y - y.mean(axis=0))).T
    return coef, y.mean(axis=0) - coef @ x.mean(axis=0)


def escaping_screen(escape=0.4, effect=0.7, n=1600, n_genes=50, seed=0, n_targets=3):
    """Correlated genes, as real ones are; a share `escape` of perturbed cells did not move."""
    rng = np.random.default_rng(seed)
    group = rng.integers(0, n_targets + 1, n)  # 0: control
    moved = (group > 0) & (rng.random(n) >= escape)
    beta = np.zeros((n_targets, n_genes))
    for k in range(n_targets):
        beta[k, rng.permutation(n_genes)[:20]] = effect * rng.choice([-1, 1], 20)
    covariates = rng.normal(size=(n, 2))
    design = pd.DataFrame(
        {f"T{k}": (group == k + 1).astype(float) for k in range(n_targets)},
    )
    y = covariates @ rng.normal(0, 0.5, (2, n_genes)) + 3.0
    y += (design.to_numpy() * moved[:, None]) @ beta
    y += rng.normal(size=(n, 4)) @ rng.normal(0, 0.3, (4, n_genes))
    y += rng.normal(size=(n, n_genes))
    return design, covariates, y, group, moved, beta


def test_cells_that_escaped_are_told_apart_and_the_effect_comes_back():
    design, covariates, y, group, moved, beta = escaping_screen()
    found = efficacy_weights(design, covariates, y, refit)
    assert found.converged
    assert found.iterations > 1  # one pass is not enough
    assert found.table["reweighted"].all()
    weight = found.weights.toarray().sum(axis=1)
    assert roc_auc_score(moved[group > 0], weight[group > 0]) > 0.95
    assert found.table["proportion"].to_numpy() == pytest.approx(0.6, abs=0.08)
    plain = refit(np.hstack([design, covariates]), y, np.zeros(5))[0][:, :3].T
    better = refit(
        np.hstack([found.weights.toarray(), covariates]), y, np.append(found.doubt, [0, 0])
    )[0][:, :3].T
    planted = beta != 0
    share_before = (plain / np.where(planted, beta, 1))[planted].mean()
    share_after = (better / np.where(planted, beta, 1))[planted].mean()
    assert share_before == pytest.approx(0.6, abs=0.05)
    assert share_after == pytest.approx(1.0, abs=0.08)


def test_weights_are_probabilities_not_certainties():
    design, covariates, y, group, moved, _ = escaping_screen(effect=0.5, n=3000)
    found = efficacy_weights(design, covariates, y, refit)
    used = np.flatnonzero(found.table["reweighted"])
    assert len(used) >= 2
    weight = found.weights.toarray().sum(axis=1)
    perturbed = np.isin(group, used + 1)
    said = np.clip(weight[perturbed], 0, 1)
    bins = np.digitize(said, [0.25, 0.5, 0.75])
    for k in range(4):
        if (bins == k).sum() > 60:
            share = moved[perturbed][bins == k].mean()
            assert share == pytest.approx(said[bins == k].mean(), abs=0.15)


@pytest.mark.parametrize("seed", range(3))
def test_without_any_effect_nothing_is_reweighted(seed):
    design, covariates, y, *_ = escaping_screen(effect=0.0, seed=seed)
    found = efficacy_weights(design, covariates, y, refit)
    assert found.converged
    assert not found.table["reweighted"].any()
    assert set(np.unique(found.weights.toarray())) == {0.0, 1.0}


def test_where_every_cell_moved_weights_stay_near_one():
    design, covariates, y, group, *_ = escaping_screen(escape=0.0)
    weight = efficacy_weights(design, covariates, y, refit).weights.toarray().sum(axis=1)
    assert weight[group > 0].mean() > 0.95


def test_sparse_responses_give_the_same_weights():
    design, covariates, y, *_ = escaping_screen(n=800)
    y = np.maximum(y, 0)
    dense = efficacy_weights(design, covariates, y, refit)
    thin = efficacy_weights(design, covariates, sparse.csr_matrix(y), refit)
    np.testing.assert_allclose(dense.weights.toarray(), thin.weights.toarray(), atol=1e-8)


def test_two_perturbations_in_a_cell_are_weighed_apart():
    design, covariates, y, group, moved, beta = escaping_screen(escape=0.5, effect=1.0)
    both = np.flatnonzero(group == 1)[:150]
    design.loc[both, "T1"] = 1.0
    y[both] += beta[1]  # T1 worked in all of them, T0 in half
    weights = efficacy_weights(design, covariates, y, refit).weights.toarray()
    assert weights[both, 1].mean() > 0.9
    assert roc_auc_score(moved[both], weights[both, 0]) > 0.95


def test_the_mixture_finds_its_parameters():
    rng = np.random.default_rng(0)
    controls = rng.normal(1.0, 2.0, 3000)
    scores = np.concatenate([rng.normal(1.0, 2.0, 900), rng.normal(11.0, 2.5, 2100)])
    mixture = fit_mixture(scores, controls)
    assert mixture.better
    assert mixture.proportion == pytest.approx(0.7, abs=0.02)
    assert mixture.mean == pytest.approx(11.0, abs=0.3)
    assert mixture.separation == pytest.approx(5.0, abs=0.2)
    line = mixture.posterior(np.linspace(-100, 100, 2001))
    assert (np.diff(line) >= -1e-12).all()


def test_too_few_controls_are_refused():
    design, covariates, y, group, *_ = escaping_screen(n=200)
    few = np.flatnonzero(group > 0)
    with pytest.raises(AnalysisError, match="got 0"):
        efficacy_weights(design.iloc[few], covariates[few], y[few], refit)


def test_a_perturbation_of_one_cell_keeps_its_weight():
    design, covariates, y, group, *_ = escaping_screen(n=800)
    design["one"] = 0.0
    only = np.flatnonzero(group == 0)[0]
    design.loc[only, "one"] = 1.0
    found = efficacy_weights(design, covariates, y, refit)
    assert found.weights[[only], [3]] == 1.0


@pytest.mark.parametrize("n_genes", [15, 90])
def test_whitening_is_the_inverse_of_the_shrunk_covariance(n_genes):
    rng = np.random.default_rng(0)
    residuals = rng.normal(size=(40, 6)) @ rng.normal(size=(6, n_genes))
    residuals += rng.normal(size=residuals.shape)
    beta = rng.normal(size=(n_genes, 3))
    spread = residuals.std(axis=0)
    scaled = (residuals - residuals.mean(axis=0)) / spread
    covariance = ledoit_wolf(scaled, assume_centered=True)[0] * np.outer(spread, spread)
    np.testing.assert_allclose(whiten(residuals, beta), np.linalg.solve(covariance, beta))


def test_log_normal_is_scipys():
    x = np.linspace(-9, 9, 41)
    np.testing.assert_allclose(log_normal(x, 0.7, 2.3), norm.logpdf(x, 0.7, 2.3**0.5))


def test_outliers_that_controls_have_too_are_no_second_group():
    # two normal groups describe heavy tails better than one, with or without an effect
    called = {"plain": 0, "tested": 0}
    for seed in range(40):
        rng = np.random.default_rng(seed)
        controls, scores = rng.standard_t(2, 1500), rng.standard_t(2, 120)
        mixture = fit_mixture(scores, controls)
        wide = mixture.separation > 2  # a wider gap is no help
        called["plain"] += wide and 0.004 < mixture.proportion < 0.3
        called["tested"] += mixture.better
    assert called["plain"] > 10
    assert called["tested"] == 0


def test_the_tail_is_compared_by_fishers_test():
    rng = np.random.default_rng(0)
    controls, scores = rng.normal(size=200), rng.normal(0.5, 1, 50)
    cut = np.quantile(controls, 0.95)
    table = [[(x > cut).sum(), (x <= cut).sum()] for x in (scores, controls)]
    assert tail_p(scores, controls) == pytest.approx(fisher_exact(table, "greater").pvalue)


def test_a_few_cells_that_moved_far_are_still_found():
    rng = np.random.default_rng(0)
    scores = np.concatenate([rng.normal(size=170), rng.normal(5, 1, 30)])
    mixture = fit_mixture(scores, rng.normal(size=1000))
    assert mixture.better
    assert mixture.proportion == pytest.approx(0.15, abs=0.03)


def test_mock_perturbations_of_measured_controls_are_not_reweighted(shared_data):
    path = shared_data / "perturbseq" / "papalexi2021_thp1_lowmoi_299genes.h5ad"
    recipe = Recipe(Labels("perturbation", ("non-targeting",)), batch="batch")
    _, model = load(open_screen(path, recipe), 5.6e-4, 0.9)
    called = 0
    for seed in range(4):
        mock = pseudo_perturbations(model.control, [120] * 8, seed=seed)
        alone = replace(
            model.rows(mock.index.to_numpy()),
            design=sparse.csr_matrix(mock.to_numpy()),
            targets=list(mock.columns),
        )
        called += int(weighted(alone, seed)[1].table["reweighted"].sum())
    assert called == 0
