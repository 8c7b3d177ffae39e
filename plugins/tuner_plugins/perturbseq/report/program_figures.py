"""Figures of programs: the choice of their number, and their usage by cells."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from tuner_plugins.perturbseq.colours import palette
from tuner_plugins.perturbseq.report.figures import bare, canvas, embedding

MOST_PANELS = 16
"""Programs that are drawn on the cells, those of the largest mean usage."""

LONGEST = 28
"""Signs of a name that a panel has room for."""

CURVES = {
    "silhouette": "mean silhouette",
    "jaccard_mean": "Jaccard index when cells are resampled",
    "adjusted_rand_mean": "adjusted Rand index when cells are resampled",
}
"""Measures of stability, and their names in the legend."""


def program_choices(table: pd.DataFrame, figure: Figure | None = None) -> Figure:
    """Draw stability, and the error if there is one, against the number of programs or resolution.

    Parameters
    ----------
    table : pandas.DataFrame
        As `consensus_nmf` or `compare_resolutions` returns it; the chosen row is marked.
    """
    by = "resolution" if "resolution" in table else "n_programs"
    figure = canvas(figure, 6.0, 3.8)
    axes = figure.subplots()
    x, colours = table[by].to_numpy(dtype=float), palette(len(CURVES) + 1)
    for colour, (column, name) in zip(colours, CURVES.items(), strict=False):
        if column in table and table[column].notna().any():
            axes.plot(x, table[column], "o-", color=colour, ms=4, lw=1.5, label=name)
    axes.set(ylabel="stability", ylim=(min(0.0, *axes.get_ylim()), 1.02))
    if "error" in table:
        other = axes.twinx()
        other.plot(x, table["error"], "s--", color=colours[-1], ms=4, lw=1.5)
        other.set_ylabel("relative error of the consensus", color=colours[-1])
        other.tick_params(axis="y", colors=colours[-1])
        other.spines["top"].set_visible(False)
        axes.spines["top"].set_visible(False)
    else:
        bare(axes)
    chosen = x[table["chosen"].to_numpy(dtype=bool)]
    axes.axvline(float(chosen[0]), color="#888888", lw=0.8, zorder=0, label="chosen")
    if by == "resolution":
        axes.set_xscale("log")
        labels = [f"{r:g}\n{n}" for r, n in zip(x, table["n_programs"], strict=True)]
        axes.set_xlabel("resolution; number of programs below")
    else:
        labels = [f"{n:g}" for n in x]
        axes.set_xlabel("number of programs")
    axes.set_xticks(x, labels)
    axes.minorticks_off()
    figure.legend(loc="outside upper center", ncols=2, frameon=False, fontsize=8)
    return figure


def usage(
    coordinates: NDArray[np.float64], table: pd.DataFrame, figure: Figure | None = None
) -> Figure:
    """Draw the usage of programs on the cells, (cells, 2), a panel a program."""
    known = table.notna().all(axis=1).to_numpy()
    coordinates, table = np.asarray(coordinates)[known], table[known]
    largest = table.mean().sort_values(ascending=False, kind="stable").index[:MOST_PANELS]
    shown = [name for name in table.columns if name in largest]
    columns = min(4, len(shown))
    rows = -(-len(shown) // columns)
    figure = canvas(figure, 3.4 * columns, 3.0 * rows)
    panels = np.atleast_1d(figure.subplots(rows, columns)).ravel()
    for axes, name in zip(panels, shown, strict=False):
        embedding(coordinates, table[name], axes=axes)
        axes.set_title(str(name)[:LONGEST], fontsize=9)
    for axes in panels[len(shown) :]:
        axes.set_axis_off()
    if len(shown) < table.shape[1]:
        figure.suptitle(f"the {len(shown)} most used of {table.shape[1]} programs", fontsize=10)
    return figure
