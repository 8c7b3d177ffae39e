"""One pass over the cells: kernels that sum Z'Y and diag(Y'Y) per fold.

Rows come sorted by fold and by their entries in the sparse columns, so that rows with the same
entries (one perturbation in one batch) are summed first and added to those columns once. Work is
split over genes (dense Y) or folds (sparse Y): no two threads ever add to the same number, and the
order of additions never depends on their count.
"""

from __future__ import annotations

from typing import Any, NamedTuple

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


class Order(NamedTuple):
    """The order of the pass.

    Attributes
    ----------
    rows : (cells,)
        Row numbers, sorted by fold and by sparse entries.
    bounds : (folds + 1,)
        Where each fold starts and ends in `rows`.
    alike : (cells,)
        Whether the row at a place of `rows` has the sparse entries of the one before.
    """

    rows: Ints
    bounds: Ints
    alike: NDArray[np.bool_]


class Design(NamedTuple):
    """Z in two parts: columns without many zeros, and the others as CSR.

    Attributes
    ----------
    dense : (cells, dense columns)
        Shifted; the first is the intercept.
    dense_at, indices : (dense columns,), (entries,)
        Where a dense column, or an entry of the sparse ones, stands in Z.
    indptr, values : (cells + 1,), (entries,)
        As in CSR.
    """

    dense: Floats
    dense_at: Ints
    indptr: Ints
    indices: Ints
    values: Floats


class Sums(NamedTuple):
    """What is added to.

    Attributes
    ----------
    cross, squares : (folds, columns, genes), (folds, genes)
        Z'Y and diag(Y'Y).
    shift : (genes,)
        Subtracted from a dense Y before anything is summed.
    """

    cross: Floats
    squares: Floats
    shift: Floats


@njit(cache=True, nogil=True)
def add_dense(
    first_gene: int,
    last_gene: int,
    order: Order,
    design: Design,
    responses: NDArray[Any],
    sums: Sums,
) -> None:
    """Add the rows of a dense Y (cells, genes) to the sums of genes `first_gene` to `last_gene`."""
    rows, bounds, alike = order
    width, columns = design.dense_at.shape[0], sums.cross.shape[1]
    strips = TILE // LANES
    # One row more than needed: strips at distances of a power of two would share cache lines.
    buffer = np.zeros((strips, ROWS + 1, LANES))
    factors = np.zeros((ROWS, padded(width)))
    each = np.arange(ROWS)
    origin = np.zeros((strips, LANES))
    own = np.zeros((strips, 1, LANES))
    of_dense = np.zeros((strips, padded(width), LANES))
    of_sparse = np.zeros((strips, columns, LANES))
    for low in range(first_gene, last_gene, TILE):
        genes = min(TILE, last_gene - low)
        origin[:] = 0.0
        for gene in range(genes):
            origin[gene // LANES, gene % LANES] = sums.shift[low + gene]
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
                        factors[at, column] = design.dense[row, column]
                last = place + count
                ahead = rows[last : last + ROWS]
                for strip in range((genes + LANES - 1) // LANES):
                    for row in ahead:
                        prefetch(responses, row, low + strip * LANES)
                    total, piece = of_dense[strip], buffer[strip]
                    add_product(total, total, factors, piece, each, count)
                    _add_runs(
                        own[strip],
                        of_sparse[strip],
                        piece,
                        rows[place:last],
                        alike[place:last],
                        design,
                    )
            _flush(own, of_dense, of_sparse, design.dense_at, fold, low, genes, sums)


@njit(cache=True, nogil=True)
def _flush(  # noqa: PLR0913 - buffers of one compiled kernel
    own: Floats,
    of_dense: Floats,
    of_sparse: Floats,
    dense_at: Ints,
    fold: int,
    low: int,
    genes: int,
    sums: Sums,
) -> None:
    """Add the strips of a fold to the sums of `genes` genes from `low` on."""
    mine = slice(low, low + genes)
    _add_strips(own, 0, sums.squares[fold, mine])
    for column in range(dense_at.shape[0]):
        _add_strips(of_dense, column, sums.cross[fold, dense_at[column], mine])
    for column in range(sums.cross.shape[1]):
        _add_strips(of_sparse, column, sums.cross[fold, column, mine])


@njit(cache=True, nogil=True)
def _add_strips(strips: Floats, row: int, target: Floats) -> None:
    """Add a row of the strips (strips, rows, LANES) to the sums of their genes."""
    for gene in range(target.shape[0]):
        target[gene] += strips[gene // LANES, row, gene % LANES]


@njit(cache=True, nogil=True)
def _fetch_row(  # noqa: PLR0913 - buffers of one compiled kernel
    buffer: Floats, at: int, responses: NDArray[Any], row: int, low: int, genes: int, origin: Floats
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
    own: Floats, sums: Floats, buffer: Floats, rows: Ints, alike: NDArray[np.bool_], design: Design
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
        for entry in range(design.indptr[row], design.indptr[row + 1]):
            column = design.indices[entry]
            put(sums, column, get(sums, column) + total * design.values[entry])
    put(own, 0, squares)


@njit(cache=True, nogil=True, fastmath=FAST)
def add_sparse(
    fold: int,
    order: Order,
    design: Design,
    responses: tuple[NDArray[Any], NDArray[Any], NDArray[Any]],
    sums: Sums,
) -> None:
    """Add the rows of a CSR Y (indptr, indices, data), never densified, to the sums of one fold."""
    y_indptr, y_indices, y_values = responses
    width = design.dense_at.shape[0]
    squares = sums.squares[fold]
    by_gene = np.zeros((squares.shape[0], width))
    for place in range(order.bounds[fold], order.bounds[fold + 1]):
        row = order.rows[place]
        covariates = design.dense[row]
        for entry in range(y_indptr[row], y_indptr[row + 1]):
            gene = y_indices[entry]
            value = float(y_values[entry])
            squares[gene] += value * value
            target = by_gene[gene]
            for column in range(width):
                target[column] += value * covariates[column]
        for at in range(design.indptr[row], design.indptr[row + 1]):
            cross = sums.cross[fold, design.indices[at]]
            weight = design.values[at]
            for entry in range(y_indptr[row], y_indptr[row + 1]):
                cross[y_indices[entry]] += weight * float(y_values[entry])
    for column in range(width):
        for gene in range(squares.shape[0]):
            sums.cross[fold, design.dense_at[column], gene] += by_gene[gene, column]
