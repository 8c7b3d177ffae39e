"""Clusters of rows: communities of a nearest-neighbour graph, or cuts of a tree.

All that is searched is bounded: the neighbours and resolutions that are tried, the cuts of a tree,
and the iterations of Leiden. Leiden's packages are under the GPL and need not be installed: without
them communities are found by Louvain's method.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import NamedTuple

import networkx
import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.cluster.hierarchy import fcluster, leaves_list, linkage
from scipy.spatial.distance import squareform
from sklearn.metrics import euclidean_distances, silhouette_score
from sklearn.neighbors import NearestNeighbors
from threadpoolctl import threadpool_limits

from tuner_plugins.perturbseq.errors import AnalysisError

RESOLUTIONS = (0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.4, 2.0)
"""Resolutions that are tried where none is given."""

NEIGHBORS = (2, 3, 5, 10, 15)
"""Neighbours that are tried where none are given."""

ONE_CLUSTER = 0.1
"""Mean silhouette below which a split is not taken for structure."""

FEW_ROWS = 30
"""Rows up to which cuts of a tree are tried beside communities of a graph.

Every row of a nearest-neighbour graph has neighbours, near or not: among few rows, those that are
like no other end up with somebody.
"""

ITERATIONS = 10
"""Of Leiden, at most; it converges in two or three."""

JITTER = 1e-6
"""Relative noise of the weights of a graph, seeded: no two moves of Leiden gain the same."""


LOUVAIN = (
    "Clusters were found by Louvain's method: for Leiden's, which never joins what is apart, "
    "pip install 'tunefreeze[leiden]' (igraph and leidenalg, under the GPL)."
)
"""What a report says where Leiden's packages are not installed."""


