"""Several studies side by side: by their configurations, or by the names of their folders."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuner.config.load import Config
from tuner.config.objective import Objective
from tuner.export.ownership import OUT
from tuner.measure.noise import interval_of_mean
from tuner.plugin import InputError
from tuner.records import CaseRecord, StudyInfo, Summary
from tuner.report.console import show_duration
from tuner.report.page import Page, Picture, Section, Table, write_page
from tuner.run.kept import SUMMARY, read_kept
from tuner.run.rows import show_interval, show_metric
from tuner.run.standing import standing
from tuner.selection.findings import gains_of
from tuner.selection.results import plain_record


@dataclass(frozen=True)
class Compared:
    """A study among others: what it is, how it stands, and where its figures are."""

    info: StudyInfo
    summary: Summary
    folder: Path

    @property
    def objective(self) -> Objective:
        """Return the study's objective."""
        return Objective(self.info.metrics, self.info.objectives, self.info.primary)


def find(given: str, load: Callable[[Path], Config]) -> Compared:
    """Return the study that a configuration file, or the name of a folder below out/, means.

    Parameters
    ----------
    given : str
        A path or a name.
    load : callable
        Reads a configuration.

    Raises
    ------
    InputError
        Where it is neither; the names that there are stand in the message.
    """
    if Path(given).is_file():
        story = standing(load(Path(given)))
        return Compared(story.info, story.result.summary, story.result.folder)
    folder = OUT / given
    if given and Path(given).name == given and (kept := read_kept(folder)) is not None:
        return Compared(kept.info, kept.summary, folder)
    names = sorted(path.parent.name for path in OUT.glob(f"*/{SUMMARY}"))
    there = f"; studies that have ended here: {', '.join(names)}" if names else ""
    raise InputError(
        f"'{given}' is neither a configuration file nor a study that has ended below {OUT}{there}"
    )


def compared_rows(studies: Sequence[Compared]) -> tuple[list[str], list[list[str]]]:
    """Return headers and rows: a quantity each, a study a column; '-' where one has no such."""
    columns = [dict(_quantities(study)) for study in studies]
    names = list(dict.fromkeys(name for column in columns for name in column))
    params = [name for name in names if name.startswith("param ")]
    names = [name for name in names if name not in params] + params
    rows = [[name, *(column.get(name, "-") for column in columns)] for name in names]
    return ["", *(study.info.name for study in studies)], rows


def _quantities(study: Compared) -> Iterator[tuple[str, str]]:
    info, summary = study.info, study.summary
    best, baseline, name = summary.best, summary.baseline, info.primary
    yield "plug-in", info.plugin
    yield "objective", ", ".join(f"{way} {each}" for each, way in info.objectives.items())
    yield "trials", ", ".join(f"{n} {state}" for state, n in summary.counts.items() if n) or "none"
    yield "ended", "yes" if summary.finished else "no"
    yield "data", info.fingerprint[:12]
    if best is None:
        return
    yield "best trial", f"{best.number}{' (the baseline)' * best.is_baseline}"
    yield f"{name}, best", show_metric(best.metrics[name])
    if baseline is not None:
        yield f"{name}, baseline", show_metric(baseline.metrics[name])
        yield from _gain(f"{name}, gain", best.cases, baseline.cases, study.objective)
    beside = summary.held_out_baseline
    if summary.held_out and beside:
        yield from _gain(f"{name}, held-out gain", summary.held_out, beside, study.objective)
    for title, is_held in (("p, tuned", False), ("p, held out", True)):
        values = [f"{null.p_value:.3g}" for null in summary.nulls if null.held_out == is_held]
        if values:
            yield title, ", ".join(values)
    yield "time", show_duration(best.metrics["time"])
    for each in ("speedup", "score"):
        if each in best.metrics:
            yield each, f"{best.metrics[each]:.4g}"
            ends = [best.metrics.get(f"{each}_{end}") for end in ("low", "high")]
            if ends[0] is not None and ends[1] is not None:
                yield f"{each}, 95 % interval", show_interval((ends[0], ends[1]))
    for param, value in best.params.items():
        yield f"param {param}", f"{value:.6g}" if isinstance(value, float) else str(value)


def _gain(
    title: str, cases: Sequence[CaseRecord], beside: Sequence[CaseRecord], objective: Objective
) -> Iterator[tuple[str, str]]:
    gains = gains_of(cases, beside, objective)
    yield title, f"{sum(gains) / len(gains):+.4f}"
    if interval := interval_of_mean(gains):
        yield f"{title}, 95 % interval", show_interval(interval)


def cautions(studies: Sequence[Compared]) -> Iterator[str]:
    """Yield in what the studies differ such that their numbers mean different things."""
    asked: Mapping[str, Callable[[Compared], Any]] = {
        "plug-ins": lambda study: study.info.plugin,
        "primary metrics": lambda study: study.info.primary,
        "objectives": lambda study: dict(study.info.objectives),
        "input data": lambda study: study.info.fingerprint,
        "tuned cases": lambda study: [
            case.name for case in (study.summary.best.cases if study.summary.best else ())
        ],
        "held-out cases": lambda study: [case.name for case in study.summary.held_out],
        "baselines' params": lambda study: (
            dict(study.summary.baseline.params) if study.summary.baseline else None
        ),
    }
    for name, of in asked.items():
        first, *rest = map(of, studies)
        if any(other != first for other in rest):
            yield f"their {name} differ: numbers that depend on it are not comparable"


def plain(study: Compared) -> dict[str, Any]:
    """Return a study as data fit for JSON, numbers as they are; ``docs/report.md`` has the keys."""
    info, summary = study.info, study.summary
    best, baseline, beside = summary.best, summary.baseline, summary.held_out_baseline
    held_out = _plain_gain(summary.held_out, beside, study.objective)
    return {
        "study": info.name,
        "plugin": info.plugin,
        "objectives": dict(info.objectives),
        "primary": info.primary,
        "trials": dict(summary.counts),
        "ended": summary.finished,
        "data": info.fingerprint,
        "best": plain_record(best),
        "baseline": plain_record(baseline),
        "gain": best and baseline and _plain_gain(best.cases, baseline.cases, study.objective),
        "held_out_gain": held_out,
        "p_values": {
            name: {null.case: null.p_value for null in summary.nulls if null.held_out == is_held}
            for name, is_held in (("tuned", False), ("held_out", True))
        },
    }


def _plain_gain(
    cases: Sequence[CaseRecord], beside: Sequence[CaseRecord], objective: Objective
) -> dict[str, float | None] | None:
    """Return the mean gain and the ends of its interval; None without cases to compare."""
    if not cases or not beside:
        return None
    gains = gains_of(cases, beside, objective)
    low, high = interval_of_mean(gains) or (None, None)
    return {"mean": sum(gains) / len(gains), "low": low, "high": high}


def write(path: Path, studies: Sequence[Compared]) -> None:
    """Write the comparison as a page, with each study's verdict and figures."""
    table = Table(*compared_rows(studies), notes=list(cautions(studies)))
    sections = [Section("Side by side", tables=[table])]
    for study in studies:
        paths = [study.folder / "plots" / f"{stem}.png" for stem in ("history", "trade_off")]
        pictures = [Picture(path.stem.replace("_", "-"), path) for path in paths if path.is_file()]
        lines = [*study.summary.verdict, *study.summary.notes]
        sections.append(Section(study.info.name, lines, pictures=pictures))
    names = ", ".join(study.info.name for study in studies)
    write_page(path, Page("Studies compared", names, sections))
