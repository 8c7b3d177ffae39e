"""Cross-validation where each fold may have its own columns, responses and scales.

What is learnt from training cells (a score that is a covariate, the choice of genes, a standard
deviation) differs from fold to fold. The statistics hold all versions of the columns; a fold takes
its own. Scales are put in afterwards, by arithmetic on the statistics.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import ArrayLike, NDArray

from tuner_plugins.enet.arrays import Floats
from tuner_plugins.enet.blocks import summarise
from tuner_plugins.enet.cv_results import Sweep
from tuner_plugins.enet.dependence import independent
from tuner_plugins.enet.path import Fits, Refit, fit, fit_grid, penalties
from tuner_plugins.enet.problem import penalty_weights
from tuner_plugins.enet.statistics import Statistics
from tuner_plugins.enet.validation import DataError, fold_numbers


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
    columns: Sequence[NDArray[np.integer[Any]]]
    chosen: Sequence[NDArray[np.bool_]]
    tested: int
    penalty_factor: Floats
    scale_genes: bool = False

    @classmethod
    def of(
        cls,
        statistics: Statistics,
        penalty_factor: ArrayLike | None = None,
        *,
        tested: int | None = None,
    ) -> Problem:
        """Return the problem where every fold has all columns (by default tested) and responses."""
        columns, versions = statistics.n_columns, statistics.n_folds + 1
        return cls(
            statistics,
            [np.arange(columns)] * versions,
            [np.ones(statistics.n_genes, dtype=np.bool_)] * versions,
            columns if tested is None else tested,
            penalty_weights(penalty_factor, columns)[1:],
        )

    @property
    def n_folds(self) -> int:
        """Number of folds."""
        return self.statistics.n_folds

    @property
    def scaled_columns(self) -> NDArray[np.bool_]:
        """Which columns are divided by their standard deviation, (columns,)."""
        return (self.penalty_factor > 0) & (np.arange(len(self.penalty_factor)) >= self.tested)

    @cached_property
    def alike(self) -> bool:
        """Whether all folds use the same columns on the same scale: one call then fits them all."""
        same = all(np.array_equal(part, self.columns[0]) for part in self.columns)
        return same and not self.scale_genes and not self.scaled_columns.any()

    @cached_property
    def mask(self) -> NDArray[np.bool_]:
        """Responses that count, (folds, responses): chosen, and not constant in training."""
        return np.array(self.chosen[: self.n_folds]) & (self.variance > 0)

    @cached_property
    def variance(self) -> Floats:
        """Training variances of the responses as they are fitted, (folds, responses)."""
        return np.array([part.variances()[1] for part in self.training])

    @cached_property
    def training(self) -> list[Statistics]:
        """The training set of each fold, one fold each, its own columns and scales."""
        return [self._version(self.statistics.training(at), k) for k, at in enumerate(self._folds)]

    @cached_property
    def held(self) -> list[Statistics]:
        """The held-out cells of each fold, likewise."""
        return [self._version(self.statistics.folds(at), k) for k, at in enumerate(self._folds)]

    @cached_property
    def whole(self) -> Statistics:
        """All cells, with the columns, scales and chosen responses of the last version."""
        return self._version(self.statistics.total(), -1).genes(np.flatnonzero(self.chosen[-1]))

    @cached_property
    def sst(self) -> Floats:
        """Held-out squares about the training mean, (folds, responses)."""
        pairs = zip(self.training, self.held, strict=True)
        return np.concatenate([h.squares_about(t.cross[:, 0] / t.cells[:, None]) for t, h in pairs])

    @cached_property
    def free_base(self) -> Floats | None:
        """Held-out errors of the covariates alone where they are free, (folds, responses)."""
        if self.penalty_factor[self.tested :].any():
            return None
        keep = np.arange(self.tested, len(self.penalty_factor))
        pairs = zip(self.training, self.held, strict=True)
        return np.array([least_squares_errors(t.columns(keep), h.columns(keep)) for t, h in pairs])

    @property
    def _folds(self) -> list[slice]:
        return [slice(fold, fold + 1) for fold in range(self.n_folds)]

    def _version(self, part: Statistics, version: int) -> Statistics:
        return part.columns(self.columns[version]).rescaled(*self.scales(version))

    def scales(self, version: int) -> tuple[Floats, Floats]:
        """Return the divisors of columns and responses that a version has learnt; -1: the last."""
        columns, y = self.columns[version], np.ones(self.statistics.n_genes)
        if not self.scaled_columns.any() and not self.scale_genes:
            return np.ones(len(columns)), y
        last = version in (-1, len(self.columns) - 1)
        sums = self.statistics
        part = (sums.total() if last else sums.training(self._folds[version])).columns(columns)
        of_columns, of_genes = (np.sqrt(v) for v in part.variances())
        x = np.where(self.scaled_columns & (of_columns > 0), of_columns, 1.0)
        return x, np.where((of_genes > 0) & self.scale_genes, of_genes, y)

    def fits(
        self,
        alphas: ArrayLike,
        l1_ratios: ArrayLike,
        *,
        covariates_only: bool = False,
        threads: int = 1,
    ) -> list[Fits]:
        """Fit every training set over a grid, in one call where they are alike; folds in order."""
        keep = np.arange(self.tested if covariates_only else 0, len(self.penalty_factor))

        def fitted(training: Statistics, held: Statistics | None = None) -> Fits:
            return fit_grid(
                training.columns(keep),
                alphas,
                l1_ratios,
                self.penalty_factor[keep],
                threads=threads,
                held=held and held.columns(keep),
            )

        if self.alike:
            return [fitted(self.statistics.columns(self.columns[0]))]
        return [fitted(*pair) for pair in zip(self.training, self.held, strict=True)]


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


def cross_validate(
    problem: Problem, alphas: ArrayLike, l1_ratios: ArrayLike, *, threads: int = 1
) -> Sweep:
    """Fit every fold over the grid and score it on the cells that it did not see.

    Parameters
    ----------
    problem : Problem
        Two folds or more.
    alphas, l1_ratios : array, shape (alphas,), (ratios,)
        The grid.
    threads : int
        Over responses; the result does not depend on it.

    Raises
    ------
    DataError
        One fold, penalties out of range.

    Examples
    --------
    >>> import numpy as np
    >>> from tuner_plugins.enet import Problem, cross_validate, summarise
    >>> X = np.repeat([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]], 4, axis=0)
    >>> Y = X @ [[1.0], [-2.0]]
    >>> problem = Problem.of(summarise(X, Y, folds=np.arange(12) % 4))
    >>> cross_validate(problem, alphas=[1.0, 0.0], l1_ratios=[1.0]).nonzeros
    array([[0.],
           [2.]])
    """
    alphas, l1_ratios = penalties(alphas, l1_ratios)
    if problem.n_folds < 2:
        raise DataError("cross-validation needs two folds at least, there is one")
    fits = problem.fits(alphas, l1_ratios, threads=threads)
    if problem.free_base is None:
        alone = problem.fits(alphas, l1_ratios, threads=threads, covariates_only=True)
        base = np.concatenate([part.sse for part in alone])
    else:
        base = problem.free_base[:, None, None]
    return Sweep(
        alphas,
        l1_ratios,
        np.concatenate([part.sse for part in fits]),
        base,
        problem.sst,
        problem.variance,
        problem.mask,
        np.concatenate([part.nonzero for part in fits]).mean(axis=(0, 3)),
        max(float(part.kkt.max(initial=0.0)) for part in fits),
        partial(refit, problem, threads=threads),
    )


def refit(problem: Problem, alpha: float, l1_ratio: float, *, threads: int = 1) -> Refit:
    """Fit the chosen responses of all cells; coefficients are on the scale of the data."""
    x_scale, y_scale = problem.scales(-1)
    unit = y_scale[np.flatnonzero(problem.chosen[-1])]
    found = fit(problem.whole, alpha, l1_ratio, problem.penalty_factor, threads=threads)
    return Refit(found.coef * unit[:, None] / x_scale, found.intercept * unit, found.kkt)


def sweep(  # noqa: PLR0913 - the options of the public face
    X: ArrayLike | sp.spmatrix | sp.sparray,
    Y: ArrayLike | sp.spmatrix | sp.sparray,
    alphas: ArrayLike,
    l1_ratios: ArrayLike,
    folds: ArrayLike,
    penalty_factor: ArrayLike | None = None,
    *,
    threads: int = 1,
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

    Raises
    ------
    DataError
        Shapes that do not match, NaN, penalties out of range, fewer than two folds.

    Examples
    --------
    >>> import numpy as np
    >>> from tuner_plugins.enet import sweep
    >>> X = np.repeat([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]], 4, axis=0)
    >>> Y = X @ [[1.0], [-2.0]]
    >>> found = sweep(X, Y, [1.0, 0.0], [0.5], folds=np.arange(12) % 4)
    >>> found.best  # alpha and l1_ratio
    (0.0, 0.5)
    >>> found.coef(*found.best).round(6)
    array([[ 1., -2.]])
    >>> found.kkt < 1e-9
    True
    """
    penalties(alphas, l1_ratios)  # refuse before the pass over the cells
    summed = summarise(X, Y, fold_numbers(folds), threads=threads)
    return cross_validate(Problem.of(summed, penalty_factor), alphas, l1_ratios, threads=threads)
