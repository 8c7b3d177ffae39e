"""What of a screen means little or nothing, known before anything is fitted.

What makes every answer meaningless raises; what touches some perturbations, genes or covariates is
a note in one line.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from tuner_plugins.enet.problem import independent
from tuner_plugins.enet.statistics import Statistics
from tuner_plugins.perturbseq.data.dataset import Dataset
from tuner_plugins.perturbseq.data.labels import column_of
from tuner_plugins.perturbseq.data.screen import Screen
from tuner_plugins.perturbseq.data.stored import CellsError

LIKE_CONTROL = re.compile(
    r"(?i)non[-_. ]?target|scrambl|safe[-_. ]?(harbou?r|target)|control|ctrl"
    r"|^(nt|ntc|neg|mock|wt|unperturbed)[-_. ]?\d*$"
)
"""Labels that name no gene."""

NAMED = 5
"""So many names stand in a note; the others are counted."""

EXPLAINED = 1e-9
"""Share of a column that is rounding where others explain it."""


def require_groups(screen: Screen) -> None:
    """Raise `CellsError` where labels are no groups of cells: numbers or barcodes, say."""
    labels, cells = screen.recipe.labels, len(screen.obs)
    batch = screen.recipe.batch
    for name, key, values in (
        (labels.perturbation, "data.perturbation", screen.design.groups),
        (str(batch), "data.batch", screen.batches),
    ):
        count = len(np.unique(values))
        if count > 2 and count > cells / 2:
            raise CellsError(
                f"obs column '{name}' has {count} labels for {cells} cells; expected groups of "
                f"cells: name another column ({key})"
            )
    columns = len(screen.design.names) + len(screen.covariates.names)
    if columns >= cells:
        raise CellsError(
            f"{columns} perturbations and covariates are too many for {cells} cells; is a "
            "covariate the name of a cell? leave out covariates, or raise data.min_cells"
        )


def notes_on_labels(screen: Screen, guide: str | None) -> list[str]:
    """Return what there is to know of labels, batches and guides.

    Raises
    ------
    CellsError
        No perturbation shares a batch with the cells that it is compared with.

    Examples
    --------
    >>> from anndata import AnnData
    >>> from tuner_plugins.perturbseq.data.labels import Labels
    >>> from tuner_plugins.perturbseq.data.screen import Recipe, open_screen
    >>> adata = AnnData(np.array([[3.0, 0.0], [1.0, 2.0], [0.0, 4.0]]))
    >>> adata.obs["perturbation"] = ["A", "control", "NTC1"]
    >>> [note] = notes_on_labels(open_screen(adata, Recipe(Labels())), guide=None)
    >>> print(note)
    looks like a control and counts as a perturbation: 'NTC1'; name it in data.control if it is one
    """
    notes = []
    like = [name for name in screen.design.names if LIKE_CONTROL.search(name)]
    if like:
        notes.append(
            f"looks like a control and counts as a perturbation: {_listed(like)}; name it in "
            "data.control if it is one"
        )
    return [*notes, *_apart(screen), *_guides(screen, guide)]


def _apart(screen: Screen) -> list[str]:
    """Return the perturbations whose effect cannot be told from that of their batches."""
    labels, names = pd.factorize(screen.design.groups, sort=True)
    batches, levels = pd.factorize(screen.batches)
    if len(levels) < 2:
        return []
    # Labels that are met in one batch are comparable, and so is what is linked by a third.
    size = len(names) + len(levels)
    ends = (labels, batches + len(names))
    links = sparse.coo_array((np.ones(len(labels)), ends), shape=(size, size))
    part = connected_components(links, directed=False)[1][: len(names)]
    control = names == ""
    home = part[control][0] if control.any() else np.bincount(part).argmax()
    apart = [str(name) for name in names[(part != home) & ~control]]
    if not apart:
        return []
    what = "control cells" if control.any() else "the other perturbations"
    problem = (
        f"shares no batch (obs column '{screen.recipe.batch}') with {what}, so that its effect "
        f"cannot be told from that of the batch: {_listed(apart)}"
    )
    if len(apart) == (~control).sum():
        raise CellsError(f"{problem}; give another batch column, or data.batch: null")
    return [f"{problem}; leave it out, or give another batch column"]


def _guides(screen: Screen, guide: str | None) -> list[str]:
    if guide is None:
        return []
    perturbed = screen.design.groups != ""
    guides = column_of(screen.obs, guide, "guide").astype(str)[perturbed]
    groups = pd.Series(screen.design.groups[perturbed], index=guides.index)
    if not (guides.groupby(groups).nunique() > 1).any():
        return [
            f"no perturbation has two guides (obs column '{guide}'): what a guide does beside its "
            "target cannot be told from the effect, and the permutation test shuffles single cells"
        ]
    shared = groups.groupby(guides).nunique()
    several = [str(name) for name in shared.index[shared > 1]]
    if not several or len(several) > len(shared) / 2:  # numbered anew for each perturbation
        return []
    of = sorted(set(groups[guides == several[0]]))
    return [
        f"has cells of several perturbations (obs column '{guide}'): {_listed(several)} (of "
        f"{', '.join(of[:3])}); it counts as a guide of each, correct its labels if it is one guide"
    ]


def notes_on_values(dataset: Dataset) -> list[str]:
    """Return what there is to know of covariates and genes, once their sums are known.

    Raises
    ------
    CellsError
        No response varies, or covariates explain every perturbation.
    """
    screen, version = dataset.screen, dataset.transform.columns[-1]
    sums = dataset.statistics.total().columns(version)
    names, covariates = screen.design.names, screen.covariates.names
    flat = _flat(sums)
    if flat.all():
        raise CellsError("no gene or further response varies between cells; nothing can be fitted")
    notes = []
    if flat.any():
        notes.append(
            f"never varies and counts for nothing: {_listed(dataset.transform.responses[flat])}; "
            "data.genes.min_cells: 10 leaves out what is hardly seen"
        )
    k, gram = len(names), sums.gram[0]
    order = np.concatenate([[0], np.arange(k + 1, len(gram)), np.arange(1, k + 1)])
    spread = gram.diagonal() / gram[0, 0] - (gram[0] / gram[0, 0]) ** 2
    base = order[: 1 + len(covariates)]
    kept = base[independent(gram[np.ix_(base, base)])]
    for at in np.setdiff1d(base, kept):
        name = covariates[at - k - 1]
        if spread[at] > EXPLAINED * max(gram[at, at] / gram[0, 0], 1e-300):
            notes.append(
                f"covariate '{name}' follows exactly from those before it and adds nothing; "
                "leave it out"
            )
        elif not any(f"'{name}' is constant" in note for note in screen.covariates.notes):
            notes.append(f"covariate '{name}' is constant, its coefficient is 0")
    explained = [names[at - 1] for at in order[1 + len(covariates) :] if _within(gram, kept, at)]
    if explained and len(explained) == k:
        raise CellsError(
            f"explained wholly by covariates: {_listed(explained)}; no effect can be told from "
            "theirs, leave out the covariate (or batch) that does it"
        )
    if explained:
        notes.append(
            f"explained wholly by covariates: {_listed(explained)}; its effect cannot be told from "
            "theirs, leave out the covariate (or batch) that does it"
        )
    return notes


def _flat(sums: Statistics) -> np.ndarray:
    """Return which responses are constant."""
    n = sums.cells[0]
    mean, square = sums.cross[0, 0] / n, sums.squares[0] / n
    return np.asarray(square - mean**2 <= 1e-12 * square)


def _within(gram: np.ndarray, kept: np.ndarray, at: int) -> bool:
    """Return whether columns `kept` of a Gram matrix explain column `at`."""
    units = np.sqrt(gram.diagonal()[kept])
    scaled = gram[np.ix_(kept, kept)] / np.outer(units, units)
    against = gram[kept, at] / units
    left = gram[at, at] - against @ np.linalg.solve(scaled, against)
    return bool(left <= EXPLAINED * gram[at, at])


def _listed(names: Iterable[object]) -> str:
    quoted: Sequence[str] = [f"'{name}'" for name in names]
    more = f" and {len(quoted) - NAMED} more" if len(quoted) > NAMED else ""
    return ", ".join(quoted[:NAMED]) + more
