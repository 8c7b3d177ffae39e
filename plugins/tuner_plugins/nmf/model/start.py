"""The weights that the first round of a factorisation starts from."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

STARTS = ("eigh", "randomized_svd", "random")
_OVERSAMPLES = 10


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
