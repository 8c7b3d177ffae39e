"""Fused-lasso non-negative matrix factorisation of genome tracks, on weighted runs.

The signal is held as runs: stretches of the genome over which every track is constant, each with
its length in bases. Neighbours with equal input have equal loadings, so that solving on runs with
their lengths as weights gives the per-base answer exactly; on bins it gives the per-base problem
restricted to loadings that are constant over each bin. Penalties are per base either way:
``fl_lambda`` means the same at every resolution.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tuner_plugins.nmf.parallel import run_threads
from tuner_plugins.nmf.prox import prox_tv1d_columns

STARTS = ("eigh", "randomized_svd", "random")
_BLOCK_VALUES = 1 << 16
_SPAN = 1 << 17
_OVERSAMPLES = 10


class Signal(NamedTuple):
    """Tracks over a region, as runs.

    Attributes
    ----------
    values : ndarray of shape (tracks, runs)
        Signal of each track over each run; rows are contiguous along the genome.
    ends : ndarray of int64 of shape (runs,)
        Where each run ends, in bases from the region's start; increasing. A run begins where the
        one before it ends, the first at 0.
    lengths : ndarray of shape (runs,) or None
        Bases in each run, of the type of `values`; None where every run is one base.
    """

    values: NDArray[Any]
    ends: NDArray[np.int64]
    lengths: NDArray[Any] | None


def make_signal(values: NDArray[Any], ends: NDArray[np.int64]) -> Signal:
    """Give the signal with these values, (tracks, runs), over runs with these ends."""
    if ends[-1] == ends.size:
        return Signal(values, ends, None)
    return Signal(values, ends, run_lengths(ends).astype(values.dtype))


def run_lengths(ends: NDArray[np.int64]) -> NDArray[np.int64]:
    """Give the bases in each run, from where each ends."""
    return np.diff(ends, prepend=0)


class Loadings(NamedTuple):
    """Loadings over a region, as runs.

    Attributes
    ----------
    values : ndarray of shape (k, runs)
        Rows are contiguous along the genome.
    ends : ndarray of int64 of shape (runs,)
        Where each run ends, in bases from the region's start.
    weights : ndarray of shape (k, tracks)
        The other factor, for the (transformed, scaled) tracks.
    """

    values: NDArray[Any]
    ends: NDArray[np.int64]
    weights: NDArray[Any]

    @property
    def size(self) -> int:
        """Number of positions in the region."""
        return int(self.ends[-1])

    def expand(self) -> NDArray[Any]:
        """Give the loadings per base, of shape (positions, k)."""
        return np.repeat(self.values.T, run_lengths(self.ends), axis=0)


def start_weights(gram: NDArray[Any], k: int, start: str = "eigh", seed: int = 0) -> NDArray[Any]:
    """Give the weights that the first round starts from.

    Parameters
    ----------
    gram : ndarray of shape (tracks, tracks)
        ``signal' signal``, over all positions.
    k : int
        Rows to give.
    start : {"eigh", "randomized_svd", "random"}
        ``eigh``: the signal's right singular vectors, each with the sign that leaves most of it
        positive, negatives to 0; rows beyond the number of tracks are what that set to 0, then
        single tracks. ``randomized_svd``: the same of the vectors that scikit-learn's
        `randomized_svd` of the signal gives with this seed, computed from `gram`; rows beyond the
        number of tracks are random. ``random``: uniform on [0, 1).
    seed : int
        Of the random numbers.

    Returns
    -------
    ndarray of shape (k, tracks)

    References
    ----------
    Boutsidis & Gallopoulos (2008), SVD based initialization, doi:10.1016/j.patcog.2007.09.010;
    Halko, Martinsson & Tropp (2011), Finding structure with randomness, doi:10.1137/090771806.
    """
    tracks = len(gram)
    weights = np.eye(tracks)[np.arange(k) % tracks]
    if start == "random" or (start != "eigh" and k > tracks):
        weights = np.random.RandomState(seed).uniform(size=(k, tracks))
    if start == "random":
        return weights
    found = min(k, tracks)
    if start == "randomized_svd" and found + _OVERSAMPLES < tracks:
        vectors = _randomized_vectors(gram, found, seed)
    else:
        vectors = np.linalg.eigh(gram)[1].T[::-1][:found]
    positive = np.maximum(vectors, 0)
    negative = np.maximum(-vectors, 0)
    flip = np.sum(negative**2, axis=1) > np.sum(positive**2, axis=1)
    weights[:found] = np.where(flip[:, None], negative, positive)
    if start == "eigh":
        rest = weights[found : 2 * found]
        rest[:] = np.where(flip[:, None], positive, negative)[: len(rest)]
    return weights


def _randomized_vectors(gram: NDArray[Any], k: int, seed: int) -> NDArray[Any]:
    """Give the right singular vectors that a randomized SVD of the signal finds, (k, tracks).

    The range finder multiplies random vectors by ``signal`` and ``signal'`` in turn, so that what
    it spans is known from powers of `gram` alone.
    """
    tracks = len(gram)
    basis = np.random.RandomState(seed).normal(size=(tracks, k + _OVERSAMPLES))
    for _ in range(7 if k < 0.1 * tracks else 4):
        basis = np.linalg.qr(gram @ basis)[0]
    projected = basis.T @ gram
    squares, axes = np.linalg.eigh(projected @ basis)
    kept = squares > squares[-1] * np.finfo(squares.dtype).eps * tracks
    small = (axes[:, kept].T @ projected) / np.sqrt(squares[kept])[:, None]
    vectors: NDArray[Any] = np.linalg.svd(small, full_matrices=False)[2][:k]
    return vectors


def gram_matrix(signal: Signal, threads: int = 1) -> NDArray[np.float64]:
    """Give ``signal' signal`` over all positions, of shape (tracks, tracks)."""
    return _weighted_products(signal.values, signal.values[:0], signal.lengths, threads)[0]


