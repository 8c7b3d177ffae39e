"""What of the labels of a screen means little or nothing, one line a kind, before any fit.

A stand-alone script carries this module.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from tuner_plugins.perturbseq.data.guides import shared_guides
from tuner_plugins.perturbseq.data.labels import label_parts
from tuner_plugins.perturbseq.data.screen import Screen
from tuner_plugins.perturbseq.data.stored import CellsError, listed

LIKE_CONTROL = re.compile(
    r"(?i)non[-_. ]?target|scrambl|safe[-_. ]?(harbou?r|target|cut)|control|ctrl|intergenic"
    r"|^(sg|g|grna)?[-_. ]?(nt|ntc|nc|neg|mock|vehicle|dmso|wt|unperturbed|untreated|safe"
    r"|aavs1|rosa26|lacz|luc|luciferase|e?gfp)s?([-_. ]?(sg|g|grna)?\d+)*$"
)
"""Labels that name no gene, or a target of no consequence."""

LIKE_NONE = re.compile(
    r"(?i)^(negative|doublets?|multiplets?|multiple|multi|ambiguous|unknown|undetermined|unmapped"
    r"|unassigned|not[-_. ]?assigned|no[-_. ]?(guide|call|sgrna|grna)s?|none|n/?a|\*|\?)$"
)
"""Labels of cells whose guide is not known, as demultiplexing tools write them."""

FEW_CONTROLS = 20
"""Fewer control cells are noted: the noise of their mean is in every effect."""

SEPARATORS = "+,;|&_"
"""What may stand between the perturbations of one label."""

NUMBERED = re.compile(r"(?i)^(sg|g|gd|guide|grna|sgrna|rep|r|v|p)?[-.]?\d*$")
"""Part of a label that numbers guides or replicates."""

LANES = re.compile(
    r"(?i)^(gem[-_. ]?group|lane|channel|library|batch|replicate|plate|donor|sample)s?$"
)
"""Columns of obs that say where cells were grown or sequenced."""

MOST_LANES = 200


def notes_on_labels(screen: Screen, guide: str | None) -> list[str]:
    """Return what there is to know of labels, batches and guides.

    Raises
    ------
    CellsError
        No perturbation shares a batch with the cells that it is compared with.
    """
    names, control = screen.design.names, screen.recipe.labels.control
    notes = []
    cells = int((screen.design.groups == "").sum())
    if control and cells < FEW_CONTROLS:
        notes.append(
            f"only {cells} control cell{'s' * (cells != 1)} for all perturbations to be compared "
            f"with, {FEW_CONTROLS} or more are better; name further labels in data.control"
        )
    joined, separator = _joined_labels(screen)
    if joined:
        notes.append(
            f"these labels join others with '{separator}', and each counts as one perturbation: "
            f"{listed(joined)}; data.separator: '{separator}' takes them as combinations"
        )
    measured = set(screen.counts.symbols.astype(str))  # WT1 is a gene
    others = [name for name in names if name not in joined and name not in measured]
    none = [name for name in others if LIKE_NONE.search(name)]
    if none:
        notes.append(
            f"these labels look like those of cells without a known guide, and count as "
            f"perturbations: {listed(none)}; name them in data.unassigned_labels"
        )
    like = [name for name in others if LIKE_CONTROL.search(name)]
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
    return [
        *notes,
        *_with_control(screen),
        *_single_cells(screen),
        *_same_cells(screen),
        *_apart(screen),
        *_apart_by_lane(screen),
        *shared_guides(screen, guide),
    ]


def _joined_labels(screen: Screen) -> tuple[list[str], str]:
    """Return labels that join other labels, where no separator was named, and what joins them.

    A part must be a label as well, or stand in several labels; numbers of guides do not count.
    """
    labels = screen.recipe.labels
    if labels.separator is not None:
        return [], ""
    known = {*screen.design.names, *labels.control}
    for separator in SEPARATORS:
        split = {
            name: [part.strip() for part in name.split(separator)] for name in screen.design.names
        }
        uses = Counter(part for parts in split.values() for part in set(parts))
        known_or_again = known | {part for part, times in uses.items() if times > 1}
        found = [
            name for name, parts in split.items() if _joins(parts, known_or_again, labels.control)
        ]
        if found:
            return found, separator
    return [], ""


def _joins(parts: Sequence[str], known: set[str], control: Sequence[str]) -> bool:
    """Return whether all parts are names of perturbations, at least one beside a control."""
    if len(parts) < 2 or any(NUMBERED.fullmatch(part) for part in parts):
        return False
    return known.issuperset(parts) or not set(parts).isdisjoint(control)


def _with_control(screen: Screen) -> list[str]:
    """Return a note on labels that join a perturbation and a control."""
    labels = screen.recipe.labels
    if labels.separator is None:
        return []
    column = screen.obs[labels.perturbation].astype(str)
    mixed = [
        label
        for label in sorted(set(column))
        if label not in labels.control
        and label_parts(label, labels)
        and not set(map(str.strip, label.split(labels.separator))).isdisjoint(labels.control)
    ]
    if not mixed:
        return []
    return [
        f"these labels join a control with a perturbation and count as the perturbation alone: "
        f"{listed(mixed)} ({int(column.isin(mixed).sum())} cells)"
    ]


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


def _unlinked(screen: Screen, where: np.ndarray) -> list[str]:
    """Return the perturbations none of whose cells is comparable with controls, by `where`.

    Without control cells those are compared with the most of the others.
    """
    labels, names = pd.factorize(screen.design.groups, sort=True)
    places, levels = pd.factorize(where)
    if len(levels) < 2:
        return []
    part = _linked(labels, places)
    control = names == ""
    home = part[control][0] if control.any() else np.bincount(part).argmax()
    near = np.flatnonzero((part == home)[labels])
    reached = np.asarray(screen.design.matrix[near].sum(axis=0)).reshape(-1) > 0
    return [name for name, found in zip(screen.design.names, reached, strict=True) if not found]


def _apart(screen: Screen) -> list[str]:
    """Return the perturbations whose effect cannot be told from that of their batches."""
    apart = _unlinked(screen, screen.batches)
    if not apart:
        return []
    what = "control cells" if (screen.design.groups == "").any() else "the other perturbations"
    problem = (
        f"these perturbations share no batch (obs column '{screen.recipe.batch}') with {what}, so "
        f"that their effects cannot be told from those of batches: {listed(apart)}"
    )
    if len(apart) == len(screen.design.names):
        raise CellsError(f"{problem}; give another batch column, or data.batch: null")
    return [f"{problem}; leave them out, or give another batch column"]


def _apart_by_lane(screen: Screen) -> list[str]:
    """Return notes on lanes, donors and the like that were not named, yet part perturbations."""
    named = {screen.recipe.batch, screen.recipe.labels.perturbation, *screen.recipe.covariates}
    notes = []
    for column in screen.obs.columns:
        if column in named or not LANES.match(str(column)):
            continue
        where = screen.obs[column].astype(str).to_numpy(dtype=str)
        if len(np.unique(where)) <= MOST_LANES and (apart := _unlinked(screen, where)):
            notes.append(
                f"these perturbations share no '{column}' (obs column) with what they are compared "
                f"with, so that its effects are taken for theirs: {listed(apart)}; data.batch: "
                f"{column} tells which can be told apart"
            )
    return notes


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


def _same_cells(screen: Screen) -> list[str]:
    """Return a note on columns of the design that no cell tells apart, as of one never alone."""
    matrix, names = screen.design.matrix, screen.design.names
    shared = (matrix.T @ matrix).tocoo()
    sizes = np.asarray(matrix.sum(axis=0)).reshape(-1)
    same = (shared.data == sizes[shared.row]) & (shared.data == sizes[shared.col])
    pairs = zip(shared.row[same].tolist(), shared.col[same].tolist(), strict=True)
    alike = [f"{names[at]} and {names[other]}" for at, other in sorted(pairs) if at < other]
    if not alike:
        return []
    return [
        f"these are in the same cells, so that nothing tells their effects apart: {listed(alike)}; "
        "leave one of both out, or columns for pairs (data.combinations: false)"
    ]
