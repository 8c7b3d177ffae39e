"""What a study found, as rows and sentences: for the terminal, a notebook and the report.

Every number stands once, or is the same where it stands twice; what else looks like it (the score
that the search estimated, beside the one that was measured at the end) is named in its column.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from tuner.config.objective import Objective, score
from tuner.records import CaseRecord, Finalist, HostClock, Summary, TrialRecord
from tuner.report.console import show_duration


def result_rows(summary: Summary, objective: Objective) -> tuple[list[str], list[list[str]]]:
    """Return headers and rows: a case each, their mean, and the held-out cases."""
    best, baseline, metric = summary.best, summary.baseline, objective.primary
    assert best is not None
    nulls = {null.case: null for null in summary.nulls}
    has_score = "score" in objective.objectives
    headers = ["case", f"{metric}\nbaseline", metric]
    headers += ["null\nmean", "p"] if nulls else []
    headers += ["time\nbaseline", "time", "speed-up", *(["score"] if has_score else [])]

    def row(name: str, case: CaseRecord, beside: CaseRecord | None) -> list[str]:
        metrics = case.metrics
        cells = [name, show_metric(beside.metrics[metric]) if beside else "-"]
        cells.append(show_metric(metrics[metric]))
        if nulls:
            null = nulls.get(case.name)
            cells += [show_metric(null.mean), f"{null.p_value:.3g}"] if null else ["-", "-"]
        cells.append(show_duration(beside.seconds) if beside else "-")
        cells.append(show_duration(case.seconds))
        cells.append(_speedup(metrics.get("speedup")))
        if has_score:
            cells.append(_score(metrics.get("score")))
        return cells

    beside = {case.name: case for case in baseline.cases} if baseline else {}
    rows = [row(case.name, case, beside.get(case.name)) for case in best.cases]
    if len(best.cases) > 1:
        reference = CaseRecord("", baseline.metrics, baseline.metrics["time"]) if baseline else None
        mean = row("mean", CaseRecord("", best.metrics, best.metrics["time"]), reference)
        if nulls and all(case.name in nulls for case in best.cases):
            share = sum(nulls[case.name].mean for case in best.cases) / len(best.cases)
            mean[3] = show_metric(share)
        rows.append(mean)
    held = {case.name: case for case in summary.held_out_baseline}
    for case in summary.held_out:
        rows.append(row(f"{case.name} (held out)", case, held.get(case.name)))
    return headers, rows


def captions(summary: Summary, objective: Objective, meaning: str = "") -> Iterator[str]:
    """Yield what the columns of the result mean, a line each; `meaning` is that of the metric."""
    best, final, metric = summary.best, summary.final, objective.primary
    assert best is not None
    if meaning:
        yield f"{metric}: {meaning}"
    if final is not None and best.estimate:
        how = "whole scripts, start-up and output included" if final.what == "process" else "run"
        yield f"time: of {how}, measured at the end beside the baseline's"
    elif "score" in objective.objectives or "time" in objective.objectives:
        later = "; the final timing, of whole scripts, may give another speed-up"
        what = "time: the search's estimate (run, and what a script takes beside it)"
        yield what + later * (not summary.finished)
    else:
        yield "time: of run, once; it is not tuned"
    if "score" in objective.objectives and "score" in best.metrics:
        sign = objective.metrics[metric] == "maximize"
        gain = f"{metric} - {metric} baseline" if sign else f"{metric} baseline - {metric}"
        yield f"score: ({gain}) * sqrt(speed-up), for each case"
    if summary.nulls:
        draws = summary.nulls[0].draws
        least = 1 / (draws + 1)
        none = any(math.isclose(null.p_value, least) for null in summary.nulls)
        floor = f" ({least:.3g}: no draw is)" if none else ""
        yield (
            f"null mean: the {metric} that luck alone gives, over {draws} draws; p: the share of "
            f"draws as good as the trial{floor}, itself counted among them"
        )
    if len(best.cases) > 1:
        yield "mean: of the tuned cases, column by column"


def final_rows(summary: Summary, objective: Objective) -> tuple[list[str], list[list[str]]]:
    """Return headers and rows of the finalists, best first."""
    final = summary.final
    assert final is not None
    scored = _scored(summary, objective)
    metric = objective.primary
    headers = ["trial", metric, "timed", "time"]
    headers += ["speed-up", "score"] if scored else []
    apart = scored and not _agree(summary, objective)
    headers += ["value"] if apart else []
    headers += ["95 % interval", "chance of\nbeing best"]
    estimated = all(row.estimate is not None for row in final.finalists)
    headers += ["estimated\nby search"] if estimated else []
    rows = []
    for row in final.finalists:
        count = len(row.seconds)
        cells = [str(row.number), show_metric(sum(row.metrics.values()) / count)]
        cells.append(f"{row.repeats} times" if row.repeats > 1 else "once")
        cells.append(show_duration(sum(row.seconds.values()) / count))
        if scored:
            cells.append(_speedup(sum(row.speedup.values()) / count))
            cells.append(_score(formula_score(row, summary.baseline, objective)))
            cells += [_score(row.score)] if apart else []
            cells.append(f"{_score(row.low)} to {_score(row.high)}")
        else:  # what decides is minus the time
            cells.append(f"{show_duration(-row.high)} to {show_duration(-row.low)}")
        cells.append(f"{row.probability_best:.2f}")
        if estimated and row.estimate is not None:
            cells.append(_score(row.estimate) if scored else show_duration(-row.estimate))
        rows.append(cells)
    return headers, rows


def final_captions(summary: Summary, objective: Objective) -> Iterator[str]:
    """Yield what the columns of the finalists mean, a line each."""
    final = summary.final
    assert final is not None
    scored = _scored(summary, objective)
    what = "score" if scored else "time"
    yield (
        f"estimated by search: the {what} by the time of run and of a script's start-up, as the "
        "lines of progress show it, whose speed-up differs from that of the final timing; the "
        "finalists were picked by it, the best by the final times"
    )
    yield "timed: rounds that a finalist was in; one that is unlikely to be the best is left out"
    yield f"95 % interval: of the {what}, by the noise of timing, the baseline's included"
    if scored and not _agree(summary, objective):
        yield "value: what decides; below the baseline the score would reward slowness"


def formula_score(row: Finalist, baseline: TrialRecord | None, objective: Objective) -> float:
    """Return a finalist's score by the formula, the mean over its cases."""
    beside = {c.name: c.metrics[objective.primary] for c in baseline.cases} if baseline else {}
    found = [
        score(objective.sign * (value - beside[case]), row.speedup[case])
        for case, value in row.metrics.items()
    ]
    return sum(found) / len(found)


