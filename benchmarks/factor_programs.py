"""Factor programs beside cNMF: ``python -m benchmarks.factor_programs --peers PYTHON``.

PYTHON is the interpreter of an environment with cNMF (``pip install cnmf``), without which ours
runs alone. Cells are mixtures of planted programs (`--cells`, `--genes`, `--programs`; `--fold` is
what a program raises a tenth of the genes by, as a natural logarithm); both take all genes and as
many replicates (`--replicates`). Each runs in a process of its own, on one thread.

spectra  correlation with the planted ones, each with its nearest: smallest, mean
usage    the same of usages over cells
cpu, GB  seconds of factorisations and consensus, imports left aside; peak memory
between  smallest and mean correlation of our spectra with cNMF's
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse
from scipy.optimize import linear_sum_assignment


def simulate(folder: Path, given: argparse.Namespace) -> tuple[np.ndarray, np.ndarray]:
    """Write ``counts.h5ad``; return planted usages (cells, programs) and spectra."""
    rng = np.random.default_rng(given.seed)
    base = rng.lognormal(0.0, 1.0, given.genes)
    spectra = np.tile(base, (given.programs, 1))
    for row in spectra:
        mine = rng.choice(given.genes, given.genes // 10, replace=False)
        row[mine] *= np.exp(rng.normal(given.fold, 0.3, len(mine)))
    spectra /= spectra.sum(axis=1, keepdims=True)
    usage = rng.dirichlet(np.full(given.programs, 0.4), given.cells)
    depth = rng.lognormal(np.log(10 * given.genes**0.7), 0.3, given.cells)
    counts = rng.poisson(depth[:, None] * (usage @ spectra)).astype(np.float32)
    adata = ad.AnnData(sparse.csr_matrix(counts))
    adata.obs_names = [f"cell{i}" for i in range(given.cells)]
    adata.var_names = [f"gene{i}" for i in range(given.genes)]
    adata.write_h5ad(folder / "counts.h5ad")
    return usage, spectra


def ours(folder: Path, programs: int, replicates: int) -> tuple[np.ndarray, np.ndarray]:
    """Return usages and spectra of the plug-in."""
    from tuner_plugins.perturbseq.programs.consensus import NmfOptions
    from tuner_plugins.perturbseq.programs.consensus_nmf import consensus_nmf

    counts = sparse.csr_matrix(ad.read_h5ad(folder / "counts.h5ad").X)
    scale = sparse.diags_array(1e4 / np.asarray(counts.sum(axis=1)).ravel())
    logged = sparse.csr_matrix((scale @ counts).log1p())
    options = NmfOptions((programs,), replicates, n_genes=counts.shape[1])
    found = consensus_nmf(counts, logged, options)
    return found.usage, found.spectra


def cnmf(folder: Path, programs: int, replicates: int) -> tuple[np.ndarray, np.ndarray]:
    """Return usages and spectra of cNMF (Kotliar et al. 2019), on the same genes."""
    from cnmf import cNMF  # type: ignore[import-not-found]

    counts = folder / "counts.h5ad"
    genes = folder / "genes.txt"
    genes.write_text("\n".join(ad.read_h5ad(counts).var_names))
    made = cNMF(output_dir=str(folder), name="peer")
    made.prepare(
        str(counts), components=[programs], n_iter=replicates, seed=1, genes_file=str(genes)
    )
    made.factorize()
    made.combine()
    made.consensus(programs, density_threshold=0.5, show_clustering=False)
    usage, _, spectra, _ = made.load_results(programs, 0.5)
    return usage.to_numpy(), spectra.to_numpy().T


METHODS = {"ours": ours, "cNMF": cnmf}


def measure(method: str, folder: Path, programs: int, replicates: int) -> None:
    """Run a method; write what it finds, print what it takes."""
    METHODS[method](folder, 2, 4)  # imports, and kernels of libraries
    start = time.process_time()
    usage, spectra = METHODS[method](folder, programs, replicates)
    seconds = time.process_time() - start
    np.savez(folder / f"{method}.npz", usage=usage, spectra=spectra)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(json.dumps({"cpu": seconds, "GB": memory}))


def matched(true: np.ndarray, found: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return which row of `found` is which of `true`, and how they correlate."""
    correlations = np.corrcoef(true, found)[: len(true), len(true) :]
    rows, place = linear_sum_assignment(-correlations)
    return place, correlations[rows, place]


def main() -> None:
    """Measure ours, and cNMF where there is one; print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("cells", 2000), ("genes", 500), ("programs", 8), ("replicates", 20)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--fold", type=float, default=1.5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--peers", default=None)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        usage, spectra = simulate(folder, given)
        rows, found = {}, {}
        for method in METHODS if given.peers else ["ours"]:
            python = sys.executable if method == "ours" else given.peers
            words = [method, made, str(given.programs), str(given.replicates)]
            environment = {**os.environ, **dict.fromkeys(THREADS, "1")}
            done = subprocess.run(
                [python, __file__, *words], env=environment, stdout=subprocess.PIPE, text=True
            )
            if done.returncode:
                raise SystemExit(f"{method} failed")
            took = json.loads(done.stdout.splitlines()[-1])
            found[method] = np.load(folder / f"{method}.npz")
            of_spectra = matched(spectra, found[method]["spectra"])[1]
            of_usage = matched(usage.T, found[method]["usage"].T)[1]
            rows[method] = {
                "spectra": f"{of_spectra.min():.3f} {of_spectra.mean():.3f}",
                "usage": f"{of_usage.min():.3f} {of_usage.mean():.3f}",
                "cpu": f"{took['cpu']:.1f}",
                "GB": f"{took['GB']:.2f}",
            }
    print(pd.DataFrame(rows).T.to_string())
    if len(found) == 2:
        between = matched(found["ours"]["spectra"], found["cNMF"]["spectra"])[1]
        print(f"between  {between.min():.3f} {between.mean():.3f}")


THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")

if __name__ == "__main__":
    if len(sys.argv) > 1 and sys.argv[1] in METHODS:
        measure(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
    else:
        main()
