"""Which cells responded to their perturbation: a mixture of cells like controls and others.

The idea is mixscape's (Papalexi et al. 2021, doi:10.1038/s41588-021-00778-2): cells are placed on a
line along the effect of their perturbation, where those that escaped it lie as control cells do.
The component of these is fixed by control cells, so that only share, mean and spread of the
responders are fitted. In mixscape a cell has a part in the effect that it is judged by, so that
noise looks like an effect, which a least number of significant genes must prevent; here it has none
(`project`, in `tuner_plugins.perturbseq.model.projection`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2

from tuner_plugins.perturbseq.inference.mixture import LEVEL, Mixture, fit_mixture, log_normal

RESPONDER, ESCAPED, UNCLEAR, CONTROL = "responder", "non-responder", "unclear", "control"
"""Classes of cells: mixscape's KO, NP, NP where nothing was found, and NT."""

FEWEST = 10
"""Cells of a perturbation, and control cells, that are needed."""

WIDEST, CLOSEST = 0.5, 1.0
"""Interval of the share, and distance of the components in standard deviations of control cells,
beyond and below which the components are not told apart."""

STEPS, ROUNDS = 40, 12
"""Of expectation-maximisation at a fixed share, and of bisection for an end of its interval."""


@dataclass(frozen=True)
class Called:
    """The cells of one perturbation.

    Attributes
    ----------
    scores : ndarray, (cells,)
        In standard deviations of control cells from their mean.
    posterior : ndarray, (cells,)
        Probability of having responded; NaN where the components are not told apart.
    share, low, high : float
        Share of responders with a 95 % interval by profile likelihood; 0 in [0, 1] where the
        components are not told apart.
    separation : float
        Distance of the components in standard deviations of control cells; NaN likewise.
    p : float
        Of so many cells beyond the controls' tail, see `mixture.tail_p`.
    note : str
        Why they are not told apart, or "".
    """

    scores: NDArray[np.float64]
    posterior: NDArray[np.float64]
    share: float
    low: float
    high: float
    separation: float
    p: float
    note: str = ""


def call(scores: NDArray[np.float64], controls: NDArray[np.float64]) -> Called:
    """Judge the cells of one perturbation.

    Parameters
    ----------
    scores : ndarray, (cells,)
        Along the effect of the perturbation; NaN where there is none.
    controls : ndarray, (control cells,)
        The same of control cells.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> scores = np.concatenate([rng.normal(size=100), rng.normal(5.0, size=300)])
    >>> called = call(scores, rng.normal(size=500))
    >>> round(called.share, 2), int((called.posterior >= 0.5).sum())
    (0.74, 297)
    """
    few = min(len(scores), len(controls))
    if few < FEWEST:
        whose = "of it" if few == len(scores) else "of controls"
        return _unclear(np.full(len(scores), np.nan), f"only {few} cells {whose}")
    if np.isnan(scores).any() or np.isnan(controls).any():
        return _unclear(scores, "no gene has a coefficient in all folds")
    mixture = fit_mixture(scores, controls)
    scaled = (scores - mixture.control_mean) / mixture.control_variance**0.5
    if mixture.p >= LEVEL:
        return _unclear(scaled, "its cells lie as control cells do", mixture.p)
    if mixture.separation < CLOSEST:
        said = f"responders would lie {mixture.separation:.1f} standard deviations from controls"
        return _unclear(scaled, said, mixture.p)
    low, high = share_interval(scores, mixture)
    if high - low > WIDEST:
        return _unclear(scaled, f"the share may be {low:.2f} to {high:.2f}", mixture.p)
    found = mixture.proportion, low, high, mixture.separation, mixture.p
    return Called(scaled, mixture.posterior(scores), *found)


def _unclear(scores: NDArray[np.float64], note: str, p: float = np.nan) -> Called:
    nothing = np.full(len(scores), np.nan)
    return Called(scores, nothing, 0.0, 0.0, 1.0, np.nan, p, note)


def share_interval(
    scores: NDArray[np.float64], mixture: Mixture, level: float = 0.95
) -> tuple[float, float]:
    """Return the interval of the share of responders by profile likelihood.

    Mean and variance of the responders are fitted anew at each share.
    """
    best = _likelihood(scores, mixture, mixture.proportion)
    bound = best - chi2.ppf(level, 1) / 2
    ends = []
    for end in (0.0, 1.0):
        outside, inside = end, mixture.proportion
        if _likelihood(scores, mixture, end) >= bound:
            ends.append(end)
            continue
        for _ in range(ROUNDS):
            middle = (outside + inside) / 2
            if _likelihood(scores, mixture, middle) >= bound:
                inside = middle
            else:
                outside = middle
        ends.append(inside)
    return ends[0], ends[1]


def _likelihood(scores: NDArray[np.float64], mixture: Mixture, share: float) -> float:
    """Return the largest log likelihood where the share of responders is given."""
    base, spread = mixture.control_mean, mixture.control_variance
    like_control = log_normal(scores, base, spread)
    if share <= 0:
        return float(like_control.sum())
    mean, variance, best = mixture.mean, mixture.variance, -np.inf
    for _ in range(STEPS):
        moved = np.log(share) + log_normal(scores, mean, variance)
        rest = like_control + np.log1p(-share) if share < 1 else np.full(len(scores), -np.inf)
        both = np.logaddexp(moved, rest)
        now = float(both.sum())
        if now - best < 1e-4:
            break
        best, weight = now, np.exp(moved - both)
        total = max(float(weight.sum()), 1e-12)
        mean = max(float(weight @ scores) / total, base)
        variance = max(float(weight @ (scores - mean) ** 2) / total, spread)
    return max(best, now)
