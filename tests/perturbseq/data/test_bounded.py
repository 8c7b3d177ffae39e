"""Screens of any size: the coefficients of what is held in memory, in memory that is bounded."""

from __future__ import annotations

import tracemalloc
import warnings

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from tuner_plugins.enet import summarise
from tuner_plugins.enet.cross_validation import Problem, cross_validate, refit
from tuner_plugins.perturbseq.data import cell_matrix, probing
from tuner_plugins.perturbseq.data.cell_matrix import BLOCK_CELLS
from tuner_plugins.perturbseq.data.dataset import build
from tuner_plugins.perturbseq.data.files import Files
from tuner_plugins.perturbseq.data.labels import Labels
from tuner_plugins.perturbseq.data.matrix import open_cells
from tuner_plugins.perturbseq.data.screen import Recipe, open_screen
from tuner_plugins.perturbseq.model.problem import problem_of

from tests.perturbseq.screens import small_screen

RECIPE = Recipe(Labels(control=("ctrl",)), batch="batch", covariates=("total_counts",))
CELLS = 2 * BLOCK_CELLS + 999


@pytest.fixture(autouse=True)
def unprobed(monkeypatch):
    """Spare the process that tries a file out: these files are whole."""
    monkeypatch.setattr(probing, "_read_in_child", lambda *arguments: None)


@pytest.fixture(scope="module")
def adata() -> anndata.AnnData:
    adata = small_screen(cells=CELLS)
    moved = (adata.obs["perturbation"] == "A").to_numpy()
    adata.X = sparse.csr_matrix(adata.X.toarray() + 2.0 * moved[:, None] * (np.arange(12) < 4))
    adata.obs["total_counts"] = np.asarray(adata.X.sum(axis=1)).reshape(-1)
    return adata


def in_memory(adata: anndata.AnnData, folds: np.ndarray) -> Problem:
    """Return the problem as NumPy and pandas make it, in one piece."""
    obs = adata.obs
    design = pd.get_dummies(obs["perturbation"]).drop(columns="ctrl").to_numpy(float)
    batch = pd.get_dummies(obs["batch"], drop_first=True).to_numpy(float)
    X = np.column_stack([design, batch, obs["total_counts"]])
    counts = adata.X.toarray().astype(float)
    Y = np.log1p(1e4 * counts / counts.sum(axis=1, keepdims=True))
    factor = [1.0] * 3 + [0.0] * 2
    return Problem.of(summarise(X, Y, folds), factor, tested=3)


def on_disk(form: str, adata: anndata.AnnData, folder) -> object:
    if form == "two files":
        paths = [folder / "one.h5ad", folder / "two.h5ad"]
        adata[:5000].write_h5ad(paths[0])
        adata[5000:, ::-1].copy().write_h5ad(paths[1])
        return Files(paths)
    path = folder / f"screen.{form}"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        adata.write_zarr(path) if form == "zarr" else adata.write_h5ad(path, compression="gzip")
    return path


@pytest.mark.parametrize("form", ["h5ad", "zarr", "two files"])
def test_blocks_from_disk_give_the_coefficients_of_what_is_in_memory(tmp_path, adata, form):
    folds = np.arange(CELLS) % 3
    dataset = build(open_screen(on_disk(form, adata, tmp_path), RECIPE), folds, threads=2)
    read, expected = problem_of(dataset), in_memory(adata, folds)
    coef = refit(expected, 0.01, 0.5).coef
    assert 0 < (coef[:, :3] != 0).sum() < coef[:, :3].size
    np.testing.assert_allclose(refit(read, 0.01, 0.5).coef, coef, rtol=0, atol=1e-10)
    surfaces = (cross_validate(part, [0.1, 0.01, 0.001], [0.5, 1.0]) for part in (read, expected))
    one, other = (found.r2 for found in surfaces)
    np.testing.assert_allclose(one, other, rtol=0, atol=1e-10)


def test_memory_does_not_grow_with_the_matrix(tmp_path):
    """Six blocks more take less than half of what they hold: labels, not values."""
    genes, peaks = 300, []
    rng = np.random.default_rng(0)
    block = sparse.random(BLOCK_CELLS, genes, 0.3, format="csr", rng=rng)
    block.data = np.ceil(9 * block.data)
    for blocks in (2, 8):
        counts = sparse.csr_matrix(sparse.vstack([block] * blocks, format="csr"))
        labels = ["ctrl", "A"] * (counts.shape[0] // 2)
        obs = pd.DataFrame({"perturbation": labels}, [f"c{i}" for i in range(counts.shape[0])])
        path = tmp_path / f"{blocks}.h5ad"
        anndata.AnnData(counts, obs=obs).write_h5ad(path)
        del counts, obs, labels
        tracemalloc.start()
        build(open_screen(path, Recipe(Labels(control=("ctrl",)))), None)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] - peaks[0] < 6 * (block.data.nbytes + block.indices.nbytes) / 2


def test_blocks_of_a_dense_matrix_of_many_genes_have_fewer_cells(tmp_path, monkeypatch):
    monkeypatch.setattr(cell_matrix, "DENSE_VALUES", 120)
    adata = small_screen()
    adata.X = adata.X.toarray()
    adata.write_h5ad(tmp_path / "dense.h5ad")
    for source in (tmp_path / "dense.h5ad", adata):
        found = [block for _, block in open_cells(source).matrix.blocks(np.arange(60))]
        assert [len(block) for block in found] == [10] * 6
        np.testing.assert_array_equal(np.vstack(found), adata.X)
