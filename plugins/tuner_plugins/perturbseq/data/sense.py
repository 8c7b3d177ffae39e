"""What of a screen means little or nothing, known before anything is fitted.

What makes every answer meaningless raises; what touches some perturbations, genes or covariates is
a note in one line. A stand-alone script carries this module.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from tuner_plugins.enet.dependence import independent
from tuner_plugins.perturbseq.data.guides import shared_guides
from tuner_plugins.perturbseq.data.labels import require_few_labels
from tuner_plugins.perturbseq.data.response import require_varying
from tuner_plugins.perturbseq.data.screen import Screen
from tuner_plugins.perturbseq.data.stored import CellsError, listed
from tuner_plugins.perturbseq.data.transform import Transform
from tuner_plugins.perturbseq.data.values import LOG1P

LIKE_CONTROL = re.compile(
    r"(?i)non[-_. ]?target|scrambl|safe[-_. ]?(harbou?r|target)|control|ctrl"
    r"|^(nt|ntc|neg|mock|wt|unperturbed)[-_. ]?\d*$"
)
"""Labels that name no gene."""

FEW_CONTROLS = 20
"""Fewer control cells are noted: the noise of their mean is in every effect."""

SEPARATORS = "+,;|&_"
"""What may stand between the perturbations of one label."""

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


def notes_on_labels(screen: Screen, guide: str | None) -> list[str]:
    """Return what there is to know of labels, batches and guides.

    Raises
    ------
    CellsError
        No perturbation shares a batch with the cells that it is compared with.
    """
    names, control = screen.design.names, screen.recipe.labels.control
    joined, separator = _joined_labels(screen)
    like = [name for name in names if LIKE_CONTROL.search(name) and name not in joined]
    notes = []
    cells = int((screen.design.groups == "").sum())
    if control and cells < FEW_CONTROLS:
        notes.append(
            f"only {cells} control cell{'s' * (cells != 1)} for all perturbations to be compared "
            f"with, {FEW_CONTROLS} or more are better; name further labels in data.control"
        )
    if joined:
        notes.append(
            f"these labels join others with '{separator}', and each counts as one perturbation: "
            f"{listed(joined)}; data.separator: '{separator}' takes them as combinations"
        )
    if like:
        notes.append(
            f"these labels look like controls and count as perturbations: {listed(like)}; "
            "name them in data.control"
        )
    alike = _alike([*names, *control])
    if alike:
        notes.append(
            "these labels differ by case or blanks only, and count as different ones: "
            f"{listed(alike)}; give them one spelling if they mean the same"
        )
    return [*notes, *_single_cells(screen), *_apart(screen), *shared_guides(screen, guide)]


def _joined_labels(screen: Screen) -> tuple[list[str], str]:
    """Return labels that join other labels, where no separator was named, and what joins them."""
    labels = screen.recipe.labels
    if labels.separator is not None:
        return [], ""
    known = {*screen.design.names, *labels.control}
    for separator in SEPARATORS:
        found = []
        for name in screen.design.names:
            parts = [part.strip() for part in name.split(separator)]
            with_control = separator != "_" and not set(parts).isdisjoint(labels.control)
            if len(parts) > 1 and (with_control or known.issuperset(parts)):
                found.append(name)
        if found:
            return found, separator
    return [], ""


def _alike(names: Iterable[str]) -> list[str]:
    """Return the names that are the same without case and blanks, those together."""
    spellings: dict[str, list[str]] = {}
    for name in dict.fromkeys(names):
        spellings.setdefault("".join(name.split()).casefold(), []).append(name)
    return [name for same in spellings.values() if len(same) > 1 for name in same]


def _linked(labels: np.ndarray, batches: np.ndarray) -> np.ndarray:
    """Return by label the least of those that it is comparable with.

    Labels that are met in one batch are comparable, and so is what is linked by a third.
    """
    levels = batches.max() + 1
    labels, batches = np.divmod(np.unique(labels * levels + batches), levels)
    part = np.arange(labels.max() + 1)
    before = part - 1
    while not np.array_equal(part, before):
        before, least = part.copy(), np.full(levels, len(part))
        np.minimum.at(least, batches, part[labels])
        np.minimum.at(part, labels, least[batches])
    return part


def _apart(screen: Screen) -> list[str]:
    """Return the perturbations whose effect cannot be told from that of their batches."""
    labels, names = pd.factorize(screen.design.groups, sort=True)
    batches, levels = pd.factorize(screen.batches)
    if len(levels) < 2:
        return []
    part = _linked(labels, batches)
    control = names == ""
    home = part[control][0] if control.any() else np.bincount(part).argmax()
    apart = [str(name) for name in names[(part != home) & ~control]]
    if not apart:
        return []
    what = "control cells" if control.any() else "the other perturbations"
    problem = (
        f"these perturbations share no batch (obs column '{screen.recipe.batch}') with {what}, so "
        f"that their effects cannot be told from those of batches: {listed(apart)}"
    )
    if len(apart) == (~control).sum():
        raise CellsError(f"{problem}; give another batch column, or data.batch: null")
    return [f"{problem}; leave them out, or give another batch column"]


def _single_cells(screen: Screen) -> list[str]:
    """Return a note on perturbations of one cell."""
    cells = np.asarray(screen.design.matrix.sum(axis=0)).reshape(-1)
    single = [screen.design.names[at] for at in np.flatnonzero(cells == 1)]
    if not single:
        return []
    return [
        f"these perturbations have one cell, whose noise is their effect: {listed(single)}; "
        "min_cells leaves out rare ones"
    ]


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
