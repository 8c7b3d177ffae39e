"""Every fit of a range of genes by semismooth Newton: designs with a one-hot block."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from tuner_plugins.enet.accumulate import Floats, Ints
from tuner_plugins.enet.simd.lanes import add_product, add_quadratic, copy, tile
from tuner_plugins.enet.simd.vector import FAST, LANES, every, get, put
from tuner_plugins.enet.solvers.newton import Blocks, Penalty, State, new_state, newton, refresh
from tuner_plugins.enet.solvers.tiles import (
    Grid,
    Output,
    Place,
    Projection,
    Sets,
    Work,
    certify,
    count_used,
    load,
    new_work,
    penalise,
    polish_lane,
    put_rows,
    start_score,
    store,
    take_rows,
)

_NEARLY = 100.0


class OneHot(NamedTuple):
    """Each training set as `newton.Blocks`, stacked, and the same of its held-out cells.

    Attributes
    ----------
    eliminated, rest : (k,), (q,)
        Where the columns of D and of R stand in Z.
    scale : (sets, q)
        What the columns of R were multiplied by.
    d, m, away, mm, g, pinned
        As in `newton.Blocks`, with the training set first.
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


@njit(cache=True, nogil=True, fastmath=FAST)
def _gather(onehot: OneHot, index: int, cross: Floats, s: Floats, r: Floats) -> None:
    """Split Z'Y of the lanes into D'Y and scaled R'Y."""
    take_rows(cross, onehot.eliminated, s)
    for column in range(onehot.rest.shape[0]):
        put(r, column, get(cross, onehot.rest[column]) * onehot.scale[index, column])


@njit(cache=True, nogil=True, fastmath=FAST)
def _assemble(onehot: OneHot, index: int, state: State, coef: Floats) -> None:
    """Write beta and theta, unscaled, to the columns of Z."""
    put_rows(state.beta, onehot.eliminated, coef)
    for column in range(onehot.rest.shape[0]):
        value = get(state.theta, column) * onehot.scale[index, column]
        put(coef, onehot.rest[column], value)


@njit(cache=True, nogil=True)
def _penalty(work: Work, onehot: OneHot, index: int) -> Penalty:
    """Return the penalties as `newton` takes them; an empty column gets the coefficient 0."""
    scale, eliminated, rest = onehot.scale[index], onehot.eliminated, onehot.rest
    l1, l2 = work.l1, work.l2
    inverse = np.zeros(eliminated.shape[0])
    for row in range(eliminated.shape[0]):
        total = onehot.d[index, row] + l2[eliminated[row]]
        if total > 0.0:
            inverse[row] = 1.0 / total
    theta_l1, theta_l2 = np.empty(rest.shape[0]), np.empty(rest.shape[0])
    for column in range(rest.shape[0]):
        theta_l1[column] = l1[rest[column]] * scale[column]
        theta_l2[column] = l2[rest[column]] * scale[column] * scale[column]
    return Penalty(l1[eliminated], inverse, theta_l1, theta_l2)


@njit(cache=True, nogil=True, fastmath=FAST)
def _predict(
    path: Floats, earlier: Floats, index: int, ratio: int, alpha: int, theta: Floats
) -> None:
    """Guess theta of a fit from those before it: a start from which few steps are left.

    Theta is near its mean over earlier training sets, and differs from it much as it does at the
    neighbours on the grid.

    Parameters
    ----------
    path : (ratios, alphas, padded q, LANES)
        Theta of this training set, as far as it was fitted.
    earlier
        Sum of the same over the `index` training sets before.
    """
    share = 1.0 / max(index, 1)
    for column in range(theta.shape[0]):
        put(theta, column, get(earlier[ratio, alpha], column) * share)
    neighbours = (alpha > 0) + (ratio > 0)
    for other in range(2):
        at = (ratio, alpha - 1) if other else (ratio - 1, alpha)
        if min(at) >= 0:
            _add_difference(path[at], earlier[at], share, 1.0 / neighbours, theta)


@njit(cache=True, nogil=True, fastmath=FAST)
def _add_difference(
    path: Floats, earlier: Floats, share: float, weight: float, theta: Floats
) -> None:
    """Add ``weight * (path - share * earlier)`` to `theta`; all (padded q, LANES)."""
    for column in range(theta.shape[0]):
        differs = get(path, column) - get(earlier, column) * share
        put(theta, column, get(theta, column) + differs * weight)


@njit(cache=True, nogil=True)
def _list_active(state: State, k: int) -> None:
    """List the rows of beta that are not all zero, after it was set from outside."""
    state.n_active[0] = 0
    for row in range(k):
        if not every(get(state.beta, row) == 0.0):
            state.active[state.n_active[0]] = row
            state.n_active[0] += 1


