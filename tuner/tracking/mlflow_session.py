"""One study's connection to an MLflow store: a parent run and its child runs."""

from __future__ import annotations

import getpass
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from tuner.config.text import cleaned, cleaned_data
from tuner.records import StudyInfo, Summary, TrialRecord
from tuner.tracking import (
    mlflow_curve,
    mlflow_file,
    mlflow_inputs,
    mlflow_notes,
    mlflow_runs,
    mlflow_views,
)
from tuner.tracking.mlflow_client import (
    COMPARED,
    experiment_id,
    find_parent,
    log_files,
    open_client,
    store_trouble,
)
from tuner.tracking.outbox import StoreTrouble

if TYPE_CHECKING:
    from mlflow.entities import Metric

_PAGE = 1000
_BATCHES = 800, 90, 90
"""Metrics, params and tags in one call: MLflow takes 100 of the latter and 1000 in all."""


class MlflowSession:
    """One study's connection to an MLflow store; see `tuner.tracking.session.Session`."""

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
        self._file = mlflow_file.file_store(self._client)
        with store_trouble():
            self._experiment_id = experiment_id(self._client, uri, experiment)
            self.parent = self._adopt_or_open(mlflow_runs.milliseconds(began))
            self._children: dict[int, str] = {}
            curve = self._client.get_metric_history(self.parent, mlflow_curve.BEST_SO_FAR)
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
            run_id = self._create_run(began, tags, name)
            held = dict[str, str]()
        params = mlflow_runs.study_params(study)
        # MLflow never overwrites a param: what a resumed study changed (more trials) becomes a tag
        changed = {f"resumed.{k}": v for k, v in params.items() if k in held and held[k] != v}
        new = {name: value for name, value in params.items() if name not in held}
        self._log(
            run_id, params=new, tags={k: v[: mlflow_runs.MAX_TAG] for k, v in changed.items()}
        )
        return run_id

    def _create_run(self, began: int, tags: Mapping[str, str], name: str) -> str:
        tags, name = cleaned_data(tags), cleaned(name)
        return str(self._client.create_run(self._experiment_id, began, tags, name).info.run_id)

    def known(self) -> set[int]:
        """Return the trials that are whole; remember those begun, remove what is there twice."""
        whole: dict[int, str] = {}
        begun: dict[int, str] = {}
        with store_trouble():
            for run_id, status, number in self._trial_runs():
                place = begun if status == "RUNNING" else whole
                if number in place:
                    self._client.delete_run(run_id)
                else:
                    place[number] = run_id
            for number in whole.keys() & begun.keys():
                self._client.delete_run(begun.pop(number))
        self._children = {**begun, **whole}
        return set(whole)

    def _trial_runs(self) -> list[tuple[str, str, int]]:
        """Return the trials' runs: id, status and number of the trial."""
        if self._file is not None:
            return mlflow_file.trial_runs(self._file, self.parent, mlflow_runs.TRIAL_ROLE)
        role = f"tags.role = '{mlflow_runs.TRIAL_ROLE}'"
        wanted = f"tags.`mlflow.parentRunId` = '{self.parent}' and {role}"
        found: list[tuple[str, str, int]] = []
        token = None
        while True:
            page = self._client.search_runs(
                [self._experiment_id], wanted, max_results=_PAGE, page_token=token
            )
            found += [
                (run.info.run_id, run.info.status, int(run.data.tags["trial"])) for run in page
            ]
            token = page.token
            if not token:
                return found

    def send_all(self, records: Sequence[TrialRecord]) -> set[int]:
        """Log new trials at once, where the store is a file; return which it has now."""
        new = [record for record in records if record.number not in self._children]
        if self._file is None or not new:
            return set()
        runs = {record.number: self._run(record) for record in new}
        try:
            with store_trouble():
                if not mlflow_file.write_runs(self._file, self._experiment_id, [*runs.values()]):
                    return set()
        except StoreTrouble:  # which of them it is shows when they are sent one by one
            return set()
        self._children.update({number: run.id for number, run in runs.items()})
        return set(runs)

    def _run(self, record: TrialRecord) -> mlflow_file.EndedRun:
        study, ended = self._study, mlflow_runs.milliseconds(record.finished)
        return mlflow_file.EndedRun(
            name=cleaned(mlflow_runs.trial_label(study, record)),
            tags=cleaned_data({**mlflow_runs.trial_tags(study, record, self.parent), **_user()}),
            params=cleaned_data(mlflow_runs.trial_params(record, study.search_space)),
            metrics=_metrics(mlflow_runs.trial_metrics(record), ended),
            status=mlflow_runs.STATUS[record.state],
            started=mlflow_runs.milliseconds(record.started),
            ended=ended,
        )

    def send(self, record: TrialRecord) -> None:
        """Log one trial: the run is ended last, so that one that runs is known to be half there."""
        run = self._run(record)
        with store_trouble():
            if record.number not in self._children:
                self._children[record.number] = self._create_run(run.started, run.tags, run.name)
            run_id = self._children[record.number]
        with store_trouble(f"trial {record.number}"):
            self._log(run_id, run.metrics, run.params, run.tags)
        with store_trouble():
            self._client.set_terminated(run_id, run.status, run.ended)

    def update(self, records: Sequence[TrialRecord]) -> None:
        """Bring the parent's curve of the best so far up to date, and its metrics where it rose."""
        points: list[Metric] = []
        for step, at, values in mlflow_curve.parent_curve(self._study, records):
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
            self.links = self._links(summary, records)
            metrics = mlflow_runs.summary_metrics(self._study, summary)
            step = len(records)  # the last step of the curve: it is what tables show
            images = mlflow_notes.figures(files)
            about = (self._study, self.links, summary, self.parent, images)
            self._mark_best(summary, records, mlflow_notes.best_note(*about))
            note = mlflow_notes.study_note(*about)
            tags = {**mlflow_runs.summary_tags(summary), mlflow_runs.NOTE_TAG: note}
            self._log(self.parent, _metrics(metrics, now, step), tags=tags)
            self._present()
        problems += self._log_inputs(summary, files)
        with store_trouble():
            status = "FINISHED" if summary.finished else "KILLED"
            self._client.set_terminated(self.parent, status, now)
        return problems

    def _log_inputs(self, summary: Summary, files: Sequence[PurePosixPath]) -> list[str]:
        """Log the data, and register the script; give what a store without these refuses."""
        study, problems = self._study, list[str]()
        try:
            with store_trouble():
                best = self._children.get(summary.best.number) if summary.best else None
                for run_id in filter(None, (self.parent, best)):
                    inputs = mlflow_inputs.dataset_inputs(study, summary)
                    self._client.log_inputs(run_id, inputs)
        except StoreTrouble as trouble:
            problems.append(f"the study's datasets are not in the store: {trouble}")
        script = mlflow_inputs.script_of(study, files)
        try:
            if summary.finished and summary.best is not None and script is not None:
                with store_trouble():
                    about = (study, self.parent, summary, script)
                    mlflow_inputs.register_script(self._client, *about)
        except StoreTrouble as trouble:
            problems.append(f"the script is not in the model registry: {trouble}")
        return problems

    def _mark_best(self, summary: Summary, records: Sequence[TrialRecord], note: str) -> None:
        """Tag, colour and describe the best trial; take it from the one that was best before."""
        wanted = f"tags.`mlflow.parentRunId` = '{self.parent}' and tags.best = 'true'"
        best = summary.best
        best_id = self._children.get(best.number) if best else None
        by_number = {record.number: record for record in records}
        for run in self._client.search_runs([self._experiment_id], wanted):
            number = int(run.data.tags["trial"])
            if run.info.run_id != best_id and number in by_number:
                self._client.delete_tag(run.info.run_id, "best")
                plain = mlflow_runs.colour(self._study, by_number[number])
                tags = {"mlflow.runColor": plain}
                if run.data.tags.get(mlflow_runs.NOTE_TAG, "").startswith(mlflow_notes.BEST_NOTE):
                    tags[mlflow_runs.NOTE_TAG] = ""
                self._log(run.info.run_id, tags=tags)
        if best_id:
            strong = mlflow_runs.colour(self._study, best, best=True)
            tags = {"best": "true", "mlflow.runColor": strong, mlflow_runs.NOTE_TAG: note}
            self._log(best_id, tags=tags)

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
        if not held or held.startswith(mlflow_notes.EXPERIMENT_NOTE):
            tags[mlflow_runs.NOTE_TAG] = mlflow_notes.experiment_note(self._study, self.links)
        for name, value in tags.items():
            self._client.set_experiment_tag(self._experiment_id, name, cleaned(value))

    def _log(
        self,
        run_id: str,
        metrics: Sequence[Metric] = (),
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Log in as few calls as MLflow allows."""
        from mlflow.entities import Param, RunTag

        waiting: tuple[Iterator[Any], ...] = (
            iter(metrics),
            iter([Param(*pair) for pair in cleaned_data(params or {}).items()]),
            iter([RunTag(*pair) for pair in cleaned_data(tags or {}).items()]),
        )
        while any(batch := [list(islice(*pair)) for pair in zip(waiting, _BATCHES, strict=True)]):
            # whatever MLFLOW_ENABLE_ASYNC_LOGGING says: what is confirmed here is in the store
            self._client.log_batch(run_id, *batch, synchronous=True)


def _metrics(values: Mapping[str, float], at: int, step: int = 0) -> list[Metric]:
    from mlflow.entities import Metric

    return [Metric(name, value, at, step) for name, value in values.items()]


def _user() -> dict[str, str]:
    try:
        return {"mlflow.user": getpass.getuser()}
    except (KeyError, OSError):  # no such user in /etc/passwd: usual in containers
        return {}
