"""Which counts of a guide are more than background: mixtures fitted to the histogram of its counts.

A stand-alone script carries this module.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import gammaln, ndtr

STARTS = (3, 8, 32)
"""Counts from which on cells are taken to have the guide, where a fit begins."""

DISPERSIONS = (0.0, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2)
"""Of the background over cells, which differ in depth: variance = mean + dispersion * mean^2."""

POISSON = 1e-6
"""A dispersion below is that of a Poisson."""

GRID = 1000
"""Means that are tabulated."""

MOST_STEPS = 200
CONVERGED = 1e-6
NARROWEST = 0.25
"""Least standard deviation of the signal, in log2 of counts."""

FEWEST_CELLS = 10
"""Cells with a count that a mixture takes."""


@dataclass(frozen=True)
class GuideFit:
    """Background and signal of a guide.

    Attributes
    ----------
    threshold : float
        Smallest count that is signal; infinity where none is.
    background : float
        Mean count of the background, NaN where there is none.
    signal : float
        Centre of the signal, as a count; NaN where there is none.
    share : float
        Of the cells with a count, those with the guide.
    """

    threshold: float
    background: float = np.nan
    signal: float = np.nan
    share: float = np.nan


def poisson_gaussian(counts: np.ndarray) -> GuideFit | None:
    """Fit a Poisson background and a signal that is Gaussian in log2, to counts above 0.

    The mixture of Replogle et al. (2020, 10.1038/s41587-020-0470-y). Where cells differ in depth
    its background is too narrow, and what it leaves counts as signal: see `negative_binomial`.
    """
    return _mixture_of(counts, DISPERSIONS[:1])


def negative_binomial(counts: np.ndarray) -> GuideFit | None:
    """Fit a negative binomial background and a signal that is Gaussian in log2, to counts above 0.

    As `poisson_gaussian`, but the background is a mixture of Poissons, since cells differ in depth.
    Both parts are probabilities of whole counts: the background without its zeros, the Gaussian in
    the interval of half a count to either side. The mixture is kept where it explains the counts
    better than either part alone, by BIC; counts of one part are all signal, or none.

    Parameters
    ----------
    counts : array, shape (cells,)
        Whole numbers from 0.

    Returns
    -------
    GuideFit or None
        None where fewer than `FEWEST_CELLS` cells have a count.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> counts = np.r_[rng.poisson(0.5, 900), np.exp2(rng.normal(6, 0.7, 100)).astype(int)]
    >>> fit = negative_binomial(counts)
    >>> 4 <= fit.threshold <= 14, round(fit.background, 1)
    (True, 0.4)
    """
    return _mixture_of(counts, DISPERSIONS)


def _mixture_of(counts: np.ndarray, dispersions: Sequence[float]) -> GuideFit | None:
    value, cells = np.unique(counts[counts > 0], return_counts=True)
    n = cells.sum()
    if n < FEWEST_CELLS:
        return None
    seen, free = _Histogram.of(value.astype(np.float64), dispersions), 1 + (len(dispersions) > 1)
    mean, logs = seen.background(cells)
    centre, signal = seen.signal(cells)
    noise = free * np.log(n) - 2 * (cells * logs).sum()
    alone = 2 * np.log(n) - 2 * (cells * signal).sum()
    best: tuple[float, np.ndarray] | None = None
    for start in STARTS:
        if value[0] < start <= value[-1]:
            found = _expectation_maximisation(seen, cells, value >= start)
            best = found if best is None or found[0] > best[0] else best
    if best is None or (free + 3) * np.log(n) - 2 * best[0] > min(noise, alone):
        if noise <= alone:
            return GuideFit(np.inf, background=mean, share=0.0)
        return GuideFit(1.0, signal=float(2**centre), share=1.0)
    mine = best[1]
    mean, centre = seen.background(cells * (1 - mine))[0], seen.signal(cells * mine)[0]
    share = float((cells * mine).sum() / n)
    return GuideFit(_first_signal(value, mine), mean, float(2**centre), share)


@dataclass(frozen=True)
class _Histogram:
    """Counts above 0 that were seen, (values,), and what their probabilities are made of.

    `ways` are the logarithms of gamma(value + size) / (gamma(size) value!) for each dispersion, and
    `means` the mean of all counts by that of the counts above 0, `truncated`; both on a grid.
    """

    value: np.ndarray
    logs: np.ndarray
    edges: np.ndarray
    sizes: np.ndarray
    ways: np.ndarray
    means: np.ndarray
    truncated: np.ndarray

    @staticmethod
    def of(value: np.ndarray, dispersions: Sequence[float]) -> _Histogram:
        sizes = 1 / np.maximum(np.array(dispersions), POISSON)
        ways = gammaln(value + sizes[:, None]) - gammaln(sizes)[:, None] - gammaln(value + 1)
        means = np.geomspace(1e-6, max(value[-1], 1.0), GRID)
        truncated = means / -np.expm1(-sizes[:, None] * np.log1p(means / sizes[:, None]))
        edges = np.log2(value + np.array([[-0.5], [0.5]]))
        return _Histogram(value, np.log2(value), edges, sizes, ways, means, truncated)

    def background(self, weight: np.ndarray) -> tuple[float, np.ndarray]:
        """Return the most likely background's mean and log probabilities, (values,).

        Of a given dispersion it is the one whose counts above 0 have the mean that was seen.
        """
        seen = (weight * self.value).sum() / max(weight.sum(), 1e-12)
        mean = np.array([np.interp(seen, row, self.means) for row in self.truncated])[:, None]
        size = self.sizes[:, None]
        empty = -size * np.log1p(mean / size)
        logs = self.ways + empty + self.value * np.log(mean / (size + mean))
        logs -= np.log(-np.expm1(empty))
        at = int(np.argmax(logs @ weight))
        return float(mean[at, 0]), logs[at]

    def signal(self, weight: np.ndarray) -> tuple[float, np.ndarray]:
        """Return the centre in log2, and log probabilities of the Gaussian, (values,)."""
        total = max(float(weight.sum()), 1e-12)
        centre = float((weight * self.logs).sum() / total)
        spread = math.sqrt((weight * (self.logs - centre) ** 2).sum() / total)
        low, high = (self.edges - centre) / max(spread, NARROWEST)
        # in either tail the difference of what is near 0, not of what is near 1
        upper = low > 0
        near, far = np.where(upper, -high, low), np.where(upper, -low, high)
        inside = np.maximum(ndtr(far) - ndtr(near), 1e-300)
        above = max(float(ndtr((centre + 1) / max(spread, NARROWEST))), 1e-300)  # log2(0.5) is -1
        return centre, np.log(inside) - math.log(above)


def gaussian_pair(counts: np.ndarray) -> GuideFit | None:
    """Fit two Gaussians of one width to log10 of counts plus 1, over all cells.

    What cellranger does for guides (10x Genomics, "CRISPR guide capture").

    Parameters
    ----------
    counts : array, shape (cells,)
        Whole numbers from 0.
    """
    value, cells = np.unique(counts, return_counts=True)
    if cells[value > 0].sum() < FEWEST_CELLS:
        return None
    x, n = np.log10(value + 1.0), cells.sum()
    best: tuple[float, np.ndarray, np.ndarray] | None = None
    for start in STARTS:
        mine = (value >= start).astype(np.float64)
        if not 0 < (cells * mine).sum() < n:
            continue
        before, total = -np.inf, -np.inf
        for _ in range(MOST_STEPS):
            parts = np.array([1 - mine, mine]) * cells
            sizes = np.maximum(parts.sum(axis=1), 1e-12)
            means = (parts @ x) / sizes
            width = max(np.sqrt((parts * (x - means[:, None]) ** 2).sum() / n), 1e-3)
            logs = np.log(sizes / n)[:, None] - 0.5 * ((x - means[:, None]) / width) ** 2
            both = np.logaddexp(*logs)
            before, total = total, float((cells * (both - np.log(width))).sum())
            mine = np.exp(logs[1] - both)
            if abs(total - before) <= CONVERGED * abs(total):
                break
        if best is None or total > best[0]:
            best = total, mine, means
    if best is None:
        return GuideFit(1.0, share=1.0)
    _, mine, means = best
    background, signal = 10**means - 1
    share = (cells * mine)[value > 0].sum() / cells[value > 0].sum()
    return GuideFit(_first_signal(value, mine), float(background), float(signal), float(share))


MIXTURES: dict[str, Callable[[np.ndarray], GuideFit | None]] = {
    "negative_binomial": negative_binomial,
    "poisson_gaussian": poisson_gaussian,
    "gaussian": gaussian_pair,
}


def _expectation_maximisation(
    seen: _Histogram, cells: np.ndarray, begin: np.ndarray
) -> tuple[float, np.ndarray]:
    """Return the log-likelihood of the mixture, and the posterior of the signal, (values,)."""
    mine, total = begin.astype(np.float64), -np.inf
    for _ in range(MOST_STEPS):
        share = np.clip((cells * mine).sum() / cells.sum(), 1e-12, 1 - 1e-12)
        background = np.log1p(-share) + seen.background(cells * (1 - mine))[1]
        signal = np.log(share) + seen.signal(cells * mine)[1]
        both = np.logaddexp(background, signal)
        mine = np.exp(signal - both)
        before, total = total, float((cells * both).sum())
        if abs(total - before) <= CONVERGED * abs(total):
            break
    return total, mine


def _first_signal(value: np.ndarray, mine: np.ndarray) -> float:
    """Return the smallest count from which on all are rather signal than background."""
    others = np.flatnonzero(mine < 0.5)
    first = others[-1] + 1 if len(others) else 0
    # between two counts that were seen every threshold calls the same cells; after the lower one
    return float(value[first - 1] + 1 if first else value[0]) if first < len(value) else np.inf
