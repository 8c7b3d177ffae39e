"""One study's connection to an MLflow store: the only module that imports MLflow.

MLflow takes 1.4 s to import and 2 s to make a new store, so it is imported where it is first used:
in the background thread of `tuner.tracking.outbox`.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from tuner.config.addresses import masked
from tuner.records import StudyInfo, Summary, TrialRecord
from tuner.tracking import mlflow_runs, mlflow_views
from tuner.tracking.mlflow_uri import (
    ARTIFACT_FOLDER,
    base_url,
    make_whole,
    sole_creator,
    sqlite_path,
)
from tuner.tracking.outbox import StoreTrouble

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric

_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_LOGGING_LEVEL": "CRITICAL",  # trouble is told by TrackingReport instead
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",  # the outbox retries; MLflow's 7 take four minutes
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
}
_REFUSALS = ("INVALID_PARAMETER_VALUE", "BAD_REQUEST")
_PAGE, _BATCH = 1000, 90
COMPARED = 5
_MAX_LINE = 300


class MlflowSession:
    """One study's connection to an MLflow store; see `tuner.tracking.outbox.Session`."""

    def __init__(
        self,
        uri: str,
        experiment: str,
        study: StudyInfo,
        began: datetime,
        alive: Callable[[], None],
    ) -> None:
        self._study = study
        self._alive = alive
        self._client = open_client(uri, alive)
        with store_trouble():
            self._experiment_id = _experiment_id(self._client, uri, experiment)
            self.parent = self._adopt_or_open(mlflow_runs.milliseconds(began))
            self._children: dict[int, str] = {}
            curve = self._client.get_metric_history(self.parent, mlflow_runs.BEST_SO_FAR)
            self._curve = {point.step for point in curve}
            self.links = self._links()
            self._present()

    def _adopt_or_open(self, began: int) -> str:
        study = self._study
        parent = find_parent(self._client, self._experiment_id, study)
        if parent is not None:
            run_id = str(parent.info.run_id)
            self._client.update_run(run_id, status="RUNNING")
            held = parent.data.params
        else:
            tags = {**mlflow_runs.study_tags(study), **_user()}
            name = mlflow_runs.study_label(study)
            run = self._client.create_run(self._experiment_id, began, tags, name)
            run_id = str(run.info.run_id)
            held = dict[str, str]()
        params = mlflow_runs.study_params(study)
        # MLflow never overwrites a param: what a resumed study changed (more trials) becomes a tag
        changed = {f"resumed.{k}": v for k, v in params.items() if k in held and held[k] != v}
        new = {name: value for name, value in params.items() if name not in held}
        self._log(
            run_id, params=new, tags={k: v[: mlflow_runs.MAX_TAG] for k, v in changed.items()}
        )
        return run_id

    def known(self) -> set[int]:
        """Return the trials that are whole; remember those begun, remove what is there twice."""
        whole: dict[int, str] = {}
        begun: dict[int, str] = {}
        with store_trouble():
            for run in self._child_runs():
                number = int(run.data.tags["trial"])
                place = begun if run.info.status == "RUNNING" else whole
                if number in place:
                    self._client.delete_run(run.info.run_id)
                else:
                    place[number] = run.info.run_id
            for number in whole.keys() & begun.keys():
                self._client.delete_run(begun.pop(number))
        self._children = {**begun, **whole}
        return set(whole)

    def _child_runs(self) -> Iterator[Any]:
        role = f"tags.role = '{mlflow_runs.TRIAL_ROLE}'"
        wanted = f"tags.`mlflow.parentRunId` = '{self.parent}' and {role}"
        token = None
        while True:
            page = self._client.search_runs(
                [self._experiment_id], wanted, max_results=_PAGE, page_token=token
            )
            yield from page
            token = page.token
            if not token:
                return

    def send(self, record: TrialRecord) -> None:
        """Log one trial: the run is ended last, so that one that runs is known to be half there."""
        study, started = self._study, mlflow_runs.milliseconds(record.started)
        ended = mlflow_runs.milliseconds(record.finished)
        tags = {**mlflow_runs.trial_tags(study, record, self.parent), **_user()}
        with store_trouble():
            if record.number not in self._children:
                name = mlflow_runs.trial_label(study, record)
                run = self._client.create_run(self._experiment_id, started, tags, name)
                self._children[record.number] = run.info.run_id
            run_id = self._children[record.number]
        metrics = _metrics(mlflow_runs.trial_metrics(record), ended)
        params = mlflow_runs.trial_params(record, study.search_space)
        with store_trouble(f"trial {record.number}"):
            self._log(run_id, metrics, params, tags)
        with store_trouble():
            self._client.set_terminated(run_id, mlflow_runs.STATUS[record.state], ended)

    def update(self, records: Sequence[TrialRecord]) -> None:
        """Bring the parent's curve of the best so far up to date, and its metrics where it rose."""
        points: list[Metric] = []
        for step, at, values in mlflow_runs.parent_curve(self._study, records):
            if step not in self._curve:
                points += _metrics(values, at, step)
        with store_trouble():
            self._log(self.parent, points, tags=mlflow_runs.counts(records))
        self._curve.update(point.step for point in points)

    def close(self, summary: Summary, records: Sequence[TrialRecord]) -> list[str]:
        """Log how the study ended; safe to repeat. Give what could not be logged beside it."""
        now = round(time.time() * 1000)
        problems, files = log_files(self._client, self.parent, summary.artifacts, alive=self._alive)
        with store_trouble():
            self._mark_best(summary, records)
            self.links = self._links(summary, records)
            metrics = mlflow_runs.summary_metrics(self._study, summary)
            step = len(records)  # the last step of the curve: it is what tables show
            images = mlflow_views.figures(files)
            note = mlflow_views.study_note(self._study, self.links, summary, self.parent, images)
            tags = {**mlflow_runs.summary_tags(summary), mlflow_runs.NOTE_TAG: note}
            self._log(self.parent, _metrics(metrics, now, step), tags=tags)
            self._present()
            status = "FINISHED" if summary.finished else "KILLED"
            self._client.set_terminated(self.parent, status, now)
        return problems

    def _mark_best(self, summary: Summary, records: Sequence[TrialRecord]) -> None:
        """Tag and colour the best trial, and take both from the one that was best before."""
        wanted = f"tags.`mlflow.parentRunId` = '{self.parent}' and tags.best = 'true'"
        best = summary.best
        best_id = self._children.get(best.number) if best else None
        by_number = {record.number: record for record in records}
        for run in self._client.search_runs([self._experiment_id], wanted):
            number = int(run.data.tags["trial"])
            if run.info.run_id != best_id and number in by_number:
                self._client.delete_tag(run.info.run_id, "best")
                plain = mlflow_runs.colour(self._study, by_number[number])
                self._client.set_tag(run.info.run_id, "mlflow.runColor", plain)
        if best_id:
            strong = mlflow_runs.colour(self._study, best, best=True)
            self._log(best_id, tags={"best": "true", "mlflow.runColor": strong})

    def _links(
        self, summary: Summary | None = None, records: Sequence[TrialRecord] = ()
    ) -> dict[str, str]:
        ranked = [record.number for record in mlflow_runs.ranked(self._study, records)]
        first = [summary.best.number] if summary and summary.best else []
        wanted = [number for number in dict.fromkeys(first + ranked) if number in self._children]
        ids = [self._children[number] for number in wanted[:COMPARED]]
        return mlflow_views.links(
            self._experiment_id, mlflow_runs.study_key(self._study), self.parent, ids
        )

    def _present(self) -> None:
        """Write the saved views and the notes; a note that a user wrote is left alone."""
        tags = mlflow_views.saved_views(self._study, round(time.time() * 1000))
        held = self._client.get_experiment(self._experiment_id).tags.get(mlflow_runs.NOTE_TAG)
        if not held or held.startswith(mlflow_views.EXPERIMENT_NOTE):
            tags[mlflow_runs.NOTE_TAG] = mlflow_views.experiment_note(self._study, self.links)
        for name, value in tags.items():
            self._client.set_experiment_tag(self._experiment_id, name, value)

    def _log(
        self,
        run_id: str,
        metrics: Sequence[Metric] = (),
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Log in as few calls as MLflow allows: 100 params or tags, 1000 entities each."""
        from mlflow.entities import Param, RunTag

        waiting: tuple[Iterator[Any], ...] = (
            iter(metrics),
            iter([Param(name, value) for name, value in (params or {}).items()]),
            iter([RunTag(name, value) for name, value in (tags or {}).items()]),
        )
        while any(batch := [list(islice(entries, _BATCH)) for entries in waiting]):
            self._client.log_batch(run_id, *batch)


def log_files(
    client: MlflowClient,
    run_id: str,
    folder: Path | None,
    below: str = "",
    alive: Callable[[], None] = lambda: None,
) -> tuple[list[str], list[PurePosixPath]]:
    """Log every file in `folder` to a run; one that cannot be logged does not hold up the rest.

    Returns
    -------
    problems : list of str
        One line for each file that is not in the store.
    logged : list of PurePosixPath
        Names within `folder`; in the store they stand under `below`.
    """
    problems, logged = [], []
    for path in sorted(folder.rglob("*")) if folder is not None else ():
        if not path.is_file():
            continue
        name = PurePosixPath(path.relative_to(folder).as_posix())  # type: ignore[arg-type]
        place = PurePosixPath(below) / name.parent
        try:
            with store_trouble():
                client.log_artifact(run_id, str(path), None if place.name == "" else str(place))
        except StoreTrouble as trouble:
            problems.append(f"artifact {name} is not in the store: {trouble}")
        else:
            logged.append(name)
        alive()
    return problems, logged


def prepare() -> None:
    """Set MLflow's environment, where the user has not: quiet, no telemetry, short retries."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)


def open_client(uri: str, alive: Callable[[], None] = lambda: None) -> MlflowClient:
    """Import MLflow (1.4 s), open the store, create its tables where there are none (2 s)."""
    try:
        from mlflow import MlflowClient
    except ImportError as error:
        raise StoreTrouble(f"MLflow cannot be imported: {error}; install it again") from error
    alive()
    path = sqlite_path(uri)
    with store_trouble(), sole_creator(path) if path else contextlib.nullcontext() as is_new:
        if path and is_new:
            make_whole(path, lambda new: MlflowClient(new).search_experiments(max_results=1))
        client = MlflowClient(tracking_uri=uri)
        client.search_experiments(max_results=1)  # opens the store: the client itself is lazy
        return client


def _experiment_id(client: MlflowClient, uri: str, name: str) -> str:
    found = client.get_experiment_by_name(name)
    if found is not None and found.lifecycle_stage == "active":
        return str(found.experiment_id)
    if found is not None:
        raise StoreTrouble(
            f"experiment '{name}' is deleted in {masked(uri)}: restore it "
            f"(mlflow experiments restore --experiment-id {found.experiment_id}) "
            "or set tracking.experiment to another name"
        )
    # A server knows where its artifacts go. For a database MLflow would take ./mlruns.
    local = (
        None
        if base_url(uri)
        else (Path(ARTIFACT_FOLDER).resolve() / mlflow_runs.key(name)).as_uri()
    )
    return str(client.create_experiment(name, artifact_location=local))


def find_parent(client: MlflowClient, experiment_id: str, study: StudyInfo) -> Any | None:
    """Return a study's own run; None where there is none."""
    key, role = mlflow_runs.study_key(study), mlflow_runs.STUDY_ROLE
    wanted = f"tags.study_key = '{key}' and tags.role = '{role}'"
    oldest = ["attributes.start_time ASC"]
    found = client.search_runs([experiment_id], wanted, order_by=oldest, max_results=1)
    return found[0] if found else None


@contextlib.contextmanager
def store_trouble(values_of: str | None = None) -> Iterator[None]:
    """Turn what a store may raise into `StoreTrouble`; a bug of ours passes as it is.

    An error code that means bad values is a refusal only where `values_of` names whose: MLflow
    gives the same code for a run or an experiment that somebody deleted.
    """
    from alembic.util import CommandError
    from mlflow.exceptions import MlflowException
    from requests import RequestException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except MlflowException as error:
        refused = values_of is not None and error.error_code in _REFUSALS
        line = f"{values_of}: {_line(error)}" if refused else _line(error)
        raise StoreTrouble(line, refused=refused) from error
    except (
        RequestException,
        SQLAlchemyError,
        CommandError,
        sqlite3.Error,
        OSError,
        ImportError,
    ) as error:
        raise StoreTrouble(_line(error)) from error


def _line(error: Exception) -> str:
    if isinstance(error, ModuleNotFoundError):
        return f"the package '{error.name}' is not installed: pip install {error.name}"
    lines = masked(str(error).strip()).splitlines()
    return f"{type(error).__name__}: {lines[0][:_MAX_LINE]}" if lines else type(error).__name__


def _metrics(values: Mapping[str, float], at: int, step: int = 0) -> list[Metric]:
    from mlflow.entities import Metric

    return [Metric(name, value, at, step) for name, value in values.items()]


def _user() -> dict[str, str]:
    try:
        return {"mlflow.user": getpass.getuser()}
    except (KeyError, OSError):  # no such user in /etc/passwd: usual in containers
        return {}
