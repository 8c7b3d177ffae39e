"""All fits of a tile of genes: every training set, ratio and alpha, each from the one before.

The kernels here only move numbers between the statistics and the two solvers (`onehot`, `gram`),
finish by `gram.polish` what a solver could not, and score every fit on its held-out cells.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from tuner_plugins.elasticnet.accumulate import Floats, Ints
from tuner_plugins.elasticnet.gram import descend, polish
from tuner_plugins.elasticnet.lanes import LANES, add_product, add_quadratic, padded
from tuner_plugins.elasticnet.onehot import Blocks, Penalty, State, new_state, newton, refresh

_FAST = {"contract", "nsz"}
_NEARLY = 100.0


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


class OneHot(NamedTuple):
    """Each training set as `onehot.Blocks`, stacked, and the same of its held-out cells.

    Attributes
    ----------
    eliminated, rest : (k,), (q,)
        Where the columns of D and of R stand in Z.
    scale : (sets, q)
        What the columns of R were multiplied by.
    d, m, away, mm, g, pinned
        As in `onehot.Blocks`, with the training set first.
    held_d, held_m, held_g
        D'D, 2 D'R and R'R of the cells held out, in the same units.
    """

    eliminated: Ints
    rest: Ints
    scale: Floats
    d: Floats
    m: Floats
    away: Floats
    mm: Floats
    g: Floats
    pinned: np.ndarray
    held_d: Floats
    held_m: Floats
    held_g: Floats


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


@njit(cache=True, nogil=True)
def _tile(rows: int) -> Floats:
    """Give zeros for `rows` rows of lanes, padded."""
    return np.zeros((padded(rows), LANES))


@njit(cache=True, nogil=True, fastmath=_FAST)
def _load(sets: Sets, index: int, first: int, width: int, cross: Floats, held: Floats) -> None:
    """Copy Z'Y of a training set and of its held-out cells into lanes; unused lanes are zero."""
    for column in range(sets.total.shape[0]):
        for lane in range(width):
            held[column, lane] = sets.held[index, column, first + lane]
            cross[column, lane] = sets.total[column, first + lane] - held[column, lane]
        for lane in range(width, LANES):
            held[column, lane] = 0.0
            cross[column, lane] = 0.0


@njit(cache=True, nogil=True, fastmath=_FAST)
def certify(
    gram: Floats, cross: Floats, coef: Floats, l1: Floats, l2: Floats, norms: Floats, worst: Floats
) -> None:
    """Give the largest violation of the optimality conditions in every lane, in units of `norms`.

    `cross` and `coef` are (padded columns + 1, LANES), `worst` (LANES,) is overwritten.
    """
    columns = gram.shape[0]
    slope = -cross
    add_product(slope, gram, coef, np.arange(columns), columns)
    worst[:] = 0.0
    for column in range(columns):
        if norms[column] == 0.0:
            continue
        for lane in range(LANES):
            value = coef[column, lane]
            pull = slope[column, lane] + l2[column] * value
            if value > 0.0:
                excess = abs(pull + l1[column])
            elif value < 0.0:
                excess = abs(pull - l1[column])
            else:
                excess = max(abs(pull) - l1[column], 0.0)
            worst[lane] = max(worst[lane], excess / norms[column])


@njit(cache=True, nogil=True, fastmath=_FAST)
def _polish_lane(
    projection: Projection,
    index: int,
    lane: int,
    cross: Floats,
    coef: Floats,
    l1: Floats,
    l2: Floats,
    goal: float,
) -> None:
    """Solve one lane to the end by `gram.polish`, from and into `coef` (columns + 1, LANES)."""
    free, penalised = projection.free, projection.penalised
    slopes = projection.slopes[index]
    start = np.empty(penalised.shape[0])
    left = np.empty(penalised.shape[0])
    for column in range(penalised.shape[0]):
        start[column] = coef[penalised[column], lane]
        left[column] = cross[penalised[column], lane]
        for row in range(free.shape[0]):
            left[column] -= slopes[row, column] * cross[free[row], lane]
    polish(
        projection.gram[index][:, : penalised.shape[0]],
        left,
        start,
        l1[penalised],
        l2[penalised],
        goal,
        projection.norms[index],
    )
    for column in range(penalised.shape[0]):
        coef[penalised[column], lane] = start[column]
    _fill_free(projection, index, lane, cross, coef)


