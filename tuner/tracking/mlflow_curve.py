"""The curves of a study's own run: its metrics after each trial that ended."""

from __future__ import annotations

import math
from collections.abc import Iterable

from tuner.records import StudyInfo, TrialRecord
from tuner.tracking.mlflow_runs import milliseconds, primary, rounded, trial_means

BEST_SO_FAR = "best_so_far"


def finishing_order(records: Iterable[TrialRecord]) -> list[TrialRecord]:
    """Sort trials by when they ended: what a step of a parent's metric counts."""
    return sorted(records, key=lambda record: (record.finished, record.number))


def parent_curve(
    study: StudyInfo, records: Iterable[TrialRecord]
) -> list[tuple[int, int, dict[str, float]]]:
    """Return what the parent run's metrics are at every step, a step a trial that ended.

    Returns
    -------
    list of (step, time in ms, metrics)
        `BEST_SO_FAR` from the first trial on that has a value, and where a trial is the best so
        far, its metrics.
    """
    name, direction = primary(study)
    sign = 1.0 if direction == "maximize" else -1.0
    curve: list[tuple[int, int, dict[str, float]]] = []
    best: TrialRecord | None = None
    for step, record in enumerate(finishing_order(records), start=1):
        value = record.metrics.get(name, math.nan) if record.state == "complete" else math.nan
        rose = math.isfinite(value) and (best is None or _leads(sign, name, record, best))
        best = record if rose else best
        if best is None:
            continue
        values = {BEST_SO_FAR: best.metrics[name]}
        if rose:
            values.update(trial_means(best))
        curve.append((step, milliseconds(record.finished), rounded(values)))
    return curve


def _leads(sign: float, name: str, record: TrialRecord, other: TrialRecord) -> bool:
    one, two = ((sign * each.metrics[name], -each.number) for each in (record, other))
    return one > two
