"""Kernels of permutation tests: subsets within strata, stratified ranks, permuted designs."""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray


@numba.njit(inline="always")
def _next(state: np.uint64) -> tuple[np.uint64, np.uint64]:
    """Advance SplitMix64 (Steele et al. 2014, doi:10.1145/2660193.2660195)."""
    state = state + np.uint64(0x9E3779B97F4A7C15)
    z = state
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state, z ^ (z >> np.uint64(31))


@numba.njit(cache=True, nogil=True)
def permuted_sums(
    values: NDArray[np.float64],
    starts: NDArray[np.int64],
    drawn: NDArray[np.int64],
    n_permutations: int,
    seed: int,
) -> NDArray[np.float64]:
    """Sum the rows of random subsets, drawn within strata.

    Parameters
    ----------
    values : ndarray, (cells, programs)
        Rows sorted by stratum.
    starts : ndarray of int, (strata + 1,)
        Where each stratum begins and the last one ends.
    drawn : ndarray of int, (strata,)
        How many rows of each stratum a subset takes.
    n_permutations : int
        Number of subsets.
    seed : int
        Every permutation has a stream of its own.

    Returns
    -------
    ndarray, (n_permutations, programs)
    """
    n, width = values.shape
    sums = np.zeros((n_permutations, width))
    for b in range(n_permutations):
        state = np.uint64(seed) ^ (np.uint64(b + 1) * np.uint64(0xD1342543DE82EF95))
        rows = np.arange(n)
        for s in range(len(drawn)):
            end = starts[s + 1]
            for i in range(starts[s], starts[s] + drawn[s]):
                state, z = _next(state)
                # 32 random bits scaled to the range: bias below n / 2**32
                j = i + np.int64(((z >> np.uint64(32)) * np.uint64(end - i)) >> np.uint64(32))
                rows[i], rows[j] = rows[j], rows[i]
                for column in range(width):
                    sums[b, column] += values[rows[i], column]
    return sums


def van_elteren(
    scores: NDArray[np.float64], treated: NDArray[np.bool_], strata: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Compare two groups by ranks within strata: Mann-Whitney for one stratum.

    Stratum b weighs 1 / (n_b + 1) (van Elteren 1960), variances corrected for ties; the normal
    approximation without continuity correction.

    Parameters
    ----------
    scores : ndarray, (cells, programs)
    treated : ndarray of bool, (cells,)
    strata : ndarray of int, (cells,)

    Returns
    -------
    z : ndarray, (programs,)
        Positive where treated cells score higher; NaN where no stratum compares anything.
    p : ndarray, (programs,)
        Two-sided, at least the smallest normal float: never 0.

    Examples
    --------
    >>> scores = np.array([[3.0], [4.0], [5.0], [0.0], [1.0], [2.0]])
    >>> z, p = van_elteren(scores, np.arange(6) < 3, np.zeros(6, dtype=np.int64))
    >>> round(z.item(), 2), round(p.item(), 3)
    (1.96, 0.05)
    """
    from scipy.stats import norm, rankdata  # half a second, which `permuted_cross` does not need

    width = scores.shape[1]
    excess = np.zeros(width)
    variance = np.zeros(width)
    for stratum in np.unique(strata):
        here = strata == stratum
        n, n_treated = int(here.sum()), int((here & treated).sum())
        if n_treated in (0, n):
            continue
        ranks = rankdata(scores[here], axis=0)
        observed = ranks[treated[here]].sum(axis=0)
        excess += (observed - n_treated * (n + 1) / 2) / (n + 1)
        spread = ((ranks - (n + 1) / 2) ** 2).sum(axis=0)  # ties shrink it as they should
        variance += n_treated * (n - n_treated) * spread / (n * (n - 1)) / (n + 1) ** 2
    with np.errstate(divide="ignore", invalid="ignore"):
        z = np.where(variance > 0, excess / np.sqrt(variance), np.nan)
    p = np.maximum(2 * norm.sf(np.abs(z)), np.finfo(np.float64).tiny)
    return z, np.where(np.isnan(z), np.nan, p)


@numba.njit(cache=True, nogil=True)
def permuted_cross(
    indptr: NDArray[np.int32],
    rows: NDArray[np.int32],
    values: NDArray[np.float64],
    labels: NDArray[np.int32],
    out: NDArray[np.float64],
) -> None:
    """Sum columns of a matrix in CSC form by permuted labels.

    Parameters
    ----------
    indptr : ndarray of int, (columns + 1,)
        Where each column begins among `rows` and `values`, and the last one ends.
    rows, values : ndarray
        Of the whole matrix.
    labels : ndarray of int, (cells, permutations)
        Group of each cell; the last group, ``out.shape[1]``, is dropped. Cells come first, so that
        a value is added to all permutations at once.
    out : ndarray, (permutations, groups, columns)
        Overwritten.
    """
    n_permutations = labels.shape[1]
    n_groups = out.shape[1]
    sums = np.empty((n_groups + 1, n_permutations))
    for column in range(len(indptr) - 1):
        sums[:] = 0.0
        for p in range(indptr[column], indptr[column + 1]):
            value, row = values[p], rows[p]
            for b in range(n_permutations):
                sums[labels[row, b], b] += value
        for b in range(n_permutations):
            for k in range(n_groups):
                out[b, k, column] = sums[k, b]


@numba.njit(cache=True, nogil=True)
def count_reached(
    ladder: NDArray[np.float64], values: NDArray[np.float64], steps: NDArray[np.int64]
) -> None:
    """Count, for each value, how many rungs of its ladder it reaches.

    Parameters
    ----------
    ladder : ndarray, (ladders, rungs)
        Ascending along each row.
    values : ndarray, (ladders, values)
    steps : ndarray of int, (ladders, rungs + 1)
        ``steps[k, r]`` grows by the number of values that reach r rungs.
    """
    n_rungs = ladder.shape[1]
    for k in range(ladder.shape[0]):
        rungs = ladder[k]
        for i in range(values.shape[1]):
            low, length = 0, n_rungs
            while length > 0:
                half = length >> 1
                ahead = rungs[low + half] <= values[k, i]
                low = low + half + 1 if ahead else low
                length = length - half - 1 if ahead else half
            steps[k, low] += 1


@numba.njit(cache=True, nogil=True)
def weighted_gram(
    dense: NDArray[np.float64],
    indptr: NDArray[np.int32],
    columns: NDArray[np.int32],
    weight: NDArray[np.float64],
    lower: NDArray[np.float64],
) -> None:
    """Add the weighted cross products of dense columns, then of columns of zeros and ones.

    Parameters
    ----------
    dense : ndarray, (cells, dense columns)
    indptr, columns : ndarray of int
        Where the others are one, in CSR form with sorted columns.
    weight : ndarray, (cells,)
    lower : ndarray, (all columns, all columns)
        Grows by the lower triangle of X'WX.
    """
    n, q = dense.shape
    for i in range(n):
        for j in range(q):
            value = weight[i] * dense[i, j]
            for k in range(j + 1):
                lower[j, k] += value * dense[i, k]
        for a in range(indptr[i], indptr[i + 1]):
            row = q + columns[a]
            for k in range(q):
                lower[row, k] += weight[i] * dense[i, k]
            for b in range(indptr[i], a + 1):
                lower[row, q + columns[b]] += weight[i]
