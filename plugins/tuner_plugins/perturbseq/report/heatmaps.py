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

from tuner_plugins.perturbseq.colours import DIVERGING, MISSING, SEQUENTIAL
from tuner_plugins.perturbseq.programs.clustering import Clustering
from tuner_plugins.perturbseq.report.figures import bare, canvas, symmetric

MAX_NAMED = 120
"""More columns than this are not named one by one."""

MAX_SHOWN = 60
"""Perturbations in the figures of programs; the tables hold the others."""

LARGEST_DOT = 5.0
"""-log10 q from which on dots do not grow."""


def _draw_tree(
    axes: Axes, tree: NDArray[np.float64], middles: NDArray[np.float64], n: int, *, vertical: bool
) -> None:
    """Draw a tree beside `n` rows or columns; `middles` are where its leaves stand among them."""
    axes.set_axis_off()
    if len(tree):
        drawn = dendrogram(tree, no_plot=True)
        # SciPy puts leaf i at 10 i + 5, in the order of the leaves.
        leaves = np.arange(len(middles)) * 10 + 5
        for along, up in zip(drawn["icoord"], drawn["dcoord"], strict=True):
            place = np.interp(along, leaves, middles)
            axes.plot(*((up, place) if vertical else (place, up)), color="black", lw=0.8)
    if vertical:
        axes.set_ylim(n - 0.5, -0.5)
        axes.invert_xaxis()
    else:
        axes.set_xlim(-0.5, n - 0.5)


def _cluster_tree(axes: Axes, clustering: Clustering, n: int, *, vertical: bool) -> None:
    """Draw the tree of the clusters, every leaf over the middle of its rows; `n` rows in all."""
    sizes = clustering.labels[clustering.order].value_counts(sort=False).to_numpy()
    _draw_tree(axes, clustering.tree, np.cumsum(sizes) - sizes / 2 - 0.5, n, vertical=vertical)


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


def coefficient_heatmap(
    coef: pd.DataFrame, programs: Clustering, modules: Clustering, figure: Figure | None = None
) -> Figure:
    """Draw coefficients, genes by programs and perturbations by modules, with both trees.

    Genes outside the programs are left out; perturbations outside the modules stand last.
    """
    outside = [str(c) for c in coef.columns if str(c) not in set(modules.order)]
    columns = [*modules.order, *sorted(outside)]
    rows = programs.order
    values = coef.reindex(index=rows, columns=columns).to_numpy(dtype=float)
    width = float(np.clip(0.17 * len(columns), 4.5, 15))
    figure = canvas(figure, width + 2.2, 8.5)
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


def _wide(table: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame, str]:
    """Return effects and q, programs by perturbations, of the most significant perturbations."""
    programs = list(dict.fromkeys(table["program"]))
    values, adjusted = (
        table.pivot(index="program", columns="perturbation", values=column).loc[programs]
        for column in ("effect_size", "q_permutation")
    )
    values = values.dropna(axis=1, how="all")
    q, effect = adjusted[values.columns].min(), -values.abs().max()
    ranking = pd.DataFrame({"q": q, "effect": effect, "name": values.columns})
    kept = list(ranking.sort_values(["q", "effect", "name"]).index[:MAX_SHOWN])
    n = values.shape[1]
    note = "" if n <= MAX_SHOWN else f" ({len(kept)} most significant of {n:,} perturbations)"
    return values[kept], adjusted[kept], note


