"""Is the best metric real, or what luck gives? The metric beside its null distribution."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tuner.plugin import Direction


@dataclass(frozen=True)
class Null:
    """A case's primary metric beside what luck alone gives.

    Attributes
    ----------
    case : str
        Name of the case.
    held_out : bool
        Whether tuning never saw it. For a tuned case the p-value is optimistic: the setting was
        chosen, among all trials, by this very metric, and the null does not repeat that.
    metric : float
        As measured.
    mean, point : float
        The null's mean, and the point that luck passes in one draw of twenty.
    p_value : float
        Share of draws as good or better, the observed one counted among them (B. Phipson and
        G. K. Smyth, 2010, doi:10.2202/1544-6115.1585).
    draws : int
        Number of draws.
    """

    case: str
    held_out: bool
    metric: float
    mean: float
    point: float
    p_value: float
    draws: int


def compare(
    case: str, metric: float, draws: Sequence[float], direction: Direction, held_out: bool
) -> Null:
    """Compare a metric with draws of its null, at least one."""
    import numpy as np

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
