"""Gene programs and perturbation modules: clusters of the rows of a coefficient table.

Genes that answer alike to the perturbations form a *program*, perturbations that act alike on the
genes form a *module*. Both are Leiden communities of a nearest-neighbour graph of the coefficients,
named in the order of the dendrogram of the cluster means.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import igraph
import leidenalg
import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray
from scipy import sparse
from scipy.cluster.hierarchy import fcluster, leaves_list, linkage
from scipy.spatial.distance import squareform
from sklearn.metrics import euclidean_distances, silhouette_score
from sklearn.neighbors import NearestNeighbors
from threadpoolctl import threadpool_limits

from tuner_plugins.perturbseq.colours import palette
from tuner_plugins.perturbseq.errors import AnalysisError

Metric = Literal["cosine", "euclidean"]

RESOLUTIONS = (0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.4, 2.0)
"""Leiden resolutions that are tried where none is given."""

NEIGHBORS = (2, 3, 5, 10, 15)
"""Neighbours that are tried where none are given."""

ONE_CLUSTER = 0.1
"""Mean silhouette below which a split is not taken for structure."""


FEW_ROWS = 30
"""Rows up to which cuts of a tree are tried beside communities of a graph.

Every row of a nearest-neighbour graph has neighbours, near or not: among few rows, those that are
like no other end up with somebody.
"""


@dataclass(frozen=True)
class ClusterOptions:
    """How rows are clustered.

    Attributes
    ----------
    n_neighbors : int or None
        Neighbours of each row in the graph, itself not counted.
    resolution : float or None
        Of Leiden's modularity: larger gives more clusters.

        Where either is None, those of `NEIGHBORS` and `RESOLUTIONS` are tried, and the clusters
        with the best mean silhouette are taken (Rousseeuw 1987,
        doi:10.1016/0377-0427(87)90125-7): fixed ones split large uniform programs. Where both are
        None and rows are few, the cuts of an average-linkage tree are tried as well.
    metric : {"cosine", "euclidean"}
        "cosine" groups rows by the shape of their profile, "euclidean" by size as well.
    scale : bool
        Bring every column to unit standard deviation first.
    n_pcs : int or None
        Principal components that distances are taken in; None for all columns.
    seed : int
        Of Leiden.
    """

    n_neighbors: int | None = None
    resolution: float | None = None
    metric: Metric = "cosine"
    scale: bool = False
    n_pcs: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot be run."""
        given = [v for v in (self.n_neighbors, self.resolution, self.n_pcs) if v is not None]
        if any(value <= 0 for value in given):
            raise AnalysisError(
                "clustering needs n_neighbors, resolution and n_pcs above 0, or none; got "
                f"n_neighbors={self.n_neighbors}, resolution={self.resolution}, n_pcs={self.n_pcs}"
            )


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
    """

    labels: pd.Series
    order: list[str]
    tree: NDArray[np.float64]
    colours: dict[str, str] = field(default_factory=dict)

    def members(self) -> dict[str, list[str]]:
        """Give the rows of each cluster, strongest first."""
        groups: dict[str, list[str]] = {name: [] for name in self.labels.cat.categories}
        for row in self.order:
            groups[self.labels[row]].append(row)
        return groups


def _features(values: NDArray[np.float64], options: ClusterOptions) -> NDArray[np.float64]:
    if options.scale:
        spread = values.std(axis=0)
        values = values / np.where(spread > 0, spread, 1.0)
    if options.n_pcs is not None and options.n_pcs < min(values.shape):
        # One BLAS thread: the last bits, and with them ties, must not depend on the machine.
        with threadpool_limits(1):
            u, s, _ = np.linalg.svd(values - values.mean(axis=0), full_matrices=False)
        values = u[:, : options.n_pcs] * s[: options.n_pcs]
    if options.metric == "cosine":
        norms = np.linalg.norm(values, axis=1, keepdims=True)
        values = values / np.where(norms > 0, norms, 1.0)
    return values


def _graph(features: NDArray[np.float64], n_neighbors: int) -> igraph.Graph:
    """Connect nearest neighbours, weighted by the Jaccard index of their neighbourhoods."""
    n = len(features)
    k = min(n_neighbors, n - 1)
    with threadpool_limits(1):
        neighbours = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(features)
        reach = neighbours.kneighbors_graph() + sparse.eye_array(n)
    reach = sparse.csr_array(reach)
    shared = reach @ reach.T
    either = ((reach + reach.T) > 0).astype(float)
    shared = sparse.triu(shared * either, k=1).tocoo()
    graph = igraph.Graph(n=n, edges=np.column_stack([shared.row, shared.col]).tolist())
    graph.es["weight"] = (shared.data / (2 * (k + 1) - shared.data)).tolist()
    return graph


def _leiden(graph: igraph.Graph, resolution: float, seed: int) -> NDArray[np.int64]:
    partition = leidenalg.find_partition(
        graph,
        leidenalg.RBConfigurationVertexPartition,
        weights="weight",
        n_iterations=-1,
        seed=seed,
        resolution_parameter=resolution,
    )
    return np.asarray(partition.membership, dtype=np.int64)


def _communities(features: NDArray[np.float64], options: ClusterOptions) -> NDArray[np.int64]:
    n = len(features)
    best = np.zeros(n, dtype=np.int64)
    if n < 3:
        return best
    sizes = NEIGHBORS if options.n_neighbors is None else (options.n_neighbors,)
    resolutions = RESOLUTIONS if options.resolution is None else (options.resolution,)
    graphs = [_graph(features, k) for k in sizes if k == sizes[0] or k < n]
    found = [_leiden(g, r, options.seed) for g in graphs for r in resolutions]
    if len(found) == 1:
        return found[0]
    with threadpool_limits(1):
        distances = euclidean_distances(features)
    np.fill_diagonal(distances, 0.0)
    if n <= FEW_ROWS and options.n_neighbors is None and options.resolution is None:
        tree = linkage(squareform(distances, checks=False), method="average")
        found += [fcluster(tree, k, "maxclust").astype(np.int64) - 1 for k in range(2, n)]
    best_score = ONE_CLUSTER
    for membership in found:
        if 1 < membership.max() + 1 < n:
            score = silhouette_score(distances, membership, metric="precomputed")
            if score > best_score + 1e-9:
                best, best_score = membership, score
    return best


def _dendrogram_order(
    features: NDArray[np.float64], membership: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Give each row's cluster in dendrogram order, and the tree with its leaves in that order."""
    n_clusters = int(membership.max()) + 1
    if n_clusters == 1:
        return membership, np.empty((0, 4))
    sizes = np.bincount(membership)
    means = np.zeros((n_clusters, features.shape[1]))
    np.add.at(means, membership, features)
    tree = linkage(means / sizes[:, None], method="average", optimal_ordering=True)
    leaves = leaves_list(tree)
    if sizes[leaves[0]] < sizes[leaves[-1]]:  # a tree has two readings: take the larger end first
        tree[:, [0, 1]] = tree[:, [1, 0]]
        leaves = leaves[::-1]
    rank = np.empty(n_clusters, dtype=np.int64)
    rank[leaves] = np.arange(n_clusters)
    is_leaf = tree[:, :2] < n_clusters
    tree[:, :2] = np.where(
        is_leaf, rank[np.where(is_leaf, tree[:, :2], 0).astype(int)], tree[:, :2]
    )
    return rank[membership], tree


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
        Neighbours, resolution, metric, seed.
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
    features = _features(values[active], options)
    ranks, tree = _dendrogram_order(features, _communities(features, options))
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
    )


