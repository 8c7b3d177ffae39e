"""Figures of effects that are estimated from counts."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from tuner_plugins.perturbseq.report.figures import bare, canvas


def knockdown(own: pd.DataFrame, *, n_shown: int = 60, figure: Figure | None = None) -> Figure:
    """Draw what perturbations leave of their own gene, with intervals; filled where it is seen.

    Parameters
    ----------
    own : pandas.DataFrame
        See `tuner_plugins.perturbseq.report.effects.own_effects`, the strongest fall first.
    n_shown : int
        So many of them.
    """
    rows = own[own["log2fc_high"].notna()].head(n_shown)
    figure = canvas(figure, 4.8, 1.0 + 0.2 * max(len(rows), 4))
    axes = figure.subplots()
    low, middle, high = (
        np.maximum(rows[key].to_numpy(dtype=float), -10.0)  # no count at all: -inf
        for key in ("log2fc_low", "log2fc", "log2fc_high")
    )
    at = np.arange(len(rows))
    axes.hlines(at, low, high, color="#555555", lw=1)
    fill = np.where(rows["seen"].to_numpy(), "#2166AC", "white")
    axes.scatter(middle, at, c=fill, edgecolors="#2166AC", s=28, zorder=3)
    axes.axvline(0, color="black", lw=0.5)
    axes.set_yticks(at, rows["perturbation"].astype(str), fontsize=7)
    axes.set(xlabel="log2 fold change of the own gene", ylim=(len(rows) - 0.4, -0.6))
    bare(axes)
    return figure
