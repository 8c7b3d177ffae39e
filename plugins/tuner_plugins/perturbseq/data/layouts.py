"""What is where in a file that holds a screen: in a tree of AnnData, in .h5 of 10x, in .loom.

Each layout names layers, tables and matrices; a matrix is read a block of cells at a time. A
stand-alone script carries this module.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from anndata.utils import make_index_unique
from scipy import sparse

from tuner_plugins.perturbseq.data.stored import (
    CellsError,
    is_group,
    open_matrix,
    read_frame,
    require_parts,
)

CELL_NAMES = ("CellID", "obs_names", "cell_names", "barcode")
GENE_NAMES = ("Gene", "var_names", "gene_names", "Accession")
"""Attributes of a .loom that name its columns and rows."""


@dataclass(frozen=True)
class Tree:
    """An AnnData in a group of a file.

    Attributes
    ----------
    at : str
        Where the group is, with a slash at the end: nothing in .h5ad and .zarr, ``mod/NAME/`` in a
        MuData.
    """

    at: str = ""

    def layers(self, root: Any) -> tuple[tuple[str, ...], bool]:
        """Return the names of the layers, and whether there is a ``raw``."""
        layered = root.get(f"{self.at}layers")
        return tuple(layered) if is_group(layered) else (), is_group(root.get(f"{self.at}raw"))

    def tables(self, root: Any, where: str, path: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Return obs and var; a MuData's own obs has columns that may be missing from the part."""
        obs = read_frame(root, f"{self.at}obs", path)
        var = read_frame(root, f"{self.at}{'raw/var' if where == 'raw/X' else 'var'}", path)
        if self.at:
            outer = read_frame(root, "obs", path)
            further = outer.columns.difference(obs.columns, sort=False)
            obs = obs.join(outer.loc[~outer.index.duplicated(), further])
        return obs, var

    def matrix(self, root: Any, where: str, path: Path) -> Any:
        """Return the matrix X, ``layers/NAME`` or ``raw/X``, to be sliced by rows; None if none."""
        name = f"{self.at}{where}"
        return open_matrix(root[name], where, path) if name in root else None


@dataclass(frozen=True)
class TenX:
    """Counts as Cell Ranger and CellBender write them: a group of features x barcodes, by column.

    Attributes
    ----------
    at : str
        The group: ``matrix``, or the genome before Cell Ranger 3.
    """

    at: str

    def layers(self, root: Any) -> tuple[tuple[str, ...], bool]:
        """Return that there are none."""
        return (), False

    def tables(self, root: Any, where: str, path: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Return obs without columns, and var named by symbols that were made unique."""
        group = root[self.at]
        of = group["features"] if "features" in group else group
        names = {
            "name": ("name", "gene_names"),
            "gene_ids": ("id", "genes"),
            "feature_types": ("feature_type",),
            "genome": ("genome",),
        }
        columns = {
            column: _texts_in(of[name])
            for column, known in names.items()
            for name in known
            if name in of
        }
        obs = pd.DataFrame(index=_texts_in(group["barcodes"]))
        return obs, feature_table(columns)

    def matrix(self, root: Any, where: str, path: Path) -> Any:
        """Return the counts, to be sliced by cells."""
        group = root[self.at]
        shape = np.asarray(group["shape"]) if "shape" in group else None
        require_parts(group, "csc", shape, self.at, path)
        return _ByBarcode(group)


class _ByBarcode:
    """A matrix of features x barcodes in compressed columns, as barcodes x features in rows."""

    format = "csr"

    def __init__(self, group: Any) -> None:
        self.group, self.pointers = group, group["indptr"][:].astype(np.int64)
        features, barcodes = (int(size) for size in group["shape"])
        self.shape, self.dtype = (barcodes, features), group["data"].dtype

    def __getitem__(self, rows: slice) -> sparse.csr_matrix:
        pointers = self.pointers[rows.start : rows.stop + 1]
        inside = slice(pointers[0], pointers[-1])
        parts = (self.group["data"][inside], self.group["indices"][inside], pointers - pointers[0])
        return sparse.csr_matrix(parts, shape=(len(pointers) - 1, self.shape[1]))


@dataclass(frozen=True)
class Loom:
    """A .loom: genes x cells, with attributes of rows and columns."""

    def layers(self, root: Any) -> tuple[tuple[str, ...], bool]:
        """Return the names of the layers; there is no ``raw``."""
        return tuple(root.get("layers", ())), False

    def tables(self, root: Any, where: str, path: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Return the attributes of columns and of rows; names of genes are made unique."""
        genes, cells = root["matrix"].shape
        var = _attributes(root["row_attrs"], genes, GENE_NAMES, path)
        var.index = pd.Index(make_index_unique(var.index))
        return _attributes(root["col_attrs"], cells, CELL_NAMES, path), var

    def matrix(self, root: Any, where: str, path: Path) -> Any:
        """Return a layer, to be sliced by cells."""
        name = "matrix" if where == "X" else where
        return _Turned(open_matrix(root[name], name, path))


class _Turned:
    """A dense matrix of genes x cells as cells x genes."""

    def __init__(self, stored: Any) -> None:
        self.stored, self.shape, self.dtype = stored, stored.shape[::-1], stored.dtype

    def __getitem__(self, rows: slice) -> np.ndarray:
        return np.ascontiguousarray(self.stored[:, rows].T)


def feature_table(columns: dict[str, pd.Index]) -> pd.DataFrame:
    """Return var from columns ``name``, ``gene_ids``, ...: named by symbols, made unique."""
    names = columns.pop("name", columns.get("gene_ids"))
    if names is None:
        raise KeyError("neither names nor identifiers of features")
    return pd.DataFrame(columns, index=make_index_unique(pd.Index(names)))


def _texts_in(stored: Any) -> pd.Index:
    """Return the texts of a dataset, bytes or not."""
    values = stored[:]
    return pd.Index(
        [
            value.decode("utf-8", "replace") if isinstance(value, bytes) else value
            for value in values
        ],
        dtype=object,
    ).astype(str)


def _attributes(group: Any, size: int, names: tuple[str, ...], path: Path) -> pd.DataFrame:
    """Return the attributes of a .loom that hold one value for each of `size` rows."""
    columns = {
        name: (_texts_in(stored) if stored.dtype.kind in "OSU" else stored[:])
        for name, stored in group.items()
        if not is_group(stored) and stored.shape == (size,)
    }
    for name in names:
        if name in columns:
            index = pd.Index(columns.pop(name)).astype(str)
            return pd.DataFrame(columns, index=index)
    raise CellsError(
        f"{path}: {group.name} has no names; expected one of {', '.join(names)}, "
        f"it has {', '.join(columns) or 'none'}"
    )
