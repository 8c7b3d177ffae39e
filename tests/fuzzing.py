"""How long the slow tests feed damaged files and odd numbers to what reads them."""

from __future__ import annotations

import os
import resource

FUZZ_SECONDS = float(os.environ.get("TUNER_FUZZ_SECONDS", "600"))
"""Processor time of each of them: TUNER_FUZZ_SECONDS=60 make test-slow."""


def cpu_seconds() -> float:
    """Return the processor time of this process and of its children that have ended."""
    both = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(used.ru_utime + used.ru_stime for used in both)
