"""Non-negative factorisation of counts, through their leading singular directions.

X ~ W H enters the updates of W and of H through the products X H' and X' W only. Both are taken
with X in its leading singular directions, which all replicates and all numbers of programs share:
what is left out is noise that non-negative factors of far smaller rank cannot follow (Tepper &
Sapiro 2016, doi:10.1109/TSP.2016.2516971).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, sparse
from scipy.linalg import eigh

BLOCK = 4096
"""Cells that are dense at once."""

TOLERANCE = 3e-4
"""Relative change of the spectra below which updates end."""

ITERATIONS = 500
"""Updates at most."""


@dataclass(frozen=True)
class Compressed:
    """A matrix (cells, genes) in its leading singular directions: X ~ ``left @ right.T``.

    Attributes
    ----------
    left : ndarray of float32, (cells, directions)
    right : ndarray of float32, (genes, directions)
        Orthonormal columns.
    squares : float
        Sum of all squared values of X itself.
    """

    left: NDArray[np.float32]
    right: NDArray[np.float32]
    squares: float


def product(matrix: sparse.csr_matrix, weights: NDArray[np.floating]) -> NDArray[np.floating]:
    """Multiply a sparse matrix by a dense one in blocks of rows, in the precision of `weights`."""
    found = np.empty((matrix.shape[0], weights.shape[1]), dtype=weights.dtype)
    for start in range(0, len(found), BLOCK):
        found[start : start + BLOCK] = matrix[start : start + BLOCK] @ weights
    return found


def compress(
    counts: sparse.csr_matrix, genes: NDArray[np.intp], scale: NDArray[np.float64], rank: int
) -> Compressed:
    """Find the leading singular directions of some genes' counts, from sums over blocks of cells.

    Parameters
    ----------
    counts : csr_matrix, (cells, all genes)
        Not copied.
    genes : ndarray of int, (genes,)
        Columns that are factorised.
    scale : ndarray, (genes,)
        What each is divided by.
    rank : int
        Directions, fewer where X has no more.

    Examples
    --------
    >>> counts = sparse.csr_matrix([[2.0, 4.0, 9.0], [1.0, 2.0, 0.0]])
    >>> found = compress(counts, np.array([0, 1]), np.array([1.0, 2.0]), rank=1)
    >>> (found.left @ found.right.T).round(3).tolist(), found.squares
    ([[2.0, 2.0], [1.0, 1.0]], 10.0)
    """
    gram = np.zeros((len(genes), len(genes)))
    for start in range(0, counts.shape[0], BLOCK):
        dense = counts[start : start + BLOCK][:, genes].toarray() / scale
        dense = dense.astype(np.float32)
        gram += dense.T @ dense
    rank = min(rank, len(genes), counts.shape[0])
    _, right = eigh(gram, subset_by_index=[len(genes) - rank, len(genes) - 1])
    weights = np.zeros((counts.shape[1], rank), dtype=np.float32)
    weights[genes] = right / scale[:, None]
    left = product(counts, weights)
    return Compressed(left, right.astype(np.float32), float(np.trace(gram)))


def _sweep(
    factor: NDArray[np.float32], products: NDArray[np.float32], gram: NDArray[np.float32]
) -> None:
    """Minimise over each column of a factor in turn, the others held; in place."""
    for j in range(factor.shape[1]):
        step = (products[:, j] - factor @ gram[:, j]) / max(gram[j, j], np.float32(1e-12))
        factor[:, j] = np.maximum(factor[:, j] + step, 0)


def factorise(data: Compressed, k: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Return the spectra of one factorisation of X, (k, genes), from a random start.

    Coordinate descent for the Frobenius norm (Cichocki & Phan 2009,
    doi:10.1587/transfun.E92.A.708), as the solver ``cd`` of scikit-learn's NMF. Only the spectra
    start at random: the order of cells does not matter.

    Examples
    --------
    >>> counts = sparse.csr_matrix(np.kron(np.eye(2), [[3.0, 1.0], [6.0, 2.0]]))
    >>> data = compress(counts, np.arange(4), np.ones(4), rank=2)
    >>> spectra = factorise(data, 2, np.random.default_rng(0))
    >>> ratios = np.sort((spectra / spectra.max(axis=1, keepdims=True)).ravel()).astype(float)
    >>> ratios.round(2).tolist()
    [0.0, 0.0, 0.0, 0.0, 0.33, 0.33, 1.0, 1.0]
    """
    left, right = data.left, data.right
    mean = float(left.sum(axis=0, dtype=float) @ right.sum(axis=0, dtype=float))
    level = np.sqrt(max(mean, 0.0) / (len(left) * len(right) * k))
    spectra = np.abs(rng.standard_normal((len(right), k))).astype(np.float32) * np.float32(level)
    usage = np.full((len(left), k), level, dtype=np.float32)
    for _ in range(ITERATIONS):
        before = spectra.copy()
        _sweep(usage, left @ (right.T @ spectra), spectra.T @ spectra)
        _sweep(spectra, right @ (left.T @ usage), usage.T @ usage)
        if np.linalg.norm(spectra - before) <= TOLERANCE * np.linalg.norm(spectra):
            break
    return spectra.T


def nonnegative_fit(
    gram: NDArray[np.float64], products: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return non-negative least squares of many right-hand sides at once, exactly.

    Parameters
    ----------
    gram : ndarray, (k, k)
        A' A.
    products : ndarray, (n, k)
        A' b of each of them.

    Returns
    -------
    ndarray, (n, k)

    Examples
    --------
    >>> nonnegative_fit(np.array([[2.0, 1.0], [1.0, 2.0]]), np.array([[3.0, 3.0], [2.0, 0.5]]))
    array([[1., 1.],
           [1., 0.]])
    """
    values, vectors = np.linalg.eigh(gram)
    whole = values > 1e-12 * max(values.max(initial=0.0), 1e-300)
    root = np.sqrt(values[whole])
    matrix, sides = (vectors[:, whole] * root).T, products @ vectors[:, whole] / root
    found = np.empty_like(products)
    for row, side in enumerate(sides):
        found[row] = optimize.nnls(matrix, side)[0]
    return found
