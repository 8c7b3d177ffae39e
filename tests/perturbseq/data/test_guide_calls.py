from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from tuner_plugins.perturbseq.data.guide_calls import METHODS, GuideCalling, call_guides
from tuner_plugins.perturbseq.data.guide_counts import _only_one
from tuner_plugins.perturbseq.data.guide_mixtures import negative_binomial, poisson_gaussian
from tuner_plugins.perturbseq.data.stored import CellsError

from tests.perturbseq.guides import guide_counts

SEEDS = range(3)


def _called(counts, **options):
    names = [f"T{i // 2}_{i % 2 + 1}" for i in range(counts.shape[1])]
    cells = pd.Index([f"c{i}" for i in range(len(counts))])
    return call_guides(sparse.csr_matrix(counts), names, cells, GuideCalling(**options))


def _rates(calls, truth):
    called = calls.called.toarray().astype(bool)
    return (called & truth).sum() / truth.sum(), (called & ~truth).sum() / called.sum()


SCREENS = {
    "low": ({"moi": 0.3}, 0.98, 0.02),
    "high": ({"moi": 5.0}, 0.98, 0.02),
    "guides of no cell": ({"moi": 0.5, "empty": 6}, 0.98, 0.02),
    "one depth": ({"moi": 0.5, "depth": 0.0}, 0.98, 0.01),
    "little background": ({"moi": 0.5, "ambient": 0.05, "signal": 4.5}, 0.95, 0.02),
}
"""What is simulated, the least recall and the largest share of false calls, over all seeds."""


@pytest.mark.parametrize("kind", SCREENS)
def test_guides_are_found_where_they_are(kind):
    options, recall, false = SCREENS[kind]
    rates = []
    for seed in SEEDS:
        counts, truth = guide_counts(seed, **options)
        rates.append(_rates(_called(counts), truth))
    found, wrong = np.mean(rates, axis=0)
    assert found > recall
    assert wrong < false


def test_depth_that_differs_is_no_signal():
    """A Poisson background is too narrow then, which is why it is not the default."""
    wrong = {"negative_binomial": [], "poisson_gaussian": []}
    for seed in SEEDS:
        counts, truth = guide_counts(seed, moi=0.3, ambient=0.5, empty=6)
        for method, rates in wrong.items():
            rates.append(_rates(_called(counts, method=method), truth)[1])
    assert np.mean(wrong["negative_binomial"]) < 0.03
    assert np.mean(wrong["poisson_gaussian"]) > 3 * np.mean(wrong["negative_binomial"])


@pytest.mark.parametrize("method", METHODS)
def test_every_method_separates_what_is_far_apart(method):
    counts, truth = guide_counts(1, moi=0.2, ambient=0.02, signal=7.0, depth=0.1)
    counts[truth.sum(axis=1) > 1] = 0
    truth[truth.sum(axis=1) > 1] = False
    recall, wrong = _rates(_called(counts, method=method), truth)
    assert recall > 0.98
    assert wrong < 0.02


def test_parameters_are_recovered():
    rng = np.random.default_rng(0)
    signal = np.exp2(rng.normal(6.0, 0.8, 300)).astype(int)
    poisson = np.r_[rng.poisson(1.5, 3000), signal]
    for fit in (poisson_gaussian(poisson), negative_binomial(poisson)):
        assert fit.background == pytest.approx(1.5, rel=0.1)
        assert np.log2(fit.signal) == pytest.approx(6.0, abs=0.2)
        assert fit.share == pytest.approx(300 / (poisson > 0).sum(), rel=0.1)
    wide = np.r_[rng.negative_binomial(1.0, 1.0 / 3.0, 3000), signal]  # mean 2, dispersion 1
    assert negative_binomial(wide).background == pytest.approx(2.0, rel=0.2)


def test_one_part_alone():
    rng = np.random.default_rng(0)
    background = negative_binomial(rng.poisson(0.4, 3000))
    assert background.threshold == np.inf
    assert background.background == pytest.approx(0.4, rel=0.25)
    counts = np.zeros(3000, dtype=int)
    counts[:200] = np.exp2(rng.normal(6.0, 0.8, 200)).astype(int)
    assert negative_binomial(counts).threshold <= 20
    assert negative_binomial(np.array([0, 0, 9, 12])) is None


def test_few_cells_and_few_counts_fall_back_to_the_least_count():
    counts = np.zeros((50, 2), dtype=int)
    counts[:4, 0], counts[4:8, 0] = 40, 2
    calls = _called(counts, min_umis=5)
    assert calls.table["threshold"].tolist() == [5, 5]
    assert calls.table["n_cells"].tolist() == [4, 0]
    assert calls.table["method"].tolist() == ["threshold", "threshold"]


def test_labels_join_targets_not_guides():
    counts = np.array([[9, 0, 0, 0], [9, 9, 0, 0], [9, 0, 9, 9], [0, 0, 0, 0]])
    calls = _called(counts, method="threshold")
    assert calls.labels["guide"].tolist()[:3] == ["T0_1", "T0_1+T0_2", "T0_1+T1_1+T1_2"]
    assert calls.labels["perturbation"].tolist()[:3] == ["T0", "T0", "T0+T1"]
    assert calls.labels.iloc[3].tolist()[:2] != calls.labels.iloc[0].tolist()[:2]
    assert calls.labels["perturbation"].isna().tolist() == [False, False, False, True]
    assert calls.labels["n_guides"].tolist() == [1, 2, 3, 0]


TROUBLE = {
    "method": ({"method": "gaussain"}, None, "no method 'gaussain' .*did you mean: gaussian"),
    "normalised": ({}, np.array([[0.5, 1.0]]), "a guide's count is 0.5; expected whole numbers"),
    "negative": ({}, np.array([[-1, 1]]), "a guide's count is -1"),
    "no target": ({"targets": {"T0_1": "A"}}, None, r"guide 'T0_2' has no target \(1 such\)"),
    "separator": ({"separator": "T"}, None, "target 'T0' holds the separator 'T'"),
}


@pytest.mark.parametrize("kind", TROUBLE)
def test_trouble_is_one_line(kind):
    options, counts, message = TROUBLE[kind]
    with pytest.raises(CellsError, match=message):
        _called(np.array([[9, 9]]) if counts is None else counts, **options)


def test_the_only_file_is_found_by_a_class_that_a_script_carries():
    carried = SimpleNamespace(counts=(Path("a.h5ad"),))
    assert _only_one(carried, "obsm") == Path("a.h5ad")
    with pytest.raises(CellsError, match="obsm of one file, and there are 2"):
        _only_one(SimpleNamespace(counts=(Path("a.h5ad"), Path("b.h5ad"))), "obsm")
