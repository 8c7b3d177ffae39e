from __future__ import annotations

import anndata
import numpy as np
import pytest
from scipy import sparse
from tuner_plugins.enet.cross_validation import cross_validate
from tuner_plugins.perturbseq.data.dataset import build
from tuner_plugins.perturbseq.data.folds import stratified_folds
from tuner_plugins.perturbseq.data.labels import Labels
from tuner_plugins.perturbseq.data.screen import Recipe, open_screen
from tuner_plugins.perturbseq.inference.permutation_schemes import shuffle_within
from tuner_plugins.perturbseq.inference.permutation_test import (
    Null,
    permutation_null,
    shuffled_statistics,
)
from tuner_plugins.perturbseq.model.problem import problem_of
from tuner_plugins.perturbseq.simulate import CONTROL, simulate

from tests.perturbseq.screens import small_screen

GRID = (np.geomspace(0.001, 0.1, 4), [0.5, 1.0])


def _dataset(adata: anndata.AnnData, control: str = "ctrl", **options):
    recipe = Recipe(
        Labels("perturbation", [control], **options),
        batch="batch",
        covariates=["total_counts", "pct_counts_mt"],
    )
    screen = open_screen(adata, recipe)
    return build(screen, stratified_folds(screen.design.groups, screen.batches, 3, 0))


@pytest.mark.parametrize("multiple", [False, True])
@pytest.mark.parametrize("dense", [False, True])
def test_shuffled_sums_are_those_of_a_screen_with_shuffled_labels(multiple, dense):
    adata = small_screen(cells=90)
    if multiple:
        labels = adata.obs["perturbation"].to_numpy().astype(object)
        labels[::7] = "A;B"
        adata.obs["perturbation"] = labels.astype(str)
    if dense:
        adata.X = adata.X.toarray()
    options = {"separator": ";", "multiple": "additive"}
    dataset = _dataset(adata, **options)
    strata = dataset.screen.batches.astype(object) + np.array([str(f) for f in dataset.folds])
    rng = np.random.default_rng(4)
    codes = np.unique(strata.astype(str), return_inverse=True)[1]
    for found in shuffled_statistics(dataset, 3, 4):
        # a stable code of the strata in order of appearance, as the function has it
        seen = {code: number for number, code in enumerate(dict.fromkeys(codes.tolist()))}
        order = shuffle_within(np.array([seen[c] for c in codes]), rng)
        shuffled = adata.copy()
        shuffled.obs["perturbation"] = adata.obs["perturbation"].to_numpy()[order]
        screen = open_screen(shuffled, dataset.screen.recipe)
        expected = build(screen, dataset.folds).statistics.shifted(found.x_shift, found.y_shift)
        for name in ("gram", "cross", "squares"):
            np.testing.assert_allclose(
                getattr(found, name), getattr(expected, name), rtol=1e-9, atol=1e-7
            )


def test_a_shuffle_keeps_cells_in_their_stratum_and_moves_them():
    strata = np.random.default_rng(0).integers(0, 4, 200)
    order = shuffle_within(strata, np.random.default_rng(1))
    assert sorted(order) == list(range(200))
    assert (strata[order] == strata).all()
    assert (order != np.arange(200)).sum() > 150


def test_every_order_of_a_stratum_is_as_likely():
    rng = np.random.default_rng(2)
    counts: dict[tuple[int, ...], int] = {}
    for _ in range(1200):
        order = tuple(shuffle_within(np.zeros(3, dtype=int), rng).tolist())
        counts[order] = counts.get(order, 0) + 1
    assert len(counts) == 6
    assert all(150 < count < 250 for count in counts.values())


@pytest.fixture(scope="module")
def screens(tmp_path_factory):
    folder = tmp_path_factory.mktemp("null")
    options = {"cells": 500, "genes": 140, "perturbations": 5, "programs": 2, "modules": 2}
    made = {}
    for name, effect in (("planted", 0.8), ("null", 0.0)):
        paths = simulate(folder / name, seed=8, effect=effect, **options)
        made[name] = anndata.read_h5ad(paths["screen"])
    return made


def test_planted_effects_stand_out_of_the_null(screens):
    dataset = _dataset(screens["planted"], CONTROL)
    found = permutation_null(dataset, problem_of(dataset), *GRID, permutations=49, seed=0)
    assert found.p == pytest.approx(1 / 50)
    assert found.observed > 5 * found.shuffled.max()
    assert found.observed > 0.005


def test_a_screen_without_effects_says_so(screens):
    dataset = _dataset(screens["null"], CONTROL)
    found = permutation_null(dataset, problem_of(dataset), *GRID, permutations=49, seed=0)
    assert found.p > 0.05


def test_shuffled_labels_gain_nothing(screens):
    # the gain of a setting, not of the best of many, is below zero within its error
    dataset = _dataset(screens["planted"], CONTROL)
    problem = problem_of(dataset)
    gains = []
    for part in shuffled_statistics(dataset, 20, 1):
        from dataclasses import replace

        shuffled = replace(problem, statistics=part)
        gains.append(cross_validate(shuffled, [0.003], [0.5]).partial_r2[0, 0])
    assert np.mean(gains) <= 2 * np.std(gains) / np.sqrt(20)
    assert cross_validate(problem, [0.003], [0.5]).partial_r2[0, 0] > 10 * np.max(gains)


def test_p_is_never_zero_and_ties_of_rounding_count():
    assert Null(1.0, np.zeros(99)).p == pytest.approx(0.01)
    assert Null(2e-16, np.zeros(99)).p == pytest.approx(1.0)
    assert Null(0.5, np.r_[np.ones(9), np.zeros(90)]).p == pytest.approx(0.1)


def test_one_seed_one_null(screens):
    dataset = _dataset(screens["planted"], CONTROL)
    problem = problem_of(dataset)
    a, b = (
        permutation_null(dataset, problem, *GRID, permutations=4, seed=3, threads=t) for t in (1, 2)
    )
    np.testing.assert_array_equal(a.shuffled, b.shuffled)
    assert sparse.issparse(dataset.screen.design.matrix)
