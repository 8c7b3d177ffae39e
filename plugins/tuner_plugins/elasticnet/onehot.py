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

from tuner_plugins.elasticnet.accumulate import Floats
from tuner_plugins.elasticnet.gram import LANES

_FAST = {"contract", "nsz"}
_STEPS = 12
_PIVOT = 1e-11


class Blocks(NamedTuple):
    """The shared side of the problem for one training set; R scaled to unit columns.

    Attributes
    ----------
    d : (k,)
        Diagonal of D'D.
    m : (k, q)
        D'R.
    mm : (k, q (q + 1) / 2)
        Products m_i m_j of every row, i >= j, row by row of the lower triangle.
    g : (q, q)
        R'R.
    pinned : (q,)
        Columns of R that are held at zero: empty, or dependent on earlier free ones.
    """

    d: Floats
    m: Floats
    mm: Floats
    g: Floats
    pinned: np.ndarray


class State(NamedTuple):
    """The genes in the lanes: ``u = s - m theta`` belongs to `theta` at any time.

    s, u, beta, weight : (k, LANES); r, theta, slope, step : (q, LANES);
    hessian : (q (q + 1) / 2, LANES); residual, goal : (LANES,).
    """

    s: Floats
    u: Floats
    beta: Floats
    weight: Floats
    r: Floats
    theta: Floats
    slope: Floats
    step: Floats
    hessian: Floats
    free: np.ndarray
    residual: Floats
    goal: Floats


