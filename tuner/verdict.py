"""From what a worker gave to a trial's record, and from records to the best one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from tuner.executors.base import JobDone
from tuner.objective import Objective, Reference
from tuner.plugin import Params
from tuner.records import TrialRecord
from tuner.uncertainty import Noise


@dataclass(frozen=True)
class Asked:
    """What a trial was asked to run; the fields are those of its record."""

    number: int
    params: Params
    searched: Params
    is_baseline: bool


def judge(
    asked: Asked,
    done: JobDone,
    objective: Objective,
    reference: Reference | None,
    limit: float,
    noise: Noise,
) -> TrialRecord:
    """Make a trial's record.

    Parameters
    ----------
    done : JobDone
        Its cases' times are what enters the score.
    reference : Reference or None
        The baseline; its own cases for the baseline itself.
    limit : float
        Seconds that one case may take; over it the trial is infeasible, a baseline excepted.
    noise : Noise
        What one measurement scatters by.
    """
    record = TrialRecord(
        number=asked.number,
        state=done.state,
        params=asked.params,
        searched=asked.searched,
        cases=done.cases,
        metrics={},
        values=(),
        started=done.started,
        finished=done.finished,
        reason=done.reason,
        is_baseline=asked.is_baseline,
    )
    for case in done.cases:
        took = case.run_seconds or case.seconds
        if took > limit and not asked.is_baseline:
            reason = f"case '{case.name}' took {took:.1f} s; limit {limit:g} s"
            return replace(record, state="infeasible", reason=reason)
        for name, value in case.metrics.items():
            if not math.isfinite(value):
                reason = f"metric '{name}' of case '{case.name}' is not a finite number"
                return replace(record, state="failed", reason=reason)
    cases = tuple(objective.annotate(case, reference) for case in done.cases)
    if done.state != "complete":
        return replace(record, cases=cases)
    return replace(
        record,
        cases=cases,
        metrics={**objective.summarise(cases), **objective.bounds(cases, reference, noise)},
        values=tuple(objective.values(cases, reference)),
    )


def best_record(records: Sequence[TrialRecord], objective: Objective) -> TrialRecord | None:
    """Give the best complete trial.

    By the objective; of several by the score where there is a baseline, else by the first. A
    positive score counts as it is; where no trial has one, what the sampler saw decides, for the
    formula rewards slowness there.
    """
    complete = [record for record in records if record.state == "complete"]
    if not complete:
        return None
    name = next(iter(objective.objectives))
    by_score = name == "score" or (len(objective.objectives) > 1 and "score" in complete[0].metrics)
    if by_score:
        positive = [record for record in complete if record.metrics["score"] > 0]
        if positive:
            return max(positive, key=lambda record: record.metrics["score"])
    sign = 1.0 if objective.objectives[name] == "maximize" else -1.0
    return max(complete, key=lambda record: sign * record.values[0])
