"""Perturbation labels to a design: which cells stay, and which perturbations each one has."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import sparse

from tuner_plugins.perturbseq.data.stored import CellsError, did_you_mean, listed

UNASSIGNED = ("", "nan", "NaN", "None", "unassigned")


@dataclass(frozen=True)
class Labels:
    """How perturbation labels are read.

    Attributes
    ----------
    perturbation : str
        Column of obs.
    control : sequence of str
        Labels of control cells: rows of zeros in the design. None at all if empty.
    unassigned : {"error", "drop", "control"}
        What becomes of cells without a label.
    unassigned_labels : sequence of str
        Labels that mean "none", besides missing values.
    separator : str, optional
        What stands between the perturbations of one cell. None: a label is taken as it is.
    multiple : {"error", "drop", "control", "additive"}
        What becomes of cells with several perturbations. ``additive``: a one for each.
    combinations : bool
        Beside the ones of an additive design, a column for each combination, named ``A,B``.
    min_cells : int
        Perturbations with fewer cells leave the design, and their cells with them.
    perturbations : sequence of str, optional
        Only these, and controls, stay; cells with any other leave. None: all.
    """

    perturbation: str = "perturbation"
    control: Sequence[str] = ("control",)
    unassigned: str = "error"
    unassigned_labels: Sequence[str] = UNASSIGNED
    separator: str | None = None
    multiple: str = "error"
    combinations: bool = False
    min_cells: int = 1
    perturbations: Sequence[str] | None = None


@dataclass(frozen=True)
class Design:
    """Which cells stay, and their perturbations.

    Attributes
    ----------
    rows : array of int, shape (cells,)
        Ascending positions of the cells that stay.
    names : list of str
        Perturbations, sorted; combinations after the single ones.
    matrix : csr_matrix, shape (cells, perturbations)
        Zeros and ones.
    groups : array of str, shape (cells,)
        One label for each cell: its perturbations, joined in order; ``""`` for control cells.
    notes : list of str
        What was dropped.
    """

    rows: np.ndarray
    names: list[str]
    matrix: sparse.csr_matrix
    groups: np.ndarray
    notes: list[str]


def column_of(obs: pd.DataFrame, name: str, purpose: str) -> pd.Series:
    """Return a column of obs.

    Raises
    ------
    CellsError
        There is none of that name; the message names the closest ones.
    """
    if name in obs.columns:
        return obs[name]
    raise CellsError(did_you_mean(f"no obs column '{name}' for {purpose}", name, obs.columns))


def require_few_labels(name: str, labels: int, cells: int, expected: str) -> None:
    """Raise `CellsError` where a column has no groups of cells: numbers or barcodes, say."""
    if labels > 2 and labels > cells / 2:
        raise CellsError(
            f"obs column '{name}' has {labels} labels for {cells} cells; expected {expected}"
        )


def read_design(obs: pd.DataFrame, labels: Labels) -> Design:
    """Turn labels into a design.

    Parameters
    ----------
    obs : DataFrame
        Annotation of all cells.
    labels : Labels
        How to read them.

    Returns
    -------
    Design
        Deterministic: perturbations are sorted by name.

    Raises
    ------
    CellsError
        No such column, an absent control label, a perturbation without cells, or cells that are
        unassigned or have several perturbations while no policy is chosen for them.

    Examples
    --------
    >>> obs = pd.DataFrame({"perturbation": ["A", "control", "B,A", "B"]})
    >>> design = read_design(obs, Labels(separator=",", multiple="additive"))
    >>> design.names, design.groups.tolist()
    (['A', 'B'], ['A', '', 'A,B', 'B'])
    >>> design.matrix.toarray().tolist()
    [[1.0, 0.0], [0.0, 0.0], [1.0, 1.0], [0.0, 1.0]]
    """
    column = column_of(obs, labels.perturbation, "perturbation")
    if not len(obs):
        raise CellsError("the file has no cells: obs has no rows; give one with cells")
    _require_categories_used(column, labels.perturbation)
    missing = column.isna().to_numpy()
    codes, uniques = pd.factorize(column.astype(str).where(~missing, ""), sort=True)
    _require_controls(labels, uniques)
    read = [label_parts(str(label), labels) for label in uniques]
    notes: list[str] = []
    keep = _apply_policies(read, codes, labels, notes)
    parts = [() if part is None else part for part in read]
    keep = _drop_rare(parts, codes, keep, labels.min_cells, notes)
    rows = np.flatnonzero(keep)
    names, columns = _columns(parts, np.unique(codes[rows]), labels.combinations)
    if not names:
        raise CellsError(
            f"obs column '{labels.perturbation}' leaves no perturbed cell; "
            f"{_why_none(parts, codes, labels)}"
        )
    if len(np.unique(codes[rows])) < 2:
        raise CellsError(
            f"all {len(rows)} cells of obs column '{labels.perturbation}' have the label "
            f"'{names[0]}': there is nothing to compare them with; name the control cells"
        )
    widths = np.array([len(entry) for entry in columns], dtype=np.int64)
    indptr = np.concatenate([[0], np.cumsum(widths[codes[rows]])])
    indices = np.concatenate([columns[code] for code in codes[rows]]).astype(np.int64)
    matrix = sparse.csr_matrix(
        (np.ones(len(indices)), indices, indptr), shape=(len(rows), len(names))
    )
    joined = np.array([",".join(part) for part in parts], dtype=object)
    return Design(rows, names, matrix, joined[codes[rows]].astype(str), notes)


def _why_none(parts: Sequence[tuple[str, ...]], codes: np.ndarray, labels: Labels) -> str:
    """Return what to do where no perturbation is left: `parts` are those before rare ones went."""
    totals = _cells_of_each(parts, codes)
    if not totals or labels.min_cells < 2:
        return "check control, separator and the policies"
    most = max(totals, key=lambda name: totals[name])
    return (
        f"min_cells is {labels.min_cells}, and the perturbation of the most cells, '{most}', has "
        f"{totals[most]}: lower min_cells"
    )


def _cells_of_each(parts: Sequence[tuple[str, ...]], codes: np.ndarray) -> dict[str, int]:
    """Return how many cells have each perturbation."""
    totals: dict[str, int] = {}
    for part, count in zip(parts, np.bincount(codes, minlength=len(parts)).tolist(), strict=True):
        for name in part:
            totals[name] = totals.get(name, 0) + count
    return totals


def _require_categories_used(column: pd.Series, name: str) -> None:
    if not isinstance(column.dtype, pd.CategoricalDtype):
        return
    counts = column.value_counts()
    empty = sorted(map(str, counts.index[counts == 0]))
    if empty:
        raise CellsError(
            f"obs column '{name}': perturbation '{empty[0]}' has no cells; drop it: "
            f"adata.obs['{name}'] = adata.obs['{name}'].cat.remove_unused_categories()"
        )


def _require_controls(labels: Labels, known: Sequence[str]) -> None:
    for label in labels.control:
        if label not in known:
            close = difflib.get_close_matches(label, list(known), 3, 0.4) or list(known)[:5]
            raise CellsError(
                f"control label '{label}' is not in obs column '{labels.perturbation}'; "
                f"it has: {', '.join(close)} (of {len(known)})"
            )


def label_parts(label: str, labels: Labels) -> tuple[str, ...] | None:
    """Return the perturbations of a label in order, controls left out; None where unassigned."""
    if label in labels.unassigned_labels or label == "":
        return None
    if label in labels.control:
        return ()
    if labels.separator is None:
        return (label,)
    single = sorted({part.strip() for part in label.split(labels.separator)} - {""})
    return tuple(part for part in single if part not in labels.control)


def _apply_policies(
    parts: list[tuple[str, ...] | None], codes: np.ndarray, labels: Labels, notes: list[str]
) -> np.ndarray:
    """Return which cells stay; labels of those that become controls lose their parts in place."""
    keep = np.ones(len(codes), dtype=bool)
    known = {name for part in parts if part is not None for name in part}
    wanted = known if labels.perturbations is None else set(labels.perturbations)
    for name in sorted(wanted - known):
        what = f"no perturbation '{name}' in obs column '{labels.perturbation}'"
        raise CellsError(did_you_mean(what, name, sorted(known)))
    others = [part is not None and not wanted.issuperset(part) for part in parts]
    kinds = {
        "of other perturbations": ("drop", "", "", others),
        "without a perturbation": (
            labels.unassigned,
            "unassigned",
            "drop or control",
            [part is None for part in parts],
        ),
        "with several perturbations": (
            labels.multiple,
            "multiple",
            "drop, control or additive",
            [part is not None and len(part) > 1 for part in parts],
        ),
    }
    for what, (policy, option, choices, chosen) in kinds.items():
        cells = np.array(chosen, dtype=bool)[codes] & keep
        if not cells.any() or policy == "additive":
            continue
        if policy == "error":
            raise CellsError(
                f"obs column '{labels.perturbation}' has {int(cells.sum())} cells {what}; "
                f"say what becomes of them ({option}: {choices})"
            )
        if policy == "drop":
            keep &= ~cells
            notes.append(f"{int(cells.sum())} cells {what} were dropped")
        else:
            for code in np.flatnonzero(chosen):
                parts[code] = ()
            notes.append(f"{int(cells.sum())} cells {what} were kept as controls")
    return keep


def _drop_rare(
    parts: Sequence[tuple[str, ...]],
    codes: np.ndarray,
    keep: np.ndarray,
    min_cells: int,
    notes: list[str],
) -> np.ndarray:
    """Drop cells of rare perturbations, again and again until none is rare."""
    while True:
        totals = _cells_of_each(parts, codes[keep])
        rare = {name for name, count in totals.items() if 0 < count < min_cells}
        if not rare:
            return keep
        gone = np.array([not rare.isdisjoint(part) for part in parts], dtype=bool)[codes] & keep
        notes.append(
            f"{int(gone.sum())} cells of perturbations with < {min_cells} cells were dropped: "
            f"{listed(sorted(rare))}"
        )
        keep = keep & ~gone


def _columns(
    parts: Sequence[tuple[str, ...]], present: np.ndarray, combinations: bool
) -> tuple[list[str], list[list[int]]]:
    """Name the columns, and return those of each label."""
    kept = [parts[code] for code in present]
    singles = sorted({name for part in kept for name in part})
    joined = sorted({",".join(part) for part in kept if len(part) > 1}) if combinations else []
    names = singles + joined
    position = {name: number for number, name in enumerate(names)}
    chosen = set(present.tolist())
    columns = []
    for code, part in enumerate(parts):
        wanted = list(part) + ([",".join(part)] if combinations and len(part) > 1 else [])
        columns.append([position[name] for name in wanted] if code in chosen else [])
    return names, columns
