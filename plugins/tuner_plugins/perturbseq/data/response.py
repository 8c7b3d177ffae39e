"""Responses of cells: from counts to what is fitted, and what is learnt from training cells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from scipy import sparse

from tuner_plugins.perturbseq.data.stored import CellsError, did_you_mean

PER_10K = 1.0e4


@dataclass(frozen=True)
class GeneChoice:
    """Which genes are fitted. Whatever is learnt from cells is learnt from training cells.

    Attributes
    ----------
    names : sequence of str, optional
        These genes and no others.
    min_cells : int
        Genes seen in fewer training cells are left out.
    highly_variable : int, optional
        As many genes of the largest normalised dispersion (Satija et al., 2015,
        10.1038/nbt.3192).
    limits : tuple of float, optional
        Instead of a number: smallest and largest mean and smallest normalised dispersion, as in
        (0.0125, 3, 0.5).
    """

    names: Sequence[str] | None = None
    min_cells: int = 0
    highly_variable: int | None = None
    limits: tuple[float, float, float] | None = None


@dataclass
class Moments:
    """Sums over cells of one fold, from which genes are chosen; folds add up.

    Attributes
    ----------
    cells : int
        Number of cells.
    seen : array, shape (genes,)
        Cells in which a gene is counted.
    log_sum : array, shape (genes,)
        Sum of log1p of counts per 10k.
    linear_sum, linear_squares : array, shape (genes,)
        Sum of counts per 10k, and of their squares.
    """

    genes: int
    cells: int = 0
    seen: np.ndarray = field(init=False)
    log_sum: np.ndarray = field(init=False)
    linear_sum: np.ndarray = field(init=False)
    linear_squares: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        """Start from nothing."""
        for name in ("seen", "log_sum", "linear_sum", "linear_squares"):
            setattr(self, name, np.zeros(self.genes))

    def add(self, linear: sparse.csr_matrix) -> None:
        """Add cells, by their counts per 10k (cells, genes)."""
        columns = linear.indices
        self.cells += linear.shape[0]
        self.seen += np.bincount(columns, linear.data > 0, minlength=self.genes)
        self.log_sum += np.bincount(columns, np.log1p(linear.data), minlength=self.genes)
        self.linear_sum += np.bincount(columns, linear.data, minlength=self.genes)
        self.linear_squares += np.bincount(columns, linear.data**2, minlength=self.genes)

    def __add__(self, other: Moments) -> Moments:
        """Add two folds."""
        total = Moments(self.genes, self.cells + other.cells)
        for name in ("seen", "log_sum", "linear_sum", "linear_squares"):
            setattr(total, name, getattr(self, name) + getattr(other, name))
        return total


def per_10k(counts: sparse.csr_matrix, sizes: np.ndarray) -> sparse.csr_matrix:
    """Scale raw counts (cells, genes) to 10,000 a cell, by its counts over the whole transcriptome.

    Examples
    --------
    >>> per_10k(sparse.csr_matrix([[1.0, 3.0]]), np.array([4.0])).toarray().tolist()
    [[2500.0, 7500.0]]
    """
    scaled = counts.copy()
    scaled.data = counts.data * np.repeat(PER_10K / sizes, np.diff(counts.indptr))
    return scaled


def log1p_10k(linear: sparse.csr_matrix) -> sparse.csr_matrix:
    """Take log1p; zeros stay zeros.

    Examples
    --------
    >>> log1p_10k(sparse.csr_matrix([[0.0, 1.0]])).toarray().round(3).tolist()
    [[0.0, 0.693]]
    """
    logged = linear.copy()
    np.log1p(logged.data, out=logged.data)
    return logged


def require_sizes(sizes: np.ndarray, cells: pd.Index, what: str) -> None:
    """Raise `CellsError` unless every size factor is positive and finite."""
    bad = ~(np.isfinite(sizes) & (sizes > 0))
    if bad.any():
        raise CellsError(
            f"size factor {what} of cell '{cells[bad][0]}' is {sizes[bad][0]:g} "
            f"({int(bad.sum())} such cells); expected > 0, drop empty cells"
        )


def require_varying(square: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Return which responses are constant, shape (responses,).

    Parameters
    ----------
    square, mean : array, shape (responses,)
        Means over the cells of the squared response and of the response.

    Raises
    ------
    CellsError
        All of them are.
    """
    flat = np.asarray(square - mean**2 <= 1e-12 * square)
    if flat.all():
        raise CellsError("no gene or further response varies between cells; nothing can be fitted")
    return flat


