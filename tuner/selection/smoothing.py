"""What to expect of a setting, by the settings around it.

The best of many measured values is the one that luck favoured most: on another region, another
screen, it falls back. A lucky spike has no good neighbours. So a smooth surface is laid through all
trials, a Gaussian process, whose mean at a trial is what that setting is worth as far as settings
like it agree (the choice of the "reported solution" in Bayesian optimisation; Frazier, 2018,
arXiv:1807.02811, section 4.1). On regions that nmf was not tuned on it was no better than the best;
docs/score.md has the figures.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution
from threadpoolctl import threadpool_limits

from tuner.config.objective import Objective
from tuner.records import Final, TrialRecord

LEAST = 10
"""Trials without which there is no surface to speak of."""

MOST = 400
"""Trials that the surface is laid through, the best: its cost grows with their cube."""

_FLOOR = 0.2
"""Quantile that worse values are raised to: how deep a failure is says nothing about the top."""

_APART = math.sqrt(0.5)
"""Two choices of a parameter are as far apart as the ends of a range."""


def expected_values(
    settings: Sequence[Mapping[str, Any]],
    values: Sequence[float] | NDArray[np.float64],
    space: Mapping[str, BaseDistribution],
) -> NDArray[np.float64]:
    """Return the smoothed value of each setting.

    Parameters
    ----------
    settings : sequence of mapping, n
        What was searched, by name.
    values : sequence of float, n
        What each was worth: the larger, the better.
    space : mapping
        The distribution of each name.

    Returns
    -------
    array, shape (n,)
        Minus infinity for all but the `MOST` best; the values as they are where all are equal, or
        fewer than `LEAST` are given.
    """
    found = np.asarray(values, dtype=np.float64)
    if len(found) < LEAST or np.ptp(found) == 0.0:
        return found
    top = np.sort(np.argsort(-found, kind="stable")[:MOST])
    points = np.array([_point(settings[index], space) for index in top])
    raised = np.maximum(found[top], np.quantile(found[top], _FLOOR))
    expected = np.full(len(found), -np.inf)
    expected[top] = _smooth(points, raised)
    return expected


def smoothed(
    records: Sequence[TrialRecord], space: Mapping[str, BaseDistribution], name: str, sign: float
) -> dict[int, float]:
    """Return the smoothed metric `name` of the completed trials, by number, times `sign`.

    The baseline, which may lie outside the space, is not among them. Empty where they are fewer
    than `LEAST`.
    """
    trials = [r for r in records if r.state == "complete" and not r.is_baseline]
    if len(trials) < LEAST:
        return {}
    values = [sign * record.metrics[name] for record in trials]
    expected = expected_values([record.searched for record in trials], values, space)
    return {r.number: float(value) for r, value in zip(trials, expected, strict=True)}


def smoothed_best(
    complete: Sequence[TrialRecord],
    best: TrialRecord,
    final: Final | None,
    objective: Objective,
    space: Mapping[str, BaseDistribution],
) -> tuple[TrialRecord, str]:
    """Return the trial that is best once smoothed, and why in a few words; `best` without a word.

    Trials that were timed again count as much less, or more, as the final timing has them.
    """
    name, sign = objective.ranked_by(complete)
    worth = smoothed(complete, space, name, sign)
    if best.number not in worth:
        return best, ""
    if final is not None:
        searched = {record.number: sign * record.metrics[name] for record in complete}
        worth = {
            row.number: worth[row.number] * max(row.score / searched[row.number], 0.0)
            for row in final.finalists
            if row.number in worth and searched[row.number] > 0 < worth[row.number]
        } or {best.number: 0.0}
    number = max(worth, key=worth.__getitem__)
    if number == best.number:
        return best, ""
    reason = f"smoothed {name} {sign * worth[number]:.3g}"
    if best.number in worth:
        reason += f" against {sign * worth[best.number]:.3g} of trial {best.number}"
    return next(record for record in complete if record.number == number), reason


def _point(setting: Mapping[str, Any], space: Mapping[str, BaseDistribution]) -> list[float]:
    """Place a setting: a range is 0 to 1, on its own scale; choices are corners."""
    place: list[float] = []
    for name, distribution in space.items():
        if isinstance(distribution, CategoricalDistribution):
            place += [_APART * (setting.get(name) == choice) for choice in distribution.choices]
        else:
            low, high = float(distribution.low), float(distribution.high)  # type: ignore[attr-defined]
            value = float(setting.get(name, low))
            if distribution.log:  # type: ignore[attr-defined]
                low, high, value = math.log(low), math.log(high), math.log(value)
            place.append((value - low) / (high - low) if high > low else 0.0)
    return place


def _smooth(points: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the posterior mean at `points`, (n,), of values measured there with noise."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

    # Some noise is sure: what is to be smoothed away differs from region to region, not from run
    # to run, and no repeated trial shows it.
    scales, reach = np.ones(points.shape[1]), (0.05, 20.0)
    kernel = ConstantKernel(1.0) * Matern(scales, reach, nu=2.5) + WhiteKernel(0.3, (0.06, 10.0))
    middle, spread = values.mean(), values.std()
    process = GaussianProcessRegressor(kernel, random_state=0)
    # One thread: workers run beside it, and BLAS would take all cores.
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a scale at its bound is no fault
        process.fit(points, (values - middle) / spread)
        return np.asarray(process.predict(points) * spread + middle)
