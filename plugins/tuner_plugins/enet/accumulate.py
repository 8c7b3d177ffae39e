"""One pass over the cells: kernels that sum Z'Y and diag(Y'Y) per fold.

Rows come sorted by fold and by their entries in the sparse columns, so that rows with the same
entries (one perturbation in one batch) are summed first and added to those columns once. Work is
split over genes (dense Y) or folds (sparse Y): no two threads ever add to the same number, and the
order of additions never depends on their count.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from tuner_plugins.enet.simd.lanes import add_product, padded
from tuner_plugins.enet.simd.vector import FAST, LANES, fetch, get, prefetch, put, spread

TILE = 512
"""Genes whose rows are read together: a multiple of `LANES`."""

ROWS = 32
"""Rows that are added together."""

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@njit(cache=True, nogil=True)
def add_dense(
    first_gene: int,
    last_gene: int,
    rows: Ints,
    bounds: Ints,
    alike: NDArray[np.bool_],
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
    alike : (cells,)
        Whether the row at a place of `rows` has the sparse entries of the one before.
    dense : (cells, dense columns)
        Columns without many zeros, shifted; the first is the intercept.
    dense_at, indices : (dense columns,), (entries,)
        Where a dense column, or an entry of the sparse ones (`indptr`, `indices`, `values`, as in
        CSR), stands among the columns of `cross`.
    responses : (cells, genes)
        Y, float32 or float64.
    shift : (genes,)
        Subtracted from Y before anything is summed.
    cross, squares : (folds, columns, genes), (folds, genes)
        Added to.
    """
    strips, width = TILE // LANES, dense_at.shape[0]
    # One row more than needed: strips at distances of a power of two would share cache lines.
    buffer = np.zeros((strips, ROWS + 1, LANES))
    factors = np.zeros((ROWS, padded(width)))
    order = np.arange(ROWS)
    origin = np.zeros((strips, LANES))
    own = np.zeros((strips, 1, LANES))
    of_dense = np.zeros((strips, padded(width), LANES))
    of_sparse = np.zeros((strips, cross.shape[1], LANES))
    for low in range(first_gene, last_gene, TILE):
        genes = min(TILE, last_gene - low)
        origin[:] = 0.0
        for gene in range(genes):
            origin[gene // LANES, gene % LANES] = shift[low + gene]
        for fold in range(bounds.shape[0] - 1):
            own[:] = 0.0
            of_dense[:] = 0.0
            of_sparse[:] = 0.0
            for place in range(bounds[fold], bounds[fold + 1], ROWS):
                count = min(ROWS, bounds[fold + 1] - place)
                for at in range(count):
                    row = rows[place + at]
                    _fetch_row(buffer, at, responses, row, low, genes, origin)
                    for column in range(width):
                        factors[at, column] = dense[row, column]
                ahead = rows[place + count : place + count + ROWS]
                for strip in range((genes + LANES - 1) // LANES):
                    for row in ahead:
                        prefetch(responses, row, low + strip * LANES)
                    sums = of_dense[strip]
                    add_product(sums, sums, factors, buffer[strip], order, count)
                    _add_runs(
                        own[strip],
                        of_sparse[strip],
                        buffer[strip],
                        rows[place : place + count],
                        alike[place : place + count],
                        indptr,
                        indices,
                        values,
                    )
            _add_strips(own, 0, squares[fold, low : low + genes])
            for column in range(width):
                _add_strips(of_dense, column, cross[fold, dense_at[column], low : low + genes])
            for column in range(cross.shape[1]):
                _add_strips(of_sparse, column, cross[fold, column, low : low + genes])


@njit(cache=True, nogil=True)
def _add_strips(strips: Floats, row: int, target: Floats) -> None:
    """Add a row of the strips (strips, rows, LANES) to the sums of their genes."""
    for gene in range(target.shape[0]):
        target[gene] += strips[gene // LANES, row, gene % LANES]


@njit(cache=True, nogil=True)
def _fetch_row(
    buffer: Floats,
    at: int,
    responses: NDArray[Any],
    row: int,
    low: int,
    genes: int,
    origin: Floats,
) -> None:
    """Copy genes from `low` on of a row of Y to the strips of the buffer, shifted, as float64."""
    whole = genes // LANES
    for strip in range(whole):
        values = fetch(responses, row, low + strip * LANES) - get(origin, strip)
        put(buffer[strip], at, values)
    for gene in range(whole * LANES, genes):
        lane = gene - whole * LANES
        buffer[whole, at, lane] = responses[row, low + gene] - origin[whole, lane]


@njit(cache=True, nogil=True)
def _add_runs(
    own: Floats,
    sums: Floats,
    buffer: Floats,
    rows: Ints,
    alike: NDArray[np.bool_],
    indptr: Ints,
    indices: Ints,
    values: Floats,
) -> None:
    """Add rows of Y to the sums of their sparse columns, and their squares, for `LANES` genes."""
    squares, at = get(own, 0), 0
    while at < rows.shape[0]:
        row, total = rows[at], spread(0.0)
        while True:
            value = get(buffer, at)
            squares = squares + value * value
            total = total + value
            at += 1
            if at == rows.shape[0] or not alike[at]:
                break
        for entry in range(indptr[row], indptr[row + 1]):
            column = indices[entry]
            put(sums, column, get(sums, column) + spread(values[entry]) * total)
    put(own, 0, squares)


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


@njit(cache=True, nogil=True, fastmath=FAST)
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
