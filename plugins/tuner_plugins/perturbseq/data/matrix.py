"""Cells x genes matrices, from memory or from an .h5ad file, a block of cells at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import anndata
import h5py
import numpy as np
import pandas as pd
from scipy import sparse

from tuner_plugins.perturbseq.data.probing import probe
from tuner_plugins.perturbseq.data.stored import (
    CellsError,
    is_legacy,
    open_matrix,
    read_frame,
    read_legacy,
    require_h5ad,
    require_indices,
    symbols_of,
    unreadable,
)

Block: TypeAlias = sparse.csr_matrix | np.ndarray
"""Some rows of a matrix, float64, shape (cells, genes)."""

BLOCK_CELLS = 8192

UNREADABLE = (OSError, RuntimeError, KeyError, IndexError, TypeError, ValueError, MemoryError)
"""What h5py and anndata raise at a damaged file."""


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
        The .h5ad file that holds it otherwise.
    """

    origin: str
    where: str
    shape: tuple[int, int]
    values: Any = None
    path: Path | None = None

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
        if self.path is None:
            yield from _row_blocks(self.values, rows, size, self)
            return
        try:
            with h5py.File(self.path, "r") as file:
                stored = open_matrix(file[self.where], self.where, self.path)
                if getattr(stored, "format", "") == "csc":  # its rows are all over the file
                    stored = stored.to_memory()
                    require_indices(stored, self.where, self.origin)
                    stored = stored.tocsr()
                yield from _row_blocks(stored, rows, size, self)
        except CellsError:
            raise
        except UNREADABLE as error:
            raise unreadable(self.path, error) from error


@dataclass(frozen=True)
class Cells:
    """What a file or an AnnData says of its cells and genes, and a matrix of their values.

    Attributes
    ----------
    matrix : CellMatrix
        Values, cells x genes.
    obs : DataFrame
        Annotation of all cells; unique names.
    genes : Index
        Unique names of the matrix's columns.
    symbols : Index
        Gene symbols of the same columns, which may repeat; the names where no column of var was
        named.
    layers : tuple of str
        Names that ``layer`` could be asked for.
    """

    matrix: CellMatrix
    obs: pd.DataFrame
    genes: pd.Index
    symbols: pd.Index
    layers: tuple[str, ...]


def open_cells(
    source: Path | anndata.AnnData, layer: str | None = None, symbols: str | None = None
) -> Cells:
    """Open a screen without reading its matrix.

    Parameters
    ----------
    source : Path or AnnData
        An .h5ad file, or the object itself.
    layer : str, optional
        None or ``X``: X; ``raw``: the matrix of ``.raw`` (unless a layer has that name); else the
        layer of that name.
    symbols : str, optional
        Column of var (of ``raw/var`` for ``raw``) with gene symbols.

    Raises
    ------
    CellsError
        No such layer, an unreadable file, or names that are not unique.

    Examples
    --------
    >>> cells = open_cells(anndata.AnnData(np.array([[3.0, 0.0], [1.0, 2.0]])))
    >>> cells.matrix.shape, cells.genes.tolist(), cells.layers
    ((2, 2), ['0', '1'], ('X',))
    >>> [block.tolist() for _, block in cells.matrix.blocks(np.array([1]))]
    [[[1.0, 2.0]]]
    """
    if isinstance(source, anndata.AnnData):
        cells = _from_memory(source, layer, symbols)
    else:
        cells = _from_file(Path(source), layer, symbols)
    _require_unique(cells.obs.index, cells.matrix.origin, "cells", "adata.obs_names_make_unique()")
    _require_unique(cells.genes, cells.matrix.origin, "genes", "adata.var_names_make_unique()")
    if cells.matrix.shape != (len(cells.obs), len(cells.genes)):
        raise CellsError(
            f"{cells.matrix.origin}: {cells.matrix.where} is {cells.matrix.shape}, but there are "
            f"{len(cells.obs)} cells and {len(cells.genes)} genes; write the file again"
        )
    return cells


