"""What MLflow is told of a study and its trials: names, states, params, metrics, tags, colours.

Pure functions from `tuner.records` to plain data; nothing here talks to a store.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from tuner.plugin import Direction
from tuner.records import CaseRecord, State, StudyInfo, Summary, TrialRecord

STATUS: Mapping[State, str] = {
    "complete": "FINISHED",
    "pruned": "KILLED",
    "infeasible": "KILLED",
    "failed": "FAILED",
}
"""MLflow knows no pruned or infeasible runs: both were ended before their time, hence KILLED."""

STUDY_ROLE, TRIAL_ROLE = "study", "trial"
NOTE_TAG = "mlflow.note.content"
CHARTED = "charted"
"""Tag of the runs that charts show: the study's own and the complete trials'."""

MAX_PARAM, MAX_TAG, MAX_KEY = 6000, 5000, 250
_DIGITS = 6
# Hues of Okabe & Ito's palette (2008) without those that mean failed and baseline; dark, then
# lighter. All stand out from white by a contrast of 3 or more, as WCAG 2.1 asks of graphics.
_HUES = (
    ("#00416b", "#4a90c4"),
    ("#00563f", "#2f9e7c"),
    ("#7a2a5a", "#c06a9c"),
    ("#2a2368", "#7f76c2"),
    ("#004b52", "#2c97a1"),
)
_STATE_COLOURS: Mapping[State, str] = {
    "failed": "#d62728",
    "pruned": "#8f8f8f",
    "infeasible": "#6b6b6b",
}
_BASELINE_COLOUR = "#b87500"


def study_key(study: StudyInfo) -> str:
    """Return 16 hex digits that identify a study by name and signature, safe in a search filter."""
    return hashlib.sha256(f"{study.name}\n{study.signature}".encode()).hexdigest()[:16]


def study_label(study: StudyInfo) -> str:
    """Return the parent run's name: the study's, after the plug-in's where it does not say so."""
    named = study.name.lower().startswith(study.plugin.lower())
    return study.name if named else f"{study.plugin}-{study.name}"


def trial_label(study: StudyInfo, record: TrialRecord) -> str:
    """Return a child run's name, unique over studies and in the order of the trials."""
    return f"{record.number:03d} {study_label(study)}{' baseline' if record.is_baseline else ''}"


def colour(study: StudyInfo, record: TrialRecord | None = None, *, best: bool = False) -> str:
    """Return a run's colour: the study's hue, strong for parent (no record) and best trial."""
    strong, pale = _HUES[int(study_key(study), 16) % len(_HUES)]
    if record is None or best:
        return strong
    if record.is_baseline and record.state == "complete":
        return _BASELINE_COLOUR
    return _STATE_COLOURS.get(record.state, pale)


def milliseconds(moment: datetime) -> int:
    """Return the Unix time in ms."""
    return round(moment.timestamp() * 1000)


