"""What MLflow's pages say in words: the descriptions of an experiment and of a study's run.

Pure functions; nothing here talks to a store.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from urllib.parse import quote

from tuner.records import StudyInfo, Summary
from tuner.tracking import mlflow_runs, mlflow_views

BEST_NOTE = "The best trial of study "
EXPERIMENT_NOTE = "Tuning studies: a parent run is a study, a child run is a trial."
DRAWN_ANYWAY = ("history", "trade_off", "front", "importances", "slices")
"""Figures of the search, which MLflow's charts show much of."""

_MAX_IMAGES = 6


def experiment_note(study: StudyInfo, fragments: Mapping[str, str]) -> str:
    """Return the experiment's description: what it holds, and the way to the latest study."""
    label = mlflow_runs.study_label(study)
    return (
        f"{EXPERIMENT_NOTE} Latest study: **{label}**.\n\n"
        f"[Trials of {label}, best first]({fragments['trials']}) · "
        f"[its charts]({fragments['charts']}) · [all studies]({fragments['studies']}) · "
        f"[compared]({fragments['studies charts']})"
    )


def study_note(
    study: StudyInfo,
    fragments: Mapping[str, str],
    summary: Summary,
    run_id: str,
    images: Sequence[PurePosixPath],
) -> str:
    """Return the parent run's description: result and links first (it folds after three lines).

    Parameters
    ----------
    study : StudyInfo
        The study.
    fragments : mapping
        What `mlflow_views.links` gave.
    summary : Summary
        How the study ended.
    run_id : str
        The parent run, whose artifacts `images` are.
    images : sequence of PurePosixPath
        Figures to show, as paths below the run's artifacts.
    """
    lines = [
        _result_line(study, summary),
        " · ".join(f"[{name}]({target})" for name, target in fragments.items() if name != "study"),
        *_found(study, summary, run_id, images),
    ]
    return _joined(lines)


def best_note(
    study: StudyInfo,
    fragments: Mapping[str, str],
    summary: Summary,
    run_id: str,
    images: Sequence[PurePosixPath],
) -> str:
    """Return the description of the best trial's run; parameters as of `study_note`."""
    label, page = mlflow_runs.study_label(study), fragments.get("study", "")
    lines = [f"{BEST_NOTE}[{label}]({page}).", *_found(study, summary, run_id, images)]
    return _joined(lines)


def _joined(lines: Sequence[str]) -> str:
    """Return the blocks of a description, up to the first that MLflow has no room for."""
    text = ""
    for line in filter(None, lines):
        if len(text) + len(line) + 2 > mlflow_runs.MAX_TAG:
            break
        text += f"\n\n{line}" if text else line
    return text


def _found(
    study: StudyInfo, summary: Summary, run_id: str, images: Sequence[PurePosixPath]
) -> list[str]:
    return [
        *_result_table(study, summary),
        *(f"- {line}" for line in (*summary.verdict, *summary.notes)),
        *(
            f"![{image.stem}](get-artifact?path={quote(os.fsencode(image))}&run_uuid={run_id})"
            for image in _first(images)
        ),
    ]


def _first(images: Sequence[PurePosixPath]) -> Sequence[PurePosixPath]:
    """Return the images that are shown, the plug-in's before those that MLflow draws as well."""
    return sorted(images, key=lambda image: image.stem in DRAWN_ANYWAY)[:_MAX_IMAGES]


def _result_line(study: StudyInfo, summary: Summary) -> str:
    counts = ", ".join(f"{count} {state}" for state, count in summary.counts.items() if count)
    ended = "" if summary.finished else " Interrupted: run the same command again to go on."
    if summary.best is None:
        return f"No complete trial ({counts or 'no trials'}).{ended}"
    values = ", ".join(
        f"{name} = {summary.best.metrics[name]:.4g}"
        for name in mlflow_views.metric_names(study)
        if name in summary.best.metrics
    )
    return f"Best: trial {summary.best.number}, **{values}** ({counts}).{ended}"


def _result_table(study: StudyInfo, summary: Summary) -> list[str]:
    if summary.best is None:
        return []
    names = [name for name in mlflow_views.metric_names(study) if name in summary.best.metrics]
    held = mlflow_runs.mean_metrics(summary.held_out, "")
    rows = [
        ("best trial", summary.best.metrics),
        ("baseline", summary.baseline.metrics if summary.baseline else {}),
        ("best on held-out", held),
        ("baseline on held-out", mlflow_runs.mean_metrics(summary.held_out_baseline, "")),
    ]
    gap = "\u00a0\u00a0"  # MLflow sets tables without any space between their columns
    table = ["| | " + f"{gap}| ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for title, values in rows:
        if values:
            cells = (f"{values[name]:.4g}" if name in values else "" for name in names)
            table.append(f"| {title}{gap}| " + f"{gap}| ".join(cells) + " |")
    params = ", ".join(f"{name} = {value}" for name, value in summary.best.params.items())
    return ["\n".join(table), f"Setting: {params}"]


def figures(paths: Sequence[PurePosixPath]) -> list[PurePosixPath]:
    """Return those of an artifact folder's files that a description can show."""
    return [path for path in paths if path.suffix.lower() in {".png", ".jpg", ".jpeg"}]
