"""What the report of a study says: ``report.html``, ``trials.csv`` and what a later one is made of.

Tables and sentences are those that the terminal shows; figures are those of the study's folder.
"""

from __future__ import annotations

import csv
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import optuna

from tuner.config.load import Config
from tuner.config.objective import Objective
from tuner.export.provenance import stamp
from tuner.measure.noise import interval_of_mean
from tuner.records import CaseRecord, StudyInfo, Summary, TrialRecord
from tuner.report.page import Page, Picture, Section, Table, table_of, write_page
from tuner.report.trials import write_trials
from tuner.run.kept import REPORT, Kept, keep
from tuner.run.next_steps import next_steps, tuner_command
from tuner.run.rows import (
    HOSTS,
    HOSTS_NOTE,
    captions,
    final_captions,
    final_rows,
    host_rows,
    params_rows,
    result_rows,
    show_interval,
    show_metric,
    show_range,
)
from tuner.selection.findings import gains_of
from tuner.selection.made_plots import made
from tuner.selection.results import RunResult

TITLES = {
    "history": "every trial, and the best so far",
    "trade_off": "the metric against the time",
    "front": "the first two objectives",
    "importances": "which parameters mattered",
    "slices": "the objective against the most important parameters",
}
"""Figures of the engine, by file stem; all others are the plug-in's."""

OWN_TABLES = ("nulls", "finalists")
ROWS, COLUMNS = 25, 14
"""Of a plug-in's table that are shown."""

TRACEBACKS = 10
LEAST = 10
"""Completed trials from which on the range of the best tenth means something."""


@dataclass(frozen=True)
class Story:
    """A study, as its report tells it."""

    config: Config
    info: StudyInfo
    study: optuna.Study
    result: RunResult

    @property
    def plots(self) -> Path:
        """Where the figures and tables of the run are."""
        return self.result.folder / "plots"


def keep_report(story: Story) -> None:
    """Write into the study's folder: its report, its trials, and its summary for a later report."""
    result = story.result
    keep(result.folder, Kept(story.info, result.summary))
    write_trials(result.folder, result.records)
    write_page(result.folder / REPORT, study_page(story, figure_files(story)))


def figure_files(story: Story) -> Mapping[str, Path]:
    """Return the engine's figures that the run drew, by name."""
    paths = [story.plots / f"{name}.png" for name in TITLES]
    return {path.stem: path for path in paths if path.is_file()}


def study_page(story: Story, drawn: Mapping[str, Path | bytes]) -> Page:
    """Return the report; `drawn` are the engine's figures by name, files or bytes."""
    result, objective = story.result, story.config.objective
    summary, records = result.summary, result.records
    counts = ", ".join(f"{count} {state}" for state, count in summary.counts.items() if count)
    figures = [Picture(TITLES[name], drawn[name]) for name in TITLES if name in drawn]
    sections = [
        Section("Verdict", [*summary.verdict, *summary.notes]),
        Section("Result", tables=[*_results(story)]),
        Section("Best params", tables=[*_params(story)]),
        Section("Pareto front", tables=[*_front(story)]),
        Section("The search", pictures=figures),
        _of_plugin(story),
        _uncompleted(records),
        Section("What was tuned on what", tables=[*_setup(story)]),
        _reproduce(story),
    ]
    subtitle = (
        f"plug-in {story.info.plugin}; {objective.goal}; trials: {counts or 'none'}; "
        f"written {stamp()}{'' if summary.finished else '; the study has not ended'}"
    )
    return Page(f"Study {result.study}", subtitle, sections)


def _results(story: Story) -> Iterator[Table]:
    summary, objective = story.result.summary, story.config.objective
    if summary.best is None:
        return
    meaning = story.config.plugin.meanings.get(objective.primary, "")
    notes = list(captions(summary, objective, meaning))
    yield Table(*result_rows(summary, objective), f"Trial {summary.best.number}, by case", notes)
    yield Table(*gain_rows(summary, objective), "Gain over the baseline", GAIN_NOTES)
    if summary.final is not None:
        notes = list(final_captions(summary, objective))
        yield Table(*final_rows(summary, objective), "Finalists, timed again", notes)
    if len(summary.hosts) > 1:
        yield Table(*host_rows(summary.hosts), HOSTS.capitalize(), [HOSTS_NOTE])


