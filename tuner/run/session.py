"""One `tuner run` from end to end: open, run, present, freeze, track."""

from __future__ import annotations

import collections
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna

from tuner.config.load import Config
from tuner.config.objective import Objective
from tuner.config.reach import why_unwritable
from tuner.execution.executor import Executor
from tuner.execution.folders import sweep
from tuner.execution.jobs import Setup
from tuner.export.ownership import check_script, claim, stale_note
from tuner.plugin import InputError
from tuner.plugin.registry import executor as executor_of
from tuner.records import Summary, TrialRecord, baseline_of
from tuner.run.check import check, owner_of
from tuner.run.check import tracking_uri as _tracking_uri
from tuner.run.describe import describe
from tuner.run.report import Story, keep_report
from tuner.run.watch import Display, Watch
from tuner.search.changes import (
    fingerprint_of,
    note_on_changes,
    require_same_script,
    space_of,
)
from tuner.search.clocks import host_clocks, kept_machine
from tuner.search.lease import LeaseLost
from tuner.search.loop import Coordinator
from tuner.search.plan import plan_of
from tuner.search.record_json import records_of
from tuner.search.shared_executor import shared
from tuner.search.stopped import StudyStopped
from tuner.search.storage import enqueued_in, open_study, read_study
from tuner.selection.finalists import kept_final
from tuner.selection.findings import verdict
from tuner.selection.finish import (
    Finish,
    freeze_record,
    script_path,
    select,
)
from tuner.selection.measured import measured_trial
from tuner.selection.results import RunResult
from tuner.tracking.mlflow_pages import log_folder, study_links
from tuner.tracking.mlflow_ui import serve
from tuner.tracking.tracker import MlflowTracker, NullTracker, Tracker, TrackingReport

ANALYSIS = "analysis"
"""Folder of an analysis, below the study's and in the store."""


def run(
    config: Config, progress: Display, should_stop: Callable[[], bool], *, new: bool = False
) -> RunResult:
    """Run or resume the study of `config`, then present and freeze its best setting.

    Parameters
    ----------
    config : Config
        The configuration.
    progress : Display
        Where to show how it goes.
    should_stop : callable
        True once the user wants it to end after the running trials.
    new : bool
        Start a new study beside an existing one of the same name.

    Raises
    ------
    InputError
        For bad input, a changed configuration, or a study that another process runs.
    tuner.search.stopped.StudyStopped
        Where the baseline or too many trials in a row fail.
    """
    section = config.engine.study
    objective = config.objective
    notes = check(config, new=new)
    tracker = _make_tracker(config)
    study, storage = open_study(config, new)
    lease = storage.lease
    assert lease is not None
    sweep(Path.cwd())
    records = records_of(study)
    owner = owner_of(config, plan_of(study))
    claim(owner)
    try:
        executor = make_executor(config, study)
    except BaseException:
        lease.release()
        raise
    folder = owner.folder
    info = describe(config, study)
    tracker.start(info, records)
    progress.begin(study.study_name, section.trials, records)
    for note in notes:
        progress.note(note)
    watch = Watch(objective, records, progress, tracker, lease, should_stop)
    summary = Summary(None, None, {}, finished=False)
    export = None
    try:
        task = config.task
        executor = shared(executor, study, lease, progress.note)
        coordinator = Coordinator(task, study, storage, executor, watch, watch.should_stop)
        ending = coordinator.run()
        summary = _summarise(records, objective, finished=ending != "interrupted")
        if summary.finished:
            lease.end_search()
        if summary.finished and summary.best is not None:
            finish = Finish(task, study, coordinator, watch)
            summary, reason = finish.choose(replace(summary, notes=config.notes))
            lease.renew(force=True)  # what is written now is whoever's that holds it
            summary = finish.present(summary, folder)
            progress.phase("writing the script")
            assert summary.best is not None
            export = finish.export(config, owner, summary.best, reason)
        summary = replace(
            summary,
            notes=[*summary.notes, *_left(read_study(config) if storage.is_behind() else study)],
            verdict=verdict(task, summary, records, ending),
            hosts=host_clocks(study, records, task.alike),
        )
        if summary.finished:  # after an interrupt nobody waits for it: tuner report
            done = RunResult(
                study.study_name, ending, summary, TrackingReport(), folder, export, records
            )
            progress.phase("writing the report")
            keep_report(Story(config, info, study, done))
    except LeaseLost:
        ending = "failed"
        tracker.abandon()
        raise
    except BaseException as error:
        ending = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
        why = [str(error).partition("\n")[0]] if isinstance(error, StudyStopped) else []
        summary = replace(_summarise(records, objective, finished=False), notes=why)
        raise
    finally:
        try:
            executor.close()
            lease.release(ending)
            script = config.engine.export.path or script_path(folder, owner.study)
            if export is None and (
                stale := stale_note(script, config.document.path, config.engine.out)
            ):
                progress.note(stale)
            if config.engine.tracking.enabled:
                progress.phase("writing to the tracking store")
            report = tracker.finish(summary)
        finally:
            progress.end()
    return RunResult(study.study_name, ending, summary, report, folder, export, records)


