"""Figures of a study: how it went, what it found, what mattered."""

from __future__ import annotations

import importlib
import io
import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from tuner.config.quiet import quiet
from tuner.objective import Objective
from tuner.records import Final, Null, TrialRecord

BLUE, ORANGE, GREY, RED = "#0072B2", "#E69F00", "#B0B0B0", "#D55E00"
"""Okabe and Ito's palette, told apart by colour-blind readers."""


class StudyFigure(Figure):
    """A figure that a notebook shows, pyplot or not."""

    def _repr_png_(self) -> bytes:
        FigureCanvasAgg(self)
        drawn = io.BytesIO()
        self.savefig(drawn, format="png", dpi=100)
        return drawn.getvalue()


def study_figures(
    study: optuna.Study,
    records: Sequence[TrialRecord],
    objective: Objective,
    folder: Path,
    best: TrialRecord | None = None,
) -> list[Path]:
    """Write the figures of `draw_study` as PNG into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, figure in draw_study(study, records, objective, best).items():
        FigureCanvasAgg(figure)
        path = folder / f"{name}.png"
        figure.savefig(path, dpi=150)
        paths.append(path)
    return paths


def draw_study(
    study: optuna.Study,
    records: Sequence[TrialRecord],
    objective: Objective,
    best: TrialRecord | None = None,
) -> dict[str, Figure]:
    """Return the study's figures by name; those that it has data for.

    `best` is the trial that is frozen, as the final word has it; it is marked.
    """
    complete = [record for record in records if record.state == "complete"]
    tuned = [record for record in complete if not record.is_baseline]
    figures: dict[str, Figure] = {}
    if complete:
        figures["history"] = history(complete, objective)
    if len(tuned) >= 2:
        figures["trade_off"] = trade_off(complete, objective, best)
    if len(tuned) >= 4 and (weights := importances(study)):
        figures["importances"] = importance_figure(weights)
    return figures


def final_rows(final: Final) -> pd.DataFrame:
    """Return the finalists as a table: a row for each and case, the baseline's time beside it."""
    return pd.DataFrame(
        [
            {
                "trial": row.number,
                "case": case,
                "repeats": row.repeats,
                "metric": row.metrics[case],
                "seconds": seconds,
                "baseline_seconds": final.baseline.get(case),
                "speedup": row.speedup.get(case),
                "score": row.score,
                "low": row.low,
                "high": row.high,
                "probability_best": row.probability_best,
            }
            for row in final.finalists
            for case, seconds in row.seconds.items()
        ]
    )


def null_rows(nulls: Sequence[Null]) -> pd.DataFrame:
    """Return the nulls as a table, a row for each case."""
    return pd.DataFrame([asdict(null) for null in nulls])


def history(complete: Sequence[TrialRecord], objective: Objective) -> Figure:
    """Draw the first objective of each trial and the best so far."""
    name = next(iter(objective.objectives))
    upward = objective.objectives[name] == "maximize"
    measured = ", as the search measured it" if name in ("score", "time", "speedup") else ""
    numbers = [record.number for record in complete]
    values = [record.metrics[name] for record in complete]
    best = (np.maximum if upward else np.minimum).accumulate(values)
    figure = StudyFigure(figsize=(6, 3.6), layout="constrained")
    axes = figure.subplots()
    axes.scatter(numbers, values, s=18, color=BLUE, label="trial", zorder=3)
    if all(f"{name}_low" in record.metrics for record in complete):
        ends = [[record.metrics[f"{name}_{end}"] for record in complete] for end in ("low", "high")]
        axes.vlines(numbers, *ends, color=BLUE, alpha=0.4, lw=1, label="95 % interval")
    axes.step(numbers, best, where="post", color=ORANGE, label="best so far")
    axes.set(xlabel="trial", ylabel=name, title=f"{name} over the study{measured}")
    axes.legend(frameon=False)
    return figure


def trade_off(
    complete: Sequence[TrialRecord], objective: Objective, best: TrialRecord | None = None
) -> Figure:
    """Draw the primary metric against the time, with the Pareto front and what is frozen."""
    metric = objective.primary
    upward = objective.metrics[metric] == "maximize"
    times = np.array([record.metrics["time"] for record in complete])
    values = np.array([record.metrics[metric] for record in complete])
    front = pareto(times, values, upward)
    figure = StudyFigure(figsize=(6, 3.6), layout="constrained")
    axes = figure.subplots()
    axes.scatter(times, values, s=18, color=GREY, label="trial")
    axes.plot(times[front], values[front], "-o", ms=4, color=BLUE, label="Pareto front")
    for record in complete:
        if record.is_baseline:
            point = record.metrics["time"], record.metrics[metric]
            axes.scatter(*point, marker="s", s=50, color=RED, label="baseline", zorder=4)
    for record in complete:
        if best is None or record.number != best.number:
            continue  # `best` may be stated by its final times; the dots are the search's
        point, label = (record.metrics["time"], record.metrics[metric]), f"trial {best.number}"
        axes.scatter(*point, marker="*", s=160, color=ORANGE, label=label, zorder=5)
    axes.set(xscale="log", xlabel="time (s), as the search measured it", ylabel=metric)
    axes.set(title=f"{metric} against time")
    axes.legend(frameon=False)
    return figure


def pareto(times: np.ndarray, values: np.ndarray, upward: bool) -> np.ndarray:
    """Return the indices of the trials that no other beats in both, fastest first."""
    signed = values if upward else -values
    order = np.lexsort((-signed, times))
    running = np.maximum.accumulate(signed[order])
    is_new = np.concatenate([[True], running[1:] > running[:-1]])
    front: np.ndarray = order[is_new]
    return front


def importances(study: optuna.Study) -> Mapping[str, float]:
    """Return the importance of each parameter for the first objective; empty if unknown.

    PED-ANOVA (Watanabe, Bansal and Hutter, 2023, doi:10.24963/ijcai.2023/488), Optuna's default.
    """
    several = len(study.directions) > 1
    with quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found: Mapping[str, float] = _importance().get_param_importances(
                study, target=(lambda trial: trial.values[0]) if several else None
            )
        except (ValueError, RuntimeError):
            return {}  # all values equal, or too few trials: there is nothing to attribute
    return found


def _importance() -> Any:
    """Import `optuna.importance` without scikit-learn: two seconds, for what is not used here."""
    if "sklearn" in sys.modules or "optuna.importance" in sys.modules:
        return importlib.import_module("optuna.importance")
    sys.modules["sklearn"] = None  # type: ignore[assignment]
    try:
        return importlib.import_module("optuna.importance")
    finally:
        del sys.modules["sklearn"]


def importance_figure(weights: Mapping[str, float]) -> Figure:
    """Draw parameter importances as bars, the largest on top."""
    names = sorted(weights, key=lambda name: weights[name])
    figure = StudyFigure(figsize=(6, 0.6 + 0.35 * len(names)), layout="constrained")
    axes = figure.subplots()
    axes.barh(names, [weights[name] for name in names], color=BLUE)
    axes.set(xlabel="importance (PED-ANOVA)", title="What mattered")
    return figure