def _scored(summary: Summary, objective: Objective) -> bool:
    """Whether the score decides, not the time alone."""
    assert summary.best is not None
    return objective.ranked_by([summary.best])[0] == "score"


def _agree(summary: Summary, objective: Objective) -> bool:
    """Whether what decides is the score itself, for every finalist."""
    assert summary.final is not None
    return all(
        math.isclose(formula_score(row, summary.baseline, objective), row.score, rel_tol=1e-6)
        for row in summary.final.finalists
    )


HOSTS = "hosts, by the baseline's time on each"
HOSTS_NOTE = (
    "speed: the first host's time of the baseline over that of this one, by which times are told "
    "in seconds of the first; a trial's speed-up and score are ratios of times of its own host"
)


def host_rows(hosts: Sequence[HostClock]) -> tuple[list[str], list[list[str]]]:
    """Return headers and rows of the hosts on which the baseline was measured."""
    rows = []
    for each in hosts:
        ratios = [took / each.baseline[case] for case, took in hosts[0].baseline.items()]
        mean = sum(each.baseline.values()) / len(each.baseline)
        speed = math.exp(sum(map(math.log, ratios)) / len(ratios))
        cells = [each.machine, str(each.trials), show_duration(mean), f"{speed:.2f}x"]
        rows.append([each.host, *cells])
    return ["host", "CPU", "trials", "time\nbaseline", "speed"], rows


def params_rows(
    record: TrialRecord, searched: Mapping[str, Mapping[str, object]]
) -> list[list[str]]:
    """Return a row for each parameter: its name, its value, and what it was searched over."""
    origin = "the baseline's" if record.is_baseline else "fixed"
    rows = []
    for name, value in record.params.items():
        shown = f"{value:.6g}" if isinstance(value, float) else str(value)
        entry = searched.get(name) if name in record.searched else None
        rows.append([name, shown, f"searched: {show_range(entry)}" if entry else origin])
    return rows


def show_range(entry: Mapping[str, object]) -> str:
    """Return what a parameter is searched over."""
    if choices := entry.get("choices"):
        assert isinstance(choices, Sequence)
        return "one of " + ", ".join(map(str, choices))
    log = ", log" if entry.get("log") else ""
    return f"{entry['low']:g} to {entry['high']:g}{log}"


def show_metric(value: float) -> str:
    """Return a metric as every table and sentence shows it."""
    return f"{value:.4f}"


def show_interval(ends: tuple[float, float] | None) -> str:
    """Return an interval as tables show it."""
    return "-" if ends is None else f"{ends[0]:.4g} to {ends[1]:.4g}"


def _speedup(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}x"


def _score(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
