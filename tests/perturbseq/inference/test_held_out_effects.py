from __future__ import annotations

import anndata
import numpy as np
import pytest
from scipy import sparse
from tuner_plugins.enet.path import fit
from tuner_plugins.perturbseq.data.dataset import build
from tuner_plugins.perturbseq.data.folds import stratified_folds
from tuner_plugins.perturbseq.data.labels import Labels
from tuner_plugins.perturbseq.data.screen import Recipe, open_screen
from tuner_plugins.perturbseq.data.transform import blocks
from tuner_plugins.perturbseq.inference.held_out_effects import perturbation_table
from tuner_plugins.perturbseq.model.problem import problem_of
from tuner_plugins.perturbseq.simulate import CONTROL, simulate


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("effects")
    paths = simulate(
        folder, seed=2, cells=1500, genes=150, perturbations=8, programs=2, modules=2,
        null_fraction=0.5,
    )  # fmt: skip
    adata = anndata.read_h5ad(paths["screen"])
    recipe = Recipe(
        Labels("perturbation", [CONTROL]), batch="batch", covariates=["total_counts", "S_score"]
    )
    screen = open_screen(adata, recipe)
    folds = stratified_folds(screen.design.groups, screen.batches, 4, 0)
    return build(screen, folds), anndata.read_h5ad(paths["truth"])


@pytest.mark.parametrize("scale_genes", [False, True])
def test_gain_and_correlation_are_those_of_predictions(planted, scale_genes):
    dataset, _ = planted
    problem = problem_of(dataset, scale_genes=scale_genes)
    table = perturbation_table(dataset, problem, 0.002, 0.5).set_index("perturbation")
    parts = list(blocks(dataset.screen, dataset.transform))
    X = sparse.vstack([x for _, x, _ in parts]).toarray()
    Y = sparse.vstack([y for *_, y in parts]).toarray()
    for k in (0, 3):
        full = without = total = weight = 0.0
        for fold in range(4):
            train, held = dataset.folds != fold, dataset.folds == fold
            mine = X[:, dataset.transform.columns[fold]]
            sd = Y[train].std(axis=0)
            part = problem.statistics.columns(problem.columns[fold]).training()

            unit = sd if scale_genes else np.ones_like(sd)
            fitted = fit(
                part.folds(slice(fold, fold + 1)).rescaled(np.ones(mine.shape[1]), unit),
                0.002, 0.5, problem.penalty_factor,
            )  # fmt: skip
            coef, intercept = fitted.coef * unit[:, None], fitted.intercept * unit
            use = sd > 0
            cells = held & (mine[:, k] == 1)
            control = held & (mine[:, : problem.tested].sum(axis=1) == 0)
            error = Y - mine @ coef.T - intercept
            full += ((error[cells] / np.where(use, sd, np.inf)) ** 2).sum()
            own = coef[:, k]
            without += (((error[cells] + own) / np.where(use, sd, np.inf)) ** 2).sum()
            shift = (error[cells] + own).mean(axis=0) - error[control].mean(axis=0)
            z = np.where(use, sd, np.inf)
            total += cells.sum() * np.corrcoef(own / z, shift / z)[0, 1]
            weight += cells.sum()
        row = table.loc[dataset.screen.design.names[k]]
        assert row["partial_r2"] == pytest.approx(1 - full / without, abs=1e-9)
        assert row["correlation"] == pytest.approx(total / weight, abs=1e-9)
        assert row["cells"] == (X[:, k] == 1).sum()


def test_planted_perturbations_lead_and_nulls_gain_nothing(planted):
    dataset, truth = planted
    table = perturbation_table(dataset, problem_of(dataset), 0.002, 0.5)
    works = table["perturbation"].map(truth.obs["module"]) != ""
    assert works.sum() == 4
    assert works.iloc[:4].all()
    assert (table["partial_r2"][works] > 0.01).all()
    assert (table["partial_r2"][~works] < 0.001).all()
    assert (table["correlation"][works] > 0.5).all()
    assert (table["correlation"][~works].abs() < 0.3).all()
    assert (table["ceiling"][works] >= table["correlation"][works] - 0.1).all()


def test_a_perturbation_that_no_training_cell_has_is_not_invented(planted):
    dataset, _ = planted
    adata = anndata.AnnData(dataset.screen.counts.matrix.values, obs=dataset.screen.obs.copy())
    adata.var_names = dataset.screen.counts.genes
    adata.obs["perturbation"] = adata.obs["perturbation"].astype(str)
    adata.obs.loc[adata.obs_names[0], "perturbation"] = "ONE"
    screen = open_screen(adata, dataset.screen.recipe)
    again = build(screen, dataset.folds)
    table = perturbation_table(again, problem_of(again), 0.002, 0.5).set_index("perturbation")
    assert table.loc["ONE", "cells"] == 1
    assert table.loc["ONE", "partial_r2"] == pytest.approx(0.0, abs=1e-12)
