"""Places on a plate: which wells are neighbours, and whether like labels stand side by side.

What a plate does to its wells (an edge that dries, a dispenser that drifts, the order of handling)
changes smoothly across it. Where the guides of a perturbation stand side by side they share that as
well, and it looks like the effect of the perturbation.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np
import pandas as pd

LAYOUTS = 999
LEVEL = 0.01
_SEED = 0
_WELL = re.compile(
    r"(?:(?P<plate>.*?[^\s:_-])\s*[-_:\s]\s*)?(?P<row>[A-Z]{1,2})(?P<column>[0-9]{1,4})"
)
_MOST_ROWS, _MOST_COLUMNS = 32, 48  # of 1536 wells


class Place(NamedTuple):
    """A well; places sort plate by plate and row by row.

    Attributes
    ----------
    plate : tuple of (str, int)
        Text and numbers of the plate's name in turn, so that P2 comes before P10; () for none.
    row, column : int
        From 1; row A is 1, row AA is 27. At most 32 rows of 48 columns (1536 wells).
    """

    plate: tuple[tuple[str, int], ...]
    row: int
    column: int


def place_of(label: str) -> Place | None:
    """Read a well's name (``A1``, ``A01``, ``AF48``, ``P1_A01``); None if it is no such name.

    Examples
    --------
    >>> place_of("P1_B03")
    Place(plate=(('P', 1),), row=2, column=3)
    >>> place_of("B99") is None
    True
    """
    match = _WELL.fullmatch(label.strip().upper())
    if match is None:
        return None
    row, column = 0, int(match["column"])
    for letter in match["row"]:
        row = 26 * row + ord(letter) - ord("A") + 1
    if row > _MOST_ROWS or not 1 <= column <= _MOST_COLUMNS:
        return None
    parts = re.findall(r"([^0-9]*)([0-9]*)", match["plate"] or "")
    plate = tuple((text, int(number or -1)) for text, number in parts if text or number)
    return Place(plate, row, column)


def places_of_units(
    codes: np.ndarray, wells: np.ndarray, *, by_column: bool = False
) -> np.ndarray | None:
    """Rank units by their first well in plate order.

    Parameters
    ----------
    codes : array of int, shape (cells,)
        Unit of each cell, 0 .. units - 1.
    wells : array of str, shape (cells,)
        Well of each cell.
    by_column : bool
        Plate order is column by column, not row by row.

    Returns
    -------
    array of int, shape (units,), or None
        0 .. units - 1. None where a label is no well, or a well holds cells of two units: units
        have no place of their own then.

    Examples
    --------
    >>> places_of_units(np.array([0, 1, 2]), np.array(["B01", "A02", "A01"])).tolist()
    [2, 1, 0]
    """
    labels, names = pd.factorize(wells)
    found = [place_of(str(name)) for name in names]
    known = [place for place in found if place is not None]
    if len(known) < len(found) or shared_well(codes, wells) is not None:
        return None
    order = sorted(set(known), key=lambda p: (p.plate, p.column, p.row) if by_column else p)
    rank = {place: number for number, place in enumerate(order)}
    first = pd.Series(np.array([rank[place] for place in known])[labels]).groupby(codes).min()
    return np.asarray(first.rank().astype(np.int64) - 1)


def shared_well(codes: np.ndarray, wells: np.ndarray) -> str | None:
    """Return the label of a well with cells of several units, None if there is none; all are wells.

    Parameters are those of `places_of_units`.
    """
    labels, names = pd.factorize(wells)
    places = pd.factorize(pd.Series([place_of(str(name)) for name in names], dtype=object))[0]
    units = pd.Series(codes).groupby(places[labels]).transform("nunique").to_numpy()
    return str(wells[int(np.argmax(units > 1))]) if (units > 1).any() else None


def stand_together(labels: np.ndarray) -> bool:
    """Return whether like labels stand side by side more than in 99 % of 999 random orders.

    The labels of the units are in plate order. The answer is always the same for the same labels:
    the random orders have a seed of their own.

    Examples
    --------
    >>> labels = np.repeat(np.arange(8), 3)
    >>> stand_together(labels), stand_together(np.tile(np.arange(8), 3))
    (True, False)
    """
    codes = pd.factorize(labels)[0]
    rng = np.random.default_rng(_SEED)
    seen = like_neighbours(codes)
    as_many = sum(like_neighbours(rng.permutation(codes)) >= seen for _ in range(LAYOUTS))
    return bool((as_many + 1) / (LAYOUTS + 1) <= LEVEL)


def like_neighbours(labels: np.ndarray) -> int:
    """Count neighbours with one label, of labels in plate order."""
    return int((labels[1:] == labels[:-1]).sum())
