"""Which setting is best, from times that scatter: rounds, elimination, and a probability.

The finalists are timed in rounds, in random order. After two rounds those that can hardly be the
best drop out, and their time goes to the contenders (O. Maron and A. W. Moore, 1994, Hoeffding
races, Adv. Neural Inf. Process. Syst. 6; M. Birattari et al., 2002, A racing algorithm for
configuring metaheuristics, GECCO). The race ends once the leader is, with the wanted probability,
no worse than the best by more than an indifference (R. E. Bechhofer, 1954,
doi:10.1214/aoms/1177728845), or when its time is up.

How a level is had from measurements on a machine that drifts is the matter of
`tuner.measure.drift`. What the search measured is not used: the finalists were chosen by it, which
makes those times too good.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tuner.config.objective import search_score
from tuner.measure.drift import Fit, Measurement
from tuner.records import Finalist

FIRST_ROUNDS = 2
DRAWS = 4000
HOPELESS = 0.005
SURE = 4
"""With fewer measurements than these, one burst must not end a finalist's hopes."""

CAUTION = 1.5
"""What errors are taken times: the leader is the luckiest of several, and the race stops at a
moment of luck."""

Times = NDArray[np.float64]
Value = Callable[[int, Times], Times]
"""Of a finalist (its index) and times of shape (cases, draws): what decides, larger is better."""


@dataclass(frozen=True)
class Ending:
    """When a race is over.

    Attributes
    ----------
    budget : float
        Seconds that measuring may take in all.
    confidence, indifference : float
        It ends once the leader is within a share `indifference` of the best value with probability
        `confidence`.
    """

    budget: float
    confidence: float = 0.95
    indifference: float = 0.01


