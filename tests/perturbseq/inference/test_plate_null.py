"""Where guides of a perturbation are neighbours, what neighbours share is no effect."""

from __future__ import annotations

from dataclasses import replace

import anndata
import numpy as np
import pytest
from tuner_plugins.perturbseq.data.dataset import Dataset, build
from tuner_plugins.perturbseq.data.folds import leave_guide_out_folds, unit_folds
from tuner_plugins.perturbseq.data.labels import Labels
from tuner_plugins.perturbseq.data.screen import Recipe, open_screen
from tuner_plugins.perturbseq.inference.exchangeable_units import Units, units_of
from tuner_plugins.perturbseq.inference.permutation_schemes import (
    exchangeable,
    smallest_p,
    whole_folds,
)
from tuner_plugins.perturbseq.inference.permutation_test import Null, permutation_null
from tuner_plugins.perturbseq.model.problem import problem_of

from tests.perturbseq.screens import plate_screen

GRID = (np.geomspace(0.003, 0.1, 3), [0.5])
SCREENS = 40


def _built(adata: anndata.AnnData, split: str = "stratified") -> tuple[Dataset, Units]:
    screen = open_screen(adata, Recipe(Labels("perturbation", ["ctrl"]), batch="batch"))
    units = units_of(screen)
    assert units is not None
    if split == "stratified":
        return build(screen, unit_folds(units.codes, screen.batches, 3, 0)), units
    guides = screen.obs["guide"].to_numpy(dtype=str)
    return build(screen, leave_guide_out_folds(screen.design.groups, guides, 3, 0)), units


def _null(dataset: Dataset, units: Units, permutations: int) -> Null:
    problem = problem_of(dataset)
    return permutation_null(dataset, problem, *GRID, permutations=permutations, seed=0, units=units)


@pytest.mark.parametrize("split", ["stratified", "leave_guide_out"])
def test_what_neighbours_share_is_no_effect(split):
    """Free exchange takes it for one; moves along the plate do not."""
    free, moved = [], []
    for seed in range(SCREENS):
        dataset, units = _built(plate_screen(seed, smooth=0.3), split)
        assert units.places is not None
        found = _null(dataset, units, 99)
        assert len(found.shuffled) == 2 * units.count - 1
        moved.append(found.p)
        free.append(_null(dataset, replace(units, places=None), 19).p)
    assert np.mean(np.array(free) <= 0.05) > 0.5
    # uniform on 1/24, ..., 1 (the layout is the same in both directions): mean 0.52, deviation
    # 0.288; bounds of three standard errors
    assert abs(np.mean(moved) - 0.52) < 3 * 0.288 / np.sqrt(SCREENS)
    assert np.mean(np.array(moved) <= 0.1) < 0.1 + 3 * 0.3 / np.sqrt(SCREENS)


@pytest.mark.parametrize("split", ["stratified", "leave_guide_out"])
@pytest.mark.parametrize("smooth", [0.0, 0.2])
def test_effects_stand_out_of_what_neighbours_share(smooth, split):
    dataset, units = _built(plate_screen(1, smooth=smooth, effect=0.8), split)
    found = _null(dataset, units, 99)
    assert found.among == "guide, moved along the plate"
    strata = exchangeable(units, dataset.screen.batches, dataset.folds)
    least = smallest_p(units, strata, 99, whole_folds(units, dataset.folds))
    if split == "stratified":
        assert found.p == pytest.approx(least) == pytest.approx(1 / 24)
    else:
        # with folds that labels take along, the layout from the other end is nearly a tie
        assert least == pytest.approx(1 / 48)
        assert found.p <= 2 / 48 + 1e-12


def test_no_more_moves_than_were_asked_for():
    dataset, units = _built(plate_screen(2))
    found = _null(dataset, units, 9)
    assert len(found.shuffled) == 9
    assert found.p >= 0.1
