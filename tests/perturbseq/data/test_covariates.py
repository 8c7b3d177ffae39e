from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from tuner_plugins.perturbseq.data.cell_cycle import (
    G2M_GENES,
    RENAMED,
    S_GENES,
    phase_positions,
    score_weights,
)
from tuner_plugins.perturbseq.data.covariates import (
    count_covariate,
    mitochondrial_genes,
    read_covariates,
)
from tuner_plugins.perturbseq.data.matrix import CellsError

GENES = pd.Index(["g1", "g2", "g3"])


def _obs(**columns):
    length = len(next(iter(columns.values())))
    return pd.DataFrame(columns, index=[f"c{i}" for i in range(length)])


@pytest.mark.parametrize(
    "batch",
    [[1, 2, 1, 3, 1, 1], ["1", "2", "1", "3", "1", "1"], pd.Categorical([1, 2, 1, 3, 1, 1])],
)
def test_batches_of_any_dtype_become_the_same_columns(batch):
    found = read_covariates(_obs(batch=batch), GENES, [], "batch")
    assert found.names == ["batch[2]", "batch[3]"]
    np.testing.assert_array_equal(found.values, [[0, 0], [1, 0], [0, 0], [0, 1], [0, 0], [0, 0]])


def test_numbers_stay_and_categories_become_columns():
    obs = _obs(depth=[1, 5, 2] * 2, phase=["G1", "S", "G2M"] * 2, flag=[True, False, True] * 2)
    found = read_covariates(obs, GENES, ["depth", "phase", "flag"], None)
    assert found.names == ["depth", "phase[G2M]", "phase[S]", "flag[True]"]
    np.testing.assert_array_equal(found.values[:, 0], [1, 5, 2] * 2)


def test_one_batch_gives_no_column_and_a_constant_is_flagged():
    found = read_covariates(_obs(batch=["a"] * 3, mt=[0, 0, 0]), GENES, ["mt"], "batch")
    assert found.names == ["mt"]
    assert found.notes == ["these covariates are constant, their coefficients are 0: 'mt'"]


def test_mitochondrial_share_of_man_and_mouse():
    # a rule for human symbols alone found nothing in a mouse; mTOR is not mitochondrial
    genes = pd.Index(["MT-ND1", "mt-Co1", "MTOR", "Mtor", "MT1X"])
    assert mitochondrial_genes(genes).tolist() == [0, 1]
    counts = sparse.csr_matrix([[1.0, 1, 8, 0, 0], [0, 0, 0, 0, 0]])
    share = count_covariate("pct_counts_mt", counts, mitochondrial_genes(genes))
    np.testing.assert_array_equal(share, [20.0, 0.0])
    with pytest.raises(CellsError, match="no gene starts with MT- or mt-"):
        read_covariates(_obs(a=[1, 2]), GENES, ["pct_counts_mt"], None)


def test_obs_goes_before_what_could_be_computed():
    found = read_covariates(_obs(total_counts=[7, 8]), GENES, ["total_counts"], None)
    assert not found.counted
    assert read_covariates(_obs(a=[1, 2]), GENES, ["total_counts"], None).counted == {
        "total_counts": 0
    }


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_bad_covariates_are_one_line(bad):
    with pytest.raises(CellsError, match="'depth' is .* in 1 cells .first: 'c1'."):
        read_covariates(_obs(depth=[1.0, bad]), GENES, ["depth"], None)
    with pytest.raises(CellsError, match="'batch' is missing in 1 cells"):
        read_covariates(_obs(batch=["a", None]), GENES, [], "batch")
    with pytest.raises(
        CellsError, match="no obs column 'dept' for covariates; did you mean: depth"
    ):
        read_covariates(_obs(depth=[1.0, 2.0]), GENES, ["dept"], None)
    with pytest.raises(CellsError, match=r"^data.covariates names 'depth' twice; name it once$"):
        read_covariates(
            _obs(mt=[1.0, 2.0], depth=[1.0, 2.0]), GENES, ["mt", "depth", "depth"], None
        )
    with pytest.raises(CellsError, match=r"^data.batch names 'lane' already; take it out of"):
        read_covariates(_obs(mt=[1, 2], lane=[1, 2]), GENES, ["mt", "lane"], "lane")


