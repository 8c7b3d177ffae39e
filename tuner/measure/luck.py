"""A metric beside what luck alone gives."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tuner.plugin import Direction
from tuner.records import Null

LUCKY = 0.05
"""The p-value from which a result is called not distinguishable from luck."""


def compare(
    case: str, metric: float, draws: Sequence[float], direction: Direction, held_out: bool
) -> Null:
    """Compare a metric with draws of its null, at least one."""
    null = np.asarray(draws, dtype=float)
    upward = direction == "maximize"
    as_good = null >= metric if upward else null <= metric
    return Null(
        case,
        held_out,
        metric,
        float(null.mean()),
        float(np.quantile(null, 0.95 if upward else 0.05)),
        float((1 + as_good.sum()) / (1 + null.size)),
        int(null.size),
    )
