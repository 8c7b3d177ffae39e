"""Rows of sparse columns: which have the same entries, and CSR from dense columns."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from tuner_plugins.enet.accumulate import Floats, Ints


@njit(cache=True, nogil=True)
def find_alike(rows: Ints, indptr: Ints, indices: Ints, values: Floats) -> NDArray[np.bool_]:
    """Return for every row but the first whether its entries equal those of the row before.

    `rows` are row numbers of the CSR matrix of the other parameters.
    """
    alike = np.zeros(rows.shape[0], dtype=np.bool_)
    for place in range(1, rows.shape[0]):
        before, start = indptr[rows[place - 1]], indptr[rows[place]]
        count = indptr[rows[place] + 1] - start
        same = count == indptr[rows[place - 1] + 1] - before
        for entry in range(count if same else 0):
            same &= indices[before + entry] == indices[start + entry]
            same &= values[before + entry] == values[start + entry]
        alike[place] = same
    return alike


@njit(cache=True, nogil=True)
def pattern_keys(indptr: Ints, indices: Ints, values: Ints) -> Ints:
    """Return every row of a CSR matrix a key: the same for rows with the same entries.

    The first column leads, so that sorting by keys brings rows of one column together; -1 for a row
    without entries. Values come as the integers that have their bits.
    """
    keys = np.full(indptr.shape[0] - 1, -1, dtype=np.int64)
    for row in range(keys.shape[0]):
        mixed = np.int64(0)
        for entry in range(indptr[row], indptr[row + 1]):
            for part in (indices[entry], values[entry]):
                mixed = (mixed ^ part) * np.int64(6364136223846793005)
                mixed ^= (mixed >> 32) & 0xFFFFFFFF
        if indptr[row] < indptr[row + 1]:
            keys[row] = (indices[indptr[row]] << 31) | (mixed & 0x7FFFFFFF)
    return keys


@njit(cache=True, nogil=True)
def count_nonzero(matrix: NDArray[Any]) -> Ints:
    """Count the numbers that are not zero in every column of a matrix (cells, columns)."""
    counts = np.zeros(matrix.shape[1], dtype=np.int64)
    for row in range(matrix.shape[0]):
        for column in range(matrix.shape[1]):
            counts[column] += matrix[row, column] != 0.0
    return counts


@njit(cache=True, nogil=True)
def to_csr(matrix: NDArray[Any], columns: Ints, entries: int) -> tuple[Ints, Ints, Floats]:
    """Return the non-zero entries of some columns of a matrix, as a CSR matrix stores them.

    Parameters
    ----------
    matrix : (cells, columns)
    columns : (some,)
        In ascending order; the CSR matrix has the columns of `matrix`.
    entries : int
        How many numbers they hold that are not zero.
    """
    indptr = np.zeros(matrix.shape[0] + 1, dtype=np.int64)
    indices = np.empty(entries, dtype=np.int64)
    values = np.empty(entries)
    found = 0
    for row in range(matrix.shape[0]):
        for column in columns:
            value = matrix[row, column]
            if value != 0.0:
                indices[found], values[found] = column, value
                found += 1
        indptr[row + 1] = found
    return indptr, indices, values
