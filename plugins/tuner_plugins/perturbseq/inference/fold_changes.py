"""Fold changes with intervals: what the penalty shrinks is estimated again, from counts.

A quasi-Poisson regression of each gene on all perturbations and covariates (McCullagh and Nelder,
1989, chapter 9; Lund et al., 2012, 10.1515/1544-6115.1826): log mean = offset + X b. Intervals are
those of a variance that grows faster than the mean, scale x (mean + a mean^2), by the sandwich of
White (1982, 10.2307/1912526): one scale alone is too small for cells with many counts, and too
large for the others. The design is the whole one, not the columns that the elastic net selected:
an interval of what was selected for being large is too narrow.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.stats import t
from threadpoolctl import threadpool_limits

from tuner_plugins.enet.dependence import independent
from tuner_plugins.perturbseq.inference.kernels import weighted_gram

MOST_STEPS = 50
CONVERGED = 1e-8
SINGULAR = 1e-9
FARTHEST = 30.0
"""Bound of the linear predictor, beyond which exp is of no use."""

NO_COUNT = -np.log(0.025)
"""Upper bound, at 95 %, of the mean of a Poisson that gave no count."""


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
        Whole numbers; not copied if by columns (CSC).
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
        ``log2fc``, ``low``, ``high`` and ``p`` (two-sided, of no change). A gene without a count
        in the cells of a perturbation has -inf, the bound of a Poisson without a count (95 %
        whatever the level), and no p; NaN throughout for a gene without counts in other cells, and
        for a perturbation whose cells do not tell it from others, such as one that is never alone.

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
    columns, offset = counts.tocsc(), np.log(sizes)
    whole = _Columns(others, design.tocsr())

    def work(gene: int) -> NDArray[np.float64]:
        y = np.zeros(len(sizes))
        at = slice(columns.indptr[gene], columns.indptr[gene + 1])
        y[columns.indices[at]] = columns.data[at]
        return _one_gene(y, offset, whole, level)

    with threadpool_limits(1), ThreadPoolExecutor(max(1, threads)) as pool:
        found = np.array(list(pool.map(work, range(counts.shape[1]))))
    found = found.reshape(counts.shape[1], 4, design.shape[1])
    found[:, :3] /= np.log(2)
    return dict(zip(("log2fc", "low", "high", "p"), np.moveaxis(found, 1, 0), strict=True))


def _one_gene(
    y: NDArray[np.float64], offset: NDArray[np.float64], whole: _Columns, level: float
) -> NDArray[np.float64]:
    """Return estimate, interval (natural logarithms) and p of each perturbation, (4, columns)."""
    design, others = whole.ones, whole.dense
    found = np.full((4, design.shape[1]), np.nan)
    seen = np.asarray(design.T @ y) > 0
    used = np.asarray(design[:, ~seen].sum(axis=1)).reshape(-1) == 0
    if used.sum() <= seen.sum() + others.shape[1] or not y[used].any():
        return found
    cells = slice(None) if used.all() else used
    x = whole if seen.all() else _Columns(others[cells], design[cells][:, seen])
    fit = _quasi_poisson(y[cells], offset[cells], x.kept)
    if fit is None:
        return found
    of_kept, covariance, scale = fit
    free, q = int(used.sum()) - len(of_kept), others.shape[1]
    coef, error = np.zeros(x.width), np.full(x.width, np.nan)
    coef[x.independent], error[x.independent] = of_kept, np.sqrt(covariance.diagonal())
    error[~x.told] = np.nan
    effect, error = np.where(x.told, coef, np.nan)[q:], error[q:]
    reach = t.ppf((1 + level) / 2, free) * error
    found[:3, seen] = effect, effect - reach, effect + reach
    found[3, seen] = 2 * t.sf(np.abs(effect) / error, free)
    if not seen.all():
        expected = np.exp(np.clip(offset + others @ coef[:q], -FARTHEST, FARTHEST))
        bound = NO_COUNT * max(scale, 1.0) / np.asarray(design[:, ~seen].T @ expected)
        found[0, ~seen], found[1, ~seen], found[2, ~seen] = -np.inf, -np.inf, np.log(bound)
    return found


class _Columns:
    """The columns of a regression: dense ones, then sparse ones of ones."""

    def __init__(self, dense: NDArray[np.float64], ones: sparse.csr_matrix) -> None:
        self.dense, self.ones, self.transposed = dense, ones, ones.T.tocsr()
        ones.sort_indices()
        self.width = dense.shape[1] + ones.shape[1]

    @cached_property
    def _gram(self) -> NDArray[np.float64]:
        return self.information(np.ones(self.ones.shape[0]))

    @cached_property
    def independent(self) -> NDArray[np.intp]:
        """Which columns depend on none before them."""
        return independent(self._gram)

    @cached_property
    def told(self) -> NDArray[np.bool_]:
        """Which coefficients the columns determine: those that no dependence of columns changes."""
        if len(self.independent) == self.width:
            return np.ones(self.width, dtype=np.bool_)
        units = np.sqrt(np.maximum(self._gram.diagonal(), 1.0))
        values, vectors = np.linalg.eigh(self._gram / np.outer(units, units))
        dependences = vectors[:, values < SINGULAR * values[-1]]
        return np.asarray((dependences**2).sum(axis=1) < SINGULAR)

    @cached_property
    def kept(self) -> _Columns:
        """The independent columns."""
        if len(self.independent) == self.width:
            return self
        q = self.dense.shape[1]
        dense, ones = (self.independent[self.independent < q], self.independent >= q)
        return _Columns(self.dense[:, dense], self.ones[:, self.independent[ones] - q])

    def times(self, coef: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the linear predictor, (cells,)."""
        q = self.dense.shape[1]
        return np.asarray(self.dense @ coef[:q] + self.ones @ coef[q:])

    def sums(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the sums of values, (cells,), over each column."""
        return np.concatenate([self.dense.T @ values, self.transposed @ values])

    def information(self, weight: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return X'WX, (columns, columns)."""
        lower = np.zeros((self.width, self.width))
        weighted_gram(self.dense, self.ones.indptr, self.ones.indices, weight, lower)
        return lower + np.tril(lower, -1).T


def _quasi_poisson(
    y: NDArray[np.float64], offset: NDArray[np.float64], x: _Columns
) -> tuple[NDArray[np.float64], NDArray[np.float64], float] | None:
    """Return coefficients, their covariance and Pearson's scale; None where it does not converge.

    Iteratively reweighted least squares; a step that lowers the likelihood is halved.
    """
    coef = np.zeros(x.width)
    coef[0] = np.log(y.sum() / np.exp(offset).sum())

    def state(at: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
        eta = np.clip(offset + x.times(at), -FARTHEST, FARTHEST)
        mean = np.exp(eta)
        return mean, float((y * eta - mean).sum())

    mean, likelihood = state(coef)
    for _ in range(MOST_STEPS):
        try:
            step = np.linalg.solve(x.information(mean), x.sums(y - mean))
        except np.linalg.LinAlgError:
            return None
        for _ in range(20):
            tried = state(coef + step)
            if tried[1] >= likelihood - 1e-12 * abs(likelihood):
                break
            step /= 2
        coef, before = coef + step, likelihood
        mean, likelihood = tried
        if likelihood - before <= CONVERGED * (abs(likelihood) + 1) and np.abs(step).max() < 1e-5:
            try:
                inverse = np.linalg.inv(x.information(mean))
            except np.linalg.LinAlgError:
                return None
            free = max(len(y) - x.width, 1)
            squares = (y - mean) ** 2
            excess = max(float((squares - mean).sum() / (mean**2).sum()), 0.0)
            variance = mean * (1 + excess * mean)
            variance *= (squares / variance).sum() / free
            scale = float((squares / mean).sum() / free)
            return coef, inverse @ x.information(variance) @ inverse, scale
    return None
