"""Held-out errors over a grid of alpha and l1_ratio, and what they say."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from tuner_plugins.enet.accumulate import Floats
from tuner_plugins.enet.sweep import held_out_r2


@dataclass(frozen=True)
class Surface:
    """Held-out errors of every fold over a grid.

    Attributes
    ----------
    alphas, l1_ratios : array, shape (alphas,), (ratios,)
        The grid.
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
    kkt : float
        Largest optimality residual of all fits.
    """

    alphas: Floats
    l1_ratios: Floats
    sse: Floats
    base: Floats
    sst: Floats
    variance: Floats
    mask: np.ndarray
    nonzeros: Floats
    kkt: float

    @property
    def n_folds(self) -> int:
        """Number of folds."""
        return int(self.sse.shape[0])

    @property
    def r2(self) -> Floats:
        """Held-out R2 of all responses together (variance-weighted), (alphas, ratios)."""
        return held_out_r2(self._sum(self.sse, (0, 3)), (self.sst * self.mask).sum())

    @property
    def r2_folds(self) -> Floats:
        """`r2` of each fold, (folds, alphas, ratios)."""
        return held_out_r2(
            self._sum(self.sse, 3), (self.sst * self.mask).sum(axis=1)[:, None, None]
        )

    @property
    def r2_se(self) -> Floats:
        """Standard error of `r2` over folds, (alphas, ratios)."""
        return standard_error(self.r2_folds)

    @property
    def r2_genes(self) -> Floats:
        """R2 of each response, pooled over folds, (alphas, ratios, responses); 0 if constant."""
        return held_out_r2(self._sum(self.sse, 0), (self.sst * self.mask).sum(axis=0))

    @property
    def r2_mean(self) -> Floats:
        """Uniform mean of `r2_genes` over the responses that count, (alphas, ratios)."""
        counts = self.mask.any(axis=0)
        return np.asarray(self.r2_genes[..., counts].mean(axis=2))

    @property
    def r2_covariates(self) -> Floats:
        """`r2` of the covariates alone, (alphas or 1, ratios or 1)."""
        return held_out_r2(self._sum(self.base, (0, 3)), (self.sst * self.mask).sum())

    @property
    def delta_r2(self) -> Floats:
        """What perturbations add to `r2`: `r2` - `r2_covariates`, (alphas, ratios)."""
        return np.asarray(self.r2 - self.r2_covariates)

    @property
    def delta_r2_folds(self) -> Floats:
        """`delta_r2` of each fold, (folds, alphas, ratios)."""
        total = (self.sst * self.mask).sum(axis=1)[:, None, None]
        return np.asarray(self.r2_folds - held_out_r2(self._sum(self.base, 3), total))

    @property
    def delta_r2_genes(self) -> Floats:
        """`delta_r2` of each response, pooled over folds, (alphas, ratios, responses)."""
        total = (self.sst * self.mask).sum(axis=0)
        return np.asarray(self.r2_genes - held_out_r2(self._sum(self.base, 0), total))

    @property
    def partial_r2(self) -> Floats:
        """1 - SSE / SSE of the covariates alone, z-scored responses together, (alphas, ratios).

        The share of what covariates leave unexplained that perturbations explain; every response
        weighs alike, where `delta_r2` weighs them by their variance.
        """
        unit = self._unit
        return held_out_r2((self.sse * unit).sum(axis=(0, 3)), (self.base * unit).sum(axis=(0, 3)))

    @property
    def partial_r2_folds(self) -> Floats:
        """`partial_r2` of each fold, (folds, alphas, ratios)."""
        unit = self._unit
        return held_out_r2((self.sse * unit).sum(axis=3), (self.base * unit).sum(axis=3))

    @property
    def partial_r2_genes(self) -> Floats:
        """`partial_r2` of each response, pooled over folds, (alphas, ratios, responses)."""
        unit = self._unit
        return held_out_r2((self.sse * unit).sum(axis=0), (self.base * unit).sum(axis=0))

    @property
    def best(self) -> tuple[int, int]:
        """Where `r2` is largest."""
        row, column = np.unravel_index(np.argmax(self.r2), self.r2.shape)
        return int(row), int(column)

    def one_standard_error(self) -> tuple[int, int]:
        """Choose the sparsest setting that is no worse than the best within one standard error.

        The standard error is that of the differences from the best, fold by fold: what folds have
        in common falls out of it (Hastie, Tibshirani and Friedman, 2009, 10.1007/978-0-387-84858-7,
        section 7.10, on paired differences).
        """
        row, column = self.best
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

    def pick(self, rows: np.ndarray, columns: np.ndarray) -> Surface:
        """Return a surface of one point where each fold has a setting of its own."""
        folds = np.arange(self.n_folds)
        base = self.base
        at_base = (
            folds,
            rows if base.shape[1] > 1 else 0 * rows,
            columns if base.shape[2] > 1 else 0 * columns,
        )
        return replace(
            self,
            alphas=np.array([np.nan]),
            l1_ratios=np.array([np.nan]),
            sse=self.sse[folds, rows, columns][:, None, None],
            base=base[at_base][:, None, None],
            nonzeros=np.array([[self.nonzeros[rows, columns].mean()]]),
        )

    @property
    def _unit(self) -> Floats:
        unit = np.divide(self.mask, self.variance, out=np.zeros(self.mask.shape), where=self.mask)
        return np.asarray(unit[:, None, None, :])

    def _sum(self, errors: Floats, axis: int | tuple[int, ...]) -> Floats:
        return np.asarray((errors * self.mask[:, None, None, :]).sum(axis=axis))


def standard_error(folds: Floats) -> Floats:
    """Return the standard error over the first axis."""
    return np.asarray(folds.std(axis=0, ddof=1) / np.sqrt(folds.shape[0]))
