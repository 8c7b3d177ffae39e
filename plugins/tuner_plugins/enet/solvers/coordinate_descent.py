"""Elastic net of any design from its Gram matrix: coordinate descent, then Newton steps.

Free columns (intercept, unpenalised covariates) are projected out beforehand (Frisch, Waugh and
Lovell), so that every column here is penalised. Coordinate descent (Friedman, Hastie and
Tibshirani 2010, doi:10.18637/jss.v033.i01) runs on several genes at once, one in a SIMD lane. Where
it is slow (collinear columns, next to no penalty) a Newton step on the active columns with an exact
line search over the sign changes ends it: the loss is quadratic between two sign changes.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from tuner_plugins.enet.accumulate import Floats, Ints
from tuner_plugins.enet.penalty import soft_threshold, violation
from tuner_plugins.enet.simd.lanes import add_product
from tuner_plugins.enet.simd.vector import FAST, LANES

_RIDGE = 1e-13
_SWEEPS = 40
_ROUNDS = 400
_PATIENCE = 60


class Penalised(NamedTuple):
    """The shared side of the problem for one training set and one pair of penalties.

    Attributes
    ----------
    gram : (columns, padded columns)
        Of the penalised columns, free ones projected out.
    l1, l2 : (columns,)
        Penalties of every column, in units of half the sum of squares.
    norms : (columns,)
        Unit of the residual of every column; 0 for a column to leave out.
    """

    gram: Floats
    l1: Floats
    l2: Floats
    norms: Floats


@njit(cache=True, nogil=True, fastmath=FAST)
def descend(problem: Penalised, gradient: Floats, coef: Floats, goal: Floats) -> None:
    """Run coordinate descent sweeps on `LANES` genes, in place.

    Parameters
    ----------
    problem
        See `Penalised`.
    gradient : (padded columns, LANES)
        Gradient of the loss at `coef`: gram @ coef - cross.
    coef : (padded columns, LANES)
    goal : (LANES,)
        Largest residual, relative to the norms, that is small enough.
    """
    gram, l2, norms = problem.gram, problem.l2, problem.norms
    steps = np.empty((1, LANES))
    only = np.zeros(1, dtype=np.int64)
    for _ in range(_SWEEPS):
        unfinished = False
        for column in range(gram.shape[0]):
            if norms[column] == 0.0:
                continue
            diagonal = gram[column, column]
            scale = 1.0 / (diagonal + l2[column])
            threshold = problem.l1[column]
            moved = False
            for lane in range(LANES):
                # w_j becomes soft(G_jj w_j - gradient_j, l1_j) / (G_jj + l2_j).
                old = coef[column, lane]
                target = diagonal * old - gradient[column, lane]
                step = soft_threshold(target, threshold) * scale - old
                steps[0, lane] = step
                coef[column, lane] = old + step
                moved |= step != 0.0
                unfinished |= abs(step) * (diagonal + l2[column]) > goal[lane] * norms[column]
            if moved:
                add_product(gradient, gradient, gram[column : column + 1], steps, only, 1)
        if not unfinished:
            break


@njit(cache=True, nogil=True, fastmath=FAST)
def residual(problem: Penalised, gradient: Floats, coef: Floats) -> float:
    """Return the largest KKT violation of one gene, in units of the norms."""
    l1, l2, norms = problem.l1, problem.l2, problem.norms
    worst = 0.0
    for column in range(coef.shape[0]):
        if norms[column] != 0.0:
            slope = gradient[column] + l2[column] * coef[column]
            worst = max(worst, violation(slope, coef[column], l1[column]) / norms[column])
    return worst


@njit(cache=True, nogil=True, fastmath=FAST)
def _add_row(target: Floats, factor: float, row: Floats) -> None:
    """Add ``factor * row`` to `target`; `row` may be longer."""
    for at in range(target.shape[0]):
        target[at] += factor * row[at]


@njit(cache=True, nogil=True)
def _set_row(target: Floats, row: Floats) -> None:
    for at in range(target.shape[0]):
        target[at] = row[at]


@njit(cache=True, nogil=True, fastmath=FAST)
def _cholesky(matrix: Floats, size: int) -> bool:
    """Factor the lower triangle of `matrix` in place; tell whether it was positive definite."""
    for row in range(size):
        for column in range(row + 1):
            total = matrix[row, column]
            for inner in range(column):
                total -= matrix[row, inner] * matrix[column, inner]
            if row == column:
                if not total > 0.0:
                    return False
                matrix[row, row] = np.sqrt(total)
            else:
                matrix[row, column] = total / matrix[column, column]
    return True


@njit(cache=True, nogil=True, fastmath=FAST)
def _newton_direction(
    problem: Penalised,
    gradient: Floats,
    coef: Floats,
    active: Ints,
    ridge: float,
    direction: Floats,
) -> bool:
    """Solve for the step of the active columns, their signs held, into `direction` (columns,).

    `ridge` keeps flat directions finite. Tell whether the factorisation went through.
    """
    gram, l1, l2, norms = problem.gram, problem.l1, problem.l2, problem.norms
    size = active.shape[0]
    factor = np.empty((size, size))
    step = np.empty(size)
    for column in range(coef.shape[0]):
        direction[column] = 0.0
    for row in range(size):
        i = active[row]
        for column in range(row + 1):
            j = active[column]
            factor[row, column] = gram[i, j] / (norms[i] * norms[j])
        factor[row, row] += l2[i] / (norms[i] * norms[i]) + ridge
        step[row] = -(gradient[i] + l2[i] * coef[i] + l1[i] * np.sign(coef[i])) / norms[i]
    if not _cholesky(factor, size):
        return False
    for row in range(size):
        for column in range(row):
            step[row] -= factor[row, column] * step[column]
        step[row] /= factor[row, row]
    for row in range(size - 1, -1, -1):
        for column in range(row + 1, size):
            step[row] -= factor[column, row] * step[column]
        step[row] /= factor[row, row]
    for row in range(size):
        direction[active[row]] = step[row] / norms[active[row]]
    return True


@njit(cache=True, nogil=True, fastmath=FAST)
def _line_search(
    problem: Penalised,
    gradient: Floats,
    moved: Floats,
    coef: Floats,
    direction: Floats,
    active: Ints,
) -> tuple[float, int]:
    """Return the best step along `direction` and the column whose sign change it stops at, or -1.

    `moved` is gram @ direction. The objective along the line is convex and quadratic between the
    points where a coefficient passes zero; they are visited in order.
    """
    l1, l2, size = problem.l1, problem.l2, active.shape[0]
    slope = 0.0
    curvature = 0.0
    crossings = np.full(size, np.inf)
    for entry in range(size):
        j = active[entry]
        slope += direction[j] * (gradient[j] + l2[j] * coef[j] + l1[j] * np.sign(coef[j]))
        curvature += direction[j] * (moved[j] + l2[j] * direction[j])
        if coef[j] * direction[j] < 0.0:
            crossings[entry] = -coef[j] / direction[j]
    curvature = max(curvature, 0.0)
    place = 0.0
    while True:
        # The next sign change; few are passed, so that sorting them all is not worth it.
        next_entry = -1
        crossing = np.inf
        for entry in range(size):
            if crossings[entry] < crossing:
                crossing = crossings[entry]
                next_entry = entry
        if next_entry < 0 or slope + curvature * (crossing - place) >= 0.0:
            break
        slope += curvature * (crossing - place)
        place = crossing
        crossings[next_entry] = np.inf
        j = active[next_entry]
        slope += 2.0 * l1[j] * abs(direction[j])
        if slope >= 0.0:
            return place, j
    if slope < 0.0 and curvature > 0.0:
        return place - slope / curvature, -1
    return place, -1


@njit(cache=True, nogil=True, fastmath=FAST)
def _newton_step(problem: Penalised, gradient: Floats, coef: Floats) -> None:
    """Take a Newton step on the active columns, line-searched; update `gradient` and `coef`."""
    gram, columns = problem.gram, coef.shape[0]
    direction, moved = np.empty(columns), np.zeros(columns)
    active, size = np.empty(columns, dtype=np.int64), 0
    for column in range(columns):
        if coef[column] != 0.0 and problem.norms[column] != 0.0:
            active[size] = column
            size += 1
    if not size:
        return
    active = active[:size]
    ridge, solved = _RIDGE, False
    while not solved and ridge < 1.0:
        solved = _newton_direction(problem, gradient, coef, active, ridge, direction)
        ridge *= 100.0
    for used in active:
        _add_row(moved, direction[used], gram[used])
    length, stop = _line_search(problem, gradient, moved, coef, direction, active)
    for used in active:
        coef[used] += length * direction[used]
    if stop >= 0:
        coef[stop] = 0.0
    _add_row(gradient, length, moved)


@njit(cache=True, nogil=True, fastmath=FAST)
def _sweep(problem: Penalised, gradient: Floats, coef: Floats) -> None:
    """Run one sweep of coordinate descent on one gene, in place."""
    gram, l1, l2 = problem.gram, problem.l1, problem.l2
    for column in range(coef.shape[0]):
        if problem.norms[column] == 0.0:
            continue
        old = coef[column]
        target = gram[column, column] * old - gradient[column]
        shrunk = soft_threshold(target, l1[column])
        coef[column] = shrunk / (gram[column, column] + l2[column])
        if coef[column] != old:
            _add_row(gradient, coef[column] - old, gram[column])


@njit(cache=True, nogil=True, fastmath=FAST)
def polish(problem: Penalised, cross: Floats, coef: Floats, goal: float) -> float:
    """Solve one gene to `goal`, in place, from any start; return the residual that was reached.

    Every round is a Newton step on the active columns, line-searched, then one sweep of coordinate
    descent, which lets columns in and out. Both only ever lower the objective.
    """
    columns = coef.shape[0]
    kept = np.empty(columns)
    best, stalled = np.inf, 0
    for column in range(columns):
        if problem.norms[column] == 0.0:
            coef[column] = 0.0
    _set_row(kept, coef)
    for _ in range(_ROUNDS):
        gradient = np.zeros(columns)
        for column in range(columns):
            if coef[column] != 0.0:
                _add_row(gradient, coef[column], problem.gram[column])
        for column in range(columns):
            gradient[column] -= cross[column]
        reached = residual(problem, gradient, coef)
        stalled += 1
        if reached < best:
            best, stalled = reached, 0
            _set_row(kept, coef)
        if best <= goal or stalled > _PATIENCE:
            break
        _newton_step(problem, gradient, coef)
        _sweep(problem, gradient, coef)
    _set_row(coef, kept)
    return best
