from __future__ import annotations

import anndata
import numpy as np
import pandas as pd
import pytest
from tuner_plugins.perturbseq.data.matrix import CellsError
from tuner_plugins.perturbseq.data.response import log1p_10k, per_10k
from tuner_plugins.perturbseq.simulate import CONTROL, simulate


@pytest.fixture(scope="module")
def screen(tmp_path_factory):
    paths = simulate(
        tmp_path_factory.mktemp("screen"), seed=3, cells=1500, genes=200, perturbations=8
    )
    return paths, anndata.read_h5ad(paths["screen"]), anndata.read_h5ad(paths["truth"])


def test_it_holds_raw_counts_and_the_columns_of_the_configuration(screen):
    _, adata, _ = screen
    assert (adata.X.data == np.floor(adata.X.data)).all()
    assert adata.shape == (1500, 200)
    assert CONTROL in set(adata.obs["perturbation"])
    np.testing.assert_array_equal(
        adata.obs["total_counts"], np.asarray(adata.X.sum(axis=1)).ravel()
    )
    assert adata.obs["pct_counts_mt"].between(0.5, 30).all()
    assert adata.obs["batch"].nunique() == 3


def test_planted_effects_are_in_the_counts(screen):
    paths, adata, truth = screen
    cells = pd.read_csv(paths["cells"], index_col=0)
    logged = log1p_10k(per_10k(adata.X.astype(float), adata.obs["total_counts"].to_numpy(float)))
    control = (adata.obs["perturbation"] == CONTROL).to_numpy()
    base = np.asarray(logged[control].mean(axis=0)).ravel()
    expressed = base > 2.0
    assert expressed.sum() > 60
    for name, module, effect in zip(truth.obs_names, truth.obs["module"], truth.X, strict=True):
        works = ((adata.obs["perturbation"] == name) & cells["works"]).to_numpy()
        shift = np.asarray(logged[works].mean(axis=0)).ravel() - base
        if module == "":
            assert not effect.any()
        else:
            assert np.corrcoef(shift[expressed], effect[expressed])[0, 1] > 0.9


def test_a_seed_gives_one_screen_and_effect_zero_is_null(tmp_path):
    options = {"cells": 120, "genes": 160, "perturbations": 4, "programs": 2}
    one, two, other = (
        anndata.read_h5ad(simulate(tmp_path / str(i), seed=s, **options)["screen"])
        for i, s in enumerate((5, 5, 6))
    )
    np.testing.assert_array_equal(one.X.toarray(), two.X.toarray())
    assert (one.X != other.X).nnz
    null = anndata.read_h5ad(simulate(tmp_path / "null", seed=5, effect=0.0, **options)["truth"])
    assert not null.X.any()


def test_gene_sets_hold_the_programs(screen):
    paths, adata, truth = screen
    sets = {}
    for line in paths["gene_sets"].read_text().splitlines():
        name, _, *members = line.split("\t")
        sets[name] = set(members)
        assert set(members) <= set(adata.var_names)
    programs = set(truth.var["program"]) - {""}
    assert len(programs) == 4
    for program in programs:
        planted = set(truth.var_names[truth.var["program"] == program])
        assert len(planted & sets[f"PLANTED_{program}"]) / len(planted) > 0.7


def test_impossible_sizes_are_one_line(tmp_path):
    with pytest.raises(CellsError, match="genes is 20; expected 150 or more"):
        simulate(tmp_path, seed=1, genes=20)
    with pytest.raises(CellsError, match="must be 1 or more"):
        simulate(tmp_path, seed=1, cells=0)
    assert not list(tmp_path.iterdir())
