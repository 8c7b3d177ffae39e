"""Traps of the usual notebook that no other file stands for: units, rarity, order, odd screens."""

from __future__ import annotations

from dataclasses import asdict, replace

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from scipy import sparse
from tuner_plugins.elasticnet.config import AnalysisSection
from tuner_plugins.perturbseq.data.cell_cycle import G2M_GENES, S_GENES
from tuner_plugins.perturbseq.data.labels import Labels
from tuner_plugins.perturbseq.data.screen import Recipe, open_screen
from tuner_plugins.perturbseq.inference.coefficients import permutation_p
from tuner_plugins.perturbseq.model.load import load
from tuner_plugins.perturbseq.model.resampling import (
    Model,
    entries,
    permuted_entries,
    residual_scale,
)
from tuner_plugins.perturbseq.report.command import analyse_file
from tuner_plugins.perturbseq.report.embedding import PrepareOptions, prepare
from tuner_plugins.perturbseq.simulate import CONTROL, simulate

RECIPE = Recipe(Labels("perturbation", (CONTROL,)), batch="batch", covariates=("total_counts",))


@pytest.fixture(scope="module")
def screen(tmp_path_factory) -> ad.AnnData:
    sizes = {"cells": 500, "genes": 170, "perturbations": 5, "programs": 2, "modules": 2}
    return ad.read_h5ad(simulate(tmp_path_factory.mktemp("traps"), seed=1, **sizes)["screen"])


def coefficients(adata: ad.AnnData, recipe: Recipe = RECIPE, **options) -> pd.DataFrame:
    return load(open_screen(adata, recipe), 2e-3, 0.7, **options)[1].coefficients()


def test_the_unit_of_a_penalised_covariate_does_not_matter(screen):
    # raw counts of ten thousand beside zeros and ones are not penalised at all
    changed = screen.copy()
    screen.obs["depth"] = screen.obs["total_counts"] / 1e4
    changed.obs["depth"] = screen.obs["depth"] * 1e7
    recipe = replace(RECIPE, covariates=("depth",))
    first, second = (coefficients(a, recipe, penalise_covariates=True) for a in (screen, changed))
    np.testing.assert_allclose(first, second, atol=1e-9)
    assert (first != coefficients(screen, recipe)).any().any()


def lone(prevalence: float, effect: float, n: int = 4000) -> Model:
    """One perturbation in a share of the cells; the first gene has the effect exactly."""
    rng = np.random.default_rng(0)
    x = (np.arange(n) < prevalence * n).astype(float)
    y = rng.normal(size=(n, 40))
    y[:, 0] -= np.where(x > 0, y[x > 0, 0].mean() - effect, y[x == 0, 0].mean())
    return Model(
        design=sparse.csr_matrix(x[:, None]),
        covariates=np.empty((n, 0)),
        responses=y,
        targets=["T"],
        genes=[f"g{i}" for i in range(40)],
        strata=np.zeros(n, dtype=np.int64),
        alpha=0.01,
        l1_ratio=0.8,
    )


@pytest.mark.parametrize("prevalence", [0.01, 0.05, 0.5])
def test_shrinkage_depends_on_prevalence_as_it_must_and_significance_does_not(prevalence):
    effect = 0.7
    model = lone(prevalence, effect)
    spread = prevalence * (1 - prevalence)
    passed = max(spread * effect - model.alpha * model.l1_ratio, 0.0)
    expected = passed / (spread + model.alpha * (1 - model.l1_ratio))
    fitted = model.fit()
    assert fitted.coef[0, 0] == pytest.approx(expected, abs=1e-9)
    if prevalence == 0.01:
        assert expected == 0  # a rare perturbation loses its coefficient ...
    summed = model.summed()
    p = permutation_p(
        entries(model, summed, fitted),
        permuted_entries(model, 100, 0),
        pooled_scale=residual_scale(model, summed, fitted),
    ).p
    assert p[0, 0] < 0.001  # ... and is found significant all the same
    assert np.median(p[1:]) > 0.2


def test_batches_under_two_names_change_no_coefficient(screen):
    twice = screen.copy()
    twice.obs["library"] = "lane " + twice.obs["batch"].astype(str)
    recipe = replace(RECIPE, covariates=("total_counts", "library"))
    np.testing.assert_allclose(coefficients(twice, recipe), coefficients(screen), atol=1e-7)


def test_coefficients_belong_to_names_not_to_places(screen):
    rng = np.random.default_rng(0)
    order = rng.permutation(screen.n_obs), rng.permutation(screen.n_vars)
    moved = screen[order[0], order[1]].copy()
    found, expected = coefficients(moved), coefficients(screen)
    assert list(found.columns) == sorted(found.columns)
    np.testing.assert_allclose(found.loc[expected.index], expected, atol=1e-8)


def test_cell_cycle_is_scored_before_genes_are_scaled(screen):
    adata = screen.copy()
    prepare(adata, options=PrepareOptions(cell_cycle={"S": S_GENES, "G2M": G2M_GENES}))
    plain = ad.AnnData(adata.layers["lognorm"], var=adata.var[[]])
    sc.tl.score_genes_cell_cycle(plain, s_genes=[*S_GENES], g2m_genes=[*G2M_GENES], random_state=0)
    np.testing.assert_allclose(adata.obs["S_score"], plain.obs["S_score"], rtol=1e-5)
    assert list(adata.obs["phase"]) == list(plain.obs["phase"])


@pytest.mark.parametrize("dense", [False, True])
def test_every_odd_thing_at_once_is_analysed(screen, tmp_path, dense):
    adata = screen.copy()
    counts = adata.X.toarray()
    counts[:, -1] = 0  # never seen
    counts[:, -2] = np.where(np.arange(adata.n_obs) == 3, 1, 0)  # in one cell
    adata.X = counts if dense else sparse.csr_matrix(counts)
    labels = adata.obs["perturbation"].astype(str)
    labels = labels.replace({"PERT1": "A,B", "PERT2": "C/D", "PERT3": "<i>"})
    labels.iloc[np.flatnonzero(labels == "PERT4")[1:]] = CONTROL  # one cell is left
    adata.obs["perturbation"] = labels
    adata.obs["batch"] = adata.obs["batch"].cat.codes if dense else 1  # integers; one batch
    adata.obs["constant"] = 7.0
    recipe = replace(RECIPE, covariates=("total_counts", "constant"))
    section = AnalysisSection(permutations=10, bootstraps=1, gene_sets=None)
    setting = {"alpha": 2e-3, "l1_ratio": 0.7, "penalise_covariates": True, "scale_genes": True}
    options = {**section.plain(), "guide": None}
    analyse_file(adata, asdict(recipe), setting, options, tmp_path)
    table = pd.read_csv(tmp_path / "tables" / "coefficients.csv")
    assert set(table["perturbation"]) == {"A,B", "C/D", "<i>", "PERT4", "PERT5"}
    assert table.loc[table["perturbation"] == "PERT4", "n_cells"].eq(1).all()
    assert table["coef"].notna().all()
    assert table["p"].dropna().between(0, 1, inclusive="right").all()
    never = table[table["gene"] == adata.var_names[-1]]
    assert (never["coef"] == 0).all()
    assert never["p"].isna().all()
    report = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "their coefficients are 0: &#39;constant&#39;" in report
    assert "<i>" not in report
