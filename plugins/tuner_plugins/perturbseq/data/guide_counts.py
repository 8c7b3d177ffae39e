"""Counts of guides as they are stored: what stands in obsm, and its numbers.

A stand-alone script carries this module.
"""

from __future__ import annotations

from typing import Any

import anndata
import h5py
import numpy as np
import pandas as pd
from anndata.io import read_elem
from scipy import sparse

from tuner_plugins.perturbseq.data.files import Files, Source
from tuner_plugins.perturbseq.data.probing import probe
from tuner_plugins.perturbseq.data.stored import CellsError, did_you_mean, unreadable


def read_obsm(source: Source, key: str) -> Any:
    """Return what stands in obsm under a key.

    Raises
    ------
    CellsError
        There is nothing, it cannot be read, or there are several files.
    """
    if isinstance(source, Files):
        if len(source.counts) > 1:
            raise CellsError(
                f"guides are called from obsm '{key}' of one file, and there are "
                f"{len(source.counts)}; join them first, or call guides in each"
            )
        source = source.counts[0]
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


def numbers_of_guides(counts: pd.DataFrame, key: str) -> sparse.csr_matrix:
    """Return the counts of a table of obsm."""
    if all(isinstance(kind, pd.SparseDtype) for kind in counts.dtypes):
        return sparse.csr_matrix(counts.sparse.to_coo())
    try:
        return sparse.csr_matrix(counts.to_numpy(dtype=np.float64))
    except (TypeError, ValueError) as error:
        raise CellsError(f"obsm['{key}'] holds no numbers; expected counts") from error
