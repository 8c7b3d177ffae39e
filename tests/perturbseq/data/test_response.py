from __future__ import annotations

import anndata
import numpy as np
import pandas as pd
import pytest
import scanpy
from scipy import sparse
from tuner_plugins.perturbseq.data.matrix import CellsError
from tuner_plugins.perturbseq.data.response import (
    GeneChoice,
    Moments,
    choose_genes,
    log1p_10k,
    normalised_dispersion,
    per_10k,
    require_sizes,
)


def _counts(seed: int = 0, cells: int = 300, genes: int = 200) -> sparse.csr_matrix:
    rng = np.random.default_rng(seed)
    mean = rng.gamma(0.5, 4.0, genes) * rng.gamma(3.0, 0.3, (cells, 1))
    mean = rng.gamma(1 / rng.uniform(0.05, 2.0, genes), 1.0, (cells, genes)) * mean
    return sparse.csr_matrix(rng.poisson(mean).astype(float))


def _moments(linear: sparse.csr_matrix) -> Moments:
    moments = Moments(linear.shape[1])
    moments.add(linear)
    return moments


def test_normalisation_is_scanpys():
    counts = _counts()
    sizes = np.asarray(counts.sum(axis=1)).ravel()
    theirs = anndata.AnnData(counts.copy())
    theirs.obs_names = theirs.obs_names.astype(str)
    scanpy.pp.normalize_total(theirs, target_sum=1e4)
    scanpy.pp.log1p(theirs)
    ours = log1p_10k(per_10k(counts, sizes))
    np.testing.assert_allclose(ours.toarray(), theirs.X.toarray(), rtol=1e-12)
    # the counts themselves are left alone
    np.testing.assert_array_equal(counts.toarray(), _counts().toarray())


def test_moments_of_blocks_add_up():
    linear = per_10k(_counts(), np.full(300, 500.0))
    whole, first, second = _moments(linear), _moments(linear[:70]), _moments(linear[70:])
    both = first + second
    assert both.cells == 300
    dense = linear.toarray()
    np.testing.assert_allclose(both.linear_sum, dense.sum(axis=0), rtol=1e-12)
    np.testing.assert_allclose(both.linear_squares, (dense**2).sum(axis=0), rtol=1e-12)
    np.testing.assert_allclose(both.log_sum, np.log1p(dense).sum(axis=0), rtol=1e-12)
    np.testing.assert_array_equal(both.seen, (dense > 0).sum(axis=0))
    np.testing.assert_allclose(both.log_sum, whole.log_sum, rtol=1e-12)


@pytest.mark.parametrize("top", [None, 30, 150])
def test_highly_variable_genes_are_scanpys(top):
    linear = per_10k(_counts(3), np.full(300, 800.0))
    adata = anndata.AnnData(linear.log1p(), var=pd.DataFrame(index=[f"g{i}" for i in range(200)]))
    limits = {"min_mean": 0.0125, "max_mean": 3, "min_disp": 0.5}
    scanpy.pp.highly_variable_genes(adata, **({"n_top_genes": top} if top else limits))
    mean, dispersion = normalised_dispersion(_moments(linear))
    np.testing.assert_allclose(mean, adata.var["means"], rtol=1e-9)
    np.testing.assert_allclose(dispersion, adata.var["dispersions_norm"], rtol=1e-5, atol=1e-6)
    choice = GeneChoice(highly_variable=top) if top else GeneChoice(limits=(0.0125, 3, 0.5))
    chosen = choose_genes(_moments(linear), adata.var_names, choice)
    assert 0 < chosen.sum() < 200
    np.testing.assert_array_equal(chosen, adata.var["highly_variable"])


def test_genes_by_name_and_by_cells():
    linear = sparse.csr_matrix(np.array([[1.0, 0, 2], [1, 0, 0], [1, 1, 0]]))
    genes = pd.Index(["a", "b", "c"])
    moments = _moments(linear)
    assert choose_genes(moments, genes, GeneChoice(min_cells=2)).tolist() == [True, False, False]
    assert choose_genes(moments, genes, GeneChoice(["c"])).tolist() == [False, False, True]
    with pytest.raises(CellsError, match="gene 'z' is not measured"):
        choose_genes(moments, genes, GeneChoice(["z"]))
    with pytest.raises(CellsError, match="leaves none"):
        choose_genes(moments, genes, GeneChoice(min_cells=4))


def test_a_constant_gene_and_an_absent_one_do_no_harm():
    counts = _counts().toarray()
    counts[:, 3], counts[:, 4] = 0.0, 5.0
    moments = _moments(sparse.csr_matrix(counts))
    chosen = choose_genes(moments, pd.RangeIndex(200).astype(str), GeneChoice(highly_variable=50))
    assert not chosen[3]
    assert not chosen[4]
    assert chosen.sum() == 50


def test_empty_cells_are_one_line():
    with pytest.raises(CellsError, match="size factor total_counts of cell 'b' is 0"):
        require_sizes(np.array([1.0, 0.0]), pd.Index(["a", "b"]), "total_counts")
