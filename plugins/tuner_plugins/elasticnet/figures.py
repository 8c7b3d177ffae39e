"""Figures of the sweep: surface, path with standard errors, size of the models, null."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from tuner_plugins.elasticnet.summary import Summary
from tuner_plugins.enet.cv_results import Sweep

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_BARS = 40
MARK = "#D55E00"


def figures_of(summary: Summary, alpha: float, l1_ratio: float) -> Mapping[str, Figure]:
    """Draw everything: file stem to figure."""
    drawn = {
        "surface": surface_figure(summary.surface, alpha, l1_ratio),
        "path": path_figure(summary.surface, alpha),
        "nonzeros": nonzero_figure(summary.surface, alpha),
        "perturbations": perturbation_figure(summary),
    }
    if summary.null is not None:
        drawn["permutation_null"] = null_figure(summary)
    return drawn


def surface_figure(surface: Sweep, alpha: float, l1_ratio: float) -> Figure:
    """Draw held-out R2 over rising alpha and l1_ratio as a heat map, the chosen setting marked."""
    figure, axes = _new(6.4, 4.2)
    low = float(np.quantile(surface.r2, 0.1))
    image = axes.imshow(
        surface.r2.T,
        origin="lower",
        aspect="auto",
        cmap="viridis",
        vmin=low,
        vmax=float(surface.r2.max()) if surface.r2.max() > low else low + 1e-12,
        interpolation="nearest",
    )
    ticks = np.linspace(0, len(surface.alphas) - 1, min(7, len(surface.alphas))).round().astype(int)
    axes.set_xticks(ticks, [f"{surface.alphas[t]:.1e}" for t in ticks], rotation=30)
    axes.set_yticks(range(len(surface.l1_ratios)), [f"{r:g}" for r in surface.l1_ratios])
    column = np.interp(alpha, surface.alphas, np.arange(len(surface.alphas)))
    order = np.argsort(surface.l1_ratios)
    row = np.interp(l1_ratio, surface.l1_ratios[order], order.astype(float))
    axes.plot(column, row, "o", mfc="none", mec=MARK, mew=2, ms=10, label="chosen")
    best = surface.best_index
    axes.plot(best[0], best[1], "x", color="white", mew=2, ms=8, label="best of the grid")
    axes.legend(loc="lower left", fontsize=8, facecolor="grey", labelcolor="white")
    axes.set(xlabel="alpha", ylabel="l1_ratio", title="Held-out R2")
    figure.colorbar(image, ax=axes, label="R2 (variance-weighted)", extend="min")
    return figure


def path_figure(surface: Sweep, alpha: float) -> Figure:
    """Draw held-out R2 along alpha for each l1_ratio, with standard errors over folds."""
    figure, axes = _new(6.4, 4.2)
    error = surface.r2_se
    for index, (ratio, colour) in enumerate(_coloured(surface)):
        r2 = surface.r2[:, index]
        axes.plot(surface.alphas, r2, "-", color=colour, label=f"l1_ratio {ratio:g}")
        axes.fill_between(
            surface.alphas, r2 - error[:, index], r2 + error[:, index], color=colour, alpha=0.12
        )
    axes.axhline(
        float(surface.r2_covariates.max()), color="black", ls=":", label="covariates alone"
    )
    axes.axvline(alpha, color=MARK, lw=1, label="chosen")
    axes.set(xscale="log", xlabel="alpha", ylabel="held-out R2 (band: standard error)")
    axes.legend(fontsize=8)
    return figure


def nonzero_figure(surface: Sweep, alpha: float) -> Figure:
    """Draw the mean number of non-zero coefficients of a gene along alpha."""
    figure, axes = _new(6.4, 4.2)
    for index, (ratio, colour) in enumerate(_coloured(surface)):
        axes.plot(surface.alphas, surface.nonzeros[:, index], color=colour, label=f"{ratio:g}")
    axes.axvline(alpha, color=MARK, lw=1)
    axes.set(xscale="log", xlabel="alpha", ylabel="non-zero coefficients of a gene (mean)")
    axes.legend(title="l1_ratio", fontsize=8)
    return figure


def perturbation_figure(summary: Summary) -> Figure:
    """Draw the gain of the leading perturbations on held-out cells."""
    table = summary.perturbations.head(MOST_BARS).iloc[::-1]
    figure, axes = _new(6.4, max(2.5, 0.22 * len(table) + 1))
    axes.barh(table["perturbation"].astype(str), table["partial_r2"], color="#0072B2")
    axes.axvline(0, color="black", lw=0.8)
    axes.tick_params(axis="y", labelsize=8)
    rest = len(summary.perturbations) - len(table)
    more = f"; {rest} more are in the table" if rest else ""
    axes.set(xlabel=f"partial R2 on its held-out cells{more}")
    return figure


def null_figure(summary: Summary) -> Figure:
    """Draw the best gain of shuffled labels, and that of the labels as they are."""
    assert summary.null is not None
    figure, axes = _new(6.4, 3.2)
    values = np.append(summary.null.shuffled, summary.null.observed)
    spread = max(float(np.ptp(values)), 1e-9)
    bins = np.linspace(values.min() - 0.02 * spread, values.max() + 0.02 * spread, 60)
    axes.hist(summary.null.shuffled, bins=bins.tolist(), color="grey", label="labels shuffled")
    axes.axvline(summary.null.observed, color=MARK, lw=2, label="labels as they are")
    axes.set(xlabel="best partial R2 over the grid", ylabel="permutations")
    axes.set_title(
        f"p = {summary.null.p:.3g} ({len(summary.null.shuffled)} permutations)\n"
        f"labels shuffled among: {summary.null.among}"
    )
    axes.legend(fontsize=8)
    return figure


def _new(width: float, height: float) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()


def _coloured(surface: Sweep) -> list[tuple[float, object]]:
    from matplotlib import colormaps

    colours = colormaps["cividis"](np.linspace(0, 0.95, len(surface.l1_ratios)))
    return list(zip(surface.l1_ratios, colours, strict=True))
