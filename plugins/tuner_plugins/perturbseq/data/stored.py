"""What stands in an .h5ad file: its layout is checked before a value is read.

A damaged file may point anywhere; HDF5 and SciPy follow it and take the process with them.
"""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import anndata
import h5py
import numpy as np
import pandas as pd
from anndata.io import read_elem, sparse_dataset

from tuner_plugins.perturbseq.errors import one_line

NAMED = 5
"""So many names stand in a note; the others are counted."""


class CellsError(ValueError):
    """The cells, their labels or their counts cannot be used: one line that says what to do."""

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


def did_you_mean(problem: str, name: str, known: Iterable[object]) -> str:
    """Return the message with the closest names that there are, or all."""
    close = difflib.get_close_matches(name, dict.fromkeys(map(str, known)), 3, 0.5)
    listed = ", ".join(close or map(str, known))
    return f"{problem}; {'did you mean' if close else 'there are'}: {listed or 'none'}"


def listed(names: Iterable[object], quote: str = "'") -> str:
    """Return names in quotes, at most `NAMED` of them; the others are counted."""
    quoted = [f"{quote}{name}{quote}" for name in names]
    more = f" and {len(quoted) - NAMED} more" if len(quoted) > NAMED else ""
    return ", ".join(quoted[:NAMED]) + more


def unreadable(path: Path | str, error: object) -> CellsError:
    """Return the error for a file that cannot be read, in one line."""
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return CellsError(f"{path} cannot be read as .h5ad, is it whole? ({reason}); copy it again")


def require_hdf5(path: Path) -> None:
    """Raise `CellsError` for what is there and is no HDF5 file."""
    if path.is_dir():
        raise CellsError(f"{path} is a folder; expected an .h5ad file")
    if path.exists() and not path.is_file():  # a pipe would be waited for
        raise CellsError(f"{path} is a device, a pipe or a socket; expected an .h5ad file")
    if path.is_file() and path.stat().st_size and not h5py.is_hdf5(path):
        raise CellsError(
            f"{path} is no HDF5 file (.h5ad); make an AnnData of it and write that with write_h5ad"
        )


def require_h5ad(file: h5py.File, path: Path) -> None:
    """Raise `CellsError` for HDF5 of another kind, naming how to convert it."""
    missing = [name for name in ("obs", "var") if name not in file]
    if not missing:
        return
    remedy = ""
    if "matrix" in file:
        other = ("10x", "read_10x_h5") if "row_attrs" not in file else ("loom", "read_loom")
        remedy = f"; it looks like {other[0]}: scanpy.{other[1]}(...).write_h5ad(...) converts it"
    raise CellsError(f"{path} is HDF5 but no .h5ad file: it has no '{missing[0]}'{remedy}")


def is_legacy(file: h5py.File) -> bool:
    """Return whether obs or var is a compound table: anndata before 0.7 wrote it."""
    return any(isinstance(file[name], h5py.Dataset) for name in ("obs", "var"))


def read_legacy(path: Path) -> anndata.AnnData:
    """Read a file of anndata before 0.7 as a whole."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return anndata.read_h5ad(path)
        except Exception as error:  # noqa: BLE001  whatever it is, the remedy is the same
            raise CellsError(
                f"{path} was written by anndata before 0.7, and anndata {anndata.__version__} "
                f"cannot read it ({unreadable(path, error).args[0][:60]}...); read it with the "
                "anndata that wrote it and write it again"
            ) from error


def read_frame(file: h5py.File, name: str, path: Path) -> pd.DataFrame:
    """Return a table of the file; `CellsError` where its columns do not fit together."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", anndata.OldFormatWarning)
            frame = read_elem(file[name])
    except Exception as error:  # noqa: BLE001  anndata raises what its readers meet in the file
        raise unreadable(path, f"{name}: {error or type(error).__name__}") from error
    if not isinstance(frame, pd.DataFrame):
        raise unreadable(path, f"{name} is {type(frame).__name__}, expected a table")
    return frame


