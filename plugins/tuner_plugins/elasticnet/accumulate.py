"""One pass over the cells: kernels that sum Z'Y and diag(Y'Y) per fold.

Rows come sorted by fold and by their first indicator column, so that the sums a row adds to are
still in cache from the row before. Work is split over genes (dense Y) or folds (sparse Y): no two
threads ever add to the same number, and the order of additions never depends on their count.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

TILE = 256
"""Genes whose sums are kept in cache together."""

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_FAST = {"contract", "nsz"}


@njit(cache=True, nogil=True, fastmath=_FAST)
def _add_four(
    sums: Floats, squares: Floats, buffer: Floats, dense: Floats, at: Ints, rows: Ints, first: int
) -> None:
    """Add four rows of Y, held in `buffer`, to the sums of the dense columns and the squares."""
    width = squares.shape[0]
    for gene in range(width):
        squares[gene] += (
            buffer[0, gene] * buffer[0, gene]
            + buffer[1, gene] * buffer[1, gene]
            + buffer[2, gene] * buffer[2, gene]
            + buffer[3, gene] * buffer[3, gene]
        )
    for column in range(at.shape[0]):
        target = sums[at[column]]
        x0 = dense[rows[first], column]
        x1 = dense[rows[first + 1], column]
        x2 = dense[rows[first + 2], column]
        x3 = dense[rows[first + 3], column]
        for gene in range(width):
            target[gene] += (
                x0 * buffer[0, gene]
                + x1 * buffer[1, gene]
                + x2 * buffer[2, gene]
                + x3 * buffer[3, gene]
            )


@njit(cache=True, nogil=True, fastmath=_FAST)
def _add_sparse_columns(
    sums: Floats,
    buffer: Floats,
    lane: int,
    indices: Ints,
    values: Floats,
    start: int,
    stop: int,
) -> None:
    """Add one row of Y to the sums of the columns that are non-zero in it."""
    width = buffer.shape[1]
    for entry in range(start, stop):
        target = sums[indices[entry]]
        value = values[entry]
        for gene in range(width):
            target[gene] += value * buffer[lane, gene]


@njit(cache=True, nogil=True, fastmath=_FAST)
def add_dense(
    first_gene: int,
    last_gene: int,
    rows: Ints,
    bounds: Ints,
    dense: Floats,
    dense_at: Ints,
    indptr: Ints,
    indices: Ints,
    values: Floats,
    responses: NDArray[Any],
    shift: Floats,
    cross: Floats,
    squares: Floats,
) -> None:
    """Add the rows of a dense Y to the sums of genes `first_gene` to `last_gene`.

    Parameters
    ----------
    rows : (cells,)
        Row numbers in the order of the pass.
    bounds : (folds + 1,)
        Where each fold starts and ends in `rows`.
    dense : (cells, dense columns)
        Columns without many zeros, shifted; the first is the intercept.
    dense_at, indices : (dense columns,), (entries,)
        Where a dense column, or an entry of the sparse ones (`indptr`, `indices`, `values`, as in
        CSR), stands among the columns of `cross`.
    responses : (cells, genes)
        Y, of any float or integer type.
    shift : (genes,)
        Subtracted from Y before anything is summed.
    cross, squares : (folds, columns, genes), (folds, genes)
        Added to.
    """
    buffer = np.empty((4, TILE))
    for low in range(first_gene, last_gene, TILE):
        high = min(low + TILE, last_gene)
        block = buffer[:, : high - low]
        for fold in range(bounds.shape[0] - 1):
            sums = cross[fold, :, low:high]
            place = bounds[fold]
            while place < bounds[fold + 1]:
                count = min(4, bounds[fold + 1] - place)
                same = count == 4
                column = -1
                for lane in range(count):
                    row = rows[place + lane]
                    source = responses[row]
                    for gene in range(high - low):
                        block[lane, gene] = source[low + gene] - shift[low + gene]
                    start = indptr[row]
                    if indptr[row + 1] - start != 1 or values[start] != 1.0:
                        same = False
                    elif lane == 0:
                        column = indices[start]
                    elif indices[start] != column:
                        same = False
                if count == 4:
                    _add_four(sums, squares[fold, low:high], block, dense, dense_at, rows, place)
                else:
                    for lane in range(count):
                        for gene in range(high - low):
                            squares[fold, low + gene] += block[lane, gene] * block[lane, gene]
                        for at in range(dense_at.shape[0]):
                            value = dense[rows[place + lane], at]
                            for gene in range(high - low):
                                sums[dense_at[at], gene] += value * block[lane, gene]
                if same:
                    target = sums[column]
                    for gene in range(high - low):
                        target[gene] += (
                            block[0, gene] + block[1, gene] + block[2, gene] + block[3, gene]
                        )
                else:
                    for lane in range(count):
                        row = rows[place + lane]
                        _add_sparse_columns(
                            sums, block, lane, indices, values, indptr[row], indptr[row + 1]
                        )
                place += count


@njit(cache=True, nogil=True, fastmath=_FAST)
def add_sparse(
    fold: int,
    rows: Ints,
    bounds: Ints,
    dense: Floats,
    dense_at: Ints,
    indptr: Ints,
    indices: Ints,
    values: Floats,
    y_indptr: NDArray[Any],
    y_indices: NDArray[Any],
    y_values: NDArray[Any],
    cross: Floats,
    squares: Floats,
) -> None:
    """Add the rows of a CSR Y, which is never densified, to the sums of one fold.

    Parameters are those of `add_dense`, with Y as `y_indptr`, `y_indices`, `y_values`, unshifted.
    """
    width = dense_at.shape[0]
    by_gene = np.zeros((squares.shape[1], width))
    for place in range(bounds[fold], bounds[fold + 1]):
        row = rows[place]
        covariates = dense[row]
        for entry in range(y_indptr[row], y_indptr[row + 1]):
            gene = y_indices[entry]
            value = float(y_values[entry])
            squares[fold, gene] += value * value
            target = by_gene[gene]
            for column in range(width):
                target[column] += value * covariates[column]
        for at in range(indptr[row], indptr[row + 1]):
            sums = cross[fold, indices[at]]
            weight = values[at]
            for entry in range(y_indptr[row], y_indptr[row + 1]):
                sums[y_indices[entry]] += weight * float(y_values[entry])
    for column in range(width):
        for gene in range(squares.shape[1]):
            cross[fold, dense_at[column], gene] += by_gene[gene, column]
