"""Factor programs in an analysis: their names, tables, and keys in the AnnData."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
from scipy import sparse

from tuner_plugins.perturbseq.colours import palette
from tuner_plugins.perturbseq.model.resampling import Model
from tuner_plugins.perturbseq.programs.clustering import Clustering
from tuner_plugins.perturbseq.programs.communities import (
    ClusterOptions,
    dendrogram_order,
    features_of,
)
from tuner_plugins.perturbseq.programs.consensus import NmfOptions
from tuner_plugins.perturbseq.programs.consensus_nmf import consensus_nmf
from tuner_plugins.perturbseq.report.options import Analysis, AnalysisOptions
from tuner_plugins.perturbseq.report.progress import step

MOST_ROWS = 50_000
"""Cells up to which usages are a table as well; ``analysis.h5ad`` has those of any number."""


def factor_programs(found: Analysis, model: Model, options: AnalysisOptions) -> Clustering:
    """Find factor programs of all cells; a gene is of the program that it is a top gene of.

    Labels of cells take no part, so that the same cells can test the programs. ``adata`` gains
    ``obsm["program_usage"]``, ``varm["program_spectra"]`` and, as `found.tables`,
    ``uns["program_choices"]`` and ``uns["program_stability"]``.
    """
    adata, asked = found.adata, options.factors
    assert asked is not None, "asked for by the caller"
    asked = replace(asked, seed=options.seed)
    numbers = ", ".join(map(str, asked.n_programs))
    step(f"factorising cells into {numbers} programs, {asked.replicates} times")
    result = consensus_nmf(
        sparse.csr_matrix(adata.X),
        sparse.csr_matrix(adata.layers["lognorm"]),
        asked,
        threads=model.threads,
    )
    n = len(result.spectra)
    ranks, tree = dendrogram_order(
        features_of(result.scores, ClusterOptions()), np.arange(n, dtype=np.int64)
    )
    order, names = np.argsort(ranks), [f"P{i}" for i in range(n)]
    spectra = pd.DataFrame(result.spectra[order].T, adata.var_names, names)
    scores = pd.DataFrame(result.scores[order].T, adata.var_names, names)
    usage = pd.DataFrame(result.usage[:, order], adata.obs_names, names)
    programs = _top_genes(scores.loc[model.genes], asked, tree)
    sizes = programs.labels.value_counts(sort=False).reindex(names).to_numpy()
    stability = result.stability.iloc[order].reset_index(drop=True)
    stability.insert(0, "cluster", names)
    stability.insert(1, "size", sizes)
    adata.obsm["program_usage"], adata.varm["program_spectra"] = usage, spectra
    found.tables["program_choices"] = adata.uns["program_choices"] = result.choices
    found.tables["program_stability"] = adata.uns["program_stability"] = stability
    found.tables["spectra"] = _tidy(spectra, scores)
    if len(usage) <= MOST_ROWS:
        found.tables["usages"] = usage.rename_axis("cell").reset_index()
    return programs


def _top_genes(scores: pd.DataFrame, asked: NmfOptions, tree: np.ndarray) -> Clustering:
    """Group the genes with the largest scores by the program in which theirs is largest."""
    values = scores.to_numpy()
    best, strength = values.argmax(axis=1), values.max(axis=1)
    rows = np.lexsort((np.arange(len(best)), -strength, best))
    rows = rows[strength[rows] > 0]
    place = pd.Series(rows).groupby(best[rows]).cumcount().to_numpy()
    rows = rows[place < asked.top_genes]
    codes = np.full(len(best), -1)
    codes[rows] = best[rows]
    names = list(scores.columns)
    genes = scores.index.astype(str)
    labels = pd.Series(pd.Categorical.from_codes(codes, names), index=genes)
    colours = dict(zip(names, palette(len(names)), strict=True))
    return Clustering(labels, list(genes[rows]), tree, colours)


def _tidy(spectra: pd.DataFrame, scores: pd.DataFrame) -> pd.DataFrame:
    """Return one row a program and gene, the genes with the largest scores first."""
    genes, programs = spectra.shape
    table = pd.DataFrame(
        {
            "program": np.repeat(list(spectra.columns), genes),
            "gene": np.tile(spectra.index.astype(str), programs),
            "spectrum": spectra.to_numpy().T.ravel(),
            "score": scores.to_numpy().T.ravel(),
        }
    )
    number = np.repeat(np.arange(programs), genes)
    return table.iloc[np.lexsort((-table["score"], number))].reset_index(drop=True)
