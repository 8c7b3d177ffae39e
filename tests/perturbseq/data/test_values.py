"""Counts that are no whole numbers, and log-normalised values without counts."""

from __future__ import annotations

from dataclasses import replace

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from tuner_plugins.perturbseq.data.cell_cycle import S_GENES
from tuner_plugins.perturbseq.data.dataset import build
from tuner_plugins.perturbseq.data.labels import Labels
from tuner_plugins.perturbseq.data.response import GeneChoice
from tuner_plugins.perturbseq.data.screen import Recipe, open_screen
from tuner_plugins.perturbseq.data.stored import CellsError
from tuner_plugins.perturbseq.model.load import load
from tuner_plugins.perturbseq.report.command import _size_factor
from tuner_plugins.perturbseq.report.embedding import PrepareOptions, prepare

from tests.perturbseq.screens import small_screen

RECIPE = Recipe(Labels(control=("ctrl",)), batch="batch", covariates=("total_counts",))
FOLDS = np.arange(60) % 3


def named_screen() -> anndata.AnnData:
    """Make a screen with mitochondrial and cell-cycle genes, as R writes their names."""
    adata = small_screen(genes=40)
    adata.var_names = ["MT.ND1", "MT.CO1", *S_GENES[:12], *adata.var_names[14:]]
    del adata.obs["pct_counts_mt"]
    return adata


def logged(adata: anndata.AnnData, target: float = 1e4) -> anndata.AnnData:
    counts = adata.X.toarray().astype(np.float64)
    scaled = target * counts / counts.sum(axis=1, keepdims=True)
    return anndata.AnnData(sparse.csr_matrix(np.log1p(scaled)), obs=adata.obs, var=adata.var)


def fractional(adata: anndata.AnnData) -> anndata.AnnData:
    adata = adata.copy()
    adata.X = adata.X.astype(np.float64)
    adata.X.data -= 0.25
    del adata.obs["total_counts"]
    return adata


def test_corrected_counts_are_taken_where_that_is_said():
    adata = fractional(small_screen())
    with pytest.raises(CellsError, match=r"X does not hold counts: .* fractional for counts corr"):
        build(open_screen(adata, RECIPE), FOLDS)
    dataset = build(open_screen(adata, replace(RECIPE, values="fractional")), FOLDS)
    counts = adata.X.toarray()
    depth = counts.sum(axis=1)
    expected = np.log1p(1e4 * counts / depth[:, None])
    summed = dataset.statistics.total()
    np.testing.assert_allclose(summed.cross[0, 0], expected.sum(axis=0), rtol=1e-12)
    np.testing.assert_allclose(dataset.screen.covariates.values[:, -1], depth, rtol=1e-12)
    adata.X.data[3] = -0.5
    with pytest.raises(CellsError, match=r"is -0.5; expected numbers >= 0"):
        build(open_screen(adata, replace(RECIPE, values="fractional")), FOLDS)


def test_log_normalised_values_give_what_their_counts_would():
    adata = named_screen()
    made = ("total_counts", "pct_counts_mt", "S_score")
    recipe = replace(RECIPE, covariates=made, genes=GeneChoice(min_cells=5, highly_variable=20))
    from_counts = build(open_screen(adata, recipe), FOLDS)
    logs = logged(adata)
    from_logs = build(open_screen(logs, replace(recipe, values="log1p")), FOLDS)
    assert from_logs.transform.responses.tolist() == from_counts.transform.responses.tolist()
    for name in ("gram", "cross", "squares"):
        one, other = (getattr(part.statistics, name) for part in (from_logs, from_counts))
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-7)


def test_other_targets_are_fitted_as_they_are():
    logs = logged(small_screen(), target=3000.0)
    dataset = build(open_screen(logs, replace(RECIPE, values="log1p")), FOLDS)
    summed = dataset.statistics.total().cross[0, 0]
    np.testing.assert_allclose(summed, logs.X.toarray().sum(axis=0), rtol=1e-12)
    assert any("are log-normalised" in note for note in dataset.screen.counts.notes)


def test_the_analysis_of_log_normalised_values_normalises_nothing_twice():
    logs = logged(small_screen(cells=80, genes=60)[:, :55].copy(), target=2000.0)
    recipe = replace(RECIPE, values="log1p")
    del logs.obs["total_counts"]
    recipe = replace(recipe, covariates=())
    adata, model = load(open_screen(logs, recipe), 0.004, 0.5)
    np.testing.assert_allclose(model.responses.toarray(), logs.X.toarray(), rtol=1e-6)
    prepare(adata, PrepareOptions(size_factor=_size_factor(recipe, adata), whole=False))
    np.testing.assert_allclose(adata.layers["lognorm"].toarray(), logs.X.toarray(), rtol=1e-5)
    assert "total_counts" not in adata.obs  # nobody knows


LOG_REFUSED = {
    "depth": ({"covariates": ("total_counts",)}, "leave total_counts out of the covariates"),
    "counts": ({"response": "counts"}, "take response log1p_cp10k, which fits them as they are"),
    "size factor": ({"size_factor": "pct_counts_mt"}, "leave size_factor out"),
}


@pytest.mark.parametrize("kind", LOG_REFUSED)
def test_what_log_normalised_values_do_not_tell_is_refused(kind):
    change, message = LOG_REFUSED[kind]
    logs = logged(small_screen())
    del logs.obs["total_counts"]
    recipe = Recipe(RECIPE.labels, values="log1p")
    build(open_screen(logs, recipe), FOLDS)
    with pytest.raises(CellsError, match=f"data.values is log1p: .*{message}"):
        open_screen(logs, replace(recipe, **change))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda X: np.expm1(X) * 1.5, "does not hold log-normalised values: .*expected 0 to 25"),
        (lambda X: X - X.mean(axis=0), "does not hold log-normalised values: .*is -"),
        (np.round, "holds whole numbers; expected log-normalised values"),
    ],
)
def test_what_is_not_log_normalised_is_refused(change, message):
    logs = logged(small_screen())
    logs.X = change(logs.X.toarray())
    with pytest.raises(CellsError, match=message):
        build(open_screen(logs, replace(RECIPE, values="log1p")), FOLDS)


def test_scaled_values_are_told_how_they_can_be_fitted():
    adata = small_screen()
    adata.X = adata.X.toarray() - 3.0
    with pytest.raises(CellsError, match=r"to fit values of any kind as they are: response: X"):
        build(open_screen(adata, RECIPE), FOLDS)
    recipe = replace(RECIPE, response="X")
    summed = build(open_screen(adata, recipe), FOLDS).statistics
    summed = summed.shifted(np.zeros(summed.n_columns), np.zeros(summed.n_genes)).total()
    np.testing.assert_allclose(summed.cross[0, 0], adata.X.sum(axis=0), rtol=1e-9, atol=1e-9)


def test_mitochondrial_genes_of_two_genomes():
    from tuner_plugins.perturbseq.data.covariates import is_mitochondrial

    names = ["GRCh38_MT-CO1", "mm10___mt-Co1", "MT.ND1", "mt-Nd1", "mm10_Mtor", "GRCh38_MTOR"]
    assert is_mitochondrial(pd.Index(names)).tolist() == [True] * 4 + [False] * 2
