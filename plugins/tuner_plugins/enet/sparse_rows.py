"""Rows of sparse columns: keys that are equal for equal rows, and CSR from dense columns."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from tuner_plugins.enet import kernels
from tuner_plugins.enet.arrays import Ints


def pattern_keys(matrix: sp.csr_array) -> Ints:
    """Return every row of a CSR matrix of float64 a key: the same for rows with the same entries.

    The first column leads, so that sorting by keys brings rows of one column together; -1 for a row
    without entries.
    """
    indptr, indices = matrix.indptr.astype(np.int64), matrix.indices.astype(np.int64)
    filled = np.flatnonzero(np.diff(indptr))
    keys = np.full(indptr.size - 1, -1, dtype=np.int64)
    if filled.size:
        mixed = (indices * 6364136223846793005 ^ matrix.data.view(np.int64)) * 2862933555777941757
        mixed ^= mixed >> 32 & 0xFFFFFFFF
        mixed = np.add.reduceat(mixed * 6364136223846793005, indptr[filled])
        keys[filled] = indices[indptr[filled]] << 31 | mixed >> 32 & 0x7FFFFFFF
    return keys


def count_nonzero(matrix: NDArray[Any]) -> Ints:
    """Count the numbers that are not zero in every column of a matrix (cells, columns)."""
    library = kernels.load()
    if library is None:
        return np.asarray(np.count_nonzero(matrix, axis=0), dtype=np.int64)
    counts = np.zeros(matrix.shape[1], dtype=np.int64)
    library.tuner_enet_count(kernels.words(matrix, *_sizes(matrix), counts))
    return counts


def to_csr(matrix: NDArray[Any], columns: Ints, entries: int) -> sp.csr_array:
    """Return some columns of a matrix as CSR, at their places in it, as float64.

    Parameters
    ----------
    matrix : (cells, columns)
    columns : (some,)
        In ascending order.
    entries : int
        How many numbers they hold that are not zero.
    """
    library = kernels.load()
    if library is None:
        left_out = np.delete(np.arange(matrix.shape[1]), columns)
        rest = matrix.astype(np.float64)
        rest[:, left_out] = 0.0
        return sp.csr_array(rest)
    indptr = np.zeros(matrix.shape[0] + 1, dtype=np.int64)
    indices, values = np.empty(entries, dtype=np.int64), np.empty(entries)
    found = (columns, columns.size, indptr, indices, values)
    library.tuner_enet_to_csr(kernels.words(matrix, *_sizes(matrix), *found))
    return sp.csr_array((values, indices, indptr), shape=matrix.shape)


def _sizes(matrix: NDArray[Any]) -> tuple[int, int, int]:
    return int(matrix.dtype == np.float32), *matrix.shape
