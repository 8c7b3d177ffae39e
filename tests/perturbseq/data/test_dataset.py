from __future__ import annotations

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from tuner_plugins.perturbseq.data.cell_cycle import G2M_GENES, S_GENES, score_weights
from tuner_plugins.perturbseq.data.cell_matrix import BLOCK_CELLS
from tuner_plugins.perturbseq.data.dataset import Dataset, build
from tuner_plugins.perturbseq.data.folds import stratified_folds
from tuner_plugins.perturbseq.data.labels import Labels
from tuner_plugins.perturbseq.data.matrix import CellsError
from tuner_plugins.perturbseq.data.response import GeneChoice
from tuner_plugins.perturbseq.data.screen import Recipe, open_screen
from tuner_plugins.perturbseq.data.transform import blocks

from tests.perturbseq.screens import small_screen

LABELS = Labels("perturbation", control=["ctrl"])
CYCLE = [*S_GENES[:20], *G2M_GENES[:20]]


def _cycling(seed: int = 0, cells: int = 200) -> anndata.AnnData:
    adata = small_screen(seed, cells=cells, genes=120)
    adata.var_names = [*CYCLE, "MT-ND1", "MT-CO1", *adata.var_names[42:]]
    del adata.obs["total_counts"], adata.obs["pct_counts_mt"]
    return adata


def _dense(dataset: Dataset) -> tuple[np.ndarray, np.ndarray]:
    parts = list(blocks(dataset.screen, dataset.transform))
    X = np.vstack([X.toarray() for _, X, _ in parts])
    Y = np.vstack([Y.toarray() if sparse.issparse(Y) else Y for *_, Y in parts])
    return X, Y


def _require_sums(dataset: Dataset) -> None:
    X, Y = _dense(dataset)
    found = dataset.statistics.shifted(np.zeros(X.shape[1]), np.zeros(Y.shape[1]))
    for fold in range(found.n_folds):
        inside = dataset.folds == fold
        Z = np.column_stack([np.ones(inside.sum()), X[inside]])
        np.testing.assert_allclose(found.gram[fold], Z.T @ Z, rtol=1e-9, atol=1e-7)
        np.testing.assert_allclose(found.cross[fold], Z.T @ Y[inside], rtol=1e-9, atol=1e-7)
        np.testing.assert_allclose(found.squares[fold], (Y[inside] ** 2).sum(axis=0), rtol=1e-9)


@pytest.mark.parametrize("response", ["log1p_cp10k", "counts", "scaled"])
def test_statistics_are_those_of_the_plain_matrices(response):
    adata = small_screen(cells=BLOCK_CELLS + 500)
    adata.layers["scaled"] = adata.X.toarray() / 7.0 - 1.0
    recipe = Recipe(LABELS, batch="batch", covariates=["pct_counts_mt"], response=response)
    folds = stratified_folds(adata.obs["perturbation"], adata.obs["batch"], 3, 0)
    dataset = build(open_screen(adata, recipe), folds)
    _require_sums(dataset)
    X, Y = _dense(dataset)
    raw = adata.X.toarray().astype(float)
    expected = {
        "log1p_cp10k": np.log1p(1e4 * raw / raw.sum(axis=1, keepdims=True)),
        "counts": raw,
        "scaled": adata.layers["scaled"],
    }[response]
    np.testing.assert_allclose(Y, expected, rtol=1e-6)
    np.testing.assert_array_equal(X[:, 0], adata.obs["perturbation"] == "A")
    np.testing.assert_array_equal(X[:, 3], adata.obs["batch"] == "b1")
    np.testing.assert_array_equal(X[:, 4], adata.obs["pct_counts_mt"])
    assert dataset.screen.covariates.names == ["batch[b1]", "pct_counts_mt"]


