"""One pass over the cells: sum Z'Y and diag(Y'Y) per fold, compiled or in NumPy.

Work is split over genes (dense Y) or folds (sparse Y): no two threads ever add to the same number,
and the order of additions never depends on their count.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp

from tuner_plugins.enet import kernels
from tuner_plugins.enet.arrays import Floats, Ints

TILE = 512
"""Genes that go to one thread are multiples of it; it is one of the kernel's own tile."""


class Design(NamedTuple):
    """Z in two parts, and the order of the pass over its rows.

    Attributes
    ----------
    dense : (cells, dense columns)
        Columns without many zeros, shifted; the first is the intercept.
    dense_at : (dense columns,)
        Where they stand in Z.
    sparse : CSR, (cells, columns of X)
        The other columns, in their places.
    rows : (cells,)
        Row numbers, sorted by fold and by the entries of sparse columns.
    bounds : (folds + 1,)
        Where each fold starts and ends in `rows`.
    """

    dense: Floats
    dense_at: Ints
    sparse: sp.csr_array
    rows: Ints
    bounds: Ints


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


def add_cells(design: Design, responses: Any, sums: Sums, threads: int) -> None:
    """Add the rows of Y (cells, genes), a C-ordered array or CSR, to the sums."""
    if kernels.load() is None:
        _add_plainly(design, responses, sums)
        return
    dense, dense_at, sparse, rows, bounds = design
    # Names for all arrays: the kernels are told only where they lie.
    indptr, indices = sparse.indptr.astype(np.int64), sparse.indices.astype(np.int64) + 1
    _, columns, genes = sums.cross.shape
    is_sparse = sp.issparse(responses)
    values = responses.data if is_sparse else responses
    places = [responses.indptr, responses.indices] if is_sparse else []
    wide = any(part.dtype == np.int64 for part in places)
    places = [np.ascontiguousarray(part, np.int64 if wide else np.int32) for part in places]
    single = values.dtype == np.float32
    values = np.ascontiguousarray(values, np.float32 if single else np.float64)
    problem = kernels.words(
        *(genes, columns, bounds.size - 1, dense_at.size, int(single), int(wide)),
        *(rows, bounds, dense, dense_at, indptr, indices, sparse.data),
        *(values, *(places or (None, None)), sums.shift, sums.cross, sums.squares),
    )
    pieces = pairwise(range(bounds.size) if is_sparse else _edges(genes, threads))
    name = "tuner_enet_add_sparse" if is_sparse else "tuner_enet_add_dense"
    with ThreadPoolExecutor(max(1, threads)) as pool:
        list(pool.map(lambda piece: kernels.call(name, problem, *piece), pieces))


def _add_plainly(design: Design, responses: Any, sums: Sums) -> None:
    for fold, (start, end) in enumerate(pairwise(design.bounds)):
        rows = design.rows[start:end]
        dense, sparse, values = design.dense[rows], design.sparse[rows], responses[rows]
        with np.errstate(over="ignore", invalid="ignore"):
            if sp.issparse(values):
                values = values.astype(np.float64)
                sums.squares[fold] += values.multiply(values).sum(axis=0)
                mixed = (sparse.T @ values).toarray()
                sums.cross[fold, design.dense_at] += (values.T @ dense).T
            else:
                values = values - sums.shift
                sums.squares[fold] += (values**2).sum(axis=0)
                mixed = sparse.T @ values
                sums.cross[fold, design.dense_at] += dense.T @ values
        sums.cross[fold, 1:] += mixed


def _edges(genes: int, threads: int) -> list[int]:
    """Return bounds of gene ranges, multiples of the tile, a few for every thread."""
    tiles = -(-genes // TILE)
    pieces = max(1, min(tiles, 4 * threads if threads > 1 else 1))
    return [min(genes, TILE * (tiles * piece // pieces)) for piece in range(pieces + 1)]
