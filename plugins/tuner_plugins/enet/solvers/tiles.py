"""Tiles of genes: what the sweeps of both solvers share.

The arrays that describe a problem, and kernels that move numbers between them and the lanes,
certify a fit, finish it by `coordinate_descent.polish`, score it on held-out cells and store it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from tuner_plugins.enet.accumulate import Floats, Ints
from tuner_plugins.enet.penalty import violation
from tuner_plugins.enet.simd.lanes import set_product, tile
from tuner_plugins.enet.simd.vector import FAST, LANES, get, put
from tuner_plugins.enet.solvers.coordinate_descent import Penalised, polish


class Sets(NamedTuple):
    """Statistics of the training sets and of the cells held out of each.

    Attributes
    ----------
    gram, held_gram : (sets, columns + 1, padded columns + 1)
        Z'Z of the training set, and of the cells held out.
    total : (columns + 1, genes)
        Z'Y of all cells.
    held : (sets, columns + 1, genes)
        Z'Y of the cells held out; the training set has the rest.
    squares, held_squares : (sets, genes)
    norms : (sets, columns + 1)
        Square root of the diagonal of `gram`: the unit of residuals.
    weights : (columns + 1,)
        Penalty factor of every column; 0 for the intercept.
    cells : (sets,)
        Cells in the training set.
    """

    gram: Floats
    held_gram: Floats
    total: Floats
    held: Floats
    squares: Floats
    held_squares: Floats
    norms: Floats
    weights: Floats
    cells: Floats


class Projection(NamedTuple):
    """Each training set with its free columns projected out.

    Attributes
    ----------
    free, penalised : (f,), (p,)
        Where these columns stand in Z.
    inverse : (sets, f, f)
        Inverse of the free block; zero rows for free columns that depend on earlier ones.
    slopes : (sets, f, p)
        inverse @ Z_free' Z_penalised.
    gram : (sets, p, padded p)
        What is left of the Gram matrix of the penalised columns.
    norms : (sets, p)
        Unit of the residuals; 0 for columns of which nothing is left.
    """

    free: Ints
    penalised: Ints
    inverse: Floats
    slopes: Floats
    gram: Floats
    norms: Floats


class Place(NamedTuple):
    """What is in the lanes: a training set, its first gene, and how many genes there are."""

    training: int
    first: int
    width: int


class Grid(NamedTuple):
    """Penalties to fit: alphas falling, and ratios; tolerance relative to the norm of a gene."""

    alphas: Floats
    ratios: Floats
    tolerance: float


class Output(NamedTuple):
    """What the fits give; `coef` may have no genes where it is not wanted.

    Attributes
    ----------
    sse : (sets, alphas, ratios, genes)
        Held-out sums of squared errors.
    nonzero : (sets, alphas, ratios, genes)
        Penalised columns with a non-zero coefficient.
    coef : (sets, alphas, ratios, columns + 1, genes)
        Coefficients of Z, so that the intercept belongs to the shifted columns.
    kkt : (genes,)
        Largest residual of the optimality conditions over all fits of a gene.
    """

    sse: Floats
    nonzero: np.ndarray
    coef: Floats
    kkt: Floats


class Work(NamedTuple):
    """What one tile of genes is worked on with: made once, filled for every fit.

    Attributes
    ----------
    cross, held, coef : (padded columns + 1, LANES)
        Z'Y of the training set and of the cells held out; coefficients of Z.
    l1, l2 : (columns + 1,)
        Penalties, in units of half the sum of squares.
    units, goal, worst, error : (LANES,)
        Norm of every gene, the residual to reach and the one reached, held-out squares.
    nonzero : (LANES,)
        Penalised coefficients that are not zero.
    """

    cross: Floats
    held: Floats
    coef: Floats
    l1: Floats
    l2: Floats
    units: Floats
    goal: Floats
    worst: Floats
    error: Floats
    nonzero: Ints


@njit(cache=True, nogil=True)
def new_work(columns: int) -> Work:
    """Return the arrays for designs with so many columns of Z, to be filled."""
    return Work(
        tile(columns),
        tile(columns),
        tile(columns),
        np.zeros(columns),
        np.zeros(columns),
        np.zeros(LANES),
        np.zeros(LANES),
        np.zeros(LANES),
        np.zeros(LANES),
        np.zeros(LANES, dtype=np.int64),
    )


@njit(cache=True, nogil=True)
def take_rows(source: Floats, index: Ints, target: Floats) -> None:
    """Copy source[index] to the first rows of `target`; rows of lanes."""
    for row in range(index.shape[0]):
        put(target, row, get(source, index[row]))


@njit(cache=True, nogil=True)
def put_rows(source: Floats, index: Ints, target: Floats) -> None:
    """Copy the first rows of `source` to target[index]; rows of lanes."""
    for row in range(index.shape[0]):
        put(target, index[row], get(source, row))


@njit(cache=True, nogil=True)
def penalise(work: Work, sets: Sets, index: int, alpha: float, ratio: float) -> None:
    """Set the penalties of every column for a training set."""
    strength = sets.cells[index] * alpha
    for column in range(sets.weights.shape[0]):
        work.l1[column] = strength * ratio * sets.weights[column]
        work.l2[column] = strength * (1.0 - ratio) * sets.weights[column]


@njit(cache=True, nogil=True, fastmath=FAST)
def load(work: Work, sets: Sets, place: Place, tolerance: float) -> None:
    """Copy Z'Y of a training set and of its held-out cells into lanes; set units and goals.

    Unused lanes are zero.
    """
    index, first, width = place
    cross, held, squares = work.cross, work.held, sets.squares[index]
    for lane in range(LANES):
        work.units[lane] = np.sqrt(squares[first + lane]) if lane < width else 0.0
        work.goal[lane] = tolerance * work.units[lane]
    for column in range(sets.total.shape[0]):
        for lane in range(width):
            held[column, lane] = sets.held[index, column, first + lane]
            cross[column, lane] = sets.total[column, first + lane] - held[column, lane]
        for lane in range(width, LANES):
            held[column, lane] = 0.0
            cross[column, lane] = 0.0


@njit(cache=True, nogil=True, fastmath=FAST)
def certify(work: Work, gram: Floats, norms: Floats) -> None:
    """Set `worst`, the largest violation of the optimality conditions in units of `norms`."""
    cross, coef, l1, l2, worst = work.cross, work.coef, work.l1, work.l2, work.worst
    columns = gram.shape[0]
    slope = tile(columns)
    set_product(slope, gram, coef, np.arange(columns), columns)
    for lane in range(LANES):
        worst[lane] = 0.0
    for column in range(columns):
        if norms[column] == 0.0:
            continue
        for lane in range(LANES):
            value = coef[column, lane]
            pull = slope[column, lane] - cross[column, lane] + l2[column] * value
            excess = violation(pull, value, l1[column])
            worst[lane] = max(worst[lane], excess / norms[column])


@njit(cache=True, nogil=True)
def reduced_problem(work: Work, projection: Projection, index: int) -> Penalised:
    """Return a training set without its free columns, with the penalties of now."""
    l1, l2 = work.l1[projection.penalised], work.l2[projection.penalised]
    return Penalised(projection.gram[index], l1, l2, projection.norms[index])


@njit(cache=True, nogil=True, fastmath=FAST)
def polish_lane(work: Work, projection: Projection, index: int, lane: int) -> None:
    """Solve one lane to the end by `coordinate_descent.polish`, from and into `coef`."""
    cross, coef, goal = work.cross, work.coef, work.goal[lane]
    free, penalised = projection.free, projection.penalised
    slopes = projection.slopes[index]
    start = np.empty(penalised.shape[0])
    left = np.empty(penalised.shape[0])
    for column in range(penalised.shape[0]):
        start[column] = coef[penalised[column], lane]
        left[column] = cross[penalised[column], lane]
        for row in range(free.shape[0]):
            left[column] -= slopes[row, column] * cross[free[row], lane]
    problem = reduced_problem(work, projection, index)
    for _ in range(2):
        if polish(problem, left, start, goal) <= goal:
            break
        # Where Newton steps have run far off, zero is the better start.
        start = np.zeros(penalised.shape[0])
    for column in range(penalised.shape[0]):
        coef[penalised[column], lane] = start[column]
    fill_free(work, projection, index, lane)


@njit(cache=True, nogil=True, fastmath=FAST)
def fill_free(work: Work, projection: Projection, index: int, lane: int) -> None:
    """Set the free coefficients that belong to the penalised ones, in one lane."""
    cross, coef = work.cross, work.coef
    free, penalised = projection.free, projection.penalised
    for row in range(free.shape[0]):
        value = 0.0
        for other in range(free.shape[0]):
            value += projection.inverse[index, row, other] * cross[free[other], lane]
        for column in range(penalised.shape[0]):
            value -= projection.slopes[index, row, column] * coef[penalised[column], lane]
        coef[free[row], lane] = value


@njit(cache=True, nogil=True)
def start_score(work: Work, sets: Sets, place: Place) -> None:
    """Set the errors of a tile to the held-out squares, and the count of non-zeros to none."""
    for lane in range(place.width):
        work.error[lane] = sets.held_squares[place.training, place.first + lane]
        work.nonzero[lane] = 0


@njit(cache=True, nogil=True)
def count_used(work: Work, coef: Floats, row: int, width: int) -> None:
    """Count the lanes in which a row of coefficients is not zero."""
    for lane in range(width):
        work.nonzero[lane] += coef[row, lane] != 0.0


@njit(cache=True, nogil=True, fastmath=FAST)
def store(work: Work, output: Output, place: Place, alpha: int, ratio: int) -> None:
    """Write one fit of the tile to the output arrays."""
    first, width, at = place.first, place.width, (place.training, alpha, ratio)
    for lane in range(width):
        gene, unit = first + lane, work.units[lane]
        output.sse[at[0], at[1], at[2], gene] = max(work.error[lane], 0.0)
        output.nonzero[at[0], at[1], at[2], gene] = work.nonzero[lane]
        if unit > 0.0:
            output.kkt[gene] = max(output.kkt[gene], work.worst[lane] / unit)
    if output.coef.shape[4]:
        for column in range(output.coef.shape[3]):
            for lane in range(width):
                output.coef[at[0], at[1], at[2], column, first + lane] = work.coef[column, lane]
