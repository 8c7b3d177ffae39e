from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from scipy.stats import norm
from tuner_plugins.enet import summarise
from tuner_plugins.perturbseq.errors import AnalysisError
from tuner_plugins.perturbseq.inference.calibration import inflation, pseudo_perturbations
from tuner_plugins.perturbseq.inference.coefficients import (
    permutation_p,
    stability_selection,
    tabulate,
)
from tuner_plugins.perturbseq.inference.program_tests import adjust, uniformity
from tuner_plugins.perturbseq.model.resampling import (
    Model,
    bootstrap_coefficients,
    cell_groups,
    entries,
    permuted_entries,
    permuted_statistics,
    residual_scale,
    select_halves,
    with_diagonal,
)

from tests.perturbseq.planted import planted_screen


def model_of(planted, alpha=2e-3, l1_ratio=0.7, **kwargs) -> Model:
    return Model(
        design=sparse.csr_matrix(planted.design.to_numpy()),
        covariates=planted.covariates.to_numpy(),
        responses=planted.adata.layers["response"],
        targets=list(planted.design.columns),
        genes=list(planted.adata.var_names),
        strata=planted.adata.obs["batch"].to_numpy(),
        alpha=alpha,
        l1_ratio=l1_ratio,
        **kwargs,
    )


SMALL = {"n_cells": 500, "n_other_genes": 24, "targets_per_module": 1, "n_idle": 2}


def fitted_p(model, n, seed=0, *, pooled=False):
    summed = model.summed()
    refit = model.fit(summed)
    observed = entries(model, summed, refit)
    scale = residual_scale(model, summed, refit) if pooled else None
    nulls = permuted_entries(model, n, seed)
    return model.framed(refit.coef), permutation_p(observed, nulls, pooled_scale=scale)


def test_the_statistic_before_shrinkage_orders_like_the_coefficient():
    model = model_of(planted_screen(**SMALL))
    summed = model.summed()
    refit = model.fit(summed)
    coef = refit.coef[:, : len(model.targets)]
    u = entries(model, summed, refit)
    n = model.design.shape[0]
    per_target = np.asarray(model.design.sum(axis=0)).ravel()
    l1, l2 = n * model.alpha * model.l1_ratio, n * model.alpha * (1 - model.l1_ratio)
    shrunk = np.sign(u) * np.maximum(np.abs(u) - l1, 0) / (per_target + l2)
    np.testing.assert_allclose(coef, shrunk, atol=1e-9)
    assert (coef == 0).any()
    assert (coef != 0).any()


def test_gene_wise_p_counts_permutations():
    observed = np.array([[1.0, -2.0], [0.5, 0.0]])
    nulls = [np.array([[1.0, 1.0], [-0.6, 0.0]]), np.array([[-3.0, 2.5], [0.1, 0.0]])]
    found = permutation_p(observed, nulls)
    assert found.n_null == 2
    np.testing.assert_allclose(found.p, (np.array([[2, 1], [1, 2]]) + 1) / 3)


def test_pooled_p_counts_all_genes_of_a_perturbation():
    rng = np.random.default_rng(0)
    observed, scale = rng.normal(size=(30, 4)), rng.uniform(0.5, 2, 30)
    scale[7] = 0.0
    nulls = [rng.normal(size=(30, 4)) for _ in range(5)]
    found = permutation_p(observed, iter(nulls), pooled_scale=scale)
    keep = scale > 0
    pool = np.abs(np.array(nulls))[:, keep] / scale[keep][:, None]
    for gene, k in itertools.product(np.flatnonzero(keep), range(4)):
        b = (pool[:, :, k] >= abs(observed[gene, k]) / scale[gene]).sum()
        assert found.p[gene, k] == pytest.approx((b + 1) / (29 * 5 + 1))
    assert np.isnan(found.p[7]).all()


@pytest.mark.parametrize("pooled", [False, True])
def test_null_p_values_are_uniform_and_bh_keeps_its_promise(pooled):
    values, false = [], 0
    for seed in range(12):
        planted = planted_screen(effect=0.0, seed=seed, **SMALL)
        _, found = fitted_p(model_of(planted), 59, seed, pooled=pooled)
        # one gene a perturbation: genes of one data set are not independent draws
        values.append(found.p[seed % len(found.p)])
        false += bool((adjust(found.p) < 0.1).any())
    assert uniformity(np.concatenate(values)) > 0.01
    assert false <= 4  # 12 runs at <= 10 %: more than 4 has probability 0.004


