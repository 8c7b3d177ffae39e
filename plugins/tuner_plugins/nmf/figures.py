"""Pictures and tables of a factorisation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tuner.plugin import Result
from tuner_plugins.nmf.io.regions import Place
from tuner_plugins.nmf.model.correlation import annotation_correlations
from tuner_plugins.nmf.model.factorize import Loadings

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

_PIXELS = 1500


def draw_case(result: Result) -> Figure:
    """Draw genes, the loading that follows them best, all loadings and the tracks' weights."""
    from matplotlib.figure import Figure

    data, loadings = result.case.data, result.output
    found = annotation_correlations(loadings, data.genes)
    best = int(np.argmax(found))
    edges = np.unique(np.linspace(0, loadings.size, _PIXELS + 1).astype(np.int64))
    start = data.places[0][1] if len(data.places) == 1 else 0
    megabases = (start + edges) / 1e6
    figure = Figure(figsize=(11, 7.5), layout="constrained")
    grid = figure.add_gridspec(3, 2, height_ratios=[1, 5, 6], width_ratios=[6, 1.3])
    top = figure.add_subplot(grid[0, 0])
    top.stairs(
        _average(data.genes.ends, data.genes.values, edges),
        megabases,
        fill=True,
        color="0.35",
    )
    top.set(yticks=[], ylabel="genes", xlim=megabases[[0, -1]])
    which = "held out" if result.held_out else "tuned"
    top.set_title(f"{result.case.name} ({which}): R = {found[best]:.3f} (loading {best})")
    line = figure.add_subplot(grid[1, 0], sharex=top)
    line.stairs(_average(loadings.ends, loadings.values[best], edges), megabases, color="C3")
    line.set_ylabel(f"loading {best}")
    image = figure.add_subplot(grid[2, 0], sharex=top)
    rows = np.stack([_average(loadings.ends, row, edges) for row in loadings.values])
    rows /= np.maximum(rows.max(axis=1, keepdims=True), np.finfo(float).tiny)
    image.pcolormesh(megabases, np.arange(len(rows) + 1) - 0.5, rows, cmap="magma", vmin=0)
    image.set(ylabel="loading (each to its maximum)", xlabel=_axis(data.places))
    for stop in np.cumsum([end - begin for _, begin, end in data.places])[:-1]:
        image.axvline((start + stop) / 1e6, color="white", linewidth=0.6)
    image.set_yticks(range(len(rows)))
    image.invert_yaxis()
    bars = figure.add_subplot(grid[2, 1], sharey=image)
    bars.barh(
        range(len(found)), found, color=["C3" if i == best else "0.6" for i in range(len(found))]
    )
    bars.axvline(0, color="black", linewidth=0.8)
    bars.set_xlabel("R with genes")
    _draw_weights(figure.add_subplot(grid[:2, 1]), loadings, data.tracks, best)
    return figure


def _axis(places: Sequence[Place]) -> str:
    """Return what positions are counted along."""
    names = [chrom for chrom, _, _ in places]
    if len(names) == 1:
        return f"{names[0]} (Mb)"
    some = ", ".join(names if len(names) < 5 else [*names[:2], "...", names[-1]])
    return f"{some} end to end (Mb)"


def tabulate_weights(results: Sequence[Result]) -> pd.DataFrame:
    """Return one line for each loading and track: case, loading, r, track, weight."""
    import pandas as pd

    frames = []
    for result in results:
        data, loadings = result.case.data, result.output
        found = annotation_correlations(loadings, data.genes)
        k, tracks = loadings.weights.shape
        frames.append(
            pd.DataFrame(
                {
                    "case": result.case.name,
                    "held_out": result.held_out,
                    "loading": np.repeat(np.arange(k), tracks),
                    "r": np.repeat(found, tracks),
                    "track": [Path(path).name for path in data.tracks] * k,
                    "weight": loadings.weights.ravel(),
                }
            )
        )
    return pd.concat(frames, ignore_index=True)


def _draw_weights(axes: Any, loadings: Loadings, tracks: Sequence[str], best: int) -> None:
    """Draw the largest weights of one loading."""
    weights = loadings.weights[best]
    order = np.argsort(weights)[::-1][:8][::-1]
    axes.barh(range(len(order)), weights[order], color="C3")
    names = [Path(tracks[i]).stem for i in order]
    axes.set_yticks(range(len(order)), [name[:22] for name in names], fontsize=6)
    axes.set_title(f"weights of loading {best}", fontsize=9)


def _average(ends: NDArray[Any], values: NDArray[Any], edges: NDArray[Any]) -> NDArray[np.float64]:
    """Average a step function, given by where its runs end, between neighbouring edges."""
    filled = np.nan_to_num(np.asarray(values, dtype=float))
    integral = np.concatenate([[0.0], np.cumsum(filled * np.diff(ends, prepend=0))])
    at_edges = np.interp(edges, np.concatenate([[0], ends]), integral)
    averages: NDArray[np.float64] = np.diff(at_edges) / np.diff(edges)
    return averages
