"""A matrix of cells x genes that is read in blocks of rows, from memory or from files.

A stand-alone script carries this module.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from scipy import sparse

from tuner_plugins.perturbseq.data.forms import Layout, open_root
from tuner_plugins.perturbseq.data.stored import CellsError, require_indices, unreadable

Block: TypeAlias = sparse.csr_matrix | np.ndarray
"""Some rows of a matrix, float64, shape (cells, genes)."""

BLOCK_CELLS = 2048

DENSE_VALUES = 1 << 25
"""So many values of a dense matrix are read at a time, at most: 256 MB of them."""

UNREADABLE = (OSError, RuntimeError, KeyError, IndexError, TypeError, ValueError, MemoryError)
"""What h5py, Zarr and anndata raise at a damaged file."""


@dataclass(frozen=True)
class CellMatrix:
    """A matrix of cells x genes that is read in blocks of rows.

    Attributes
    ----------
    origin : str
        What it was read from, for messages.
    where : str
        ``X``, ``layers/NAME`` or ``raw/X``.
    shape : tuple of int
        Cells, genes.
    values : array or sparse matrix, optional
        The matrix, if it is in memory.
    path : Path, optional
        The file or Zarr store that holds it otherwise.
    layout : Tree, TenX or Loom, optional
        What is where in it.
    columns : array of int, shape (genes,), optional
        Which columns of the stored matrix are read, if not all.
    modality : str, optional
        As it was asked for, to open other layers alike.
    parts : tuple of CellMatrix
        The matrices of several files, whose rows follow each other; nothing else is set then.
    """

    origin: str
    where: str
    shape: tuple[int, int]
    values: Any = None
    path: Path | None = None
    layout: Layout | None = None
    columns: np.ndarray | None = None
    modality: str | None = None
    parts: tuple[CellMatrix, ...] = ()

    def blocks(self, rows: np.ndarray, size: int = BLOCK_CELLS) -> Iterator[tuple[slice, Block]]:
        """Return the wanted rows in blocks, in file order.

        Parameters
        ----------
        rows : array of int, shape (wanted,)
            Ascending row numbers.
        size : int
            Rows of the matrix that are read at a time.

        Yields
        ------
        slice
            Where the block stands among `rows`.
        csr_matrix or ndarray, shape (block, genes)
            Float64 values; sparse stays sparse, dense stays dense. Several values of one cell and
            gene are added up in memory, as SciPy does, and are refused in a file.

        Raises
        ------
        CellsError
            A file that is damaged, in what the block was read from.
        """
        if self.parts:
            yield from _joined_blocks(self.parts, rows, size)
            return
        if self.path is None:
            yield from _row_blocks(self.values, rows, size, self)
            return
        try:
            with open_root(self.path) as root:
                assert self.layout is not None, "a file has a layout"
                stored = self.layout.matrix(root, self.where, self.path)
                if getattr(stored, "format", "") == "csc":  # its rows are all over the file
                    stored = stored.to_memory()
                    require_indices(stored, self.where, self.origin)
                    stored = stored.tocsr()
                yield from _row_blocks(stored, rows, size, self)
        except CellsError:
            raise
        except UNREADABLE as error:
            raise unreadable(self.path, error) from error


def _joined_blocks(
    parts: tuple[CellMatrix, ...], rows: np.ndarray, size: int
) -> Iterator[tuple[slice, Block]]:
    start = 0
    for part in parts:
        stop = start + part.shape[0]
        first, last = np.searchsorted(rows, (start, stop))
        for where, block in part.blocks(rows[first:last] - start, size):
            yield slice(first + where.start, first + where.stop), block
        start = stop


def _row_blocks(
    stored: Any, rows: np.ndarray, size: int, what: CellMatrix
) -> Iterator[tuple[slice, Block]]:
    done = 0
    if not hasattr(stored, "format"):  # as sparse ones have
        size = max(1, min(size, DENSE_VALUES // max(1, stored.shape[1])))
    for start in range(0, stored.shape[0], size):
        stop = min(start + size, stored.shape[0])
        inside = rows[done : np.searchsorted(rows, stop)] - start
        if not len(inside):
            continue
        block = stored[start:stop]
        if hasattr(block, "compute"):  # of dask
            block = block.compute()
        if sparse.issparse(block):
            require_indices(block, what.where, what.origin)
        if len(inside) < stop - start:
            block = block[inside]
        if sparse.issparse(block):
            block = sparse.csr_matrix(block, dtype=np.float64)
            kept = block.nnz
            block.sum_duplicates()
            if what.path is not None and block.nnz < kept:
                raise CellsError(
                    f"{what.origin}: {what.where} has {kept - block.nnz} values that stand where "
                    "others of the same cell and gene do; copy it again, or, where they add up: "
                    "adata.X.sum_duplicates() and write it again"
                )
        else:
            block = np.asarray(block, dtype=np.float64)
        if what.columns is not None:
            block = block[:, what.columns]
        yield slice(done, done + len(inside)), block
        done += len(inside)
