"""Every fit of a range of genes by coordinate descent: any design."""

from __future__ import annotations

import numpy as np
from numba import njit

from tuner_plugins.elasticnet.accumulate import Floats
from tuner_plugins.elasticnet.gram import descend
from tuner_plugins.elasticnet.lanes import LANES, copy, set_product
from tuner_plugins.elasticnet.tiles import (
    Grid,
    Output,
    Projection,
    Sets,
    certify,
    chosen,
    count_nonzero,
    fill_free,
    gene_units,
    held_out_error,
    load,
    penalise,
    polish_lane,
    store,
    tile,
)

_FAST = {"contract", "nsz"}


@njit(cache=True, nogil=True, fastmath=_FAST)
def _project(projection: Projection, index: int, cross: Floats, left: Floats) -> None:
    """Give Z'Y of the penalised columns without what the free ones explain."""
    free, penalised = projection.free, projection.penalised
    for column in range(penalised.shape[0]):
        for lane in range(LANES):
            left[column, lane] = cross[penalised[column], lane]
        for row in range(free.shape[0]):
            value = projection.slopes[index, row, column]
            for lane in range(LANES):
                left[column, lane] -= value * cross[free[row], lane]


@njit(cache=True, nogil=True, fastmath=_FAST)
def _descend(
    projection: Projection,
    index: int,
    left: Floats,
    shrunk: Floats,
    slope: Floats,
    l1: Floats,
    l2: Floats,
    goal: Floats,
) -> None:
    """Run coordinate descent from `shrunk`, the penalised coefficients."""
    penalised = projection.penalised
    gram = projection.gram[index]
    set_product(slope, gram, shrunk, np.arange(penalised.shape[0]), penalised.shape[0])
    for column in range(slope.shape[0]):
        for lane in range(LANES):
            slope[column, lane] -= left[column, lane]
    descend(
        gram,
        slope,
        shrunk,
        chosen(l1, penalised),
        chosen(l2, penalised),
        goal,
        projection.norms[index],
    )


@njit(cache=True, nogil=True, fastmath=_FAST)
def _finish(
    projection: Projection,
    index: int,
    width: int,
    cross: Floats,
    shrunk: Floats,
    coef: Floats,
    l1: Floats,
    l2: Floats,
    goal: Floats,
    sets: Sets,
    worst: Floats,
) -> int:
    """Complete the coefficients, certify them, and polish the lanes that need it; count these."""
    penalised = projection.penalised
    for column in range(penalised.shape[0]):
        for lane in range(LANES):
            coef[penalised[column], lane] = shrunk[column, lane]
    for lane in range(width):
        fill_free(projection, index, lane, cross, coef)
    certify(sets.gram[index], cross, coef, l1, l2, sets.norms[index], worst)
    polished = 0
    for lane in range(width):
        if worst[lane] > goal[lane]:
            polished += 1
            polish_lane(projection, index, lane, cross, coef, l1, l2, goal[lane])
            for column in range(penalised.shape[0]):
                shrunk[column, lane] = coef[penalised[column], lane]
    if polished:
        certify(sets.gram[index], cross, coef, l1, l2, sets.norms[index], worst)
    return polished


@njit(cache=True, nogil=True, fastmath=_FAST)
def fit_gram(
    first_gene: int,
    last_gene: int,
    sets: Sets,
    projection: Projection,
    grid: Grid,
    output: Output,
) -> int:
    """Fit genes `first_gene` to `last_gene` on every training set; give the fits polished."""
    columns, p = sets.total.shape[0], projection.penalised.shape[0]
    cross, held, coef = tile(columns), tile(columns), tile(columns)
    left, shrunk, start, slope = tile(p), tile(p), tile(p), tile(p)
    error, worst, units, goal = np.zeros(LANES), np.zeros(LANES), np.zeros(LANES), np.zeros(LANES)
    l1, l2 = np.zeros(columns), np.zeros(columns)
    nonzero = np.zeros(LANES, dtype=np.int64)
    polished = 0
    for first in range(first_gene, last_gene, LANES):
        width = min(LANES, last_gene - first)
        for index in range(sets.cells.shape[0]):
            load(sets, index, first, width, cross, held)
            gene_units(sets.squares[index], first, width, grid.tolerance, units, goal)
            squares = sets.held_squares[index, first : first + width]
            _project(projection, index, cross, left)
            start = tile(p)
            for ratio in range(grid.ratios.shape[0]):
                copy(start, shrunk)
                for alpha in range(grid.alphas.shape[0]):
                    strength = sets.cells[index] * grid.alphas[alpha]
                    penalise(sets.weights, strength, grid.ratios[ratio], l1, l2)
                    _descend(projection, index, left, shrunk, slope, l1, l2, goal)
                    polished += _finish(
                        projection, index, width, cross, shrunk, coef, l1, l2, goal, sets, worst
                    )
                    if alpha == 0:
                        copy(shrunk, start)
                    held_out_error(sets.held_gram[index], held, squares, coef, error)
                    count_nonzero(coef, sets.weights, width, nonzero)
                    at = (index, alpha, ratio)
                    store(output, at, first, width, coef, error, nonzero, worst, units)
    return polished