def choose_genes(
    moments: Moments, genes: pd.Index, choice: GeneChoice, symbols: pd.Index | None = None
) -> np.ndarray:
    """Choose genes by what training cells say.

    Parameters
    ----------
    moments : Moments
        Of the training cells.
    genes : Index
        Names.
    choice : GeneChoice
        The rule.
    symbols : Index, optional
        Other names of the same genes that the choice may use.

    Returns
    -------
    array of bool, shape (genes,)
        True where a gene is fitted.

    Raises
    ------
    CellsError
        An unknown name, or nothing is left.

    Examples
    --------
    >>> moments = Moments(genes=2)
    >>> moments.add(sparse.csr_matrix([[5.0, 1.0], [5.0, 0.0]]))
    >>> choose_genes(moments, pd.Index(["CD4", "CD8A"]), GeneChoice(min_cells=2)).tolist()
    [True, False]
    """
    chosen = np.ones(len(genes), dtype=bool)
    if choice.names is not None:
        named = genes if symbols is None else genes.append(symbols)
        unknown = [name for name in choice.names if name not in named]
        if unknown:
            problem = f"gene '{unknown[0]}' is not measured ({len(unknown)} such), leave it out"
            raise CellsError(did_you_mean(problem, unknown[0], named[:20_000]))
        chosen = named.isin(list(choice.names)).reshape(-1, len(genes)).any(axis=0)
    chosen &= moments.seen >= choice.min_cells
    if choice.highly_variable is not None or choice.limits is not None:
        chosen &= _variable(moments, choice)
    if not chosen.any():
        raise CellsError("the choice of genes leaves none; relax min_cells or highly_variable")
    return chosen


def normalised_dispersion(moments: Moments) -> tuple[np.ndarray, np.ndarray]:
    """Return log mean and dispersion, standardised within 20 bins of the mean.

    The rule of Satija et al. (2015, 10.1038/nbt.3192), as scanpy's flavour ``seurat`` computes it.

    Returns
    -------
    mean : array, shape (genes,)
        log1p of the mean of counts per 10k.
    dispersion : array, shape (genes,)
        NaN for genes without dispersion.
    """
    n = moments.cells
    mean = moments.linear_sum / n
    variance = np.maximum(moments.linear_squares / n - mean**2, 0.0) * (n / max(n - 1, 1))
    mean[mean == 0] = 1e-12
    ratio = variance / mean
    dispersion = np.log(np.where(ratio > 0, ratio, np.nan))
    frame = pd.DataFrame({"mean": np.log1p(mean), "dispersion": dispersion})
    frame["bin"] = pd.cut(frame["mean"], bins=20)
    binned = frame.groupby("bin", observed=True)["dispersion"]
    centre, spread = binned.transform("mean"), binned.transform("std")
    alone = spread.isna()
    spread = spread.where(~alone, centre)
    centre = centre.where(~alone, 0.0)
    scaled = (frame["dispersion"] - centre) / spread
    return frame["mean"].to_numpy(), scaled.to_numpy()


def _variable(moments: Moments, choice: GeneChoice) -> np.ndarray:
    mean, dispersion = normalised_dispersion(moments)
    if choice.limits is not None:
        low, high, least = choice.limits
        filled = np.nan_to_num(dispersion, nan=0.0)
        return np.asarray((mean > low) & (mean < high) & (filled > least))
    ranked = np.argsort(np.nan_to_num(-dispersion, nan=np.inf), kind="stable")
    chosen = np.zeros(len(mean), dtype=bool)
    chosen[ranked[: choice.highly_variable]] = True
    return np.asarray(chosen & np.isfinite(dispersion))
