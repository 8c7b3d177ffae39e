"""Fold changes with intervals: what the penalty shrinks is estimated again, from counts.

A quasi-Poisson regression of each gene on all perturbations and covariates (McCullagh and Nelder,
1989, chapter 9; Lund et al., 2012, 10.1515/1544-6115.1826): log mean = offset + X b. Intervals are
those of a variance that grows faster than the mean, scale x (mean + a mean^2), by the sandwich of
White (1982, 10.2307/1912526): one scale alone is too small for cells with many counts, and too
large for the others. The design is the whole one, not the columns that the elastic net selected:
an interval of what was selected for being large is too narrow.

p is that of a score test: the counts of a perturbation's cells are compared with what is expected
without it, whose tails `saddlepoint` knows. Wald's p, of the estimate over its error, is too small
by a factor of ten and more where some 25 cells have a handful of counts.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.stats import t
from threadpoolctl import threadpool_limits

from tuner_plugins.perturbseq.inference.quasi_poisson import Columns, regression
from tuner_plugins.perturbseq.inference.score_test import score_z

NO_COUNT = -np.log(0.025)
"""Upper bound, at 95 %, of the mean of a Poisson that gave no count."""

GENES_AT_ONCE = 128
"""Genes whose counts are held a second time, by genes."""

FEWEST_CELLS = 7
"""Cells with a count that a gene needs to be tested (and two for each column beside perturbations):
with fewer, covariates fit single cells, and what they expect of others is anything."""


def fold_changes(  # noqa: PLR0913  the parts of one regression
    counts: sparse.csc_matrix | sparse.csr_matrix,
    sizes: NDArray[np.float64],
    design: sparse.csr_matrix,
    covariates: NDArray[np.float64],
    *,
    level: float = 0.95,
    threads: int = 1,
) -> dict[str, NDArray[np.float64]]:
    """Return log2 fold changes against control, other things equal, and their intervals.

    Parameters
    ----------
    counts : sparse matrix, (cells, genes)
        Whole numbers.
    sizes : ndarray, (cells,)
        Size factors: their logarithm is the offset.
    design : csr_matrix, (cells, perturbations)
        Zeros and ones; may be multi-hot.
    covariates : ndarray, (cells, covariates)
    level : float
        Of the intervals, those of Student's t.
    threads : int
        The result does not depend on it.

    Returns
    -------
    dict of ndarray, (genes, perturbations)
        ``log2fc``, ``low``, ``high`` and ``p`` (two-sided, of no change; NaN for genes with a count
        in fewer than `FEWEST_CELLS` cells). A gene without a count in the cells of a perturbation
        has -inf and the bound of a Poisson without a count (95 % whatever the level); NaN
        throughout for a gene without counts in other cells, and for a perturbation whose cells do
        not tell it from others, such as one that is never alone, or that has a count of the gene
        only together with another.

    Examples
    --------
    >>> rng, design = np.random.default_rng(0), np.repeat([[1.0], [0.0]], 300, axis=0)
    >>> counts = rng.poisson(4.0 * np.exp2(design))
    >>> found = fold_changes(
    ...     sparse.csr_matrix(counts), np.ones(600), sparse.csr_matrix(design), np.empty((600, 0))
    ... )
    >>> [found[key].round(1).item() for key in ("low", "log2fc", "high")]
    [0.9, 1.0, 1.1]
    """
    spread = covariates.std(axis=0)
    scaled = (covariates - covariates.mean(axis=0))[:, spread > 0] / spread[spread > 0]
    others = np.column_stack([np.ones(len(sizes)), scaled])
    offset, whole = np.log(sizes), Columns(others, design.tocsr())

    def work(columns: sparse.csc_matrix, gene: int) -> NDArray[np.float64]:
        y = np.zeros(len(sizes))
        at = slice(columns.indptr[gene], columns.indptr[gene + 1])
        y[columns.indices[at]] = columns.data[at]
        return _one_gene(y, offset, whole, level)

    found = np.empty((counts.shape[1], 4, design.shape[1]))
    with threadpool_limits(1), ThreadPoolExecutor(max(1, threads)) as pool:
        for start in range(0, len(found), GENES_AT_ONCE):
            here = found[start : start + GENES_AT_ONCE]
            columns = counts[:, start : start + GENES_AT_ONCE].tocsc()
            for gene, one in enumerate(pool.map(partial(work, columns), range(len(here)))):
                here[gene] = one
    found[:, :3] /= np.log(2)
    return dict(zip(("log2fc", "low", "high", "p"), np.moveaxis(found, 1, 0), strict=True))


def _one_gene(
    y: NDArray[np.float64], offset: NDArray[np.float64], whole: Columns, level: float
) -> NDArray[np.float64]:
    """Return estimate, interval (natural logarithms) and p of each perturbation, (4, columns)."""
    found = np.full((4, whole.ones.shape[1]), np.nan)
    fitted = regression(y, offset, whole)
    if fitted is None:
        return found
    fit, seen = fitted.fit, fitted.seen
    told = fitted.x.told[whole.dense.shape[1] :]
    if seen.any() and not told.any():
        return found
    free = fitted.used.sum() - len(fit.coef)
    effect = np.where(told, fitted.spread(fit.coef), np.nan)
    reach = t.ppf((1 + level) / 2, free) * np.sqrt(fitted.spread(fit.covariance.diagonal()))
    found[:3, seen] = effect, effect - reach, effect + reach
    z, expected = score_z(y, offset, whole, fitted)
    z[seen] = np.where(told, z[seen], np.nan)
    if np.count_nonzero(y) >= max(FEWEST_CELLS, 2 * whole.dense.shape[1]):
        found[3] = np.maximum(2 * t.sf(np.abs(z), free), np.finfo(float).tiny)
    if not seen.all():
        known = ~seen & (expected > 0)
        bound = NO_COUNT * max(fit.pearson, 1.0) / expected[known]
        found[0, known], found[1, known], found[2, known] = -np.inf, -np.inf, np.log(bound)
    return found
