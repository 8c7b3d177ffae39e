"""Is a correlation with an annotation real? What the same loadings give for shifted annotations.

A circular shift keeps how long genes are and how they cluster, and how smooth the loadings are, and
breaks only their alignment. Choosing the best of the loadings is repeated for every shift, so that
the null contains the luck of that choice.

Why blocks have to stay whole in genome tracks: P. J. Bickel, N. Boley, J. B. Brown, H. Huang and
N. R. Zhang (2010), Subsampling methods for genomic inference, Ann. Appl. Stat. 4(4),
doi:10.1214/10-AOAS363.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tuner_plugins.nmf.io.step_functions import Runs, run_lengths
from tuner_plugins.nmf.model.correlation import annotation_correlations, centre
from tuner_plugins.nmf.model.factorize import Loadings


def shifted_correlations(
    loadings: Loadings, annotation: Runs, shifts: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Correlate every loading with the annotation shifted circularly to the right.

    Parameters
    ----------
    loadings : Loadings
    annotation : Runs
        As in `correlation.annotation_correlations`.
    shifts : ndarray of shape (count,)
        Bases, from 0 to the region's length.

    Returns
    -------
    ndarray of shape (count, k)
    """
    observed = annotation_correlations(loadings, annotation)
    genes, norm = centre(np.nan_to_num(annotation.values), run_lengths(annotation.ends))
    edges = np.concatenate([[0], annotation.ends])[None, :] + shifts[:, None]
    laps, inside = np.divmod(edges, loadings.size)
    positions = np.concatenate([[0], loadings.ends])
    lengths = run_lengths(loadings.ends)
    found = np.zeros((len(shifts), len(loadings.values)))
    for row, loading in enumerate(loadings.values):
        if observed[row] == 0:
            continue  # constant, or there is nothing to correlate with
        centred, scale = centre(loading, lengths)
        integral = np.concatenate([[0.0], np.cumsum(centred * lengths)])
        at_edges = np.interp(inside, positions, integral) + laps * integral[-1]
        found[:, row] = np.diff(at_edges, axis=1) @ genes / (scale * norm)
    return np.clip(found, -1.0, 1.0)


def draw_shifts(size: int, count: int, seed: int) -> NDArray[np.int64]:
    """Draw `count` shifts, uniform on 1 to `size` - 1."""
    return np.random.default_rng(seed).integers(1, max(2, size), count)
