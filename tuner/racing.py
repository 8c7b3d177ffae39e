"""Which setting is best, from times that scatter: rounds, elimination, and a probability.

The finalists are timed in rounds, each once a round and in random order, so that what drifts over
minutes is common to all of a round and falls out. After three rounds those that can hardly be the
best drop out, and their time goes to the contenders (O. Maron and A. W. Moore, 1994, Hoeffding
races, Adv. Neural Inf. Process. Syst. 6; M. Birattari et al., 2002, A racing algorithm for
configuring metaheuristics, GECCO). The race ends once the leader is, with the wanted probability,
no worse than the best by more than an indifference (R. E. Bechhofer, 1954,
doi:10.1214/aoms/1177728845), or when its time is up.

Times are compared as logarithms, and fitted by setting + round as in a median polish (J. W. Tukey,
1977, Exploratory Data Analysis), so that a burst in one measurement moves neither. What the search
measured is not used: the finalists were chosen by it, which makes those times too good.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tuner.objective import search_score

FIRST_ROUNDS = 3
DRAWS = 4000
HOPELESS = 0.005
PRIOR_NOISE = 0.03
PRIOR_WEIGHT = 6
POLISHES = 8
LEVEL = 0.25
"""Quantile of a setting's times: what disturbs a measurement makes it longer, never shorter."""

CAUTION = 2.0
"""Standard error of that quantile over that of a mean, for normal errors (1.36), times 1.5: the
leader is the luckiest of several, and the race stops at a moment of luck."""

Times = NDArray[np.float64]
Value = Callable[[int, Times], Times]
"""Of a finalist (its index) and times of shape (cases, draws): what decides, larger is better."""


@dataclass(frozen=True)
class Standing:
    """What the race knows of one finalist.

    Attributes
    ----------
    number : int
        Trial number.
    rounds : int
        How often it was timed.
    seconds : sequence of float
        Its time, by case.
    error : sequence of float
        Standard error of the logarithm of each.
    value, low, high : float
        What decides, with its 95 % interval.
    probability_best : float
        Probability that none of the finalists is better.
    """

    number: int
    rounds: int
    seconds: Sequence[float]
    error: Sequence[float]
    value: float
    low: float
    high: float
    probability_best: float


@dataclass(frozen=True)
class Verdict:
    """How a race stands.

    Attributes
    ----------
    standings : sequence of Standing
        Best first.
    probability_near : float
        Probability that the leader is within the indifference of the best.
    probability_order : float
        Probability that the whole ranking is right.
    """

    standings: Sequence[Standing]
    probability_near: float
    probability_order: float


