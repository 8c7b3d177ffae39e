"""What is kept of a trial in the Optuna storage, and reading it back.

Each trial carries one JSON user attribute, `KEPT`, written before the trial is told; a
`TrialRecord` is made from it. A trial that has it and still runs was measured before a crash.

For whoever looks at the study with Optuna's own tools, each metric is an attribute as well, and so
is why a trial did not complete; an infeasible one breaks a constraint.
"""

from __future__ import annotations

import json
from datetime import datetime, timezone

import optuna
from optuna.trial import FrozenTrial, TrialState

from tuner.records import State, TrialRecord, plain, record_of
from tuner.search.cached_storage import Mirror

KEPT = "tuner:record"
REASON = "tuner:reason"
LONGEST = 500
"""Characters of a reason."""

CONSTRAINTS = "constraints"
"""Optuna's own name for a trial's constraints: one that is positive is broken.

Since Optuna 5 each may have a name of its own, which optuna-dashboard 0.21 does not read.
"""

ROLE = "tuner:role"
BASELINE = "baseline"
BESIDE = "beside the baseline"
"""Roles: of the baseline, and of its point in the space where a sampler goes through all."""


def write_record(storage: Mirror, record: TrialRecord) -> None:
    """Keep `record` with its trial. Call before the trial is told: a finished one is read-only."""
    for name, value in record.metrics.items():
        storage.set_trial_user_attr(record.number, name, value)
    if record.state != "complete":
        reason = (record.reason or "no reason known").partition("\n")[0]
        storage.set_trial_user_attr(record.number, REASON, f"{record.state}: {reason}"[:LONGEST])
    if record.state == "infeasible":
        storage.set_trial_system_attr(record.number, CONSTRAINTS, [1.0])
    storage.set_trial_user_attr(record.number, KEPT, json.dumps(plain(record)))


def kept_record(trial: FrozenTrial) -> TrialRecord | None:
    """Read what was kept with a trial, finished or not; None where nothing was."""
    text = trial.user_attrs.get(KEPT)
    if text is None:
        return None
    return record_of({**json.loads(text), "number": trial.number})


def _bare_record(trial: FrozenTrial) -> TrialRecord:
    """Describe a trial that ended without a record: it was never dispatched."""
    states: dict[TrialState, State] = {TrialState.FAIL: "failed", TrialState.PRUNED: "pruned"}
    start = trial.datetime_start or trial.datetime_complete or datetime.now()
    end = trial.datetime_complete or start
    return TrialRecord(
        number=trial.number,
        state=states.get(trial.state, "failed"),
        params=dict(trial.params),
        searched=dict(trial.params),
        cases=(),
        metrics={},
        values=(),
        started=start.astimezone(timezone.utc),
        finished=end.astimezone(timezone.utc),
        reason="ended without a record",
    )


def records_of(study: optuna.Study) -> list[TrialRecord]:
    """Return the records of all finished trials, by number."""
    return [
        kept_record(trial) or _bare_record(trial)
        for trial in study.get_trials(deepcopy=False)
        if trial.state.is_finished()
    ]
