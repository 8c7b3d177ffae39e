"""Cells that use planted factor programs, for tests of consensus NMF."""

from __future__ import annotations

from dataclasses import dataclass

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse
from scipy.optimize import linear_sum_assignment


@dataclass(frozen=True)
class Factors:
    counts: sparse.csr_matrix  # cells x genes
    usage: np.ndarray  # cells x programs, rows add up to one
    spectra: np.ndarray  # programs x genes, shares of counts
    raised: list[np.ndarray]  # of each program, the genes that it raises
    labels: np.ndarray  # perturbation of each cell


def planted_factors(  # noqa: PLR0913  what a test may vary
    seed: int,
    *,
    cells: int = 1200,
    genes: int = 300,
    programs: int = 5,
    depth: int = 2000,
    fold: float = 2.0,
) -> Factors:
    """Draw counts of mixtures: UP adds to the use of program 0, DOWN takes from that of program 1.

    A program raises a tenth of the genes by about `fold`, as a natural logarithm.
    """
    rng = np.random.default_rng(seed)
    base = rng.lognormal(0.0, 1.0, genes)
    raised = [rng.choice(genes, genes // 10, replace=False) for _ in range(programs)]
    spectra = np.tile(base, (programs, 1))
    for program, mine in enumerate(raised):
        spectra[program, mine] *= np.exp(rng.normal(fold, 0.3, len(mine)))
    spectra /= spectra.sum(axis=1, keepdims=True)
    labels = rng.choice(["control", "UP", "DOWN", "IDLE"], cells, p=[0.4, 0.2, 0.2, 0.2])
    weights = rng.gamma(0.4, size=(cells, programs)) + 1e-3
    weights[labels == "UP", 0] += 0.5
    weights[labels == "DOWN", 1 % programs] *= 0.1
    usage = weights / weights.sum(axis=1, keepdims=True)
    size = rng.lognormal(np.log(depth), 0.3, cells)
    counts = rng.poisson(size[:, None] * (usage @ spectra)).astype(np.float32)
    return Factors(sparse.csr_matrix(counts), usage, spectra, raised, labels)


def factor_screen(planted: Factors) -> ad.AnnData:
    """Return them as a screen with two batches."""
    n = len(planted.labels)
    obs = pd.DataFrame(
        {
            "perturbation": planted.labels.astype(str),
            "batch": [f"b{i % 2}" for i in range(n)],
        },
        index=[f"cell{i}" for i in range(n)],
    )
    genes = pd.DataFrame(index=[f"G{i:03d}" for i in range(planted.counts.shape[1])])
    return ad.AnnData(planted.counts, obs=obs, var=genes)


def matched(true: np.ndarray, found: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return which row of `found` is which of `true`, and how they correlate."""
    correlations = np.corrcoef(true, found)[: len(true), len(true) :]
    rows, place = linear_sum_assignment(-correlations)
    return place, correlations[rows, place]