@njit(cache=True, nogil=True, fastmath=_FAST)
def _fill_free(projection: Projection, index: int, lane: int, cross: Floats, coef: Floats) -> None:
    """Set the free coefficients that belong to the penalised ones, in one lane."""
    free, penalised = projection.free, projection.penalised
    for row in range(free.shape[0]):
        value = 0.0
        for other in range(free.shape[0]):
            value += projection.inverse[index, row, other] * cross[free[other], lane]
        for column in range(penalised.shape[0]):
            value -= projection.slopes[index, row, column] * coef[penalised[column], lane]
        coef[free[row], lane] = value


@njit(cache=True, nogil=True, fastmath=_FAST)
def _count(coef: Floats, weights: Floats, width: int, nonzero: np.ndarray) -> None:
    """Count the non-zero penalised coefficients of every lane."""
    nonzero[:] = 0
    for column in range(weights.shape[0]):
        if weights[column] > 0.0:
            for lane in range(width):
                nonzero[lane] += coef[column, lane] != 0.0


@njit(cache=True, nogil=True, fastmath=_FAST)
def _held_out_error(
    gram: Floats, cross: Floats, squares: Floats, coef: Floats, error: Floats
) -> None:
    """Give squares - 2 coef'cross + coef'gram coef of every lane, into `error` (LANES,)."""
    columns = gram.shape[0]
    image = -2.0 * cross
    add_product(image, gram, coef, np.arange(columns), columns)
    error[: squares.shape[0]] = squares
    for row in range(columns):
        for lane in range(LANES):
            error[lane] += coef[row, lane] * image[row, lane]


@njit(cache=True, nogil=True, fastmath=_FAST)
def _held_out_onehot(
    onehot: OneHot,
    index: int,
    held_s: Floats,
    held_r: Floats,
    squares: Floats,
    state: State,
    image: Floats,
    error: Floats,
) -> None:
    """As `_held_out_error`, in the time that a design with disjoint columns allows."""
    q = onehot.rest.shape[0]
    count = state.n_active[0]
    for row in range(q):
        for lane in range(LANES):
            image[row, lane] = -2.0 * held_r[row, lane]
    add_product(image, onehot.held_g[index], state.theta, state.order, q)
    add_product(image, onehot.held_m[index], state.beta, state.active, count)
    error[: squares.shape[0]] = squares
    for row in range(q):
        for lane in range(LANES):
            error[lane] += state.theta[row, lane] * image[row, lane]
    add_quadratic(error, state.beta, onehot.held_d[index], held_s, state.active, count)


@njit(cache=True, nogil=True, fastmath=_FAST)
def _store(
    output: Output,
    at: tuple[int, int, int],
    first: int,
    width: int,
    coef: Floats,
    error: Floats,
    nonzero: np.ndarray,
    worst: Floats,
    units: Floats,
) -> None:
    """Write one fit of the tile to the output arrays."""
    for lane in range(width):
        output.sse[at[0], at[1], at[2], first + lane] = max(error[lane], 0.0)
        output.nonzero[at[0], at[1], at[2], first + lane] = nonzero[lane]
        if units[lane] > 0.0:
            output.kkt[first + lane] = max(output.kkt[first + lane], worst[lane] / units[lane])
    if output.coef.shape[4]:
        for column in range(output.coef.shape[3]):
            for lane in range(width):
                output.coef[at[0], at[1], at[2], column, first + lane] = coef[column, lane]


