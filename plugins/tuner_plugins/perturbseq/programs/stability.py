"""How well clusters come back when the cells are resampled."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import pandas as pd
from sklearn.metrics import adjusted_rand_score

from tuner_plugins.perturbseq.programs.clustering import Clustering


def stability(
    reference: Clustering,
    resampled: Iterable[pd.DataFrame],
    recluster: Callable[[pd.DataFrame], Clustering],
) -> pd.DataFrame:
    """Measure how well each cluster comes back when the cells are resampled.

    Per cluster and resample the best Jaccard index with any new cluster (Hennig 2007,
    doi:10.1016/j.csda.2006.11.025): a mean above 0.75 is stable, below 0.5 dissolved.

    Parameters
    ----------
    reference : Clustering
        Of the coefficients from all cells.
    resampled : iterable of pandas.DataFrame, (rows, columns)
        Coefficients refitted on bootstrap samples of the cells, same rows.
    recluster : callable
        From such a table to its clustering: with the neighbours and the resolution that were chosen
        for `reference`, whose choice would take ten times as long again for each resample.

    Returns
    -------
    pandas.DataFrame
        One row a cluster: ``size``, ``jaccard_mean``, ``jaccard_sd``, ``resamples``, and
        ``adjusted_rand_mean``, the agreement of the whole clustering on rows clustered in both.

    Examples
    --------
    >>> from tuner_plugins.perturbseq.programs.clustering import cluster
    >>> up, down = [1.0, 1.0, 0.0], [0.0, -1.0, 1.0]
    >>> coef = pd.DataFrame([up, up, down, down], index=list("abcd"))
    >>> table = stability(cluster(coef), [coef, coef * 2], cluster)
    >>> table[["cluster", "size", "jaccard_mean", "resamples"]]
      cluster  size  jaccard_mean  resamples
    0      P0     2           1.0          2
    1      P1     2           1.0          2
    """
    members = {name: set(rows) for name, rows in reference.members().items()}
    jaccards: list[list[float]] = []
    rand: list[float] = []
    for table in resampled:
        again = recluster(table)
        others = [set(rows) for rows in again.members().values()]
        jaccards.append(
            [max((len(a & b) / len(a | b) for b in others), default=0.0) for a in members.values()]
        )
        both = reference.labels.notna() & again.labels.reindex(reference.labels.index).notna()
        if both.any():
            pair = reference.labels[both], again.labels.reindex(reference.labels.index)[both]
            rand.append(adjusted_rand_score(pair[0].astype(str), pair[1].astype(str)))
    scores = np.asarray(jaccards, dtype=float).reshape(-1, len(members))
    enough = len(scores) > 0
    return pd.DataFrame(
        {
            "cluster": list(members),
            "size": [len(rows) for rows in members.values()],
            "jaccard_mean": scores.mean(axis=0) if enough else np.nan,
            "jaccard_sd": scores.std(axis=0) if enough else np.nan,
            "resamples": len(scores),
            "adjusted_rand_mean": float(np.mean(rand)) if rand else np.nan,
        }
    )


def joined(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Join what `stability` measured of the same clusters, a resample at a time.

    Examples
    --------
    >>> from tuner_plugins.perturbseq.programs.clustering import cluster
    >>> up, down = [1.0, 1.0, 0.0], [0.0, -1.0, 1.0]
    >>> coef = pd.DataFrame([up, up, down, down], index=list("abcd"))
    >>> once = stability(cluster(coef), [coef], cluster)
    >>> joined([once, once]).equals(stability(cluster(coef), [coef, coef], cluster))
    True
    """
    if not tables:
        return pd.DataFrame(columns=["size", "jaccard_mean", "adjusted_rand_mean"])
    means = np.array([table["jaccard_mean"] for table in tables], dtype=float)
    rand = pd.concat([table["adjusted_rand_mean"].head(1) for table in tables]).mean()
    return tables[0].assign(
        jaccard_mean=means.mean(axis=0),
        jaccard_sd=means.std(axis=0),
        resamples=len(tables),
        adjusted_rand_mean=float(rand),
    )
