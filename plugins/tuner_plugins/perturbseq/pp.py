"""Preparation: covariates and the view of cells, written into an AnnData (or a MuData)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse

from tuner_plugins.perturbseq.annotated import adata_of
from tuner_plugins.perturbseq.data.cell_cycle import G2M_GENES, PHASES, S_GENES, score_weights
from tuner_plugins.perturbseq.data.covariates import (
    MITO,
    TOTAL,
    Covariates,
    count_covariate,
    is_mitochondrial,
    read_covariates,
    row_sums,
)
from tuner_plugins.perturbseq.data.matrix import Cells, open_cells
from tuner_plugins.perturbseq.data.response import log1p_10k, per_10k
from tuner_plugins.perturbseq.data.stored import CellsError
from tuner_plugins.perturbseq.data.values import require_counts
from tuner_plugins.perturbseq.report.embedding import PrepareOptions
from tuner_plugins.perturbseq.report.embedding import prepare as _prepare

__all__ = ["covariates", "prepare"]

GENES_SEEN = "n_genes_by_counts"


def covariates(
    data: Any,
    names: Sequence[str] | None = None,
    *,
    layer: str | None = None,
    symbols: str | None = None,
    modality: str | None = None,
) -> None:
    """Write depth, mitochondrial share and cell-cycle scores to ``obs``, by scanpy's names.

    They are what the model's covariates of these names are in a fit to all cells. Columns that obs
    has already are left as they are.

    Parameters
    ----------
    data : AnnData or MuData
        Raw counts in X, or in `layer`.
    names : sequence of str, optional
        Of ``total_counts``, ``n_genes_by_counts``, ``pct_counts_mt``, ``S_score``, ``G2M_score``.
        None: all whose genes are measured.
    symbols : str, optional
        Column of var with gene symbols.

    Returns
    -------
    None
        With both scores ``phase`` is written too: the larger one, or G1 where neither is above 0.

    Raises
    ------
    CellsError
        Counts that are none, or a covariate that was asked for and whose genes are not measured.

    Examples
    --------
    >>> adata = ad.AnnData(np.array([[3.0, 1.0], [1.0, 0.0]]))
    >>> adata.var_names = ["MT-CYB", "ACTB"]
    >>> covariates(adata)
    >>> adata.obs["pct_counts_mt"].tolist(), adata.obs["n_genes_by_counts"].tolist()
    ([75.0, 100.0], [2, 1])
    """
    adata = adata_of(data, modality)
    cells = open_cells(adata, layer, symbols)
    wanted = _measured(cells) if names is None else list(names)
    wanted = [name for name in wanted if name not in adata.obs]
    made = [name for name in wanted if name != GENES_SEEN]
    known = {TOTAL, MITO, *PHASES}
    if unknown := [name for name in made if name not in known]:
        raise CellsError(f"'{unknown[0]}' is none of {', '.join([*sorted(known), GENES_SEEN])}")
    planned = read_covariates(cells.obs, cells.symbols, made, None)
    for name, values in _computed(cells, planned).items():
        if name in wanted:
            adata.obs[name] = values
    if set(PHASES) <= set(adata.obs) and "phase" not in adata.obs:
        scores = adata.obs[list(PHASES)].to_numpy(dtype=np.float64)
        phases = np.array([name.removesuffix("_score") for name in PHASES])[scores.argmax(axis=1)]
        phases = np.where(scores.max(axis=1) > 0, phases, "G1")
        adata.obs["phase"] = pd.Categorical(phases, ["G1", "S", "G2M"])


def _measured(cells: Cells) -> list[str]:
    """Return the covariates whose genes are measured."""
    found = [TOTAL, GENES_SEEN]
    if is_mitochondrial(cells.symbols).any():
        found.append(MITO)
    for name in PHASES:
        try:
            read_covariates(cells.obs, cells.symbols, [name], None)
        except CellsError:
            continue
        found.append(name)
    return found


def _computed(cells: Cells, planned: Covariates) -> dict[str, np.ndarray]:
    """Return what is computed of all cells: counted in one pass, scored in another."""
    rows = np.arange(len(cells.obs))
    found = {name: np.zeros(len(rows)) for name in (TOTAL, *planned.counted, *planned.scored)}
    seen, mean = np.zeros(len(rows), dtype=np.int64), np.zeros(len(cells.genes))
    for where, block in cells.matrix.blocks(rows):
        names = cells.obs.index[where]
        require_counts(block, names, cells.genes, cells.matrix, cells.layers)
        counts = sparse.csr_matrix(block)
        for name in (TOTAL, *planned.counted):
            found[name][where] = count_covariate(name, counts, planned.mitochondrial)
        seen[where] = np.asarray((counts > 0).sum(axis=1)).reshape(-1)
        mean += np.asarray(_logged(counts).sum(axis=0)).reshape(-1)
    if planned.scored:
        weights = np.column_stack(
            [score_weights(mean / len(rows), planned.phases[name]) for name in planned.scored]
        )
        for where, block in cells.matrix.blocks(rows):
            scores = _logged(sparse.csr_matrix(block)) @ weights
            for column, name in enumerate(planned.scored):
                found[name][where] = scores[:, column]
    return {**found, GENES_SEEN: seen}


def _logged(counts: sparse.csr_matrix) -> sparse.csr_matrix:
    return log1p_10k(per_10k(counts, np.maximum(row_sums(counts), 1.0)))


def prepare(
    data: Any,
    *,
    size_factor: str | None = None,
    n_pcs: int = 40,
    n_neighbors: int = 20,
    seed: int = 0,
    modality: str | None = None,
) -> ad.AnnData:
    """Add log-normalised expression, highly variable genes, PCA, neighbours, UMAP and phase.

    The view of ``tuner analyse``, see `tuner_plugins.perturbseq.report.embedding.prepare`.
    """
    cycle = {"S": S_GENES, "G2M": G2M_GENES}
    options = PrepareOptions(size_factor, n_pcs, n_neighbors, seed, cycle)
    return _prepare(adata_of(data, modality), options)