GAIN_NOTES = (
    "interval of a metric: 95 % of the mean over cases, by Student's t; none for one case",
    "interval of speed-up and score: 95 %, by the noise of timing, the baseline's included",
)


def gain_rows(
    summary: Summary, objective: Objective
) -> tuple[Sequence[str], Sequence[Sequence[str]]]:
    """Return headers and rows of what the best trial gains over the baseline."""
    headers = ["", "cases", "baseline", "best", "gain", "95 % interval"]
    best, baseline, name = summary.best, summary.baseline, objective.primary
    if best is None or baseline is None:
        return headers, []
    rows = []
    for title, cases, beside in (
        (f"{name}, tuned cases", best.cases, baseline.cases),
        (f"{name}, held-out cases", summary.held_out, summary.held_out_baseline),
    ):
        if cases and beside:
            gains = gains_of(cases, beside, objective)
            means = (_mean(cases, name), _mean(beside, name), sum(gains) / len(gains))
            shown = [show_metric(means[1]), show_metric(means[0]), f"{means[2]:+.4f}"]
            rows.append([title, str(len(cases)), *shown, show_interval(interval_of_mean(gains))])
    for name in ("speedup", "score"):
        if name in best.metrics and name in baseline.metrics:
            ends = [best.metrics.get(f"{name}_{end}") for end in ("low", "high")]
            known = (ends[0], ends[1]) if ends[0] is not None and ends[1] is not None else None
            values = [baseline.metrics[name], best.metrics[name]]
            gain = f"{values[1] - values[0]:+.4g}" if name == "score" else f"x {values[1]:.4g}"
            shown = [*(f"{value:.4g}" for value in values), gain, show_interval(known)]
            rows.append([f"{name}, tuned cases", str(len(best.cases)), *shown])
    return headers, rows


def _mean(cases: Sequence[CaseRecord], name: str) -> float:
    return sum(case.metrics[name] for case in cases) / len(cases)


