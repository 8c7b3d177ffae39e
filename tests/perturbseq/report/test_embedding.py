from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import scanpy as sc
from anndata import AnnData
from scipy import sparse
from sklearn.neighbors import NearestNeighbors
from threadpoolctl import threadpool_limits
from tuner_plugins.perturbseq.errors import AnalysisError
from tuner_plugins.perturbseq.report import embedding
from tuner_plugins.perturbseq.report.embedding import (
    VARIABLE,
    PrepareOptions,
    _dispersed,
    prepare,
)

from tests.perturbseq.planted import planted_screen


def cycling(n=300, seed=0):
    """A third of the cells in S, a third in G2M."""
    rng = np.random.default_rng(seed)
    names = [f"S{i}" for i in range(10)] + [f"M{i}" for i in range(10)]
    names += [f"G{i}" for i in range(150)] + ["MT-A", "mt-b"]
    rate = rng.gamma(2, 1, len(names)) * np.ones((n, 1))
    phase = np.arange(n) % 3
    rate[phase == 1, :10] *= 5
    rate[phase == 2, 10:20] *= 5
    adata = AnnData(sparse.csr_matrix(rng.poisson(rate).astype(np.float32)))
    adata.var_names = names
    cycle = {"S": names[:10], "G2M": [m.lower() for m in names[10:20]]}
    return adata, cycle, phase


def test_everything_stands_under_its_key():
    adata, cycle, phase = cycling()
    prepare(adata, PrepareOptions(cell_cycle=cycle))
    assert adata.obsm["X_umap"].shape == (300, 2)
    assert adata.obsm["X_pca"].shape == (300, adata.uns["prepare"]["n_pcs"])
    assert np.isfinite(adata.obsm["X_umap"]).all()
    assert {"total_counts", "n_genes_by_counts", "pct_counts_mt", "S_score", "G2M_score"} <= set(
        adata.obs
    )
    assert 10 <= adata.var["highly_variable"].sum() < adata.n_vars
    expected = np.array(["G1", "S", "G2M"])[phase]
    assert (adata.obs["phase"].astype(str).to_numpy() == expected).mean() > 0.9


def test_counts_are_left_as_they_were_and_lognorm_is_the_definition():
    adata, *_ = cycling(60)
    before = adata.X.copy()
    prepare(adata)
    assert (adata.X != before).nnz == 0
    dense = before.toarray()
    expected = np.log1p(1e4 * dense / dense.sum(axis=1, keepdims=True))
    np.testing.assert_allclose(adata.layers["lognorm"].toarray(), expected, rtol=1e-5)
    share = 100 * dense[:, -2:].sum(axis=1) / dense.sum(axis=1)
    np.testing.assert_allclose(adata.obs["pct_counts_mt"], share, rtol=1e-5)


def test_a_panel_is_normalised_by_the_named_totals():
    adata, *_ = cycling(60)
    adata.obs["total_counts"] = 20_000.0
    prepare(adata, PrepareOptions(size_factor="total_counts"))
    expected = np.log1p(adata.X.toarray() / 2)
    np.testing.assert_allclose(adata.layers["lognorm"].toarray(), expected, rtol=1e-5)


def test_a_cell_may_show_no_gene_of_a_panel():
    adata, *_ = cycling(60)
    adata.X = sparse.csr_matrix(adata.X.toarray() * (np.arange(60) != 7)[:, None])
    adata.obs["total_counts"] = 20_000.0
    prepare(adata, PrepareOptions(size_factor="total_counts"))
    assert adata.obs["pct_counts_mt"].iloc[7] == 0.0
    assert np.isfinite(adata.obsm["X_umap"]).all()


def test_same_coordinates_twice_and_for_any_threads():
    coordinates = []
    for threads in (1, 2, 2):
        planted = planted_screen(n_cells=300)
        with threadpool_limits(threads):
            prepare(planted.adata)
        coordinates.append(planted.adata.obsm["X_umap"])
    np.testing.assert_array_equal(coordinates[0], coordinates[1])
    np.testing.assert_array_equal(coordinates[0], coordinates[2])