@pytest.mark.parametrize(
    "values",
    [
        ["4.31%", "5%", "4.31%"],
        ["1,234", "998", "998"],
        ["0.5", "1e3", "1"],
        ["4,31", "NA", "4,31"],
        pd.Categorical(["4.0", "5.0", "4.0"]),
        ["-3", "2", "2"],
    ],
)
def test_numbers_as_text_are_no_levels(values):
    obs = _obs(depth=list(values) * 4)
    with pytest.raises(CellsError, match=r"'depth' holds numbers as text \('.+'\), \d different"):
        read_covariates(obs, GENES, ["depth"], None)


@pytest.mark.parametrize(
    "values", [["0", "1", "12"], ["0.5uM", "1uM", "none"], [True, False, True]]
)
def test_names_of_clusters_doses_and_flags_are_levels(values):
    found = read_covariates(_obs(of=values * 4), GENES, ["of"], None)
    assert len(found.names) == len(set(values)) - 1


@pytest.mark.parametrize(("names", "batch"), [(["of"], None), ([], "of")])
def test_almost_as_many_levels_as_cells_are_refused_before_they_are_columns(names, batch):
    obs = _obs(of=[f"AC{i}" for i in range(9)])
    with pytest.raises(CellsError, match=r"'of' has 9 labels for 9 cells; expected .*data\."):
        read_covariates(obs, GENES, names, batch)


def test_the_lists_are_those_of_the_paper(shared_data):
    lines = (shared_data / "perturbseq/regev_lab_cell_cycle_genes.txt").read_text().split()
    assert tuple(lines[:43]) == S_GENES
    assert tuple(lines[43:]) == G2M_GENES


def test_list_lengths():
    assert (len(S_GENES), len(G2M_GENES)) == (43, 54)
    assert len(set(S_GENES) | set(G2M_GENES)) == 97


def test_genes_are_found_in_mouse_and_under_new_symbols():
    assert len(phase_positions(pd.Index([g.capitalize() for g in S_GENES]), "S_score")) == 43
    renamed = pd.Index([RENAMED.get(g, g) for g in G2M_GENES])
    assert len(phase_positions(renamed, "G2M_score")) == 54
    with pytest.raises(CellsError, match="S_score cannot be computed: 2 of its 43 genes"):
        phase_positions(pd.Index(["MCM5", "PCNA", "x"]), "S_score")


def test_a_score_sees_its_genes_and_is_blind_to_depth():
    rng = np.random.default_rng(0)
    mean = rng.gamma(1.0, size=300)
    weights = score_weights(mean, np.arange(20))
    assert weights.sum() == pytest.approx(0.0, abs=1e-12)
    assert (weights[:20] == 1 / 20).all()
    assert weights @ np.ones(300) == pytest.approx(0.0, abs=1e-12)
    # control genes are expressed alike: nearer in mean than genes drawn at random
    controls = np.flatnonzero(weights < 0)
    assert len(controls) >= 50


def test_a_list_that_fills_the_gene_pool_still_has_a_score():
    # bins of expression run out of control genes here
    mean = np.linspace(0.0, 1.0, 40)
    weights = score_weights(mean, np.arange(38))
    assert np.flatnonzero(weights < 0).tolist() == [38, 39]
    with pytest.raises(CellsError, match="outside its own list"):
        score_weights(mean, np.arange(40))


def test_scores_agree_with_scanpy():
    import anndata
    import scanpy
    from tuner_plugins.perturbseq.data.response import log1p_10k, per_10k

    rng = np.random.default_rng(1)
    names = [*S_GENES, *G2M_GENES, *(f"x{i}" for i in range(400))]
    angle = rng.uniform(0, 2 * np.pi, 400)
    rate = np.repeat(rng.normal(0.5, 1.0, len(names))[None], 400, axis=0)
    rate[:, :43] += np.maximum(np.sin(angle), 0)[:, None]
    counts = sparse.csr_matrix(rng.poisson(np.exp(rate)).astype(float))
    logged = log1p_10k(per_10k(counts, np.asarray(counts.sum(axis=1)).ravel()))
    adata = anndata.AnnData(logged, var=pd.DataFrame(index=names))
    adata.obs_names = [f"c{i}" for i in range(400)]
    scanpy.tl.score_genes(adata, list(S_GENES), score_name="theirs", ctrl_size=43)
    weights = score_weights(np.asarray(logged.mean(axis=0)).ravel(), np.arange(43))
    assert np.corrcoef(logged @ weights, adata.obs["theirs"])[0, 1] > 0.98
