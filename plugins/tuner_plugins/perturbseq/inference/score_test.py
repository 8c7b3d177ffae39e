"""Score tests of single perturbations in a regression that was fitted with all of them.

In the least informative direction a perturbation is a comparison of two groups: its own cells (of
one that has a column for a pair, those without the other), and others with as many counts as give
the baseline the variance that it has in the fit. What both have in common where the perturbation
does nothing follows from their counts; no other fit is needed.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from tuner_plugins.perturbseq.inference.quasi_poisson import FARTHEST, Columns, Fitted
from tuner_plugins.perturbseq.inference.saddlepoint import score_roots

FEWEST = 1e-12
"""Of a variance that is a difference of two."""


def score_z(
    y: NDArray[np.float64], offset: NDArray[np.float64], whole: Columns, fitted: Fitted
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Test every perturbation.

    Returns
    -------
    z : ndarray, (perturbations,)
        Standard normal where a perturbation does nothing.
    expected : ndarray, (perturbations,)
        Counts without the perturbation.
    """
    fit, seen, own = fitted.fit, fitted.seen, whole.telling
    effect = np.zeros(len(seen))
    effect[seen] = np.nan_to_num(fitted.spread(fit.coef))
    alone = fitted.alone(offset, whole)
    mean = np.exp(np.clip(alone + whole.ones @ effect, -FARTHEST, FARTHEST))
    moments = np.column_stack([mean, mean**2])
    total, squares = np.where(
        seen,
        (own @ (moments * fitted.used[:, None])).T,
        0.0 if seen.all() else (own @ (moments * fitted.lone[:, None])).T,
    )
    with np.errstate(divide="ignore", invalid="ignore"):  # no count in the cells that tell
        others, spread = _baseline(whole, fitted, mean, total, squares)
        expected, squares = total * np.exp(-effect), squares * np.exp(-2 * effect)
        counted = np.asarray(own @ y)
        common = (counted + others) / (expected + others)  # fold change of both groups
        ratio = expected / others
        variance = fit.scale * common * (expected + fit.excess * common * squares)
        # as of their own cells, the part beyond Poisson's grows by the square of the fold change
        beyond = np.maximum(spread - fit.scale * others, 0.0)
        variance += ratio**2 * common * (spread - beyond + common * beyond)
        z = (counted - common * expected) * (1 + ratio) / np.sqrt(variance)
    # the cells of each perturbation, one after the other
    indptr, cells = own.indptr, own.indices
    target = np.repeat(np.arange(len(seen)), np.diff(indptr))
    plain, change = np.exp(np.clip(alone, -FARTHEST, FARTHEST)), (common * np.exp(-effect))[target]
    return score_roots(
        z,
        ratio,
        indptr,
        cells,
        fitted.used,
        np.where(seen[target], fitted.used[cells], fitted.lone[cells]),
        *_residuals(y, mean, plain, fitted),
        *_residuals(y[cells], mean[cells] * change, plain[cells], fitted),
    ), expected


def _residuals(
    y: NDArray[np.float64], mean: NDArray[np.float64], plain: NDArray[np.float64], fitted: Fitted
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return residuals and their variances, not larger than of the mean without perturbations."""
    variance, most = (one * (1 + fitted.fit.excess * one) for one in (mean, plain))
    bounded = np.minimum(variance, most)
    return (y - mean) * np.sqrt(bounded / variance), fitted.fit.scale * bounded


def _baseline(
    whole: Columns,
    fitted: Fitted,
    mean: NDArray[np.float64],
    total: NDArray[np.float64],
    squares: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the counts that each perturbation is compared with, and their variance.

    The variance of a coefficient is that of its own cells and that of the baseline; that of a
    perturbation without a count, which has none, follows from the rows of its cells.
    """
    fit, seen = fitted.fit, fitted.seen
    poisson, spread = np.empty((2, len(seen)))  # variances of the baseline's logarithm
    own = fit.scale * (total + fit.excess * squares)[seen] / total[seen] ** 2
    poisson[seen] = fitted.spread(fit.inverse.diagonal()) - 1 / total[seen]
    spread[seen] = fitted.spread(fit.covariance.diagonal()) - own
    if not seen.all():
        rows = whole.telling[~seen] @ sparse.diags_array(mean * fitted.lone)
        ones = (rows @ whole.ones[:, seen]).toarray()
        at = np.column_stack([rows @ whole.dense, ones])[:, fitted.x.independent]
        with np.errstate(invalid="ignore"):  # no cells are left
            at /= total[~seen, None]
        poisson[~seen] = ((at @ fit.inverse) * at).sum(axis=1)
        spread[~seen] = ((at @ fit.covariance) * at).sum(axis=1)
    others = 1 / np.maximum(poisson, FEWEST)
    return others, np.maximum(spread, 0.0) * others**2
