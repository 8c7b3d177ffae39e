"""How a study stands that has run, is running, or was interrupted: its report, written again."""

from __future__ import annotations

import collections
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from tuner.config.load import Config
from tuner.export.ownership import read_mark
from tuner.records import Summary, TrialRecord, baseline_of
from tuner.report.page import write_page
from tuner.report.trials import write_trials
from tuner.run import session
from tuner.run.check import owner_of
from tuner.run.describe import describe
from tuner.run.kept import REPORT, kept_summary
from tuner.run.report import Story, figure_files, study_page
from tuner.search.changes import space_of
from tuner.search.clocks import host_clocks
from tuner.search.plan import plan_of
from tuner.search.record_json import records_of
from tuner.search.storage import read_study
from tuner.selection.findings import edges, no_gain, uncompleted
from tuner.selection.finish import script_path
from tuner.selection.results import RunResult
from tuner.tracking.tracker import TrackingReport

NOT_ENDED = (
    "as the trials stand: held-out cases, the null and the final times are measured when the study "
    "ends, and are not known here"
)


def standing(config: Config) -> Story:
    """Return the study of `config` as it stands; `InputError` where there is none.

    What the last run ended with is read from the study's folder, if the trials are still those.
    """
    study = read_study(config)
    records = records_of(study)
    owner = owner_of(config, plan_of(study))
    folder = owner.folder
    mark = read_mark(folder)
    is_ours = mark is not None and mark.is_same(owner)
    summary = kept_summary(folder, records) if is_ours else None
    if summary is None:
        summary = _so_far(config, records)
    summary = replace(summary, hosts=host_clocks(study, records, config.task.alike))
    script = config.engine.export.path or script_path(folder, study.study_name)
    result = RunResult(
        study.study_name,
        "complete" if summary.finished else "interrupted",
        summary,
        TrackingReport(),
        folder,
        script if summary.finished and script.is_file() else None,
        records,
    )
    info = replace(describe(config, study), search_space=space_of(study, config))
    return Story(config, info, study, result)


def report(config: Config, path: Path | None = None) -> Path:
    """Write the report of a study to `path`, by default into the study's folder; return where."""
    story = standing(config)
    page = study_page(story, _figures(story))
    if path is None:
        path = story.result.folder / REPORT
        path.parent.mkdir(parents=True, exist_ok=True)
        write_trials(path.parent, story.result.records)
    write_page(path, page)
    return path


def _so_far(config: Config, records: Sequence[TrialRecord]) -> Summary:
    """Return what is known of a study from its trials alone."""
    complete = [record for record in records if record.state == "complete"]
    best = session.best(config)[1] if complete else None
    counts = collections.Counter(record.state for record in records)
    summary = Summary(best, baseline_of(records), counts, finished=False, notes=[NOT_ENDED])
    found = [*no_gain(summary, config.objective), *uncompleted(records)]
    if best is not None and not best.is_baseline:
        found += edges(best.searched, best.params, config.task)
    return replace(summary, verdict=found)


def _figures(story: Story) -> Mapping[str, Path | bytes]:
    """Return the engine's figures: those of the run where it has ended, else drawn now."""
    if story.result.summary.finished and (files := figure_files(story)):
        return files
    from tuner.report.figures import StudyFigure, draw_study

    result = story.result
    figures = draw_study(story.study, result.records, story.config.objective, result.summary.best)
    return {
        name: figure._repr_png_()
        for name, figure in figures.items()
        if isinstance(figure, StudyFigure)
    }
