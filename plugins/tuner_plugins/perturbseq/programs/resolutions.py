"""Programs at several resolutions: how many, how far apart, and how often they come back."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.metrics import silhouette_score
from threadpoolctl import threadpool_limits

from tuner_plugins.perturbseq.programs.clustering import Clustering, cluster
from tuner_plugins.perturbseq.programs.communities import ClusterOptions, features_of
from tuner_plugins.perturbseq.programs.stability import joined, stability


def at_resolutions(
    table: pd.DataFrame, options: ClusterOptions, keep: NDArray[np.bool_]
) -> dict[float, Clustering]:
    """Cluster the rows of a table of coefficients at each resolution of `options`.

    Returns
    -------
    dict
        Resolution to clusters, whose options have the neighbours that were chosen.
    """
    return {
        resolution: cluster(table, replace(options, resolution=resolution), keep=keep)
        for resolution in options.resolutions
    }


def compare_resolutions(
    table: pd.DataFrame,
    found: dict[float, Clustering],
    resampled: Iterable[pd.DataFrame],
    keep: NDArray[np.bool_],
) -> tuple[float, pd.DataFrame, pd.DataFrame]:
    """Compare programs at several resolutions, and choose by silhouette.

    Parameters
    ----------
    table : pandas.DataFrame, (genes, perturbations)
        That was clustered.
    found : dict
        Of `at_resolutions`.
    resampled : iterable of pandas.DataFrame, (genes, perturbations)
        Coefficients of bootstrap samples of the cells; each is clustered at every resolution.
    keep : ndarray of bool, (genes,)
        Rows that were clustered.

    Returns
    -------
    chosen : float
        Resolution of the best mean silhouette; where two are as good that with the larger adjusted
        Rand index, or the lower one.
    choices : pandas.DataFrame
        One row a resolution: ``resolution``, ``n_neighbors``, ``n_programs``, ``silhouette``,
        ``jaccard_mean`` (of its genes' programs) and ``adjusted_rand_mean`` over resamples,
        ``chosen``.
    stability : pandas.DataFrame
        Of the chosen one, see `stability.stability`; empty without resamples.
    """
    parts: dict[float, list[pd.DataFrame]] = {resolution: [] for resolution in found}
    for again in resampled:
        for resolution, clustering in found.items():
            recluster = partial(cluster, options=clustering.options, keep=keep)
            parts[resolution].append(stability(clustering, [again], recluster))
    stable = {resolution: joined(tables) for resolution, tables in parts.items()}
    rows = []
    for resolution, clustering in found.items():
        own = stable[resolution]
        weights = own["size"] / own["size"].sum() if len(own) else None
        rows.append(
            {
                "resolution": resolution,
                "n_neighbors": clustering.options.n_neighbors,
                "n_programs": len(clustering.colours),
                "silhouette": _silhouette(table, clustering),
                "jaccard_mean": np.nan
                if weights is None
                else float((own["jaccard_mean"] * weights).sum()),
                "adjusted_rand_mean": own["adjusted_rand_mean"].iloc[0] if len(own) else np.nan,
            }
        )
    choices = pd.DataFrame(rows).sort_values("resolution", ignore_index=True)
    ranked = choices["silhouette"].round(9), choices["adjusted_rand_mean"].round(9)
    first, then = (one.fillna(-1.0).to_numpy(dtype=float) for one in ranked)
    best = int(np.lexsort((np.arange(len(choices)), -then, -first))[0])
    choices["chosen"] = np.arange(len(choices)) == best
    chosen = float(choices["resolution"][best])
    return chosen, choices, stable[chosen]


def _silhouette(table: pd.DataFrame, clustering: Clustering) -> float:
    """Return the mean silhouette of clustered rows; NaN of one cluster, or of one row each."""
    codes = clustering.labels[clustering.order].cat.codes.to_numpy()
    if not 1 < len(clustering.colours) < len(codes):
        return float("nan")
    rows = table.loc[clustering.order].to_numpy(dtype=np.float64)
    with threadpool_limits(1):
        return float(silhouette_score(features_of(rows, clustering.options), codes))
