"""Quasi-Poisson regression of one gene's counts on dense columns and columns of zeros and ones."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from tuner_plugins.enet.dependence import independent
from tuner_plugins.perturbseq.inference.kernels import weighted_gram

MOST_STEPS = 50
CONVERGED = 1e-8
SINGULAR = 1e-9
ROUNDS = 4
"""Fits of a gene, each without the cells that the last one could give no finite mean."""

FARTHEST = 30.0
"""Bound of the linear predictor, beyond which exp is of no use."""

MOVING = 0.1
"""Cells whose linear predictor moves on by so much when the likelihood has settled go to -inf."""


class Columns:
    """The columns of a regression: dense ones, then sparse ones of ones."""

    def __init__(self, dense: NDArray[np.float64], ones: sparse.csr_matrix) -> None:
        self.dense, self.ones, self.transposed = dense, ones, ones.T.tocsr()
        ones.sort_indices()
        self.width = dense.shape[1] + ones.shape[1]

    @cached_property
    def _gram(self) -> NDArray[np.float64]:
        return self.information(np.ones(self.ones.shape[0]))

    @cached_property
    def telling(self) -> sparse.csr_matrix:
        """Cells that tell of each column of ones, (columns, cells), in CSR form.

        Those of a column within it, such as a pair's, tell nothing of it: what it has there, the
        other's coefficient takes up.
        """
        shared = (self.transposed @ self.ones).toarray()
        sizes = shared.diagonal()
        within = (shared == sizes) & (sizes < sizes[:, None])
        if not within.any():
            return self.transposed
        taken = sparse.csr_matrix(within.astype(np.float64)) @ self.transposed > 0
        left = (self.transposed - self.transposed.multiply(taken)).tocsr()
        left.eliminate_zeros()
        return left

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
    def kept(self) -> Columns:
        """The independent columns."""
        if len(self.independent) == self.width:
            return self
        q = self.dense.shape[1]
        dense, ones = (self.independent[self.independent < q], self.independent >= q)
        return Columns(self.dense[:, dense], self.ones[:, self.independent[ones] - q])

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


@dataclass(frozen=True)
class Fit:
    """A regression that converged.

    Attributes
    ----------
    coef : ndarray, (columns,)
    inverse, covariance : ndarray, (columns, columns)
        Of X'WX with Poisson's weights, and of the coefficients by the sandwich.
    mean : ndarray, (cells,)
    excess, scale : float
        The variance is scale x (mean + excess mean^2).
    pearson : float
        Scale of a variance that is proportional to the mean.
    """

    coef: NDArray[np.float64]
    inverse: NDArray[np.float64]
    covariance: NDArray[np.float64]
    mean: NDArray[np.float64]
    excess: float
    scale: float
    pearson: float


def quasi_poisson(
    y: NDArray[np.float64], offset: NDArray[np.float64], x: Columns
) -> Fit | NDArray[np.bool_] | None:
    """Fit by iteratively reweighted least squares; a step that lowers the likelihood is halved.

    Returns
    -------
    Fit, ndarray of bool, (cells,), or None
        Cells without a count that a column or a sum of columns sets apart from all others: their
        mean goes to 0 for ever, and the fit is that of the other cells. None where neither holds.
    """
    coef = np.zeros(x.width)
    coef[0] = np.log(y.sum() / np.exp(offset).sum())

    def state(at: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
        eta = np.clip(offset + x.times(at), -FARTHEST, FARTHEST)
        mean = np.exp(eta)
        return mean, float((y * eta - mean).sum())

    mean, likelihood = state(coef)
    for _ in range(MOST_STEPS):
        information = x.information(mean)
        try:
            step = np.asarray(np.linalg.solve(information, x.sums(y - mean)), dtype=np.float64)
        except np.linalg.LinAlgError:
            return None
        for _ in range(20):
            tried = state(coef + step)
            if tried[1] >= likelihood - 1e-12 * abs(likelihood):
                break
            step /= 2
        coef, before = coef + step, likelihood
        mean, likelihood = tried
        if likelihood - before > CONVERGED * (abs(likelihood) + 1):
            continue
        if np.abs(step).max() < 1e-5:
            return _with_errors(y, x, coef, mean, information)
        moving = x.times(step) < -MOVING
        if moving.any() and not y[moving].any():
            return moving
    return None


def _with_errors(
    y: NDArray[np.float64],
    x: Columns,
    coef: NDArray[np.float64],
    mean: NDArray[np.float64],
    information: NDArray[np.float64],
) -> Fit | None:
    """Return the fit; `information` is that of the last step, which moved by next to nothing."""
    try:
        inverse = np.asarray(np.linalg.inv(information), dtype=np.float64)
    except np.linalg.LinAlgError:
        return None
    free = max(len(y) - x.width, 1)
    squares = (y - mean) ** 2
    excess = max(float((squares - mean).sum() / (mean**2).sum()), 0.0)
    variance = mean * (1 + excess * mean)
    scale = float((squares / variance).sum() / free)
    covariance = inverse @ x.information(scale * variance) @ inverse
    pearson = float((squares / mean).sum() / free)
    return Fit(coef, inverse, covariance, mean, excess, scale, pearson)


@dataclass(frozen=True)
class Fitted:
    """The regression of a gene.

    Attributes
    ----------
    fit : Fit
        Of the independent columns of `x`.
    x : Columns
        Of the perturbations `seen` and the cells `used`.
    seen : ndarray of bool, (perturbations,)
        Those with a count.
    used : ndarray of bool, (cells,)
        Those without perturbations that have no count, apart from those of no finite mean.
    lone : ndarray of bool, (cells,)
        Those, and the ones that have a single perturbation without a count.
    """

    fit: Fit
    x: Columns
    seen: NDArray[np.bool_]
    used: NDArray[np.bool_]
    lone: NDArray[np.bool_]

    def alone(self, offset: NDArray[np.float64], whole: Columns) -> NDArray[np.float64]:
        """Return the linear predictor without perturbations, (cells,)."""
        coef = np.zeros(self.x.width)
        coef[self.x.independent] = self.fit.coef
        return np.asarray(offset + whole.dense @ coef[: whole.dense.shape[1]])

    def spread(self, diagonal: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return values of independent columns, (perturbations seen,), NaN for the others."""
        found = np.full(self.x.width, np.nan)
        found[self.x.independent] = diagonal
        return found[self.x.dense.shape[1] :]


def regression(
    y: NDArray[np.float64], offset: NDArray[np.float64], whole: Columns
) -> Fitted | None:
    """Fit a gene with all perturbations that have a count of it; None where that cannot be done."""
    seen = np.asarray(whole.transposed @ y) > 0
    unseen = np.asarray(whole.ones[:, ~seen].sum(axis=1)).reshape(-1)
    used = unseen == 0
    apart = np.zeros(len(y), dtype=np.bool_)
    for _ in range(ROUNDS):
        if used.sum() <= seen.sum() + whole.dense.shape[1] or not y[used].any():
            return None
        every = seen.all() and used.all()
        x = whole if every else Columns(whole.dense[used], whole.ones[used][:, seen])
        fit = quasi_poisson(y[used], offset[used], x.kept)
        if not isinstance(fit, np.ndarray):
            return None if fit is None else Fitted(fit, x, seen, used, (unseen < 2) & ~apart)
        apart[np.flatnonzero(used)[fit]] = True
        used = used & ~apart
    return None
