"""Guides of cells from counts of guides, and the labels that follow from them.

A stand-alone script carries this module.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd
from scipy import sparse

from tuner_plugins.perturbseq.data.guide_counts import numbers_of_guides
from tuner_plugins.perturbseq.data.guide_mixtures import MIXTURES, GuideFit
from tuner_plugins.perturbseq.data.stored import CellsError, did_you_mean, listed

METHODS = (*MIXTURES, "threshold", "max")

NUMBER_OF_GUIDE = re.compile(r"(?i)[-_.](sg|g|grna|sgrna|guide)?[-_.]?\d+$")
"""What numbers the guides of a target."""


@dataclass(frozen=True)
class GuideCalling:
    """How guides are called.

    Attributes
    ----------
    obsm : str
        Key of obsm with counts of guides, cells by guides; a table, for their names.
    method : {"negative_binomial", "poisson_gaussian", "gaussian", "threshold", "max"}
        A mixture for each guide (see `guide_mixtures`), `min_umis` alone, or the guide with the
        most counts of a cell where it has half of them at least (for low multiplicity).
    min_umis : int
        A guide with fewer counts is never called: mixtures of few cells run into noise.
    targets : mapping, optional
        Guide to target. None: the guide's name without its number (``STAT1_g2``: STAT1).
    separator : str
        What joins the targets of a cell.
    modality : str, optional
        Where counts of guides are instead of obsm: a modality, or a type of features.
    """

    __pydantic_config__: ClassVar[Mapping[str, str]] = {"extra": "forbid"}  # older ones pass over

    obsm: str = "guides"
    method: str = "negative_binomial"
    min_umis: int = 3
    targets: Mapping[str, str] | None = None
    separator: str = "+"
    modality: str | None = None


@dataclass(frozen=True)
class GuideCalls:
    """Which guides each cell has.

    Attributes
    ----------
    called : csr_matrix of bool, shape (cells, guides)
    table : DataFrame
        One row a guide: ``target``, ``threshold`` (smallest count that is called), ``n_cells``,
        ``background`` and ``signal`` (counts), ``share`` of the cells with a count that are
        called, ``method`` (``threshold`` where cells were too few for a mixture).
    labels : DataFrame
        One row a cell: ``guide`` and ``perturbation``, joined in order, missing where a cell has
        no guide; ``n_guides``.
    """

    called: sparse.csr_matrix
    table: pd.DataFrame
    labels: pd.DataFrame


def call_guides(
    counts: sparse.spmatrix | np.ndarray,
    guides: Sequence[str],
    cells: pd.Index,
    calling: GuideCalling | None = None,
) -> GuideCalls:
    """Call guides from their counts.

    Parameters
    ----------
    counts : matrix, shape (cells, guides)
        Whole numbers from 0.
    guides : sequence of str
        Their names.
    cells : Index
        Names of the cells.
    calling : GuideCalling, optional

    Raises
    ------
    CellsError
        Counts that are none, guides without a target, or an unknown method.

    Examples
    --------
    >>> counts = np.array([[40, 0], [1, 30], [25, 60], [0, 1]])
    >>> calls = call_guides(counts, ["A_1", "B_1"], pd.Index(list("wxyz")))
    >>> calls.labels["perturbation"].tolist()
    ['A', 'B', 'A+B', nan]
    """
    calling = calling or GuideCalling()
    matrix = _checked_guides(counts, guides, calling)
    targets = _guide_targets(guides, calling.targets)
    if calling.method == "max":
        totals = np.asarray(matrix.sum(axis=1)).reshape(-1)
        rows = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
        is_called = 2 * matrix.data >= np.maximum(totals, 1)[rows]
        is_called &= matrix.data >= calling.min_umis
        fits = [GuideFit(calling.min_umis)] * len(guides)
    else:
        columns = matrix.tocsc()
        fits = [_fit_of_guide(columns, at, calling) for at in range(len(guides))]
        limits = np.array([max(fit.threshold, calling.min_umis) for fit in fits])
        is_called = matrix.data >= limits[matrix.indices]
    called = sparse.csr_matrix((is_called, matrix.indices, matrix.indptr), matrix.shape)
    called.eliminate_zeros()
    table = _calls_table(guides, targets, called, fits, calling)
    return GuideCalls(
        called, table, _called_labels(called, guides, targets, cells, calling.separator)
    )


def _checked_guides(
    counts: sparse.spmatrix | np.ndarray, guides: Sequence[str], calling: GuideCalling
) -> sparse.csr_matrix:
    """Return the counts, sparse; raise `CellsError` for what cannot be called."""
    if calling.method not in METHODS:
        raise CellsError(
            did_you_mean(f"no method '{calling.method}' to call guides", calling.method, METHODS)
        )
    matrix = sparse.csr_matrix(counts)
    matrix.sum_duplicates()
    if matrix.shape[1] != len(guides):
        raise CellsError(f"{matrix.shape[1]} columns of counts, but {len(guides)} guides")
    if not len(guides):
        raise CellsError("there are no guides to call: their counts have no column")
    if len(set(guides)) < len(guides):
        twice = pd.Index(guides)[pd.Index(guides).duplicated()][0]
        raise CellsError(f"two guides are called '{twice}'; make their names unique")
    bad = ~((matrix.data >= 0) & (matrix.data == np.round(matrix.data)))
    if bad.any():
        raise CellsError(
            f"a guide's count is {matrix.data[bad][0]:g}; expected whole numbers >= 0 (raw counts)"
        )
    return matrix


def _guide_targets(guides: Sequence[str], given: Mapping[str, str] | None) -> list[str]:
    if given is None:
        return [NUMBER_OF_GUIDE.sub("", guide) for guide in guides]
    missing = [guide for guide in guides if guide not in given]
    if missing:
        raise CellsError(f"guide '{missing[0]}' has no target ({len(missing)} such); name it")
    return [str(given[guide]) for guide in guides]


def _fit_of_guide(columns: sparse.csc_matrix, at: int, calling: GuideCalling) -> GuideFit:
    """Return the fit of a guide; `min_umis` alone where its cells are too few."""
    if calling.method not in MIXTURES:
        return GuideFit(calling.min_umis)
    counted = columns.data[columns.indptr[at] : columns.indptr[at + 1]]
    counts = np.zeros(columns.shape[0], dtype=np.int64)
    counts[: len(counted)] = counted
    return MIXTURES[calling.method](counts) or GuideFit(calling.min_umis)


def obs_with_calls(
    obs: pd.DataFrame, counts: object, calling: GuideCalling, perturbation: str
) -> tuple[pd.DataFrame, pd.DataFrame, str]:
    """Return obs with columns of what was called, the table of guides, and a note on it.

    Parameters
    ----------
    obs : DataFrame
        Annotation of all cells; the columns ``guide``, ``n_guides`` and `perturbation` are new.
    counts : DataFrame
        Counts of guides, a row a cell in the order of `obs`.
    calling : GuideCalling
    perturbation : str
        Column for the targets.

    Raises
    ------
    CellsError
        As `call_guides`, and where `counts` is no table.
    """
    if not isinstance(counts, pd.DataFrame):
        raise CellsError(
            f"obsm['{calling.obsm}'] is {type(counts).__name__}; expected a table (DataFrame) of "
            "counts with a column for each guide, which names it"
        )
    calls = call_guides(
        numbers_of_guides(counts, calling.obsm), list(map(str, counts)), obs.index, calling
    )
    made = calls.labels.rename(columns={"perturbation": perturbation})
    labelled = obs.drop(columns=list(made), errors="ignore").join(made)
    return labelled, calls.table, note_on_calls(calls, calling)


def note_on_calls(calls: GuideCalls, calling: GuideCalling) -> str:
    """Return how many cells have no guide, one, or several, and which guides no cell has."""
    n = calls.labels["n_guides"]
    idle = calls.table.index[calls.table["n_cells"] == 0]
    return (
        f"guides were called ({calling.method}, {calling.min_umis} counts at least): "
        f"{int((n == 0).sum())} cells have none, {int((n == 1).sum())} one, "
        f"{int((n > 1).sum())} several" + (f"; no cell has {listed(idle)}" if len(idle) else "")
    )


def _calls_table(
    guides: Sequence[str],
    targets: Sequence[str],
    called: sparse.csr_matrix,
    fits: Sequence[GuideFit],
    calling: GuideCalling,
) -> pd.DataFrame:
    mixed = calling.method in MIXTURES
    return pd.DataFrame(
        {
            "target": list(targets),
            "threshold": [max(fit.threshold, calling.min_umis) for fit in fits],
            "n_cells": np.asarray(called.sum(axis=0), dtype=np.int64).reshape(-1),
            "background": [fit.background for fit in fits],
            "signal": [fit.signal for fit in fits],
            "share": [fit.share for fit in fits],
            "method": [
                "threshold" if mixed and np.isnan(fit.share) else calling.method for fit in fits
            ],
        },
        index=pd.Index(list(guides), name="guide"),
    )


def _called_labels(
    called: sparse.csr_matrix,
    guides: Sequence[str],
    targets: Sequence[str],
    cells: pd.Index,
    separator: str,
) -> pd.DataFrame:
    clash = [name for name in targets if separator in name]
    if clash:
        raise CellsError(f"target '{clash[0]}' holds the separator '{separator}'; name another")
    sets = [called.indices[a:b] for a, b in zip(called.indptr, called.indptr[1:], strict=False)]
    joined = {
        "guide": [separator.join(sorted(guides[at] for at in one)) for one in sets],
        "perturbation": [separator.join(sorted({targets[at] for at in one})) for one in sets],
    }
    table = pd.DataFrame(joined, index=cells).astype(object)
    table[table == ""] = np.nan
    return table.assign(n_guides=np.diff(called.indptr))
