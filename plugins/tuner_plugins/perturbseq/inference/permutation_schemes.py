"""In which ways labels may be exchanged where they mean nothing.

Units exchange their labels freely, unless those of a perturbation stand side by side on the plate:
what neighbours share is no effect then, and has to be shared in every arrangement that the test
compares with. Labels are not shuffled but moved, all by the same number of units along the plate,
in either direction, and round the end of it to its beginning (torus translation: Besag and Diggle,
1977, 10.2307/2346974; Harms et al., 2001, 10.1111/j.1365-2745.2001.00615.x).
"""

from __future__ import annotations

from collections.abc import Iterator
from math import exp, lgamma

import numpy as np
import pandas as pd

from tuner_plugins.perturbseq.inference.exchangeable_units import Units


def exchangeable(units: Units, batches: np.ndarray, folds: np.ndarray) -> np.ndarray:
    """Return strata of units, shape (units,): those of a stratum may exchange labels.

    Units of the same batches; where every unit is held out as a whole, of the same fold as well,
    unless labels are moved along the plate: they take their folds with them (see `whole_folds`).
    """
    table = pd.DataFrame({"unit": units.codes, "batch": batches})
    keys = [table.groupby("unit")["batch"].agg(lambda part: tuple(sorted(set(part))))]
    held = whole_folds(units, folds)
    if held is not None and units.places is None:
        keys.append(pd.Series(held, keys[0].index))
    return np.asarray(pd.factorize(pd.MultiIndex.from_arrays(keys))[0])


def whole_folds(units: Units, folds: np.ndarray) -> np.ndarray | None:
    """Return the fold of each unit, shape (units,); None where cells of a unit are in several.

    Such folds are dealt by the labels, so that the units of a perturbation are in different ones,
    and neighbours with them: labels that are moved must take their folds along. Within its fold a
    label would come to stand far from what was its neighbour's.
    """
    by_unit = pd.Series(folds).groupby(units.codes)
    return np.asarray(by_unit.first()) if (by_unit.nunique() == 1).all() else None


def unit_orders(
    units: Units, strata: np.ndarray, count: int, seed: int = 0
) -> Iterator[np.ndarray]:
    """Return orders of the units: unit i gets the label of unit ``order[i]`` of its stratum.

    Parameters
    ----------
    units : Units
        With places their labels are moved along the plate, else shuffled.
    strata : array of int, shape (units,)
        From `exchangeable`.
    count : int
        How many; all moves where there are no more, else a sample without replacement.
    seed : int
        Of the shuffles or the sample.

    Yields
    ------
    array of int, shape (units,)
        A move is never the identity and never comes twice.

    Examples
    --------
    >>> units = Units("well", np.arange(3), np.eye(3), places=np.arange(3))
    >>> [order.tolist() for order in unit_orders(units, np.zeros(3, dtype=int), count=9)]
    [[2, 1, 0], [2, 0, 1], [1, 0, 2], [1, 2, 0], [0, 2, 1]]
    """
    rng = np.random.default_rng(seed)
    if units.places is None:
        for _ in range(count):
            yield shuffle_within(strata, rng)
        return
    along = np.argsort(units.places)
    rings = [along[strata[along] == stratum] for stratum in np.unique(strata)]
    total = moves(strata)
    chosen = rng.choice(total, count, replace=False) if count < total else np.arange(total)
    for number in chosen + 1:
        steps, mirrored = divmod(int(number), 2) if total > 1 else (1, 0)
        order = np.empty(units.count, dtype=np.int64)
        for ring in rings:
            moved = np.roll(ring, steps)
            order[ring] = moved[::-1] if mirrored else moved
        yield order


def moves(strata: np.ndarray) -> int:
    """Count the moves along the plate that change the place of a label.

    All strata move by the same number, and are mirrored together, so that neighbours of different
    strata stay neighbours as far as strata stand alike on the plate. With strata of one size the
    moves and the identity are a group, and the test is exact where the plate is alike all along,
    its ends apart; with strata of several sizes it is nearly so.

    Examples
    --------
    >>> moves(np.zeros(6, dtype=int))
    11
    """
    longest = int(np.unique(strata, return_counts=True)[1].max())
    # two units: the mirrored order is the other one
    return 2 * longest - 1 if longest > 2 else longest - 1


def smallest_p(
    units: Units, strata: np.ndarray, count: int, held: np.ndarray | None = None
) -> float:
    """Return the least p that `count` moves along the plate can give, or all if there are fewer.

    A layout may look the same from both ends: the mirrored order then gives each perturbation the
    units of another one, and is a tie whatever the responses are.

    Parameters
    ----------
    units, strata, count
        As in `unit_orders`.
    held : array of int, shape (units,), optional
        Folds that labels take with them, from `whole_folds`.

    Examples
    --------
    >>> units = Units("well", np.arange(6), np.repeat(np.eye(2), 3, axis=0), places=np.arange(6))
    >>> round(smallest_p(units, np.zeros(6, dtype=int), count=99), 3)
    0.333
    """
    total = moves(strata)
    if count < total:
        return 1 / (count + 1)
    kinds, kind = np.unique(units.design, axis=0, return_inverse=True)
    # random whole numbers, whose sums tell sets of units apart, and are exact
    weights = np.random.default_rng(0).integers(1, 2**36, units.count).astype(float)

    def sets(order: np.ndarray) -> np.ndarray:
        of_kinds = np.bincount(kind.reshape(-1)[order], weights, len(kinds))
        of_folds = np.zeros(0) if held is None else np.bincount(held[order], weights)
        return np.concatenate((np.sort(of_kinds @ kinds), of_folds))

    seen = sets(np.arange(units.count))
    ties = sum(np.array_equal(sets(o), seen) for o in unit_orders(units, strata, total))
    return (ties + 1) / (total + 1)


def arrangements(units: Units, strata: np.ndarray) -> float:
    """Return the number of arrangements of labels within strata; inf if there are too many.

    Examples
    --------
    >>> units = Units("guide", np.arange(4), np.repeat(np.eye(2), 2, axis=0))
    >>> round(arrangements(units, np.zeros(4, dtype=int)))
    6
    """
    if units.places is not None:
        return moves(strata) + 1
    labels = pd.factorize(pd.MultiIndex.from_arrays(units.design.T))[0]
    log = 0.0
    for stratum in np.unique(strata):
        inside = labels[strata == stratum]
        log += lgamma(len(inside) + 1) - sum(lgamma(n + 1) for n in np.bincount(inside))
    return exp(log) if log < 600.0 else float("inf")


def shuffle_within(strata: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a permutation of cells, shape (cells,), that keeps each cell in its stratum."""
    order = np.empty(len(strata), dtype=np.int64)
    order[np.argsort(strata, kind="stable")] = np.lexsort((rng.random(len(strata)), strata))
    return order