def test_dense_counts_a_constant_gene_and_few_genes_work():
    rng = np.random.default_rng(0)
    counts = rng.poisson(2.0, (40, 8)).astype(np.float32) + 1
    counts[:, 3] = 5
    counts[:, 4] = 0
    adata = prepare(AnnData(counts))
    assert np.isfinite(adata.obsm["X_umap"]).all()
    assert not adata.var["highly_variable"].iloc[4]


def test_phases_that_are_there_are_kept_and_missing_genes_give_none():
    adata, cycle, _ = cycling(60)
    adata.obs["phase"] = "mine"
    prepare(adata, PrepareOptions(cell_cycle=cycle))
    assert set(adata.obs["phase"]) == {"mine"}
    other, *_ = cycling(60)
    prepare(other, PrepareOptions(cell_cycle={"S": ["A"], "G2M": ["B"]}))
    assert "phase" not in other.obs


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda a: a.X.data.__iadd__(0.5), "must hold raw counts"),
        (lambda a: a.X.data.__imul__(-1), "must hold raw counts"),
        (lambda a: a.X.data.__imul__(0), "60 cells have no counts"),
    ],
)
def test_what_is_no_counts_is_refused_in_one_line(spoil, words):
    adata, *_ = cycling(60)
    spoil(adata)
    with pytest.raises(AnalysisError, match=words) as caught:
        prepare(adata)
    assert "\n" not in str(caught.value)


def test_too_few_cells_and_a_bad_size_factor_are_refused():
    adata, *_ = cycling(60)
    with pytest.raises(AnalysisError, match="4 cells"):
        prepare(adata[:3].copy())
    with pytest.raises(AnalysisError, match="no obs column 'depth'"):
        prepare(adata, PrepareOptions(size_factor="depth"))


def test_what_was_compiled_for_umap_is_kept_for_other_processes():
    prepare(cycling(60)[0])
    from umap import umap_  # its first import warns

    kernel = umap_.smooth_knn_dist
    assert kernel.stats.cache_hits or kernel.stats.cache_misses
    assert any(Path(kernel.stats.cache_path).glob("*smooth_knn_dist*.nbc"))


@pytest.mark.parametrize("seed", [0, 1])
def test_variable_genes_are_those_of_scanpy(seed):
    rng = np.random.default_rng(seed)
    rate = np.exp(rng.normal(-1.0, 1.5, 300)) * rng.gamma(2.0, 0.5, (500, 300)) ** 2
    counts = rng.poisson(rate).astype(np.float32)
    counts[:, 7] = 0
    logged = sparse.csr_matrix(np.log1p(counts))
    view = AnnData(logged.copy())
    sc.pp.highly_variable_genes(view, **VARIABLE)
    expected = view.var["highly_variable"].to_numpy()
    assert 20 < expected.sum() < 200
    np.testing.assert_array_equal(_dispersed(logged), expected)


def test_many_cells_start_from_principal_components(monkeypatch):
    adata, *_ = cycling(60)
    prepare(adata)
    assert embedding._start(adata) == "spectral"
    monkeypatch.setattr(embedding, "EXACT_UP_TO", 50)
    assert embedding._start(adata) == pytest.approx(adata.obsm["X_pca"][:, :2])


@pytest.mark.slow  # pynndescent compiles for most of a minute
def test_neighbours_of_many_cells_are_searched_approximately(monkeypatch):
    monkeypatch.setattr(embedding, "EXACT_UP_TO", 100)
    adata, cycle, _ = cycling()
    prepare(adata, PrepareOptions(n_neighbors=10, cell_cycle=cycle))
    assert np.isfinite(adata.obsm["X_umap"]).all()
    nearest = NearestNeighbors(n_neighbors=10).fit(adata.obsm["X_pca"])
    exact = nearest.kneighbors_graph(adata.obsm["X_pca"])
    searched = embedding._search(adata.n_obs, 10, seed=0).fit_transform(adata.obsm["X_pca"])
    assert (searched != 0).multiply(exact).sum() > 0.85 * exact.sum()  # a cell is its own nearest
