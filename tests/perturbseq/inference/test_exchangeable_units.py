from __future__ import annotations

from dataclasses import replace

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from tuner_plugins.perturbseq.data.dataset import Dataset, build
from tuner_plugins.perturbseq.data.folds import leave_guide_out_folds, unit_folds
from tuner_plugins.perturbseq.data.labels import Labels
from tuner_plugins.perturbseq.data.matrix import CellsError
from tuner_plugins.perturbseq.data.screen import LOG, Recipe, Screen, open_screen
from tuner_plugins.perturbseq.inference.exchangeable_units import Units, units_of
from tuner_plugins.perturbseq.inference.permutation_schemes import (
    arrangements,
    exchangeable,
    unit_orders,
    whole_folds,
)
from tuner_plugins.perturbseq.inference.permutation_test import permutation_null, unit_statistics
from tuner_plugins.perturbseq.model.problem import problem_of
from tuner_plugins.perturbseq.simulate import CONTROL, simulate

from tests.perturbseq.screens import small_screen

GRID = (np.geomspace(0.001, 0.1, 4), [0.5, 1.0])


def _open(
    adata: anndata.AnnData, control: str = "ctrl", response: str = LOG, **labels: object
) -> Screen:
    recipe = Recipe(
        Labels("perturbation", [control], **labels),
        batch="batch",
        covariates=["total_counts", "pct_counts_mt"],
        response=response,
    )
    return open_screen(adata, recipe)


def _built(screen: Screen, unit: str = "auto") -> tuple[Dataset, Units]:
    units = units_of(screen, unit)
    assert units is not None
    return build(screen, unit_folds(units.codes, screen.batches, 3, 0)), units


@pytest.mark.parametrize("kind", ["plain", "multiple", "dense", "half", "placed"])
def test_relabelled_sums_are_those_of_a_screen_with_other_labels(kind):
    labels = ["A", "A", "A", "ctrl"] if kind == "half" else None
    adata = small_screen(cells=96, labels=labels)
    obs = adata.obs
    obs["well"] = obs["guide"].astype(str)
    if kind == "multiple":
        joined = obs["perturbation"].to_numpy().astype(object)
        joined[(obs["well"] == "A_1").to_numpy()] = "A;B"
        obs["perturbation"] = joined.astype(str)
    if kind == "dense":
        adata.X = adata.X.toarray()
    options = {"separator": ";", "multiple": "additive"}
    screen = _open(adata, **options)
    dataset, units = _built(screen, "well")
    if kind == "placed":
        places = np.random.default_rng(2).permutation(units.count)
        units = replace(units, places=places, well="well")
    strata = exchangeable(units, screen.batches, dataset.folds)
    orders = list(unit_orders(units, strata, 3, 5))
    assert len(orders) == 3
    label_of = pd.Series(obs["perturbation"].to_numpy()).groupby(units.codes).first().to_numpy()
    for order, found in zip(orders, unit_statistics(dataset, units, 3, 5), strict=True):
        shuffled = adata.copy()
        shuffled.obs["perturbation"] = label_of[order][units.codes]
        assert (shuffled.obs["perturbation"] != obs["perturbation"]).any()
        expected = build(_open(shuffled, **options), dataset.folds).statistics
        expected = expected.shifted(found.x_shift, found.y_shift)
        for name in ("gram", "cross", "squares"):
            np.testing.assert_allclose(
                getattr(found, name), getattr(expected, name), rtol=1e-9, atol=1e-7
            )


