"""Elastic net of designs whose main block has disjoint columns: a semismooth Newton method.

The columns of a one-hot block D never overlap, D'D is diagonal, and for given coefficients theta
of the other columns R (intercept, covariates) the best coefficients of D are known:
``beta = soft(D'y - D'R theta, l1) / (diag(D'D) + l2)``. What is left is a convex, piecewise
quadratic, once differentiable function of the few theta, plus their own l1 penalty. Newton steps on
its pieces (Li, Sun and Toh 2018, doi:10.1137/16M1097572, use the same idea on the dual) end at the
exact minimum once signs repeat, from a warm start after one or two steps.

Genes are solved in SIMD lanes. Columns of R are scaled to unit norm, so that residuals are
correlations and pivots comparable. Genes whose steps cycle, or whose piece is singular (no control
cells), are reported as unfinished, for `gram.polish`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from tuner_plugins.elasticnet.accumulate import Floats, Ints
from tuner_plugins.elasticnet.lanes import (
    LANES,
    add_product,
    copy,
    padded,
    reduce_row,
    set_product,
    shrink,
)

_FAST = {"contract", "nsz"}
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
    order : (max(k, q) + 1,), 0, 1, 2, ...; residual, goal, broken : (LANES,); n_active : (1,).
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
    broken: np.ndarray
    n_active: Ints


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
    """Give the arrays of a state, to be filled; those of the caller are shared."""
    tall, low, triangle = padded(k), padded(q), padded(q * (q + 1) // 2)
    return State(
        np.zeros((tall, LANES)),
        np.zeros((tall, LANES)),
        np.zeros((tall, LANES)),
        np.ones((k + 1, LANES)),
        np.zeros((low, LANES)),
        np.zeros((low, LANES)),
        np.zeros((low, LANES)),
        np.zeros((low, LANES)),
        np.zeros((low, LANES)),
        np.zeros((triangle, LANES)),
        np.zeros(k + 1, dtype=np.int64),
        np.arange(max(k, q) + 1),
        residual,
        goal,
        np.zeros(LANES, dtype=np.bool_),
        np.zeros(1, dtype=np.int64),
    )


@njit(cache=True, nogil=True, fastmath=_FAST)
def refresh(blocks: Blocks, state: State) -> None:
    """Recompute u from theta."""
    copy(state.s, state.u)
    add_product(state.u, blocks.away, state.theta, state.order, blocks.g.shape[0])


@njit(cache=True, nogil=True, fastmath=_FAST)
def evaluate(blocks: Blocks, state: State, penalty: Penalty) -> bool:
    """Compute beta, the slope of the reduced function and its residual; tell if all lanes ended.

    `weight` becomes the curvature that every active column of D takes away, `free` marks the
    active columns of R by 1, and `slope` is what a Newton step has to cancel: for an inactive
    column, theta.
    """
    q = blocks.g.shape[0]
    slope, theta = state.slope, state.theta
    state.n_active[0] = shrink(
        state.u, penalty.l1, penalty.inverse, state.beta, state.weight, state.active
    )
    for column in range(q):
        ridge = penalty.theta_l2[column]
        for lane in range(LANES):
            slope[column, lane] = ridge * theta[column, lane] - state.r[column, lane]
    add_product(slope, blocks.g, theta, state.order, q)
    add_product(slope, blocks.m, state.beta, state.active, state.n_active[0])
    for lane in range(LANES):
        state.residual[lane] = 0.0
    for column in range(q):
        if blocks.pinned[column]:
            for lane in range(LANES):
                slope[column, lane] = 0.0
                state.free[column, lane] = 0.0
        elif penalty.theta_l1[column] == 0.0:
            for lane in range(LANES):
                state.free[column, lane] = 1.0
                state.residual[lane] = max(state.residual[lane], abs(slope[column, lane]))
        else:
            _judge(state, column, penalty.theta_l1[column])
    finished = True
    for lane in range(LANES):
        finished &= state.residual[lane] <= state.goal[lane]
    return finished


@njit(cache=True, nogil=True, fastmath=_FAST)
def _judge(state: State, column: int, threshold: float) -> None:
    """Set residual, activity and slope of one penalised column of R in every lane."""
    for lane in range(LANES):
        theta, slope = state.theta[column, lane], state.slope[column, lane]
        sign = np.sign(theta)
        excess = abs(slope + threshold * sign)
        excess = max(abs(slope) - threshold, 0.0) if theta == 0.0 else excess
        state.residual[lane] = max(state.residual[lane], excess)
        target = theta - slope
        inside = abs(target) <= threshold
        outward = slope + (threshold if target > 0.0 else -threshold)
        state.free[column, lane] = 0.0 if inside else 1.0
        state.slope[column, lane] = theta if inside else outward


@njit(cache=True, nogil=True, fastmath=_FAST)
def _build_hessian(blocks: Blocks, state: State, theta_l2: Floats) -> None:
    """Build R'R + l2 - sum over active k of m_k m_k' / (d_k + l2_k), lower triangle, each lane."""
    count = state.n_active[0]
    state.active[count] = blocks.d.shape[0]
    set_product(state.hessian, blocks.mm, state.weight, state.active, count + 1)
    for row in range(blocks.g.shape[0]):
        ridge = theta_l2[row]
        if ridge != 0.0:
            at = row * (row + 1) // 2 + row
            for lane in range(LANES):
                state.hessian[at, lane] += ridge


@njit(cache=True, nogil=True, fastmath=_FAST)
def _restrict(state: State, q: int) -> None:
    """Make the inactive columns of every lane take the step that brings them to zero."""
    hessian, step, free, slope = state.hessian, state.step, state.free, state.slope
    for row in range(q):
        for lane in range(LANES):
            step[row, lane] = -slope[row, lane]
    for row in range(q):
        start = row * (row + 1) // 2
        whole = True
        for lane in range(LANES):
            whole &= free[row, lane] == 1.0
        if whole:
            continue
        # Row and column `row`: what an inactive theta moves is known, so it goes to the right side.
        for other in range(q):
            at = start + other if other < row else other * (other + 1) // 2 + row
            if other != row:
                for lane in range(LANES):
                    away = (1.0 - free[row, lane]) * free[other, lane]
                    step[other, lane] += away * hessian[at, lane] * slope[row, lane]
                    hessian[at, lane] *= free[row, lane]
            else:
                for lane in range(LANES):
                    hessian[at, lane] = hessian[at, lane] if free[row, lane] == 1.0 else 1.0


@njit(cache=True, nogil=True, fastmath=_FAST)
def _solve(hessian: Floats, step: Floats, broken: np.ndarray, q: int) -> None:
    """Solve hessian x = step by Cholesky in every lane, in place; mark singular lanes as broken."""
    for row in range(q):
        start = row * (row + 1) // 2
        for column in range(row):
            base = column * (column + 1) // 2
            reduce_row(hessian, base, hessian, start, start + column, column, base + column)
        reduce_row(hessian, start, hessian, start, start + row, row, -1)
        for lane in range(LANES):
            pivot = hessian[start + row, lane]
            broken[lane] |= pivot < _PIVOT
            hessian[start + row, lane] = 1.0 / np.sqrt(max(pivot, _PIVOT))
    for row in range(q):
        start = row * (row + 1) // 2
        reduce_row(hessian, start, step, 0, row, row, start + row)
    for row in range(q - 1, -1, -1):
        start = row * (row + 1) // 2
        for lane in range(LANES):
            step[row, lane] *= hessian[start + row, lane]
        for inner in range(row):
            reduce_row(hessian, start + inner, step, row, inner, 1, -1)


@njit(cache=True, nogil=True, fastmath=_FAST)
def newton(blocks: Blocks, state: State, penalty: Penalty) -> int:
    """Solve the genes in the lanes from the state that they are in; give the number of steps.

    On return beta, theta, u and residual belong together; lanes whose residual is above `goal`
    are unfinished.

    Parameters
    ----------
    blocks, penalty
        See `Blocks` and `Penalty`.
    state
        See `State`; `u` must belong to `theta`.
    """
    q = blocks.g.shape[0]
    for lane in range(LANES):
        state.broken[lane] = False
    for taken in range(_STEPS):
        if evaluate(blocks, state, penalty):
            return taken
        stuck = True
        for lane in range(LANES):
            stuck &= state.broken[lane] or state.residual[lane] <= state.goal[lane]
        if stuck:
            return taken
        _build_hessian(blocks, state, penalty.theta_l2)
        _restrict(state, q)
        _solve(state.hessian, state.step, state.broken, q)
        # Undamped steps can cycle between two pieces; the minimum is then in one between them.
        length = 0.5 if taken >= _PATIENCE and taken % 2 == 0 else 1.0
        for lane in range(LANES):
            goes_on = state.residual[lane] > state.goal[lane] and not state.broken[lane]
            state.residual[lane] = length if goes_on else 0.0
        for column in range(q):
            for lane in range(LANES):
                state.theta[column, lane] += state.residual[lane] * state.step[column, lane]
        refresh(blocks, state)
    evaluate(blocks, state, penalty)
    return _STEPS
