"""The baseline: fused-lasso NMF written down plainly, position by position.

This is what filling in the scaffold gives: per-base NumPy arrays, scikit-learn's randomized SVD as
the start, a compiled proximal operator on one column after the other. It is neither optimised nor
slowed down: it is what speed-ups are measured against, and the oracle of the fast path.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tuner_plugins.nmf.io.bigwig import read_runs
from tuner_plugins.nmf.io.remote import is_remote

START = "randomized_svd"
ROUNDS: Mapping[str, Any] = {"num_iter": 50, "l2penalty": 1.0, "fl_lambda": 1.0}
"""The scaffold's own start and arguments of `factorize_per_base`."""


def read_per_base(
    paths: Sequence[str | Path], chrom: str, start: int, end: int
) -> NDArray[np.float64]:
    """Read tracks base by base, zero where a file has no data.

    Returns
    -------
    ndarray of shape (end - start, tracks)
    """
    import pyBigWig

    signal = np.empty((end - start, len(paths)))
    for column, path in enumerate(paths):
        if is_remote(str(path)):
            runs = read_runs(path, chrom, start, end)
            values = np.repeat(runs.values, np.diff(runs.ends, prepend=start))
            signal[:, column] = np.nan_to_num(values)
            continue
        with pyBigWig.open(str(path)) as track:
            signal[:, column] = np.nan_to_num(track.values(chrom, start, end, numpy=True))
    return signal


def start_weights(signal: NDArray[np.float64], k: int, start: str, seed: int) -> NDArray[Any]:
    """Return the weights that the first round starts from, of shape (k, tracks).

    Right singular vectors, each with the sign that leaves most of it positive, negatives to 0. Rows
    beyond the number of tracks, and all rows where `start` is ``"random"``, are uniform on [0, 1).
    """
    from sklearn.utils.extmath import randomized_svd

    tracks = signal.shape[1]
    weights = np.random.RandomState(seed).uniform(size=(k, tracks))
    if start == "random":
        return weights
    vectors = randomized_svd(signal, min(k, tracks), random_state=seed)[2]
    positive = np.maximum(vectors, 0)
    negative = np.maximum(-vectors, 0)
    flip = np.sum(negative**2, axis=1) > np.sum(positive**2, axis=1)
    weights[: len(vectors)] = np.where(flip[:, None], negative, positive)
    return weights


def factorize_per_base(
    signal: NDArray[np.float64],
    weights: NDArray[np.float64],
    num_iter: int,
    l2penalty: float,
    fl_lambda: float,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Factorise ``signal ~ loadings @ weights`` by alternating least squares.

    Parameters
    ----------
    signal : ndarray of shape (positions, tracks)
    weights : ndarray of shape (k, tracks)
        Where the first round starts from.
    num_iter : int
        Rounds, at least 1.
    l2penalty : float
        Ridge penalty of the loadings' least squares.
    fl_lambda : float
        Weight of the total variation along the genome, per base.

    Returns
    -------
    loadings : ndarray of shape (positions, k)
    weights : ndarray of shape (k, tracks)
    """
    prox = _compiled_prox()
    k = len(weights)
    for _ in range(num_iter):
        gram = weights @ weights.T + l2penalty * np.eye(k)
        loadings = signal @ weights.T @ np.linalg.pinv(gram, hermitian=True)
        loadings = np.maximum(loadings, 0)
        for column in range(k):
            loadings[:, column] = prox(np.ascontiguousarray(loadings[:, column]), fl_lambda)
        weights = np.linalg.lstsq(loadings.T @ loadings, loadings.T @ signal, rcond=None)[0]
        weights = np.maximum(weights, 0)
    return loadings, weights


def warm_up() -> None:
    """Import and compile what the reference needs, so that neither is on a clock."""
    signal = np.arange(12.0).reshape(6, 2)
    factorize_per_base(signal, start_weights(signal, 2, START, 0), 1, 1.0, 1.0)


@cache
def _compiled_prox() -> Callable[[NDArray[np.float64], float], NDArray[np.float64]]:
    """Compile Johnson's proximal operator on first use: importing Numba takes half a second."""
    import numba

    compiled: Callable[[NDArray[np.float64], float], NDArray[np.float64]]
    compiled = numba.njit(cache=True)(_prox_dynamic_programming)
    return compiled


def _prox_dynamic_programming(signal: NDArray[np.float64], penalty: float) -> NDArray[np.float64]:
    """Solve ``argmin_x 1/2 |x - signal|^2 + penalty * sum |x[i+1] - x[i]|``.

    Forward pass: the derivative of the partial minimum is a piecewise linear function, kept as a
    queue of knots (position, change of slope, change of intercept) and clipped to +-penalty.
    Backward pass: follow the clipping points.

    Source: N. A. Johnson (2013), A dynamic programming algorithm for the fused lasso and
    L0-segmentation, J. Comput. Graph. Stat. 22(2), doi:10.1080/10618600.2012.681238.
    """
    n = signal.size
    solution = np.empty(n)
    if n < 2 or penalty <= 0:
        solution[:] = signal
        return solution
    knot = np.empty(2 * n)
    slope = np.empty(2 * n)
    intercept = np.empty(2 * n)
    lower = np.empty(n - 1)
    upper = np.empty(n - 1)

    lower[0] = signal[0] - penalty
    upper[0] = signal[0] + penalty
    left, right = n - 1, n
    knot[left], slope[left], intercept[left] = lower[0], 1.0, penalty - signal[0]
    knot[right], slope[right], intercept[right] = upper[0], -1.0, penalty + signal[0]

    for i in range(1, n - 1):
        slope_low, intercept_low = 1.0, -penalty - signal[i]
        low = left
        while low <= right and slope_low * knot[low] + intercept_low <= -penalty:
            slope_low += slope[low]
            intercept_low += intercept[low]
            low += 1
        slope_high, intercept_high = -1.0, -penalty + signal[i]
        high = right
        while high >= low and -slope_high * knot[high] - intercept_high >= penalty:
            slope_high += slope[high]
            intercept_high += intercept[high]
            high -= 1
        lower[i] = (-penalty - intercept_low) / slope_low
        upper[i] = (penalty + intercept_high) / -slope_high
        left, right = low - 1, high + 1
        knot[left], slope[left] = lower[i], slope_low
        intercept[left] = intercept_low + penalty
        knot[right], slope[right] = upper[i], slope_high
        intercept[right] = intercept_high + penalty

    slope_low, intercept_low = 1.0, -penalty - signal[n - 1]
    low = left
    while low <= right and slope_low * knot[low] + intercept_low <= 0:
        slope_low += slope[low]
        intercept_low += intercept[low]
        low += 1
    solution[n - 1] = -intercept_low / slope_low
    for i in range(n - 2, -1, -1):
        solution[i] = min(max(solution[i + 1], lower[i]), upper[i])
    return solution
