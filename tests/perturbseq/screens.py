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
