"""Mixtures of two normal groups: cells that look like controls, and cells that moved."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from scipy.stats import hypergeom

TAIL, LEVEL = 0.95, 1e-3
"""More perturbed cells than controls must lie beyond this quantile of the controls' scores, and so
many more that chance does it once in a thousand times. Two normal groups fit heavy tails as well:
without this, one in eight mock perturbations of real control cells was split into a few outliers
and the rest, the groups four and more standard deviations apart."""


@dataclass(frozen=True)
class Mixture:
    """Two normal groups on a line: `proportion` moved to `mean` with `variance`."""

    proportion: float
    mean: float
    variance: float
    control_mean: float
    control_variance: float
    better: bool
    p: float = 1.0

    @property
    def separation(self) -> float:
        """Distance of the groups in standard deviations of the controls."""
        return float((self.mean - self.control_mean) / self.control_variance**0.5)

    def posterior(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the probability of having moved; it never falls with the score."""
        gap = 1 / self.control_variance - 1 / self.variance
        if gap > 0:  # a wider group wins again far on the wrong side: stop at the turning point
            turn = (self.control_mean / self.control_variance - self.mean / self.variance) / gap
            scores = np.maximum(scores, turn)
        odds = log_normal(scores, self.mean, self.variance)
        odds = odds - log_normal(scores, self.control_mean, self.control_variance)
        return np.asarray(expit(odds + np.log(self.proportion) - np.log1p(-self.proportion)))


def log_normal(x: NDArray[np.float64], mean: float, variance: float) -> NDArray[np.float64]:
    """Return the log density of a normal variable; SciPy's checks take ten times as long."""
    return np.asarray(-0.5 * ((x - mean) ** 2 / variance + np.log(2 * np.pi * variance)))


def fit_mixture(scores: NDArray[np.float64], controls: NDArray[np.float64]) -> Mixture:
    """Fit the mixture of control-like and moved cells, controls fixed.

    Parameters
    ----------
    scores : ndarray, (cells,)
        Of perturbed cells, larger meaning more perturbed.
    controls : ndarray, (control cells,)
        The same score of control cells.

    Returns
    -------
    Mixture
        `better` says that two groups win over one by the Bayesian information criterion, and that
        more cells lie beyond the controls' tail than chance puts there (`LEVEL`).

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> controls = rng.normal(size=500)
    >>> half = np.concatenate([rng.normal(size=100), rng.normal(6.0, size=100)])
    >>> mixture = fit_mixture(half, controls)
    >>> mixture.better, round(mixture.proportion, 2)
    (True, 0.5)
    """
    base, spread = float(controls.mean()), max(float(controls.var()), np.finfo(float).tiny)
    n = len(scores)
    proportion, mean = 0.5, max(float(np.quantile(scores, 0.75)), base + spread**0.5)
    variance = spread
    for _ in range(500):
        mixture = Mixture(proportion, mean, variance, base, spread, better=True)
        moved = mixture.posterior(scores)
        total = max(float(moved.sum()), 1e-12)
        mean = max(float(moved @ scores) / total, base)
        variance = max(float(moved @ (scores - mean) ** 2) / total, spread)
        before, proportion = proportion, float(np.clip(total / n, 1 / (2 * n), 1 - 1 / (2 * n)))
        if abs(proportion - before) < 1e-8:
            break
    two = np.logaddexp(
        np.log(proportion) + log_normal(scores, mean, variance),
        np.log1p(-proportion) + log_normal(scores, base, spread),
    ).sum()
    one = log_normal(scores, scores.mean(), max(scores.var(), spread)).sum()
    p = tail_p(scores, controls)
    better = bool(2 * (two - one) > np.log(n) and mean - base > spread**0.5 and p < LEVEL)
    return Mixture(proportion, mean, variance, base, spread, better, p)


def tail_p(scores: NDArray[np.float64], controls: NDArray[np.float64]) -> float:
    """Return Fisher's one-sided p-value of more cells beyond the controls' quantile `TAIL`."""
    cut = np.quantile(controls, TAIL)
    here, there = int((scores > cut).sum()), int((controls > cut).sum())
    both = len(scores) + len(controls)
    return float(hypergeom.sf(here - 1, both, here + there, len(scores)))
