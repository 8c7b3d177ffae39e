"""Which coefficients are more than chance: full refits under permuted labels.

Coefficients are ranked by their `statistic`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tuner_plugins.perturbseq.errors import AnalysisError
from tuner_plugins.perturbseq.inference.kernels import count_reached
from tuner_plugins.perturbseq.inference.program_tests import adjust, empirical_p
from tuner_plugins.perturbseq.inference.tails import FEW, keep_largest, tail_p

STABLE = 0.9
"""A coefficient that is selected in this share of the halves counts as stable."""


@dataclass(frozen=True)
class Counts:
    """How often permutations were at least as extreme as what was observed.

    Attributes
    ----------
    p : ndarray, (genes, perturbations)
        Two-sided; NaN where nothing was tested.
    n_null : int
        Null values each p-value rests on.
    """

    p: NDArray[np.float64]
    n_null: int


def permutation_p(
    observed: NDArray[np.float64],
    nulls: Iterable[NDArray[np.float64]],
    *,
    pooled_scale: NDArray[np.float64] | None = None,
    tail: bool = False,
) -> Counts:
    """Compare statistics with those of permuted labels, two-sided.

    Parameters
    ----------
    observed : ndarray, (genes, perturbations)
        As `statistic.entry_statistic` gives them.
    nulls : iterable of ndarray, (genes, perturbations)
        One array a permutation, never kept.
    pooled_scale : ndarray, (genes,), optional
        Standard deviation of each gene's residuals. Given, all genes of a perturbation share one
        null of statistics in this unit: p-values down to 1 / (genes x permutations + 1), at the
        price of taking the genes' nulls for alike in shape. Genes of scale 0 are left out.
    tail : bool
        Read p from a tail fitted to the shared null where fewer than `tails.FEW` values of it are
        as extreme.

    Returns
    -------
    Counts
        p = (b + 1) / (B + 1), never 0.

    Examples
    --------
    >>> observed = np.array([[3.0, -0.5]])
    >>> nulls = [np.array([[1.0, 1.0]]), np.array([[-1.0, 0.2]])]
    >>> permutation_p(observed, nulls).p.round(3).tolist()
    [[0.333, 0.667]]
    """
    extreme = np.abs(observed)
    varied = np.ones(len(observed), dtype=bool)
    if pooled_scale is not None:
        varied = pooled_scale > 0
        extreme = extreme / np.where(varied, pooled_scale, 1.0)[:, None]
    slack = extreme * (1 - 1e-9)  # equal in exact arithmetic, rounded otherwise
    n_permutations = 0
    if pooled_scale is None:
        exceeding = np.zeros(observed.shape)
        for null in nulls:
            exceeding += np.abs(null) >= slack
            n_permutations += 1
        return Counts(empirical_p(exceeding, _some(n_permutations)), n_permutations)
    order = np.argsort(slack, axis=0, kind="stable")
    ladder = np.ascontiguousarray(np.take_along_axis(slack, order, axis=0).T)
    n_genes, n_targets = observed.shape
    steps = np.zeros((n_targets, n_genes + 1), dtype=np.int64)
    largest: NDArray[np.float64] | None = None
    for null in nulls:
        n_permutations += 1
        scaled = np.ascontiguousarray((np.abs(null[varied]) / pooled_scale[varied, None]).T)
        count_reached(ladder, scaled, steps)
        largest = keep_largest(largest, scaled) if tail else None
    # A null value that reaches `reached` rungs is at least as extreme as each of them.
    above = steps[:, :0:-1].cumsum(axis=1)[:, ::-1].T
    exceeding = np.empty(observed.shape)
    np.put_along_axis(exceeding, order, above, axis=0)
    n_null = int(varied.sum()) * _some(n_permutations)
    p = empirical_p(exceeding, n_null)
    for target, values in enumerate([] if largest is None else largest):
        rare = exceeding[:, target] < FEW
        fitted = tail_p(extreme[rare, target], values, n_null)
        p[rare, target] = np.where(np.isnan(fitted), p[rare, target], fitted)
    p[~varied] = np.nan
    return Counts(p, n_null)


def _some(n_permutations: int) -> int:
    if n_permutations < 1:
        raise AnalysisError("permutation needs at least one permutation; got none")
    return n_permutations


def tabulate(
    coef: pd.DataFrame, p: NDArray[np.float64], n_cells: Sequence[int] | None = None
) -> pd.DataFrame:
    """Make a tidy table of coefficients, one row a gene and perturbation.

    Parameters
    ----------
    coef : pandas.DataFrame, (genes, perturbations)
    p : ndarray, (genes, perturbations)
    n_cells : sequence of int, (perturbations,), optional

    Returns
    -------
    pandas.DataFrame
        ``gene``, ``perturbation``, ``coef``, ``p``, ``q`` (Benjamini-Hochberg over all rows) and
        ``n_cells``, the cells of the perturbation.

    Examples
    --------
    >>> coef = pd.DataFrame([[0.5, 0.0]], index=["CD4"], columns=["STAT1", "JAK2"])
    >>> tabulate(coef, np.array([[0.01, 0.8]]), n_cells=[40, 50])
      gene perturbation  coef     p     q  n_cells
    0  CD4        STAT1   0.5  0.01  0.02       40
    1  CD4         JAK2   0.0  0.80  0.80       50
    """
    n_genes, n_targets = coef.shape
    cells = np.zeros(n_targets, dtype=int) if n_cells is None else np.asarray(n_cells)
    return pd.DataFrame(
        {
            "gene": np.repeat(coef.index.to_numpy(dtype=str), n_targets),
            "perturbation": np.tile(coef.columns.to_numpy(dtype=str), n_genes),
            "coef": coef.to_numpy().ravel(),
            "p": p.ravel(),
            "q": adjust(p).ravel(),
            "n_cells": np.tile(cells, n_genes),
        }
    )


def stability_selection(
    select: Callable[[NDArray[np.int64]], NDArray[np.bool_]],
    strata: NDArray[np.int64],
    *,
    n_pairs: int = 50,
    seed: int = 0,
) -> tuple[NDArray[np.float64], float]:
    """Return how often each coefficient is selected in complementary halves of the cells.

    Shah & Samworth (2013), doi:10.1111/j.1467-9868.2011.01034.x.

    Parameters
    ----------
    select : callable
        From a label 0 or 1 for each cell to what is non-zero in either half,
        (2, genes, perturbations).
    strata : ndarray of int, (cells,)
        Halves are taken within each stratum, perturbation by batch.

    Returns
    -------
    probability : ndarray, (genes, perturbations)
    expected_false : float
        Bound of Meinshausen & Buehlmann on the expected number of false ones among those with
        probability `STABLE`: q^2 / ((2 STABLE - 1) p), q being the mean number selected in a half
        and p all.

    Examples
    --------
    >>> always = np.array([[True, False]])  # a gene, two perturbations
    >>> strata = np.zeros(10, dtype=np.int64)
    >>> probability, _ = stability_selection(lambda halves: np.array([always, always]), strata)
    >>> probability.tolist()
    [[1.0, 0.0]]
    """
    if n_pairs < 1:
        raise AnalysisError(f"stability selection needs n_pairs >= 1; got {n_pairs}")
    rng = np.random.default_rng(seed)
    total: NDArray[np.float64] | None = None
    for _ in range(n_pairs):
        order = np.lexsort((rng.permutation(len(strata)), strata))
        halves = np.empty(len(strata), dtype=np.int64)
        halves[order] = (np.arange(len(strata)) + rng.integers(2)) % 2
        chosen = select(halves).sum(axis=0, dtype=np.float64)
        total = chosen if total is None else total + chosen
    assert total is not None
    probability = total / (2 * n_pairs)
    mean_selected = float(probability.sum())
    return probability, mean_selected**2 / ((2 * STABLE - 1) * probability.size)
