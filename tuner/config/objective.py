"""From metrics and times to what is reported and what the sampler sees.

The time-weighted score of a case is ``(m - m_baseline) * sqrt(t_baseline / t)``, with the sign of
``m`` turned round where it is minimised; a trial's score is the mean over its cases.

Below the baseline that formula rewards slowness: a loss is made smaller by a longer time. It is
reported as it is, but the sampler must not learn from that. It is told, for such a case,
``(m - m_baseline) * (BELOW_BASELINE + sqrt(t / t_baseline))`` instead: continuous at the baseline,
rising in the metric, falling in the time, and of the size that the formula gives at a speed-up of
``BELOW_BASELINE ** 2``, so that a loss in one case weighs about as much as a gain in another.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeVar

from tuner.measure.noise import WIDTH, Noise
from tuner.plugin import Direction
from tuner.records import CaseRecord, TrialRecord

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BELOW_BASELINE = 10.0

Number = TypeVar("Number", float, "NDArray[np.float64]")


def _root(value: Number) -> Number:
    root: Number = value**0.5
    return root


def score(gain: float, speedup: Number) -> Number:
    """Return the time-weighted score of a case.

    Parameters
    ----------
    gain : float
        Metric minus the baseline's, positive where better.
    speedup : float
        The baseline's time over this one, positive.
    """
    return gain * _root(speedup)


def search_score(gain: float, speedup: Number) -> Number:
    """Return what the sampler sees in place of `score`: monotone in gain and speed-up."""
    if gain >= 0:
        return score(gain, speedup)
    return gain * (BELOW_BASELINE + 1 / _root(speedup))


@dataclass(frozen=True)
class Reference:
    """The baseline, case by case: its metric and its time in seconds."""

    metric: Mapping[str, float]
    seconds: Mapping[str, float]
    errors: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, cases: Sequence[CaseRecord], primary: str, noise: Noise | None = None) -> Reference:
        """Read the reference from the baseline's cases."""
        noise = noise or Noise()
        return cls(
            {case.name: case.metrics[primary] for case in cases},
            {case.name: case.seconds for case in cases},
            {case.name: noise.error(case) for case in cases},
        )


@dataclass(frozen=True)
class Objective:
    """How a study turns a trial's cases into metrics and values.

    Attributes
    ----------
    metrics : mapping
        The plug-in's metrics and directions.
    objectives : mapping
        Tuned quantities and directions.
    primary : str
        Name of the metric that the score is made from; the first one by default.
    """

    metrics: Mapping[str, Direction]
    objectives: Mapping[str, Direction]
    primary: str = ""

    def __post_init__(self) -> None:
        """Take the first metric where none is named."""
        if not self.primary:
            object.__setattr__(self, "primary", next(iter(self.metrics)))

    @property
    def sign(self) -> float:
        """Return 1 where a larger primary metric is better, else -1."""
        return 1.0 if self.metrics[self.primary] == "maximize" else -1.0

    @property
    def goal(self) -> str:
        """What is tuned, in words: ``maximize r2, minimize time``."""
        return ", ".join(f"{direction} {name}" for name, direction in self.objectives.items())

    def ranked_by(self, records: Sequence[TrialRecord]) -> tuple[str, float]:
        """Return the metric that trials are ranked by, and its sign: 1 where larger is better.

        Of several objectives it is the score where there is a baseline, else the first.
        """
        names = list(self.objectives)
        has_score = any("score" in record.metrics for record in records)
        name = "score" if len(names) > 1 and has_score else names[0]
        direction = {**self.objectives, "score": "maximize"}[name]
        return name, 1.0 if direction == "maximize" else -1.0

    def best(self, records: Sequence[TrialRecord]) -> TrialRecord | None:
        """Return the best complete trial.

        A positive score counts as it is; where no trial has one, what the sampler saw decides, for
        the formula rewards slowness there.
        """
        complete = [record for record in records if record.state == "complete"]
        if not complete:
            return None
        if self.ranked_by(complete)[0] == "score":
            positive = [record for record in complete if record.metrics["score"] > 0]
            if positive:
                return max(positive, key=lambda record: record.metrics["score"])
        sign = 1.0 if next(iter(self.objectives.values())) == "maximize" else -1.0
        return max(complete, key=lambda record: sign * record.values[0])

    def gain(self, case: CaseRecord, reference: Reference) -> float:
        """Return how much better than the baseline the case's primary metric is."""
        return self.sign * (case.metrics[self.primary] - reference.metric[case.name])

    def annotate(self, case: CaseRecord, reference: Reference | None) -> CaseRecord:
        """Add ``speedup`` and ``score`` to a case's metrics where there is a baseline."""
        if reference is None:
            return case
        speedup = reference.seconds[case.name] / case.seconds
        extra = {"speedup": speedup, "score": score(self.gain(case, reference), speedup)}
        return replace(case, metrics={**case.metrics, **extra})

    def summarise(self, cases: Sequence[CaseRecord]) -> dict[str, float]:
        """Return the means over annotated cases, ``time`` among them."""
        count = len(cases)
        names = cases[0].metrics
        means = {name: sum(case.metrics[name] for case in cases) / count for name in names}
        return {**means, "time": sum(case.seconds for case in cases) / count}

    def bounds(
        self, cases: Sequence[CaseRecord], reference: Reference | None, noise: Noise
    ) -> dict[str, float]:
        """Return the 95 % intervals of a trial's speed-up and score; none without a baseline.

        The baseline was timed like a trial and is as uncertain. That is common to all trials: it
        widens every interval and tells no two of them apart.
        """
        if reference is None:
            return {}
        found = {}
        for name, power in (("speedup", 1.0), ("score", 0.5)):
            errors = [
                power
                * abs(case.metrics[name])
                * math.hypot(noise.error(case), reference.errors.get(case.name, 0.0))
                for case in cases
            ]
            mean = sum(case.metrics[name] for case in cases) / len(cases)
            width = WIDTH * math.hypot(*errors) / len(cases)
            found.update({f"{name}_low": mean - width, f"{name}_high": mean + width})
        return found

    def values(self, cases: Sequence[CaseRecord], reference: Reference | None) -> list[float]:
        """Return what the sampler is told, one value for each objective."""
        means = self.summarise(cases)
        values = []
        for name in self.objectives:
            if name == "score":
                if reference is None:
                    raise ValueError("the score needs a baseline")
                seen = [
                    search_score(
                        self.gain(case, reference), reference.seconds[case.name] / case.seconds
                    )
                    for case in cases
                ]
                values.append(sum(seen) / len(seen))
            else:
                values.append(means[name])
        return values
