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

TILE = 512
"""Genes whose sums are kept in cache together."""

ROWS = 8
"""Rows that are added together."""

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_FAST = {"contract", "nsz"}


@njit(cache=True, nogil=True, fastmath=_FAST)
def _add_rows(target: Floats, factors: Floats, buffer: Floats, width: int) -> None:
    """Add ``factors @ buffer`` for the rows of Y in `buffer` to one row of sums."""
    f0, f1, f2, f3 = factors[0], factors[1], factors[2], factors[3]
    f4, f5, f6, f7 = factors[4], factors[5], factors[6], factors[7]
    y0, y1, y2, y3 = buffer[0], buffer[1], buffer[2], buffer[3]
    y4, y5, y6, y7 = buffer[4], buffer[5], buffer[6], buffer[7]
    for gene in range(width):
        early = f0 * y0[gene] + f1 * y1[gene] + f2 * y2[gene] + f3 * y3[gene]
        late = f4 * y4[gene] + f5 * y5[gene] + f6 * y6[gene] + f7 * y7[gene]
        target[gene] += early + late


@njit(cache=True, nogil=True, fastmath=_FAST)
def _add_squares(squares: Floats, buffer: Floats, width: int) -> None:
    """Add the squares of the rows of Y in `buffer`."""
    for lane in range(ROWS):
        row = buffer[lane]
        for gene in range(width):
            squares[gene] += row[gene] * row[gene]


@njit(cache=True, nogil=True, fastmath=_FAST)
def _add_row(target: Floats, factor: float, row: Floats, width: int) -> None:
    """Add ``factor * row`` to one row of sums."""
    for gene in range(width):
        target[gene] += factor * row[gene]


@njit(cache=True, nogil=True)
def _same_column(rows: Ints, place: int, indptr: Ints, indices: Ints, values: Floats) -> int:
    """Give the only column that is non-zero, and 1, in all `ROWS` rows from `place`; -1 if none."""
    column = -1
    for lane in range(ROWS):
        start = indptr[rows[place + lane]]
        stop = indptr[rows[place + lane] + 1]
        if stop - start != 1 or values[start] != 1.0 or (lane and indices[start] != column):
            return -1
        column = indices[start]
    return column


@njit(cache=True, nogil=True)
def _fetch(
    buffer: Floats, lane: int, row: NDArray[Any], shift: Floats, low: int, width: int
) -> None:
    """Copy the genes of a tile from a row of Y, shifted, as float64."""
    # Slices, so that the compiler need not care for negative indices.
    target, source, origin = buffer[lane], row[low : low + width], shift[low : low + width]
    for gene in range(width):
        target[gene] = source[gene] - origin[gene]


@njit(cache=True, nogil=True)
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
    buffer = np.zeros((ROWS, TILE))
    factors = np.zeros(ROWS)
    # Sums of a tile lie together, so that the compiler sees that they are contiguous.
    sums = np.zeros((cross.shape[1], TILE))
    own = np.zeros(TILE)
    for low in range(first_gene, last_gene, TILE):
        width = min(TILE, last_gene - low)
        for fold in range(bounds.shape[0] - 1):
            sums[:] = 0.0
            own[:] = 0.0
            for place in range(bounds[fold], bounds[fold + 1], ROWS):
                count = min(ROWS, bounds[fold + 1] - place)
                for lane in range(count):
                    _fetch(buffer, lane, responses[rows[place + lane]], shift, low, width)
                # Missing rows of the last ones count as zeros.
                buffer[count:] = 0.0
                factors[count:] = 0.0
                _add_squares(own, buffer, width)
                for column in range(dense_at.shape[0]):
                    for lane in range(count):
                        factors[lane] = dense[rows[place + lane], column]
                    _add_rows(sums[dense_at[column]], factors, buffer, width)
                shared = -1
                if count == ROWS:
                    shared = _same_column(rows, place, indptr, indices, values)
                if shared >= 0:
                    factors[:] = 1.0
                    _add_rows(sums[shared], factors, buffer, width)
                else:
                    for lane in range(count):
                        row = rows[place + lane]
                        for entry in range(indptr[row], indptr[row + 1]):
                            _add_row(sums[indices[entry]], values[entry], buffer[lane], width)
            for gene in range(width):
                squares[fold, low + gene] += own[gene]
            for column in range(cross.shape[1]):
                for gene in range(width):
                    cross[fold, column, low + gene] += sums[column, gene]


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
