"""Program scores: how much of a program a cell expresses, beyond genes of like expression."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray
from scipy import sparse

from tuner_plugins.perturbseq.data.matrix import layers_of
from tuner_plugins.perturbseq.errors import AnalysisError

BLOCK = 4096
"""Cells that are scored at once."""


def control_weights(
    means: NDArray[np.float64], inside: NDArray[np.bool_], n_control: int
) -> NDArray[np.float64]:
    """Weigh the control genes of one program.

    Every gene of the program is matched with the `n_control` genes outside it that are nearest in
    the rank of mean expression. Bins of expression, the usual way, run empty when a program fills
    one; the nearest genes never do. Fewer genes than `n_control` outside: all of them. None: zero
    weights, and the score is then the plain mean.

    Parameters
    ----------
    means : ndarray, (genes,)
        Mean expression.
    inside : ndarray of bool, (genes,)
        Which genes the program holds.
    n_control : int
        Controls of each gene.

    Returns
    -------
    ndarray, (genes,)
        Non-negative, adding up to one (or all zero).

    Examples
    --------
    >>> means, inside = np.array([1.0, 2.0, 3.0, 9.0]), np.array([False, True, False, False])
    >>> control_weights(means, inside, n_control=2).tolist()
    [0.5, 0.0, 0.5, 0.0]
    """
    rank = np.empty(len(means), dtype=np.int64)
    rank[np.lexsort((np.arange(len(means)), means))] = np.arange(len(means))
    pool = np.flatnonzero(~inside)[np.argsort(rank[~inside])]
    weights = np.zeros(len(means))
    if not len(pool):
        return weights
    size = min(n_control, len(pool))
    pool_ranks = rank[pool]
    for gene in np.flatnonzero(inside):
        start = np.searchsorted(pool_ranks, rank[gene]) - size // 2
        start = min(max(int(start), 0), len(pool) - size)
        weights[pool[start : start + size]] += 1.0
    return np.asarray(weights / weights.sum())


def score_programs(
    adata: AnnData,
    programs: Mapping[str, Sequence[str]],
    *,
    layer: str,
    n_control: int = 50,
    key: str = "program_scores",
) -> pd.DataFrame:
    """Score every program in every cell.

    Mean of the program's genes minus the mean of their expression-matched controls (Tirosh et al.
    2016, doi:10.1126/science.aad0501). A score is linear in the expression, so that all programs
    are one product with the matrix of cells by genes, which stays sparse; no draw is involved.

    Parameters
    ----------
    adata : AnnData
        Cells by genes. Gains ``obsm[key]``, a DataFrame of cells by programs.
    programs : mapping
        Program to gene names.
    layer : str
        Layer of log-normalised expression, by name: what ``X`` or ``raw`` holds at some point of a
        notebook depends on its history.
    n_control : int
        Control genes matched to each program gene.
    key : str
        Where the scores go.

    Returns
    -------
    pandas.DataFrame, (cells, programs)

    Raises
    ------
    AnalysisError
        For a layer that is absent, an empty program or a gene that is not in the data.

    Examples
    --------
    >>> values = np.array([[4.0, 4.0, 1.0, 1.0], [1.0, 1.0, 1.0, 1.0]])
    >>> adata = AnnData(values, layers={"lognorm": values})
    >>> adata.var_names = ["IRF1", "STAT1", "ACTB", "GAPDH"]
    >>> score_programs(adata, {"P0": ["IRF1", "STAT1"]}, layer="lognorm")
        P0
    0  3.0
    1  0.0
    """
    if layer not in (names := layers_of(adata)):
        raise AnalysisError(
            f"no layer '{layer}' to score programs in; there are: {', '.join(names) or '-'}"
        )
    matrix = adata.layers[layer]
    means = np.asarray(matrix.sum(axis=0), dtype=np.float64).ravel() / adata.n_obs
    weights = np.zeros((adata.n_vars, len(programs)))
    for column, (name, genes) in enumerate(programs.items()):
        where = adata.var_names.get_indexer(list(genes))
        if not len(where) or (where < 0).any():
            missing = next((g for g, at in zip(genes, where, strict=True) if at < 0), None)
            what = "has no genes" if missing is None else f"has gene '{missing}' not in the data"
            raise AnalysisError(f"program '{name}' {what}: score programs of this data set's genes")
        inside = np.zeros(adata.n_vars, dtype=bool)
        inside[where] = True
        weights[:, column] = inside / inside.sum() - control_weights(means, inside, n_control)
    # A sparse product runs on one thread and a dense one in float64: the same on any machine.
    scores = np.empty((adata.n_obs, len(programs)))
    for start in range(0, adata.n_obs, BLOCK):  # in float64, which takes memory
        rows = slice(start, start + BLOCK)
        part = matrix[rows] if sparse.issparse(matrix) else np.asarray(matrix[rows], float)
        scores[rows] = part @ weights
    table = pd.DataFrame(scores, index=adata.obs_names, columns=list(programs))
    adata.obsm[key] = table
    return table
