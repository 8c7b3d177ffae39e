from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import tuner_plugins.perturbseq as ps
from tuner_plugins.perturbseq.errors import AnalysisError
from tuner_plugins.perturbseq.inference.epistasis import epistasis

PLANTED = {
    "synergistic": (1.0, 1.0, 1.0),
    "buffering": (1.2, 1.2, -1.2),
    "reversing": (0.7, 0.7, -2.6),
}
"""log2 fold changes of A, of B, and what both do beyond the sum; the other genes are additive."""

OPTIONS = {"control": "NT", "separator": "+", "multiple": "additive", "n_permutations": 0}
OPTIONS |= {"alphas": [0.01], "l1_ratios": [0.5], "folds": 3, "composition": False}


def _screen(seed):
    rng = np.random.default_rng(seed)
    labels = np.array(["NT", "A", "B", "A+B"])[np.arange(600) % 4]
    a, b = (np.array([name in label.split("+") for label in labels]) for name in ("A", "B"))
    effects = np.zeros((3, 40))
    effects[:, :3] = np.array(list(PLANTED.values())).T
    effects[0, 3:8] = effects[1, 3:8] = 0.8
    mean = 6.0 * np.exp2(np.outer(a, effects[0]) + np.outer(b, effects[1]))
    mean *= np.exp2(np.outer(a & b, effects[2]))
    adata = ad.AnnData(rng.poisson(rng.gamma(6.0, mean / 6.0)).astype(float))
    adata.obs["perturbation"] = labels
    adata.obs["depth"] = 1_500.0
    return adata


def test_what_has_no_fold_change_has_no_class():
    value = pd.DataFrame([[1.0, 1.0, 0.0], [1.0, np.nan, np.nan]], columns=["A", "B", "A,B"])
    tables = {"log2fc_low": value - 0.5, "log2fc_high": value + 0.5, "log2fc_p": value * 0 + 0.9}
    assert list(epistasis({"log2fc": value, **tables})["class"]) == ["additive", ""]


def test_planted_interactions_have_their_class():
    right, false = [], []
    for seed in range(4):
        adata = _screen(seed)
        ps.tl.elasticnet(adata, **OPTIONS, combinations=True, size_factor="depth")
        with pytest.raises(AnalysisError, match="no varm 'log2fc'"):
            ps.tl.epistasis(adata)
        ps.tl.fold_changes(adata)
        ps.tl.epistasis(adata)
        table = adata.uns["epistasis"]
        assert table[["first", "second"]].drop_duplicates().to_numpy().tolist() == [["A", "B"]]
        np.testing.assert_allclose(table["observed"], table["expected"] + table["interaction"])
        right.append(table["class"].tolist()[:3] == list(PLANTED))
        false.append((table["class"][3:] != "additive").mean())
    assert np.mean(right) >= 0.75
    assert np.mean(false) < 0.05


def test_without_pairs_it_is_one_line():
    adata = _screen(0)
    ps.tl.elasticnet(adata, **OPTIONS, size_factor="depth")
    ps.tl.fold_changes(adata)
    with pytest.raises(AnalysisError, match="no pair .* combinations=True"):
        ps.tl.epistasis(adata)
