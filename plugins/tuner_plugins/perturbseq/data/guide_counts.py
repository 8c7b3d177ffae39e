"""Counts of guides as they are stored: what stands in obsm or in a modality, and its numbers.

A stand-alone script carries this module.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anndata
import h5py
import numpy as np
import pandas as pd
from anndata.io import read_elem
from scipy import sparse

from tuner_plugins.perturbseq.data.files import Source
from tuner_plugins.perturbseq.data.matrix import open_cells
from tuner_plugins.perturbseq.data.probing import probe
from tuner_plugins.perturbseq.data.stored import CellsError, did_you_mean, unreadable


def read_obsm(source: Source, key: str) -> Any:
    """Return what stands in obsm under a key.

    Raises
    ------
    CellsError
        There is nothing, it cannot be read, or there are several files.
    """
    source = _only_one(source, f"obsm '{key}'")
    if isinstance(source, anndata.AnnData):
        known: Any = source.obsm
    else:
        if source.is_dir() or not h5py.is_hdf5(source):
            raise CellsError(f"guides are called from obsm of an .h5ad file; {source} is none")
        probe(source, [f"obsm/{key}"])
        with h5py.File(source, "r") as file:
            known = file.get("obsm", {})
            if key in known:
                try:
                    return read_elem(known[key])
                except Exception as error:  # noqa: BLE001  anndata raises what its readers meet
                    raise unreadable(source, f"obsm/{key}: {error}") from error
            known = list(known)
    if key not in known:
        raise CellsError(did_you_mean(f"no obsm '{key}' with counts of guides", key, known))
    return known[key]


def read_modality(source: Source, modality: str, cells: pd.Index) -> pd.DataFrame:
    """Return counts of guides that are a modality of their own, or features of a type of their own.

    Parameters
    ----------
    source : Path, AnnData or Files
    modality : str
        As of `open_cells`: of an .h5mu, or a feature type such as ``CRISPR Guide Capture``.
    cells : Index
        Names of the screen's cells, in whose order the counts are; cells that the modality lacks
        have none.

    Raises
    ------
    CellsError
        There is no such modality, it has none of the cells, or there are several files.
    """
    found = open_cells(_only_one(source, f"modality '{modality}'"), None, None, modality)
    at = found.obs.index.get_indexer(cells)
    if (at < 0).all():
        raise CellsError(
            f"modality '{modality}' has none of the screen's cells: '{cells[0]}' for one is not "
            f"among '{found.obs.index[0]}', ...; give cells the same names in both"
        )
    blocks = [sparse.csr_matrix(x) for _, x in found.matrix.blocks(np.arange(len(found.obs)))]
    blocks.append(sparse.csr_matrix((1, len(found.genes))))  # the last row, for cells without
    counts = sparse.vstack(blocks, format="csr")[at]
    return pd.DataFrame.sparse.from_spmatrix(counts, cells, found.genes.astype(str))


def _only_one(source: Source, what: str) -> Path | anndata.AnnData:
    """Return the only file of a screen, or what is in memory."""
    if isinstance(source, Path | anndata.AnnData):
        return source  # and else Files, for which a script has a class of its own
    if len(source.counts) > 1:
        raise CellsError(
            f"guides are called from {what} of one file, and there are {len(source.counts)}; join "
            "them first, or call guides in each"
        )
    return source.counts[0]


def numbers_of_guides(counts: pd.DataFrame, key: str) -> sparse.csr_matrix:
    """Return the counts of a table of obsm."""
    if all(isinstance(kind, pd.SparseDtype) for kind in counts.dtypes):
        return sparse.csr_matrix(counts.sparse.to_coo())
    try:
        return sparse.csr_matrix(counts.to_numpy(dtype=np.float64))
    except (TypeError, ValueError) as error:
        raise CellsError(f"obsm['{key}'] holds no numbers; expected counts") from error