def find_programs(
    adata: AnnData,
    key: str = "coef",
    *,
    options: ClusterOptions | None = None,
    significant: pd.DataFrame | None = None,
) -> tuple[Clustering, Clustering]:
    """Find gene programs and perturbation modules of an AnnData with coefficients.

    Parameters
    ----------
    adata : AnnData
        With ``varm[key]``, a DataFrame of genes by perturbations. Gains ``var["program"]``,
        ``uns["program_colors"]``, ``uns["programs"]`` and ``uns["modules"]``.
    key : str
        Where the coefficients are.
    options : ClusterOptions, optional
        For both clusterings.
    significant : pandas.DataFrame of bool, (genes, perturbations), optional
        Cluster only genes and perturbations with a significant coefficient.

    Returns
    -------
    tuple of Clustering
        Programs of genes, modules of perturbations.

    Raises
    ------
    AnalysisError
        If ``varm[key]`` is no DataFrame.
    """
    coef = adata.varm.get(key)
    if not isinstance(coef, pd.DataFrame):
        raise AnalysisError(
            f"varm['{key}'] must be a DataFrame of genes by perturbations; "
            f"got {type(coef).__name__}: fit the elastic net first"
        )
    if significant is not None:
        significant = significant.reindex(index=coef.index, columns=coef.columns, fill_value=False)
    genes = None if significant is None else significant.to_numpy().any(axis=1)
    targets = None if significant is None else significant.to_numpy().any(axis=0)
    programs = cluster(coef, options, prefix="P", keep=genes)
    modules = cluster(coef.T, options, prefix="M", keep=targets)
    adata.var["program"] = programs.labels.reindex(adata.var_names.astype(str)).array
    adata.uns["program_colors"] = np.array(list(programs.colours.values()), dtype=str)
    adata.uns["programs"] = _described(programs, options)
    adata.uns["modules"] = _described(modules, options)
    return programs, modules


def _described(clustering: Clustering, options: ClusterOptions | None) -> dict[str, Any]:
    """Give what an .h5ad can hold: arrays, strings and numbers."""
    settings = {k: v for k, v in vars(options or ClusterOptions()).items() if v is not None}
    return {
        "order": np.array(clustering.order, dtype=str),
        "labels": clustering.labels[clustering.order].astype(str).to_numpy(dtype=str),
        "tree": clustering.tree,
        "params": settings,
    }
