"""Heat maps and dot plots of genes or programs by perturbations, from 20 to 2,000 of these."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.cluster.hierarchy import dendrogram, leaves_list, linkage

from tuner_plugins.perturbseq.colours import DIVERGING, MISSING
from tuner_plugins.perturbseq.programs.clustering import Clustering
from tuner_plugins.perturbseq.report.figures import bare, symmetric

MAX_NAMED = 120
"""More columns than this are not named one by one."""

MAX_SHOWN = 60
"""Perturbations in the figures of programs; the tables hold the others."""


def _cluster_tree(axes: Axes, clustering: Clustering, n: int, *, vertical: bool) -> None:
    """Draw the tree of the clusters, every leaf over the middle of its rows; `n` rows in all."""
    axes.set_axis_off()
    sizes = clustering.labels[clustering.order].value_counts(sort=False).to_numpy()
    ends = np.cumsum(sizes)
    middles = ends - sizes / 2 - 0.5
    if len(sizes) > 1:
        drawn = dendrogram(clustering.tree, no_plot=True)
        # SciPy puts leaf i at 10 i + 5, in the order of the leaves, which is that of the labels.
        leaves = np.arange(len(sizes)) * 10 + 5
        for along, up in zip(drawn["icoord"], drawn["dcoord"], strict=True):
            place = np.interp(along, leaves, middles)
            axes.plot(*((up, place) if vertical else (place, up)), color="black", lw=0.8)
    if vertical:
        axes.set_ylim(n - 0.5, -0.5)
        axes.invert_xaxis()
    else:
        axes.set_xlim(-0.5, n - 0.5)


def _strip(axes: Axes, names: Sequence[str], clustering: Clustering, *, vertical: bool) -> None:
    """Draw the cluster colours of rows or columns, and name the clusters."""
    labels = clustering.labels.reindex(list(names))
    codes = labels.cat.codes.to_numpy()
    colours = [*clustering.colours.values(), MISSING]
    codes = np.where(codes < 0, len(colours) - 1, codes)
    image = codes[:, None] if vertical else codes[None, :]
    cmap = ListedColormap(colours)
    axes.imshow(image, aspect="auto", cmap=cmap, vmin=-0.5, vmax=len(colours) - 0.5)
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    n = len(codes)
    sizes = np.bincount(codes, minlength=len(colours))[:-1]
    middles = np.cumsum(sizes) - sizes / 2 - 0.5
    enough = 0.014 * n if vertical else 0.018 * n  # of the height or width a name needs
    shown = [k for k in range(len(sizes)) if sizes[k] >= enough or len(sizes) <= 12]
    ticks, text = [middles[k] for k in shown], [list(clustering.colours)[k] for k in shown]
    if vertical:
        axes.set_yticks(ticks, text, fontsize=8)
        axes.tick_params(length=0)
    else:
        crowded = len(ticks) > 1 and np.diff(ticks).min() < 0.05 * n  # M0 would touch M1
        axes.set_xticks(ticks, text, fontsize=8, rotation=90 if crowded else 0)
        axes.tick_params(length=0, labeltop=True, labelbottom=False)


def _name_columns(axes: Axes, names: Sequence[str]) -> None:
    if len(names) > MAX_NAMED:
        axes.set_xticks([])
        axes.set_xlabel(f"{len(names):,} perturbations")
        return
    size = 8 if len(names) <= 60 else 6
    axes.set_xticks(range(len(names)), names, rotation=90, fontsize=size)


def coefficient_heatmap(coef: pd.DataFrame, programs: Clustering, modules: Clustering) -> Figure:
    """Draw coefficients, genes by programs and perturbations by modules, with both trees.

    Genes outside the programs are left out; perturbations outside the modules stand last.

    Parameters
    ----------
    coef : pandas.DataFrame, (genes, perturbations)
    programs, modules : Clustering
    """
    outside = [str(c) for c in coef.columns if str(c) not in set(modules.order)]
    columns = [*modules.order, *sorted(outside)]
    rows = programs.order
    values = coef.reindex(index=rows, columns=columns).to_numpy(dtype=float)
    width = float(np.clip(0.17 * len(columns), 4.5, 15))
    figure = Figure(figsize=(width + 2.2, 8.5), layout="constrained")
    grid = figure.add_gridspec(
        3, 4, width_ratios=(0.8, 0.16, width, 0.2), height_ratios=(0.7, 0.16, 7.0)
    )
    main = figure.add_subplot(grid[2, 2])
    if not rows:
        main.text(0.5, 0.5, "no gene has a program", ha="center", transform=main.transAxes)
        main.set_axis_off()
        return figure
    image = main.imshow(
        values, aspect="auto", cmap=DIVERGING, norm=symmetric(values), interpolation="nearest"
    )
    _name_columns(main, columns)
    main.set_ylabel("")
    if len(rows) <= 60:
        main.yaxis.tick_right()
        main.set_yticks(range(len(rows)), rows, fontsize=6)
    else:
        main.set_yticks([])
    boundaries = np.flatnonzero(np.diff(programs.labels[rows].cat.codes.to_numpy())) + 0.5
    main.hlines(boundaries, -0.5, len(columns) - 0.5, color="white", lw=0.8)
    codes = modules.labels.reindex(columns).cat.codes.to_numpy()
    main.vlines(np.flatnonzero(np.diff(codes)) + 0.5, -0.5, len(rows) - 0.5, color="white", lw=0.8)
    _strip(figure.add_subplot(grid[2, 1]), rows, programs, vertical=True)
    _strip(figure.add_subplot(grid[1, 2]), columns, modules, vertical=False)
    _cluster_tree(figure.add_subplot(grid[2, 0]), programs, len(rows), vertical=True)
    _cluster_tree(figure.add_subplot(grid[0, 2]), modules, len(columns), vertical=False)
    figure.colorbar(image, cax=figure.add_subplot(grid[2, 3]), label="coefficient")
    figure.suptitle(
        f"{len(rows):,} of {len(coef):,} genes in {len(programs.colours)} programs; "
        f"{len(modules.order):,} of {len(columns):,} perturbations in "
        f"{len(modules.colours)} modules",
        fontsize=10,
    )
    return figure


def _wide(
    table: pd.DataFrame, value: str, q: str, max_shown: int
) -> tuple[pd.DataFrame, pd.DataFrame, str]:
    """Return values and q, programs by perturbations, of the most significant perturbations."""
    programs = list(dict.fromkeys(table["program"]))
    values = table.pivot(index="program", columns="perturbation", values=value).loc[programs]
    adjusted = table.pivot(index="program", columns="perturbation", values=q).loc[programs]
    values = values.dropna(axis=1, how="all")
    n = values.shape[1]
    adjusted = adjusted[values.columns]
    ranking = pd.DataFrame(
        {"q": adjusted.min(), "effect": -values.abs().max(), "name": values.columns}
    )
    kept = list(ranking.sort_values(["q", "effect", "name"]).index[:max_shown])
    note = "" if n <= max_shown else f" ({len(kept)} most significant of {n:,} perturbations)"
    return values[kept], adjusted[kept], note


def _tree_order(
    values: NDArray[np.float64],
) -> tuple[NDArray[np.int64], NDArray[np.float64] | None]:
    if len(values) < 3:
        return np.arange(len(values)), None
    tree = linkage(np.nan_to_num(values), method="average", optimal_ordering=True)
    return leaves_list(tree), tree


def _plain_tree(axes: Axes, tree: NDArray[np.float64] | None, n: int, *, vertical: bool) -> None:
    axes.set_axis_off()
    if tree is None:
        return
    drawn = dendrogram(tree, no_plot=True)
    for along, up in zip(drawn["icoord"], drawn["dcoord"], strict=True):
        place = (np.asarray(along) - 5) / 10
        axes.plot(*((up, place) if vertical else (place, up)), color="black", lw=0.8)
    if vertical:
        axes.set_ylim(n - 0.5, -0.5)
        axes.invert_xaxis()
    else:
        axes.set_xlim(-0.5, n - 0.5)


def program_clustermap(
    table: pd.DataFrame,
    *,
    value: str = "effect_size",
    q: str = "q_permutation",
    q_threshold: float = 0.05,
    max_shown: int = MAX_SHOWN,
) -> Figure:
    """Draw programs by perturbations, both in the order of their trees; dots where significant.

    Parameters
    ----------
    table : pandas.DataFrame
        As `significance.compare_programs` gives it.
    value, q : str
        Columns to colour by and to mark.
    q_threshold : float
    max_shown : int
        The most significant perturbations; the title says so where some are left out.
    """
    values, adjusted, note = _wide(table, value, q, max_shown)
    rows, row_tree = _tree_order(values.to_numpy(dtype=float))
    columns, column_tree = _tree_order(values.to_numpy(dtype=float).T)
    values, adjusted = values.iloc[rows, columns], adjusted.iloc[rows, columns]
    n_rows, n_columns = values.shape
    width, height = max(0.2 * n_columns, 3.5), max(0.28 * n_rows, 2.0)
    figure = Figure(figsize=(width + 2.4, height + 2.2), layout="constrained")
    grid = figure.add_gridspec(2, 3, width_ratios=(0.8, width, 0.2), height_ratios=(0.6, height))
    main = figure.add_subplot(grid[1, 1])
    numbers = values.to_numpy(dtype=float)
    image = main.imshow(numbers, aspect="auto", cmap=DIVERGING, norm=symmetric(numbers, 1.0))
    marked = np.argwhere(adjusted.to_numpy(dtype=float) < q_threshold)
    main.plot(marked[:, 1], marked[:, 0], ".", color="black", ms=3)
    _name_columns(main, list(values.columns))
    main.yaxis.tick_right()
    main.set_yticks(range(n_rows), values.index, fontsize=8)
    _plain_tree(figure.add_subplot(grid[1, 0]), row_tree, n_rows, vertical=True)
    _plain_tree(figure.add_subplot(grid[0, 1]), column_tree, n_columns, vertical=False)
    figure.colorbar(image, cax=figure.add_subplot(grid[1, 2]), label=value.replace("_", " "))
    figure.suptitle(f"program scores against control{note}; dot: q < {q_threshold:g}", fontsize=10)
    return figure


def dotplot(
    table: pd.DataFrame,
    *,
    value: str = "effect_size",
    q: str = "q_permutation",
    max_shown: int = MAX_SHOWN,
    cap: float = 5.0,
) -> Figure:
    """Draw programs by perturbations as dots: size by -log10 adjusted p, colour by effect.

    Parameters
    ----------
    table : pandas.DataFrame
        As `significance.compare_programs` gives it.
    value, q : str
        Columns for colour and size.
    max_shown : int
        As in `program_clustermap`.
    cap : float
        Largest -log10 q that still makes a dot grow.
    """
    values, adjusted, note = _wide(table, value, q, max_shown)
    columns, _ = _tree_order(values.to_numpy(dtype=float).T)
    values, adjusted = values.iloc[:, columns], adjusted.iloc[:, columns]
    n_rows, n_columns = values.shape
    size = np.minimum(-np.log10(adjusted.to_numpy(dtype=float)), cap)
    area = 4 + 66 * np.nan_to_num(size) / cap
    x, y = np.meshgrid(np.arange(n_columns), np.arange(n_rows))
    width, height = max(0.21 * n_columns, 3.5), max(0.28 * n_rows, 2.2)
    figure = Figure(figsize=(width + 3.0, height + 1.6), layout="constrained")
    axes = figure.subplots()
    numbers = values.to_numpy(dtype=float)
    dots = axes.scatter(
        x.ravel(),
        y.ravel(),
        s=area.ravel(),
        c=numbers.ravel(),
        cmap=DIVERGING,
        norm=symmetric(numbers, 1.0),
        edgecolors="#666666",
        linewidths=0.4,
    )
    _name_columns(axes, list(values.columns))
    axes.set_yticks(range(n_rows), values.index, fontsize=8)
    axes.set_xlim(-0.7, n_columns - 0.3)
    axes.set_ylim(n_rows - 0.3, -0.7)
    bare(axes)
    figure.colorbar(dots, ax=axes, label=value.replace("_", " "), shrink=0.8, pad=0.02)
    steps = [s for s in (1.3, cap / 2, cap) if s <= cap]
    handles = [
        axes.scatter([], [], s=4 + 66 * s / cap, color="#888888", label=f"{s:.1f}") for s in steps
    ]
    handles[-1].set_label(f">= {cap:.1f}")
    figure.legend(
        handles=handles,
        title="-log10 q",
        loc="outside upper right",
        ncols=len(steps),
        frameon=False,
        fontsize=7,
        title_fontsize=8,
    )
    axes.set_title(f"program scores against control{note}", fontsize=10, loc="left")
    return figure
