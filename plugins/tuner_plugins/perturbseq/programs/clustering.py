"""Gene programs and perturbation modules: clusters of the rows of a coefficient table.

Genes that answer alike to the perturbations form a *program*, perturbations that act alike on the
genes form a *module*. Both are Leiden communities of a nearest-neighbour graph of the coefficients,
named in the order of the dendrogram of the cluster means.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tuner_plugins.perturbseq.colours import palette
from tuner_plugins.perturbseq.errors import AnalysisError
from tuner_plugins.perturbseq.programs.communities import (
    ClusterOptions,
    communities,
    dendrogram_order,
    features_of,
)

FEWEST_FOR_MODULES = 3
"""Perturbations that modules take: two are alike or not, but do not say what is near."""


@dataclass(frozen=True)
class Clustering:
    """Rows and their clusters.

    Attributes
    ----------
    labels : pandas.Series of categorical, (rows,)
        ``P0``, ``P1``, ... in dendrogram order; missing for rows that were not clustered.
    order : list of str
        Clustered rows, cluster after cluster, in each the strongest first.
    tree : ndarray, (clusters - 1, 4)
        SciPy linkage of the cluster means; its leaves are the clusters in label order.
    colours : dict
        Cluster to colour; as many colours as clusters.
    options : ClusterOptions
        With the neighbours and the resolution that were chosen, if any were.
    """

    labels: pd.Series
    order: list[str]
    tree: NDArray[np.float64]
    colours: dict[str, str] = field(default_factory=dict)
    options: ClusterOptions = ClusterOptions()

    def members(self) -> dict[str, list[str]]:
        """Return the rows of each cluster, strongest first."""
        groups: dict[str, list[str]] = {name: [] for name in self.labels.cat.categories}
        for row in self.order:
            groups[self.labels[row]].append(row)
        return groups


def cluster(
    table: pd.DataFrame,
    options: ClusterOptions | None = None,
    *,
    prefix: str = "P",
    keep: NDArray[np.bool_] | None = None,
) -> Clustering:
    """Cluster the rows of a table of coefficients.

    k nearest neighbours weighted by shared neighbourhoods (Levine et al. 2015,
    doi:10.1016/j.cell.2015.05.047) and the Leiden algorithm (Traag et al. 2019,
    doi:10.1038/s41598-019-41695-z).

    Parameters
    ----------
    table : pandas.DataFrame, (rows, columns)
        Genes by perturbations for programs, its transpose for modules. Unique row names.
    options : ClusterOptions, optional
        Neighbours, resolution, seed.
    prefix : str
        Of the cluster names.
    keep : ndarray of bool, (rows,), optional
        Rows to cluster, such as those with a significant coefficient. Rows that are all zero are
        never clustered: they are alike in nothing but their lack of an effect.

    Returns
    -------
    Clustering
        The same for the same table and seed, on any number of threads.

    Raises
    ------
    AnalysisError
        For row names that repeat, or a coefficient that is not finite.

    Examples
    --------
    >>> up, down = np.array([1.0, 1.0, 0.0]), np.array([0.0, -1.0, 1.0])
    >>> table = pd.DataFrame([up, 2 * up, down, 3 * down, 0 * up], index=list("abcde"))
    >>> found = cluster(table)
    >>> found.members()
    {'P0': ['d', 'c'], 'P1': ['b', 'a']}
    >>> found.labels.isna().tolist()
    [False, False, False, False, True]
    """
    options = options or ClusterOptions()
    if not table.index.is_unique:
        twice = table.index[table.index.duplicated()][0]
        raise AnalysisError(f"row names must be unique; '{twice}' comes twice: make names unique")
    values = table.to_numpy(dtype=np.float64)
    if not np.isfinite(values).all():
        raise AnalysisError("coefficients must be finite; some are not: drop those rows first")
    active = (values != 0).any(axis=1)
    if keep is not None:
        active &= np.asarray(keep, dtype=bool)
    names = table.index.astype(str)
    if not active.any():
        empty = pd.Series(pd.Categorical([None] * len(names), categories=[]), index=names)
        return Clustering(empty, [], np.empty((0, 4)))
    features = features_of(values[active], options)
    membership, taken = communities(features, options)
    ranks, tree = dendrogram_order(features, membership)
    categories = [f"{prefix}{i}" for i in range(int(ranks.max()) + 1)]
    codes = np.full(len(names), -1)
    codes[active] = ranks
    strength = np.linalg.norm(values[active], axis=1)
    order = np.lexsort((np.arange(len(ranks)), -strength, ranks))
    return Clustering(
        labels=pd.Series(pd.Categorical.from_codes(codes, categories), index=names),
        order=list(names[active][order]),
        tree=tree,
        colours=dict(zip(categories, palette(len(categories)), strict=True)),
        options=taken,
    )


def find_modules(
    coef: pd.DataFrame,
    options: ClusterOptions | None = None,
    acting: NDArray[np.bool_] | None = None,
) -> Clustering:
    """Cluster perturbations; none is in a module where fewer than `FEWEST_FOR_MODULES` act.

    Parameters
    ----------
    coef : pandas.DataFrame, (genes, perturbations)
    acting : ndarray of bool, (perturbations,), optional
        Perturbations to cluster; None for those with a coefficient.

    Examples
    --------
    >>> coef = pd.DataFrame({"A": [1.0, 0.0], "B": [2.0, 0.0], "C": [0.0, -1.0], "D": [0.0, -3.0]})
    >>> find_modules(coef).members()
    {'M0': ['D', 'C'], 'M1': ['B', 'A']}
    """
    acting = (coef != 0).to_numpy().any(axis=0) if acting is None else np.asarray(acting)
    enough = acting.sum() >= FEWEST_FOR_MODULES
    return cluster(coef.T, options, prefix="M", keep=acting & enough)
