"""The figure of responders: their share and where cells lie."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from tuner_plugins.perturbseq.errors import AnalysisError
from tuner_plugins.perturbseq.report.figures import bare, canvas

MOVED, REST = "#0072B2", "#BBBBBB"
BINS, HEIGHT = 40, 0.85


def responders(
    table: pd.DataFrame, cells: pd.DataFrame, *, n_shown: int = 60, figure: Figure | None = None
) -> Figure:
    """Draw shares of responders with intervals, and scores of cells by their probability.

    Parameters
    ----------
    table, cells : pandas.DataFrame
        See `tuner_plugins.perturbseq.report.responders.Responders`.
    n_shown : int
        So many perturbations, those that are told apart best.

    Raises
    ------
    AnalysisError
        None is told apart.
    """
    told = table[table["note"] == ""]
    if told.empty:
        raise AnalysisError("no perturbation has responders that are told from other cells")
    rows = told.nlargest(n_shown, "separation").sort_values("share", ascending=False)
    figure = canvas(figure, 6.4, 1.2 + 0.22 * max(len(rows), 4))
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(1, 1.4))
    at = np.arange(len(rows))
    left.hlines(at, rows["share_low"], rows["share_high"], color="#555555", lw=1)
    left.scatter(rows["share"], at, s=22, c=MOVED, zorder=3)
    left.set_yticks(at, rows["perturbation"].astype(str), fontsize=7)
    left.set(
        xticks=(0, 0.5, 1),
        xlim=(-0.02, 1.02),
        xlabel="share of responders",
        ylim=(len(rows) - 0.4, -1.0),
    )
    cells = cells[cells["responder_of"].isin(rows["perturbation"])]
    of, posterior, score = (
        cells[f"responder_{name}"].to_numpy() for name in ("of", "posterior", "score")
    )
    low, high = np.quantile(score, [0.002, 0.998])
    edges = np.linspace(min(low, -3.0), max(high, 3.0), BINS + 1)
    middle = (edges[1:] + edges[:-1]) / 2
    for place, name in zip(at, rows["perturbation"], strict=True):
        own = of == name
        weights = (1 - posterior[own], posterior[own])
        rest, moved = (np.histogram(score[own], edges, weights=one)[0] for one in weights)
        unit = HEIGHT / max(float((rest + moved).max()), 1e-12)
        top = place - unit * rest
        right.fill_between(middle, place, top, color=REST, lw=0)
        right.fill_between(middle, top, top - unit * moved, color=MOVED, lw=0)
    right.axvline(0, color="black", lw=0.6)
    right.set_xlabel("score, in standard deviations of control cells")
    for colour, label in ((REST, "as control cells"), (MOVED, "responders")):
        right.fill_between([], [], color=colour, label=label)
    right.legend(frameon=False, fontsize=7, loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=2)
    right.tick_params(axis="y", length=0)
    which = f"{len(rows)} told apart best" if len(told) > len(rows) else str(len(rows))
    left.set_title(f"{which} of {len(table)} perturbations", fontsize=8, loc="left")
    for axes in (left, right):
        bare(axes)
    return figure
