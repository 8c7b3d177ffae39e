"""Small screens for tests, made in memory."""

from __future__ import annotations

import anndata
import numpy as np
import pandas as pd
from scipy import sparse


def small_screen(
    seed: int = 0, cells: int = 60, genes: int = 12, labels: list[str] | None = None
) -> anndata.AnnData:
    """Make raw counts with labels, guides and batches; every label has cells."""
    rng = np.random.default_rng(seed)
    labels = ["ctrl", "A", "B", "C"] if labels is None else labels
    perturbation = np.array([labels[i % len(labels)] for i in range(cells)])
    counts = rng.poisson(3.0, (cells, genes)).astype(np.float32)
    counts[:, 0] += 1  # no cell is empty
    obs = pd.DataFrame(
        {
            "perturbation": perturbation,
            "guide": [f"{p}_{i // len(labels) % 3}" for i, p in enumerate(perturbation)],
            "batch": [f"b{v}" for v in rng.integers(0, 2, cells)],
            "total_counts": counts.sum(axis=1).astype(np.int64),
            "pct_counts_mt": rng.uniform(1.0, 9.0, cells),
        },
        index=[f"cell{i}" for i in range(cells)],
    )
    return anndata.AnnData(
        sparse.csr_matrix(counts), obs=obs, var=pd.DataFrame(index=[f"g{i}" for i in range(genes)])
    )


def plate_screen(  # noqa: PLR0913  what a test may vary
    seed: int,
    *,
    guides: int = 2,
    perturbations: int = 10,
    cells: int = 8,
    genes: int = 24,
    smooth: float = 0.0,
    effect: float = 0.0,
) -> anndata.AnnData:
    """Make an arrayed screen: a well each for guides that stand side by side by perturbation.

    Two rows of a plate; the last two genes' worth of wells are controls. `smooth` is the standard
    deviation of what changes smoothly along the plate, `effect` that of the perturbations' own,
    both as a change of the natural logarithm of each gene.
    """
    rng = np.random.default_rng(seed)
    labels = np.repeat([*(f"P{i:02d}" for i in range(perturbations)), "ctrl"], guides)
    labels = np.append(labels, ["ctrl"] * guides)
    wells = len(labels)
    kernel = np.exp(-0.5 * (np.arange(-6, 7) / 2.0) ** 2)
    field = np.array(
        [
            np.convolve(noise, kernel / np.linalg.norm(kernel), "valid")
            for noise in rng.normal(size=(genes, wells + 12))
        ]
    )
    names = sorted(set(labels))
    own = rng.normal(0.0, effect, (len(names), genes)) * (np.array(names) != "ctrl")[:, None]
    log_rate = smooth * field.T + own[np.searchsorted(names, labels)]
    unit = np.repeat(np.arange(wells), cells)
    counts = rng.poisson(4.0 * np.exp(log_rate[unit])).astype(np.float32)
    counts[:, 0] += 1  # no cell is empty
    width = (wells + 1) // 2
    places = np.array([f"{'AB'[w // width]}{w % width + 1:02d}" for w in range(wells)])
    obs = pd.DataFrame(
        {
            "perturbation": labels[unit],
            "guide": [f"{labels[u]}_{u}" for u in unit],
            "well": places[unit],
            "batch": [f"b{v}" for v in np.arange(len(unit)) % 2],
        },
        index=[f"cell{i}" for i in range(len(unit))],
    )
    return anndata.AnnData(
        sparse.csr_matrix(counts), obs=obs, var=pd.DataFrame(index=[f"g{i}" for i in range(genes)])
    )
