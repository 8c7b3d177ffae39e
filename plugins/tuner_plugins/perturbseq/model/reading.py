"""From a screen to statistics that are ready to be fitted, and what is to be known of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tuner_plugins.enet.cross_validation import Problem
from tuner_plugins.perturbseq.data.dataset import Dataset, build
from tuner_plugins.perturbseq.data.files import Source
from tuner_plugins.perturbseq.data.folds import (
    leave_batch_out_folds,
    leave_guide_out_folds,
    small_groups,
    stratified_folds,
    unit_folds,
)
from tuner_plugins.perturbseq.data.guides import single_guides
from tuner_plugins.perturbseq.data.label_notes import notes_on_labels
from tuner_plugins.perturbseq.data.labels import column_of
from tuner_plugins.perturbseq.data.screen import Recipe, Screen, open_screen
from tuner_plugins.perturbseq.data.sense import Totals, notes_on_values, require_groups
from tuner_plugins.perturbseq.inference.exchangeable_units import AUTO, Units, units_of
from tuner_plugins.perturbseq.inference.permutation_schemes import (
    arrangements,
    exchangeable,
    smallest_p,
    whole_folds,
)
from tuner_plugins.perturbseq.model.problem import problem_of

SMALL_BYTES = 64 << 20


@dataclass(frozen=True)
class Plan:
    """How a screen is read, how cells are held out, and what is penalised.

    Attributes
    ----------
    recipe : Recipe
        How cells become X and Y.
    guide, unit, well : str, optional
        As in `tuner_plugins.perturbseq.inference.exchangeable_units.units_of`.
    penalise_covariates, scale_genes : bool
        As in `problem_of`.
    folds : int
        Into which cells are dealt.
    split : {"stratified", "leave_guide_out", "leave_batch_out"}
        By perturbation x batch (by unit x batch where there are units); whole guides; whole
        batches.
    seed : int
        Of the folds.
    permutations : int
        Of whole units, that are to be asked for.
    """

    recipe: Recipe
    guide: str | None = None
    unit: str = AUTO
    well: str | None = AUTO
    penalise_covariates: bool = False
    scale_genes: bool = False
    folds: int = 5
    split: str = "stratified"
    seed: int = 0
    permutations: int = 0


@dataclass(frozen=True)
class Loaded:
    """A screen that is ready to be fitted, and what the user should know of it.

    `units` exchange their labels as one; None for single cells.
    """

    dataset: Dataset
    problem: Problem
    notes: tuple[str, ...]
    units: Units | None = None

    @property
    def is_small(self) -> bool:
        """Whether its statistics may be kept from one reading to what needs them next."""
        return self.problem.statistics.cross.nbytes <= SMALL_BYTES


def read(source: Source, plan: Plan, *, threads: int = 1) -> Loaded:
    """Read a screen once, in blocks of cells, into statistics by fold.

    Raises
    ------
    CellsError, DataError
        Anything in the screen that does not fit the plan, or that makes its fit mean nothing.
    """
    opened = open_screen(source, plan.recipe)
    require_groups(opened)
    units = units_of(opened, plan.unit, plan.guide, plan.well)
    folds = make_folds(opened, plan, units)
    on_labels = notes_on_labels(opened, plan.guide)
    dataset = build(opened, folds, threads=threads)
    problem = problem_of(
        dataset, penalise_covariates=plan.penalise_covariates, scale_genes=plan.scale_genes
    )
    notes = (
        *opened.counts.notes,
        *dataset.screen.design.notes,
        *dataset.screen.covariates.notes,
        *on_labels,
        *single_guides(opened, plan.guide),
        *notes_on_values(dataset.screen, dataset.transform, _totals(dataset)),
        *small_groups(dataset.screen.design, folds),
        *shuffle_notes(dataset, units, plan.permutations),
    )
    return Loaded(dataset, problem, notes, units)


def _totals(dataset: Dataset) -> Totals:
    """Return the sums of the fit to all cells."""
    transform = dataset.transform
    sums, chosen = dataset.statistics.total().columns(transform.columns[-1]), transform.chosen[-1]
    return Totals(sums.gram[0], sums.cross[0, 0][chosen], sums.squares[0][chosen])


def make_folds(screen: Screen, plan: Plan, units: Units | None) -> np.ndarray:
    """Return the fold of each cell, shape (cells,).

    Raises
    ------
    CellsError
        Too few cells, guides or batches, or no such column.
    """
    if plan.split == "leave_batch_out":
        return leave_batch_out_folds(screen.batches, plan.folds)
    groups = screen.design.groups
    if plan.split == "leave_guide_out":
        assert plan.guide is not None, "validated with what was asked for"
        guides = column_of(screen.obs, plan.guide, "guide").astype(str).to_numpy(dtype=str)
        return leave_guide_out_folds(groups, guides, plan.folds, plan.seed)
    if units is not None:
        return unit_folds(units.codes, screen.batches, plan.folds, plan.seed)
    return stratified_folds(groups, screen.batches, plan.folds, plan.seed)


def shuffle_notes(dataset: Dataset, units: Units | None, permutations: int) -> list[str]:
    """Return where labels are moved along the plate, or can be arranged in too few ways."""
    if units is None or not permutations:
        return []
    strata = exchangeable(units, dataset.screen.batches, dataset.folds)
    ways = arrangements(units, strata)
    if units.places is not None:
        least = smallest_p(units, strata, permutations, whole_folds(units, dataset.folds))
        return [
            f"the units of '{units.name}' that share a perturbation stand side by side on the "
            f"plate (obs column '{units.well}'): the permutation test moves labels along it, in "
            f"{ways - 1:.0f} ways, and p cannot be below {least:.2g}; data.well: null exchanges "
            "them freely and takes what neighbours share for an effect; next time randomise the "
            "layout"
        ]
    if ways > permutations:
        return []
    return [
        f"the {units.count} units of '{units.name}' can exchange their labels in {ways:.0f} ways "
        f"only: the p-value of the permutation test cannot be below {1 / ways:.2g}"
    ]
