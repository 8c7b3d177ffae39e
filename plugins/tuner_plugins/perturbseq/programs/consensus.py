"""What the replicates of a factorisation agree on, and how many programs to take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.metrics import euclidean_distances, silhouette_samples

from tuner_plugins.perturbseq.errors import AnalysisError

NEIGHBOURHOOD = 0.3
"""Share of the replicates whose nearest spectra an outlier is far from."""

AS_STABLE = 0.05
"""Silhouette that more programs may have less than the best number of them."""


@dataclass(frozen=True)
class NmfOptions:
    """How factor programs are found.

    Attributes
    ----------
    n_programs : tuple of int
        How many programs; of several numbers the largest is taken whose silhouette is within
        `AS_STABLE` of the best.
    replicates : int
        Factorisations of each number.
    n_genes : int
        Variable genes that are factorised; spectra have all genes.
    density_threshold : float
        Spectra of unit length whose mean distance to their nearest ones is larger are left out of
        the consensus; 2 keeps all.
    top_genes : int
        Genes of each program that are looked up in gene sets and shown.
    seed : int
    """

    n_programs: tuple[int, ...] = (10,)
    replicates: int = 20
    n_genes: int = 2000
    density_threshold: float = 0.5
    top_genes: int = 50
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot be run."""
        least = {"replicates": 1, "n_genes": 2, "top_genes": 1}
        for name, low in least.items():
            if getattr(self, name) < low:
                raise AnalysisError(f"{name} is {getattr(self, name)}; expected {low} or more")
        known = all(isinstance(k, Integral) and int(k) >= 1 for k in self.n_programs)
        if not self.n_programs or not known:
            given = ", ".join(map(str, self.n_programs)) or "none"
            raise AnalysisError(f"n_programs is {given}; expected whole numbers from 1")
        if len(self.n_programs) > 1 and self.replicates < 2:
            raise AnalysisError("several n_programs are compared by replicates; ask for 2 or more")
        if not 0 < self.density_threshold <= 2:
            raise AnalysisError(
                f"density_threshold is {self.density_threshold:g}; expected a distance of unit "
                "vectors, above 0 and at most 2"
            )


def require_fewer(options: NmfOptions, cells: int, genes: int) -> None:
    """Raise `AnalysisError` unless there are fewer programs than cells and than variable genes."""
    if max(options.n_programs) >= min(genes, cells):
        raise AnalysisError(
            f"n_programs is {max(options.n_programs)}; expected fewer than cells and genes: "
            f"there are {cells} cells and {genes} variable genes"
        )


@dataclass(frozen=True)
class Consensus:
    """What the replicates of one number of programs agree on.

    Attributes
    ----------
    spectra : ndarray, (programs, genes)
        Of the scaled genes that were factorised; each adds up to one.
    programs : ndarray of int, (components,)
        The program of every component of every replicate; -1 for outliers.
    silhouette : ndarray, (components,)
        Of all components, outliers among them (Rousseeuw 1987,
        doi:10.1016/0377-0427(87)90125-7); NaN where there is none.
    """

    spectra: NDArray[np.float64]
    programs: NDArray[np.int64]
    silhouette: NDArray[np.float64]


def consensus(components: NDArray[np.floating], k: int, options: NmfOptions) -> Consensus:
    """Join the components of all replicates into programs.

    Parameters
    ----------
    components : ndarray, (replicates * k, genes)
        Spectra, replicate after replicate.

    Examples
    --------
    >>> one, two = [1.0, 0.0, 0.1], [0.0, 2.0, 0.1]
    >>> found = consensus(np.array([one, two, two, one, one, two]), 2, NmfOptions(replicates=3))
    >>> np.sort(found.spectra, axis=0).round(2).tolist()
    [[0.0, 0.0, 0.05], [0.91, 0.95, 0.09]]
    """
    lengths = np.linalg.norm(components, axis=1, keepdims=True)
    unit = np.asarray(components / np.where(lengths > 0, lengths, 1.0), dtype=np.float64)
    apart = euclidean_distances(unit)
    np.fill_diagonal(apart, 0.0)
    near = int(NEIGHBOURHOOD * len(unit) / k)
    kept = np.ones(len(unit), dtype=bool)
    if near:
        density = np.sort(apart, axis=1)[:, 1 : near + 1].mean(axis=1)
        kept = density < options.density_threshold
        if len(np.unique(unit[kept].round(9), axis=0)) < k:  # nothing agrees: nobody is an outlier
            kept[:] = True
    labels = _clusters(unit, k, options.seed)
    silhouette = np.full(len(unit), np.nan)
    if 1 < len(np.unique(labels)) < len(unit):
        silhouette = silhouette_samples(apart, labels, metric="precomputed")
    if not kept.all():
        labels[kept] = _clusters(unit[kept], k, options.seed)
        labels[~kept] = -1
    mine = [unit[labels == program] for program in range(k)]  # none where fewer than k differ
    spectra = np.array([np.median(one, axis=0) if len(one) else 0 * unit[0] for one in mine])
    sums = spectra.sum(axis=1, keepdims=True)
    return Consensus(spectra / np.where(sums > 0, sums, 1.0), labels, silhouette)


def _clusters(unit: NDArray[np.float64], k: int, seed: int) -> NDArray[np.int64]:
    if len(unit) == k:
        return np.arange(k)
    return np.asarray(
        KMeans(n_clusters=k, n_init=10, random_state=seed).fit_predict(unit), dtype=np.int64
    )


def choose(choices: pd.DataFrame) -> int:
    """Return the row of the number of programs to take: the largest that is as stable as the best.

    Examples
    --------
    >>> choose(pd.DataFrame({"n_programs": [4, 5, 6], "silhouette": [0.96, 0.95, 0.5]}))
    1
    """
    stable = choices["silhouette"].fillna(-1.0)
    allowed = choices["n_programs"].where(stable >= stable.max() - AS_STABLE, -1)
    return int(allowed.to_numpy().argmax())


def stability_of(found: Consensus, options: NmfOptions) -> pd.DataFrame:
    """Return a row for each program, in their order.

    Returns
    -------
    pandas.DataFrame
        ``components`` that the consensus is of, share of ``replicates`` that found the program,
        and their mean ``silhouette``.
    """
    k = len(found.spectra)
    replicate = np.repeat(np.arange(options.replicates), k)
    mine: Sequence[NDArray[np.bool_]] = [found.programs == program for program in range(k)]
    return pd.DataFrame(
        {
            "components": [int(one.sum()) for one in mine],
            "replicates": [len(np.unique(replicate[one])) / options.replicates for one in mine],
            "silhouette": [float(found.silhouette[one].sum() / max(one.sum(), 1)) for one in mine],
        }
    )
