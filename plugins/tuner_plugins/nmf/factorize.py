"""Fused-lasso non-negative matrix factorisation of genome tracks, on weighted runs.

The signal is held as runs: stretches of the genome over which every track is constant, each with
its length in bases. Neighbours with equal input have equal loadings, so that solving on runs with
their lengths as weights gives the per-base answer exactly; on bins it gives the per-base problem
restricted to loadings that are constant over each bin. Penalties are per base either way:
``fl_lambda`` means the same at every resolution.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tuner_plugins.nmf.prox import prox_tv1d_columns

STARTS = ("eigh", "randomized_svd", "random")
_BLOCK_VALUES = 1 << 16
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

    values: NDArray
    ends: NDArray[np.int64]
    lengths: NDArray | None


def make_signal(values: NDArray, ends: NDArray[np.int64]) -> Signal:
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

    values: NDArray
    ends: NDArray[np.int64]
    weights: NDArray

    @property
    def size(self) -> int:
        """Number of positions in the region."""
        return int(self.ends[-1])

    def expand(self) -> NDArray:
        """Give the loadings per base, of shape (positions, k)."""
        return np.repeat(self.values.T, run_lengths(self.ends), axis=0)


def start_weights(gram: NDArray, k: int, start: str = "eigh", seed: int = 0) -> NDArray:
    """Give the weights that the first round starts from.

    Parameters
    ----------
    gram : ndarray of shape (tracks, tracks)
        ``signal' signal``, over all positions.
    k : int
        Rows to give.
    start : {"eigh", "randomized_svd", "random"}
        ``eigh``: the signal's right singular vectors. ``randomized_svd``: what scikit-learn's
        `randomized_svd` of the signal gives for them with this seed, computed from `gram`. Either
        way each vector has the sign that leaves most of it positive, negatives to 0, and rows
        beyond the number of tracks are random. ``random``: uniform on [0, 1).
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
    weights = np.zeros((k, tracks))
    if start == "random" or k > tracks:
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
    return weights


def _randomized_vectors(gram: NDArray, k: int, seed: int) -> NDArray:
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
    vectors: NDArray = np.linalg.svd(small, full_matrices=False)[2][:k]
    return vectors


def gram_matrix(signal: Signal) -> NDArray[np.float64]:
    """Give ``signal' signal`` over all positions, of shape (tracks, tracks)."""
    return _weighted_products(signal.values, signal.values, signal.lengths)[0]


def solve_loadings(
    signal: Signal, weights: NDArray, l2penalty: float, fl_lambda: float, threads: int = 1
) -> NDArray:
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
        Threads for the proximal operator, over the rows.
    """
    gram = weights @ weights.T + l2penalty * np.eye(len(weights))
    projection = np.linalg.pinv(gram, hermitian=True) @ weights
    values = signal.values
    loadings = np.empty((len(weights), values.shape[1]), dtype=values.dtype)
    projection = projection.astype(values.dtype, copy=False)
    step = _block(len(weights) + len(values))
    for begin in range(0, values.shape[1], step):
        part = loadings[:, begin : begin + step]
        np.matmul(projection, values[:, begin : begin + step], out=part)
        np.maximum(part, 0, out=part)
    prox_tv1d_columns(loadings, fl_lambda, signal.lengths, out=loadings, threads=threads)
    return loadings


def solve_weights(signal: Signal, loadings: NDArray) -> NDArray[np.float64]:
    """Give the weights for these loadings: least squares, negatives to 0, (k, tracks)."""
    gram, cross = _weighted_products(loadings, signal.values, signal.lengths)
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
    weights: NDArray | None = None,
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
        Threads for the proximal operator.
    weights : ndarray of shape (k, tracks), optional
        Start from these instead.

    Returns
    -------
    Loadings
    """
    if weights is None:
        weights = start_weights(gram_matrix(signal), k, start, seed)
    for _ in range(num_iter):
        loadings = solve_loadings(signal, weights, l2penalty, fl_lambda, threads)
        previous, weights = weights, solve_weights(signal, loadings)
        if np.max(np.abs(weights - previous)) <= tolerance * np.max(weights):
            break
    return Loadings(loadings, signal.ends, weights)


def _weighted_products(
    left: NDArray, right: NDArray, lengths: NDArray | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Give ``left D left'`` and ``left D right'`` with D = diag(lengths), block by block.

    Blocks stay in the cache, so that no weighted copy of a signal-sized array is ever made.
    """
    gram = np.zeros((len(left), len(left)))
    cross = np.zeros((len(left), len(right)))
    step = _block(2 * len(left) + len(right))
    for begin in range(0, left.shape[1], step):
        part = left[:, begin : begin + step]
        weighted = part if lengths is None else part * lengths[begin : begin + step]
        gram += weighted @ part.T
        cross += weighted @ right[:, begin : begin + step].T
    return gram, cross


def _block(rows: int) -> int:
    """Give the number of runs whose `rows` values fit the second-level cache."""
    return max(1024, _BLOCK_VALUES // rows)
