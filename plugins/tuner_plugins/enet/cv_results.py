"""Held-out errors over a grid of alpha and l1_ratio, and what they say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tuner_plugins.enet.arrays import Floats
from tuner_plugins.enet.path import Refit

_BY_FOLD, _BY_GENE, _TOGETHER = 3, 0, (0, 3)
"""Axes of the errors to sum over."""


@dataclass(frozen=True)
class Sweep:
    """Held-out errors of every fold over a grid, and refits on all cells when asked for.

    Attributes
    ----------
    alphas, l1_ratios : array, shape (alphas,), (ratios,)
        The grid, in the order it was given in.
    sse : array, shape (folds, alphas, ratios, responses)
        Squared errors of held-out cells.
    base : array, shape (folds, alphas or 1, ratios or 1, responses)
        The same of the covariates alone.
    sst : array, shape (folds, responses)
        Squares of held-out cells about the training mean.
    variance : array, shape (folds, responses)
        Training variances: the unit of `partial_r2`.
    mask : array of bool, shape (folds, responses)
        What counts.
    nonzeros : array, shape (alphas, ratios)
        Mean number of penalised coefficients that are not zero.
    fold_kkt : float
        Largest optimality residual of the fits of the folds.
    fit_all : callable
        Fits all cells with an alpha and an l1_ratio.
    """

    alphas: Floats
    l1_ratios: Floats
    sse: Floats
    base: Floats
    sst: Floats
    variance: Floats
    mask: NDArray[np.bool_]
    nonzeros: Floats
    fold_kkt: float
    fit_all: Callable[[float, float], Refit]
    _refits: dict[tuple[float, float], Refit] = field(default_factory=dict, repr=False)

    @property
    def n_folds(self) -> int:
        """Number of folds."""
        return int(self.sse.shape[0])

    @property
    def r2(self) -> Floats:
        """Held-out R2 of all responses together (variance-weighted), (alphas, ratios)."""
        return self._r2(self.sse, _TOGETHER)

    @property
    def r2_folds(self) -> Floats:
        """`r2` of each fold, (folds, alphas, ratios)."""
        return self._r2(self.sse, _BY_FOLD)

    @property
    def r2_se(self) -> Floats:
        """Standard error of `r2` over folds, (alphas, ratios)."""
        return standard_error(self.r2_folds)

    @property
    def r2_genes(self) -> Floats:
        """R2 of each response, pooled over folds, (alphas, ratios, responses); 0 if constant."""
        return self._r2(self.sse, _BY_GENE)

    @property
    def r2_mean(self) -> Floats:
        """Uniform mean of `r2_genes` over the responses that count, (alphas, ratios)."""
        counts = self.mask.any(axis=0)
        return np.asarray(self.r2_genes[..., counts].mean(axis=2))

    @property
    def r2_covariates(self) -> Floats:
        """`r2` of the covariates alone, (alphas or 1, ratios or 1)."""
        return self._r2(self.base, _TOGETHER)

    @property
    def delta_r2(self) -> Floats:
        """What perturbations add to `r2`: `r2` - `r2_covariates`, (alphas, ratios)."""
        return self._gain(_TOGETHER)

    @property
    def delta_r2_folds(self) -> Floats:
        """`delta_r2` of each fold, (folds, alphas, ratios)."""
        return self._gain(_BY_FOLD)

    @property
    def delta_r2_genes(self) -> Floats:
        """`delta_r2` of each response, pooled over folds, (alphas, ratios, responses)."""
        return self._gain(_BY_GENE)

    @property
    def partial_r2(self) -> Floats:
        """1 - SSE / SSE of the covariates alone, z-scored responses together, (alphas, ratios).

        The share of what covariates leave unexplained that perturbations explain; every response
        weighs alike, where `delta_r2` weighs them by their variance.
        """
        return self._partial(_TOGETHER)

    @property
    def partial_r2_genes(self) -> Floats:
        """`partial_r2` of each response, pooled over folds, (alphas, ratios, responses)."""
        return self._partial(_BY_GENE)

    @property
    def best_index(self) -> tuple[int, int]:
        """Where `r2` is largest."""
        row, column = np.unravel_index(np.argmax(self.r2), self.r2.shape)
        return int(row), int(column)

    @property
    def best(self) -> tuple[float, float]:
        """Alpha and l1_ratio of the largest `r2`."""
        row, column = self.best_index
        return float(self.alphas[row]), float(self.l1_ratios[column])

    @property
    def kkt(self) -> float:
        """Largest optimality residual of all fits so far, those of the folds and the refits."""
        return max([self.fold_kkt, *(refit.kkt for refit in self._refits.values())])

    def refit(self, alpha: float, l1_ratio: float) -> Refit:
        """Fit all cells with any alpha and ratio, on the grid or not; remembered."""
        key = float(alpha), float(l1_ratio)
        if key not in self._refits:
            self._refits[key] = self.fit_all(*key)
        return self._refits[key]

    def coef(self, alpha: float, l1_ratio: float) -> Floats:
        """Return the coefficients of the refit on all cells, (responses, columns of X)."""
        return self.refit(alpha, l1_ratio).coef

    def intercept(self, alpha: float, l1_ratio: float) -> Floats:
        """Return the intercepts of the refit on all cells, (responses,)."""
        return self.refit(alpha, l1_ratio).intercept

    def one_standard_error(self) -> tuple[int, int]:
        """Return where the sparsest fits are that are no worse than the best by a standard error.

        The standard error is that of the differences from the best, fold by fold: what folds have
        in common falls out of it (Hastie, Tibshirani and Friedman, 2009, 10.1007/978-0-387-84858-7,
        section 7.10, on paired differences).
        """
        row, column = self.best_index
        loss = self.r2_folds[:, row, column][:, None, None] - self.r2_folds
        near = loss.mean(axis=0) <= standard_error(loss)
        near[row, column] = True
        # fewest coefficients first; then the larger alpha
        order = np.lexsort(
            (np.repeat(-self.alphas, len(self.l1_ratios)), self.nonzeros.reshape(-1))
        )
        first = next(index for index in order if near.reshape(-1)[index])
        found = np.unravel_index(first, near.shape)
        return int(found[0]), int(found[1])

    def pick(self, rows: NDArray[np.intp], columns: NDArray[np.intp]) -> Sweep:
        """Return the sweep of one point where each fold has params of its own."""
        folds = np.arange(self.n_folds)
        base = np.broadcast_to(self.base, self.sse.shape)
        return replace(
            self,
            alphas=np.array([np.nan]),
            l1_ratios=np.array([np.nan]),
            sse=self.sse[folds, rows, columns][:, None, None],
            base=base[folds, rows, columns][:, None, None],
            nonzeros=np.array([[self.nonzeros[rows, columns].mean()]]),
        )

    def _r2(self, errors: Floats, axis: int | tuple[int, ...]) -> Floats:
        counts = self.mask[:, None, None]
        total = (self.sst[:, None, None] * counts).sum(axis=axis)
        return held_out_r2((errors * counts).sum(axis=axis), total)

    def _gain(self, axis: int | tuple[int, ...]) -> Floats:
        return np.asarray(self._r2(self.sse, axis) - self._r2(self.base, axis))

    def _partial(self, axis: int | tuple[int, ...]) -> Floats:
        unit = np.divide(self.mask, self.variance, out=np.zeros(self.mask.shape), where=self.mask)
        unit = unit[:, None, None]
        return held_out_r2((self.sse * unit).sum(axis=axis), (self.base * unit).sum(axis=axis))


def held_out_r2(sse: ArrayLike, sst: ArrayLike) -> Floats:
    """Return 1 - sse / sst, broadcast; 0 where there is no variance to explain."""
    sse, sst = np.broadcast_arrays(np.asarray(sse, float), np.asarray(sst, float))
    ratio = np.divide(sse, sst, out=np.ones(sse.shape), where=sst > 0)
    return np.asarray(1.0 - ratio)


def standard_error(folds: Floats) -> Floats:
    """Return the standard error over the first axis."""
    return np.asarray(folds.std(axis=0, ddof=1) / np.sqrt(folds.shape[0]))
