"""Elastic net of designs whose main block has disjoint columns: a semismooth Newton method.

The columns of a one-hot block D never overlap, D'D is diagonal, and for given coefficients theta
of the other columns R (intercept, covariates) the best coefficients of D are known:
``beta = soft(D'y - D'R theta, l1) / (diag(D'D) + l2)``. What is left is a convex, piecewise
quadratic, once differentiable function of the few theta, plus their own l1 penalty. Newton steps on
its pieces (Li, Sun and Toh 2018, doi:10.1137/16M1097572, use the same idea on the dual) end at the
exact minimum once signs repeat, from a warm start after one or two steps.

Genes are solved in SIMD lanes. Columns of R are scaled to unit norm, so that residuals are
correlations and pivots comparable. Genes whose steps cycle, or whose piece is singular (no control
cells), are reported as unfinished, for `coordinate_descent.polish`.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from tuner_plugins.enet.accumulate import Floats, Ints
from tuner_plugins.enet.penalty import choose, violation
from tuner_plugins.enet.simd.lanes import add_product, copy, list_changes, set_product, shrink, tile
from tuner_plugins.enet.simd.vector import LANES, every, get, put, some, spread

_STEPS = 14
_PATIENCE = 4
_PIVOT = 1e-11


class Blocks(NamedTuple):
    """The shared side of the problem for one training set; R scaled to unit columns.

    Attributes
    ----------
    d : (k,)
        Diagonal of D'D.
    m : (k, padded q)
        D'R.
    away : (q, padded k)
        -R'D.
    mm : (k + 1, padded q (q + 1) / 2)
        Products -m_i m_j of every row, i >= j, row by row of the lower triangle; last, R'R.
    g : (q, padded q)
        R'R.
    pinned : (q,)
        Columns of R that are held at zero: empty, or dependent on earlier free ones.
    """

    d: Floats
    m: Floats
    away: Floats
    mm: Floats
    g: Floats
    pinned: np.ndarray


class State(NamedTuple):
    """The genes in the lanes: ``u = s - m theta`` belongs to `theta` at any time.

    s, u, beta : (padded k, LANES); weight : (k + 1, LANES), the last row ones;
    r, theta, slope, step, free : (padded q, LANES);
    hessian : (padded q (q + 1) / 2, LANES); active : (k + 1,), rows of beta that are not all zero;
    order : (max(k, q) + 1,), 0, 1, 2, ...; residual, goal : (LANES,); n_active : (1,);
    curvature : as hessian, what belongs to the weights `known`, (padded k, LANES), NaN if it is to
    be built anew; change, moved : (padded k, LANES), (k + 1,), by how much weights and which rows
    of them differ from those.
    """

    s: Floats
    u: Floats
    beta: Floats
    weight: Floats
    r: Floats
    theta: Floats
    slope: Floats
    step: Floats
    free: Floats
    hessian: Floats
    active: Ints
    order: Ints
    residual: Floats
    goal: Floats
    n_active: Ints
    curvature: Floats
    known: Floats
    change: Floats
    moved: Ints


class Penalty(NamedTuple):
    """Penalties of one fit, in units of half the sum of squares.

    l1, inverse : (k,), the l1 penalty of D and 1 / (d + l2), 0 for an empty column;
    theta_l1, theta_l2 : (q,), those of R after scaling.
    """

    l1: Floats
    inverse: Floats
    theta_l1: Floats
    theta_l2: Floats


@njit(cache=True, nogil=True)
def new_state(k: int, q: int, residual: Floats, goal: Floats) -> State:
    """Return the arrays of a state, to be filled; those of the caller are shared."""
    return State(
        tile(k),
        tile(k),
        tile(k),
        np.ones((k + 1, LANES)),
        tile(q),
        tile(q),
        tile(q),
        tile(q),
        tile(q),
        tile(_triangle(q)),
        np.zeros(k + 1, dtype=np.int64),
        np.arange(max(k, q) + 1),
        residual,
        goal,
        np.zeros(1, dtype=np.int64),
        tile(_triangle(q)),
        np.full_like(tile(k), np.nan),
        tile(k),
        np.zeros(k + 1, dtype=np.int64),
    )


@njit(cache=True, nogil=True)
def refresh(blocks: Blocks, state: State) -> None:
    """Recompute u from theta."""
    add_product(state.u, state.s, blocks.away, state.theta, state.order, blocks.g.shape[0])


@njit(cache=True, nogil=True)
def evaluate(blocks: Blocks, state: State, penalty: Penalty) -> bool:
    """Compute beta, the slope of the reduced function and its residual; tell if all lanes ended.

    `weight` becomes the curvature that every active column of D takes away, `free` marks the
    active columns of R by 1, and `slope` is what a Newton step has to cancel: for an inactive
    column, theta.
    """
    q, zero, one = blocks.g.shape[0], spread(0.0), spread(1.0)
    state.n_active[0] = shrink(
        state.u, penalty.l1, penalty.inverse, state.beta, state.weight, state.active
    )
    for column in range(q):
        ridge = get(state.theta, column) * penalty.theta_l2[column]
        put(state.slope, column, ridge - get(state.r, column))
    add_product(state.slope, state.slope, blocks.g, state.theta, state.order, q)
    add_product(state.slope, state.slope, blocks.m, state.beta, state.active, state.n_active[0])
    worst = zero
    for column in range(q):
        slope, threshold = get(state.slope, column), spread(penalty.theta_l1[column])
        if blocks.pinned[column]:
            put(state.slope, column, zero)
            put(state.free, column, zero)
            continue
        theta = get(state.theta, column)
        excess = violation(slope, theta, threshold)
        worst = choose(excess <= worst, worst, excess)
        target = theta - slope
        inside = abs(target) <= threshold
        if penalty.theta_l1[column] > 0.0:
            outward = slope + choose(target > zero, threshold, -threshold)
            put(state.slope, column, choose(inside, theta, outward))
            put(state.free, column, choose(inside, zero, one))
        else:
            put(state.free, column, one)
    put(state.residual, 0, worst)
    return bool(every(worst <= get(state.goal, 0)))


@njit(cache=True, nogil=True)
def _build_hessian(blocks: Blocks, state: State, theta_l2: Floats) -> None:
    """Build R'R + l2 - sum over active k of m_k m_k' / (d_k + l2_k), lower triangle, each lane.

    This is most of the work of a step, so that the sum over k is taken over from the step before
    where fewer of its terms changed than it has.
    """
    count, k = state.n_active[0], blocks.d.shape[0]
    n_moved = list_changes(state.weight, state.known, state.change, state.moved, k)
    if n_moved < count:
        add_product(state.curvature, state.curvature, blocks.mm, state.change, state.moved, n_moved)
    else:
        state.active[count] = k
        set_product(state.curvature, blocks.mm, state.weight, state.active, count + 1)
    copy(state.curvature, state.hessian)
    for row in range(blocks.g.shape[0]):
        at = _triangle(row) + row
        put(state.hessian, at, get(state.hessian, at) + theta_l2[row])


@njit(cache=True, nogil=True)
def _restrict(state: State, q: int) -> None:
    """Make the inactive columns of every lane take the step that brings them to zero."""
    hessian, step, one = state.hessian, state.step, spread(1.0)
    for row in range(q):
        put(step, row, -get(state.slope, row))
    for row in range(q):
        free = get(state.free, row)
        if every(free == one):
            continue
        # Row and column `row`: what an inactive theta moves is known, so it goes to the right side.
        known = (one - free) * get(state.slope, row)
        moves = some(abs(known) > 0.0)
        for other in range(q):
            if other == row:
                continue
            at = _triangle(max(row, other)) + min(row, other)
            entry = get(hessian, at)
            if moves:
                put(step, other, get(step, other) + known * get(state.free, other) * entry)
            put(hessian, at, entry * free)
        at = _triangle(row) + row
        put(hessian, at, choose(free == one, get(hessian, at), one))


@njit(cache=True, nogil=True)
def _solve(hessian: Floats, step: Floats, q: int) -> Any:
    """Solve hessian x = step by Cholesky in every lane, in place; return the singular lanes.

    The diagonal of the factor is stored as its inverse.
    """
    one, least = spread(1.0), spread(_PIVOT)
    singular = one < one
    for row in range(q):
        start = _triangle(row)
        for column in range(row):
            total, base = get(hessian, start + column), _triangle(column)
            for inner in range(column):
                total = total - get(hessian, base + inner) * get(hessian, start + inner)
            put(hessian, start + column, total * get(hessian, base + column))
        pivot = get(hessian, start + row)
        for inner in range(row):
            pivot = pivot - get(hessian, start + inner) * get(hessian, start + inner)
        low = pivot < least
        singular = singular | low
        put(hessian, start + row, one / math.sqrt(choose(low, least, pivot)))
    for row in range(q):
        start, total = _triangle(row), get(step, row)
        for inner in range(row):
            total = total - get(hessian, start + inner) * get(step, inner)
        put(step, row, total * get(hessian, start + row))
    for row in range(q - 1, -1, -1):
        start = _triangle(row)
        value = get(step, row) * get(hessian, start + row)
        put(step, row, value)
        for inner in range(row):
            put(step, inner, get(step, inner) - get(hessian, start + inner) * value)
    return singular


@njit(cache=True, nogil=True)
def _triangle(row: int) -> int:
    """Return where a row of a lower triangle starts."""
    return row * (row + 1) // 2


@njit(cache=True, nogil=True)
def newton(blocks: Blocks, state: State, penalty: Penalty) -> int:
    """Solve the genes in the lanes from the state that they are in; return the number of steps.

    On return beta, theta, u and residual belong together; lanes whose residual is above `goal`
    are unfinished.
    """
    q, zero, goal = blocks.g.shape[0], spread(0.0), get(state.goal, 0)
    ended = zero < zero
    for taken in range(_STEPS):
        if evaluate(blocks, state, penalty):
            return taken
        if every(ended | (get(state.residual, 0) <= goal)):
            return taken
        _build_hessian(blocks, state, penalty.theta_l2)
        _restrict(state, q)
        ended = ended | _solve(state.hessian, state.step, q)
        # Undamped steps can cycle between two pieces; the minimum is then in one between them.
        length = spread(0.5 if taken >= _PATIENCE and taken % 2 == 0 else 1.0)
        length = choose(ended | (get(state.residual, 0) <= goal), zero, length)
        for column in range(q):
            put(state.theta, column, get(state.theta, column) + length * get(state.step, column))
        refresh(blocks, state)
    evaluate(blocks, state, penalty)
    return _STEPS