def _tree_order(values: pd.DataFrame) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the rows in the order of their tree, and the tree; fewer than three have none."""
    if len(values) < 3:
        return np.arange(len(values)), np.empty((0, 4))
    numbers = np.nan_to_num(values.to_numpy(dtype=float))
    tree = linkage(numbers, method="average", optimal_ordering=True)
    return leaves_list(tree), tree


def program_clustermap(
    table: pd.DataFrame, *, q_threshold: float = 0.05, figure: Figure | None = None
) -> Figure:
    """Draw programs by perturbations, both in the order of their trees; dots where significant.

    Parameters
    ----------
    table : pandas.DataFrame
        As `program_tests.compare_programs` returns it. The `MAX_SHOWN` most significant
        perturbations are shown; the title says so where some are left out.
    """
    values, adjusted, note = _wide(table)
    rows, row_tree = _tree_order(values)
    columns, column_tree = _tree_order(values.T)
    values, adjusted = values.iloc[rows, columns], adjusted.iloc[rows, columns]
    n_rows, n_columns = values.shape
    width, height = max(0.2 * n_columns, 3.5), max(0.28 * n_rows, 2.0)
    figure = canvas(figure, width + 2.4, height + 2.2)
    grid = figure.add_gridspec(2, 3, width_ratios=(0.8, width, 0.2), height_ratios=(0.6, height))
    main = figure.add_subplot(grid[1, 1])
    numbers = values.to_numpy(dtype=float)
    image = main.imshow(numbers, aspect="auto", cmap=DIVERGING, norm=symmetric(numbers, 1.0))
    marked = np.argwhere(adjusted.to_numpy(dtype=float) < q_threshold)
    main.plot(marked[:, 1], marked[:, 0], ".", color="black", ms=3)
    _name_columns(main, list(values.columns))
    main.yaxis.tick_right()
    main.set_yticks(range(n_rows), values.index, fontsize=8)
    beside, above = figure.add_subplot(grid[1, 0]), figure.add_subplot(grid[0, 1])
    _draw_tree(beside, row_tree, np.arange(n_rows), n_rows, vertical=True)
    _draw_tree(above, column_tree, np.arange(n_columns), n_columns, vertical=False)
    figure.colorbar(image, cax=figure.add_subplot(grid[1, 2]), label="effect size")
    figure.suptitle(f"program scores against control{note}; dot: q < {q_threshold:g}", fontsize=10)
    return figure


def dotplot(table: pd.DataFrame, figure: Figure | None = None) -> Figure:
    """Draw the table of `program_clustermap` as dots: size by -log10 q, colour by effect."""
    values, adjusted, note = _wide(table)
    columns, _ = _tree_order(values.T)
    values, adjusted = values.iloc[:, columns], adjusted.iloc[:, columns]
    n_rows, n_columns = values.shape
    size = np.minimum(-np.log10(adjusted.to_numpy(dtype=float)), LARGEST_DOT)
    area = 4 + 66 * np.nan_to_num(size) / LARGEST_DOT
    x, y = np.meshgrid(np.arange(n_columns), np.arange(n_rows))
    width, height = max(0.21 * n_columns, 3.5), max(0.28 * n_rows, 2.2)
    figure = canvas(figure, width + 3.0, height + 1.6)
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
    figure.colorbar(dots, ax=axes, label="effect size", shrink=0.8, pad=0.02)
    handles = [
        axes.scatter([], [], s=4 + 66 * step / LARGEST_DOT, color="#888888", label=f"{step:.1f}")
        for step in (1.3, LARGEST_DOT / 2, LARGEST_DOT)
    ]
    handles[-1].set_label(f">= {LARGEST_DOT:.1f}")
    figure.legend(
        handles=handles,
        title="-log10 q",
        loc="outside upper right",
        ncols=len(handles),
        frameon=False,
        fontsize=7,
        title_fontsize=8,
    )
    axes.set_title(f"program scores against control{note}", fontsize=10, loc="left")
    return figure


def enrichment_dots(
    table: pd.DataFrame,
    *,
    q_threshold: float = 0.05,
    n_terms: int = 5,
    figure: Figure | None = None,
) -> Figure:
    """Draw terms by gene sets: size by -log10 q, colour by the odds ratio (log2).

    Parameters
    ----------
    table : pandas.DataFrame
        As `tuner_plugins.perturbseq.programs.enrichment.enrich` returns it.
    q_threshold : float
        Terms that no set reaches it with are left out.
    n_terms : int
        Of every set, at most.
    """
    hits = table[(table["q"] < q_threshold) & (table["overlap"] > 0)]
    terms = list(dict.fromkeys(hits.groupby("set", sort=False).head(n_terms)["term"]))
    shown = hits[hits["term"].isin(terms)]
    sets = list(dict.fromkeys(shown["set"]))
    width, height = 0.32 * len(sets) + 4.6, 0.24 * len(terms) + 1.6
    figure = canvas(figure, float(np.clip(width, 5.0, 16.0)), float(np.clip(height, 2.4, 14.0)))
    axes = figure.subplots()
    if not terms:
        axes.text(
            0.5, 0.5, f"no term at q < {q_threshold:g}", ha="center", transform=axes.transAxes
        )
        axes.set_axis_off()
        return figure
    size = np.minimum(-np.log10(shown["q"].to_numpy(dtype=float)), LARGEST_DOT)
    odds = np.log2(np.clip(shown["odds_ratio"].to_numpy(dtype=float), 2.0**-8, 2.0**8))
    dots = axes.scatter(
        [sets.index(name) for name in shown["set"]],
        [terms.index(name) for name in shown["term"]],
        s=4 + 66 * size / LARGEST_DOT,
        c=odds,
        cmap=SEQUENTIAL,
    )
    axes.set_xticks(range(len(sets)), sets, rotation=90, fontsize=8)
    axes.set_yticks(range(len(terms)), [name[:48] for name in terms], fontsize=7)
    axes.set(xlim=(-0.7, len(sets) - 0.3), ylim=(len(terms) - 0.3, -0.7))
    axes.set_title(f"gene sets at q < {q_threshold:g}; size: -log10 q", fontsize=10, loc="left")
    bare(axes)
    figure.colorbar(dots, ax=axes, label="log2 odds ratio", shrink=0.8, pad=0.02)
    return figure
