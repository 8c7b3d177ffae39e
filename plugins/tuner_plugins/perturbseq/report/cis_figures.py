"""The figure of elements and genes near them."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from tuner_plugins.perturbseq.report.figures import bare, canvas

DOWN, UP, REST = "#2166AC", "#B2182B", "#BBBBBB"


def cis_pairs(
    table: pd.DataFrame,
    *,
    q_threshold: float = 0.05,
    n_named: int = 8,
    figure: Figure | None = None,
) -> Figure:
    """Draw the significance of pairs against the distance from the start of the gene.

    Parameters
    ----------
    table : pandas.DataFrame
        See `tuner_plugins.perturbseq.inference.cis.tabulate_pairs`.
    q_threshold : float
        What is coloured: by whether the gene falls or rises.
    n_named : int
        So many genes are named at most, the most significant ones first, none over another.
    """
    rows = table[table["p"].notna()].sort_values("p", kind="stable")
    figure = canvas(figure, 6.4, 3.6)
    axes = figure.subplots()
    reach = float(rows["distance"].abs().max()) if len(rows) else 1.0
    unit, name = (1e6, "Mb") if reach >= 2e6 else (1e3, "kb")
    x, y = rows["distance"].to_numpy() / unit, -np.log10(rows["p"].to_numpy(dtype=float))
    hit = (rows["q"] < q_threshold).to_numpy()
    down = (rows["log2fc"] < 0).to_numpy()
    groups = (
        (~hit, REST, f"q >= {q_threshold:g}", 6),
        (hit & down, DOWN, f"q < {q_threshold:g}, expression falls", 16),
        (hit & ~down, UP, f"q < {q_threshold:g}, expression rises", 16),
    )
    for chosen, colour, label, size in groups:
        axes.scatter(
            x[chosen],
            y[chosen],
            s=size,
            c=colour,
            lw=0,
            label=f"{label} ({int(chosen.sum()):,})",
            rasterized=True,
        )
    for at in _apart(x, y, np.flatnonzero(hit))[:n_named]:
        axes.annotate(
            str(rows["gene"].iloc[at]),
            (x[at], y[at]),
            xytext=(4, 2),
            textcoords="offset points",
            fontsize=7,
            style="italic",
        )
    axes.axvline(0, color="black", lw=0.6, zorder=0)
    axes.set(
        xlabel=f"element relative to the start of the gene ({name}, negative upstream)",
        ylabel="-log10 p",
        ylim=(0, None),
    )
    axes.set_xlim(*(np.array([-1.04, 1.14]) * (reach or 1.0) / unit))  # for names at the right
    axes.legend(frameon=False, fontsize=7, loc="upper left", bbox_to_anchor=(0.0, 1.16), ncols=3)
    bare(axes)
    return figure


def _apart(x: NDArray[np.float64], y: NDArray[np.float64], order: NDArray[np.int64]) -> list[int]:
    """Return those points, in order, that lie apart from all before them by the size of a name."""
    width, height = 0.28 * float(np.abs(x).max(initial=0.0)), 0.06 * float(y.max(initial=0.0))
    kept: list[int] = []
    for at in order.tolist():
        if all(abs(x[at] - x[k]) > width or abs(y[at] - y[k]) > height for k in kept):
            kept.append(at)
    return kept
