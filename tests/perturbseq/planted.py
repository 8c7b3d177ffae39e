"""A small screen with a planted truth, for the tests of the analysis."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse


@dataclass(frozen=True)
class Planted:
    adata: AnnData
    design: pd.DataFrame
    covariates: pd.DataFrame
    control: np.ndarray
    programs: pd.Series  # gene -> planted program, "none" for the others
    modules: pd.Series  # perturbation -> planted module, "none" for the others
    effects: pd.DataFrame  # genes x perturbations


def planted_screen(  # noqa: PLR0913  what a test may vary
    *,
    n_cells: int = 2400,
    n_programs: int = 3,
    genes_per_program: int = 12,
    n_other_genes: int = 64,
    targets_per_module: int = 3,
    n_idle: int = 3,
    effect: float = 1.0,
    n_batches: int = 2,
    seed: int = 0,
) -> Planted:
    """Draw cells: module m moves programs m and m + 1, with opposite sign; the rest is idle."""
    rng = np.random.default_rng(seed)
    n_modules = n_programs
    targets = [f"T{m}_{i}" for m in range(n_modules) for i in range(targets_per_module)]
    idle = [f"IDLE{i}" for i in range(n_idle)]
    names = [*targets, *idle]
    program = np.repeat(
        [*[f"planted{p}" for p in range(n_programs)], "none"],
        [*[genes_per_program] * n_programs, n_other_genes],
    )
    genes = [f"G{i:03d}" for i in range(len(program))]
    effects = pd.DataFrame(0.0, index=genes, columns=names)
    for m in range(n_modules):
        for i in range(targets_per_module):
            size = effect * rng.uniform(0.8, 1.2)
            effects.loc[program == f"planted{m}", f"T{m}_{i}"] = size
            effects.loc[program == f"planted{(m + 1) % n_programs}", f"T{m}_{i}"] = -size
    labels = rng.choice(
        ["control", *names], p=[0.25, *[0.75 / len(names)] * len(names)], size=n_cells
    )
    batch = rng.integers(0, n_batches, n_cells)
    design = pd.DataFrame(
        {name: (labels == name).astype(float) for name in names},
        index=[f"cell{i}" for i in range(n_cells)],
    )
    base = rng.normal(0.8, 0.7, len(genes))
    shift = rng.normal(0, 0.3, (n_batches, len(genes)))
    depth = rng.lognormal(0, 0.25, n_cells)
    log_rate = base + shift[batch] + design.to_numpy() @ effects.to_numpy().T
    counts = rng.poisson(np.exp(log_rate) * depth[:, None]).astype(np.float32)
    obs = pd.DataFrame(
        {"perturbation": pd.Categorical(labels), "batch": batch, "total_counts": 1e4 * depth},
        index=design.index,
    )
    adata = AnnData(sparse.csr_matrix(counts), obs=obs, var=pd.DataFrame(index=genes))
    adata.layers["counts"] = adata.X.copy()
    # A panel: depth comes from the genes outside it, so that effects do not move the other genes.
    scaled = sparse.diags_array(1 / depth) @ adata.X
    adata.layers["response"] = sparse.csr_matrix(scaled.log1p())
    covariates = pd.DataFrame(
        {f"batch_{b}": (batch == b).astype(float) for b in range(1, n_batches)}, index=obs.index
    )
    covariates["log_total_counts"] = np.log(obs["total_counts"])
    covariates -= covariates.mean()
    return Planted(
        adata,
        design,
        covariates,
        labels == "control",
        pd.Series(program, index=genes),
        pd.Series(
            [n.split("_")[0].replace("T", "planted") if n in targets else "none" for n in names],
            index=names,
        ),
        effects,
    )
