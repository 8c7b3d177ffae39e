"""Fused-lasso non-negative matrix factorisation of genome tracks, on weighted runs.

For a signal Y (tracks x runs), run lengths in bases on the diagonal of D, loadings L (k x runs) and
weights W (k x tracks)::

    min      1/2 |(Y - W' L) D^1/2|^2 + l2penalty/2 |L D^1/2|^2
    L,W >= 0                          + sum_c fl_lambda[c] sum_i |L[c, i+1] - L[c, i]|

by alternating least squares (Berry et al. 2007, doi:10.1016/j.csda.2006.11.006) with a fused lasso
(Tibshirani et al. 2005, doi:10.1111/j.1467-9868.2005.00490.x). One round is::

    A = max(0, (W W' + l2penalty I)^+ W Y)     ridge, negatives to 0; D cancels  (`solve_loadings`)
    L = prox(A), row c of it                   fused lasso, as in `prox_tv`
        argmin_x 1/2 sum_i D_i (x_i - A[c, i])^2 + fl_lambda[c] sum_i |x_{i+1} - x_i|
    W = max(0, (L D L')^+ L D Y')              least squares, negatives to 0     (`solve_weights`)

^+ is the pseudo-inverse. Constraint and fused lasso are applied after the least squares, not
minimised jointly with it: a heuristic, under which the objective may rise in a round.

All tracks are constant over a run. Neighbours with equal input have equal loadings, so runs give
the per-base answer exactly, and bins that of the problem restricted to loadings that are constant
over each bin. Penalties are per base: ``fl_lambda`` means the same at every resolution.

Every finite signal has an answer. Tracks of zeros have loadings of zeros. A penalty of 0 leaves A
as it is; one beyond the signal's sum makes every row of L its mean. Where W W' or L D L' is
singular and ``l2penalty`` is 0, the pseudo-inverse takes the solution of least norm. bigWig files
hold single precision, whose squares fit doubles; with dtype float32 larger values are refused.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tuner_plugins.nmf.io.step_functions import run_lengths
from tuner_plugins.nmf.kernels.parallel import run_threads
from tuner_plugins.nmf.model.products import project, weighted_products
from tuner_plugins.nmf.model.prox_tv import has_warm_start, prox_tv1d_columns
from tuner_plugins.nmf.model.start import coarse_covariance, start_weights

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


def start_gram(
    parts: Iterable[Signal], size: int, start: str, threads: int = 1
) -> NDArray[np.float64]:
    """Return what `start_weights` starts from, over parts of `size` bases in all."""
    if start == "contrast":
        return coarse_covariance((part[:2] for part in parts), size)
    total: NDArray[np.float64] = np.sum([gram_matrix(part, threads) for part in parts], axis=0)
    return total


class Buffers(NamedTuple):
    """Where rounds write: fresh memory of that size costs as much as the arithmetic.

    Attributes
    ----------
    loadings, unsmoothed : ndarray of shape (k, runs)
        After and before the fused lasso; one array where `steps` is None.
    steps : ndarray of int8 of shape (k, runs) or None
        What a round leaves to the next, since steps hardly change any more: the sign of each
        loading's step before each run; 0 all over where nothing is known.
    """

    loadings: NDArray[Any]
    unsmoothed: NDArray[Any]
    steps: NDArray[np.int8] | None


def make_buffers(signal: Signal, k: int, warm: bool = False) -> Buffers:
    """Return buffers for k loadings; `warm`: each round begins with the steps of the one before."""
    loadings = np.empty((k, signal.values.shape[1]), signal.dtype)
    if not warm:
        return Buffers(loadings, loadings, None)
    return Buffers(loadings, np.empty_like(loadings), np.zeros(loadings.shape, np.int8))


def solve_loadings(
    signal: Signal,
    weights: NDArray[Any],
    l2penalty: float,
    fl_lambda: ArrayLike,
    threads: int = 1,
    buffers: Buffers | None = None,
) -> NDArray[Any]:
    """Return the loadings (k, runs) for these weights: ridge, negatives to 0, fused lasso.

    Parameters
    ----------
    signal : Signal
    weights : ndarray of shape (k, tracks)
    l2penalty : float
        Ridge penalty.
    fl_lambda : float or array_like of shape (k,)
        Weight of the total variation along the genome, per base; of all loadings, or of each.
    threads : int
        How many to use.
    buffers : Buffers, optional
        Of the round before, and for the next one. The answer is the same.
    """
    gram = weights @ weights.T + l2penalty * np.eye(len(weights))  # W W' + l2penalty I
    projection = np.linalg.pinv(gram, hermitian=True) @ weights
    out, unsmoothed, steps = buffers or make_buffers(signal, len(weights))
    project(signal.values, projection, unsmoothed, threads)
    return prox_tv1d_columns(unsmoothed, fl_lambda, signal.lengths, out, threads, steps)


def solve_weights(gram: NDArray[Any], cross: NDArray[Any]) -> NDArray[Any]:
    """Return the weights (k, tracks): least squares, negatives to 0.

    Parameters
    ----------
    gram, cross : ndarray of shape (k, k) and (k, tracks)
        ``L D L'`` and ``L D Y'`` of `weighted_products`, over all positions.
    """
    weights: NDArray[Any] = np.maximum(np.linalg.lstsq(gram, cross, rcond=None)[0], 0)
    return weights


class Rounds(NamedTuple):
    """How loadings and weights alternate; each as in `factorize`."""

    num_iter: int
    l2penalty: float
    fl_lambda: ArrayLike
    tolerance: float = 0.0


def alternate(
    parts: Iterable[Signal],
    weights: NDArray[Any],
    rounds: Rounds,
    threads: int = 1,
    buffers: Buffers | None = None,
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Alternate between loadings and weights; return the weights before and after the last round.

    Those before it are what its loadings were solved for.

    Parameters
    ----------
    parts : iterable of Signal, which is gone through once a round
        One signal, or those of chromosomes: the fused lasso ends with each, and the sums that the
        weights are solved from, k x k and k x tracks, are added up over all.
    weights : ndarray of shape (k, tracks)
        Where the first round starts from.
    rounds : Rounds
    threads : int
    buffers : Buffers, optional
        For parts that are one: it holds the last round's loadings in the end.
    """
    previous = weights
    for _ in range(rounds.num_iter):
        gram: Any = 0.0
        cross: Any = 0.0
        for part in parts:
            penalties = rounds.l2penalty, rounds.fl_lambda
            loadings = solve_loadings(part, weights, *penalties, threads, buffers)
            sums = weighted_products(loadings, part.values, part.lengths, threads)
            gram, cross = gram + sums[0], cross + sums[1]
        previous, weights = weights, solve_weights(gram, cross)
        if np.max(np.abs(weights - previous)) <= rounds.tolerance * np.max(weights):
            break
    return previous, weights


def factorize(  # noqa: PLR0913 - the method's own parameters, each of them searched
    signal: Signal,
    k: int,
    num_iter: int,
    l2penalty: float,
    fl_lambda: ArrayLike,
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
    l2penalty, fl_lambda
        Penalties, per base: see `solve_loadings`.
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

    Examples
    --------
    >>> tracks = np.array([[1.0, 3.0, 1.0], [2.0, 6.0, 2.0]])
    >>> found = factorize(make_signal(tracks, np.array([40, 60, 100])), 1, 3, 0.0, 0.0)
    >>> found.expand().shape, (found.weights.T @ found.values).round(6).tolist()
    ((100, 1), [[1.0, 3.0, 1.0], [2.0, 6.0, 2.0]])
    """
    gram = start_gram([signal], signal.ends[-1], start, threads)
    warm = num_iter > _COLD_ROUNDS and has_warm_start(signal.dtype)
    buffers = make_buffers(signal, k, warm)
    rounds = Rounds(num_iter, l2penalty, fl_lambda, tolerance)
    weights = alternate([signal], start_weights(gram, k, start, seed), rounds, threads, buffers)[1]
    return Loadings(buffers.loadings, signal.ends, weights)