def _left(study: optuna.Study) -> list[str]:
    """Return a note where enqueued trials wait that came after the search."""
    count = enqueued_in(study)
    waits = "1 enqueued trial waits" if count == 1 else f"{count} enqueued trials wait"
    return [f"{waits}, for the search was over: run the same command again"] if count else []


def best(config: Config) -> tuple[str, TrialRecord, Sequence[TrialRecord]]:
    """Return the study's name, the trial to freeze and all records; `InputError` where none is."""
    name, record, records, _ = _chosen(config)
    return name, record, records


def changed(config: Config) -> list[str]:
    """Return what is to be known of the study beside its trials: what has changed since it ran."""
    return note_on_changes(read_study(config), config)


def searched(config: Config) -> Mapping[str, Mapping[str, Any]]:
    """Return the search space that the study was run with, as plain data."""
    return space_of(read_study(config), config)


def _chosen(config: Config) -> tuple[str, TrialRecord, Sequence[TrialRecord], str]:
    """Return what `best` gives, and why it is not the best by the objective, where it is not."""
    study = read_study(config)
    records = records_of(study)
    record = config.objective.best(records)
    final = kept_final(study, records)
    if final is not None:
        record = final.first_of(records)
    if record is None:
        first = f"tuner run {shlex.quote(str(config.document.path))}"
        raise InputError(f"study '{study.study_name}' has no completed trial yet; first: {first}")
    record, reason = select(config.task, records, record, final)
    stated = measured_trial(record, baseline_of(records), final, config.objective)
    return study.study_name, stated, records, reason


def export(config: Config, path: Path | None = None) -> tuple[TrialRecord, Path]:
    """Freeze the best setting of the study into a script; return its trial and the script.

    By default it goes where `run` writes it.
    """
    _, record, _, reason = _chosen(config)
    study = read_study(config)
    require_same_script(study, config, record)
    owner = owner_of(config, plan_of(study))
    key = "export.path" if path is None else "-o"
    path = path or config.engine.export.path or script_path(owner.folder, owner.study)
    check_script(path, owner, key)
    if path.is_relative_to(owner.folder):
        path.parent.mkdir(parents=True, exist_ok=True)
    freeze_record(config, owner, record, path, reason, fingerprint_of(study, config))
    return record, path


def analyse(config: Config, folder: Path | None = None) -> tuple[TrialRecord, Path, list[str]]:
    """Do what comes after the best setting, into `folder`; log it where studies are tracked.

    Returns
    -------
    record : TrialRecord
        The trial whose setting it is.
    folder : Path
    problems : list of str
        What of it is not in the tracking store, a line each.
    """
    name, record, _ = best(config)
    folder = folder or config.engine.out / name / ANALYSIS
    if trouble := why_unwritable(folder):
        raise InputError(f"the analysis goes to {folder}: {trouble}")
    folder.mkdir(parents=True, exist_ok=True)
    config.plugin.analyse(record.params, folder)
    if not config.engine.tracking.enabled:
        return record, folder, []
    study = describe(config, read_study(config))
    uri = _tracking_uri(config)
    return record, folder, log_folder(uri, _experiment(config), study, folder, ANALYSIS)[1]


def show(config: Config, port: int | None, open_browser: bool) -> None:
    """Serve MLflow's UI, opened on the study's trials, until interrupted."""
    uri = _tracking_uri(config)
    links = study_links(uri, _experiment(config), describe(config, read_study(config)))
    landing = next(iter(links.values()))
    serve(uri, landing=landing, port=port, open_browser=open_browser, links=links)


def _experiment(config: Config) -> str:
    return config.engine.tracking.experiment or config.engine.plugin


def _make_tracker(config: Config) -> Tracker:
    if not config.engine.tracking.enabled:
        return NullTracker()
    return MlflowTracker(_tracking_uri(config), _experiment(config), config.engine.out / "unsent")


def make_executor(config: Config, study: optuna.Study) -> Executor:
    """Return the executor that a configuration asks for, for a study that is there."""
    limits, task = config.engine.limits, config.task
    sections = config.plugin.config.model_dump()  # as it is: a function, say, has no plain data
    name, phase_time = config.engine.plugin, limits.phase_time
    bound = task.compares_times and task.baseline is None  # nothing tells one host from another
    kind = kept_machine(study) if bound else None
    setup = Setup(name, sections, limits.threads, machine=kind, phase_seconds=phase_time)
    make = executor_of(config.engine.executor.kind, config.engine.executor.options)
    made: Executor = make(setup, config.engine.workers, limits.case_time, limits.memory)
    return made


def _summarise(records: Sequence[TrialRecord], objective: Objective, finished: bool) -> Summary:
    return Summary(
        best=objective.best(records),
        baseline=baseline_of(records),
        counts=collections.Counter(record.state for record in records),
        finished=finished,
    )
