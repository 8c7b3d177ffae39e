"""Every fit of a range of genes by semismooth Newton: designs with a one-hot block."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from tuner_plugins.elasticnet.accumulate import Floats, Ints
from tuner_plugins.elasticnet.lanes import LANES, add_product, add_quadratic, copy
from tuner_plugins.elasticnet.onehot import Blocks, Penalty, State, new_state, newton, refresh
from tuner_plugins.elasticnet.tiles import (
    Grid,
    Output,
    Projection,
    Sets,
    certify,
    chosen,
    gene_units,
    load,
    penalise,
    polish_lane,
    store,
    tile,
)

_FAST = {"contract", "nsz"}
_NEARLY = 100.0


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


@njit(cache=True, nogil=True, fastmath=_FAST)
def _held_out_error(
    onehot: OneHot,
    index: int,
    held_s: Floats,
    held_r: Floats,
    squares: Floats,
    state: State,
    image: Floats,
    error: Floats,
) -> None:
    """As `tiles.held_out_error`, in the time that a design with disjoint columns allows."""
    q = onehot.rest.shape[0]
    count = state.n_active[0]
    for row in range(q):
        for lane in range(LANES):
            image[row, lane] = -2.0 * held_r[row, lane]
    add_product(image, onehot.held_g[index], state.theta, state.order, q)
    add_product(image, onehot.held_m[index], state.beta, state.active, count)
    for lane in range(squares.shape[0]):
        error[lane] = squares[lane]
    for row in range(q):
        for lane in range(LANES):
            error[lane] += state.theta[row, lane] * image[row, lane]
    add_quadratic(error, state.beta, onehot.held_d[index], held_s, state.active, count)


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
def _penalty(onehot: OneHot, index: int, l1: Floats, l2: Floats) -> Penalty:
    """Give the penalties as `newton` takes them; an empty column gets the coefficient 0."""
    scale, eliminated, rest = onehot.scale[index], onehot.eliminated, onehot.rest
    inverse = np.zeros(eliminated.shape[0])
    for row in range(eliminated.shape[0]):
        total = onehot.d[index, row] + l2[eliminated[row]]
        if total > 0.0:
            inverse[row] = 1.0 / total
    theta_l1, theta_l2 = np.empty(rest.shape[0]), np.empty(rest.shape[0])
    for column in range(rest.shape[0]):
        theta_l1[column] = l1[rest[column]] * scale[column]
        theta_l2[column] = l2[rest[column]] * scale[column] * scale[column]
    return Penalty(chosen(l1, eliminated), inverse, theta_l1, theta_l2)


@njit(cache=True, nogil=True)
def _list_active(state: State, k: int) -> None:
    """List the rows of beta that are not all zero, after it was set from outside."""
    state.n_active[0] = 0
    for row in range(k):
        used = False
        for lane in range(LANES):
            used |= state.beta[row, lane] != 0.0
        if used:
            state.active[state.n_active[0]] = row
            state.n_active[0] += 1


@njit(cache=True, nogil=True)
def _count(onehot: OneHot, state: State, weights: Floats, width: int, nonzero: Ints) -> None:
    """Count the non-zero penalised coefficients of every lane."""
    for lane in range(width):
        nonzero[lane] = 0
    for at in range(state.n_active[0]):
        row = state.active[at]
        if weights[onehot.eliminated[row]] > 0.0:
            for lane in range(width):
                nonzero[lane] += state.beta[row, lane] != 0.0
    for column in range(onehot.rest.shape[0]):
        if weights[onehot.rest[column]] > 0.0:
            for lane in range(width):
                nonzero[lane] += state.theta[column, lane] != 0.0


@njit(cache=True, nogil=True, fastmath=_FAST)
def _polish(
    onehot: OneHot,
    projection: Projection,
    index: int,
    width: int,
    blocks: Blocks,
    state: State,
    cross: Floats,
    coef: Floats,
    l1: Floats,
    l2: Floats,
    sets: Sets,
) -> int:
    """Finish the lanes that `newton` left, and certify all; give how many they were."""
    scale = onehot.scale[index]
    polished = 0
    for lane in range(width):
        if state.residual[lane] > _NEARLY * state.goal[lane]:
            if not polished:
                _assemble(onehot, index, state, coef)
            polished += 1
            polish_lane(projection, index, lane, cross, coef, l1, l2, state.goal[lane])
            for row in range(onehot.eliminated.shape[0]):
                state.beta[row, lane] = coef[onehot.eliminated[row], lane]
            for column in range(onehot.rest.shape[0]):
                if scale[column] > 0.0:
                    state.theta[column, lane] = coef[onehot.rest[column], lane] / scale[column]
    if polished:
        refresh(blocks, state)
        _list_active(state, onehot.eliminated.shape[0])
        certify(sets.gram[index], cross, coef, l1, l2, sets.norms[index], state.residual)
    return polished


@njit(cache=True, nogil=True, fastmath=_FAST)
def fit_onehot(
    first_gene: int,
    last_gene: int,
    sets: Sets,
    onehot: OneHot,
    projection: Projection,
    grid: Grid,
    output: Output,
) -> tuple[int, int]:
    """Fit genes `first_gene` to `last_gene` on every training set.

    Give the Newton steps taken by tiles, and the fits that had to be polished.
    """
    columns = sets.total.shape[0]
    k, q = onehot.eliminated.shape[0], onehot.rest.shape[0]
    cross, held, coef = tile(columns), tile(columns), tile(columns)
    held_s, held_r, image, start = tile(k), tile(q), tile(q), tile(q)
    state = new_state(k, q)
    error, units = np.zeros(LANES), np.zeros(LANES)
    l1, l2 = np.zeros(columns), np.zeros(columns)
    nonzero = np.zeros(LANES, dtype=np.int64)
    steps, polished = 0, 0
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
            load(sets, index, first, width, cross, held)
            _gather(onehot, index, cross, state.s, state.r)
            _gather(onehot, index, held, held_s, held_r)
            gene_units(sets.squares[index], first, width, grid.tolerance, units, state.goal)
            squares = sets.held_squares[index, first : first + width]
            start = tile(q)
            for ratio in range(grid.ratios.shape[0]):
                copy(start, state.theta)
                refresh(blocks, state)
                for alpha in range(grid.alphas.shape[0]):
                    strength = sets.cells[index] * grid.alphas[alpha]
                    penalise(sets.weights, strength, grid.ratios[ratio], l1, l2)
                    steps += newton(blocks, state, _penalty(onehot, index, l1, l2))
                    polished += _polish(
                        onehot, projection, index, width, blocks, state, cross, coef, l1, l2, sets
                    )
                    if alpha == 0:
                        copy(state.theta, start)
                    _held_out_error(onehot, index, held_s, held_r, squares, state, image, error)
                    _count(onehot, state, sets.weights, width, nonzero)
                    if output.coef.shape[4]:
                        _assemble(onehot, index, state, coef)
                    at = (index, alpha, ratio)
                    store(output, at, first, width, coef, error, nonzero, state.residual, units)
    return steps, polished