class HeldOut(NamedTuple):
    """Z'Y of held-out cells, split as `onehot.eliminated` and `rest`, and an image to work with.

    s : (padded k, LANES); r, image : (padded q, LANES).
    """

    s: Floats
    r: Floats
    image: Floats


@njit(cache=True, nogil=True, fastmath=FAST)
def _score(
    work: Work, sets: Sets, onehot: OneHot, place: Place, state: State, held: HeldOut
) -> None:
    """As in `coordinate_descent_path`, in the time that a design with disjoint columns allows."""
    index, width, image = place.training, place.width, held.image
    q, count, error = onehot.rest.shape[0], state.n_active[0], work.error
    for row in range(q):
        put(image, row, get(held.r, row) * -2.0)
    add_product(image, image, onehot.held_g[index], state.theta, state.order, q)
    add_product(image, image, onehot.held_m[index], state.beta, state.active, count)
    start_score(work, sets, place)
    for row in range(q):
        for lane in range(LANES):
            error[lane] += state.theta[row, lane] * image[row, lane]
        if sets.weights[onehot.rest[row]] > 0.0:
            count_used(work, state.theta, row, width)
    add_quadratic(error, state.beta, onehot.held_d[index], held.s, state.active, count)
    for at in range(count):
        row = state.active[at]
        if sets.weights[onehot.eliminated[row]] > 0.0:
            count_used(work, state.beta, row, width)


@njit(cache=True, nogil=True, fastmath=FAST)
def _polish(
    work: Work, sets: Sets, onehot: OneHot, projection: Projection, place: Place, state: State
) -> int:
    """Finish the lanes that `newton` left, and certify all; return how many they were."""
    index, coef, polished = place.training, work.coef, 0
    scale = onehot.scale[index]
    for lane in range(place.width):
        # Written so that NaN, of a step that ran off, is finished too.
        if not work.worst[lane] <= _NEARLY * work.goal[lane]:
            if not polished:
                _assemble(onehot, index, state, coef)
            polished += 1
            polish_lane(work, projection, index, lane)
            for row in range(onehot.eliminated.shape[0]):
                state.beta[row, lane] = coef[onehot.eliminated[row], lane]
            for column in range(onehot.rest.shape[0]):
                if scale[column] > 0.0:
                    state.theta[column, lane] = coef[onehot.rest[column], lane] / scale[column]
    if polished:
        _list_active(state, onehot.eliminated.shape[0])
        certify(work, sets.gram[index], sets.norms[index])
    return polished


@njit(cache=True, nogil=True, fastmath=FAST)
def fit_onehot(  # noqa: PLR0913 - arrays handed to compiled code
    first_gene: int,
    last_gene: int,
    sets: Sets,
    onehot: OneHot,
    projection: Projection,
    grid: Grid,
    output: Output,
) -> tuple[int, int]:
    """Fit genes `first_gene` to `last_gene` on every training set.

    Returns
    -------
    int, int
        Newton steps taken by tiles, and fits that had to be polished.
    """
    k, q = onehot.eliminated.shape[0], onehot.rest.shape[0]
    work = new_work(sets.total.shape[0])
    state = new_state(k, q, work.worst, work.goal)
    held = HeldOut(tile(k), tile(q), tile(q))
    path = np.zeros((grid.ratios.shape[0], grid.alphas.shape[0], *state.theta.shape))
    earlier = np.zeros_like(path)
    steps, polished = 0, 0
    for first in range(first_gene, last_gene, LANES):
        earlier[:] = 0.0
        for index in range(sets.cells.shape[0]):
            blocks = Blocks(
                onehot.d[index],
                onehot.m[index],
                onehot.away[index],
                onehot.mm[index],
                onehot.g[index],
                onehot.pinned[index],
            )
            place = Place(index, first, min(LANES, last_gene - first))
            load(work, sets, place, grid.tolerance)
            _gather(onehot, index, work.cross, state.s, state.r)
            _gather(onehot, index, work.held, held.s, held.r)
            state.known[:] = np.nan
            for ratio in range(grid.ratios.shape[0]):
                for alpha in range(grid.alphas.shape[0]):
                    _predict(path, earlier, index, ratio, alpha, state.theta)
                    refresh(blocks, state)
                    penalise(work, sets, index, grid.alphas[alpha], grid.ratios[ratio])
                    steps += newton(blocks, state, _penalty(work, onehot, index))
                    left = _polish(work, sets, onehot, projection, place, state)
                    if left:
                        refresh(blocks, state)
                        polished += left
                    copy(state.theta, path[ratio, alpha])
                    _score(work, sets, onehot, place, state, held)
                    if output.coef.shape[4]:
                        _assemble(onehot, index, state, work.coef)
                    store(work, output, place, alpha, ratio)
            earlier += path
    return steps, polished
