"""What stands in a file of AnnData: its layout is checked before a value is read.

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

FORMS = (".h5ad", ".h5mu", ".zarr", ".h5", ".loom")
"""Endings of files that are read in blocks. What a file is, is told by its content."""


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
    form = Path(path).suffix if Path(path).suffix in FORMS else ".h5ad"
    return CellsError(f"{path} cannot be read as {form}, is it whole? ({reason}); copy it again")


def require_hdf5(path: Path) -> None:
    """Raise `CellsError` for what is there and is no HDF5 file."""
    if path.is_dir():
        raise CellsError(
            f"{path} is a folder; expected an .h5ad file, a .zarr store, or a folder with "
            f"matrix.mtx, barcodes.tsv and features.tsv; several files are named by {path}/*.h5ad"
        )
    if path.exists() and not path.is_file():  # a pipe would be waited for
        raise CellsError(f"{path} is a device, a pipe or a socket; expected an .h5ad file")
    if path.is_file() and path.stat().st_size and not h5py.is_hdf5(path):
        raise CellsError(
            f"{path} is no HDF5 file (.h5ad, .h5mu, .h5, .loom), .mtx or .zarr; make an AnnData of "
            "it and write that with write_h5ad"
        )


def require_h5ad(file: Any, path: Path) -> None:
    """Raise `CellsError` for a file, or a Zarr store, of another kind."""
    missing = [name for name in ("obs", "var") if name not in file]
    if missing:
        kind = "a Zarr store but no AnnData" if path.is_dir() else "HDF5 but no .h5ad file"
        raise CellsError(
            f"{path} is {kind}: it has no '{missing[0]}'; make an AnnData of it and write that"
        )


def is_group(item: Any) -> bool:
    """Return whether a part of HDF5 or Zarr holds others, and no values itself."""
    return item is not None and not hasattr(item, "shape")


def is_legacy(file: Any) -> bool:
    """Return whether obs or var is a compound table: anndata before 0.7 wrote it."""
    return any(name in file and not is_group(file[name]) for name in ("obs", "var"))


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


def read_frame(file: Any, name: str, path: Path) -> pd.DataFrame:
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


def comparable(names: Iterable[object], *, dots: bool = False) -> list[str]:
    """Return names of genes as they are compared: in upper case, where mouse symbols match human.

    With `dots`, hyphens become dots, as R's ``make.names`` writes them.

    Examples
    --------
    >>> comparable(["Hla-a"]), comparable(["Hla-a"], dots=has_dots(["HLA.A", "STAT1"]))
    (['HLA-A'], ['HLA.A'])
    """
    upper = [str(name).upper() for name in names]
    return [name.replace("-", ".") for name in upper] if dots else upper


def has_dots(genes: Iterable[object]) -> bool:
    """Return whether R may have written these names: there are dots, and not one hyphen."""
    written = "\n".join(map(str, genes))
    return "." in written and "-" not in written


def open_matrix(stored: Any, where: str, path: Path | str) -> Any:
    """Return a matrix that can be sliced by rows: an array, or anndata's sparse one.

    Raises
    ------
    CellsError
        Parts of a sparse matrix that are missing or do not fit together; values that are no
        numbers.
    """
    if is_group(stored):
        kind = stored.attrs.get("encoding-type", stored.attrs.get("h5sparse_format", ""))
        shape = stored.attrs.get("shape", stored.attrs.get("h5sparse_shape"))
        require_parts(stored, str(kind), shape, where, path)
        try:
            stored = sparse_dataset(stored)
        except Exception as error:  # noqa: BLE001  as in `read_frame`
            raise unreadable(path, f"{where}: {error or type(error).__name__}") from error
    elif stored.shape is None:
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


def require_parts(group: Any, kind: str, shape: Any, where: str, path: Path | str) -> None:
    """Raise `CellsError` where the parts of a sparse matrix do not fit together.

    Parameters
    ----------
    group : Group
        Of HDF5 or Zarr, with ``data``, ``indices`` and ``indptr``.
    kind : str
        Begins with ``csr`` or ``csc``.
    shape : array of int, shape (2,), or None
        Rows and columns.
    where, path
        For the message.
    """

    def damaged(what: str) -> CellsError:
        return CellsError(f"{path}: {where} is damaged, {what}; copy the file again")

    missing = [name for name in ("data", "indices", "indptr") if name not in group]
    if missing or shape is None:
        raise damaged(f"it has no {missing[0] if missing else 'shape'}")
    for name, kinds in {"data": "fiubcSOUV", "indices": "iu", "indptr": "iu"}.items():
        if problem := _not_a_list(group[name], kinds):
            raise damaged(f"its {name} {problem}")
    shape = np.asarray(shape)
    if shape.shape != (2,) or shape.dtype.kind not in "iu" or kind[:3] not in ("csr", "csc"):
        raise damaged(f"it is called '{kind}' of shape {shape.tolist()}")
    values, pointers = group["data"].shape[0], group["indptr"][:]
    rows = int(shape[int(kind.startswith("csc"))])
    if group["indices"].shape[0] != values:
        raise damaged(f"it has {values} values and {group['indices'].shape[0]} indices")
    if len(pointers) != rows + 1 or pointers[0] != 0 or pointers[-1] != values:
        raise damaged(f"its pointers do not lead from 0 to its {values} values")
    if (pointers[1:] < pointers[:-1]).any():  # a difference of unsigned ones is never negative
        raise damaged("its pointers do not ascend")


def _not_a_list(part: Any, kinds: str) -> str:
    """Return what is wrong with a list of numbers of some kinds; nothing if it is one."""
    if is_group(part) or len(part.shape or ()) != 1:
        return "is no list of numbers"
    if part.dtype.kind not in kinds:
        return f"holds {part.dtype}, expected integers"
    # Zarr takes for zeros what it does not find
    lacks = getattr(part, "nchunks_initialized", 0) < getattr(part, "nchunks", 0)
    return "lacks a part of its values" if lacks else ""


def stored_names(names: Iterable[object]) -> list[str]:
    """Return names as HDF5 holds them: ``_`` for a slash, and one more where two become one.

    >>> stored_names(["C/D", "E", "C_D"])
    ['C_D', 'E', 'C_D_']
    """
    found: list[str] = []
    for name in names:
        plain = str(name).replace("/", "_")
        while plain in found:
            plain += "_"
        found.append(plain)
    return found
