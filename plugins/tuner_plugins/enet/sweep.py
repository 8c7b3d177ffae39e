"""The public face of cross-validation: from X and Y to held-out errors over a grid."""

from __future__ import annotations

import scipy.sparse as sp
from numpy.typing import ArrayLike

from tuner_plugins.enet.cross_validation import Problem, cross_validate
from tuner_plugins.enet.cv_results import Sweep
from tuner_plugins.enet.path import penalties
from tuner_plugins.enet.statistics import summarise
from tuner_plugins.enet.validation import fold_numbers


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

    Returns
    -------
    Sweep

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
    alphas, l1_ratios = penalties(alphas, l1_ratios)
    summed = summarise(X, Y, fold_numbers(folds), threads=threads)
    return cross_validate(Problem.of(summed, penalty_factor), alphas, l1_ratios, threads=threads)