@dataclass(frozen=True)
class ClusterOptions:
    """How rows are clustered.

    Attributes
    ----------
    n_neighbors : int or None
        Neighbours of each row in the graph, itself not counted.
    resolution : float, sequence of float or None
        Of the modularity: larger gives more clusters.

        Where either is None, those of `NEIGHBORS` and `RESOLUTIONS` are tried, of several
        resolutions these, and the clusters
        with the best mean silhouette are taken (Rousseeuw 1987,
        doi:10.1016/0377-0427(87)90125-7): fixed ones split large uniform programs. Where both are
        None and rows are few, the cuts of an average-linkage tree are tried as well.
    scale : bool
        Bring every column to unit standard deviation first.
    n_pcs : int or None
        Principal components that distances are taken in; None for all columns.
    seed : int
        Of Leiden, or Louvain.
    """

    n_neighbors: int | None = None
    resolution: float | Sequence[float] | None = None
    scale: bool = False
    n_pcs: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot be run."""
        given = [v for v in (self.n_neighbors, self.n_pcs) if v is not None]
        if any(value <= 0 for value in (*given, *self.resolutions)) or not self.resolutions:
            raise AnalysisError(
                "clustering needs n_neighbors, resolution and n_pcs above 0, or none; got "
                f"n_neighbors={self.n_neighbors}, resolution={self.resolution}, n_pcs={self.n_pcs}"
            )

    @property
    def resolutions(self) -> tuple[float, ...]:
        """Those that are tried."""
        if self.resolution is None:
            return RESOLUTIONS
        given = self.resolution
        return tuple(given) if isinstance(given, Sequence) else (given,)


def features_of(values: NDArray[np.float64], options: ClusterOptions) -> NDArray[np.float64]:
    """Return rows of unit length, (rows, columns): distances see the shape of a profile only."""
    if options.scale:
        spread = values.std(axis=0)
        values = values / np.where(spread > 0, spread, 1.0)
    if options.n_pcs is not None and options.n_pcs < min(values.shape):
        # One BLAS thread: the last bits, and with them ties, must not depend on the machine.
        with threadpool_limits(1):
            u, s, _ = np.linalg.svd(values - values.mean(axis=0), full_matrices=False)
        values = u[:, : options.n_pcs] * s[: options.n_pcs]
    norms = np.linalg.norm(values, axis=1, keepdims=True)
    return np.asarray(values / np.where(norms > 0, norms, 1.0))


class _Graph(NamedTuple):
    """An undirected graph: the ends of its edges, each edge once, and their weights."""

    n: int
    edges: Sequence[Sequence[int]]
    weights: NDArray[np.float64]


def _graph(features: NDArray[np.float64], n_neighbors: int) -> _Graph:
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
    edges = np.column_stack([shared.row, shared.col]).tolist()
    return _Graph(n, edges, shared.data / (2 * (k + 1) - shared.data))


def has_leiden() -> bool:
    """Return whether the packages that find Leiden communities are installed."""
    return find_spec("igraph") is not None and find_spec("leidenalg") is not None


def _leiden(graph: _Graph, resolution: float, seed: int) -> NDArray[np.int64]:
    """Return the communities after at most `ITERATIONS` iterations.

    Moves that gain nothing but rounding never end, within one iteration even: where weights are
    equal, as among rows that are alike, `JITTER` makes every gain differ by more than that.
    """
    import igraph
    import leidenalg

    jitter = np.random.default_rng(seed).random(len(graph.weights))
    partition = leidenalg.RBConfigurationVertexPartition(
        igraph.Graph(n=graph.n, edges=graph.edges),
        weights=(graph.weights * (1.0 + JITTER * jitter)).tolist(),
        resolution_parameter=resolution,
    )
    optimiser = leidenalg.Optimiser()
    optimiser.set_rng_seed(seed)
    for _ in range(ITERATIONS):  # its own n_iterations goes on where nothing is gained any more
        if optimiser.optimise_partition(partition, n_iterations=1) <= 0:
            break
    return np.asarray(partition.membership, dtype=np.int64)


def _louvain(graph: _Graph, resolution: float, seed: int) -> NDArray[np.int64]:
    """Return communities of the same modularity by Louvain's method.

    Blondel et al. 2008, doi:10.1088/1742-5468/2008/10/P10008. A community may fall apart into
    pieces without an edge between them, which Leiden's never does.
    """
    made = networkx.Graph()
    made.add_nodes_from(range(graph.n))
    ends = zip(graph.edges, graph.weights.tolist(), strict=True)
    made.add_weighted_edges_from((first, second, weight) for (first, second), weight in ends)
    found = networkx.community.louvain_communities(made, resolution=resolution, seed=seed)
    membership = np.empty(graph.n, dtype=np.int64)
    for number, members in enumerate(found):
        membership[list(members)] = number
    return membership


def communities(
    features: NDArray[np.float64], options: ClusterOptions
) -> tuple[NDArray[np.int64], ClusterOptions]:
    """Return the cluster of every row of `features_of`, (rows,): 0, 1, ... and the options taken.

    These have the neighbours and the resolution that were chosen, if clusters are communities.

    Rows that are all alike are one cluster, those of two kinds two (all there can be with one
    column, up and down); of two rows alone, those that point to opposite sides.
    """
    n = len(features)
    if n < 3:
        return np.asarray(features @ features[0] <= 0, dtype=np.int64), options
    distinct, alike = np.unique(features.round(9), axis=0, return_inverse=True)
    if len(distinct) < 3:
        return alike.reshape(-1).astype(np.int64), options
    best = np.zeros(n, dtype=np.int64)
    sizes = NEIGHBORS if options.n_neighbors is None else (options.n_neighbors,)
    fitting = [k for k in sizes if k == sizes[0] or k < n]
    graphs = [_graph(features, k) for k in fitting]
    detect = _leiden if has_leiden() else _louvain
    found = [detect(g, r, options.seed) for g in graphs for r in options.resolutions]
    tried = [
        replace(options, n_neighbors=k, resolution=r) for k in fitting for r in options.resolutions
    ]
    if len(found) == 1:
        return found[0], tried[0]
    with threadpool_limits(1):
        distances = euclidean_distances(features)
    np.fill_diagonal(distances, 0.0)
    if n <= FEW_ROWS and options.n_neighbors is None and options.resolution is None:
        tree = linkage(squareform(distances, checks=False), method="average")
        found += [fcluster(tree, k, "maxclust").astype(np.int64) - 1 for k in range(2, n)]
        tried += [options] * (n - 2)
    best_score, taken = ONE_CLUSTER, options
    for membership, how in zip(found, tried, strict=True):
        if 1 < membership.max() + 1 < n:
            score = silhouette_score(distances, membership, metric="precomputed")
            if score > best_score + 1e-9:
                best, best_score, taken = membership, score, how
    return best, taken


def dendrogram_order(
    features: NDArray[np.float64], membership: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return each row's cluster in dendrogram order, and the tree with its leaves in that order."""
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