@pytest.mark.parametrize("response", [LOG, "scaled"])
def test_whole_units_take_their_folds_along_the_plate(response):
    adata = small_screen(cells=96)
    # a third batch is what one unit has: the strata are of different sizes
    adata.obs["batch"] = np.where(adata.obs["guide"] == "B_1", "b2", adata.obs["batch"])
    adata.obs["guide"] = adata.obs["guide"].astype(str)
    adata.layers["scaled"] = adata.X.toarray() - 0.5  # dense: its sums are about a shift
    screen = _open(adata, response=response)
    units = units_of(screen)
    assert units is not None
    places = np.random.default_rng(2).permutation(units.count)
    units = replace(units, places=places, well="well")

    def dealt(adata: anndata.AnnData) -> np.ndarray:
        groups = _open(adata).design.groups
        return leave_guide_out_folds(groups, adata.obs["guide"].to_numpy(dtype=str), 3, 0)

    dataset = build(screen, dealt(adata))
    strata = exchangeable(units, screen.batches, dataset.folds)
    assert sorted(np.bincount(strata)) == [1, 11]
    names = adata.obs[["perturbation", "guide"]].groupby(units.codes).first()
    orders = list(unit_orders(units, strata, 4, 5))
    for order, found in zip(orders, unit_statistics(dataset, units, 4, 5), strict=True):
        moved = adata.copy()
        for name in names:
            moved.obs[name] = names[name].to_numpy()[order][units.codes]
        # the folds of such a screen are dealt by its labels, as those of the other were
        folds = dealt(moved)
        assert (folds != dataset.folds).any()
        expected = build(_open(moved, response=response), folds).statistics
        assert found.y_shift.any() == (response != LOG)
        expected = expected.shifted(found.x_shift, found.y_shift)
        for name in ("gram", "cross", "squares"):
            np.testing.assert_allclose(
                getattr(found, name), getattr(expected, name), rtol=1e-9, atol=1e-7
            )


def test_units_exchange_labels_within_their_batches():
    codes = np.repeat(np.arange(6), 4)
    batches = np.array([*"aaaa", *"bbbb", *"abab", *"aaaa", *"bbbb", *"aabb"])
    units = Units("well", codes, np.eye(6))
    strata = exchangeable(units, batches, np.arange(24) % 4)
    assert strata.tolist() == [0, 1, 2, 0, 1, 2]
    # whole units held out stay in their fold as well
    held = np.repeat([0, 0, 0, 1, 0, 0], 4)
    assert exchangeable(units, batches, held).tolist() == [0, 1, 2, 3, 1, 2]
    # but labels that are moved along the plate take their folds with them
    placed = replace(units, places=np.arange(6))
    assert exchangeable(placed, batches, held).tolist() == [0, 1, 2, 0, 1, 2]
    assert whole_folds(placed, held).tolist() == [0, 0, 0, 1, 0, 0]
    assert whole_folds(placed, np.arange(24) % 4) is None


def test_ways_to_arrange_labels():
    units = Units("well", np.arange(6), np.array([[0, 0], [1, 0], [1, 0], [0, 1], [0, 1], [0, 1]]))
    assert arrangements(units, np.zeros(6, int)) == pytest.approx(60)
    assert arrangements(units, np.array([0, 0, 1, 1, 2, 2])) == pytest.approx(4)
    many = Units("well", np.arange(2000), np.eye(2000, 50))
    assert arrangements(many, np.zeros(2000, int)) > 1e100


def test_folds_by_unit_do_not_know_the_labels():
    screen = _open(small_screen(cells=120))
    units = units_of(screen)
    assert units is not None
    folds = unit_folds(units.codes, screen.batches, 3, 0)
    counts = pd.crosstab(units.codes, folds).to_numpy()
    assert (np.ptp(counts, axis=1) <= 1).all()
    # names of units, which may tell of labels, have no part in it either
    renamed = np.random.default_rng(0).permutation(units.count)[units.codes]
    sizes = [pd.crosstab(unit_folds(c, screen.batches, 3, 0), 0) for c in (units.codes, renamed)]
    assert np.ptp(np.hstack(sizes), axis=0).max() <= 1