def test_a_file_gives_what_memory_gives(tmp_path):
    adata = _cycling()
    recipe = Recipe(LABELS, covariates=["S_score", "total_counts", "G2M_score", "pct_counts_mt"])
    adata.write_h5ad(tmp_path / "screen.h5ad")
    one = build(open_screen(adata, recipe))
    two = build(open_screen(tmp_path / "screen.h5ad", recipe))
    np.testing.assert_array_equal(one.statistics.gram, two.statistics.gram)
    np.testing.assert_array_equal(one.statistics.cross, two.statistics.cross)
    assert len(one.transform.columns) == 1


def test_covariates_from_counts_stand_under_their_names():
    adata = _cycling()
    names = ["S_score", "total_counts", "G2M_score", "pct_counts_mt"]
    folds = np.arange(200) % 4
    dataset = build(open_screen(adata, Recipe(LABELS, covariates=names)), folds)
    X, _ = _dense(dataset)
    raw = adata.X.toarray().astype(float)
    logged = np.log1p(1e4 * raw / raw.sum(axis=1, keepdims=True))
    for version, training in enumerate([*(folds != f for f in range(4)), folds >= 0]):
        mean = logged[training].mean(axis=0)
        S = logged @ score_weights(mean, np.arange(20))
        G2M = logged @ score_weights(mean, np.arange(20, 40))
        expected = np.column_stack(
            [S, raw.sum(axis=1), G2M, 100 * raw[:, 40:42].sum(axis=1) / raw.sum(axis=1)]
        )
        np.testing.assert_allclose(
            X[:, dataset.transform.columns[version][3:]], expected, rtol=1e-9, atol=1e-9
        )


def test_no_fit_sees_its_held_out_cells():
    adata = _cycling(cells=240)
    adata.obs["stress"] = np.random.default_rng(1).normal(size=240)
    recipe = Recipe(
        LABELS,
        batch="batch",
        covariates=["S_score", "G2M_score", "total_counts", "pct_counts_mt", "stress"],
        genes=GeneChoice(highly_variable=40, min_cells=3),
    )
    folds = stratified_folds(adata.obs["perturbation"], adata.obs["batch"], 4, 0)
    before = build(open_screen(adata, recipe), folds)
    scrambled = adata.copy()
    held = np.flatnonzero(folds == 2)
    rng = np.random.default_rng(2)
    values = adata.X.toarray()
    values[held] = rng.negative_binomial(1, 0.02, (len(held), adata.n_vars)) + 1
    scrambled.X = sparse.csr_matrix(values)
    for name in ("perturbation", "batch", "stress"):
        column = adata.obs[name].to_numpy().copy()
        column[held] = rng.permutation(column[held])
        scrambled.obs[name] = column
    after = build(open_screen(scrambled, recipe), folds)
    for fold in range(4):
        same = []
        for dataset in (before, after):
            chosen = dataset.transform.responses[dataset.transform.chosen[fold]]
            part = dataset.statistics.columns(dataset.transform.columns[fold])
            part = part.genes(dataset.transform.chosen[fold])
            part = part.shifted(np.zeros(part.n_columns), np.zeros(part.n_genes)).training()
            same.append((list(chosen), part.gram[fold], part.cross[fold], part.squares[fold]))
        equal = same[0][0] == same[1][0] and all(
            np.allclose(a, b, rtol=1e-9, atol=1e-6)
            for a, b in zip(same[0][1:], same[1][1:], strict=True)
        )
        # the fit that holds these cells out is untouched; the others must have noticed
        assert equal == (fold == 2)
    held_out = [d.statistics.gram[2] for d in (before, after)]
    assert not np.allclose(*held_out)


def test_each_fold_chooses_its_own_genes():
    adata = _cycling()
    folds = np.arange(200) % 4
    recipe = Recipe(LABELS, genes=GeneChoice(highly_variable=30))
    dataset = build(open_screen(adata, recipe), folds)
    assert [int(mask.sum()) for mask in dataset.transform.chosen] == [30] * 5
    assert len(dataset.transform.responses) > 30
    alone = build(open_screen(adata[folds != 1].copy(), recipe))
    assert list(alone.transform.responses) == list(
        dataset.transform.responses[dataset.transform.chosen[1]]
    )


