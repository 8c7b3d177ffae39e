"""One time for one trial: the final measurement in place of the search's estimate.

During the search a trial's time is that of the plug-in's `run` plus the measured fixed cost of a
process. The finalists and the baseline are timed again at the end, as whole scripts where there are
some (`tuner.selection.finalists`). Whatever is shown, stored or frozen of the chosen trial after
that is stated by the second; the first is kept beside it, as `TrialRecord.estimate`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from tuner.config.objective import Objective, Reference
from tuner.measure.noise import Noise
from tuner.records import CaseRecord, Final, TrialRecord

ESTIMATED = ("time", "speedup", "score")


@dataclass
class _Known(Noise):
    """Errors that are known for each case, in place of ones that are learnt."""

    errors: Mapping[str, float] = field(default_factory=dict)

    def error(self, case: CaseRecord) -> float:
        return self.errors.get(case.name, 0.0)


def measured_trial(
    record: TrialRecord, baseline: TrialRecord | None, final: Final | None, objective: Objective
) -> TrialRecord:
    """Return `record` with the times and scores of the final measurement; as it is without one.

    Parameters
    ----------
    record : TrialRecord
        The chosen trial, as the search left it.
    baseline : TrialRecord or None
        Trial 0, as the search left it.
    """
    row = next((r for r in final.finalists if r.number == record.number), None) if final else None
    if final is None or row is None:
        return record
    timed = _timed(record.cases, row.seconds, row.repeats)
    stated = _stated(record, timed, row.errors, baseline, final, objective)
    if "score" in stated.metrics and math.isclose(stated.metrics["score"], row.score):
        ends = {"score_low": row.low, "score_high": row.high}  # of the race itself
        stated = replace(stated, metrics={**stated.metrics, **ends})
    return stated


def measured_baseline(
    baseline: TrialRecord | None, final: Final | None, objective: Objective
) -> TrialRecord | None:
    """Return the baseline's trial with its final times; as it is where it was not timed again."""
    if baseline is None or final is None or not final.baseline:
        return baseline
    timed = _timed(baseline.cases, final.baseline, 1)
    return _stated(baseline, timed, final.baseline_errors, baseline, final, objective)


def final_reference(baseline: TrialRecord | None, final: Final, primary: str) -> Reference | None:
    """Return the baseline's metrics and final times; None where there is no baseline."""
    if baseline is None or not final.baseline:
        return None
    metric = {case.name: case.metrics[primary] for case in baseline.cases}
    return Reference(metric, final.baseline, final.baseline_errors)


def _timed(
    cases: Sequence[CaseRecord], seconds: Mapping[str, float], repeats: int
) -> list[CaseRecord]:
    return [
        replace(case, seconds=seconds[case.name], run_seconds=None, repeats=repeats, spread=0.0)
        for case in cases
    ]


def _stated(
    record: TrialRecord,
    timed: list[CaseRecord],
    errors: Mapping[str, float],
    baseline: TrialRecord | None,
    final: Final,
    objective: Objective,
) -> TrialRecord:
    reference = final_reference(baseline, final, objective.primary)
    cases = tuple(objective.annotate(case, reference) for case in timed)
    metrics = objective.summarise(cases)
    if errors:
        metrics |= objective.bounds(cases, reference, _Known(errors=errors))
    estimate = {name: record.metrics[name] for name in ESTIMATED if name in record.metrics}
    return replace(record, cases=cases, metrics=metrics, estimate=estimate)