def symbols_of(var: pd.DataFrame, column: str | None) -> pd.Index:
    """Return the symbols of genes; genes without one keep their name."""
    if column is None:
        return var.index
    if column not in var.columns:
        raise CellsError(did_you_mean(f"no var column '{column}' for symbols", column, var.columns))
    symbols = var[column].astype(object)
    empty = symbols.isna() | (symbols == "")
    return pd.Index(symbols.mask(empty, var.index.to_series()).astype(str).to_numpy())


def open_matrix(stored: Any, where: str, path: Path | str) -> Any:
    """Return a matrix that can be sliced by rows: a dataset, or anndata's sparse one.

    Raises
    ------
    CellsError
        Parts of a sparse matrix that are missing or do not fit together; values that are no
        numbers.
    """
    if isinstance(stored, h5py.Group):
        _require_whole(stored, where, path)
        try:
            stored = sparse_dataset(stored)
        except Exception as error:  # noqa: BLE001  as in `read_frame`
            raise unreadable(path, f"{where}: {error or type(error).__name__}") from error
    elif not isinstance(stored, h5py.Dataset) or stored.shape is None:
        raise CellsError(f"{path}: {where} holds no matrix; copy the file again")
    if stored.dtype.kind not in "fiub":
        raise CellsError(f"{path}: {where} holds {stored.dtype}; expected counts, as numbers")
    if not stored.dtype.isnative:  # SciPy has no sparse matrices of these
        raise CellsError(
            f"{path}: {where} holds {stored.dtype}, numbers of the other byte order; "
            "write the file again in this machine's"
        )
    return stored


def require_indices(block: Any, where: str, origin: str) -> None:
    """Raise `CellsError` where stored values of a sparse matrix lie outside of it."""
    indices, columns = block.indices, block.shape[int(block.format == "csr")]
    if len(indices) and not (0 <= indices.min() and indices.max() < columns):
        raise CellsError(
            f"{origin}: {where} is damaged, a value stands in column "
            f"{indices.min() if indices.min() < 0 else indices.max()} of {columns}; copy it again"
        )


def _require_whole(group: h5py.Group, where: str, path: Path | str) -> None:
    def damaged(what: str) -> CellsError:
        return CellsError(f"{path}: {where} is damaged, {what}; copy the file again")

    missing = [name for name in ("data", "indices", "indptr") if name not in group]
    kind = group.attrs.get("encoding-type", group.attrs.get("h5sparse_format", ""))
    shape = group.attrs.get("shape", group.attrs.get("h5sparse_shape"))
    if missing or shape is None:
        raise damaged(f"it has no {missing[0] if missing else 'shape'}")
    for name, kinds in {"data": "fiubcSOUV", "indices": "iu", "indptr": "iu"}.items():
        part = group[name]
        if not isinstance(part, h5py.Dataset) or len(part.shape or ()) != 1:
            raise damaged(f"its {name} is no list of numbers")
        if part.dtype.kind not in kinds:
            raise damaged(f"its {name} holds {part.dtype}, expected integers")
    shape = np.asarray(shape)
    if shape.shape != (2,) or shape.dtype.kind not in "iu" or str(kind)[:3] not in ("csr", "csc"):
        raise damaged(f"it is called '{kind}' of shape {shape.tolist()}")
    values, pointers = group["data"].shape[0], group["indptr"][:]
    rows = int(shape[int(str(kind).startswith("csc"))])
    if group["indices"].shape[0] != values:
        raise damaged(f"it has {values} values and {group['indices'].shape[0]} indices")
    if len(pointers) != rows + 1 or pointers[0] != 0 or pointers[-1] != values:
        raise damaged(f"its pointers do not lead from 0 to its {values} values")
    if (pointers[1:] < pointers[:-1]).any():  # a difference of unsigned ones is never negative
        raise damaged("its pointers do not ascend")