def test_planted_effects_are_found():
    planted = planted_screen(n_cells=1200, n_other_genes=40, targets_per_module=1, n_idle=2)
    coef, found = fitted_p(model_of(planted), 60, pooled=True)
    table = tabulate(coef, found.p).set_index(["gene", "perturbation"])
    true = planted.effects.stack() != 0
    hit = (table["q"] < 0.05).reindex(true.index)
    assert hit[true].mean() > 0.95
    assert (hit & ~true).sum() <= 0.12 * hit.sum()
    assert (table["p"] > 0).all()


def test_p_values_of_real_effects_reach_the_floor_and_not_below():
    planted = planted_screen(n_cells=1200, n_other_genes=10, targets_per_module=1, n_idle=1)
    _, found = fitted_p(model_of(planted), 19)
    assert found.p.min() == 1 / 20


def test_permutations_are_the_same_for_any_threads_and_number():
    model = model_of(planted_screen(**SMALL))
    one = list(permuted_entries(model, 2, 5))
    three = list(permuted_entries(replace(model, threads=2), 3, 5))
    np.testing.assert_array_equal(one[0], three[0])
    np.testing.assert_array_equal(one[1], three[1])
    assert (one[0] != one[1]).any()


@pytest.mark.parametrize("dense", [True, False])
@pytest.mark.parametrize("share", [0.25, 0.9])
def test_permuted_sums_are_those_of_a_permuted_design(dense, share):
    planted = planted_screen(**SMALL)
    model = model_of(planted)
    y = model.responses.toarray()[:, :41] + (3.0 if dense else 0.0)
    y = y if dense else sparse.csr_matrix(y)
    # a perturbation in most cells has a shift of its own
    rng = np.random.default_rng(0)
    design = sparse.csr_matrix(
        np.column_stack([rng.random(500) < share, np.zeros(500, dtype=bool)]).astype(float)
    )
    # and a covariate that is mostly zero has none, so that its sum is not zero
    covariates = np.column_stack([model.covariates, rng.random(500) < 0.2])
    model = replace(model, responses=y, design=design, covariates=covariates)
    model = replace(model, targets=["a", "b"], genes=model.genes[:41])
    plain = model.summed()
    summed = plain.shifted(plain.x_shift + 0.3, plain.y_shift + 0.1)  # whatever was subtracted
    orders = [rng.permutation(500) for _ in range(3)]
    for order, found in zip(orders, permuted_statistics(model, summed, orders), strict=True):
        whole = replace(model, design=design[order]).summed().shifted(found.x_shift, found.y_shift)
        np.testing.assert_allclose(found.gram, whole.gram, atol=1e-8)
        np.testing.assert_allclose(found.cross, whole.cross, atol=1e-8)
        np.testing.assert_allclose(found.squares, whole.squares, rtol=1e-10)


def test_two_perturbations_in_a_cell_are_permuted_together():
    planted = planted_screen(**SMALL)
    model = model_of(planted)
    both = model.design.toarray()
    both[np.flatnonzero(both[:, 0])[:20], 1] = 1.0
    model = replace(model, design=sparse.csr_matrix(both))
    order = np.random.default_rng(1).permutation(500)
    (found,) = permuted_statistics(model, model.summed(), [order])
    np.testing.assert_allclose(found.gram[0, 1, 2], 20.0)


def test_covariates_stay_with_their_cells():
    planted = planted_screen(**SMALL)
    model = model_of(planted, alpha=1e-6)
    null = next(permuted_entries(model, 1, 0))
    # a permuted perturbation is unrelated to depth and batch: its statistic is small
    scale = residual_scale(model, model.summed(), model.fit())
    n = np.asarray(model.design.sum(axis=0)).ravel()
    assert np.abs(null / scale[:, None] / np.sqrt(n)).mean() < 1.3


def test_residual_scale_is_the_spread_of_residuals():
    planted = planted_screen(**SMALL)
    model = model_of(planted)
    summed = model.summed()
    refit = model.fit(summed)
    residual = model.responses.toarray() - model.columns() @ refit.coef.T - refit.intercept
    found = residual_scale(model, summed, refit)
    np.testing.assert_allclose(found, residual.std(axis=0), rtol=1e-8)


def test_a_constant_gene_is_not_tested_in_the_pool():
    planted = planted_screen(**SMALL)
    y = planted.adata.layers["response"].toarray()
    y[:, 3] = 2.0
    planted.adata.layers["response"] = y
    coef, found = fitted_p(model_of(planted), 3, pooled=True)
    assert np.isnan(found.p[3]).all()
    table = tabulate(coef, found.p)
    assert table.loc[table["gene"] == "G003", "q"].isna().all()
    assert table.loc[table["gene"] != "G003", "q"].notna().all()


