"""How sure a trial's time and score are: repeats put together, and intervals.

A trial is timed once. One that may be the best is timed again until it is told apart from the best,
as SMAC's intensification has it (F. Hutter, H. H. Hoos and K. Leyton-Brown, 2011,
doi:10.1007/978-3-642-25566-3_40); the others are left at one. How much a single measurement
scatters is learnt from those that were repeated, and is what machines usually have before that.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace

from tuner.records import CaseRecord

NOISE = 0.03
NOISE_WEIGHT = 6
"""What a measurement's noise usually is, and how many measurements that knowledge is worth."""

CROWD_NOISE = 0.07
CROWDED = 0.2
"""Standard deviation that others on the core add, in full from this share of the time on."""

WIDTH = 1.96
"""Standard errors on either side of an estimate: 95 % for normal ones."""

MEDIAN = 1.25
"""Standard error of a median over that of a mean."""


def combine(looks: Sequence[CaseRecord]) -> CaseRecord:
    """Put repeats of one case together: median times, the metrics of the first."""
    first = looks[0]
    if len(looks) == 1:
        return first
    logs = [math.log(look.seconds) for look in looks]
    runs = [look.run_seconds for look in looks if look.run_seconds is not None]
    return replace(
        first,
        seconds=math.exp(statistics.median(logs)),
        cpu_seconds=statistics.median(look.cpu_seconds for look in looks),
        run_seconds=statistics.median(runs) if runs else None,
        crowded=statistics.mean(look.crowded for look in looks),
        repeats=len(looks),
        spread=statistics.stdev(logs),
    )


@dataclass
class Noise:
    """Standard deviation of the logarithm of one measurement, learnt from repeats."""

    squares: float = 0.0
    freedom: int = 0

    def learn(self, cases: Sequence[CaseRecord]) -> None:
        """Take in the repeats of a trial."""
        for case in cases:
            self.squares += case.spread**2 * (case.repeats - 1)
            self.freedom += case.repeats - 1

    @property
    def one(self) -> float:
        """Of a single measurement with the core to itself."""
        total = self.squares + NOISE_WEIGHT * NOISE**2
        return math.sqrt(total / (self.freedom + NOISE_WEIGHT))

    def error(self, case: CaseRecord) -> float:
        """Return the standard error of the logarithm of a case's time."""
        crowd = CROWD_NOISE * min(1.0, case.crowded / CROWDED)
        factor = MEDIAN if case.repeats > 2 else 1.0
        return factor * math.hypot(self.one, crowd) / math.sqrt(case.repeats)


def interval_of_mean(values: Sequence[float]) -> tuple[float, float] | None:
    """Return the 95 % interval of a mean by Student's t; None for fewer than two values.

    Examples
    --------
    >>> low, high = interval_of_mean([1.0, 2.0, 3.0])
    >>> f"{low:.3f} to {high:.3f}"
    '-0.484 to 4.484'
    """
    if len(values) < 2:
        return None
    from scipy.special import stdtrit  # not needed by most commands

    width = float(stdtrit(len(values) - 1, 0.975))
    width *= statistics.stdev(values) / math.sqrt(len(values))
    middle = statistics.mean(values)
    return middle - width, middle + width
