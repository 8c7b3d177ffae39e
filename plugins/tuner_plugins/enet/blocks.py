"""Add a block of cells to the statistics of those before it, in place."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp

from tuner_plugins.enet.accumulate import (
    TILE,
    Design,
    Floats,
    Ints,
    Order,
    Sums,
    add_dense,
    add_sparse,
)
from tuner_plugins.enet.errors import DataError
from tuner_plugins.enet.sparse_rows import count_nonzero, find_alike, pattern_keys, to_csr
from tuner_plugins.enet.validation import SPARSE_BELOW

if TYPE_CHECKING:
    from tuner_plugins.enet.statistics import Statistics

_BLOCK = 65_536


def add_cells(summed: Statistics, matrix: Any, responses: Any, labels: Ints, threads: int) -> None:
    """Add checked cells to `summed`, in place."""
    with ThreadPoolExecutor(max(1, threads)) as pool:
        for start in range(0, labels.size, _BLOCK):
            rows = slice(start, start + _BLOCK)
            _add_block(summed, matrix[rows], responses[rows], labels[rows], pool, threads)
    _check_finite(summed)


def _add_block(
    summed: Statistics,
    matrix: Any,
    responses: Any,
    labels: Ints,
    pool: ThreadPoolExecutor,
    threads: int,
) -> None:
    """Add a block of rows to `summed`, in place."""
    dense, dense_at, sparse = _split(matrix, summed)
    indptr, indices = sparse.indptr.astype(np.int64), sparse.indices.astype(np.int64)
    keys = pattern_keys(indptr, indices, sparse.data.view(np.int64))
    rows = np.lexsort((keys, labels))
    bounds = np.searchsorted(labels[rows], np.arange(summed.n_folds + 1)).astype(np.int64)
    for fold in range(summed.n_folds):
        _add_gram(summed.gram[fold], dense, dense_at, sparse, rows[bounds[fold] : bounds[fold + 1]])
    design = Design(dense, dense_at, indptr, indices + 1, sparse.data)
    order = Order(rows, bounds, find_alike(rows, indptr, indices, sparse.data))
    sums = Sums(summed.cross, summed.squares, summed.y_shift)
    if sp.issparse(responses):
        csr = (responses.indptr, responses.indices, responses.data)
        tasks = [
            pool.submit(add_sparse, fold, order, design, csr, sums)
            for fold in range(summed.n_folds)
        ]
    else:
        tasks = [
            pool.submit(add_dense, low, high, order, design, responses, sums)
            for low, high in pairwise(_edges(summed.n_genes, threads))
        ]
    for task in tasks:
        task.result()


def _split(matrix: Any, summed: Statistics) -> tuple[Floats, Ints, sp.csr_array]:
    """Return the shifted dense columns, where they stand in Z, and the unshifted rest as CSR."""
    cells = max(1, matrix.shape[0])
    if sp.issparse(matrix):
        filled = np.bincount(matrix.indices, minlength=matrix.shape[1])
    else:
        filled = count_nonzero(matrix)
    is_dense = (summed.x_shift != 0) | (filled >= SPARSE_BELOW * cells)
    index, others = np.flatnonzero(is_dense), np.flatnonzero(~is_dense)
    chosen = matrix[:, index]
    chosen = chosen.toarray() if sp.issparse(chosen) else chosen
    dense = np.ones((matrix.shape[0], index.size + 1))
    dense[:, 1:] = chosen - summed.x_shift[index]
    if sp.issparse(matrix):
        rest = sp.csr_array(matrix, dtype=np.float64, copy=True)
        rest.data[is_dense[rest.indices]] = 0.0
        rest.sum_duplicates()
        rest.eliminate_zeros()
    else:
        indptr, indices, values = to_csr(matrix, others, int(filled[others].sum()))
        rest = sp.csr_array((values, indices, indptr), shape=matrix.shape)
    return dense, np.concatenate(([0], index + 1)).astype(np.int64), rest


def _add_gram(
    gram: Floats, dense: Floats, dense_at: Ints, sparse: sp.csr_array, rows: Ints
) -> None:
    """Add Z'Z of some rows to `gram`, in place; what overflows is refused once all is summed."""
    here, there = dense[rows], sparse[rows]
    with np.errstate(over="ignore", invalid="ignore"):
        gram[np.ix_(dense_at, dense_at)] += here.T @ here
    mixed = there.T @ here
    gram[1:, dense_at] += mixed
    gram[dense_at, 1:] += mixed.T
    product = (there.T @ there).tocoo()
    gram[product.coords[0] + 1, product.coords[1] + 1] += product.data


def _check_finite(summed: Statistics) -> None:
    """Raise where a NaN or an infinity has reached a sum, naming the columns."""
    diagonal = summed.gram.diagonal(axis1=1, axis2=2).sum(axis=0)[1:]
    for name, sums in (("X", diagonal), ("Y", summed.squares.sum(axis=0))):
        bad = np.flatnonzero(~np.isfinite(sums))
        if bad.size:
            shown = ", ".join(map(str, bad[:5])) + (", ..." if bad.size > 5 else "")
            raise DataError(
                f"{name} holds NaN, infinity or values whose squares overflow (beyond 1e150) in "
                f"{bad.size} column(s) ({shown}): remove, impute or rescale these values"
            )


def _edges(genes: int, threads: int) -> list[int]:
    """Return bounds of gene ranges, multiples of the tile, a few for every thread."""
    tiles = -(-genes // TILE)
    pieces = max(1, min(tiles, 4 * threads if threads > 1 else 1))
    return [min(genes, TILE * (tiles * piece // pieces)) for piece in range(pieces + 1)]
