"""Tracks that give the answer away: those that equal the annotation, and those that follow it."""

from __future__ import annotations

import numpy as np

from tuner_plugins.nmf.io.bigwig import read_runs
from tuner_plugins.nmf.io.step_functions import Runs, bin_runs, zero_gaps
from tuner_plugins.nmf.model.correlation import annotation_correlations
from tuner_plugins.nmf.model.factorize import Loadings

FOLLOWS = 0.95
"""Correlation with the annotation beyond which a track is no measurement of its own."""

_BIN = 1000
_WINDOW = 5000


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


def annotation_correlation(path: str, chrom: str, start: int, end: int, annotation: Runs) -> float:
    """Return the correlation of a track with the annotation, of the largest absolute value.

    Per base and in bins of a kilobase, for the values as they are and their logarithms: what
    trials make of a track.
    """
    runs = zero_gaps(read_runs(path, chrom, start, end))
    genes = Runs(annotation.ends - start, annotation.values)
    found = []
    for values in (runs.values, np.sign(runs.values) * np.log1p(np.abs(runs.values))):
        track = Runs(runs.ends, values)
        rows = Loadings(values[None].astype(float), runs.ends - start, np.zeros((1, 1)))
        found.append(annotation_correlations(rows, genes)[0])
        bins = [bin_runs(item, start, end, _BIN) for item in (track, annotation)]
        if len(bins[0]) > 2 and all(np.ptp(row) > 1e-9 * np.abs(row).max() for row in bins):
            found.append(np.corrcoef(bins[0], bins[1])[0, 1])
    return float(max(found, key=abs))


def _cut(runs: Runs, start: int, end: int) -> Runs:
    """Return the part of a step function over ``[start, end)``."""
    first = np.searchsorted(runs.ends, start, side="right")
    stop = np.searchsorted(runs.ends, end) + 1
    return Runs(np.minimum(runs.ends[first:stop], end), runs.values[first:stop])
