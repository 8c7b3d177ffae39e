"""What is kept of a trial in the Optuna storage, and reading it back.

Each trial carries one JSON user attribute, `KEPT`, written before the trial is told; a
`TrialRecord` is made from it. A trial that has it and still runs was measured before a crash.
"""

from __future__ import annotations

import json
from datetime import datetime, timezone

import optuna
from optuna.trial import FrozenTrial, TrialState

from tuner.records import State, TrialRecord, plain, record_of
from tuner.search.cached_storage import Mirror

KEPT = "tuner:record"
ROLE = "tuner:role"
BASELINE = "baseline"
BESIDE = "beside the baseline"
"""Roles: of the baseline, and of its point in the space where a sampler goes through all."""


def write_record(storage: Mirror, record: TrialRecord) -> None:
    """Keep `record` with its trial. Call before the trial is told: a finished one is read-only."""
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
