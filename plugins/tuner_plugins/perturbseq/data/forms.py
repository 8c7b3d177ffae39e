"""The forms of a file that holds a screen: .h5ad, .h5mu, .zarr, .h5 of 10x Genomics, .loom.

What a file is, is told by its content. A stand-alone script carries this module.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import h5py
import numpy as np
import pandas as pd

from tuner_plugins.perturbseq.data.layouts import Loom, TenX, Tree
from tuner_plugins.perturbseq.data.probing import probe
from tuner_plugins.perturbseq.data.stored import (
    CellsError,
    did_you_mean,
    is_group,
    require_h5ad,
)

Layout: TypeAlias = "Tree | TenX | Loom"

EXPRESSION = "Gene Expression"
"""The feature type of genes in what 10x Genomics writes."""

ZARR_MARKS = ("zarr.json", ".zgroup")
"""Files of which each group of a Zarr store has one."""


@contextmanager
def open_root(path: Path) -> Iterator[Any]:
    """Open a file of HDF5 or a folder of Zarr, to be read."""
    if not path.is_dir():
        with h5py.File(path, "r") as file:
            yield file
        return
    try:
        import zarr
    except ImportError as error:
        raise CellsError(
            f"{path} is a Zarr store: it needs the package zarr; install it"
        ) from error
    yield zarr.open_group(str(path), mode="r")


def is_zarr(path: Path) -> bool:
    """Return whether a path is a folder that holds a Zarr store."""
    return any((path / mark).is_file() for mark in ZARR_MARKS)


def form_of(path: Path, layer: str | None, modality: str | None) -> tuple[Layout, str | None]:
    """Return the form of a file, by what is in it.

    Parameters
    ----------
    path : Path
        A file of HDF5, or a folder of Zarr.
    layer : str, optional
        What will be read.
    modality : str, optional
        Name in a MuData, or of a genome where there are several; a feature type elsewhere.

    Returns
    -------
    form : Tree, TenX or Loom
    kind : str or None
        The feature type that is asked for; None where `modality` names a part.

    Raises
    ------
    CellsError
        A file that is damaged, or of another form; no such modality.
    """
    in_hdf5 = not is_zarr(path)
    if in_hdf5:
        probe(path, parts_of(layer))
    with open_root(path) as root:
        names = list(root)
        if in_hdf5 and ("mod" in names or "obs" not in names):
            probe(path, names)
        if "mod" in names:
            return Tree(f"mod/{_modality(list(root['mod']), modality, path)}/"), None
        if {"matrix", "row_attrs", "col_attrs"} <= set(names):
            return Loom(), modality
        groups = [name for name in names if is_group(root[name])]
        genomes = [name for name in groups if {"barcodes", "indptr"} <= set(root[name])]
        if len(genomes) > 1:  # before Cell Ranger 3
            return TenX(_modality(genomes, modality, path)), None
        if genomes:
            return TenX(genomes[0]), modality
        require_h5ad(root, path)
    return Tree(), modality


def parts_of(layer: str | None) -> list[str]:
    """Return the names in an .h5ad that are read for a layer."""
    if layer is None or layer == "X":
        return ["obs", "var", "X"]
    return ["obs", "var", f"layers/{layer}", *(["raw/X", "raw/var"] if layer == "raw" else [])]


def _modality(names: list[str], wanted: str | None, path: Path) -> str:
    """Return the modality to read: the one asked for, ``rna``, or the only one."""
    if wanted is not None:
        if wanted not in names:
            raise CellsError(did_you_mean(f"{path} has no modality '{wanted}'", wanted, names))
        return wanted
    if "rna" not in names and len(names) != 1:
        raise CellsError(
            f"{path} has these modalities: {', '.join(names) or 'none'}; name the one with the "
            "counts of genes (data.modality)"
        )
    return "rna" if "rna" in names else names[0]


def chosen_features(
    var: pd.DataFrame, kind: str | None, path: str
) -> tuple[np.ndarray | None, list[str]]:
    """Return the columns of one feature type, or None for all, and what was left out.

    Parameters
    ----------
    var : DataFrame
        With a column ``feature_types``, perhaps.
    kind : str, optional
        None: genes, where there are features of other types beside them.

    Raises
    ------
    CellsError
        There is no such feature type.
    """
    types = var.get("feature_types")
    if types is None:
        if kind is None:
            return None, []
        raise CellsError(
            f"{path} has no modality '{kind}': it is no .h5mu, and var has no column "
            "'feature_types'; leave data.modality out"
        )
    types = types.astype(str)
    known = list(dict.fromkeys(types))
    if kind is None and (len(known) < 2 or EXPRESSION not in known):
        return None, []
    wanted = kind or EXPRESSION
    if wanted not in known:
        raise CellsError(did_you_mean(f"{path} has no feature type '{wanted}'", wanted, known))
    columns = np.flatnonzero(types == wanted)
    others = ", ".join(f"{int((types == one).sum())} of {one}" for one in known if one != wanted)
    notes = [f"{len(columns)} features of type {wanted} are read, not {others} (data.modality)"]
    return columns, notes if others else []
