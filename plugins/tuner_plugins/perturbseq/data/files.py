"""One screen of several files: genes that they share, names of cells that stay unique.

A stand-alone script carries this module.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, TypeAlias

import anndata
import numpy as np
import pandas as pd

from tuner_plugins.perturbseq.data.cell_matrix import CellMatrix
from tuner_plugins.perturbseq.data.matrix import Cells, open_cells
from tuner_plugins.perturbseq.data.stored import CellsError, listed
from tuner_plugins.perturbseq.data.texts import with_table

FILE = "file"
"""The column of obs that says which file a cell is of, where there are several."""

SAME, INNER = "same", "inner"


class Files(NamedTuple):
    """The files of a screen.

    Attributes
    ----------
    counts : sequence of Path
        See `open_cells`.
    tables : sequence of Path
        Tables with further columns of obs: none, one, or one for each of `counts`.
    """

    counts: Sequence[Path]
    tables: Sequence[Path] = ()


Source: TypeAlias = "Path | anndata.AnnData | Files"


class Reading(NamedTuple):
    """What of a file is read; see `open_cells`, and `join` in `open_source`."""

    layer: str | None = None
    symbols: str | None = None
    modality: str | None = None
    join: str = SAME


def open_source(source: Source, reading: Reading) -> Cells:
    """Open a screen that may be of several files, without reading its matrices.

    Parameters
    ----------
    source : Path, AnnData or Files
        Cells of several files follow each other. Where names of cells come twice, all have the
        name of their file behind them, and ``obs["file"]`` has it for any use.
    reading : Reading
        ``join``: ``same`` demands that all files have the same genes, in any order; ``inner``
        takes those that all have.

    Raises
    ------
    CellsError
        As `open_cells`, for each file; genes that differ; tables that do not fit.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     paths = [Path(folder) / name for name in ("a.h5ad", "b.h5ad")]
    ...     for path in paths:
    ...         anndata.AnnData(np.eye(2)).write_h5ad(path)
    ...     cells = open_source(Files(paths), Reading())
    >>> cells.matrix.shape, cells.obs["file"].to_dict()
    ((4, 2), {'0-a': 'a', '1-a': 'a', '0-b': 'b', '1-b': 'b'})
    """
    if isinstance(source, Path | anndata.AnnData):
        return open_cells(source, *reading[:3])
    counts, tables = source
    if tables and len(tables) not in (1, len(counts)):
        raise CellsError(
            f"{len(tables)} tables of cells for {len(counts)} files of counts; give one, or "
            "one for each"
        )
    parts = [open_cells(path, *reading[:3]) for path in counts]
    if len(tables) == len(parts):
        pairs = zip(parts, tables, strict=True)
        parts = [replace(part, obs=with_table(part.obs, table)) for part, table in pairs]
    if len(parts) == 1:
        return parts[0]
    joined = _joined_cells(parts, _tags(counts), reading.join)
    return replace(joined, obs=with_table(joined.obs, tables[0])) if len(tables) == 1 else joined


def _joined_cells(parts: Sequence[Cells], tags: Sequence[str], join: str) -> Cells:
    genes, notes = _shared_genes(parts, tags, join)
    first = parts[0]
    symbols = first.symbols[first.genes.get_indexer(genes)]
    names = pd.Index(np.concatenate([part.obs.index for part in parts]))
    tagged = list(zip(parts, tags, strict=True))
    if not names.is_unique:
        names = pd.Index([f"{name}-{tag}" for part, tag in tagged for name in part.obs.index])
    told_apart = [part.obs.assign(**{FILE: part.obs.get(FILE, tag)}) for part, tag in tagged]
    obs = pd.concat(told_apart).set_axis(names)
    matrices = tuple(_with_genes(part, genes) for part in parts)
    matrix = CellMatrix(
        f"{matrices[0].origin} and {len(parts) - 1} more",
        matrices[0].where,
        (len(obs), len(genes)),
        parts=matrices,
    )
    layers = tuple(name for name in first.layers if all(name in part.layers for part in parts))
    told = [note for part in parts for note in part.notes]
    return Cells(matrix, obs, genes, symbols, layers, (*dict.fromkeys(told), *notes))


def _shared_genes(
    parts: Sequence[Cells], tags: Sequence[str], join: str
) -> tuple[pd.Index, list[str]]:
    """Return the genes of all parts in the order of the first, and how many others there are."""
    genes = parts[0].genes
    for part, tag in zip(parts[1:], tags[1:], strict=True):
        here, there = genes.difference(part.genes), part.genes.difference(genes)
        if join == SAME and len(here) + len(there):
            only = [
                f"{len(i)} only in {t} ({listed(i)})" for i, t in ((here, tags[0]), (there, tag))
            ]
            raise CellsError(
                f"the files have different genes: {' and '.join(only)}; data.join: inner takes the "
                f"{len(genes) - len(here)} that both have"
            )
        genes = genes[genes.isin(part.genes)]
    if not len(genes):
        raise CellsError(f"the files share no genes; the first of {tags[0]} is {parts[0].genes[0]}")
    left = max(len(part.genes) for part in parts) - len(genes)
    notes = [f"{len(genes)} genes are in all files, and are read; up to {left} are not"]
    return genes, notes if left else []


def _with_genes(part: Cells, genes: pd.Index) -> CellMatrix:
    """Return the matrix with these of its genes, in this order."""
    if part.genes.equals(genes):
        return part.matrix
    at = part.genes.get_indexer(genes)
    columns = at if part.matrix.columns is None else part.matrix.columns[at]
    return replace(part.matrix, shape=(part.matrix.shape[0], len(genes)), columns=columns)


def _tags(counts: Sequence[Path]) -> list[str]:
    """Return a short name of each file: as much of its path as tells it from the others."""
    paths = [path.resolve() for path in counts]
    bare = [path.with_suffix("") for path in paths]
    for named in (bare, paths):  # with their ends where they differ in these alone
        for deep in range(1, max(len(path.parts) for path in named) + 1):
            tags = ["/".join(path.parts[-deep:]) for path in named]
            if len(set(tags)) == len(tags):
                return tags
    raise CellsError("data.counts names a file twice; name it once")