@njit(cache=True, nogil=True, fastmath=_FAST)
def fit_gram(
    first_gene: int,
    last_gene: int,
    sets: Sets,
    projection: Projection,
    grid: Grid,
    output: Output,
) -> None:
    """Fit genes `first_gene` to `last_gene` on every training set by coordinate descent."""
    columns = sets.total.shape[0]
    free, penalised = projection.free, projection.penalised
    p = penalised.shape[0]
    cross, held, coef = _tile(columns), _tile(columns), _tile(columns)
    left, shrunk, start, slope = _tile(p), _tile(p), _tile(p), _tile(p)
    order = np.arange(p)
    error, worst, units = np.zeros(LANES), np.zeros(LANES), np.zeros(LANES)
    nonzero = np.zeros(LANES, dtype=np.int64)
    for first in range(first_gene, last_gene, LANES):
        width = min(LANES, last_gene - first)
        for index in range(sets.cells.shape[0]):
            _load(sets, index, first, width, cross, held)
            units[:] = 0.0
            for lane in range(width):
                units[lane] = np.sqrt(sets.squares[index, first + lane])
            for column in range(p):
                for lane in range(LANES):
                    left[column, lane] = cross[penalised[column], lane]
                for row in range(free.shape[0]):
                    value = projection.slopes[index, row, column]
                    for lane in range(LANES):
                        left[column, lane] -= value * cross[free[row], lane]
            coef[:] = 0.0
            start[:] = 0.0
            for ratio in range(grid.ratios.shape[0]):
                shrunk[:] = start
                for alpha in range(grid.alphas.shape[0]):
                    strength = sets.cells[index] * grid.alphas[alpha]
                    l1 = strength * grid.ratios[ratio] * sets.weights
                    l2 = strength * (1.0 - grid.ratios[ratio]) * sets.weights
                    slope[:] = -left
                    add_product(slope, projection.gram[index], shrunk, order, p)
                    descend(
                        projection.gram[index],
                        slope,
                        shrunk,
                        l1[penalised],
                        l2[penalised],
                        grid.tolerance * units,
                        projection.norms[index],
                    )
                    for column in range(p):
                        for lane in range(LANES):
                            coef[penalised[column], lane] = shrunk[column, lane]
                    for lane in range(width):
                        _fill_free(projection, index, lane, cross, coef)
                    certify(sets.gram[index], cross, coef, l1, l2, sets.norms[index], worst)
                    again = False
                    for lane in range(width):
                        if worst[lane] > grid.tolerance * units[lane]:
                            again = True
                            goal = grid.tolerance * units[lane]
                            _polish_lane(projection, index, lane, cross, coef, l1, l2, goal)
                            for column in range(p):
                                shrunk[column, lane] = coef[penalised[column], lane]
                    if again:
                        certify(sets.gram[index], cross, coef, l1, l2, sets.norms[index], worst)
                    if alpha == 0:
                        start[:] = shrunk
                    squares = sets.held_squares[index, first : first + width]
                    _held_out_error(sets.held_gram[index], held, squares, coef, error)
                    _count(coef, sets.weights, width, nonzero)
                    at = (index, alpha, ratio)
                    _store(output, at, first, width, coef, error, nonzero, worst, units)


@njit(cache=True, nogil=True, fastmath=_FAST)
def _gather(onehot: OneHot, index: int, cross: Floats, s: Floats, r: Floats) -> None:
    """Split Z'Y of the lanes into D'Y and scaled R'Y."""
    for row in range(onehot.eliminated.shape[0]):
        for lane in range(LANES):
            s[row, lane] = cross[onehot.eliminated[row], lane]
    for column in range(onehot.rest.shape[0]):
        factor = onehot.scale[index, column]
        for lane in range(LANES):
            r[column, lane] = factor * cross[onehot.rest[column], lane]


@njit(cache=True, nogil=True, fastmath=_FAST)
def _assemble(onehot: OneHot, index: int, state: State, coef: Floats) -> None:
    """Write beta and theta, unscaled, to the columns of Z."""
    for row in range(onehot.eliminated.shape[0]):
        for lane in range(LANES):
            coef[onehot.eliminated[row], lane] = state.beta[row, lane]
    for column in range(onehot.rest.shape[0]):
        factor = onehot.scale[index, column]
        for lane in range(LANES):
            coef[onehot.rest[column], lane] = factor * state.theta[column, lane]


