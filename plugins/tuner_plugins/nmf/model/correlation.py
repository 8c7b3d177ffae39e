"""Pearson correlation of loadings with an annotation, without expanding either."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tuner_plugins.nmf.model.factorize import Loadings, run_lengths

_CONSTANT = 100
"""A loading that varies by less than this many roundings of its largest value is constant."""


def annotation_correlations(
    loadings: Loadings, ends: NDArray[np.int64], values: NDArray[Any]
) -> NDArray[np.float64]:
    """Correlate every loading with an annotation over all positions of the region.

    Parameters
    ----------
    loadings : Loadings
    ends : ndarray of shape (annotation runs,)
        Where each run of the annotation ends, in bases from the region's start; the last is the
        region's length.
    values : ndarray of shape (annotation runs,)
        The annotation over each run; NaN counts as 0.

    Returns
    -------
    ndarray of shape (k,)
        Pearson correlations per base; 0 where the loading or the annotation is constant.
    """
    if ends[-1] != loadings.size:
        raise ValueError(f"annotation covers {ends[-1]} positions, the loadings {loadings.size}")
    lengths = run_lengths(loadings.ends).astype(float)
    annotation = np.nan_to_num(np.asarray(values, dtype=float))
    annotation_lengths = run_lengths(ends)
    annotation = annotation - np.sum(annotation * annotation_lengths) / loadings.size
    integral = np.concatenate([[0.0], np.cumsum(annotation * annotation_lengths)])
    inside = np.diff(np.interp(loadings.ends, np.concatenate([[0], ends]), integral), prepend=0.0)
    norm = np.sqrt(np.sum(annotation**2 * annotation_lengths))
    correlations = np.zeros(len(loadings.values))
    if np.ptp(annotation) == 0:
        return correlations
    for row, loading in enumerate(loadings.values):
        tiny = _CONSTANT * np.finfo(loading.dtype).eps * np.max(np.abs(loading))
        if np.ptp(loading) <= tiny:
            continue
        centred = loading - np.dot(loading, lengths) / loadings.size
        scale = np.sqrt(np.dot(centred**2, lengths)) * norm
        correlations[row] = np.clip(np.dot(centred, inside) / scale, -1, 1)
    return correlations


def best_correlation(correlations: NDArray[np.float64], absolute: bool = False) -> float:
    """Return the largest correlation, or the largest absolute one."""
    return float(np.max(np.abs(correlations) if absolute else correlations))