def test_further_responses_from_obs():
    adata = small_screen()
    adata.obs["protein"] = np.linspace(0.0, 1.0, adata.n_obs)
    dataset = build(open_screen(adata, Recipe(LABELS, y_obs=["protein"])))
    assert dataset.transform.responses[-1] == "protein"
    _, Y = _dense(dataset)
    np.testing.assert_array_equal(Y[:, -1], adata.obs["protein"])
    adata.obs["g1"] = 1.0
    with pytest.raises(CellsError, match="y_obs 'g1' is the name of a gene"):
        open_screen(adata, Recipe(LABELS, y_obs=["g1"]))
    with pytest.raises(CellsError, match="'guide' holds .*; expected numbers"):
        open_screen(adata, Recipe(LABELS, y_obs=["guide"]))


def test_size_factor_is_the_whole_transcriptome_not_the_panel():
    adata = small_screen()
    adata.obs["total_counts"] *= 3
    _, Y = _dense(build(open_screen(adata, Recipe(LABELS))))
    raw = adata.X.toarray().astype(float)
    np.testing.assert_allclose(
        Y, np.log1p(1e4 * raw / adata.obs["total_counts"].to_numpy()[:, None])
    )
    with pytest.raises(CellsError, match="no obs column 'depth' for size_factor"):
        build(open_screen(adata, Recipe(LABELS, size_factor="depth")))


def test_cells_that_leave_take_their_covariates_along():
    adata = small_screen()
    adata.obs["perturbation"] = adata.obs["perturbation"].replace("B", "unassigned")
    recipe = Recipe(
        Labels("perturbation", ["ctrl"], unassigned="drop"), covariates=["pct_counts_mt"]
    )
    dataset = build(open_screen(adata, recipe))
    kept = (adata.obs["perturbation"] != "unassigned").to_numpy()
    X, Y = _dense(dataset)
    np.testing.assert_array_equal(X[:, 2], adata.obs["pct_counts_mt"][kept])
    np.testing.assert_array_equal(X[:, 0], adata.obs["perturbation"][kept] == "A")
    assert Y.shape[0] == kept.sum()


def test_bad_counts_surface_while_building():
    adata = small_screen()
    adata.X = adata.X.log1p()
    with pytest.raises(CellsError, match="X does not hold counts"):
        build(open_screen(adata, Recipe(LABELS)))
    adata = small_screen()
    adata.layers["scaled"] = np.full(adata.shape, np.nan)
    with pytest.raises(CellsError, match="layers/scaled holds nan"):
        build(open_screen(adata, Recipe(LABELS, response="scaled")))
    adata = small_screen()
    adata.X = sparse.csr_matrix(adata.X.toarray() * (np.arange(60) != 5)[:, None])
    del adata.obs["total_counts"]
    with pytest.raises(CellsError, match="of cell 'cell5' is 0"):
        build(open_screen(adata, Recipe(LABELS)))


def test_a_perturbation_named_like_a_covariate():
    adata = small_screen()
    adata.obs["A"] = 1.0
    with pytest.raises(CellsError, match="'A' is both a perturbation and a covariate"):
        open_screen(adata, Recipe(LABELS, covariates=["A"]))


def test_real_screens_are_read(shared_data):
    folder = shared_data / "perturbseq"
    recipe = Recipe(
        Labels("perturbation", ["non-targeting"]),
        batch="batch",
        covariates=["S_score", "G2M_score", "pct_counts_mt", "total_counts"],
    )
    screen = open_screen(folder / "papalexi2021_thp1_ifngr2_500hvg.h5ad", recipe)
    assert screen.covariates.names == [
        "batch[rep2]", "batch[rep3]", "S_score", "G2M_score", "pct_counts_mt", "total_counts",
    ]  # fmt: skip
    assert isinstance(screen.obs, pd.DataFrame)
    with pytest.raises(CellsError, match="S_score cannot be computed"):
        open_screen(folder / "papalexi2021_thp1_lowmoi_299genes.h5ad", recipe)