class Race:
    """Decides what is timed next, and who leads.

    Parameters
    ----------
    numbers : sequence of int
        Trial numbers of the finalists.
    value : callable
        See `Value`.
    cases : int
        How many times a measurement gives.
    budget : float
        Seconds that measuring may take in all.
    confidence, indifference : float
        The race ends once the leader is within a share `indifference` of the best value with
        probability `confidence`.
    seed : int
        Of the order in rounds and of the draws.
    """

    def __init__(
        self,
        numbers: Sequence[int],
        value: Value,
        cases: int,
        budget: float,
        confidence: float = 0.95,
        indifference: float = 0.01,
        seed: int = 0,
    ) -> None:
        self._numbers = list(numbers)
        self._value = value
        self._rng = np.random.default_rng(seed)
        self._budget = budget
        self._confidence = confidence
        self._indifference = indifference
        self._logs = np.full((0, len(self._numbers), cases), np.nan)
        self._alive = set(range(len(self._numbers)))
        self._spent = 0.0
        self._cost: dict[int, float] = {}

    def next_round(self) -> list[int]:
        """Give the trial numbers to time next, in order; none when the race is over."""
        rounds = len(self._logs)
        if rounds >= FIRST_ROUNDS:
            verdict = self.verdict()
            if verdict.probability_near >= self._confidence:
                return []
            self._eliminate(verdict)
            if len(self._alive) < 2:
                return []
        if rounds and self._spent + self._cost_of(self._alive) > self._budget:
            return []
        self._logs = np.concatenate([self._logs, np.full((1, *self._logs.shape[1:]), np.nan)])
        order = self._rng.permutation(sorted(self._alive))
        return [self._numbers[index] for index in order]

    def add(self, number: int, seconds: Sequence[float], cost: float) -> None:
        """Take in a measurement of this round: times by case, and what it cost in seconds."""
        self._logs[-1, self._numbers.index(number)] = np.log(seconds)
        self._spent += cost
        self._cost[self._numbers.index(number)] = cost

    def drop(self, number: int) -> None:
        """Take a finalist that cannot be timed out of the race."""
        self._alive.discard(self._numbers.index(number))

    def _eliminate(self, verdict: Verdict) -> None:
        """Keep those that may well be the best, and no more than there is time for."""
        chances = {s.number: s.probability_best for s in verdict.standings}
        rank = {s.number: place for place, s in enumerate(verdict.standings)}
        kept = sorted(self._alive, key=lambda i: rank[self._numbers[i]])
        kept = kept[:2] + [i for i in kept[2:] if chances[self._numbers[i]] >= HOPELESS]
        while len(kept) > 2 and self._spent + self._cost_of(kept) > self._budget:
            kept.pop()
        self._alive = set(kept)

    def _cost_of(self, indices: Collection[int]) -> float:
        return sum(self._cost.get(index, 0.0) for index in indices)

    def verdict(self) -> Verdict:
        """Give the standings, best first, of all that were timed."""
        timed = [i for i in range(len(self._numbers)) if np.isfinite(self._logs[:, i]).any()]
        if not timed:
            return Verdict((), 0.0, 0.0)
        centre, error = _fit(self._logs[:, timed])
        noise = self._rng.standard_normal((*centre.shape, DRAWS))
        draws = np.exp(centre[..., None] + error[..., None] * noise)
        values = np.stack([self._value(i, draws[row]) for row, i in enumerate(timed)])
        points = np.array(
            [float(self._value(i, np.exp(centre[row])[:, None])[0]) for row, i in enumerate(timed)]
        )
        order = np.argsort(-points)
        best = values.max(axis=0)
        low, high = np.quantile(values, [0.025, 0.975], axis=1)
        share = np.mean(values >= best, axis=1)
        standings = [
            Standing(
                self._numbers[timed[row]],
                int(np.isfinite(self._logs[:, timed[row], 0]).sum()),
                [float(v) for v in np.exp(centre[row])],
                [float(v) for v in error[row]],
                float(points[row]),
                float(low[row]),
                float(high[row]),
                float(share[row]),
            )
            for row in order
        ]
        leader = values[order[0]]
        near = leader >= best - self._indifference * np.abs(best)
        right = np.all(np.diff(values[order], axis=0) <= 0, axis=0)
        return Verdict(standings, float(near.mean()), float(right.mean()))


def _fit(logs: Times) -> tuple[Times, Times]:
    """Fit setting + round to logs of shape (rounds, settings, cases), case by case.

    Returns
    -------
    centre, error : ndarray of shape (settings, cases)
        Log times and their standard errors; the noise is pooled over settings, and shrunk to what
        a machine usually has while there are few measurements.
    """
    rounds, settings, cases = logs.shape
    centre = np.empty((settings, cases))
    noise = np.empty(cases)
    for case in range(cases):
        residual = logs[:, :, case].copy()
        level = np.zeros(settings)
        for _ in range(POLISHES):
            for index in range(settings):
                middle = np.nanquantile(residual[:, index], LEVEL)
                level[index] += middle
                residual[:, index] -= middle
            if settings > 2:
                for index in range(rounds):
                    if np.isfinite(residual[index]).sum() > 2:
                        residual[index] -= np.nanmedian(residual[index])
        centre[:, case] = level
        known = residual[np.isfinite(residual)]
        free = max(0, known.size - settings - (rounds - 1 if settings > 2 else 0))
        scale = 1.4826 * float(np.median(np.abs(known - np.median(known)))) if free else 0.0
        scale *= math.sqrt(known.size / free) if free else 0.0
        pooled = (free * scale**2 + PRIOR_WEIGHT * PRIOR_NOISE**2) / (free + PRIOR_WEIGHT)
        noise[case] = math.sqrt(pooled)
    counts = np.isfinite(logs[:, :, 0]).sum(axis=0)
    return centre, CAUTION / np.sqrt(counts)[:, None] * noise


def score_value(gains: Sequence[Mapping[str, float]], baseline: Mapping[str, float]) -> Value:
    """Give the time-weighted score as what decides.

    Parameters
    ----------
    gains : sequence of mapping
        For each finalist: how much better than the baseline its metric is, by case.
    baseline : mapping
        The baseline's seconds by case; read anew at each call.
    """

    def value(index: int, seconds: Times) -> Times:
        parts = []
        for row, name in enumerate(gains[index]):
            parts.append(search_score(gains[index][name], baseline[name] / seconds[row]))
        mean: Times = np.mean(parts, axis=0)
        return mean

    return value
