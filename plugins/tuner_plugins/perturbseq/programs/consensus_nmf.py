"""Factor programs: consensus non-negative matrix factorisation of cells.

Kotliar et al. 2019 (doi:10.7554/eLife.43803): counts of variable genes, scaled to unit variance,
are factorised many times; programs are what most factorisations agree on.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse
from threadpoolctl import threadpool_limits

from tuner_plugins.perturbseq.data.response import GeneChoice, Moments, choose_genes
from tuner_plugins.perturbseq.programs.consensus import (
    NmfOptions,
    choose,
    consensus,
    require_fewer,
    stability_of,
)
from tuner_plugins.perturbseq.programs.nonnegative import (
    BLOCK,
    Compressed,
    compress,
    factorise,
    nonnegative_fit,
    product,
)

DIRECTIONS = 60
"""Singular directions that are factorised at least; five times as many as programs otherwise."""

MOST_CELLS = 10_000
"""Cells of a replicate: each draws its own where there are more; all of them are refitted."""

SEEN_IN = 10
"""Cells that a variable gene is counted in at least."""


@dataclass(frozen=True)
class FactorPrograms:
    """Programs of cells.

    Attributes
    ----------
    usage : ndarray, (cells, programs)
        Share of each program in a cell: rows add up to one (zeros for a cell without a count).
    spectra : ndarray, (programs, genes)
        Counts per 10,000 that a usage of one has, refitted over all genes.
    scores : ndarray, (programs, genes)
        Standard deviations by which expression rises with the usage, the others held.
    choices : pandas.DataFrame
        One row a number of programs: ``n_programs``, mean ``silhouette`` of the components,
        relative ``error`` of the consensus, share of ``outliers``, ``chosen``.
    stability : pandas.DataFrame
        One row a program, see `consensus.stability_of`.
    """

    usage: NDArray[np.float64]
    spectra: NDArray[np.float64]
    scores: NDArray[np.float64]
    choices: pd.DataFrame
    stability: pd.DataFrame


def consensus_nmf(
    counts: sparse.csr_matrix,
    logged: sparse.csr_matrix,
    options: NmfOptions | None = None,
    *,
    threads: int = 1,
) -> FactorPrograms:
    """Find factor programs of cells.

    Counts are not divided by depth: a cell weighs as much as is known of it. Usages are, as shares.

    Parameters
    ----------
    counts : csr_matrix, (cells, genes)
        From 0.
    logged : csr_matrix, (cells, genes)
        log1p of counts per 10,000, which spectra over all genes and the choice of variable genes
        are of.
    options : NmfOptions, optional
    threads : int
        The result does not depend on it.

    Returns
    -------
    FactorPrograms
        In no particular order of programs.

    Raises
    ------
    AnalysisError
        There are not more cells and variable genes than programs.
    """
    options = options or NmfOptions()
    with threadpool_limits(1):
        genes = _variable_genes(logged, options.n_genes)
        require_fewer(options, counts.shape[0], len(genes))
        scale = _spread(counts)[genes]
        genes, scale = genes[scale > 0], scale[scale > 0]
        rank = max(DIRECTIONS, 5 * max(options.n_programs))
        data = compress(counts, genes, scale, rank)
        rows, fits = [], []
        for k in sorted(set(options.n_programs)):
            found = consensus(_replicates(data, k, options, threads), k, options)
            usage, error = _usage(counts, genes, scale, found.spectra, data.squares)
            rows.append(
                {
                    "n_programs": k,
                    "silhouette": np.nan if k == 1 else float(found.silhouette.mean()),
                    "error": error,
                    "outliers": float((found.programs < 0).mean()),
                }
            )
            fits.append((found, usage))
        choices = pd.DataFrame(rows)
        taken = choose(choices)
        found, usage = fits[taken]
        sums = usage.sum(axis=1, keepdims=True)
        usage = usage / np.where(sums > 0, sums, 1.0)
        spectra, scores = _over_all_genes(logged, usage)
    choices["chosen"] = np.arange(len(choices)) == taken
    return FactorPrograms(usage, spectra, scores, choices, stability_of(found, options))


def _linear_blocks(logged: sparse.csr_matrix) -> Iterator[tuple[slice, sparse.csr_matrix]]:
    """Yield counts per 10,000 of some cells at a time."""
    for start in range(0, logged.shape[0], BLOCK):
        rows = slice(start, start + BLOCK)
        yield rows, logged[rows].astype(np.float64).expm1()


def _variable_genes(logged: sparse.csr_matrix, n_genes: int) -> NDArray[np.intp]:
    moments = Moments(logged.shape[1])
    for _, linear in _linear_blocks(logged):
        moments.add(linear)
    least = min(SEEN_IN, logged.shape[0])
    choice = GeneChoice(min_cells=least)
    seen = choose_genes(moments, pd.RangeIndex(logged.shape[1]), choice)
    if seen.sum() > n_genes:
        choice = GeneChoice(min_cells=least, highly_variable=n_genes)
        seen = choose_genes(moments, pd.RangeIndex(logged.shape[1]), choice)
    return np.flatnonzero(seen)


def _spread(counts: sparse.csr_matrix) -> NDArray[np.float64]:
    """Return the standard deviation of each gene, (genes,)."""
    total, squares = np.zeros((2, counts.shape[1]))
    for start in range(0, counts.shape[0], BLOCK):
        part = counts[start : start + BLOCK]
        values = part.data.astype(np.float64)
        total += np.bincount(part.indices, values, minlength=counts.shape[1])
        squares += np.bincount(part.indices, values**2, minlength=counts.shape[1])
    n = counts.shape[0]
    return np.asarray(np.sqrt(np.maximum(squares - total**2 / n, 0.0) / max(n - 1, 1)))


def _replicates(
    data: Compressed, k: int, options: NmfOptions, threads: int
) -> NDArray[np.floating]:
    """Return the spectra of all replicates, (replicates * k, genes)."""
    n = len(data.left)

    def one(replicate: int) -> NDArray[np.float32]:
        rng = np.random.default_rng([options.seed, k, replicate])
        if n <= MOST_CELLS:
            return factorise(data, k, rng)
        drawn = np.sort(rng.choice(n, MOST_CELLS, replace=False))
        return factorise(Compressed(data.left[drawn], data.right, data.squares), k, rng)

    with ThreadPoolExecutor(max(threads, 1)) as pool:
        return np.concatenate(list(pool.map(one, range(options.replicates))))


def _usage(
    counts: sparse.csr_matrix,
    genes: NDArray[np.intp],
    scale: NDArray[np.float64],
    spectra: NDArray[np.float64],
    squares: float,
) -> tuple[NDArray[np.float64], float]:
    """Refit the usage of spectra in all cells; return it and the relative error of the product."""
    weights = np.zeros((counts.shape[1], len(spectra)))
    weights[genes] = spectra.T / scale[:, None]
    products = np.asarray(product(counts, weights), dtype=np.float64)
    gram = spectra @ spectra.T
    usage = nonnegative_fit(gram, products)
    left = squares - 2 * (usage * products).sum() + ((usage.T @ usage) * gram).sum()
    return usage, float(np.sqrt(max(left, 0.0) / squares))


def _over_all_genes(
    logged: sparse.csr_matrix, usage: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Refit spectra over all genes, and regress standardised expression on usage."""
    products = np.zeros((logged.shape[1], usage.shape[1]))
    mean, squares = np.zeros((2, logged.shape[1]))
    for rows, linear in _linear_blocks(logged):
        products += linear.T @ usage[rows]
        mean += np.asarray(linear.sum(axis=0)).ravel() / len(usage)
        squares += np.bincount(linear.indices, linear.data**2, minlength=len(mean)) / len(usage)
    gram = usage.T @ usage
    spread = np.sqrt(np.maximum(squares - mean**2, 0.0))
    centred = products - mean[:, None] * usage.sum(axis=0)
    scaled = centred / np.where(spread > 0, spread, np.inf)[:, None]
    scores = np.linalg.lstsq(gram, scaled.T, rcond=None)[0]
    return nonnegative_fit(gram, products).T, scores
