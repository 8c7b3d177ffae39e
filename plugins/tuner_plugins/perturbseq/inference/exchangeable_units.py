"""Units that got their perturbation as one: guides, wells, clones.

The cells of a guide share more than their perturbation: the founders of the line, the well, what
else the guide cuts. Shuffling single cells takes all of that for an effect. Where perturbations
mean nothing, whole units are exchangeable, and single cells are not (Lazic, Clarke-Williams and
Munafo, 2018, 10.1371/journal.pbio.2005282). Where units of a perturbation are alike in size, more
than other units are, the test errs on the side of caution: a mixture of sizes gains more.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from tuner_plugins.perturbseq.data.labels import column_of
from tuner_plugins.perturbseq.data.screen import Screen
from tuner_plugins.perturbseq.data.stored import CellsError
from tuner_plugins.perturbseq.inference.plate_layout import (
    like_neighbours,
    place_of,
    places_of_units,
    shared_well,
    stand_together,
)

AUTO, CELLS, GUIDE, WELL = "auto", "cells", "guide", "well"


@dataclass(frozen=True)
class Units:
    """Which unit each cell belongs to.

    Attributes
    ----------
    name : str
        The column of obs.
    codes : array of int, shape (cells,)
        0 .. units - 1.
    design : array, shape (units, perturbations)
        Row of the design that all cells of a unit have.
    places : array of int, shape (units,), optional
        Rank of each unit along the plate, where labels may only be moved along it. None: labels
        are exchanged freely.
    well : str, optional
        The column of obs that the places come from.
    """

    name: str
    codes: np.ndarray
    design: np.ndarray
    places: np.ndarray | None = None
    well: str | None = None

    @property
    def count(self) -> int:
        """Number of units."""
        return len(self.design)

    @property
    def among(self) -> str:
        """What labels are exchanged among, in words."""
        return self.name if self.places is None else f"{self.name}, moved along the plate"


def units_of(
    screen: Screen, unit: str = AUTO, guide: str | None = None, well: str | None = AUTO
) -> Units | None:
    """Find the units whose labels may be exchanged; None for single cells.

    Where units of a perturbation stand side by side on the plate, by rows or by columns, they get
    their places along it. A randomised layout leaves the exchange free: it has more arrangements.

    Parameters
    ----------
    screen : Screen
        From `open_screen`.
    unit : str
        A column of obs; ``cells``; or ``auto``: guides, where they are known and some perturbation
        has two.
    guide : str, optional
        Column of obs with guides. None: ``guide``, if there is one.
    well : str, optional
        Column of obs with names of wells, each with cells of one unit; ``auto``: ``well``, if it
        is such a column. None: places do not matter.

    Raises
    ------
    CellsError
        No such column, a cell without a unit or a well, units of several perturbations, no
        perturbation with two units, a name that is no well's, or a well with several units.

    Examples
    --------
    >>> from anndata import AnnData
    >>> from tuner_plugins.perturbseq.data.labels import Labels
    >>> from tuner_plugins.perturbseq.data.screen import Recipe, open_screen
    >>> adata = AnnData(np.ones((4, 2)))
    >>> adata.obs["perturbation"] = ["A", "A", "A", "control"]
    >>> adata.obs["guide"] = ["A_1", "A_1", "A_2", "NT_1"]
    >>> units = units_of(open_screen(adata, Recipe(Labels())))
    >>> units.among, units.codes.tolist(), units.design.tolist()
    ('guide', [0, 0, 1, 2], [[1.0], [1.0], [0.0]])
    """
    wells = _wells(screen.obs, well)
    found = _exchanged(screen, unit, guide)
    if found is None or wells is None:
        return found
    name = WELL if well == AUTO else str(well)
    shared = shared_well(found.codes, wells)
    if shared is not None:
        if well == AUTO:
            return found
        raise CellsError(
            f"obs column '{name}' for well: '{shared}' has cells of several units of "
            f"'{found.name}'; expected one, with the plate in its name where there are several "
            "(P1_A01); or set well: null"
        )
    return _placed(found, wells, name)


def _exchanged(screen: Screen, unit: str, guide: str | None) -> Units | None:
    groups = screen.design.groups
    if unit == AUTO:
        name = guide or GUIDE
        if guide is None and name not in screen.obs.columns:
            return None
        # guides may be numbered anew for each perturbation
        labels = column_of(screen.obs, name, "guide").astype(str).to_numpy(dtype=str)
        codes = pd.factorize(pd.MultiIndex.from_arrays([groups, labels]))[0]
        return _units(screen, name, codes) if _several(groups, codes) else None
    if unit == CELLS:
        return None
    column = column_of(screen.obs, unit, "unit")
    if column.isna().any():
        raise CellsError(
            f"obs column '{unit}' for unit has {int(column.isna().sum())} cells without a value; "
            "name the unit of every cell"
        )
    codes = pd.factorize(column.astype(str))[0]
    by_unit = pd.Series(groups).groupby(codes)
    mixed = by_unit.nunique()
    if (mixed > 1).any():
        first = int(mixed.index[mixed > 1][0])
        shown = ", ".join(f"'{g or 'control'}'" for g in sorted(set(by_unit.get_group(first)))[:3])
        raise CellsError(
            f"obs column '{unit}' for unit: '{column.iloc[int(np.argmax(codes == first))]}' has "
            f"cells of {mixed[first]} perturbations ({shown}); expected units that got one, such "
            "as guides or wells; or set unit: cells"
        )
    if not _several(groups, codes):
        raise CellsError(
            f"obs column '{unit}' for unit: no perturbation has two units, so that a perturbation "
            "cannot be told from its unit; name a finer column, or set unit: cells"
        )
    return _units(screen, unit, codes)


def _wells(obs: pd.DataFrame, well: str | None) -> np.ndarray | None:
    """Return the well of each cell; None where none is known or asked for."""
    if well is None or (well == AUTO and WELL not in obs.columns):
        return None
    name = WELL if well == AUTO else well
    column = column_of(obs, name, "well")
    missing = int(column.isna().sum())
    labels = column.astype(str).to_numpy(dtype=str)
    strange = next((str(v) for v in pd.unique(labels) if place_of(str(v)) is None), None)
    if missing == 0 and strange is None:
        return np.asarray(labels)
    if well == AUTO:
        return None
    if missing:
        raise CellsError(
            f"obs column '{name}' for well has {missing} cells without a value; name the well of "
            "every cell, or set well: null"
        )
    raise CellsError(
        f"obs column '{name}' for well: '{strange}' is no well; expected names such as A01 or "
        "P1_A01, or set well: null"
    )


def _placed(units: Units, wells: np.ndarray, name: str) -> Units:
    """Return the units their places where those of a perturbation stand side by side."""
    labels = pd.factorize(pd.MultiIndex.from_arrays(units.design.T))[0]
    best, places = 0, None
    for by_column in (False, True):
        ranks = places_of_units(units.codes, wells, by_column=by_column)
        if ranks is None:
            continue
        along = labels[np.argsort(ranks)]
        if like_neighbours(along) > best and stand_together(along):
            best, places = like_neighbours(along), ranks
    return units if places is None else replace(units, places=places, well=name)


def _several(groups: np.ndarray, codes: np.ndarray) -> bool:
    perturbed = groups != ""
    of_groups = pd.Series(codes[perturbed]).groupby(groups[perturbed]).nunique()
    return bool((of_groups > 1).any())


def _units(screen: Screen, name: str, codes: np.ndarray) -> Units:
    first = np.unique(codes, return_index=True)[1]
    return Units(name, codes, screen.design.matrix[first].toarray())
