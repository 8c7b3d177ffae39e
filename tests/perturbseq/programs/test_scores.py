from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from anndata import AnnData
from scipy import sparse
from tuner_plugins.perturbseq.errors import AnalysisError
from tuner_plugins.perturbseq.programs.scores import control_weights, score_programs

from tests.perturbseq.planted import planted_screen


def test_scores_are_what_the_definition_says():
    rng = np.random.default_rng(0)
    values = rng.gamma(1.0, 1.0, (30, 40))
    adata = AnnData(values.copy(), layers={"log": values})
    adata.var_names = [f"g{i}" for i in range(40)]
    genes = ["g3", "g17", "g20"]
    found = score_programs(adata, {"P0": genes}, layer="log", n_control=4)["P0"]

    means = values.mean(axis=0)
    rank = {g: i for i, g in enumerate(sorted(adata.var_names, key=lambda g: means[int(g[1:])]))}
    pool = sorted((g for g in adata.var_names if g not in genes), key=rank.__getitem__)
    expected = values[:, [3, 17, 20]].mean(axis=1)
    for gene in genes:
        below = sum(rank[g] < rank[gene] for g in pool)
        start = min(max(below - 2, 0), len(pool) - 4)
        controls = [int(g[1:]) for g in pool[start : start + 4]]
        expected -= values[:, controls].mean(axis=1) / 3
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_scores_agree_with_scanpy():
    planted = planted_screen(n_other_genes=400)
    adata = planted.adata
    genes = list(planted.programs.index[planted.programs == "planted0"])
    ours = score_programs(adata, {"P0": genes}, layer="response")["P0"]
    adata.X = adata.layers["response"]
    sc.tl.score_genes(adata, genes, ctrl_size=50, random_state=0)
    assert np.corrcoef(ours, adata.obs["score"])[0, 1] > 0.98


def test_sparse_and_dense_give_the_same_scores():
    planted = planted_screen(n_cells=200)
    programs = {"P0": list(planted.adata.var_names[:12]), "P1": list(planted.adata.var_names[5:9])}
    from_sparse = score_programs(planted.adata, programs, layer="response")
    planted.adata.layers["dense"] = planted.adata.layers["response"].toarray()
    from_dense = score_programs(planted.adata, programs, layer="dense")
    pd.testing.assert_frame_equal(from_sparse, from_dense)


@pytest.mark.parametrize("n_inside", [1, 38, 39, 40])
def test_the_gene_pool_is_never_exhausted(n_inside):
    rng = np.random.default_rng(1)
    inside = np.zeros(40, dtype=bool)
    inside[rng.permutation(40)[:n_inside]] = True
    weights = control_weights(rng.gamma(1, 1, 40), inside, 50)
    assert (weights >= 0).all()
    assert (weights[inside] == 0).all()
    assert weights.sum() == pytest.approx(0.0 if n_inside == 40 else 1.0)


def test_controls_match_the_expression_of_a_strong_program():
    means = np.arange(100.0)
    inside = np.zeros(100, dtype=bool)
    inside[80:90] = True
    assert means @ control_weights(means, inside, 10) == pytest.approx(84.5, abs=1.5)


def test_scores_stand_under_their_key_and_change_nothing_else():
    planted = planted_screen(n_cells=100)
    before = planted.adata.layers["response"].copy()
    score_programs(planted.adata, {"A,B": ["G000", "G001"]}, layer="response", key="s")
    assert list(planted.adata.obsm["s"].columns) == ["A,B"]
    assert (planted.adata.layers["response"] != before).nnz == 0


@pytest.mark.parametrize(
    ("programs", "layer", "words"),
    [
        ({"P0": ["G000"]}, "raw", "no layer 'raw'"),
        ({"P0": []}, "response", "'P0' has no genes"),
        ({"P0": ["G000", "NOPE"]}, "response", "'NOPE'"),
    ],
)
def test_bad_input_is_refused_in_one_line(programs, layer, words):
    planted = planted_screen(n_cells=50)
    with pytest.raises(AnalysisError, match=words) as caught:
        score_programs(planted.adata, programs, layer=layer)
    assert "\n" not in str(caught.value)


def test_a_layer_by_name_is_not_changed_by_what_raw_is():
    planted = planted_screen(n_cells=60)
    programs = {"P0": ["G000", "G001"]}
    before = score_programs(planted.adata, programs, layer="response")
    planted.adata.raw = planted.adata
    planted.adata.X = sparse.csr_matrix(np.log1p(planted.adata.X.toarray()))
    after = score_programs(planted.adata, programs, layer="response")
    pd.testing.assert_frame_equal(before, after)
