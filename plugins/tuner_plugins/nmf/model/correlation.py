"""Pearson correlation of loadings with an annotation, without expanding either."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tuner_plugins.nmf.io.step_functions import Runs, run_lengths
from tuner_plugins.nmf.model.factorize import Loadings

_CONSTANT = 100
"""A loading that varies by less than this many roundings of its largest value is constant."""


def annotation_correlations(loadings: Loadings, annotation: Runs) -> NDArray[np.float64]:
    """Correlate every loading with an annotation over all positions of the region.

    Parameters
    ----------
    loadings : Loadings
    annotation : Runs
        Over the same region; ends count from its start, and NaN as 0.

    Returns
    -------
    ndarray of shape (k,)
        Pearson correlations per base; 0 where the loading or the annotation is constant.

    Examples
    --------
    >>> ends = np.array([10, 30, 60])
    >>> loadings = Loadings(np.array([[0.0, 2.0, 0.0], [5.0, 5.0, 5.0]]), ends, np.eye(2))
    >>> annotation_correlations(loadings, Runs(ends, np.array([0, 1, 0]))).round(6).tolist()
    [1.0, 0.0]
    """
    ends = annotation.ends
    if ends[-1] != loadings.size:
        raise ValueError(f"annotation covers {ends[-1]} positions, the loadings {loadings.size}")
    lengths = run_lengths(loadings.ends).astype(float)
    genes, norm = centre(np.nan_to_num(annotation.values), run_lengths(ends))
    integral = np.concatenate([[0.0], np.cumsum(genes * run_lengths(ends))])
    inside = np.diff(np.interp(loadings.ends, np.concatenate([[0], ends]), integral), prepend=0.0)
    correlations = np.zeros(len(loadings.values))
    if np.ptp(genes) == 0:
        return correlations
    for row, loading in enumerate(loadings.values):
        if np.ptp(loading) > _CONSTANT * np.finfo(loading.dtype).eps * np.max(np.abs(loading)):
            centred, scale = centre(loading, lengths)
            correlations[row] = np.clip(centred @ inside / (scale * norm), -1, 1)
    return correlations


def centre(values: NDArray[Any], lengths: NDArray[Any]) -> tuple[NDArray[np.float64], float]:
    """Return a step function, given by values and lengths of runs, minus its mean; and its norm."""
    values, lengths = np.asarray(values, dtype=float), np.asarray(lengths, dtype=float)
    centred = values - np.dot(values, lengths) / lengths.sum()
    return centred, float(np.sqrt(np.dot(centred * centred, lengths)))


def best_correlation(correlations: NDArray[np.float64], absolute: bool = False) -> float:
    """Return the largest correlation, or the largest absolute one."""
    return float(np.max(np.abs(correlations) if absolute else correlations))