@njit(cache=True, nogil=True)
def _inverse(values: Floats) -> Floats:
    """Give 1 / values, and 0 where they are 0: the coefficient of an empty column."""
    inverse = np.zeros_like(values)
    for at in range(values.shape[0]):
        if values[at] > 0.0:
            inverse[at] = 1.0 / values[at]
    return inverse


@njit(cache=True, nogil=True)
def _list_active(state: State, k: int) -> None:
    """List the rows of beta that are not all zero, after it was set from outside."""
    state.n_active[0] = 0
    for row in range(k):
        if np.any(state.beta[row] != 0.0):
            state.active[state.n_active[0]] = row
            state.n_active[0] += 1


@njit(cache=True, nogil=True, fastmath=_FAST)
def fit_onehot(
    first_gene: int,
    last_gene: int,
    sets: Sets,
    onehot: OneHot,
    projection: Projection,
    grid: Grid,
    output: Output,
) -> Ints:
    """Fit genes `first_gene` to `last_gene` on every training set by semismooth Newton.

    Give the Newton steps taken by tiles, and the fits that had to be polished.
    """
    columns = sets.total.shape[0]
    k, q = onehot.eliminated.shape[0], onehot.rest.shape[0]
    cross, held, coef = _tile(columns), _tile(columns), _tile(columns)
    held_s, held_r, image, start = _tile(k), _tile(q), _tile(q), _tile(q)
    state = new_state(k, q)
    error, worst, units = np.zeros(LANES), np.zeros(LANES), np.zeros(LANES)
    nonzero = np.zeros(LANES, dtype=np.int64)
    counts = np.zeros(2, dtype=np.int64)
    for first in range(first_gene, last_gene, LANES):
        width = min(LANES, last_gene - first)
        for index in range(sets.cells.shape[0]):
            blocks = Blocks(
                onehot.d[index],
                onehot.m[index],
                onehot.away[index],
                onehot.mm[index],
                onehot.g[index],
                onehot.pinned[index],
            )
            _load(sets, index, first, width, cross, held)
            _gather(onehot, index, cross, state.s, state.r)
            _gather(onehot, index, held, held_s, held_r)
            units[:] = 0.0
            for lane in range(width):
                units[lane] = np.sqrt(sets.squares[index, first + lane])
            state.goal[:] = grid.tolerance * units
            squares = sets.held_squares[index, first : first + width]
            start[:] = 0.0
            for ratio in range(grid.ratios.shape[0]):
                state.theta[:] = start
                refresh(blocks, state)
                for alpha in range(grid.alphas.shape[0]):
                    strength = sets.cells[index] * grid.alphas[alpha]
                    l1 = strength * grid.ratios[ratio] * sets.weights
                    l2 = strength * (1.0 - grid.ratios[ratio]) * sets.weights
                    scale = onehot.scale[index]
                    penalty = Penalty(
                        l1[onehot.eliminated],
                        _inverse(onehot.d[index] + l2[onehot.eliminated]),
                        l1[onehot.rest] * scale,
                        l2[onehot.rest] * scale * scale,
                    )
                    counts[0] += newton(blocks, state, penalty)
                    _assemble(onehot, index, state, coef)
                    worst[:] = state.residual
                    again = False
                    for lane in range(width):
                        if worst[lane] > _NEARLY * state.goal[lane]:
                            again = True
                            counts[1] += 1
                            goal = state.goal[lane]
                            _polish_lane(projection, index, lane, cross, coef, l1, l2, goal)
                            for row in range(k):
                                state.beta[row, lane] = coef[onehot.eliminated[row], lane]
                            for column in range(q):
                                if scale[column] > 0.0:
                                    state.theta[column, lane] = (
                                        coef[onehot.rest[column], lane] / scale[column]
                                    )
                    if again:
                        refresh(blocks, state)
                        _list_active(state, k)
                        certify(sets.gram[index], cross, coef, l1, l2, sets.norms[index], worst)
                    if alpha == 0:
                        start[:] = state.theta
                    _held_out_onehot(onehot, index, held_s, held_r, squares, state, image, error)
                    _count(coef, sets.weights, width, nonzero)
                    at = (index, alpha, ratio)
                    _store(output, at, first, width, coef, error, nonzero, worst, units)
    return counts
