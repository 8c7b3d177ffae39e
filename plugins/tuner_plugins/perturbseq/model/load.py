"""From an open screen to what the analysis works on: cells by genes, and a model of them."""

from __future__ import annotations

from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse

from tuner_plugins.perturbseq.data.matrix import Cells
from tuner_plugins.perturbseq.data.screen import LOG, Screen, count_blocks
from tuner_plugins.perturbseq.data.transform import blocks, learn
from tuner_plugins.perturbseq.data.values import WHOLE
from tuner_plugins.perturbseq.errors import AnalysisError
from tuner_plugins.perturbseq.inference.program_tests import stratum_codes
from tuner_plugins.perturbseq.model import composition as comp
from tuner_plugins.perturbseq.model.resampling import Model
from tuner_plugins.perturbseq.model.responses import LogCounts


def stacked(parts: list[sparse.csr_matrix]) -> sparse.csr_matrix:
    """Stack matrices that are emptied from the list on the way, so that memory holds them once.

    Examples
    --------
    >>> stacked([sparse.csr_matrix(np.eye(2)), sparse.csr_matrix(np.ones((1, 2)))]).toarray()
    array([[1., 0.],
           [0., 1.],
           [1., 1.]])
    """
    shape = sum(part.shape[0] for part in parts), parts[0].shape[1]
    kind = sparse.get_index_dtype(maxval=max(sum(part.nnz for part in parts), *shape))
    data = np.empty(sum(part.nnz for part in parts), dtype=parts[0].dtype)
    indices = np.empty(len(data), dtype=kind)
    indptr = np.zeros(shape[0] + 1, dtype=kind)
    row = at = 0
    parts.reverse()
    while parts:
        part = parts.pop()
        part.sort_indices()
        data[at : at + part.nnz], indices[at : at + part.nnz] = part.data, part.indices
        indptr[row + 1 : row + 1 + part.shape[0]] = at + part.indptr[1:]
        row, at = row + part.shape[0], at + part.nnz
    return sparse.csr_matrix((data, indices, indptr), shape)


def load(  # noqa: PLR0913  of a setting, by keyword
    screen: Screen,
    alpha: float,
    l1_ratio: float,
    *,
    penalise_covariates: bool = False,
    scale_genes: bool = False,
    composition: bool | None = False,
    threads: int = 1,
) -> tuple[ad.AnnData, Model]:
    """Read a screen into memory, its counts and its model with one setting.

    Everything that is learnt (gene choice, cell-cycle weights, scales) is learnt from all cells:
    the setting was chosen by cross-validation before.

    Parameters
    ----------
    screen : Screen
        From `screen.open_screen`.
    alpha, l1_ratio : float
        The setting.
    penalise_covariates, scale_genes : bool
        Penalise covariates, divided by their standard deviation, like perturbations; divide
        responses by theirs.
    composition : bool, optional
        Make good for the shift of all genes where some moved, see `composition`; None does so
        where counts are divided by their own sum.
    threads : int
        Of the model's fits; their result does not depend on it.

    Returns
    -------
    adata : AnnData
        The cells that stay, with the counts of all genes in X: raw, or normalised where the file
        has none but log-normalised values. Genes are named by their symbols
        where a column of var was named; ``var["gene_id"]`` has their names in the file.
    model : Model
        Of the genes that were chosen; further responses from obs are left out.

    Examples
    --------
    >>> from tuner_plugins.perturbseq.data.labels import Labels
    >>> from tuner_plugins.perturbseq.data.screen import Recipe, open_screen
    >>> counts = np.random.default_rng(0).poisson([[5.0, 9.0, 4.0]] * 40).astype(float)
    >>> counts[:20, 0] += 20
    >>> adata = ad.AnnData(counts)
    >>> adata.obs["perturbation"] = ["A"] * 20 + ["control"] * 20
    >>> adata, model = load(open_screen(adata, Recipe(Labels())), alpha=0.01, l1_ratio=0.5)
    >>> model.coefficients().round(1)
         A
    0  0.9
    1 -0.6
    2 -0.7
    """
    screen, transform = learn(screen, np.zeros(len(screen.obs), dtype=np.int64))
    found = None
    if composition or (composition is None and comp.applies(screen, transform)):
        found = comp.compose(screen, transform)
        screen, transform = comp.balance(screen, transform, found)
    k = len(screen.design.names)
    chosen = np.flatnonzero(transform.chosen[-1][: len(transform.kept)])
    lazy = screen.recipe.response == LOG and screen.recipe.values == WHOLE and not scale_genes
    covariates = np.empty((len(screen.obs), len(transform.columns[-1]) - k))
    parts = []
    for where, X, Y in blocks(screen, transform):
        covariates[where] = X[:, transform.columns[-1]][:, k:].toarray()
        if not lazy:
            parts.append(sparse.csr_matrix(Y[:, chosen]))
    responses: Any = None if lazy else stacked(parts)
    if scale_genes:
        spread = _spread(responses)
        responses = sparse.csr_matrix(responses @ sparse.diags_array(1 / spread))
    scale = np.ones(covariates.shape[1])
    if penalise_covariates:
        spread = covariates.std(axis=0)
        scale = np.where(spread > 0, spread, 1.0)
    counts = stacked(
        [
            sparse.csr_matrix(block, dtype=np.float32)
            for _, block in count_blocks(screen, checked=True)
        ]
    )
    if lazy:
        every = np.arange(len(screen.obs))
        responses = LogCounts(counts, transform.sizes, transform.kept[chosen], every)
    names = gene_names(screen.counts)
    adata = ad.AnnData(
        counts,
        obs=screen.obs.copy(),
        var=pd.DataFrame(index=names),
    )
    model = Model(
        design=sparse.csr_matrix(screen.design.matrix, dtype=np.float64),
        covariates=covariates / scale,
        responses=responses,
        targets=list(screen.design.names),
        genes=list(names[transform.kept[chosen]]),
        strata=stratum_codes(screen.batches, len(screen.obs)),
        alpha=alpha,
        l1_ratio=l1_ratio,
        penalise_covariates=penalise_covariates,
        composition=None if found is None else found.table,
        threads=threads,
        covariate_names=screen.covariates.names,
        covariate_scale=scale,
        sizes=transform.sizes,
    )
    if screen.recipe.symbols is not None:
        adata.var["gene_id"] = screen.counts.genes.astype(str)
    if not model.genes:
        raise AnalysisError("no gene is left to analyse; loosen the choice of genes")
    return adata, model


def gene_names(cells: Cells) -> pd.Index:
    """Return unique names to show: symbols, with the identifier behind those that come again."""
    symbols = cells.symbols.astype(str)
    again = symbols.duplicated()
    return symbols.where(~again, symbols + " (" + cells.genes.astype(str) + ")")


def _spread(responses: sparse.csr_matrix) -> np.ndarray:
    """Return the standard deviation of each column, 1 where it is constant."""
    mean = np.asarray(responses.mean(axis=0)).ravel()
    square = np.asarray(responses.multiply(responses).mean(axis=0)).ravel()
    variance = square - mean**2
    return np.sqrt(np.where(variance > 1e-12 * square, variance, 1.0))
