"""Cross-validate the whole grid of alpha and l1_ratio from one pass over the cells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import ArrayLike, NDArray

from tuner_plugins.enet.accumulate import Floats
from tuner_plugins.enet.errors import DataError
from tuner_plugins.enet.path import fit_grid, penalties
from tuner_plugins.enet.statistics import Statistics, summarise


@dataclass(frozen=True)
class Sweep:
    """Held-out errors of every fit of a grid, and the refits on all cells when asked for.

    Attributes
    ----------
    alphas, l1_ratios : (alphas,), (ratios,)
        The grid, in the order it was given in.
    sse : (folds, alphas, ratios, genes)
        Squared errors of the held-out cells, summed.
    sst : (folds, genes)
        Squares of the held-out cells about the training mean, summed.
    nonzeros : (folds, alphas, ratios, genes)
        Penalised columns with a non-zero coefficient, in the fit that left the fold out.
    statistics : Statistics
        What everything was computed from, by fold.
    """

    alphas: Floats
    l1_ratios: Floats
    sse: Floats
    sst: Floats
    nonzeros: NDArray[np.int32]
    statistics: Statistics
    penalty_factor: Floats | None
    threads: int = 1
    _fold_kkt: float = 0.0
    _refits: dict[tuple[float, float], Refit] = field(default_factory=dict, repr=False)

    @property
    def r2(self) -> Floats:
        """Held-out R2 of all genes together (variance-weighted), (alphas, ratios)."""
        return held_out_r2(self.sse.sum(axis=(0, 3)), self.sst.sum())

    @property
    def r2_folds(self) -> Floats:
        """`r2` of every fold, (folds, alphas, ratios): what standard errors are made from."""
        return held_out_r2(self.sse.sum(axis=3), self.sst.sum(axis=1)[:, None, None])

    @property
    def r2_se(self) -> Floats:
        """Standard error of `r2` over the folds, (alphas, ratios)."""
        folds = self.r2_folds
        return np.asarray(folds.std(axis=0, ddof=1) / np.sqrt(folds.shape[0]))

    @property
    def r2_genes(self) -> Floats:
        """Held-out R2 of every gene, pooled over folds: 1 - sum SSE / sum SST.

        (alphas, ratios, genes); 0 for a gene that is constant.
        """
        return held_out_r2(self.sse.sum(axis=0), self.sst.sum(axis=0))

    @property
    def nonzero(self) -> Floats:
        """Mean number of non-zero penalised coefficients of a gene, (alphas, ratios)."""
        return np.asarray(self.nonzeros.mean(axis=(0, 3)))

    @property
    def kkt(self) -> float:
        """Largest optimality residual of all fits so far, those of the folds and the refits."""
        return max([self._fold_kkt, *(refit.kkt for refit in self._refits.values())])

    @property
    def best(self) -> tuple[float, float]:
        """Alpha and l1_ratio of the largest `r2`."""
        alpha, ratio = np.unravel_index(np.argmax(self.r2), self.r2.shape)
        return float(self.alphas[alpha]), float(self.l1_ratios[ratio])

    def coef(self, alpha: float, l1_ratio: float) -> Floats:
        """Return the coefficients of the refit on all cells, (genes, columns of X)."""
        return self.refit(alpha, l1_ratio).coef

    def intercept(self, alpha: float, l1_ratio: float) -> Floats:
        """Return the intercepts of the refit on all cells, (genes,)."""
        return self.refit(alpha, l1_ratio).intercept

    def refit(self, alpha: float, l1_ratio: float) -> Refit:
        """Fit all cells with any alpha and ratio, on the grid or not; remembered."""
        key = (float(alpha), float(l1_ratio))
        if key not in self._refits:
            self._refits[key] = fit(
                self.statistics, *key, self.penalty_factor, threads=self.threads
            )
        return self._refits[key]


@dataclass(frozen=True)
class Refit:
    """One fit on all cells.

    Attributes
    ----------
    coef, intercept : (genes, columns), (genes,)
        On the scale of X and Y.
    kkt : float
        Largest optimality residual, a correlation (see `solver.Fits`).
    """

    coef: Floats
    intercept: Floats
    kkt: float


def sweep(
    X: ArrayLike | sp.spmatrix | sp.sparray,
    Y: ArrayLike | sp.spmatrix | sp.sparray,
    alphas: ArrayLike,
    l1_ratios: ArrayLike,
    folds: ArrayLike,
    penalty_factor: ArrayLike | None = None,
    *,
    threads: int = 1,
    method: str = "auto",
) -> Sweep:
    """Cross-validate every alpha and l1_ratio, all fits exact, each gene its own elastic net.

    Parameters
    ----------
    X : (cells, columns), dense or sparse
        Design and covariates, no intercept column: the intercept is fitted and free.
    Y : (cells, genes), dense or sparse
        Responses.
    alphas, l1_ratios : (alphas,), (ratios,)
        The grid: penalties as in scikit-learn's ``ElasticNet``, loss divided by 2 n.
    folds : (cells,)
        Fold label of every cell; each fold is held out once.
    penalty_factor : (columns,), optional
        What the penalty of a column is multiplied by: 1 for all if not given, 0 leaves it free.
    threads : int
        Threads over genes; the result does not depend on it.
    method : {"auto", "newton", "descent"}
        See `solver.fit_grid`.

    Returns
    -------
    Sweep

    Raises
    ------
    DataError
        Shapes that do not match, NaN, penalties out of range, fewer than two folds.
    """
    alphas, l1_ratios = penalties(alphas, l1_ratios)
    labels = fold_numbers(folds)
    summed = summarise(X, Y, labels, threads=threads)
    return sweep_statistics(
        summed, alphas, l1_ratios, penalty_factor, threads=threads, method=method
    )


def sweep_statistics(
    summed: Statistics,
    alphas: ArrayLike,
    l1_ratios: ArrayLike,
    penalty_factor: ArrayLike | None = None,
    *,
    threads: int = 1,
    method: str = "auto",
) -> Sweep:
    """Cross-validate as `sweep` does, from statistics that are already there."""
    alphas, l1_ratios = penalties(alphas, l1_ratios)
    if summed.n_folds < 2:
        raise DataError("cross-validation needs two folds at least; all cells have one label")
    fits = fit_grid(summed, alphas, l1_ratios, penalty_factor, threads=threads, method=method)
    factor = None if penalty_factor is None else np.asarray(penalty_factor, dtype=np.float64)
    return Sweep(
        alphas,
        l1_ratios,
        fits.sse,
        summed.total_sum_of_squares(),
        fits.nonzero,
        summed,
        factor,
        threads,
        float(fits.kkt.max(initial=0.0)),
    )


def fit(
    summed: Statistics,
    alpha: float,
    l1_ratio: float,
    penalty_factor: ArrayLike | None = None,
    *,
    threads: int = 1,
    method: str = "auto",
) -> Refit:
    """Fit all cells of the statistics with one alpha and ratio."""
    fits = fit_grid(
        summed.total(),
        alpha,
        l1_ratio,
        penalty_factor,
        threads=threads,
        coefficients=True,
        method=method,
    )
    assert fits.coef is not None
    assert fits.intercept is not None
    return Refit(fits.coef[0, 0, 0], fits.intercept[0, 0, 0], float(fits.kkt.max(initial=0.0)))


def held_out_r2(sse: ArrayLike, sst: ArrayLike) -> Floats:
    """Return 1 - sse / sst, broadcast; 0 where there is no variance to explain."""
    sse, sst = np.broadcast_arrays(np.asarray(sse, float), np.asarray(sst, float))
    ratio = np.divide(sse, sst, out=np.ones(sse.shape), where=sst > 0)
    return np.asarray(1.0 - ratio)


def fold_numbers(folds: ArrayLike | Sequence[Any]) -> NDArray[np.int64]:
    """Return fold labels as numbers 0, 1, ... in sorted order; raise if they are not integers."""
    labels = np.asarray(folds)
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise DataError(
            f"folds must be one integer label a cell; got shape {labels.shape} of {labels.dtype}"
        )
    return np.unique(labels, return_inverse=True)[1].astype(np.int64)
