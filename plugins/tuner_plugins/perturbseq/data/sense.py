"""What of a screen means little or nothing, known before anything is fitted.

What makes every answer meaningless raises; what touches some perturbations, genes or covariates is
a note in one line. A stand-alone script carries this module.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from tuner_plugins.enet.dependence import independent
from tuner_plugins.perturbseq.data.labels import require_few_labels
from tuner_plugins.perturbseq.data.response import require_varying
from tuner_plugins.perturbseq.data.screen import Screen
from tuner_plugins.perturbseq.data.stored import CellsError, listed
from tuner_plugins.perturbseq.data.transform import Transform
from tuner_plugins.perturbseq.data.values import LOG1P

FAR_ABOVE = 10
"""A size factor of so many times a cell's counts is noted: other genes may explain it, or units."""

EXPLAINED = 1e-9
"""Share of a column that is rounding where others explain it."""


def require_groups(screen: Screen) -> None:
    """Raise `CellsError` where labels are no groups of cells: numbers or barcodes, say."""
    name, cells = screen.recipe.labels.perturbation, len(screen.obs)
    expected = "groups of cells: name another column (data.perturbation)"
    require_few_labels(name, len(np.unique(screen.design.groups)), cells, expected)
    columns = len(screen.design.names) + len(screen.covariates.names)
    if columns >= cells:
        raise CellsError(
            f"{columns} perturbations and covariates are too many for {cells} cells; "
            "leave out covariates, or raise data.min_cells"
        )


@dataclass(frozen=True)
class Totals:
    """Sums over all cells of Z = [1, perturbations, covariates] and of the responses Y.

    Attributes
    ----------
    gram : array, shape (columns, columns)
        Z'Z; of covariates from which any constant is subtracted.
    sums, squares : array, shape (responses,)
        Of Y and of its squares; Y may be shifted as well.
    """

    gram: np.ndarray
    sums: np.ndarray
    squares: np.ndarray


def notes_on_values(screen: Screen, transform: Transform, totals: Totals) -> list[str]:
    """Return what there is to know of covariates and genes, once their sums are known.

    Raises
    ------
    CellsError
        No response varies, or covariates explain every perturbation.
    """
    gram, n = totals.gram, totals.gram[0, 0]
    flat = require_varying(totals.squares / n, totals.sums / n)
    notes = [*_twins(screen, transform), *_sizes(screen, transform)]
    if flat.any():
        notes.append(
            "these responses never vary and count for nothing: "
            f"{listed(transform.responses[transform.chosen[-1]][flat])}; data.genes.min_cells: 10 "
            "leaves out what is hardly seen"
        )
    return [*notes, *_explained(screen, gram)]


def _explained(screen: Screen, gram: np.ndarray) -> list[str]:
    """Return notes on covariates that say nothing of their own, or all of a perturbation."""
    names, covariates = screen.design.names, screen.covariates.names
    k, notes = len(names), []
    order = np.concatenate([[0], np.arange(k + 1, len(gram)), np.arange(1, k + 1)])
    spread = gram.diagonal() / gram[0, 0] - (gram[0] / gram[0, 0]) ** 2
    base = order[: 1 + len(covariates)]
    kept = base[independent(gram[np.ix_(base, base)])]
    dependent = np.setdiff1d(base, kept)
    moves = spread[dependent] > EXPLAINED * np.maximum(
        gram.diagonal()[dependent] / gram[0, 0], 1e-300
    )
    follow = [covariates[at - k - 1] for at in dependent[moves]]
    if follow:
        notes.append(
            "these covariates follow exactly from those before them and add nothing: "
            f"{listed(follow)}; leave them out"
        )
    made = {*screen.covariates.counted, *screen.covariates.scored}  # others are noted already
    constant = [name for at in dependent[~moves] if (name := covariates[at - k - 1]) in made]
    if constant:
        notes.append(f"these covariates are constant, their coefficients are 0: {listed(constant)}")
    explained = [names[at - 1] for at in order[1 + len(covariates) :] if _within(gram, kept, at)]
    if not explained:
        return notes
    problem = (
        f"covariates explain these perturbations wholly: {listed(explained)}; no effect can be "
        "told from theirs, leave out the covariate (or batch) that does it"
    )
    if len(explained) == k:
        raise CellsError(problem)
    return [*notes, problem]


def _sizes(screen: Screen, transform: Transform) -> list[str]:
    """Return notes on size factors far above the counts of their cells: of other units, perhaps."""
    totals, name = transform.totals, screen.recipe.size_factor
    where, notes = screen.counts.matrix.where, []
    if not len(totals) or screen.recipe.values == LOG1P:
        return []
    share = float(np.median(totals / transform.sizes))
    if share * FAR_ABOVE < 1:
        notes.append(
            f"{where} holds {share:.2%} of the size factor {name} (median of the cells), as a "
            "panel of genes may; if it holds all genes, correct the column or remove it"
        )
    if empty := int((totals == 0).sum()):
        notes.append(
            f"{empty} of {len(totals)} cells have no counts in {where}, though their size factor "
            f"{name} is above 0; they count as cells in which no gene is seen, drop them if they "
            "are empty"
        )
    return notes


def _twins(screen: Screen, transform: Transform) -> list[str]:
    """Return a note where most cells come twice: a fold then predicts what it has seen."""
    prints = transform.prints
    if not len(prints):
        return []
    cells = pd.DataFrame({"counts": prints, "of": screen.design.groups, "in": screen.batches})
    twins = int(cells.duplicated(keep=False).sum())
    if twins < len(cells) / 2:
        return []
    return [
        f"{twins} of {len(cells)} cells have a twin with the same counts and labels; if cells were "
        "joined twice, keep one of each: held-out cells are no test of what has seen their twins"
    ]


def _within(gram: np.ndarray, kept: np.ndarray, at: int) -> bool:
    """Return whether columns `kept` of a Gram matrix explain column `at`."""
    units = np.sqrt(gram.diagonal()[kept])
    scaled = gram[np.ix_(kept, kept)] / np.outer(units, units)
    against = gram[kept, at] / units
    left = gram[at, at] - against @ np.linalg.solve(scaled, against)
    return bool(left <= EXPLAINED * gram[at, at])