def solve_loadings(
    signal: Signal,
    weights: NDArray[Any],
    l2penalty: float,
    fl_lambda: float,
    threads: int = 1,
    out: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """Give the loadings for these weights: ridge, negatives to 0, fused lasso, of shape (k, runs).

    Parameters
    ----------
    signal : Signal
    weights : ndarray of shape (k, tracks)
    l2penalty : float
        Ridge penalty.
    fl_lambda : float
        Weight of the total variation along the genome, per base.
    threads : int
        How many to use.
    out : ndarray of shape (k, runs), optional
        Where to write: fresh memory of that size costs as much as the arithmetic.
    """
    gram = weights @ weights.T + l2penalty * np.eye(len(weights))
    projection = np.linalg.pinv(gram, hermitian=True) @ weights
    values = signal.values
    projection = projection.astype(values.dtype, copy=False)
    loadings = out
    if loadings is None:
        loadings = np.empty((len(weights), values.shape[1]), dtype=values.dtype)
    spans = _spans(values.shape[1])
    step = _block(len(weights) + len(values))

    def project(number: int) -> None:
        for begin in range(*spans[number], step):
            part = loadings[:, begin : min(begin + step, spans[number][1])]
            np.matmul(projection, values[:, begin : begin + part.shape[1]], out=part)
            np.maximum(part, 0, out=part)

    run_threads(project, len(spans), threads)
    prox_tv1d_columns(loadings, fl_lambda, signal.lengths, out=loadings, threads=threads)
    return loadings


def solve_weights(signal: Signal, loadings: NDArray[Any], threads: int = 1) -> NDArray[Any]:
    """Give the weights for these loadings: least squares, negatives to 0, (k, tracks)."""
    gram, cross = _weighted_products(loadings, signal.values, signal.lengths, threads)
    return np.maximum(np.linalg.lstsq(gram, cross, rcond=None)[0], 0)


def factorize(
    signal: Signal,
    k: int,
    num_iter: int,
    l2penalty: float,
    fl_lambda: float,
    start: str = "eigh",
    seed: int = 0,
    tolerance: float = 0.0,
    threads: int = 1,
    weights: NDArray[Any] | None = None,
) -> Loadings:
    """Factorise ``signal ~ weights' loadings`` by alternating least squares.

    Each round solves for the loadings given the weights (`solve_loadings`), then for the weights
    given the loadings (`solve_weights`).

    Parameters
    ----------
    signal : Signal
    k : int
        Number of loadings; may exceed the number of tracks.
    num_iter : int
        Rounds, at least 1.
    l2penalty, fl_lambda : float
        Penalties, per base.
    start, seed
        See `start_weights`.
    tolerance : float
        Stop after a round that changed no weight by more than this fraction of the largest; 0 runs
        all rounds.
    threads : int
        How many to use; the result is the same.
    weights : ndarray of shape (k, tracks), optional
        Start from these instead.

    Returns
    -------
    Loadings
    """
    if weights is None:
        weights = start_weights(gram_matrix(signal, threads), k, start, seed)
    loadings = np.empty((k, signal.values.shape[1]), signal.values.dtype)
    for _ in range(num_iter):
        solve_loadings(signal, weights, l2penalty, fl_lambda, threads, out=loadings)
        previous, weights = weights, solve_weights(signal, loadings, threads)
        if np.max(np.abs(weights - previous)) <= tolerance * np.max(weights):
            break
    return Loadings(loadings, signal.ends, weights)


def _weighted_products(
    left: NDArray[Any], right: NDArray[Any], lengths: NDArray[Any] | None, threads: int = 1
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Give ``left D left'`` and ``left D right'`` with D = diag(lengths), block by block.

    Blocks stay in the cache, so that no weighted copy of a signal-sized array is ever made. Sums
    are added up span by span, so that the number of threads changes no digit.
    """
    spans = _spans(left.shape[1])
    products = np.zeros((len(spans), len(left), len(left) + len(right)))
    step = _block(2 * len(left) + len(right))

    def multiply(number: int) -> None:
        gram, cross = products[number, :, : len(left)], products[number, :, len(left) :]
        stop = spans[number][1]
        for begin in range(*spans[number], step):
            inside = slice(begin, min(begin + step, stop))
            part = left[:, inside]
            weighted = part if lengths is None else part * lengths[inside]
            gram += weighted @ part.T
            cross += weighted @ right[:, inside].T

    run_threads(multiply, len(spans), threads)
    total = products.sum(axis=0)
    return total[:, : len(left)], total[:, len(left) :]


def _spans(runs: int) -> list[tuple[int, int]]:
    """Cut the runs into spans that are worth a thread each."""
    return [(begin, min(begin + _SPAN, runs)) for begin in range(0, runs, _SPAN)]


def _block(rows: int) -> int:
    """Give the number of runs whose `rows` values fit the second-level cache."""
    return max(1024, _BLOCK_VALUES // rows)
