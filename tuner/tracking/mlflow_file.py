"""Child runs in an MLflow store that is a SQLite file: many at a time, in one transaction.

MLflow's own calls take seven transactions a run, each with a look at the run. What is written here
is what these calls write, row by row (`tests/tracking/test_mlflow_file.py` compares).
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

AT_ONCE = 200
"""Runs in one transaction: others wait for its end."""


@dataclass(frozen=True)
class EndedRun:
    """A run that is over: what MLflow is told of it."""

    name: str
    tags: Mapping[str, str]
    params: Mapping[str, str]
    metrics: Sequence[Metric]
    status: str
    started: int
    ended: int
    id: str = field(default_factory=lambda: uuid.uuid4().hex)


def file_store(client: MlflowClient) -> SqlAlchemyStore | None:
    """Return the store behind a client where it is a SQLite file; None for all others."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    store = client._tracking_client.store
    is_file = type(store) is SqlAlchemyStore and store.db_type == "sqlite"
    return store if is_file else None


def write_runs(store: SqlAlchemyStore, experiment_id: str, runs: Sequence[EndedRun]) -> bool:
    """Write runs into an experiment, all or none; return False where it is deleted.

    Raises
    ------
    MlflowException, SQLAlchemyError
        As MLflow's own calls; nothing is written then.
    """
    from mlflow.store.tracking.dbmodels import models
    from sqlalchemy import insert

    experiment = store.get_experiment(experiment_id)
    if experiment.lifecycle_stage != "active":
        return False
    rows: dict[Any, list[Mapping[str, Any]]] = {
        model: []
        for model in (
            models.SqlRun,
            models.SqlTag,
            models.SqlParam,
            models.SqlMetric,
            models.SqlLatestMetric,
        )
    }
    for run in runs:
        rows[models.SqlRun].append(_run(run, experiment))
        for model, row in _parts(run, models):
            rows[model].append({"run_uuid": run.id, **row})
    with store.ManagedSessionMaker(read_only=False) as session:
        for model, found in rows.items():
            if found:
                session.execute(insert(model.__table__), found)
    return True


def _run(run: EndedRun, experiment: Any) -> Mapping[str, Any]:
    from mlflow.utils.uri import append_to_uri_path

    return {
        "run_uuid": run.id,
        "name": run.name,
        "artifact_uri": append_to_uri_path(experiment.artifact_location, run.id, "artifacts"),
        "experiment_id": int(experiment.experiment_id),
        "source_type": "UNKNOWN",
        "source_name": "",
        "entry_point_name": "",
        "source_version": "",
        "user_id": run.tags.get("mlflow.user", "unknown"),
        "status": run.status,
        "start_time": run.started,
        "end_time": run.ended,
        "lifecycle_stage": "active",
    }


def _parts(run: EndedRun, models: Any) -> Iterator[tuple[Any, Mapping[str, Any]]]:
    """Return what goes into the other tables, checked as MLflow checks it."""
    from mlflow.entities import Param, RunTag
    from mlflow.utils.validation import _validate_batch_log_data

    tags = [RunTag(*pair) for pair in {**run.tags, "mlflow.runName": run.name}.items()]
    given = [Param(*pair) for pair in run.params.items()]
    metrics, params, tags = _validate_batch_log_data(run.metrics, given, tags)
    for tag in tags:
        yield models.SqlTag, {"key": tag.key, "value": tag.value}
    for param in params:
        yield models.SqlParam, {"key": param.key, "value": param.value}
    for metric in metrics:
        when = {"timestamp": metric.timestamp, "step": metric.step}
        row = {"key": metric.key, "value": metric.value, "is_nan": False, **when}
        yield models.SqlMetric, row
        yield models.SqlLatestMetric, row


def trial_runs(store: SqlAlchemyStore, parent: str, role: str) -> list[tuple[str, str, int]]:
    """Return the child runs of a study that have a role: id, status and trial, newest first."""
    from mlflow.store.tracking.dbmodels.models import SqlRun, SqlTag
    from sqlalchemy import select
    from sqlalchemy.orm import aliased

    marks = {"mlflow.parentRunId": parent, "role": role}
    trial = aliased(SqlTag)
    found = (
        select(SqlRun.run_uuid, SqlRun.status, trial.value)
        .join(trial, trial.run_uuid == SqlRun.run_uuid)
        .where(trial.key == "trial", SqlRun.lifecycle_stage == "active")
        .order_by(SqlRun.start_time.desc(), SqlRun.run_uuid)
    )
    for name, value in marks.items():
        tag = aliased(SqlTag)
        found = found.join(tag, tag.run_uuid == SqlRun.run_uuid)
        found = found.where(tag.key == name, tag.value == value)
    with store.ManagedSessionMaker() as session:
        return [(run, status, int(number)) for run, status, number in session.execute(found)]
