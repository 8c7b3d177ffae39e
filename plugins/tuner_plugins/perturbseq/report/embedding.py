"""The preparation view: what the cells look like before any model, by batch, label and phase.

Nothing here feeds the model: its covariates and responses are made from training cells alone.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import scanpy as sc
from numpy.typing import NDArray
from scipy import sparse
from sklearn.neighbors import KNeighborsTransformer
from threadpoolctl import threadpool_limits

from tuner_plugins.perturbseq.data.covariates import is_mitochondrial
from tuner_plugins.perturbseq.errors import AnalysisError

EXACT_UP_TO = 50_000
"""Cells up to which neighbours are searched exactly, and UMAP starts from a spectral layout; more
have an approximate, seeded search, and start from principal components."""


BLOCK = 4096
"""Cells that are normalised at once, in twice the precision that is kept."""

VALUES = 1 << 22
"""Values that are checked at once."""

TARGET_SUM = 1e4
"""Counts per cell after normalisation."""

VARIABLE = {"min_mean": 0.0125, "max_mean": 3.0, "min_disp": 0.5}
"""Limits of highly variable genes, those of the usual notebook."""

MAX_VALUE = 10.0
"""Scaled expression is clipped there."""


@dataclass(frozen=True)
class PrepareOptions:
    """Options of the view; the defaults are those of the usual notebook.

    Attributes
    ----------
    size_factor : str, float or None
        Column of obs with the total counts of a cell, for panels of genes; a number that they all
        have, where counts were normalised before; None sums the counts.
    whole : bool
        Whether counts must be whole numbers.
    shared : bool
        ``layers["lognorm"]`` shares the places of its values with X, which nobody changes.
    cell_cycle : mapping
        ``{"S": genes, "G2M": genes}``; empty for no phases.
    """

    size_factor: str | float | None = None
    whole: bool = True
    shared: bool = False
    n_pcs: int = 40
    n_neighbors: int = 20
    seed: int = 0
    cell_cycle: Mapping[str, Sequence[str]] = field(default_factory=dict)


def prepare(adata: ad.AnnData, options: PrepareOptions | None = None) -> ad.AnnData:
    """Add quality, log-normalised expression, PCA, neighbours, UMAP and cell-cycle phase.

    Parameters
    ----------
    adata : AnnData
        Cells by genes, raw counts in X. Not changed where it was; gains ``layers["lognorm"]``,
        ``obs`` columns ``total_counts``, ``n_genes_by_counts``, ``pct_counts_mt`` and (where the
        lists hold genes of the data) ``S_score``, ``G2M_score``, ``phase`` unless obs has them
        already, ``var`` column
        ``highly_variable``, ``obsm`` ``X_pca`` and ``X_umap``, and ``uns["prepare"]``.

    Returns
    -------
    AnnData
        The same object.

    Raises
    ------
    AnalysisError
        If X holds no counts, a cell is empty, or there are too few cells.
    """
    options = options or PrepareOptions()
    if adata.n_obs < 4 or adata.n_vars < 2:
        raise AnalysisError(
            f"the view needs 4 cells and 2 genes at least; got {adata.n_obs} x {adata.n_vars}"
        )
    values = np.ravel(adata.X.data if sparse.issparse(adata.X) else adata.X)
    for start in range(0, len(values), VALUES):
        part = values[start : start + VALUES]
        odd = part[(part < 0) | (options.whole & (part != np.round(part)))]
        if len(odd):
            raise AnalysisError(
                f"X must hold raw counts, {'whole ' * options.whole}numbers from 0; "
                f"got values such as {odd[0]:g}"
            )
    _quality(adata, options)
    adata.layers["lognorm"] = log_normalised(adata, options.size_factor, not options.shared)
    view = ad.AnnData(adata.layers["lognorm"], obs=adata.obs[[]], var=adata.var[[]])
    _phases(adata, view, options)
    chosen = _variable_genes(view)
    adata.var["highly_variable"] = chosen
    with threadpool_limits(1), warnings.catch_warnings():
        # One thread: UMAP blows up the last bits, which depend on the number of threads.
        warnings.filterwarnings("ignore", "n_jobs value", UserWarning)
        _embed(adata, view[:, chosen].copy(), options)
    return adata


def _quality(adata: ad.AnnData, options: PrepareOptions) -> None:
    counts = adata.X
    total = np.asarray(counts.sum(axis=1)).ravel()
    # of a panel of genes a cell may show none; its depth is known from elsewhere
    if options.size_factor is None and (total <= 0).any():
        name = adata.obs_names[int(np.argmin(total))]
        raise AnalysisError(
            f"{int((total <= 0).sum())} cells have no counts, '{name}' for one: drop them first"
        )
    mitochondria = np.asarray(counts[:, is_mitochondrial(adata.var_names)].sum(axis=1)).ravel()
    n_genes = [
        np.asarray((counts[start : start + BLOCK] > 0).sum(axis=1)).ravel()
        for start in range(0, adata.n_obs, BLOCK)
    ]
    found = {
        "n_genes_by_counts": np.concatenate(n_genes),
        "pct_counts_mt": 100 * mitochondria / np.where(total > 0, total, 1),
    }
    if not isinstance(options.size_factor, float):  # normalised counts do not tell
        found["total_counts"] = total
    for name, values in found.items():
        if name not in adata.obs:  # of all genes, perhaps, where X has some
            adata.obs[name] = values


def log_normalised(
    adata: ad.AnnData, size_factor: str | float | None, copy: bool = True
) -> sparse.csr_matrix:
    """Return log1p of counts per 10,000, by a column of obs, a number, or the sums of X.

    Without `copy` the places of the values are those of X, not others alike.
    """
    if size_factor is None:
        size = np.asarray(adata.X.sum(axis=1), dtype=np.float64).ravel()
    elif isinstance(size_factor, float):
        size = np.full(adata.n_obs, size_factor)
    elif size_factor in adata.obs:
        size = adata.obs[size_factor].to_numpy(dtype=np.float64)
    else:
        raise AnalysisError(
            f"no obs column '{size_factor}' with total counts; "
            f"there are: {', '.join(map(str, adata.obs.columns))}"
        )
    if not (size > 0).all():
        raise AnalysisError(f"obs column '{size_factor}' must be above 0 in every cell")
    counts = sparse.csr_matrix(adata.X)
    data, scale, at = np.empty(counts.nnz, dtype=np.float32), TARGET_SUM / size, counts.indptr
    for start in range(0, adata.n_obs, BLOCK):
        rows = slice(start, min(start + BLOCK, adata.n_obs))
        part, n = slice(at[rows.start], at[rows.stop]), np.diff(at[rows.start : rows.stop + 1])
        data[part] = np.log1p(counts.data[part] * np.repeat(scale[rows], n))
    return sparse.csr_matrix((data, counts.indices, at), counts.shape, copy=copy)


def _phases(adata: ad.AnnData, view: ad.AnnData, options: PrepareOptions) -> None:
    """Score the cell cycle on log-normalised values: after scaling, every gene weighs alike."""
    if "phase" in adata.obs:
        return
    upper = {name.upper(): name for name in adata.var_names[::-1]}
    found = {
        phase: [upper[g.upper()] for g in genes if g.upper() in upper]
        for phase, genes in options.cell_cycle.items()
    }
    if min((len(found.get(phase, ())) for phase in ("S", "G2M")), default=0) < 3:
        return
    if adata.n_vars < len(found["S"]) + len(found["G2M"]) + 10:
        return  # no other genes to compare with
    sc.tl.score_genes_cell_cycle(
        view, s_genes=found["S"], g2m_genes=found["G2M"], random_state=options.seed
    )
    for column in ("S_score", "G2M_score", "phase"):
        if column not in adata.obs:
            adata.obs[column] = view.obs[column]


def _variable_genes(view: ad.AnnData) -> NDArray[np.bool_]:
    """Choose highly variable genes; all that vary where the limits leave fewer than ten."""
    varied = np.asarray(view.X.sum(axis=0)).ravel() > 0
    if varied.sum() >= 50:
        chosen = _dispersed(view.X) & varied
        if chosen.sum() >= 10:
            return chosen
    return varied


def _dispersed(logged: sparse.csr_matrix) -> NDArray[np.bool_]:
    """Return what `scanpy.pp.highly_variable_genes` chooses, which copies the matrix twice."""
    total, squares = np.zeros((2, logged.shape[1]))
    for start in range(0, logged.shape[0], BLOCK):
        linear = np.expm1(logged[start : start + BLOCK]).astype(np.float64)
        total += np.asarray(linear.sum(axis=0)).ravel()
        squares += np.asarray(linear.multiply(linear).sum(axis=0)).ravel()
    n = logged.shape[0]
    mean = total / n
    variance = (squares / n - mean**2) * n / (n - 1)
    mean[mean == 0] = 1e-12
    with np.errstate(divide="ignore", invalid="ignore"):
        dispersion = pd.Series(np.log(np.where(variance == 0, np.nan, variance / mean)))
    mean = np.log1p(mean)
    bins = dispersion.groupby(pd.cut(mean, bins=20), observed=True)
    centre, spread = bins.transform("mean"), bins.transform("std")
    alone = spread.isna()  # the only gene of its bin
    spread[alone], centre[alone] = centre[alone], 0.0
    normalised = ((dispersion - centre) / spread).fillna(0.0).to_numpy()
    chosen = (mean > VARIABLE["min_mean"]) & (mean < VARIABLE["max_mean"])
    return np.asarray(chosen & (normalised > VARIABLE["min_disp"]))


def _embed(adata: ad.AnnData, view: ad.AnnData, options: PrepareOptions) -> None:
    view.X = view.X.toarray()  # centring makes it dense anyway; only the variable genes are here
    sc.pp.scale(view, max_value=MAX_VALUE)
    n_pcs = min(options.n_pcs, view.n_obs - 1, view.n_vars - 1)
    sc.pp.pca(view, n_comps=n_pcs, svd_solver="arpack", mask_var=None, random_state=options.seed)
    k = min(options.n_neighbors, view.n_obs - 1)
    _keep_umap_kernels()
    sc.pp.neighbors(
        view,
        n_neighbors=k,
        use_rep="X_pca",
        transformer=_search(view.n_obs, k, options.seed),
        random_state=options.seed,
    )
    sc.tl.umap(view, random_state=options.seed, init_pos=_start(view))
    adata.obsm["X_pca"] = view.obsm["X_pca"]
    adata.obsm["X_umap"] = view.obsm["X_umap"]
    adata.uns["prepare"] = {
        "n_pcs": n_pcs,
        "n_neighbors": k,
        "n_variable_genes": view.n_vars,
        "variance_ratio": np.asarray(view.uns["pca"]["variance_ratio"]),
        "seed": options.seed,
    }


def _start(view: ad.AnnData) -> Any:
    """Return what UMAP starts from.

    The time of its spectral layout grows with more than the square of the number of cells; two
    principal components are as good a start (Kobak & Linderman 2021,
    doi:10.1038/s41587-020-00809-z).
    """
    if view.n_obs > EXACT_UP_TO and view.obsm["X_pca"].shape[1] > 1:
        return np.ascontiguousarray(view.obsm["X_pca"][:, :2], dtype=np.float32)
    return "spectral" if view.n_obs > 10 else "random"


def _search(n_cells: int, k: int, seed: int) -> Any:
    """Return what finds the neighbours of cells."""
    if n_cells <= EXACT_UP_TO:
        return KNeighborsTransformer(n_neighbors=k, algorithm="brute", n_jobs=1)
    from pynndescent import PyNNDescentTransformer  # type: ignore[import-untyped]

    class Matrix(PyNNDescentTransformer):  # type: ignore[misc]  # which has no types
        """Return a matrix, not the array of pynndescent 0.7, which scanpy 1.11 cannot read."""

        def fit_transform(self, X: Any, y: Any = None) -> sparse.csr_matrix:
            return sparse.csr_matrix(super().fit_transform(X, y))

    # trees and rounds of UMAP
    trees, rounds = min(64, 5 + round(n_cells**0.5 / 20)), max(5, round(np.log2(n_cells)))
    return Matrix(n_neighbors=k, random_state=seed, n_trees=trees, n_iters=rounds, n_jobs=1)


def _keep_umap_kernels() -> None:
    """Have Numba keep what it compiles for UMAP, which takes each new process 8 s otherwise."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of UMAP, that TensorFlow is not installed
        from umap import layouts, umap_
    for kernel in [*vars(layouts).values(), *vars(umap_).values()]:
        if hasattr(kernel, "enable_caching"):
            with contextlib.suppress(RuntimeError):  # there is no folder for it
                kernel.enable_caching()
