"""Cross-validation where each fold may have its own columns, responses and scales.

What is learnt from training cells (a score that is a covariate, the choice of genes, a standard
deviation) differs from fold to fold. The statistics hold all versions of the columns; a fold takes
its own. Scales are put in afterwards, by arithmetic on the statistics.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from tuner_plugins.enet.accumulate import Floats
from tuner_plugins.enet.cv_results import Surface
from tuner_plugins.enet.errors import DataError
from tuner_plugins.enet.path import fit_grid
from tuner_plugins.enet.problem import independent
from tuner_plugins.enet.statistics import Statistics
from tuner_plugins.enet.sweep import fit


@dataclass(frozen=True)
class Problem:
    """Statistics by fold, and what each fit may use of them.

    Attributes
    ----------
    statistics : Statistics
        By fold, with the columns and responses of all versions.
    columns : sequence of arrays of int
        Columns of each version: one for each fold, which it does not know, then that of the fit to
        all cells. All of one length.
    chosen : sequence of arrays of bool, shape (responses,)
        Responses of each version.
    tested : int
        So many columns come first that are tested; those after are covariates.
    penalty_factor : array, shape (columns of a version,)
        0 leaves a column free. Penalised covariates are divided by their training standard
        deviation; tested columns never are.
    scale_genes : bool
        Whether responses are divided by their training standard deviation.
    """

    statistics: Statistics
    columns: Sequence[np.ndarray]
    chosen: Sequence[np.ndarray]
    tested: int
    penalty_factor: Floats
    scale_genes: bool = False

    @property
    def n_folds(self) -> int:
        """Number of folds."""
        return self.statistics.n_folds

    @property
    def scaled_columns(self) -> np.ndarray:
        """Which columns are divided by their standard deviation, (columns,)."""
        return (self.penalty_factor > 0) & (np.arange(len(self.penalty_factor)) >= self.tested)

    @cached_property
    def alike(self) -> bool:
        """Whether all folds use the same columns on the same scale: one call then fits them all."""
        same = all(np.array_equal(part, self.columns[0]) for part in self.columns)
        return same and not self.scale_genes and not self.scaled_columns.any()

    @cached_property
    def mask(self) -> np.ndarray:
        """Responses that count, (folds, responses): chosen, and not constant in training."""
        return np.array(self.chosen[: self.n_folds]) & (self.variance > 0)

    @cached_property
    def variance(self) -> Floats:
        """Training variances of the responses as they are fitted, (folds, responses)."""
        return np.array([training_variance(part)[1] for part in self.training])

    @cached_property
    def training(self) -> list[Statistics]:
        """The training set of each fold, one fold each, its own columns and scales."""
        sets = self.statistics.training()
        return [self._version(sets, fold, fold) for fold in range(sets.n_folds)]

    @cached_property
    def held(self) -> list[Statistics]:
        """The held-out cells of each fold, likewise."""
        return [self._version(self.statistics, fold, fold) for fold in range(self.n_folds)]

    @cached_property
    def sst(self) -> Floats:
        """Held-out squares about the training mean, (folds, responses)."""
        pairs = [joined(h, t) for h, t in zip(self.held, self.training, strict=True)]
        return np.array([pair.total_sum_of_squares()[0] for pair in pairs])

    @cached_property
    def free_base(self) -> Floats | None:
        """Held-out errors of the covariates alone where they are free, (folds, responses)."""
        if self.penalty_factor[self.tested :].any():
            return None
        keep = np.arange(self.tested, len(self.penalty_factor))
        pairs = zip(self.training, self.held, strict=True)
        return np.array([least_squares_errors(t.columns(keep), h.columns(keep)) for t, h in pairs])

    def _version(self, sets: Statistics, fold: int, version: int) -> Statistics:
        part = sets.folds(slice(fold, fold + 1)).columns(self.columns[version])
        return rescaled(part, *self.scales(version))

    def scales(self, version: int) -> tuple[Floats, Floats]:
        """Return the divisors of columns and responses that a version has learnt."""
        columns = self.columns[version]
        ones = np.ones(len(columns)), np.ones(self.statistics.n_genes)
        if not self.scaled_columns.any() and not self.scale_genes:
            return ones
        everything = version == self.n_folds or self.n_folds == 1
        sets = self.statistics.total() if everything else self.statistics.training()
        fold = 0 if everything else version
        part = sets.folds(slice(fold, fold + 1)).columns(columns)
        of_columns, of_genes = (np.sqrt(v) for v in training_variance(part))
        x = np.where(self.scaled_columns & (of_columns > 0), of_columns, 1.0)
        y = np.where((of_genes > 0) & self.scale_genes, of_genes, 1.0)
        return x, y

    def errors(
        self,
        alphas: Sequence[float] | Floats,
        l1_ratios: Sequence[float] | Floats,
        threads: int,
        *,
        covariates_only: bool = False,
    ) -> tuple[Floats, Floats, float]:
        """Fit all folds over a grid.

        Returns
        -------
        sse : array, shape (folds, alphas, ratios, responses)
            Held-out squared errors.
        nonzeros : array, same shape
            Penalised columns with a coefficient.
        kkt : float
            Largest optimality residual.
        """
        keep = np.arange(self.tested if covariates_only else 0, len(self.penalty_factor))
        factors = self.penalty_factor[keep]
        if self.alike:
            whole = self.statistics.columns(self.columns[0]).columns(keep)
            fits = fit_grid(whole, alphas, l1_ratios, factors, threads=threads)
            return fits.sse, fits.nonzero, float(fits.kkt.max(initial=0.0))
        parts = []
        for held, training in zip(self.held, self.training, strict=True):
            pair = joined(held, training).columns(keep)
            parts.append(fit_grid(pair, alphas, l1_ratios, factors, threads=threads, held_out=1))
        return (
            np.array([part.sse[0] for part in parts]),
            np.array([part.nonzero[0] for part in parts]),
            max(float(part.kkt.max(initial=0.0)) for part in parts),
        )


def joined(*parts: Statistics) -> Statistics:
    """Put folds with the same shifts side by side."""
    first = parts[0]
    return replace(
        first,
        gram=np.concatenate([part.gram for part in parts]),
        cross=np.concatenate([part.cross for part in parts]),
        squares=np.concatenate([part.squares for part in parts]),
    )


def rescaled(sets: Statistics, x_scale: Floats, y_scale: Floats) -> Statistics:
    """Return the statistics of X / x_scale and Y / y_scale."""
    by_column = np.concatenate(([1.0], x_scale))
    return Statistics(
        sets.gram / np.outer(by_column, by_column),
        sets.cross / np.outer(by_column, y_scale),
        sets.squares / y_scale**2,
        sets.x_shift / x_scale,
        sets.y_shift / y_scale,
    )


def least_squares_errors(training: Statistics, held: Statistics) -> Floats:
    """Return the squared errors of an unpenalised fit on held-out cells, (responses,).

    Columns that depend on those before them are left out, as they are by the penalised fits.
    """
    gram = training.gram[0]
    keep = independent(gram)
    units = 1.0 / np.sqrt(gram.diagonal()[keep])
    scaled = gram[np.ix_(keep, keep)] * np.outer(units, units)
    coef = np.linalg.solve(scaled, training.cross[0, keep] * units[:, None]) * units[:, None]
    image = held.gram[0][np.ix_(keep, keep)] @ coef - 2.0 * held.cross[0, keep]
    return np.asarray(np.maximum(held.squares[0] + (coef * image).sum(axis=0), 0.0))


def training_variance(part: Statistics) -> tuple[Floats, Floats]:
    """Return the variances of columns and responses of one fold; 0 where only rounding is left."""
    n = part.gram[0, 0, 0]
    squares = part.gram[0].diagonal()[1:]
    mean_x, mean_y = part.gram[0, 0, 1:] / n, part.cross[0, 0] / n
    return (
        _without_rounding(squares / n, mean_x),
        _without_rounding(part.squares[0] / n, mean_y),
    )


def _without_rounding(square: Floats, mean: Floats) -> Floats:
    variance = square - mean**2
    return np.where(variance > 1e-12 * square, variance, 0.0)


def cross_validate(
    problem: Problem,
    alphas: Sequence[float] | Floats,
    l1_ratios: Sequence[float] | Floats,
    *,
    threads: int = 1,
) -> Surface:
    """Fit every fold over the grid and score it on the cells that it did not see.

    Parameters
    ----------
    problem : Problem
        Two folds or more.
    alphas, l1_ratios : sequence of float
        The grid.
    threads : int
        Over responses; the result does not depend on it.
    """
    if problem.n_folds < 2:
        raise DataError("cross-validation needs two folds at least, there is one")
    sse, nonzeros, kkt = problem.errors(alphas, l1_ratios, threads)
    base = problem.free_base
    if base is None:
        base = problem.errors(alphas, l1_ratios, threads, covariates_only=True)[0]
    else:
        base = base[:, None, None, :]
    return Surface(
        np.asarray(alphas, dtype=np.float64),
        np.asarray(l1_ratios, dtype=np.float64),
        sse,
        base,
        problem.sst,
        problem.variance,
        problem.mask,
        nonzeros.mean(axis=(0, 3)),
        kkt,
    )


@dataclass(frozen=True)
class Coefficients:
    """The fit to all cells, on the scale of the data.

    Attributes
    ----------
    coef : array, shape (chosen responses, columns)
        Tested columns first, then covariates.
    intercept : array, shape (chosen responses,)
        Constants.
    kkt : float
        Largest optimality residual.
    """

    coef: Floats
    intercept: Floats
    kkt: float


def refit(problem: Problem, alpha: float, l1_ratio: float, *, threads: int = 1) -> Coefficients:
    """Fit all cells with one setting."""
    last = len(problem.columns) - 1
    version = problem.n_folds if problem.n_folds > 1 else 0
    x_scale, y_scale = problem.scales(version)
    chosen = np.flatnonzero(problem.chosen[last])
    part = problem.statistics.total().columns(problem.columns[last])
    part = rescaled(part, x_scale, y_scale).genes(chosen)
    found = fit(part, alpha, l1_ratio, problem.penalty_factor, threads=threads)
    unit = y_scale[chosen]
    return Coefficients(found.coef * unit[:, None] / x_scale, found.intercept * unit, found.kkt)
