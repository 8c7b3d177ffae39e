"""Tracks that give the answer away: those that equal the annotation, and those that follow it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tuner_plugins.nmf.io.bigwig import read_runs
from tuner_plugins.nmf.io.step_functions import Runs, bin_runs, zero_gaps
from tuner_plugins.nmf.model.correlation import annotation_correlations
from tuner_plugins.nmf.model.factorize import Loadings

FOLLOWS = 0.95
"""Correlation with the annotation beyond which a track holds the answer by itself."""

_BIN = 1000
_WINDOW = 5000


class Likeness(NamedTuple):
    """Correlations of a track with the annotation, each the largest absolute one with its sign.

    Attributes
    ----------
    bases : float
        Per base.
    bins : float or None
        Over bins of `width` bases; None where they are too few, or constant.
    width : int
    """

    bases: float
    bins: float | None
    width: int = _BIN

    @property
    def r(self) -> float:
        """The one that says more."""
        return self.bases if self.bins is None else max(self.bases, self.bins, key=abs)

    def __str__(self) -> str:
        """Return both as text, with the bins that they are over."""
        over = "" if self.bins is None else f"{self.bins:.3f} in bins of {self.width:,} bases, "
        return f"R {over}{self.bases:.3f} per base"


def equals_annotation(path: str, chrom: str, start: int, end: int, annotation: Runs) -> bool:
    """Return whether a track has the annotation's values all over a region; gaps count as 0.

    Where the annotation is constant nothing can be told: False. `annotation` covers the region.
    Most tracks are told apart by a short stretch around one end of a gene, without reading more.
    """
    if len(annotation.ends) < 2:
        return False
    edge = int(annotation.ends[len(annotation.ends) // 2 - 1])
    near = max(start, edge - _WINDOW), min(end, edge + _WINDOW)
    for part in (near, (start, end)):
        track, genes = zero_gaps(read_runs(path, chrom, *part)), _cut(annotation, *part)
        if not all(map(np.array_equal, track, genes)):
            return False
    return True


def annotation_correlation(
    path: str, chrom: str, start: int, end: int, annotation: Runs
) -> Likeness:
    """Return the correlations of a track with the annotation, per base and in bins of a kilobase.

    For the values as they are and their logarithms: what trials make of a track.
    """
    runs = zero_gaps(read_runs(path, chrom, start, end))
    values = runs.values.astype(float)
    rows = np.stack([values, np.copysign(np.log1p(np.abs(values)), values)])
    loadings = Loadings(rows, runs.ends - start, np.zeros((2, 1)))
    genes = Runs(annotation.ends - start, annotation.values)
    bases = annotation_correlations(loadings, genes).tolist()
    binned = []
    for row in rows:
        tracks = [Runs(runs.ends, row), annotation]
        bins = [bin_runs(track, start, end, _BIN) for track in tracks]
        if len(bins[0]) > 2 and all(np.ptp(means) > 1e-9 * np.abs(means).max() for means in bins):
            binned.append(float(np.corrcoef(bins[0], bins[1])[0, 1]))
    return Likeness(max(bases, key=abs), max(binned, key=abs, default=None))


def _cut(runs: Runs, start: int, end: int) -> Runs:
    """Return the part of a step function over ``[start, end)``."""
    first = np.searchsorted(runs.ends, start, side="right")
    stop = np.searchsorted(runs.ends, end) + 1
    return Runs(np.minimum(runs.ends[first:stop], end), runs.values[first:stop])
