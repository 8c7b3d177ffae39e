"""Figures of a study: how it went, what it found, what mattered."""

from __future__ import annotations

import importlib
import io
import math
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
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from tuner.config.objective import Objective
from tuner.config.quiet import quiet
from tuner.config.text import shortened
from tuner.records import Final, Null, TrialRecord

BLUE, ORANGE, GREY, RED = "#0072B2", "#E69F00", "#B0B0B0", "#D55E00"
"""Okabe and Ito's palette, told apart by colour-blind readers."""

MOST_SLICES, MARGIN = 6, 0.04
"""Panels, and the part of a parameter's range that stays free at both ends of one."""


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
        first = list(objective.objectives)[:2]
        if len(first) == 2 and set(first) != {"time", objective.primary}:
            figures["front"] = front_of(complete, objective, best)
    if len(tuned) >= 4 and (weights := importances(study)):
        figures["importances"] = importance_figure(weights)
        figures["slices"] = slices(study, tuned, objective, list(weights), best)
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
    figure = _plane(complete, objective, ("time", objective.primary), best)
    figure.axes[0].set(xscale="log", xlabel="time (s), as the search measured it")
    return figure


def front_of(
    complete: Sequence[TrialRecord], objective: Objective, best: TrialRecord | None = None
) -> Figure:
    """Draw the first two objectives against each other, with their Pareto front."""
    first, second = list(objective.objectives)[:2]
    return _plane(complete, objective, (second, first), best)


def _plane(
    complete: Sequence[TrialRecord],
    objective: Objective,
    names: tuple[str, str],
    best: TrialRecord | None,
) -> Figure:
    """Draw one quantity (the second of `names`) against another."""
    upward = [directions(objective)[name] == "maximize" for name in names]
    x, y = (np.array([record.metrics[name] for record in complete]) for name in names)
    front = pareto(-x if upward[0] else x, y, upward[1])
    figure = StudyFigure(figsize=(6, 3.6), layout="constrained")
    axes = figure.subplots()
    axes.scatter(x, y, s=18, color=GREY, label="trial")
    axes.plot(x[front], y[front], "-o", ms=4, color=BLUE, label="Pareto front")
    for record, at, height in zip(complete, x, y, strict=True):
        if record.is_baseline:
            axes.scatter(at, height, marker="s", s=50, color=RED, label="baseline", zorder=4)
        if best is not None and record.number == best.number:
            # `best` may be stated by its final times; the dots are the search's
            label = f"trial {best.number}"
            axes.scatter(at, height, marker="*", s=160, color=ORANGE, label=label, zorder=5)
    axes.set(xlabel=names[0], ylabel=names[1], title=f"{names[1]} against {names[0]}")
    axes.legend(frameon=False)
    return figure


def directions(objective: Objective) -> Mapping[str, str]:
    """Return the direction of everything that may be an objective."""
    return {**objective.metrics, "score": "maximize", "speedup": "maximize", "time": "minimize"}


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


def slices(
    study: optuna.Study,
    tuned: Sequence[TrialRecord],
    objective: Objective,
    names: Sequence[str],
    best: TrialRecord | None = None,
) -> Figure:
    """Draw the first objective against each of the parameters `names`, the first `MOST_SLICES`."""
    name = next(iter(objective.objectives))
    known: dict[str, BaseDistribution] = {}
    for trial in study.get_trials(deepcopy=False):
        known |= trial.distributions
    names = [parameter for parameter in names if parameter in known][:MOST_SLICES]
    columns = min(3, len(names))
    rows = math.ceil(len(names) / columns)
    figure = StudyFigure(figsize=(2.9 * columns + 0.4, 2.3 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, sharey=True)
    for axes, parameter in zip(grid.flat, names, strict=False):
        shown = [record for record in tuned if parameter in record.searched]
        x = _places(axes, [record.searched[parameter] for record in shown], known[parameter])
        y = [record.metrics[name] for record in shown]
        axes.scatter(x, y, s=12, color=BLUE, alpha=0.6)
        for record, at, height in zip(shown, x, y, strict=True):
            if best is not None and record.number == best.number:
                axes.scatter(at, height, marker="*", s=120, color=ORANGE, zorder=5)
        axes.set_xlabel(parameter, parse_math=False)
    for axes in grid.flat[len(names) :]:
        axes.set_visible(False)
    figure.supylabel(name)
    return figure


def _places(axes: Any, values: Sequence[Any], dist: BaseDistribution) -> Sequence[float]:
    """Return where values stand on an axis, and make the axis: choices side by side, or a scale."""
    if isinstance(dist, FloatDistribution | IntDistribution):
        low, high = float(dist.low), float(dist.high)
        if low >= high:
            return values
        if dist.log:  # plain labels at powers of ten: mathematical text takes most of the time
            axes.set_xscale("log")
            exponents = range(math.ceil(math.log10(low)), math.floor(math.log10(high)) + 1)
            ticks = [10.0**exponent for exponent in exponents[:: len(exponents) // 4 or 1]]
            axes.set_xticks(ticks or [low, high], [f"{tick:g}" for tick in ticks or [low, high]])
            axes.minorticks_off()
            axes.set_xlim(low / (high / low) ** MARGIN, high * (high / low) ** MARGIN)
        else:
            axes.set_xlim(low - MARGIN * (high - low), high + MARGIN * (high - low))
        return values
    assert isinstance(dist, CategoricalDistribution)
    labels = [shortened(str(choice), 12) for choice in dist.choices]
    axes.set_xticks(range(len(labels)), labels, parse_math=False, rotation=20, fontsize="small")
    axes.set_xlim(-0.5, len(labels) - 0.5)
    spread = np.random.default_rng(0).uniform(-0.2, 0.2, len(values))  # no dot hides another
    return [dist.choices.index(v) + shift for v, shift in zip(values, spread, strict=True)]
