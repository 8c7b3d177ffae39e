"""Time full-refit permutations of an elastic net: ``python -m benchmarks.permutation``.

A screen is drawn, the model is fitted, and labels are permuted within batches; every permutation
is a full refit of all genes. Beside it stands one permutation that sums its statistics afresh, and
one fit of scikit-learn's ``ElasticNet`` on a few genes, scaled up to all of them.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import ElasticNet
from tuner_plugins.perturbseq.inference.coefficients import permutation_p
from tuner_plugins.perturbseq.inference.program_tests import permute_within
from tuner_plugins.perturbseq.model.resampling import (
    Model,
    entries,
    permuted_entries,
    residual_scale,
)

SIZES = {"S": (5_000, 40, 1_000), "M": (50_000, 100, 2_000)}
COVARIATES = 12
PEER_GENES = 5


def draw(n_cells: int, n_targets: int, n_genes: int, density: float, seed: int) -> Model:
    """Draw sparse log counts with some planted effects, batches and covariates."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, n_targets + n_targets // 5, n_cells)
    design = sparse.csr_matrix(label[:, None] == np.arange(n_targets), dtype=np.float64)
    batch = rng.integers(0, 3, n_cells)
    covariates = rng.normal(size=(n_cells, COVARIATES))
    covariates[:, :2] = batch[:, None] == [1, 2]
    blocks = []
    for start in range(0, n_genes, 250):
        width = min(250, n_genes - start)
        rate = -np.log1p(-rng.uniform(0.2, 1.8, width) * density)
        effect = rng.normal(0, 0.7, (n_targets + 1, width)) * (rng.random(width) < 0.2)
        effect[n_targets:] = 0
        shift = effect[np.minimum(label, n_targets)] + 0.1 * covariates[:, [2]]
        blocks.append(sparse.csc_matrix(rng.poisson(rate * np.exp(shift)).astype(np.float64)))
    responses = sparse.csr_matrix(sparse.hstack(blocks)).log1p()
    names = [f"T{i}" for i in range(n_targets)], [f"G{i}" for i in range(n_genes)]
    return Model(design, covariates, responses, *names, batch, alpha=1e-3, l1_ratio=0.5)


def peer_seconds(model: Model) -> float:
    """Time one scikit-learn fit of `PEER_GENES` genes, scaled to all genes."""
    x = np.asfortranarray(model.columns().toarray())
    y = model.responses[:, :PEER_GENES].toarray()
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        ElasticNet(alpha=model.alpha, l1_ratio=model.l1_ratio).fit(x, y)
    return (time.perf_counter() - start) * len(model.genes) / PEER_GENES


def measure(name: str, n_permutations: int, threads: int, density: float) -> dict[str, float]:
    """Run one size; return times in seconds."""
    model = replace(draw(*SIZES[name], density, seed=0), threads=threads)
    list(permuted_entries(model.rows(np.arange(2000)), 1, 0))  # compiled before the clock starts
    start, busy = time.perf_counter(), time.process_time()
    summed = model.summed()
    refit = model.fit(summed)
    observed, scale = entries(model, summed, refit), residual_scale(model, summed, refit)
    fitted = time.perf_counter() - start
    nulls = permuted_entries(model, n_permutations, 1)
    found = permutation_p(observed, nulls, pooled_scale=scale)
    total, busy = time.perf_counter() - start, time.process_time() - busy
    rows = permute_within(model.strata, np.random.default_rng(0))
    start = time.perf_counter()
    afresh = replace(model, design=model.design[rows])
    afresh.fit(afresh.summed())
    return {
        "permutations": n_permutations,
        "threads": threads,
        "density": float(model.responses.nnz / np.prod(model.responses.shape)),
        "fit": fitted,
        "total": total,
        "cpu": busy,
        "per_permutation": (total - fitted) / n_permutations,
        "summed_afresh": time.perf_counter() - start,
        "scikit_learn_fit": peer_seconds(model),
        "smallest_p": float(np.nanmin(found.p)),
    }


def main() -> None:
    """Print the table, and write it as JSON when asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=list(SIZES), default="M")
    parser.add_argument("--permutations", type=int, default=1000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--density", type=float, default=0.15, help="share of non-zero counts")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found = measure(options.size, options.permutations, options.threads, options.density)
    cells, targets, genes = SIZES[options.size]
    print(
        f"{cells:,} cells x {targets} perturbations + {COVARIATES} covariates x {genes:,} genes, "
        f"{found['density']:.0%} non-zero, {options.threads} threads"
    )
    print(
        f"{options.permutations:,} full refits, with the fit: {found['total']:.1f} s "
        f"({found['cpu']:.1f} s of processor time over all threads)"
    )
    print(f"one refit: {1e3 * found['per_permutation']:.1f} ms")
    print(f"one refit with its statistics summed afresh: {1e3 * found['summed_afresh']:.0f} ms")
    print(f"one scikit-learn fit (from {PEER_GENES} genes): {found['scikit_learn_fit']:.1f} s")
    if options.json is not None:
        options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
