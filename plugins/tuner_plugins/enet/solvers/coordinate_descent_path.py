"""Every fit of a range of genes by coordinate descent: any design."""

from __future__ import annotations

import numpy as np
from numba import njit

from tuner_plugins.enet.accumulate import Floats
from tuner_plugins.enet.simd.lanes import copy, set_product, tile
from tuner_plugins.enet.simd.vector import FAST, LANES, get, put
from tuner_plugins.enet.solvers.coordinate_descent import descend
from tuner_plugins.enet.solvers.tiles import (
    Grid,
    Output,
    Place,
    Projection,
    Sets,
    Work,
    certify,
    count_used,
    fill_free,
    load,
    new_work,
    penalise,
    polish_lane,
    put_rows,
    reduced_problem,
    start_score,
    store,
    take_rows,
)


@njit(cache=True, nogil=True, fastmath=FAST)
def _project(projection: Projection, index: int, cross: Floats, left: Floats) -> None:
    """Set `left` to Z'Y of the penalised columns without what the free ones explain."""
    free, penalised = projection.free, projection.penalised
    for column in range(penalised.shape[0]):
        value = get(cross, penalised[column])
        for row in range(free.shape[0]):
            value = value - get(cross, free[row]) * projection.slopes[index, row, column]
        put(left, column, value)


@njit(cache=True, nogil=True, fastmath=FAST)
def _descend(
    work: Work, projection: Projection, index: int, left: Floats, shrunk: Floats, slope: Floats
) -> None:
    """Run coordinate descent from `shrunk`, the penalised coefficients."""
    penalised = projection.penalised
    gram = projection.gram[index]
    set_product(slope, gram, shrunk, np.arange(penalised.shape[0]), penalised.shape[0])
    for column in range(slope.shape[0]):
        put(slope, column, get(slope, column) - get(left, column))
    descend(reduced_problem(work, projection, index), slope, shrunk, work.goal)


@njit(cache=True, nogil=True, fastmath=FAST)
def _finish(work: Work, sets: Sets, projection: Projection, place: Place, shrunk: Floats) -> int:
    """Complete the coefficients, certify them, and polish the lanes that need it; count these."""
    penalised, coef = projection.penalised, work.coef
    index, width = place.training, place.width
    put_rows(shrunk, penalised, coef)
    for lane in range(width):
        fill_free(work, projection, index, lane)
    certify(work, sets.gram[index], sets.norms[index])
    polished = 0
    for lane in range(width):
        if work.worst[lane] > work.goal[lane]:
            polished += 1
            polish_lane(work, projection, index, lane)
    if polished:
        take_rows(coef, penalised, shrunk)
        certify(work, sets.gram[index], sets.norms[index])
    return polished


@njit(cache=True, nogil=True, fastmath=FAST)
def _score(work: Work, sets: Sets, place: Place) -> None:
    """Return squares - 2 coef'held + coef'gram coef, and count the penalised non-zeros, by lane."""
    coef, error, columns = work.coef, work.error, sets.weights.shape[0]
    image = tile(columns)
    set_product(image, sets.held_gram[place.training], coef, np.arange(columns), columns)
    start_score(work, sets, place)
    for row in range(columns):
        for lane in range(LANES):
            error[lane] += coef[row, lane] * (image[row, lane] - 2.0 * work.held[row, lane])
        if sets.weights[row] > 0.0:
            count_used(work, coef, row, place.width)


@njit(cache=True, nogil=True, fastmath=FAST)
def fit_gram(
    first_gene: int, last_gene: int, sets: Sets, projection: Projection, grid: Grid, output: Output
) -> int:
    """Fit genes `first_gene` to `last_gene` on every training set; return the fits polished."""
    p = projection.penalised.shape[0]
    work = new_work(sets.total.shape[0])
    left, shrunk, start, slope = tile(p), tile(p), tile(p), tile(p)
    polished = 0
    for first in range(first_gene, last_gene, LANES):
        for index in range(sets.cells.shape[0]):
            place = Place(index, first, min(LANES, last_gene - first))
            load(work, sets, place, grid.tolerance)
            _project(projection, index, work.cross, left)
            start = tile(p)
            for ratio in range(grid.ratios.shape[0]):
                copy(start, shrunk)
                for alpha in range(grid.alphas.shape[0]):
                    penalise(work, sets, index, grid.alphas[alpha], grid.ratios[ratio])
                    _descend(work, projection, index, left, shrunk, slope)
                    polished += _finish(work, sets, projection, place, shrunk)
                    if alpha == 0:
                        copy(shrunk, start)
                    _score(work, sets, place)
                    store(work, output, place, alpha, ratio)
    return polished