def _row_blocks(
    stored: Any, rows: np.ndarray, size: int, what: CellMatrix
) -> Iterator[tuple[slice, Block]]:
    done = 0
    for start in range(0, stored.shape[0], size):
        stop = min(start + size, stored.shape[0])
        inside = rows[done : np.searchsorted(rows, stop)] - start
        if not len(inside):
            continue
        block = stored[start:stop]
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
        yield slice(done, done + len(inside)), block
        done += len(inside)


def _from_memory(
    adata: anndata.AnnData,
    layer: str | None,
    symbols: str | None,
    origin: str = "the AnnData object",
) -> Cells:
    named = layers_of(adata)
    layers = _layer_names(named, adata.raw is not None)
    where = _locate(layer, named, adata.raw is not None, origin)
    if where == "raw/X":
        values, var = adata.raw.X, adata.raw.var
    else:
        values = adata.X if where == "X" else adata.layers[where.split("/", 1)[1]]
        var = adata.var
    if values is None:
        raise CellsError(f"{origin} has no X; name a layer: {', '.join(layers)}")
    values = values.tocsr() if sparse.issparse(values) else values
    matrix = CellMatrix(origin, where, tuple(values.shape), values=values)
    return Cells(matrix, adata.obs.copy(), var.index.copy(), symbols_of(var, symbols), layers)


def _from_file(path: Path, layer: str | None, symbols: str | None) -> Cells:
    probe(path, parts_of(layer))
    try:
        with h5py.File(path, "r") as file:
            require_h5ad(file, path)
            if is_legacy(file):
                return _from_memory(read_legacy(path), layer, symbols, str(path))
            layered = file.get("layers")
            named = tuple(layered) if isinstance(layered, h5py.Group) else ()
            where = _locate(layer, named, "raw" in file, str(path))
            layers = _layer_names(named, "raw" in file)
            if where not in file:
                raise CellsError(f"{path} has no {where}; name a layer: {', '.join(layers)}")
            stored = open_matrix(file[where], where, path)
            obs = read_frame(file, "obs", path)
            var = read_frame(file, "raw/var" if where == "raw/X" else "var", path)
            matrix = CellMatrix(str(path), where, tuple(stored.shape), path=path)
    except CellsError:
        raise
    except UNREADABLE as error:
        raise unreadable(path, error) from error
    return Cells(matrix, obs, var.index, symbols_of(var, symbols), layers)


def parts_of(layer: str | None) -> list[str]:
    """Return the names in a file that `open_cells` may read for a layer."""
    if layer is None or layer == "X":
        return ["obs", "var", "X"]
    return ["obs", "var", f"layers/{layer}", *(["raw/X", "raw/var"] if layer == "raw" else [])]


def layers_of(adata: anndata.AnnData) -> tuple[str, ...]:
    """Return the names of the layers; anndata 0.13 lists X among them, under the name None."""
    return tuple(name for name in adata.layers if name is not None)


def _layer_names(named: tuple[str, ...], has_raw: bool) -> tuple[str, ...]:
    return ("X", *named, *(["raw"] if has_raw and "raw" not in named else []))


def _locate(layer: str | None, named: tuple[str, ...], has_raw: bool, origin: str) -> str:
    if layer is None or layer == "X":
        return "X"
    if layer in named:
        return f"layers/{layer}"
    if layer == "raw" and has_raw:
        return "raw/X"
    known = ", ".join(_layer_names(named, has_raw))
    raise CellsError(f"{origin} has no layer '{layer}'; it has: {known}")


def _require_unique(names: pd.Index, origin: str, kind: str, remedy: str) -> None:
    if not names.is_unique:
        twice = names[names.duplicated()][0]
        raise CellsError(f"{origin}: two {kind} are called '{twice}'; make names unique: {remedy}")
