"""Covariates of cells: batch, depth, mitochondrial share, cell cycle, any column of obs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import sparse

from tuner_plugins.perturbseq.data.cell_cycle import PHASES, phase_positions, symbols_hint
from tuner_plugins.perturbseq.data.labels import column_of, require_few_labels
from tuner_plugins.perturbseq.data.stored import CellsError, listed
from tuner_plugins.perturbseq.data.values import LARGEST_VALUE

TOTAL = "total_counts"
MITO = "pct_counts_mt"

NUMBER = re.compile(r"\s*[-+]?(\d+|\d{1,3}(,\d{3})+)?([.,]\d*)?([eE][-+]?\d+)?\s*%?\s*")
"""A number as text. Whole ones without a sign are levels as well: of clusters, lanes or donors."""

MITOCHONDRIAL_NAME = r"(?i:((hg|mm|grch|grcm)\d+_+)?mt)[-.:]"

NO_NUMBER = ("", "nan", "NaN", "NA", "N/A", "None", "-")
"""What stands for a missing number in text."""


@dataclass(frozen=True)
class Covariates:
    """What is known of the covariates before a count is read.

    Attributes
    ----------
    names : list of str
        All columns in order: batch, then as asked for; ``NAME[level]`` for categories.
    values : array, shape (cells, columns)
        NaN in the columns that come from counts.
    counted : dict
        Column number of ``total_counts`` and ``pct_counts_mt``, where obs has none.
    scored : dict
        Column number of ``S_score`` and ``G2M_score``, where obs has none.
    mitochondrial : array of int
        Positions of mitochondrial genes; empty unless needed.
    phases : dict
        Score name to the positions of its genes.
    notes : list of str
        Constant columns.
    """

    names: list[str]
    values: np.ndarray
    counted: dict[str, int]
    scored: dict[str, int]
    mitochondrial: np.ndarray
    phases: dict[str, np.ndarray]
    notes: list[str]


def read_covariates(
    obs: pd.DataFrame, genes: pd.Index, names: Sequence[str], batch: str | None
) -> Covariates:
    """Plan the columns of covariates.

    Parameters
    ----------
    obs : DataFrame
        Annotation of the cells that stay.
    genes : Index
        Symbols of the measured genes.
    names : sequence of str
        Columns of obs: numbers stay, everything else becomes one column a level, without the
        first. Fractions and percentages as text are refused: they are no levels.
        ``total_counts``, ``pct_counts_mt``, ``S_score`` and ``G2M_score`` are computed where obs
        has none.
    batch : str, optional
        Column of obs, one-hot whatever its type.

    Raises
    ------
    CellsError
        No such column, missing values, numbers as text, almost as many levels as cells, or a score
        whose genes are not measured.

    Examples
    --------
    >>> obs = pd.DataFrame({"batch": ["a", "b", "b"], "depth": [10, 20, 30]})
    >>> planned = read_covariates(obs, pd.Index(["MT-CYB"]), ["depth", "pct_counts_mt"], "batch")
    >>> planned.names, planned.counted
    (['batch[b]', 'depth', 'pct_counts_mt'], {'pct_counts_mt': 2})
    >>> planned.values.tolist()
    [[0.0, 10.0, nan], [1.0, 20.0, nan], [1.0, 30.0, nan]]
    """
    for number, name in enumerate(names):
        if name == batch:
            raise CellsError(f"data.batch names '{name}' already; take it out of data.covariates")
        if name in names[:number]:
            raise CellsError(f"data.covariates names '{name}' twice; name it once")
    columns: dict[str, np.ndarray] = {}
    counted: dict[str, int] = {}
    scored: dict[str, int] = {}
    if batch is not None:
        columns |= _one_hot(
            column_of(obs, batch, "batch"),
            batch,
            "groups of cells: name another column (data.batch)",
        )
    for name in names:
        made = counted if name in (TOTAL, MITO) else scored if name in PHASES else None
        if made is not None and name not in obs.columns:
            made[name] = len(columns)
            columns[name] = np.full(len(obs), np.nan)
        else:
            columns |= _from_obs(column_of(obs, name, "covariates"), name)
    constant = [name for name, values in columns.items() if len(values) and np.ptp(values) == 0]
    notes = [f"these covariates are constant, their coefficients are 0: {listed(constant)}"]
    return Covariates(
        list(columns),
        np.column_stack([*columns.values()]) if columns else np.empty((len(obs), 0)),
        counted,
        scored,
        mitochondrial_genes(genes) if MITO in counted else np.empty(0, dtype=np.int64),
        {name: phase_positions(genes, name) for name in scored},
        notes if constant else [],
    )


def mitochondrial_genes(genes: pd.Index) -> np.ndarray:
    """Find genes of mitochondria by their symbol.

    Raises
    ------
    CellsError
        There are none.
    """
    positions = np.flatnonzero(is_mitochondrial(genes))
    if not len(positions):
        raise CellsError(
            f"{MITO} cannot be computed: no gene starts with MT- or mt-{symbols_hint(genes)}; "
            f"leave it out or give an obs column '{MITO}'"
        )
    return positions


def is_mitochondrial(symbols: pd.Index) -> np.ndarray:
    """Return which genes are mitochondrial, shape (genes,).

    Their symbols start with ``MT-`` in human, ``mt-`` in mouse, ``mt:`` in fly; R's ``make.names``
    makes ``MT.`` of it; references of two species put the genome before it (``GRCh38_MT-CO1``).

    Examples
    --------
    >>> is_mitochondrial(pd.Index(["MT-CYB", "mt-Nd1", "MTOR"])).tolist()
    [True, True, False]
    """
    return np.asarray(pd.Index(symbols.astype(str)).str.match(MITOCHONDRIAL_NAME))


def count_covariate(name: str, counts: sparse.csr_matrix, mitochondrial: np.ndarray) -> np.ndarray:
    """Compute ``total_counts`` or ``pct_counts_mt`` of a block of raw counts (cells, genes)."""
    totals = row_sums(counts)
    if name == TOTAL:
        return totals
    return np.asarray(100.0 * row_sums(counts[:, mitochondrial]) / np.maximum(totals, 1.0))


def row_sums(counts: sparse.csr_matrix) -> np.ndarray:
    """Sum each row."""
    sums: np.ndarray = np.asarray(counts.sum(axis=1), dtype=np.float64).reshape(-1)
    return sums


def numbers_of(column: pd.Series, name: str) -> np.ndarray:
    """Return a column of obs as float64, shape (cells,).

    Raises
    ------
    CellsError
        It holds something else than finite numbers of at most 1e150: their squares are summed.
    """
    if not pd.api.types.is_numeric_dtype(column):
        raise CellsError(f"obs column '{name}' holds {column.dtype}; expected numbers")
    values: np.ndarray = column.to_numpy(dtype=np.float64, na_value=np.nan)
    bad = ~(np.abs(values) <= LARGEST_VALUE)  # NaN is not
    if bad.any():
        raise CellsError(
            f"obs column '{name}' is {values[bad][0]:g} in {int(bad.sum())} cells (first: "
            f"'{column.index[bad][0]}'); expected finite numbers of at most {LARGEST_VALUE:g}, "
            "fill them or drop the cells"
        )
    return values


def _from_obs(column: pd.Series, name: str) -> dict[str, np.ndarray]:
    if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column):
        return {name: numbers_of(column, name)}
    levels = [str(level) for level in column.unique() if str(level) not in NO_NUMBER]
    measured = [level for level in levels if not level.isdigit()]
    if measured and all(NUMBER.fullmatch(level) for level in levels):
        raise CellsError(
            f"obs column '{name}' holds numbers as text ('{measured[0]}'), {len(levels)} different "
            "ones; expected numbers (pandas.to_numeric makes them), or levels with names"
        )
    return _one_hot(column, name, "numbers or groups of cells: take it out of data.covariates")


def _one_hot(column: pd.Series, name: str, expected: str) -> dict[str, np.ndarray]:
    missing = column.isna()
    if missing.any():
        raise CellsError(
            f"obs column '{name}' is missing in {int(missing.sum())} cells (first: "
            f"'{column.index[missing][0]}'); fill them or drop the cells"
        )
    labels = column.astype(str).to_numpy()
    levels = np.unique(labels)
    require_few_labels(name, len(levels), len(labels), expected)
    return {f"{name}[{level}]": (labels == level).astype(float) for level in levels[1:]}
