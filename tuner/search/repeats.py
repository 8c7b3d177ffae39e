"""Which trials are timed again during the search: those that may be the best, within a budget."""

from __future__ import annotations

from dataclasses import replace

from tuner.config.objective import Objective, Reference
from tuner.measure.noise import Noise
from tuner.records import TrialRecord

SHARE = 0.25
"""Repeats take at most this share of the time that first looks took: most of it is for search."""


class Contenders:
    """Follows the best trial and what repeats have cost.

    Parameters
    ----------
    objective : Objective
        Times are repeated only where the score is among what is tuned.
    limit : int
        How often a trial may be timed in all.
    """

    def __init__(self, objective: Objective, limit: int) -> None:
        self._objective = objective
        self._limit = limit
        self._leader: TrialRecord | None = None
        self._first, self._again = 0.0, 0.0
        self.noise = Noise()

    def heard(self, record: TrialRecord) -> None:
        """Take in a finished trial."""
        self.noise.learn(record.cases)
        for case in record.cases:
            self._first += case.seconds
            self._again += case.seconds * (case.repeats - 1)
        if not self._counts(record):
            return
        leader = self._leader
        if leader is None or record.metrics["score"] > leader.metrics["score"]:
            self._leader = record

    def wants(self, record: TrialRecord, reference: Reference | None) -> bool:
        """Return whether a trial that is not told yet should be timed once more."""
        leader = self._leader
        if leader is None or reference is None or not self._counts(record):
            return False
        if record.cases[0].repeats >= self._limit:
            return False
        known = sum(case.seconds for case in record.cases)
        cost = self._again + known * record.cases[0].repeats
        if cost > SHARE * (self._first + known):
            return False
        low, high = self._interval(record, reference)
        least, most = self._interval(leader, reference)
        return high >= least and low <= most

    def _counts(self, record: TrialRecord) -> bool:
        scored = "score" in self._objective.objectives and record.metrics.get("score", 0.0) > 0
        return scored and record.state == "complete" and not record.is_baseline

    def _interval(self, record: TrialRecord, reference: Reference) -> tuple[float, float]:
        """Return a score's interval without the baseline's share, common to all trials."""
        alone = replace(reference, errors={})
        bounds = self._objective.bounds(record.cases, alone, self.noise)
        return bounds["score_low"], bounds["score_high"]
