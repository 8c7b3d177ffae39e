"""What a file or an AnnData says of its cells and genes, and the matrix that belongs to it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import anndata
import pandas as pd
from scipy import sparse

from tuner_plugins.perturbseq.data.cell_matrix import UNREADABLE, CellMatrix
from tuner_plugins.perturbseq.data.forms import chosen_features, form_of, is_zarr, open_root
from tuner_plugins.perturbseq.data.stored import (
    CellsError,
    is_legacy,
    read_legacy,
    symbols_of,
    unreadable,
)
from tuner_plugins.perturbseq.data.texts import is_mtx, read_mtx


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
    notes : tuple of str
        What was left out.
    """

    matrix: CellMatrix
    obs: pd.DataFrame
    genes: pd.Index
    symbols: pd.Index
    layers: tuple[str, ...]
    notes: tuple[str, ...] = ()


def open_cells(
    source: Path | anndata.AnnData,
    layer: str | None = None,
    symbols: str | None = None,
    modality: str | None = None,
) -> Cells:
    """Open a screen without reading its matrix.

    Parameters
    ----------
    source : Path or AnnData
        An .h5ad, .h5mu, .loom or 10x .h5 file, a .zarr store, an .mtx or its folder, which is read
        as a whole; or the object itself.
    layer : str, optional
        None or ``X``: X; ``raw``: the matrix of ``.raw`` (unless a layer has that name); else the
        layer of that name.
    symbols : str, optional
        Column of var (of ``raw/var`` for ``raw``) with gene symbols.
    modality : str, optional
        Name of the modality of an .h5mu, ``rna`` if there are several; elsewhere a value of the
        column ``feature_types`` of var, ``Gene Expression`` if there are several.

    Raises
    ------
    CellsError
        No such layer, an unreadable file, or names that are not unique.

    Examples
    --------
    >>> import numpy as np
    >>> cells = open_cells(anndata.AnnData(np.array([[3.0, 0.0], [1.0, 2.0]])))
    >>> cells.matrix.shape, cells.genes.tolist(), cells.layers
    ((2, 2), ['0', '1'], ('X',))
    >>> [block.tolist() for _, block in cells.matrix.blocks(np.array([1]))]
    [[[1.0, 2.0]]]
    """
    if isinstance(source, anndata.AnnData):
        cells = _from_memory(source, layer, symbols, modality)
    else:
        cells = _from_file(Path(source), layer, symbols, modality)
    _require_unique(cells.obs.index, cells.matrix.origin, "cells", "adata.obs_names_make_unique()")
    _require_unique(cells.genes, cells.matrix.origin, "genes", "adata.var_names_make_unique()")
    return cells


def _from_memory(
    adata: anndata.AnnData,
    layer: str | None,
    symbols: str | None,
    modality: str | None,
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
    stored = CellMatrix(origin, where, tuple(values.shape), values=values)
    return _chosen(stored, adata.obs.copy(), var, (symbols, modality), layers)


def _from_file(path: Path, layer: str | None, symbols: str | None, modality: str | None) -> Cells:
    try:
        if is_mtx(path) and not is_zarr(path):
            return _from_memory(read_mtx(path), layer, symbols, modality, str(path))
        layout, kind = form_of(path, layer, modality)
        with open_root(path) as root:
            if is_legacy(root):
                return _from_memory(read_legacy(path), layer, symbols, kind, str(path))
            named, has_raw = layout.layers(root)
            where = _locate(layer, named, has_raw, str(path))
            layers = _layer_names(named, has_raw)
            values = layout.matrix(root, where, path)
            if values is None:
                raise CellsError(f"{path} has no {where}; name a layer: {', '.join(layers)}")
            obs, var = layout.tables(root, where, path)
            shape = tuple(values.shape)
            stored = CellMatrix(str(path), where, shape, None, path, layout, None, modality)
            return _chosen(stored, obs, var, (symbols, kind), layers)
    except CellsError:
        raise
    except UNREADABLE as error:
        raise unreadable(path, error) from error


def _chosen(
    stored: CellMatrix,
    obs: pd.DataFrame,
    var: pd.DataFrame,
    names: tuple[str | None, str | None],
    layers: tuple[str, ...],
) -> Cells:
    """Return the cells with the features of one type; `names`: column of symbols, and the type."""
    if stored.shape != (len(obs), len(var)):
        raise CellsError(
            f"{stored.origin}: {stored.where} is {stored.shape}, but there are {len(obs)} cells "
            f"and {len(var)} genes; write the file again"
        )
    symbols, kind = names
    columns, notes = chosen_features(var, kind, stored.origin)
    if columns is not None:
        var = var.iloc[columns]
        stored = replace(stored, shape=(len(obs), len(var)), columns=columns)
    return Cells(stored, obs, var.index.copy(), symbols_of(var, symbols), layers, tuple(notes))


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