def _noisy_guides(folder, seed: int, effect: float = 0.0) -> anndata.AnnData:
    """Simulate a screen whose guides differ from each other, perturbations apart."""
    sizes = {"cells": 420, "genes": 130, "perturbations": 5, "guides": 4, "programs": 2}
    paths = simulate(
        folder / f"{seed}", seed=seed, modules=2, effect=effect, guide_spread=0.4, **sizes
    )
    adata = anndata.read_h5ad(paths["screen"])
    if effect == 0.0:
        # sizes of guides follow their perturbation in a simulation: deal the guides out anew
        names = sorted(set(adata.obs["guide"]))
        dealt = np.random.default_rng(seed).permutation([name.split("_")[0] for name in names])
        adata.obs["perturbation"] = dealt[pd.Index(names).get_indexer(adata.obs["guide"])]
    return adata


def test_differences_between_guides_are_no_effect_of_perturbations(tmp_path):
    """Shuffling cells takes what is a guide's own for an effect; shuffling guides does not."""
    of_cells, of_guides = [], []
    for seed in range(24):
        dataset, units = _built(_open(_noisy_guides(tmp_path, seed), CONTROL))
        assert units.name == "guide"
        problem, rest = problem_of(dataset), {"permutations": 19, "seed": seed}
        of_cells.append(permutation_null(dataset, problem, *GRID, **rest).p)
        found = permutation_null(dataset, problem, *GRID, units=units, **rest)
        assert found.among == "guide"
        of_guides.append(found.p)
    assert np.mean(np.array(of_cells) <= 0.05) > 0.9
    # uniform on 1/20, ..., 1: mean 0.525, deviation 0.288; bounds of three standard errors
    assert abs(np.mean(of_guides) - 0.525) < 3 * 0.288 / np.sqrt(24)
    assert np.mean(np.array(of_guides) <= 0.1) < 0.1 + 3 * 0.3 / np.sqrt(24)


def test_effects_stand_out_of_differences_between_guides(tmp_path):
    dataset, units = _built(_open(_noisy_guides(tmp_path, 0, effect=1.5), CONTROL))
    found = permutation_null(
        dataset, problem_of(dataset), *GRID, permutations=49, seed=0, units=units
    )
    assert found.p == pytest.approx(1 / 50)


def test_whole_guides_held_out_exchange_labels_within_folds(tmp_path):
    screen = _open(_noisy_guides(tmp_path, 3), CONTROL)
    units = units_of(screen)
    assert units is not None
    guides = screen.obs["guide"].to_numpy(dtype=str)
    folds = leave_guide_out_folds(screen.design.groups, guides, 4, 0)
    dataset = build(screen, folds)
    strata = exchangeable(units, screen.batches, folds)
    assert pd.crosstab(strata, 0).size >= 4
    found = permutation_null(
        dataset, problem_of(dataset), *GRID, permutations=19, seed=0, units=units
    )
    assert found.p > 0.05


def test_where_units_come_from():
    screen = _open(small_screen())
    found = units_of(screen)
    assert found is not None
    assert (found.name, found.count) == ("guide", 12)
    assert sparse.issparse(screen.design.matrix)
    np.testing.assert_array_equal(found.design[found.codes], screen.design.matrix.toarray())
    assert units_of(screen, "cells") is None
    numbered = small_screen()
    numbered.obs["guide"] = numbered.obs["guide"].str[-1]
    renumbered = units_of(_open(numbered))
    assert renumbered is not None
    assert renumbered.count == 12
    single = small_screen()
    single.obs["guide"] = single.obs["perturbation"]
    assert units_of(_open(single)) is None
    unknown = small_screen()
    del unknown.obs["guide"]
    assert units_of(_open(unknown)) is None


@pytest.mark.parametrize(
    ("unit", "message"),
    [
        ("wells", "no obs column 'wells' for unit"),
        ("batch", "'b1' has cells of 4 perturbations \\('control', 'A', 'B'\\); expected units"),
        ("perturbation", "no perturbation has two units"),
        ("holes", "has 1 cells without a value"),
    ],
)
def test_units_that_cannot_be_are_named(unit, message):
    adata = small_screen()
    adata.obs["batch"] = [f"b{i // 30}" for i in range(60)][::-1]
    adata.obs["holes"] = adata.obs["guide"].where(adata.obs_names != "cell3")
    with pytest.raises(CellsError, match=message):
        units_of(_open(adata), unit)