@dataclass(frozen=True)
class Verdict:
    """How a race stands.

    Attributes
    ----------
    standings : sequence of Finalist
        Best first; what a race does not know of them is empty.
    probability_near : float
        Probability that the leader is within the indifference of the best.
    probability_order : float
        Probability that the whole ranking is right.
    """

    standings: Sequence[Finalist]
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
    cases : sequence of str
        What a measurement gives a time for.
    ending : Ending
        When it is over.
    seed : int
        Of the order in rounds and of the draws.
    """

    def __init__(
        self,
        numbers: Sequence[int],
        value: Value,
        cases: Sequence[str],
        ending: Ending,
        seed: int = 0,
    ) -> None:
        self._numbers = list(numbers)
        self._value = value
        self._rng = np.random.default_rng(seed)
        self._ending = ending
        self._names = list(cases)
        self._cases = len(self._names)
        self._rounds = 0
        self._found: list[Measurement] = []
        self._repeats: Counter[int] = Counter()
        self._alive = set(range(len(self._numbers)))
        self._spent = 0.0
        self._cost: dict[int, float] = {}

    def next_round(self) -> list[int]:
        """Return the trial numbers to time next, in order; none when the race is over."""
        if self._rounds:
            verdict = self.verdict()
            if self._rounds >= FIRST_ROUNDS and verdict.probability_near >= self._ending.confidence:
                return []
            self._eliminate(verdict)
            if len(self._alive) < 2 and self._rounds >= FIRST_ROUNDS:
                return []
        if self._rounds and self._spent + self._cost_of(self._alive) > self._ending.budget:
            return []
        self._rounds += 1
        return [self._numbers[index] for index in self._rng.permutation(sorted(self._alive))]

    def add(self, number: int, cases: Sequence[Measurement], cost: float) -> None:
        """Take in a measurement: one for each case, and what all cost in seconds."""
        index = self._numbers.index(number)
        first = index * self._cases
        self._found += [replace(m, level=first + case) for case, m in enumerate(cases)]
        self._repeats[index] += 1
        self._spent += cost
        self._cost[index] = cost

    def drop(self, number: int) -> None:
        """Take a finalist that cannot be timed out of the race."""
        self._alive.discard(self._numbers.index(number))

    def _eliminate(self, verdict: Verdict) -> None:
        """Keep those that may well be the best, and no more than there is time for."""
        chances = {s.number: s.probability_best for s in verdict.standings}
        rank = {s.number: place for place, s in enumerate(verdict.standings)}
        kept = sorted(self._alive, key=lambda i: rank.get(self._numbers[i], len(rank)))
        if self._rounds >= FIRST_ROUNDS:
            least = verdict.standings[0].score
            kept = kept[:2] + [
                i
                for i in kept[2:]
                if chances[self._numbers[i]] >= HOPELESS
                or (self._repeats[i] < SURE and self._at_best(i) >= least)
            ]
        while len(kept) > 2 and self._spent + self._cost_of(kept) > self._ending.budget:
            kept.pop()
        self._alive = set(kept)

    def _at_best(self, index: int) -> float:
        """Return a finalist's value at each case's fastest time: bursts only make it longer."""
        first = index * self._cases
        fastest = [
            min(
                m.seconds * (m.slowness or 1.0) ** -m.share
                for m in self._found
                if m.level == first + case
            )
            for case in range(self._cases)
        ]
        return float(self._value(index, np.array(fastest)[:, None])[0])

    def _cost_of(self, indices: Collection[int]) -> float:
        return sum(self._cost.get(index, 0.0) for index in indices)

    def verdict(self) -> Verdict:
        """Return the standings, best first, of all that were timed."""
        timed = sorted(self._repeats)
        if not timed:
            return Verdict((), 0.0, 0.0)
        place = {index: row for row, index in enumerate(timed)}
        shape = len(timed), self._cases
        fit = Fit(
            [
                replace(
                    m, level=place[m.level // self._cases] * self._cases + m.level % self._cases
                )
                for m in self._found
            ]
        )
        level, covariance = fit.level, fit.covariance
        root = CAUTION * np.linalg.cholesky(covariance)
        noise = self._rng.standard_normal((len(level), DRAWS))
        draws = np.exp(level[:, None] + root @ noise).reshape(*shape, DRAWS)
        values = np.stack([self._value(i, draws[row]) for row, i in enumerate(timed)])
        seconds = np.exp(level).reshape(shape)
        errors = CAUTION * np.sqrt(np.diag(covariance)).reshape(shape)
        points = np.array(
            [float(self._value(i, seconds[row][:, None])[0]) for row, i in enumerate(timed)]
        )
        order = np.argsort(-points)
        best = values.max(axis=0)
        low, high = np.quantile(values, [0.025, 0.975], axis=1)
        share = np.mean(values >= best, axis=1)
        standings = [
            Finalist(
                number=self._numbers[timed[row]],
                repeats=self._repeats[timed[row]],
                seconds=dict(zip(self._names, seconds[row].tolist(), strict=True)),
                metrics={},
                speedup={},
                score=float(points[row]),
                low=float(low[row]),
                high=float(high[row]),
                probability_best=float(share[row]),
                errors=dict(zip(self._names, errors[row].tolist(), strict=True)),
            )
            for row in order
        ]
        leader = values[order[0]]
        near = leader >= best - self._ending.indifference * np.abs(best)
        right = np.all(np.diff(values[order], axis=0) <= 0, axis=0)
        return Verdict(standings, float(near.mean()), float(right.mean()))


def score_value(
    gains: Sequence[Mapping[str, float]],
    baseline: Mapping[str, float],
    errors: Mapping[str, float] | None = None,
) -> Value:
    """Return the time-weighted score as what decides.

    Parameters
    ----------
    gains : sequence of mapping
        For each finalist: how much better than the baseline its metric is, by case.
    baseline : mapping
        The baseline's seconds by case; read anew at each call.
    errors : mapping, optional
        Standard errors of their logarithms, read anew likewise. They are one and the same draw for
        all finalists: they widen the intervals, and part two only where cases weigh differently.
    """
    names = list(gains[0]) if gains else []
    noise = np.random.default_rng(0).standard_normal((len(names), DRAWS))

    def value(index: int, seconds: Times) -> Times:
        parts = []
        for row, name in enumerate(names):
            speedup = baseline[name] / seconds[row]
            if errors and speedup.size == DRAWS:  # draws; a point has no error
                speedup = speedup * np.exp(errors[name] * noise[row])
            parts.append(search_score(gains[index][name], speedup))
        mean: Times = np.mean(parts, axis=0)
        return mean

    return value
