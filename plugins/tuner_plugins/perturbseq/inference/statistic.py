"""The statistic of a coefficient: what it was before the penalty shrank it.

An elastic net sets many coefficients to exactly zero, under the null as well, which would leave
p-values in lumps. A coefficient is therefore ranked by

    u = x'r + x'x b      (r: residuals of the full fit, b: the coefficient),

of which the fitted coefficient is the soft-thresholded value: the order is the same, without ties.

Where cells have several perturbations, columns share cells, and what the penalty takes from one of
them is left in the residuals of the others: a perturbation that does nothing would answer for its
pair. There x is replaced by what the columns that share its cells leave of it, z, which is
orthogonal to their error (Zhang & Zhang 2014, doi:10.1111/rssb.12026).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components

RIDGE = 1e-8
"""Of the columns that share cells, in units of their squares: some depend on the others."""


def entry_statistic(
    gram: NDArray[np.float64], cross: NDArray[np.float64], coef: NDArray[np.float64], columns: slice
) -> NDArray[np.float64]:
    """Return every coefficient before the penalty shrank it, times the square of its column.

    Parameters
    ----------
    gram : ndarray, (columns, columns)
        Z'Z, with the intercept among the columns.
    cross : ndarray, (columns, genes)
        Z'Y.
    coef : ndarray, (columns, genes)
        Of Z, intercept included.
    columns : slice
        Which columns are perturbations.

    Returns
    -------
    ndarray, (genes, perturbations)
    """
    own = gram[columns, columns]
    left = cross - gram @ coef  # Z'r
    found = left[columns] + own.diagonal()[:, None] * coef[columns]
    blocks = _sharing_cells(own)
    if blocks:
        free = np.delete(np.arange(len(gram)), columns)  # intercept and covariates
        explained = np.linalg.pinv(gram[np.ix_(free, free)], hermitian=True) @ gram[free, columns]
        remaining = own - gram[columns, free] @ explained + RIDGE * np.diag(own.diagonal())
        residual = left[columns] - explained.T @ left[free]
    for at in blocks:
        inverse = np.linalg.inv(remaining[np.ix_(at, at)])  # rows ~ z, diagonal 1 / z'z
        freed = coef[columns][at] + inverse @ residual[at]  # after a step without a penalty
        found[at] = freed / inverse.diagonal()[:, None]
    return np.asarray(found.T)


def _sharing_cells(own: NDArray[np.float64]) -> list[NDArray[np.intp]]:
    """Return the sets of columns that share cells, directly or through others."""
    labels = connected_components(own - np.diag(own.diagonal()), directed=False)[1]
    sets = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    return [one for one in sets if len(one) > 1]
