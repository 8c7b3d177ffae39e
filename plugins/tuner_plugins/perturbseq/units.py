"""Units that got their perturbation as one: guides, wells, clones.

The cells of a guide share more than their perturbation: the founders of the line, the well, what
else the guide cuts. Shuffling single cells takes all of that for an effect. Where perturbations
mean nothing, whole units are exchangeable, and single cells are not (Lazic, Clarke-Williams and
Munafo, 2018, 10.1371/journal.pbio.2005282). Where units of a perturbation are alike in size, more
than other units are, the test errs on the side of caution: a mixture of sizes gains more.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, lgamma

import numpy as np
import pandas as pd

from tuner_plugins.perturbseq.cells import column_of
from tuner_plugins.perturbseq.matrix import CellsError
from tuner_plugins.perturbseq.screen import Screen

AUTO, CELLS, GUIDE = "auto", "cells", "guide"


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
    """

    name: str
    codes: np.ndarray
    design: np.ndarray

    @property
    def count(self) -> int:
        """Number of units."""
        return len(self.design)


def units_of(screen: Screen, unit: str = AUTO, guide: str | None = None) -> Units | None:
    """Find the units whose labels may be exchanged; None for single cells.

    Parameters
    ----------
    screen : Screen
        From `open_screen`.
    unit : str
        A column of obs; ``cells``; or ``auto``: guides, where they are known and some perturbation
        has two.
    guide : str, optional
        Column of obs with guides. None: ``guide``, if there is one.

    Raises
    ------
    CellsError
        No such column, a cell without a unit, units of several perturbations, or no perturbation
        with two units.
    """
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


def exchangeable(units: Units, batches: np.ndarray, folds: np.ndarray) -> np.ndarray:
    """Give strata of units, shape (units,): those of a stratum may exchange labels.

    Units of the same batches; where every unit is held out as a whole, of the same fold as well.
    """
    table = pd.DataFrame({"unit": units.codes, "batch": batches, "fold": folds})
    by_unit = table.groupby("unit")
    keys = [by_unit["batch"].agg(lambda part: tuple(sorted(set(part))))]
    if (by_unit["fold"].nunique() == 1).all():
        keys.append(by_unit["fold"].first())
    return np.asarray(pd.factorize(pd.MultiIndex.from_arrays(keys))[0])


def arrangements(units: Units, strata: np.ndarray) -> float:
    """Give in how many ways labels can be arranged among the units of each stratum; inf if many."""
    labels = pd.factorize(pd.MultiIndex.from_arrays(units.design.T))[0]
    log = 0.0
    for stratum in np.unique(strata):
        inside = labels[strata == stratum]
        log += lgamma(len(inside) + 1) - sum(lgamma(n + 1) for n in np.bincount(inside))
    return exp(log) if log < 600.0 else float("inf")


def _several(groups: np.ndarray, codes: np.ndarray) -> bool:
    perturbed = groups != ""
    of_groups = pd.Series(codes[perturbed]).groupby(groups[perturbed]).nunique()
    return bool((of_groups > 1).any())


def _units(screen: Screen, name: str, codes: np.ndarray) -> Units:
    first = np.unique(codes, return_index=True)[1]
    return Units(name, codes, screen.design.matrix[first].toarray())