@njit(cache=True, nogil=True)
def new_state(k: int, q: int) -> State:
    """Give the arrays of a state, to be filled."""
    return State(
        np.zeros((k, LANES)),
        np.zeros((k, LANES)),
        np.zeros((k, LANES)),
        np.zeros((k, LANES)),
        np.zeros((q, LANES)),
        np.zeros((q, LANES)),
        np.zeros((q, LANES)),
        np.zeros((q, LANES)),
        np.zeros((q * (q + 1) // 2, LANES)),
        np.zeros((q, LANES), dtype=np.bool_),
        np.zeros(LANES),
        np.zeros(LANES),
    )


@njit(cache=True, nogil=True, fastmath=_FAST)
def refresh(blocks: Blocks, state: State) -> None:
    """Recompute u from theta."""
    k, q = blocks.m.shape
    for row in range(k):
        for lane in range(LANES):
            state.u[row, lane] = state.s[row, lane]
        for column in range(q):
            value = blocks.m[row, column]
            if value != 0.0:
                for lane in range(LANES):
                    state.u[row, lane] -= value * state.theta[column, lane]


@njit(cache=True, nogil=True, fastmath=_FAST)
def evaluate(
    blocks: Blocks, state: State, l1: Floats, l2: Floats, theta_l1: Floats, theta_l2: Floats
) -> bool:
    """Compute beta, the slope of the reduced function and its residual; tell if all lanes ended.

    `weight` becomes the curvature that every active column of D takes away, `free` the active
    columns of R, and `slope` what a Newton step has to cancel: for an inactive column, theta.
    """
    k, q = blocks.m.shape
    g, m = blocks.g, blocks.m
    for row in range(k):
        total = blocks.d[row] + l2[row]
        inverse = 1.0 / total if total > 0.0 else 0.0
        threshold = l1[row]
        for lane in range(LANES):
            u = state.u[row, lane]
            shrunk = max(u - threshold, 0.0) + min(u + threshold, 0.0)
            state.beta[row, lane] = shrunk * inverse
            state.weight[row, lane] = inverse if shrunk != 0.0 else 0.0
    for column in range(q):
        ridge = theta_l2[column]
        for lane in range(LANES):
            state.slope[column, lane] = (
                ridge * state.theta[column, lane] - state.r[column, lane]
            )
        for other in range(q):
            value = g[column, other]
            for lane in range(LANES):
                state.slope[column, lane] += value * state.theta[other, lane]
    for row in range(k):
        any_active = False
        for lane in range(LANES):
            any_active |= state.beta[row, lane] != 0.0
        if any_active:
            for column in range(q):
                value = m[row, column]
                for lane in range(LANES):
                    state.slope[column, lane] += value * state.beta[row, lane]
    for lane in range(LANES):
        state.residual[lane] = 0.0
    for column in range(q):
        threshold = theta_l1[column]
        if blocks.pinned[column]:
            for lane in range(LANES):
                state.slope[column, lane] = 0.0
                state.free[column, lane] = False
        elif threshold == 0.0:
            for lane in range(LANES):
                state.free[column, lane] = True
                state.residual[lane] = max(state.residual[lane], abs(state.slope[column, lane]))
        else:
            for lane in range(LANES):
                _judge(state, column, lane, threshold)
    finished = True
    for lane in range(LANES):
        finished &= state.residual[lane] <= state.goal[lane]
    return finished


@njit(cache=True, nogil=True, fastmath=_FAST)
def _judge(state: State, column: int, lane: int, threshold: float) -> None:
    """Set residual, activity and slope of one penalised column of R."""
    theta, slope = state.theta[column, lane], state.slope[column, lane]
    if theta > 0.0:
        excess = abs(slope + threshold)
    elif theta < 0.0:
        excess = abs(slope - threshold)
    else:
        excess = max(abs(slope) - threshold, 0.0)
    state.residual[lane] = max(state.residual[lane], excess)
    target = theta - slope
    if target > threshold:
        state.free[column, lane] = True
        state.slope[column, lane] = slope + threshold
    elif target < -threshold:
        state.free[column, lane] = True
        state.slope[column, lane] = slope - threshold
    else:
        state.free[column, lane] = False
        state.slope[column, lane] = theta


@njit(cache=True, nogil=True, fastmath=_FAST)
def _build_hessian(blocks: Blocks, state: State, theta_l2: Floats) -> None:
    """Build R'R + l2 - sum over active k of m_k m_k' / (d_k + l2_k), lower triangle, each lane."""
    k, q = blocks.m.shape
    mm, weight, hessian = blocks.mm, state.weight, state.hessian
    at = 0
    for row in range(q):
        for column in range(row + 1):
            value = blocks.g[row, column]
            if row == column:
                value += theta_l2[row]
            for lane in range(LANES):
                hessian[at, lane] = value
            at += 1
    chosen = np.empty(k + 3, dtype=np.int64)
    count = 0
    for row in range(k):
        any_active = False
        for lane in range(LANES):
            any_active |= weight[row, lane] != 0.0
        if any_active:
            chosen[count] = row
            count += 1
    place = 0
    while place + 4 <= count:
        k0, k1, k2, k3 = chosen[place], chosen[place + 1], chosen[place + 2], chosen[place + 3]
        for at in range(hessian.shape[0]):
            a0, a1, a2, a3 = mm[k0, at], mm[k1, at], mm[k2, at], mm[k3, at]
            for lane in range(LANES):
                hessian[at, lane] -= (
                    a0 * weight[k0, lane]
                    + a1 * weight[k1, lane]
                    + a2 * weight[k2, lane]
                    + a3 * weight[k3, lane]
                )
        place += 4
    for rest in range(place, count):
        row = chosen[rest]
        for at in range(hessian.shape[0]):
            value = mm[row, at]
            for lane in range(LANES):
                hessian[at, lane] -= value * weight[row, lane]


@njit(cache=True, nogil=True, fastmath=_FAST)
def _restrict(state: State, q: int) -> None:
    """Make the inactive columns of every lane take the step that brings them to zero."""
    hessian, step = state.hessian, state.step
    for row in range(q):
        for lane in range(LANES):
            step[row, lane] = -state.slope[row, lane]
    at = 0
    for row in range(q):
        for column in range(row + 1):
            for lane in range(LANES):
                here, there = state.free[row, lane], state.free[column, lane]
                if here and not there:
                    step[row, lane] += hessian[at, lane] * state.slope[column, lane]
                if there and not here and row != column:
                    step[column, lane] += hessian[at, lane] * state.slope[row, lane]
                if not (here and there):
                    hessian[at, lane] = 1.0 if row == column else 0.0
            at += 1


@njit(cache=True, nogil=True, fastmath=_FAST)
def _solve(hessian: Floats, step: Floats, broken: np.ndarray) -> None:
    """Solve hessian x = step by Cholesky in every lane, in place; mark singular lanes as broken."""
    q = step.shape[0]
    for row in range(q):
        start = row * (row + 1) // 2
        for column in range(row + 1):
            base = column * (column + 1) // 2
            for inner in range(column):
                for lane in range(LANES):
                    hessian[start + column, lane] -= (
                        hessian[start + inner, lane] * hessian[base + inner, lane]
                    )
            if column < row:
                for lane in range(LANES):
                    hessian[start + column, lane] *= hessian[base + column, lane]
        for lane in range(LANES):
            pivot = hessian[start + row, lane]
            broken[lane] |= pivot < _PIVOT
            hessian[start + row, lane] = 1.0 / np.sqrt(max(pivot, _PIVOT))
    for row in range(q):
        start = row * (row + 1) // 2
        for inner in range(row):
            for lane in range(LANES):
                step[row, lane] -= hessian[start + inner, lane] * step[inner, lane]
        for lane in range(LANES):
            step[row, lane] *= hessian[start + row, lane]
    for row in range(q - 1, -1, -1):
        start = row * (row + 1) // 2
        for lane in range(LANES):
            step[row, lane] *= hessian[start + row, lane]
        for inner in range(row):
            for lane in range(LANES):
                step[inner, lane] -= hessian[start + inner, lane] * step[row, lane]


@njit(cache=True, nogil=True, fastmath=_FAST)
def newton(
    blocks: Blocks, state: State, l1: Floats, l2: Floats, theta_l1: Floats, theta_l2: Floats
) -> int:
    """Solve the genes in the lanes from the state that they are in; give the number of steps.

    On return beta, theta, u and residual belong together; lanes whose residual is above `goal`
    are unfinished.

    Parameters
    ----------
    blocks, state
        See `Blocks` and `State`; `u` must belong to `theta`.
    l1, l2 : (k,)
        Penalties of the columns of D, in units of the unscaled loss (half the sum of squares).
    theta_l1, theta_l2 : (q,)
        Those of the columns of R, after scaling.
    """
    q = blocks.m.shape[1]
    broken = np.zeros(LANES, dtype=np.bool_)
    for taken in range(_STEPS):
        finished = evaluate(blocks, state, l1, l2, theta_l1, theta_l2)
        if finished:
            return taken
        stuck = True
        for lane in range(LANES):
            stuck &= broken[lane] or state.residual[lane] <= state.goal[lane]
        if stuck:
            return taken
        _build_hessian(blocks, state, theta_l2)
        _restrict(state, q)
        _solve(state.hessian, state.step, broken)
        for column in range(q):
            for lane in range(LANES):
                if state.residual[lane] > state.goal[lane] and not broken[lane]:
                    if state.free[column, lane]:
                        state.theta[column, lane] += state.step[column, lane]
                    else:
                        state.theta[column, lane] = 0.0
        refresh(blocks, state)
    evaluate(blocks, state, l1, l2, theta_l1, theta_l2)
    return _STEPS
