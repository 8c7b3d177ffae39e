"""Fit a grid of elastic nets from statistics: choose a solver, share the genes among threads.

For every gene apart, with n training cells, the minimum over intercept b and coefficients w of

    1 / (2 n) |y - b - X w|^2 + alpha * l1_ratio * sum_j f_j |w_j|
                              + alpha * (1 - l1_ratio) / 2 * sum_j f_j w_j^2

is found, f being the penalty factors: scikit-learn's ``ElasticNet`` where all are 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tuner_plugins.enet import kernels
from tuner_plugins.enet.arrays import Floats, Grid, Output
from tuner_plugins.enet.problem import (
    disjoint_columns,
    onehot_blocks,
    penalty_weights,
    projection,
    training_sets,
    worth_eliminating,
)
from tuner_plugins.enet.solvers.grid import fit_compiled, fit_plainly
from tuner_plugins.enet.statistics import Statistics
from tuner_plugins.enet.validation import DataError

TOLERANCE = 1e-12
"""Residual that a fit is solved to, in units of the norms of its column and gene."""

_METHODS = ("auto", "newton", "descent", "numpy")


@dataclass(frozen=True)
class Refit:
    """One fit on all cells.

    Attributes
    ----------
    coef, intercept : (genes, columns), (genes,)
        On the scale of X and Y.
    kkt : float
        Largest optimality residual, a correlation (see `Fits`).
    steps : int
        As in `Fits`.
    """

    coef: Floats
    intercept: Floats
    kkt: float
    steps: int = 0


@dataclass(frozen=True)
class Fits:
    """Every fit of a grid, as the kernels left them; alphas and ratios in the caller's order.

    Attributes
    ----------
    sse, nonzero : (sets, alphas, ratios, genes)
        Held-out sums of squared errors; non-zero penalised coefficients.
    coef, intercept : (sets, alphas, ratios, genes, columns), (sets, alphas, ratios, genes)
        On the scale of X and Y; None where they were not asked for.
    kkt : (genes,)
        Largest optimality residual: of the gradient of half the sum of squares, by column and
        gene divided by the norms of both, which makes it a correlation.
    steps, polished : int
        Steps of the semismooth Newton method, or sweeps of coordinate descent, each counted once a
        gene, and fits that they did not solve; 0 where NumPy fits.
    """

    sse: Floats
    nonzero: NDArray[np.int32]
    coef: Floats | None
    intercept: Floats | None
    kkt: Floats
    steps: int = 0
    polished: int = 0

    def refit(self) -> Refit:
        """Return the last alpha's fit, of one training set and ratio whose coefficients were kept.

        The residual is the largest of all alphas.
        """
        assert self.coef is not None
        assert self.intercept is not None
        kkt = float(self.kkt.max(initial=0.0))
        return Refit(self.coef[0, -1, 0], self.intercept[0, -1, 0], kkt, self.steps)


def fit_grid(  # noqa: PLR0913 - the options of the public face, by keyword
    statistics: Statistics,
    alphas: ArrayLike,
    l1_ratios: ArrayLike,
    penalty_factor: ArrayLike | None = None,
    *,
    threads: int = 1,
    coefficients: bool = False,
    method: str = "auto",
    held: Statistics | None = None,
) -> Fits:
    """Fit every alpha and ratio on every training set (all cells if there is one fold).

    Parameters
    ----------
    statistics
        Of the cells, by fold.
    alphas, l1_ratios : (alphas,), (ratios,)
        Penalties, alpha >= 0 and 0 <= ratio <= 1, in any order.
    penalty_factor : (columns,), optional
        What the penalty of a column is multiplied by; 0 leaves it free.
    threads : int
        Threads over genes; the result does not depend on it.
    coefficients : bool
        Keep the coefficients: sets x alphas x ratios x genes x columns numbers.
    method : {"auto", "newton", "descent", "numpy"}
        Semismooth Newton (needs some disjoint columns) or coordinate descent, both compiled; or
        NumPy, many times slower, which is what all are where there is no C compiler.
    held : Statistics, optional
        Cells to score the fits on, in place of every fold in turn: one fold, with the shifts of
        `statistics`, which has one fold too and trains with all of it.

    Raises
    ------
    DataError
        Penalties out of range, penalty factors that do not match, a fold that has all cells.

    Examples
    --------
    >>> import numpy as np
    >>> from tuner_plugins.enet import fit_grid, summarise
    >>> X = np.repeat([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]], 4, axis=0)
    >>> Y = X @ [[1.0], [-2.0]]
    >>> fits = fit_grid(summarise(X, Y), alphas=[1.0, 0.0], l1_ratios=1.0)
    >>> fits.nonzero[0, :, 0, 0]  # of training set, alpha, l1_ratio and gene
    array([0, 2], dtype=int32)
    """
    alphas, l1_ratios = penalties(alphas, l1_ratios)
    if method not in _METHODS:
        raise DataError(f"method must be one of {', '.join(_METHODS)}; got {method!r}")
    weights = penalty_weights(penalty_factor, statistics.n_columns)
    sets = training_sets(statistics, weights, held)
    order = np.argsort(-alphas, kind="stable")
    genes, shape = statistics.n_genes, (sets.cells.size, alphas.size, l1_ratios.size)
    grid = Grid(alphas[order], l1_ratios, np.array([TOLERANCE]))
    output = Output(
        np.zeros((*shape, genes)),
        np.zeros((*shape, genes), dtype=np.int32),
        np.zeros((*shape, weights.size, genes if coefficients else 0)),
        np.zeros(genes),
    )
    steps = polished = 0
    if method == "numpy" or kernels.load() is None:
        fit_plainly(sets, grid, output, threads)
    else:
        eliminated = disjoint_columns(statistics.gram)
        use_newton = method == "newton" or (
            method == "auto" and worth_eliminating(eliminated, weights.size)
        )
        onehot = onehot_blocks(sets, eliminated) if use_newton else None
        steps, polished = fit_compiled(sets, projection(sets), onehot, grid, output, threads)
    back = np.argsort(order)
    coef = intercept = None
    if coefficients:
        by_gene = output.coef[:, back].swapaxes(3, 4)
        coef = np.ascontiguousarray(by_gene[..., 1:])
        intercept = by_gene[..., 0] + statistics.y_shift - coef @ statistics.x_shift
    return Fits(
        output.sse[:, back],
        output.nonzero[:, back],
        coef,
        intercept,
        output.kkt,
        steps,
        polished,
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
    """Fit all cells of the statistics with one alpha and ratio; parameters as in `fit_grid`.

    Examples
    --------
    >>> import numpy as np
    >>> from tuner_plugins.enet import fit, summarise
    >>> X = np.repeat([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]], 4, axis=0)
    >>> Y = X @ [[1.0], [-2.0]]
    >>> fit(summarise(X, Y), alpha=0.0, l1_ratio=0.5).coef.round(6)
    array([[ 1., -2.]])
    """
    return fit_grid(
        summed.total(),
        alpha,
        l1_ratio,
        penalty_factor,
        threads=threads,
        coefficients=True,
        method=method,
    ).refit()


def alpha_max(
    statistics: Statistics, l1_ratio: float = 1.0, penalty_factor: ArrayLike | None = None
) -> float:
    """Return the smallest alpha at which every penalised coefficient is zero, on all cells.

    That is max over columns and genes of ``|x'r| / (n f l1_ratio)``, with r what free columns leave
    of y (Friedman, Hastie and Tibshirani, 2010, 10.18637/jss.v033.i01).

    Raises
    ------
    DataError
        l1_ratio not in (0, 1], penalty factors that do not match.

    Examples
    --------
    >>> import numpy as np
    >>> from tuner_plugins.enet import alpha_max, summarise
    >>> X = np.repeat([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]], 4, axis=0)
    >>> Y = X @ [[1.0], [-2.0]]
    >>> round(alpha_max(summarise(X, Y)), 6)
    0.555556
    """
    if not 0.0 < l1_ratio <= 1.0:
        raise DataError(f"l1_ratio must be in (0, 1] for an alpha_max to exist, got {l1_ratio}")
    weights = penalty_weights(penalty_factor, statistics.n_columns)
    whole = statistics.total()
    sets = training_sets(whole, weights)
    reduced = projection(sets)
    left = sets.total[reduced.penalised] - reduced.slopes[0].T @ sets.total[reduced.free]
    by_column = np.abs(left).max(axis=1, initial=0.0) / weights[reduced.penalised]
    return float(by_column.max(initial=0.0) / (sets.cells[0] * l1_ratio))


def penalties(alphas: ArrayLike, l1_ratios: ArrayLike) -> tuple[Floats, Floats]:
    """Return both as checked one-dimensional arrays."""
    a = np.array(alphas, dtype=np.float64, ndmin=1, order="C")
    r = np.array(l1_ratios, dtype=np.float64, ndmin=1, order="C")
    if a.ndim != 1 or not a.size or not np.isfinite(a).all() or (a < 0).any():
        raise DataError(f"alphas must be finite numbers >= 0, got {a}")
    if r.ndim != 1 or not r.size or not ((r >= 0) & (r <= 1)).all():
        raise DataError(f"l1_ratios must be numbers from 0 to 1, got {r}")
    return a, r
