"""Preparation: covariates and the view of cells, written into an AnnData (or a MuData)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
from tuner_plugins.perturbseq.data.guide_calls import GuideCalling, call_guides
from tuner_plugins.perturbseq.data.guide_counts import numbers_of_guides, read_obsm
from tuner_plugins.perturbseq.data.matrix import Cells, open_cells
from tuner_plugins.perturbseq.data.response import log1p_10k, per_10k
from tuner_plugins.perturbseq.data.stored import CellsError
from tuner_plugins.perturbseq.data.values import require_counts
from tuner_plugins.perturbseq.report.embedding import PrepareOptions
from tuner_plugins.perturbseq.report.embedding import prepare as _prepare

__all__ = ["assign_guides", "covariates", "prepare"]

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
    options = PrepareOptions(
        size_factor, n_pcs=n_pcs, n_neighbors=n_neighbors, seed=seed, cell_cycle=cycle
    )
    return _prepare(adata_of(data, modality), options)


FEATURES = "feature_types"
GUIDES = "CRISPR Guide Capture"
"""What 10x calls the features that are guides, in the column of var of that name."""


def assign_guides(  # noqa: PLR0913  keywords of a call in a notebook
    data: Any,
    *,
    obsm: str | None = None,
    guides: str | None = None,
    method: str = "negative_binomial",
    min_umis: int = 3,
    targets: Mapping[str, str] | str | None = None,
    separator: str = "+",
    perturbation: str = "perturbation",
    modality: str | None = None,
) -> None:
    """Call the guides of cells from their counts, and label cells by the targets.

    For low multiplicity go on with ``tl.elasticnet(..., separator="+", multiple="drop",
    unassigned="drop")``, for high with ``multiple="additive"``.

    Parameters
    ----------
    data : AnnData or MuData
    obsm : str, optional
        Key of obsm with counts, a table of cells by guides.
    guides : str, optional
        Modality of a MuData with counts. Without both they are the features of
        ``var["feature_types"]`` "CRISPR Guide Capture"; leave those out of what is fitted.
    method, min_umis, separator
        As in `tuner_plugins.perturbseq.data.guide_calls.GuideCalling`.
    targets : mapping or str, optional
        Guide to target, or a column of the guides' var. None: the guide's name without its number.
    perturbation : str
        Column of obs for the targets of a cell.

    Returns
    -------
    None
        Writes ``obs`` `perturbation` and ``guide`` (joined, missing without a guide) and
        ``n_guides``; ``uns["guide_calls"]``, a table of thresholds; ``obsm["guide_calls"]``.

    Raises
    ------
    CellsError, AnalysisError
        No counts of guides, or none that can be called.

    Examples
    --------
    >>> adata = ad.AnnData(np.ones((3, 2)))
    >>> counts = {"STAT1_1": [30, 0, 2], "NT_1": [0, 25, 0]}
    >>> adata.obsm["guides"] = pd.DataFrame(counts, index=adata.obs_names)
    >>> assign_guides(adata, obsm="guides", method="threshold")
    >>> adata.obs["perturbation"].tolist()
    ['STAT1', 'NT', nan]
    """
    adata = adata_of(data, modality)
    counts, names, var = _guide_counts(data, adata, obsm, guides)
    if isinstance(targets, str):
        if var is None or targets not in var:
            raise CellsError(f"guides have no column '{targets}' for targets: give a mapping")
        targets = dict(zip(names, var[targets].astype(str), strict=True))
    calling = GuideCalling(obsm or "", method, min_umis, targets, separator)
    calls = call_guides(counts, names, adata.obs_names, calling)
    adata.obs[perturbation] = calls.labels["perturbation"]
    adata.obs["guide"], adata.obs["n_guides"] = calls.labels["guide"], calls.labels["n_guides"]
    adata.uns["guide_calls"] = calls.table
    adata.obsm["guide_calls"] = sparse.csr_matrix(calls.called, dtype=np.uint8)


def _guide_counts(
    data: Any, adata: ad.AnnData, obsm: str | None, guides: str | None
) -> tuple[Any, list[str], pd.DataFrame | None]:
    """Return counts, cells by guides in the order of `adata`, names, and the guides' var."""
    if obsm is not None:
        table = read_obsm(adata, obsm)
        if not isinstance(table, pd.DataFrame):
            raise CellsError(f"obsm['{obsm}'] is no table (DataFrame), whose columns name guides")
        return numbers_of_guides(table, obsm), list(map(str, table)), None
    if guides is not None:
        other = adata_of(data, guides)
        at = other.obs_names.get_indexer(adata.obs_names)
        counts = sparse.csr_matrix(other.X)[np.maximum(at, 0)]
        return sparse.diags_array((at >= 0) * 1.0) @ counts, list(other.var_names), other.var
    here = np.zeros(adata.n_vars, dtype=bool)
    if FEATURES in adata.var:
        here = (adata.var[FEATURES].astype(str) == GUIDES).to_numpy()
    if not here.any():
        raise CellsError(
            f"no counts of guides: name obsm, a modality (guides), or give var['{FEATURES}'] with "
            f"'{GUIDES}'"
        )
    return adata.X[:, here], list(adata.var_names[here]), adata.var[here]