def _params(story: Story) -> Iterator[Table]:
    """Return the best params, each beside its range and what the best tenth of the trials have."""
    best, objective = story.result.summary.best, story.config.objective
    if best is None:
        return
    complete = [r for r in story.result.records if r.state == "complete" and not r.is_baseline]
    name, sign = objective.ranked_by(complete or [best])
    complete.sort(key=lambda record: -sign * record.metrics[name])
    top = complete[: max(5, len(complete) // 10)] if len(complete) >= LEAST else []
    rows = []
    for row in params_rows(best, story.info.search_space):
        values = [record.searched[row[0]] for record in top if row[0] in record.searched]
        rows.append([*row, _spread(values) if row[0] in best.searched else ""])
    headers = ["parameter", "value", "", f"in the {len(top)} best trials" if top else ""]
    yield table_of(headers, rows, f"Trial {best.number}")


def _spread(values: Sequence[object]) -> str:
    """Return what values a parameter has: a range, or each choice with how often it is there."""
    numbers = [v for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
    if numbers and len(numbers) == len(values):
        return f"{min(numbers):.4g} to {max(numbers):.4g}"
    counts = {str(value): values.count(value) for value in values}
    ordered = sorted(counts, key=lambda text: -counts[text])
    return ", ".join(f"{text} ({counts[text]})" for text in ordered)


def _front(story: Story) -> Iterator[Table]:
    """Return the trials that no other beats in every objective, where there are several."""
    names = list(story.config.objectives)
    if len(names) < 2:
        return
    numbers = {trial.number for trial in story.study.best_trials}
    front = [record for record in story.result.records if record.number in numbers]
    front.sort(key=lambda record: record.metrics[names[0]])
    searched = list(story.info.search_space)
    best = story.result.summary.best
    rows = [
        [
            f"{r.number}{' (frozen)' * (best is not None and best.number == r.number)}",
            *(f"{r.metrics[name]:.6g}" for name in names),
            *(_shown(r.params.get(name, "")) for name in searched),
        ]
        for r in front
    ]
    note = "to freeze another one: export.select: NUMBER, then tuner export"
    yield Table(["trial", *names, *searched], rows, "As the search measured them", [note])


def _shown(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _of_plugin(story: Story) -> Section:
    """Return what the plug-in drew and tabulated of the best params, where this run made it."""
    pictures, tables = [], []
    for path in made(story.plots) if story.result.summary.artifacts else ():
        title = path.stem.replace("_", " ")
        if path.suffix == ".png" and path.stem not in TITLES:
            pictures.append(Picture(title, path))
        elif path.suffix == ".csv" and path.stem not in OWN_TABLES:
            tables.append(_read_table(path, title))
    return Section(f"What {story.info.plugin} shows of it", (), tables, pictures)


def _read_table(path: Path, title: str) -> Table:
    with path.open(newline="", encoding="utf-8", errors="replace") as stream:
        headers, *rows = list(itertools.islice(csv.reader(stream), ROWS + 2)) or [[]]
    cut = len(headers) > COLUMNS or len(rows) > ROWS
    notes = [f"the beginning; all of it is in {path}"] if cut else []
    shown = [[_rounded(cell) for cell in row[:COLUMNS]] for row in rows[:ROWS]]
    return Table(headers[:COLUMNS], shown, title, notes)


def _rounded(cell: str) -> str:
    try:
        return f"{float(cell):.6g}"
    except ValueError:
        return cell


def _uncompleted(records: Sequence[TrialRecord]) -> Section:
    ended = [record for record in records if record.state != "complete"]
    rows, texts = [], list[tuple[str, str]]()
    for record in ended:
        first, _, rest = (record.reason or "no reason known").partition("\n")
        params = ", ".join(f"{name} {_shown(value)}" for name, value in record.searched.items())
        rows.append([str(record.number), record.state, first, params])
        if rest and len(texts) < TRACEBACKS:
            texts.append((f"trial {record.number}: {first}", rest))
    tables = [table_of(["trial", "state", "reason", "params"], rows)]
    return Section("Trials that did not complete", tables=tables, texts=texts)


def _setup(story: Story) -> Iterator[Table]:
    config, info, summary = story.config, story.info, story.result.summary
    study = config.engine.study
    cases = summary.best.cases if summary.best else ()
    files = [f"{name} (sha256 {digest} ...)" for name, digest in config.input_files.items()]
    more = [f"and {len(files) - ROWS} more"] if len(files) > ROWS else []
    rows = [
        ["plug-in", info.plugin],
        ["objective", ", ".join(f"{way} {name}" for name, way in info.objectives.items())],
        ["tuned on", "\n".join(case.name for case in cases)],
        ["held out", "\n".join(case.name for case in summary.held_out) or "none"],
        ["input files", "\n".join([*files[:ROWS], *more]) or "none"],
        ["fingerprint of the data", info.fingerprint],
        ["sampler", f"{study.sampler.name}, seed {study.seed}"],
        ["trials", f"{study.trials} asked for"],
        ["storage", info.storage],
        ["versions", ", ".join(f"{name} {version}" for name, version in info.versions.items())],
        ["git commit", info.git_commit or "not in a checkout"],
    ]
    yield table_of(["", ""], rows)
    space = [[name, show_range(entry)] for name, entry in info.search_space.items()]
    space += [[name, f"fixed: {value}"] for name, value in config.space.fixed.items()]
    yield table_of(["parameter", "searched over"], space, "Search space")


def _reproduce(story: Story) -> Section:
    path, tuner = story.config.document.path, tuner_command()
    lines = [
        f"{tuner} run {path}: resumes this study, or runs it anew where its storage is not there",
        f"{tuner} report {path}: writes this page again",
        *(line.strip() for line in next_steps(story.result, story.config)),
    ]
    return Section("How to reproduce", lines, texts=[("the configuration", story.config.text)])
