"""What is read as a whole: a matrix as text (.mtx) with its names, and tables of cells.

A stand-alone script carries this module.
"""

from __future__ import annotations

import zlib
from pathlib import Path

import anndata
import pandas as pd
from scipy import sparse
from scipy.io import mmread

from tuner_plugins.perturbseq.data.layouts import feature_table
from tuner_plugins.perturbseq.data.stored import CellsError, listed

MTX = (".mtx", ".mtx.gz")

TABLES = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".txt", ".txt.gz", ".parquet")

TEXT_ERRORS = (OSError, EOFError, ValueError, MemoryError, OverflowError, zlib.error, ImportError)
"""What pandas and SciPy raise at texts that are damaged, and at absent packages."""


def is_mtx(path: Path) -> bool:
    """Return whether a path is an .mtx, or a folder that holds one."""
    return bool(_matrices(path)) if path.is_dir() else path.name.endswith(MTX)


def _matrices(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.name.endswith(MTX))


def read_mtx(path: Path) -> anndata.AnnData:
    """Read ``matrix.mtx``, ``barcodes.tsv`` and ``features.tsv`` or ``genes.tsv``, gzipped or not.

    Parameters
    ----------
    path : Path
        The folder, or the .mtx: what its name begins with, the others' names begin with as well.

    Raises
    ------
    CellsError
        Files that are absent, damaged or of different sizes; more than one .mtx in the folder.
    """
    found = _matrices(path) if path.is_dir() else [path]
    if len(found) > 1:
        raise CellsError(f"{path} has {len(found)} matrices; name one: {listed(found, '')}")
    features = _read_names(found[0], ("features", "genes"))
    barcodes = _read_names(found[0], ("barcodes",))[0]
    try:
        matrix = sparse.csr_matrix(mmread(found[0]))
    except TEXT_ERRORS as error:
        raise _damaged(found[0], error) from error
    shape = (len(features), len(barcodes))
    if matrix.shape == shape:
        matrix = matrix.T.tocsr()
    elif matrix.shape != shape[::-1]:
        raise CellsError(
            f"{found[0]} is {matrix.shape[0]} x {matrix.shape[1]}, but there are {shape[0]} "
            f"features and {shape[1]} barcodes beside it; copy the three files again"
        )
    names = ("gene_ids", "name", "feature_types")
    columns = {name: features[at] for at, name in enumerate(names[: features.shape[1]])}
    var = feature_table({name: pd.Index(values) for name, values in columns.items()})
    return anndata.AnnData(matrix, obs=pd.DataFrame(index=pd.Index(barcodes)), var=var)


def _read_names(matrix: Path, kinds: tuple[str, ...]) -> pd.DataFrame:
    """Return the table of names beside a matrix, all text."""
    prefix = matrix.name.removesuffix(".gz").removesuffix(".mtx").removesuffix("matrix")
    names = [f"{prefix}{kind}.tsv{end}" for kind in kinds for end in ("", ".gz")]
    beside = [matrix.with_name(name) for name in names if matrix.with_name(name).is_file()]
    if not beside:
        raise CellsError(f"{matrix} has no {' or '.join(names)} beside it; copy it there")
    try:
        return pd.read_csv(
            beside[0], sep="\t", header=None, dtype=str, quoting=3, keep_default_na=False
        )
    except TEXT_ERRORS as error:
        raise _damaged(beside[0], error) from error


def _damaged(path: Path, error: Exception) -> CellsError:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return CellsError(f"{path} cannot be read, is it whole? ({reason}); copy it again")


def with_table(obs: pd.DataFrame, path: Path) -> pd.DataFrame:
    r"""Return obs with the columns of a table of cells, matched by the names in its first column.

    Cells that the table has not are missing there; columns that obs has already are replaced.

    Raises
    ------
    CellsError
        A table that cannot be read, names a cell twice, or names none of the cells.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder) / "cells.csv"
    ...     _ = path.write_text("barcode,guide\nAC-1,STAT1\n")
    ...     with_table(pd.DataFrame(index=["AC-1", "GT-1"]), path)
          guide
    AC-1  STAT1
    GT-1    NaN
    """
    if not path.name.endswith(TABLES):
        raise CellsError(f"{path} is no table of cells; expected {', '.join(TABLES)}")
    try:
        if path.suffix == ".parquet":
            table = pd.read_parquet(path)
            table = table if table.index.dtype == object else table.set_index(table.columns[0])
        else:
            separator = "," if ".csv" in path.suffixes else "\t"
            table = pd.read_csv(path, sep=separator, index_col=0, converters={0: str})
    except (*TEXT_ERRORS, IndexError) as error:
        raise _damaged(path, error) from error
    table.index = table.index.astype(str)
    # numbers with gaps stay whole: a label 3 is not called 3.0
    table = table.convert_dtypes(
        convert_string=False, convert_boolean=False, convert_floating=False
    )
    twice = table.index[table.index.duplicated()]
    if len(twice):
        raise CellsError(f"{path} names cell '{twice[0]}' twice; expected a row for each cell")
    if not table.index.isin(obs.index).any():
        first, expected = (next(iter(names), "") for names in (table.index, obs.index))
        raise CellsError(
            f"{path} names none of the cells: its first is '{first}', that of the counts "
            f"'{expected}'; give the same barcodes in its first column"
        )
    return obs.drop(columns=table.columns, errors="ignore").join(table)
