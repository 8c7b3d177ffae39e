"""How fast the machine is right now, against when the baseline was measured.

The baseline is slow and measured once; trials follow for hours. A short fixed kernel runs beside
every measurement, and what enters the score is expressed in the minutes of the baseline: the CPU
part of a time is divided by how much slower the kernel has become. Waiting for disks is left alone.

Kernels of a millisecond are noisy themselves. So the last few are taken together, and the
correction is shrunk towards none where it is no larger than that noise.
"""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import replace

from tuner.records import CaseRecord

WINDOW = 5
NOISE = 0.03
"""Standard deviation of the log of a kernel's time on a quiet machine."""


def slowdown(anchors: Sequence[float], reference: float) -> float:
    """Return how many times slower the machine is than at the reference.

    Parameters
    ----------
    anchors : sequence of float
        The last kernels' times, seconds.
    reference : float
        The kernel's time beside the baseline, seconds.
    """
    change = math.log(statistics.median(anchors) / reference)
    return math.exp(change * change**2 / (change**2 + NOISE**2))


class Drift:
    """Follows the kernel and corrects what is measured beside it.

    Parameters
    ----------
    reference : mapping
        The kernel's time beside the baseline, by case; empty where there is no baseline.
    """

    def __init__(self, reference: Mapping[str, float]) -> None:
        self._reference = reference
        self._recent: deque[float] = deque(maxlen=WINDOW)

    @classmethod
    def since(cls, baseline: Sequence[CaseRecord]) -> Drift:
        """Follow the machine since the baseline was measured."""
        return cls({case.name: case.anchor for case in baseline if case.anchor is not None})

    def reference(self, case: str) -> float | None:
        """Return the kernel's seconds beside the baseline's case."""
        return self._reference.get(case)

    def correct(self, case: CaseRecord) -> CaseRecord:
        """Express a case's times in the minutes of the baseline."""
        if case.anchor is None or case.name not in self._reference:
            return case
        self._recent.append(case.anchor)
        factor = slowdown(self._recent, self._reference[case.name])
        whole = _corrected(case.seconds, case.cpu_seconds, factor)
        if case.run_seconds is None:
            return replace(case, seconds=whole)
        part = _corrected(case.run_seconds, case.cpu_seconds, factor)
        return replace(case, seconds=whole, run_seconds=part)


def _corrected(seconds: float, cpu_seconds: float, factor: float) -> float:
    busy = min(seconds, cpu_seconds)
    return seconds - busy + busy / factor
