"""Every fit of a range of genes by coordinate descent: any design."""

from __future__ import annotations

import numpy as np
from numba import njit

from tuner_plugins.enet.accumulate import Floats
from tuner_plugins.enet.coordinate_descent import descend
from tuner_plugins.enet.simd.lanes import copy, set_product
from tuner_plugins.enet.simd.vector import FAST, LANES
from tuner_plugins.enet.tiles import (
    Grid,
    Output,
    Projection,
    Sets,
    Work,
    certify,
    chosen,
    fill_free,
    load,
    new_work,
    penalise,
    polish_lane,
    store,
    tile,
)


@njit(cache=True, nogil=True, fastmath=FAST)
def _project(projection: Projection, index: int, cross: Floats, left: Floats) -> None:
    """Return Z'Y of the penalised columns without what the free ones explain."""
    free, penalised = projection.free, projection.penalised
    for column in range(penalised.shape[0]):
        for lane in range(LANES):
            left[column, lane] = cross[penalised[column], lane]
        for row in range(free.shape[0]):
            value = projection.slopes[index, row, column]
            for lane in range(LANES):
                left[column, lane] -= value * cross[free[row], lane]


@njit(cache=True, nogil=True, fastmath=FAST)
def _descend(
    work: Work, projection: Projection, index: int, left: Floats, shrunk: Floats, slope: Floats
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
        chosen(work.l1, penalised),
        chosen(work.l2, penalised),
        work.goal,
        projection.norms[index],
    )


@njit(cache=True, nogil=True, fastmath=FAST)
def _finish(
    work: Work, sets: Sets, projection: Projection, index: int, width: int, shrunk: Floats
) -> int:
    """Complete the coefficients, certify them, and polish the lanes that need it; count these."""
    penalised, coef = projection.penalised, work.coef
    for column in range(penalised.shape[0]):
        for lane in range(LANES):
            coef[penalised[column], lane] = shrunk[column, lane]
    for lane in range(width):
        fill_free(work, projection, index, lane)
    certify(work, sets.gram[index], sets.norms[index])
    polished = 0
    for lane in range(width):
        if work.worst[lane] > work.goal[lane]:
            polished += 1
            polish_lane(work, projection, index, lane)
            for column in range(penalised.shape[0]):
                shrunk[column, lane] = coef[penalised[column], lane]
    if polished:
        certify(work, sets.gram[index], sets.norms[index])
    return polished


@njit(cache=True, nogil=True, fastmath=FAST)
def _score(work: Work, sets: Sets, index: int, first: int, width: int) -> None:
    """Return squares - 2 coef'held + coef'gram coef, and count the penalised non-zeros, by lane."""
    coef, error, columns = work.coef, work.error, sets.weights.shape[0]
    image = tile(columns)
    set_product(image, sets.held_gram[index], coef, np.arange(columns), columns)
    for lane in range(width):
        error[lane] = sets.held_squares[index, first + lane]
        work.nonzero[lane] = 0
    for row in range(columns):
        for lane in range(LANES):
            error[lane] += coef[row, lane] * (image[row, lane] - 2.0 * work.held[row, lane])
        if sets.weights[row] > 0.0:
            for lane in range(width):
                work.nonzero[lane] += coef[row, lane] != 0.0


@njit(cache=True, nogil=True, fastmath=FAST)
def fit_gram(
    first_gene: int,
    last_gene: int,
    sets: Sets,
    projection: Projection,
    grid: Grid,
    output: Output,
) -> int:
    """Fit genes `first_gene` to `last_gene` on every training set; return the fits polished."""
    p = projection.penalised.shape[0]
    work = new_work(sets.total.shape[0])
    left, shrunk, start, slope = tile(p), tile(p), tile(p), tile(p)
    polished = 0
    for first in range(first_gene, last_gene, LANES):
        width = min(LANES, last_gene - first)
        for index in range(sets.cells.shape[0]):
            load(work, sets, index, first, width, grid.tolerance)
            _project(projection, index, work.cross, left)
            start = tile(p)
            for ratio in range(grid.ratios.shape[0]):
                copy(start, shrunk)
                for alpha in range(grid.alphas.shape[0]):
                    penalise(work, sets, index, grid.alphas[alpha], grid.ratios[ratio])
                    _descend(work, projection, index, left, shrunk, slope)
                    polished += _finish(work, sets, projection, index, width, shrunk)
                    if alpha == 0:
                        copy(shrunk, start)
                    _score(work, sets, index, first, width)
                    store(work, output, (index, alpha, ratio), first, width)
    return polished
