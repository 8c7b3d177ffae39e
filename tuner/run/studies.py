"""What studies a storage holds, and how far each is, without a configuration."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from statistics import fmean

import optuna

from tuner.config.quiet import quiet
from tuner.records import Final, TrialRecord
from tuner.search.changes import DECIDING
from tuner.search.peek import peek_storage
from tuner.search.record_json import records_of
from tuner.search.series import SERIES
from tuner.search.storage import enqueued_in
from tuner.selection.finalists import kept_final


@dataclass(frozen=True)
class StudyRow:
    """One study.

    Attributes
    ----------
    name, configured : str
        Its name in the storage, and the one in the configuration (another one after ``--new``).
    plugin : str
        Empty where another program made the study.
    trials : mapping
        Number of trials by state; those that were enqueued and wait are told too.
    best : int or None
        The trial that leads: by the final timing where there was one.
    objectives : mapping
        What is tuned, and what the best trial has of it.
    last : datetime or None
        When the last trial ended; UTC.
    """

    name: str
    configured: str
    plugin: str
    trials: Mapping[str, int]
    best: int | None
    objectives: Mapping[str, float | None]
    last: datetime | None


def studies_in(url: str) -> list[StudyRow]:
    """Return the studies in the storage at `url`, the one that changed last first.

    Raises
    ------
    InputError
        Where the storage cannot be opened.
    """
    storage = peek_storage(url)
    if storage is None:
        return []
    with quiet():
        rows = [
            _row(optuna.load_study(study_name=study.study_name, storage=storage))
            for study in storage.get_all_studies()
        ]
    return sorted(rows, key=lambda row: row.last.timestamp() if row.last else 0.0, reverse=True)


def _row(study: optuna.Study) -> StudyRow:
    records, made = records_of(study), json.loads(study.user_attrs.get(DECIDING, "{}"))
    names = made.get("objective") or [f"value {i}" for i, _ in enumerate(study.directions)]
    final = kept_final(study, records)
    best = _best(study, records, final)
    counts = Counter[str](record.state for record in records)
    if waiting := enqueued_in(study):
        counts["enqueued"] = waiting
    stated = {} if best is None else dict(best.metrics)
    if final is not None:  # by whole scripts, beside the baseline: the search estimated
        first = final.finalists[0]
        stated["time"] = fmean(first.seconds.values())
        stated |= {"score": first.score} if first.score > 0 else {}
    return StudyRow(
        name=study.study_name,
        configured=study.user_attrs.get(SERIES, {}).get("name", study.study_name),
        plugin=made.get("plugin", ""),
        trials=counts,
        best=best.number if best else None,
        objectives={name: stated.get(name) for name in names},
        last=max((record.finished for record in records), default=None),
    )


def _best(
    study: optuna.Study, records: list[TrialRecord], final: Final | None
) -> TrialRecord | None:
    """Return the trial that leads by the first objective."""
    if final is not None:
        return final.first_of(records)
    sign = -1.0 if study.directions[0] == optuna.study.StudyDirection.MINIMIZE else 1.0
    told = [record for record in records if record.values]
    return max(told, key=lambda record: sign * record.values[0], default=None)
