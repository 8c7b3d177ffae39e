"""Tails of sums over few cells, by the saddlepoint of what the residuals of cells are like.

The sum of counts over some 25 cells is no normal variable, and of rare counts far from one. Its
cumulants follow from the empirical distribution of residuals (Davison & Hinkley 1988,
doi:10.1093/biomet/75.3.417), its tail from the modified signed root r* of these (Barndorff-Nielsen
1986, doi:10.1093/biomet/73.2.307), which is standard normal to the third order. Residuals are those
of no change, the perturbation's own cells included: a single cell with most counts of a gene is no
evidence, whichever cells it is among. Counts are whole numbers; without a continuity correction
p-values are close to mid-p ones.
"""

from __future__ import annotations

import math

import numba
import numpy as np
from numpy.typing import NDArray

BINS = 200
"""Of residuals on either side of 0."""

HALF = 8.0
"""Standard deviations up to which half of them reach: narrow near 0, wider far from it."""

NEAR = 0.05
"""Below, r* is read from the skewness: its formula is 0 / 0 at 0."""


@numba.njit(cache=True, nogil=True)
def score_roots(  # noqa: PLR0913  arrays of a kernel
    z: NDArray[np.float64],
    ratio: NDArray[np.float64],
    indptr: NDArray[np.int32],
    cells: NDArray[np.int32],
    pool: NDArray[np.bool_],
    kept: NDArray[np.bool_],
    residuals: NDArray[np.float64],
    variances: NDArray[np.float64],
    own_residuals: NDArray[np.float64],
    own_variances: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return r* of each perturbation, standard normal where it does nothing.

    Parameters
    ----------
    z : ndarray, (perturbations,)
        Scores over the standard deviations that a model has.
    ratio : ndarray, (perturbations,)
        Cells of each perturbation over those that they are compared with.
    indptr, cells : ndarray of int
        Cells of each perturbation, in CSR form.
    pool : ndarray of bool, (cells,)
        Cells that the model was fitted to.
    kept : ndarray of bool, (cells of perturbations,)
        In the order of `cells`: those that were compared.
    residuals, variances : ndarray, (cells,)
        Of the fit; and what it has for their squares.
    own_residuals, own_variances : ndarray, (cells of perturbations,)
        The same without the perturbation.
    """
    found = np.full(len(z), np.nan)
    deviation = max(math.sqrt((residuals[pool] ** 2).sum() / max(pool.sum(), 1)), 1e-150)
    count, total = np.zeros((2, 2 * BINS + 1))
    squares = model = 0.0
    for i in np.flatnonzero(pool):
        scaled = residuals[i] / deviation
        place = _place(scaled)
        count[place] += 1.0
        total[place] += scaled
        squares += scaled**2
        model += variances[i]
    for j in range(len(z)):
        if not math.isfinite(z[j]):
            continue
        n, sums, observed, expected, mine = count.copy(), total.copy(), squares, model, 0.0
        for at in range(indptr[j], indptr[j + 1]):
            i = cells[at]
            if not kept[at]:
                continue
            mine += 1.0
            if pool[i]:
                scaled = residuals[i] / deviation
                place = _place(scaled)
                n[place] -= 1.0
                sums[place] -= scaled
                observed -= scaled**2
                expected -= variances[i]
            scaled = own_residuals[at] / deviation
            place = _place(scaled)
            n[place] += 1.0
            sums[place] += scaled
            observed += scaled**2
            expected += own_variances[at]
        filled = np.flatnonzero(n > 0.5)
        shares = n[filled] / n[filled].sum()
        values = sums[filled] / n[filled]
        values = values - (shares * values).sum()
        spread = (shares * values**2).sum()
        if not (spread > 0.0 and expected > 0.0 and observed > 0.0):
            continue
        score = z[j] / math.sqrt(observed * deviation**2 / expected)
        found[j] = _root(score, mine, ratio[j], values / math.sqrt(spread), shares)
    return found


@numba.njit(cache=True, nogil=True)
def _place(scaled: float) -> int:
    return BINS + int(round(BINS * scaled / (HALF + abs(scaled))))


@numba.njit(cache=True, nogil=True)
def _cumulants(
    at: float, values: NDArray[np.float64], shares: NDArray[np.float64]
) -> tuple[float, float, float]:
    """Return the cumulant generating function of one residual, and two derivatives."""
    largest = max(at * values[0], at * values[-1])  # in ascending order
    total = first = second = 0.0
    for i in range(len(values)):
        weight = shares[i] * math.exp(at * values[i] - largest)
        total += weight
        first += weight * values[i]
        second += weight * values[i] ** 2
    first /= total
    return math.log(total) + largest, first, second / total - first**2


@numba.njit(cache=True, nogil=True)
def _root(
    z: float,
    cells: float,
    ratio: float,
    values: NDArray[np.float64],
    shares: NDArray[np.float64],
) -> float:
    """Return r* of a difference of two groups, `cells` of one and `cells` / `ratio` of the other.

    `values` have mean 0 and variance 1 by their `shares`, and ascend.
    """
    others = cells / ratio
    up, down = 1.0 / (1.0 + ratio), -ratio / (1.0 + ratio)
    deviation = math.sqrt(cells * up**2 + others * down**2)
    third = (shares * values**3).sum() * (cells * up**3 + others * down**3)
    near = float(z + third / deviation**3 / 6.0 * (1.0 - z**2))
    if abs(z) < NEAR:
        return near
    s, t = z * deviation, z / deviation
    low, high = (0.0, np.inf) if z > 0 else (-np.inf, 0.0)
    value = curvature = 0.0
    for _ in range(100):
        k1, first1, second1 = _cumulants(up * t, values, shares)
        k2, first2, second2 = _cumulants(down * t, values, shares)
        value = cells * k1 + others * k2
        slope = cells * up * first1 + others * down * first2
        curvature = cells * up**2 * second1 + others * down**2 * second2
        if abs(slope - s) < 1e-7 * abs(s):
            break
        low, high = (low, t) if slope > s else (t, high)
        step = t - (slope - s) / max(curvature, 1e-12)
        if not low < step < high:  # bisect; double where there is no bound yet
            step = (low + high) / 2 if math.isfinite(low + high) else 2 * t
        t = step
        if abs(t) > 1e4:  # beyond what such residuals can sum up to
            break
    root = math.copysign(math.sqrt(max(2 * (t * s - value), 0.0)), z)
    if abs(root) < NEAR or curvature <= 0:
        return near
    return float(root + math.log(t * math.sqrt(curvature) / root) / root)
