"""The weights that the first round of a factorisation starts from."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tuner_plugins.nmf.io.step_functions import Runs, bin_ends, bin_runs, run_lengths

STARTS = ("eigh", "contrast", "randomized_svd", "random")
_OVERSAMPLES = 10
_CONTRAST_BIN = 5000
_BINS_A_TRACK = 4
_LEAST_HALF = 1e-3  # squared norm, of a vector's 1


def coarse_covariance(
    parts: Iterable[tuple[NDArray[Any], NDArray[np.int64]]], size: int
) -> NDArray[np.float64]:
    """Return the covariance of the tracks' averages over wide bins, times the number of bases.

    Bins of 5 kb, about the length of a gene: what single peaks do averages out. In a region too
    short for four bins a track, bins are narrower.

    Parameters
    ----------
    parts : iterable of two ndarrays, of shape (tracks, runs) and (runs,)
        The region, or each of several chromosomes: values, and where each run ends, in bases from
        the part's start.
    size : int
        Bases of all parts.

    Returns
    -------
    ndarray of shape (tracks, tracks)
    """
    binned, sizes = [], []
    for values, ends in parts:
        length = int(ends[-1])
        width = max(1, min(_CONTRAST_BIN, size // (_BINS_A_TRACK * len(values))))
        binned.append(np.stack([bin_runs(Runs(ends, row), 0, length, width) for row in values]))
        sizes.append(run_lengths(bin_ends(length, width)))
    means, lengths = np.concatenate(binned, axis=1), np.concatenate(sizes)
    centred = means - (means @ lengths / size)[:, None]
    covariance: NDArray[np.float64] = (centred * lengths) @ centred.T
    return covariance


def start_weights(gram: NDArray[Any], k: int, start: str = "eigh", seed: int = 0) -> NDArray[Any]:
    """Return the weights that the first round starts from.

    Parameters
    ----------
    gram : ndarray of shape (tracks, tracks)
        ``signal' signal``, over all positions; for ``contrast`` that of `coarse_covariance`.
    k : int
        Rows to give.
    start : {"eigh", "contrast", "randomized_svd", "random"}
        ``eigh``: the signal's right singular vectors, each with the sign that leaves most of it
        positive, negatives to 0; rows beyond the number of tracks are what that set to 0, then
        single tracks. ``contrast``: all tracks alike; then both halves, positive and negative, of
        each eigenvector of the covariance, the larger half first: groups of tracks that rise and
        fall together, each against another; then single tracks. ``randomized_svd``: as ``eigh``, of
        the vectors that scikit-learn's `randomized_svd` of the signal gives with this seed,
        computed from `gram`; rows beyond the number of tracks are random. ``random``: uniform on
        [0, 1).
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
    if start == "random" or (start == "randomized_svd" and k > tracks):
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
    larger = np.where(flip[:, None], negative, positive)
    smaller = np.where(flip[:, None], positive, negative)
    if start == "contrast":
        halves = np.stack([larger, smaller], axis=1).reshape(-1, tracks)
        halves = halves[np.sum(halves**2, axis=1) > _LEAST_HALF][: k - 1]
        weights[0] = 1 / np.sqrt(tracks)
        weights[1 : 1 + len(halves)] = halves
        return weights
    weights[:found] = larger
    if start == "eigh":
        rest = weights[found : 2 * found]
        rest[:] = smaller[: len(rest)]
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