def key(text: str) -> str:
    """Return the nearest name that MLflow takes for a metric, param or tag."""
    clean = re.sub(r"[^\w.\-: ]", "_", text).strip(". ") or "_"
    return clean[: MAX_KEY // 3]


def rounded(values: Mapping[str, float]) -> dict[str, float]:
    """Return the finite `values` to six significant digits: MLflow stores inf as 1.8e308."""
    return {
        name: float(f"{value:.{_DIGITS}g}")
        for name, value in values.items()
        if math.isfinite(value)
    }


def case_metrics(cases: Iterable[CaseRecord], prefix: str = "") -> dict[str, float]:
    """Return ``<prefix><metric>/<case>`` for every metric of every case, and its times in seconds.

    MLflow's charts make a section of what stands before the slash.
    """
    found: dict[str, float] = {}
    for case in cases:
        values = {**case.metrics, "time": case.seconds, "cpu_time": case.cpu_seconds}
        found.update({f"{prefix}{key(name)}/{key(case.name)}": v for name, v in values.items()})
    return found


def mean_metrics(cases: Sequence[CaseRecord], prefix: str) -> dict[str, float]:
    """Return ``<prefix><metric>``: means over the cases, and the time in seconds."""
    rows = [{**case.metrics, "time": case.seconds} for case in cases]
    names = [name for name in (rows[0] if rows else {}) if all(name in row for row in rows)]
    return {f"{prefix}{key(n)}": math.fsum(row[n] for row in rows) / len(rows) for n in names}


def trial_metrics(record: TrialRecord) -> dict[str, float]:
    """Return what a child run shows: means over the cases by name, each case as ``metric/case``."""
    return rounded({**trial_means(record), **case_metrics(record.cases)})


def trial_means(record: TrialRecord) -> dict[str, float]:
    """Return a trial's means over the cases, and the logarithm of its time: charts need it."""
    found = {key(name): value for name, value in record.metrics.items()}
    if (seconds := found.get("time", 0.0)) > 0:
        found[log_name("time")] = math.log10(seconds)
    return found


def trial_params(
    record: TrialRecord, search_space: Mapping[str, Mapping[str, Any]]
) -> dict[str, str]:
    """Return the params as text, with logarithms of log-scaled ones (charts have no log axis)."""
    found: dict[str, str] = {}
    for name, value in record.params.items():
        found[key(name)] = str(value)[:MAX_PARAM]
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if search_space.get(name, {}).get("log") and number and float(value) > 0:  # type: ignore[arg-type]
            found[log_name(name)] = f"{math.log10(float(value)):.4f}"  # type: ignore[arg-type]
    return found


def log_name(name: str) -> str:
    """Return the name of the param, or metric, that holds the logarithm of `name`."""
    return f"log10_{key(name)}"


def trial_tags(study: StudyInfo, record: TrialRecord, parent: str) -> dict[str, str]:
    """Return the tags of a child run: its parent, its state, why it is not complete."""
    tags = {
        "mlflow.parentRunId": parent,
        "mlflow.runColor": colour(study, record),
        "role": TRIAL_ROLE,
        "study": study.name,
        "study_key": study_key(study),
        "trial": str(record.number),
        "state": record.state,
        **_source(study),
    }
    if record.state == "complete":
        tags[CHARTED] = "true"
    if record.is_baseline:
        tags["baseline"] = "true"
    lost = [n for n, v in {**record.metrics, **case_metrics(record.cases)}.items() if v - v != 0]
    if lost:
        tags["not_finite"] = ", ".join(lost)[:MAX_TAG]
    tags |= {name: value for name in ("host", "machine") if (value := getattr(record, name))}
    if record.losses:
        tags["losses"] = str(record.losses)
    if record.fault is not None:
        tags["fault"] = record.fault
    if record.reason:
        tags["reason"] = record.reason.strip().splitlines()[0][:MAX_TAG]
        tags[NOTE_TAG] = f"{record.state}:\n\n```\n{record.reason.strip()[:MAX_TAG]}\n```"
    return tags


def study_tags(study: StudyInfo) -> dict[str, str]:
    """Return the tags that a parent run is opened with."""
    versions = {f"version.{key(name)}": value for name, value in study.versions.items()}
    return {
        "mlflow.runColor": colour(study),
        "role": STUDY_ROLE,
        CHARTED: "true",
        "study": study.name,
        "study_key": study_key(study),
        "signature": study.signature,
        "plugin": study.plugin,
        "data_fingerprint": study.fingerprint,
        "storage": re.sub(r"//[^/@]*@", "//", study.storage),  # no password leaves for the store
        "objectives": ", ".join(f"{direction} {n}" for n, direction in study.objectives.items()),
        **versions,
        **_source(study),
    }


def _source(study: StudyInfo) -> dict[str, str]:
    commit = {"mlflow.source.git.commit": study.git_commit} if study.git_commit else {}
    return {"mlflow.source.name": f"tuner {study.plugin}", "mlflow.source.type": "LOCAL", **commit}


def study_params(study: StudyInfo) -> dict[str, str]:
    """Return the configuration as params: nested keys joined by dots, lists as JSON."""
    found = {"plugin": study.plugin, "seed": str(study.seed)}

    def walk(prefix: str, value: object) -> None:
        if isinstance(value, Mapping) and value:
            for name, inner in value.items():
                walk(f"{prefix}.{name}" if prefix else str(name), inner)
        else:
            text = value if isinstance(value, str) else json.dumps(value, default=str)
            found[key(prefix)] = text[:MAX_PARAM] or '""'

    walk("", study.config)
    return found


def primary(study: StudyInfo) -> tuple[str, Direction]:
    """Return the first objective, by which the trials are sorted, and its direction."""
    return next(iter(study.objectives.items()))


def ranked(study: StudyInfo, records: Iterable[TrialRecord]) -> list[TrialRecord]:
    """Return the complete trials that have the first objective, best first."""
    name, direction = primary(study)
    sign = -1.0 if direction == "maximize" else 1.0
    valued = [
        record
        for record in records
        if record.state == "complete" and math.isfinite(record.metrics.get(name, math.nan))
    ]
    return sorted(valued, key=lambda record: (sign * record.metrics[name], record.number))


def summary_metrics(study: StudyInfo, summary: Summary) -> dict[str, float]:
    """Return what the parent run shows at the end: best, baseline and held-out metrics."""
    found: dict[str, float] = {}
    if summary.best is not None:
        found.update(trial_means(summary.best))
    if summary.baseline is not None:
        means = summary.baseline.metrics
        found.update({f"baseline/{key(name)}": value for name, value in means.items()})
    for prefix, cases in (
        ("held_out/", summary.held_out),
        ("held_out_baseline/", summary.held_out_baseline),
    ):
        found.update(mean_metrics(cases, prefix))
        if len(cases) > 1:
            found.update(case_metrics(cases, prefix))
    return rounded(found)


def counts(records: Iterable[TrialRecord]) -> dict[str, str]:
    """Return the number of trials by state, as tags."""
    found = Counter(record.state for record in records)
    return {state: str(found[state]) for state in STATUS}


def summary_tags(summary: Summary) -> dict[str, str]:
    """Return what the parent run says at the end of its trials and of itself."""
    tags = {str(state): str(count) for state, count in summary.counts.items()}
    tags["finished"] = str(summary.finished).lower()
    if summary.best is not None:
        tags["best_trial"] = str(summary.best.number)
    return tags
