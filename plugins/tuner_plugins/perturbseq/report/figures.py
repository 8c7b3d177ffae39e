"""Figures of a screen: embeddings, R2 surface, QQ, volcano; and how figures are written.

Functions take tables and give `matplotlib.figure.Figure` objects; nothing touches global state.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.stats import beta

from tuner_plugins.perturbseq.colours import MISSING, SEQUENTIAL, palette
from tuner_plugins.perturbseq.errors import AnalysisError

DPI = 150
MAX_LEGEND = 30
_EDITABLE = {"pdf.fonttype": 42, "ps.fonttype": 42, "svg.fonttype": "none"}


def save(figure: Figure, stem: Path) -> list[Path]:
    """Write a figure as PNG and as PDF with editable text; return both files.

    Each is written under another name first and then renamed.
    """
    stem.parent.mkdir(parents=True, exist_ok=True)
    written = []
    # laid out and measured once for both files, which takes as long as drawing them
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    box = figure.get_tightbbox().padded(mpl.rcParams["savefig.pad_inches"])
    with mpl.rc_context(_EDITABLE):
        for suffix in ("png", "pdf"):
            path = stem.with_name(f"{stem.name}.{suffix}")
            # No creation date: the same data give the same file.
            fixed = {"CreationDate": None} if suffix == "pdf" else None
            draw = partial(figure.savefig, format=suffix, dpi=DPI, metadata=fixed)
            written.append(write_whole(path, partial(draw, bbox_inches=box)))
    return written


def write_whole(path: Path, write: Callable[[Path], object]) -> Path:
    """Let `write` make a file under another name, then put it where `path` leads.

    A link stays: the file that it names is replaced. Returns `path`.

    Raises
    ------
    AnalysisError
        Where a folder, a device or a pipe is in the place of the file.
    """
    place = path.resolve()
    if place.exists() and not place.is_file():
        raise AnalysisError(f"cannot write {path}: it is no regular file; move it away")
    part = place.with_name(f".{place.name}.part")
    write(part)
    part.replace(place)
    return path


def canvas(figure: Figure | None, width: float, height: float) -> Figure:
    """Return the figure to draw into, a new one where none is given, of a size in inches."""
    figure = Figure() if figure is None else figure
    figure.set_size_inches(width, height)
    figure.set_layout_engine("constrained")
    return figure


def bare(axes: Axes) -> None:
    """Take away the box on top and at the right."""
    axes.spines[["top", "right"]].set_visible(False)


def symmetric(values: NDArray[np.float64], quantile: float = 0.995) -> TwoSlopeNorm:
    """Return a norm around 0 that a few extreme values cannot wash out."""
    finite = np.abs(values[np.isfinite(values)])
    finite = finite[finite > 0]
    limit = float(np.quantile(finite, quantile)) if len(finite) else 1.0
    return TwoSlopeNorm(0.0, -limit, limit)


def embedding(coordinates: NDArray[np.float64], values: pd.Series, *, axes: Axes) -> None:
    """Draw cells, (cells, 2), coloured by a column of categories or numbers into `axes`.

    Up to `MAX_LEGEND` categories have a legend; more would not be told apart, and the ten largest
    are named where they lie.
    """
    size = float(np.clip(12_000 / max(len(coordinates), 1), 0.5, 12))
    order = np.random.default_rng(0).permutation(len(coordinates))  # no group lies on top
    points = coordinates[order]
    style: dict[str, Any] = {"s": size, "linewidths": 0, "rasterized": True}
    if pd.api.types.is_numeric_dtype(values) and values.nunique() > 12:
        x, y = points.T
        drawn = axes.scatter(x, y, c=values.to_numpy()[order], cmap=SEQUENTIAL, **style)
        axes.figure.colorbar(drawn, ax=axes, shrink=0.6)
    else:
        _categories(axes, points, values.astype("category").iloc[order], style)
    axes.set(title=str(values.name), xticks=[], yticks=[], xlabel="UMAP 1", ylabel="UMAP 2")
    axes.set_aspect("equal", "datalim")
    bare(axes)


def _categories(
    axes: Axes, points: NDArray[np.float64], values: pd.Series, style: Mapping[str, Any]
) -> None:
    names = list(values.cat.categories)
    codes = values.cat.codes.to_numpy()
    colours = np.array([*palette(len(names)), MISSING])
    x, y = points.T
    axes.scatter(x, y, c=colours[codes], **style)
    if len(names) <= MAX_LEGEND:
        handles = [
            axes.scatter([], [], color=colour, s=20, label=str(name))
            for name, colour in zip(names, colours, strict=False)
        ]
        axes.legend(
            handles=handles,
            loc="center left",
            bbox_to_anchor=(1.0, 0.5),
            frameon=False,
            fontsize=7,
            ncols=1 + (len(names) - 1) // 15,
        )
        return
    largest = np.argsort(-np.bincount(codes[codes >= 0], minlength=len(names)), kind="stable")
    for code in largest[:10]:
        where = np.median(points[codes == code], axis=0)
        axes.annotate(str(names[code]), where, fontsize=7, ha="center", weight="bold")


def embeddings(
    coordinates: NDArray[np.float64], obs: pd.DataFrame, figure: Figure | None = None
) -> Figure:
    """Draw one panel for each column of `obs`, side by side."""
    n = max(obs.shape[1], 1)
    figure = canvas(figure, 5.4 * n, 4.2)
    for axes, column in zip(np.atleast_1d(figure.subplots(1, n)), obs.columns, strict=False):
        embedding(coordinates, obs[column], axes=axes)
    return figure


def r2_surface(
    r2: NDArray[np.float64],
    alphas: Sequence[float],
    l1_ratios: Sequence[float],
    chosen: tuple[float, float] | None = None,
    figure: Figure | None = None,
) -> Figure:
    """Draw held-out R2 over alpha and l1_ratio, (alphas, l1_ratios), and a cross where `chosen`."""
    figure = canvas(figure, 6.4, 4.2)
    left, right = figure.subplots(1, 2, width_ratios=(1.2, 1))
    order = np.argsort(alphas)
    x, table = np.asarray(alphas, dtype=float)[order], np.asarray(r2)[order]
    low = float(np.quantile(table, 0.25))  # or the slope would leave no colours to the plateau
    high = float(table.max())
    image = left.imshow(
        table, aspect="auto", origin="lower", cmap=SEQUENTIAL, vmin=low, vmax=max(high, low + 1e-12)
    )
    step = max(1, len(x) // 8)
    left.set_yticks(range(0, len(x), step), [f"{a:.1e}" for a in x[::step]])
    left.set_xticks(range(len(l1_ratios)), [f"{r:g}" for r in l1_ratios])
    left.set(xlabel="l1_ratio", ylabel="alpha", title="held-out R2")
    figure.colorbar(image, ax=left, extend="min")
    if chosen is not None:
        row = int(np.argmin(np.abs(np.log(np.maximum(x, 1e-300)) - np.log(chosen[0]))))
        column = int(np.argmin(np.abs(np.asarray(l1_ratios) - chosen[1])))
        left.plot(column, row, "x", color="white", markersize=11, markeredgewidth=4)
        left.plot(column, row, "x", color="black", markersize=9, markeredgewidth=2)
    colours = mpl.colormaps["cividis"](np.linspace(0, 0.9, len(l1_ratios)))
    for k, ratio in enumerate(l1_ratios):
        right.plot(x, table[:, k], color=colours[k], label=f"{ratio:g}", lw=1.5)
    right.set(xscale="log", xlabel="alpha", ylabel="held-out R2")
    right.legend(title="l1_ratio", fontsize=7, frameon=False)
    bare(right)
    return figure


def qq(groups: Mapping[str, NDArray[np.float64]], figure: Figure | None = None) -> Figure:
    """Draw observed against expected p-values of each group, NaN left out, with a 95 % band.

    The band is pointwise and takes p-values for independent; those of correlated genes stray
    outside more often.
    """
    figure = canvas(figure, 4.4, 4.2)
    axes = figure.subplots()
    colours = palette(len(groups))
    top = 1.0
    for number, (name, p) in enumerate(groups.items()):
        values = np.sort(np.asarray(p, dtype=float)[~np.isnan(np.asarray(p, dtype=float))])
        n = len(values)
        if not n:
            continue
        ranks = np.unique(np.geomspace(1, n, 2000).astype(int))  # all of the tail, few of the rest
        expected = -np.log10((ranks - 0.5) / n)
        if number == 0:
            low, high = (-np.log10(beta.ppf(q, ranks, n - ranks + 1)) for q in (0.975, 0.025))
            axes.fill_between(expected, low, high, color=MISSING, lw=0, label="95 % of no effect")
        observed = -np.log10(values[ranks - 1])
        axes.plot(expected, observed, ".", ms=4, color=colours[number], label=str(name))
        top = max(top, float(expected.max()))
    axes.plot([0, top], [0, top], color="black", lw=0.8)
    axes.set(xlabel="expected -log10 p", ylabel="observed -log10 p")
    axes.legend(frameon=False, fontsize=8, loc="upper left")
    bare(axes)
    return figure


def volcano(
    table: pd.DataFrame,
    perturbation: str,
    *,
    q_threshold: float = 0.05,
    n_named: int = 12,
    figure: Figure | None = None,
) -> Figure:
    """Draw the coefficients of one perturbation against their significance.

    Parameters
    ----------
    table : pandas.DataFrame
        ``gene``, ``perturbation``, ``coef``, ``p``, ``q``.
    q_threshold : float
        What is coloured.
    n_named : int
        The most significant genes are named, half of them up and half down.
    """
    rows = table[(table["perturbation"] == perturbation) & table["p"].notna()]
    figure = canvas(figure, 4.6, 4.0)
    axes = figure.subplots()
    x, y = rows["coef"].to_numpy(), -np.log10(rows["p"].to_numpy())
    hit = rows["q"].to_numpy() < q_threshold
    # A significant coefficient may be shrunk to nothing: neither up nor down.
    sides = np.select([x > 0, x < 0], ["#B2182B", "#2166AC"], "#555555")
    colours = np.where(hit, sides, MISSING)
    axes.scatter(x, y, c=colours, s=12, linewidths=0, rasterized=len(x) > 3000)
    axes.axvline(0, color="black", lw=0.5)
    genes = rows["gene"].to_numpy()
    span = max(float(y.max(initial=0.0)), 1e-3)
    axes.set_ylim(-0.03 * span, 1.18 * span)
    for side in (-1, 1):
        mine = np.flatnonzero(hit & (np.sign(x) == side))
        mine = mine[np.lexsort((-np.abs(x[mine]), -y[mine]))][: n_named // 2]
        _name_points(axes, x[mine], y[mine], genes[mine], side, span)
    up, down = int((hit & (x > 0)).sum()), int((hit & (x < 0)).sum())
    axes.set(
        title=f"{perturbation}: {up} up, {down} down (q < {q_threshold:g})",
        xlabel="coefficient",
        ylabel="-log10 p",
    )
    low, high = min(float(x.min(initial=0.0)), 0.0), max(float(x.max(initial=0.0)), 0.0)
    room = 0.38 * ((high - low) or 1.0)  # for the names
    axes.set_xlim(low - room, high + room)
    bare(axes)
    return figure


def _name_points(
    axes: Axes,
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    names: NDArray[np.object_],
    side: int,
    span: float,
) -> None:
    """Write names beside their points, from the top down, none over another."""
    height, last = 0.055 * span, np.inf
    edge = axes.dataLim.intervalx[0 if side < 0 else 1]
    edge += side * 0.08 * (float(np.ptp(axes.dataLim.intervalx)) or 1.0)
    for i in np.argsort(-y, kind="stable"):
        at = min(y[i], last - height)
        last = at
        # a line of its own: arrows of annotations are slow to lay out
        axes.plot([x[i], edge], [y[i], at], color="#888888", lw=0.3)
        side_of = "left" if side > 0 else "right"
        axes.text(edge, at, str(names[i]), fontsize=7, ha=side_of, va="center")