def test_a_weighted_diagonal_adds_up_over_folds():
    planted = planted_screen(**SMALL)
    model = model_of(planted)
    folds = np.arange(500) % 3
    added = np.arange(1.0, 6.0)
    split = with_diagonal(summarise(model.columns(), model.responses, folds), added).total()
    whole = with_diagonal(summarise(model.columns(), model.responses), added)
    np.testing.assert_allclose(split.gram, whole.gram, rtol=1e-9, atol=1e-9)
    plain = summarise(model.columns(), model.responses)
    np.testing.assert_allclose((whole.gram - plain.gram)[0].diagonal()[1:6], added)


def test_control_cells_make_calibrated_mock_perturbations():
    planted = planted_screen(n_cells=1600, n_other_genes=20, n_idle=1, targets_per_module=1)
    mock = pseudo_perturbations(planted.control, [40, 60, 5000], seed=1)
    assert mock.sum().tolist() == [40.0, 60.0]
    assert (mock.sum(axis=1) <= 1).all()
    assert planted.control[mock.index].all()
    model = model_of(planted).rows(mock.index.to_numpy())
    model = replace(model, design=sparse.csr_matrix(mock.to_numpy()), targets=list(mock.columns))
    _, found = fitted_p(model, 99)
    assert 0.5 < inflation(found.p) < 1.8
    assert adjust(found.p).min() > 0.05


def test_calibration_by_guide_uses_every_second_guide():
    control = np.array([True] * 6 + [False])
    guides = np.array(["NT1", "NT2", "NT1", "NT3", "NT3", "NT2", "x"], dtype=object)
    mock = pseudo_perturbations(control, [], guides=guides)
    assert list(mock.columns) == ["NT2"]
    assert mock["NT2"].tolist() == [0, 1, 0, 0, 0, 1]
    with pytest.raises(AnalysisError, match="two non-targeting guides; got 1"):
        pseudo_perturbations(control, [], guides=np.array(["NT"] * 7, dtype=object))
    with pytest.raises(AnalysisError, match="6 control cells are too few"):
        pseudo_perturbations(control, [10])


def test_inflation_is_one_for_uniform_p_and_large_for_inflated():
    rng = np.random.default_rng(0)
    z = rng.normal(size=20_000)
    assert inflation(2 * norm.sf(np.abs(z))) == pytest.approx(1.0, abs=0.05)
    assert inflation(2 * norm.sf(np.abs(z) * 1.5)) == pytest.approx(2.25, abs=0.12)


def test_stability_selection_keeps_planted_effects_and_its_bound():
    planted = planted_screen(n_cells=1200, n_other_genes=40, targets_per_module=1, n_idle=2)
    model = model_of(planted, alpha=8e-3, l1_ratio=1.0)
    probability, bound = stability_selection(
        lambda halves: select_halves(model, halves), cell_groups(model), n_pairs=10
    )
    true = planted.effects.to_numpy() != 0
    stable = probability >= 0.9
    assert stable[true].mean() > 0.9
    assert (stable & ~true).sum() <= max(bound, 1)
    np.testing.assert_allclose(np.round(probability * 20), probability * 20, atol=1e-9)


def test_halves_are_complementary_and_balanced():
    strata = np.repeat([0, 1, 2], [10, 7, 1])
    seen = []

    def select(halves):
        seen.append(halves)
        return np.zeros((2, 1, 1), dtype=bool)

    stability_selection(select, strata, n_pairs=4)
    for halves in seen:
        sizes = [np.bincount(halves[strata == s], minlength=2) for s in range(3)]
        assert all(abs(a - b) <= 1 for a, b in sizes)
    assert not all((seen[0] == other).all() for other in seen[1:])
    with pytest.raises(AnalysisError, match="n_pairs >= 1; got 0"):
        stability_selection(select, strata, n_pairs=0)


def test_bootstraps_keep_the_size_of_every_group():
    planted = planted_screen(**SMALL)
    model = model_of(planted)
    groups = cell_groups(model)
    pairs = pd.crosstab(planted.adata.obs["perturbation"], planted.adata.obs["batch"])
    assert len(np.unique(groups)) == (pairs > 0).to_numpy().sum()
    one, two = bootstrap_coefficients(model, 2, 3)
    assert list(one.columns) == model.targets
    assert (one.to_numpy() != two.to_numpy()).any()
    again = next(iter(bootstrap_coefficients(model, 1, 3)))
    pd.testing.assert_frame_equal(one, again, check_exact=True)
    close = np.corrcoef(one.to_numpy().ravel(), model.coefficients().to_numpy().ravel())[0, 1]
    assert close > 0.8
