"""From statistics and penalty factors to the arrays that the solvers work on."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from tuner_plugins.enet.arrays import Floats, Ints, OneHot, Projection, Sets
from tuner_plugins.enet.dependence import DEPENDENT, independent
from tuner_plugins.enet.statistics import Statistics
from tuner_plugins.enet.validation import DataError

_MOST_REST = 64
_MOST_CLASSES = 64


def penalty_weights(penalty_factor: ArrayLike | None, columns: int) -> Floats:
    """Return the penalty factor of [1, X]: 0 for the intercept, 1 by default."""
    if penalty_factor is None:
        factors = np.ones(columns)
    else:
        factors = np.asarray(penalty_factor, dtype=np.float64)
    if factors.shape != (columns,) or not np.isfinite(factors).all() or (factors < 0).any():
        raise DataError(
            f"penalty_factor must be {columns} finite numbers >= 0, one a column of X; got "
            f"shape {factors.shape}" + ("" if factors.shape != (columns,) else f": {factors}")
        )
    return np.concatenate(([0.0], factors))


def training_sets(statistics: Statistics, weights: Floats, held: Statistics | None = None) -> Sets:
    """Make folds the held-out part of a training set; all cells train if there is one fold.

    With `held`, all cells of `statistics` train and those of `held` are scored, one fold each.
    """
    if held is not None:
        if not statistics.n_folds == held.n_folds == 1:
            raise DataError("training and held-out cells must be summed to one fold each")
        total = statistics + held
    else:
        total = statistics.total()
        held = statistics if statistics.n_folds > 1 else statistics.without_cells()
    gram = total.gram - held.gram
    empty = np.flatnonzero(gram[:, 0, 0] < 0.5)
    if empty.size:
        raise DataError(f"no cell is left to train on where fold {empty[0]} is held out")
    return Sets(
        np.ascontiguousarray(gram),
        np.ascontiguousarray(held.gram),
        np.ascontiguousarray(total.cross[0]),
        np.ascontiguousarray(held.cross),
        np.maximum(total.squares - held.squares, 0.0),
        np.ascontiguousarray(held.squares),
        np.sqrt(np.maximum(gram.diagonal(axis1=1, axis2=2), 0.0), order="C"),
        weights,
        np.ascontiguousarray(gram[:, 0, 0]),
    )


def disjoint_columns(gram: Floats) -> Ints:
    """Find a large set of columns of Z that never overlap, from Z'Z (folds, columns, columns).

    Columns are put one after the other into the first class that they are orthogonal to in every
    fold; the largest class is given, sorted.
    """
    overlap = (gram[:, 1:, 1:] != 0).any(axis=0)
    classes: list[list[int]] = []
    for column in range(overlap.shape[0]):
        for members in classes:
            if not overlap[column, members].any():
                members.append(column)
                break
        else:
            if len(classes) < _MOST_CLASSES:
                classes.append([column])
    largest = max(classes, key=len, default=[])
    return np.asarray(largest, dtype=np.int64) + 1


def projection(sets: Sets) -> Projection:
    """Project the free columns out of every training set."""
    free = np.flatnonzero(sets.weights == 0)
    penalised = np.flatnonzero(sets.weights)
    count = sets.cells.size
    inverse = np.zeros((count, free.size, free.size))
    for index in range(count):
        block = sets.gram[index][np.ix_(free, free)]
        keep = independent(block)
        kept = np.ix_(keep, keep)
        units = 1.0 / np.sqrt(block.diagonal()[keep])
        scaled = block[kept] * np.outer(units, units)
        inverse[index][kept] = np.linalg.inv(scaled) * np.outer(units, units)
    mixed = sets.gram[:, free][:, :, penalised]
    slopes = inverse @ mixed
    own = sets.gram[:, penalised][:, :, penalised]
    left = own - mixed.transpose(0, 2, 1) @ slopes
    norms = np.array(sets.norms[:, penalised], order="C")
    norms[left.diagonal(axis1=1, axis2=2) <= DEPENDENT * norms**2] = 0.0
    return Projection(
        free, penalised, inverse, np.ascontiguousarray(slopes), np.ascontiguousarray(left), norms
    )


def onehot_blocks(sets: Sets, eliminated: Ints) -> OneHot:
    """Split every training set into columns to eliminate and the scaled rest."""
    rest = np.setdiff1d(np.arange(sets.weights.size), eliminated)
    norms = np.ascontiguousarray(sets.norms[:, rest])
    scale = np.divide(1.0, norms, out=np.zeros_like(norms), where=norms > 0)
    pinned = np.ones((sets.cells.size, rest.size), dtype=np.bool_)
    for index in range(sets.cells.size):
        pinned[index] = norms[index] == 0
        free = np.flatnonzero(sets.weights[rest] == 0)
        dependent = np.ones(free.size, dtype=np.bool_)
        dependent[independent(sets.gram[index][np.ix_(rest[free], rest[free])])] = False
        pinned[index, free[dependent]] = True

    def parts(gram: Floats) -> tuple[Floats, Floats, Floats]:
        """Split Z'Z into the diagonal of D'D, D'R and R'R, scaled."""
        own = gram[:, eliminated, eliminated]
        mixed = gram[:, eliminated][:, :, rest] * scale[:, None]
        other = gram[:, rest][:, :, rest] * scale[:, None] * scale[:, :, None]
        return np.ascontiguousarray(own), mixed, other

    d, m, g = parts(sets.gram)
    held_d, held_m, held_g = parts(sets.held_gram)
    row, column = np.tril_indices(rest.size)
    mm = np.concatenate((-m[:, :, row] * m[:, :, column], g[:, None, row, column]), axis=1)
    numbers = (scale, d, m, -m.transpose(0, 2, 1), mm, g, pinned, held_d, 2.0 * held_m, held_g)
    return OneHot(eliminated, rest.astype(np.int64), *map(np.ascontiguousarray, numbers))


def worth_eliminating(eliminated: Ints, columns: int) -> bool:
    """Return whether the semismooth Newton method fits a design of `columns` columns of Z."""
    rest = columns - eliminated.size
    return rest <= _MOST_REST and 2 * eliminated.size >= rest and eliminated.size >= 4
