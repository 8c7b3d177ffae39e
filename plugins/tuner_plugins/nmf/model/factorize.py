"""Fused-lasso non-negative matrix factorisation of genome tracks, on weighted runs.

For a signal Y (tracks x runs), run lengths in bases on the diagonal of D, loadings L (k x runs) and
weights W (k x tracks)::

    min      1/2 |(Y - W' L) D^1/2|^2 + l2penalty/2 |L D^1/2|^2
    L,W >= 0                          + fl_lambda sum_c sum_i |L[c, i+1] - L[c, i]|

by alternating least squares (Berry et al. 2007, doi:10.1016/j.csda.2006.11.006) with a fused lasso
(Tibshirani et al. 2005, doi:10.1111/j.1467-9868.2005.00490.x). One round is::

    A = max(0, (W W' + l2penalty I)^+ W Y)     ridge, negatives to 0; D cancels  (`solve_loadings`)
    L = prox(A), row c of it                   fused lasso, as in `prox_tv`
        argmin_x 1/2 sum_i D_i (x_i - A[c, i])^2 + fl_lambda sum_i |x_{i+1} - x_i|
    W = max(0, (L D L')^+ L D Y')              least squares, negatives to 0     (`solve_weights`)

^+ is the pseudo-inverse. Constraint and fused lasso are applied after the least squares, not
minimised jointly with it: a heuristic, under which the objective may rise in a round.

All tracks are constant over a run. Neighbours with equal input have equal loadings, so runs give
the per-base answer exactly, and bins that of the problem restricted to loadings that are constant
over each bin. Penalties are per base: ``fl_lambda`` means the same at every resolution.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tuner_plugins.nmf.io.step_functions import run_lengths
from tuner_plugins.nmf.kernels.parallel import run_threads
from tuner_plugins.nmf.model.products import project, weighted_products
from tuner_plugins.nmf.model.prox_tv import has_warm_start, prox_tv1d_columns

STARTS = ("eigh", "randomized_svd", "random")
_OVERSAMPLES = 10
_GRAM_SPAN = 1 << 15
_COLD_ROUNDS = 3  # in these, weights still move so much that steps remembered are of no use


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
        Bases in each run, of type `dtype`; None where every run is one base.
    dtype : dtype
        Of the loadings, and of the arithmetic. `values` may be float32 where that holds them
        exactly: half the memory to wait for.
    """

    values: NDArray[Any]
    ends: NDArray[np.int64]
    lengths: NDArray[Any] | None
    dtype: np.dtype[Any]

    def divide(self, factors: NDArray[Any]) -> Signal:
        """Return the signal with each track divided by its factor, of shape (tracks, 1)."""
        values = self.values.astype(self.dtype, copy=False)
        return self._replace(values=np.divide(values, factors, out=values))


def make_signal(values: NDArray[Any], ends: NDArray[np.int64], dtype: Any = None) -> Signal:
    """Return the signal with these values, (tracks, runs), over runs with these ends.

    `dtype`, of the loadings, is that of the values by default.
    """
    dtype = np.dtype(values.dtype if dtype is None else dtype)
    if ends[-1] == ends.size:
        return Signal(values, ends, None, dtype)
    return Signal(values, ends, run_lengths(ends).astype(dtype), dtype)


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
        """Return the loadings per base, of shape (positions, k)."""
        return np.repeat(self.values.T, run_lengths(self.ends), axis=0)


def start_weights(gram: NDArray[Any], k: int, start: str = "eigh", seed: int = 0) -> NDArray[Any]:
    """Return the weights that the first round starts from.

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
    """Return the right singular vectors that a randomized SVD of the signal finds, (k, tracks).

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
    """Return ``signal' signal`` over all positions, of shape (tracks, tracks)."""
    runs = signal.values.shape[1]
    spans = [slice(begin, min(begin + _GRAM_SPAN, runs)) for begin in range(0, runs, _GRAM_SPAN)]
    grams = np.empty((len(spans), len(signal.values), len(signal.values)))

    def multiply(number: int) -> None:
        part = signal.values[:, spans[number]].astype(np.float64)
        lengths = None if signal.lengths is None else signal.lengths[spans[number]]
        grams[number] = weighted_products(part, part[:0], lengths)[0]

    run_threads(multiply, len(spans), threads)
    total: NDArray[np.float64] = grams.sum(axis=0)
    return total


class WarmStart(NamedTuple):
    """What one round leaves to the next: a column's steps hardly change any more.

    Attributes
    ----------
    unsmoothed : ndarray of shape (k, runs)
        Room for the loadings before the fused lasso.
    steps : ndarray of int8 of shape (k, runs)
        Sign of each loading's step before each run; 0 all over where nothing is known.
    """

    unsmoothed: NDArray[Any]
    steps: NDArray[np.int8]


def solve_loadings(
    signal: Signal,
    weights: NDArray[Any],
    l2penalty: float,
    fl_lambda: float,
    threads: int = 1,
    out: NDArray[Any] | None = None,
    warm: WarmStart | None = None,
) -> NDArray[Any]:
    """Return the loadings (k, runs) for these weights: ridge, negatives to 0, fused lasso.

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
    warm : WarmStart, optional
        From the round before, and for the next one. The answer is the same.
    """
    gram = weights @ weights.T + l2penalty * np.eye(len(weights))  # W W' + l2penalty I
    projection = np.linalg.pinv(gram, hermitian=True) @ weights
    if out is None:
        out = np.empty((len(weights), signal.values.shape[1]), dtype=signal.dtype)
    unsmoothed = out if warm is None else warm.unsmoothed
    project(signal.values, projection, unsmoothed, threads)
    steps = None if warm is None else warm.steps
    return prox_tv1d_columns(unsmoothed, fl_lambda, signal.lengths, out, threads, steps)


def solve_weights(signal: Signal, loadings: NDArray[Any], threads: int = 1) -> NDArray[Any]:
    """Return the weights for these loadings: least squares, negatives to 0, (k, tracks)."""
    gram, cross = weighted_products(loadings, signal.values, signal.lengths, threads)
    weights: NDArray[Any] = np.maximum(np.linalg.lstsq(gram, cross, rcond=None)[0], 0)
    return weights


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
) -> Loadings:
    """Factorise ``signal ~ weights' loadings`` by the rounds on top of this module.

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

    Returns
    -------
    Loadings
    """
    weights = start_weights(gram_matrix(signal, threads), k, start, seed)
    loadings = np.empty((k, signal.values.shape[1]), signal.dtype)
    warm = None
    if num_iter > _COLD_ROUNDS and has_warm_start(signal.dtype):
        warm = WarmStart(np.empty_like(loadings), np.zeros(loadings.shape, np.int8))
    for _ in range(num_iter):
        solve_loadings(signal, weights, l2penalty, fl_lambda, threads, loadings, warm)
        previous, weights = weights, solve_weights(signal, loadings, threads)
        if np.max(np.abs(weights - previous)) <= tolerance * np.max(weights):
            break
    return Loadings(loadings, signal.ends, weights)
