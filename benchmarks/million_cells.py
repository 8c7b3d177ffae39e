"""A million cells from disk: ``python -m benchmarks.million_cells [--cells N] [--form zarr]``.

A screen of 200 perturbations and 2,000 genes is simulated in blocks onto disk. A process of its own
then reads it as `tuner run` does (the file is tried out, checked and summed by fold, in two passes)
and cross-validates the whole surface; its peak memory is that of the operating system's account.
Beside it one fit of scikit-learn's ElasticNet, on a subset of cells and genes that is held in
memory; all its fits of the surface are extrapolated, as its time is linear in cells and in genes.
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
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from resource import RUSAGE_CHILDREN, RUSAGE_SELF
from typing import Any

import anndata
import h5py
import numpy as np
import pandas as pd
import zarr
from anndata.io import sparse_dataset, write_elem
from scipy import sparse
from sklearn.linear_model import ElasticNet
from threadpoolctl import threadpool_limits
from tuner_plugins.elasticnet.config import ElasticNetConfig
from tuner_plugins.elasticnet.reading import available_threads, probe_files
from tuner_plugins.enet.cross_validation import cross_validate, refit
from tuner_plugins.perturbseq.model.reading import read
from tuner_plugins.perturbseq.model.surface import grid_alphas

CONTROL, BATCHES, BLOCK = "non-targeting", 4, 10_000
SUBSET, GENES_TIMED = 20_000, 20
DEPTH = 400
"""Mean counts of a cell over these genes: one value in eight is not zero."""


def simulate(path: Path, cells: int, perturbations: int, genes: int, seed: int = 0) -> None:
    """Write a screen, block by block of cells; each perturbation moves a tenth of the genes."""
    rng = np.random.default_rng(seed)
    share = rng.lognormal(0.0, 1.5, genes)
    effects = np.zeros((perturbations + 1, genes))
    effects[1:] = rng.normal(0.0, 0.5, (perturbations, genes)) * (
        rng.random((perturbations, genes)) < 0.1
    )
    rates = share * np.exp(effects)
    rates = (rates / rates.sum(axis=1, keepdims=True)).astype(np.float32)
    labels = np.array([CONTROL, *(f"P{number:03d}" for number in range(perturbations))])
    columns: dict[str, list[np.ndarray]] = {"perturbation": [], "batch": [], "total_counts": []}
    with _opened(path, "w") as root:
        for start in range(0, cells, BLOCK):
            n = min(BLOCK, cells - start)
            chosen = rng.integers(0, perturbations + 1, n)
            depth = rng.lognormal(np.log(DEPTH), 0.4, n).astype(np.float32)
            counts = sparse.csr_matrix(rng.poisson(rates[chosen] * depth[:, None]), dtype="f4")
            if start:
                sparse_dataset(root["X"]).append(counts)
            else:
                write_elem(root, "X", counts)
            columns["perturbation"].append(chosen)
            columns["batch"].append(rng.integers(0, BATCHES, n))
            columns["total_counts"].append(np.asarray(counts.sum(axis=1)).reshape(-1))
        values = {name: np.concatenate(parts) for name, parts in columns.items()}
        obs = pd.DataFrame(
            {
                "perturbation": pd.Categorical.from_codes(values["perturbation"], labels),
                "batch": pd.Categorical.from_codes(values["batch"], list("abcd")),
                "total_counts": values["total_counts"],
            },
            index=[f"cell{number}" for number in range(cells)],
        )
        write_elem(root, "obs", obs)
        write_elem(root, "var", pd.DataFrame(index=[f"g{number}" for number in range(genes)]))


@contextmanager
def _opened(path: Path, mode: str) -> Iterator[Any]:
    if path.suffix == ".zarr":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of what the next release will do
            yield zarr.open_group(path, mode=mode)
        return
    with h5py.File(path, mode) as root:
        yield root


def measure(path: Path) -> dict[str, Any]:
    """Read the screen and cross-validate its surface in this process; return times and memory."""
    config = ElasticNetConfig.model_validate(
        {
            "data": {
                "counts": [str(path)],
                "control": [CONTROL],
                "batch": "batch",
                "covariates": ["total_counts"],
            }
        }
    )
    began = time.perf_counter(), sum(os.times()[:4])
    times = {}

    def lap(name: str) -> None:
        nonlocal began
        now = time.perf_counter(), sum(os.times()[:4])  # of this process and its children
        times[name] = {"s": now[0] - began[0], "cpu": now[1] - began[1]}
        began = now

    probe_files(config.data)
    lap("try the file out")
    loaded = read(config.data.source, config.plan(), threads=available_threads())
    lap("statistics")
    threads = available_threads()
    ratios = config.surface.l1_ratios
    alphas = grid_alphas(loaded.problem, config.surface.alphas, ratios)
    sweep = cross_validate(loaded.problem, alphas, ratios, threads=threads)
    lap("surface")
    alpha, ratio = sweep.best
    refit(loaded.problem, alpha, ratio, threads=threads)
    lap("refit")
    peaks = [resource.getrusage(who).ru_maxrss for who in (RUSAGE_SELF, RUSAGE_CHILDREN)]
    return {
        "times": times,
        "fits": len(alphas) * len(ratios) * config.cv.folds,
        "best": [alpha, ratio, float(sweep.r2.max())],
        "kkt": sweep.kkt,
        "memory_gb": max(peaks) / 2**20,
        "threads": threads,
    }


def one_fit(path: Path, alpha: float, ratio: float) -> float:
    """Return scikit-learn's seconds of CPU for a cell and a gene, times a million; on one thread.

    The depth is standardised for it: coordinate descent takes many times longer otherwise.
    """
    with _opened(path, "r") as root:
        counts = sparse_dataset(root["X"])[:SUBSET]
        obs = anndata.io.read_elem(root["obs"]).iloc[:SUBSET]
    design = pd.get_dummies(obs["perturbation"]).drop(columns=CONTROL).to_numpy(np.float64)
    batch = pd.get_dummies(obs["batch"], drop_first=True).to_numpy(np.float64)
    depth = obs["total_counts"].to_numpy()
    X = np.column_stack([design, batch, (depth - depth.mean()) / depth.std()])
    chosen = np.linspace(0, counts.shape[1] - 1, GENES_TIMED).astype(int)
    scaled = counts[:, chosen].toarray() * (1e4 / depth[:, None])
    began = time.process_time()
    with threadpool_limits(1):
        ElasticNet(alpha=alpha, l1_ratio=ratio, max_iter=10_000).fit(X, np.log1p(scaled))
    return (time.process_time() - began) / (len(obs) * len(chosen)) * 1e6


def main() -> None:
    """Simulate, measure in a process of its own, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=int, default=1_000_000)
    parser.add_argument("--perturbations", type=int, default=200)
    parser.add_argument("--genes", type=int, default=2000)
    parser.add_argument("--form", choices=["h5ad", "zarr"], default="h5ad")
    parser.add_argument("--folder", type=Path, help="keep the screen there")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure is not None:
        print(json.dumps(measure(given.measure)))
        return
    with tempfile.TemporaryDirectory() as made:
        size = f"{given.cells}x{given.perturbations}x{given.genes}"
        path = (given.folder or Path(made)) / f"{size}.{given.form}"
        if not path.exists():
            began = time.perf_counter()
            simulate(path, given.cells, given.perturbations, given.genes)
            print(f"simulated {path.name} in {time.perf_counter() - began:.0f} s", flush=True)
        command = [sys.executable, "-m", "benchmarks.million_cells", "--measure", str(path)]
        found = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
        per_million = one_fit(path, *found["best"][:2])
    total = sum(part["s"] for part in found["times"].values())
    cpu = sum(part["cpu"] for part in found["times"].values())
    fit = per_million * given.cells * given.genes / 1e6
    for name, part in found["times"].items():
        print(f"{name:<18} {part['s']:8.1f} s  {part['cpu']:8.1f} s of CPU")
    print(f"{'in all':<18} {total:8.1f} s, {found['memory_gb']:.2f} GB, {found['threads']} threads")
    print(
        f"scikit-learn: {fit:.0f} s of CPU for one fit of all genes, extrapolated from {SUBSET} "
        f"cells x {GENES_TIMED} genes, {fit / cpu:.1f} times what all of the above takes; "
        f"{fit * found['fits'] / 3600:.0f} h for the {found['fits']} fits of the surface"
    )
    if given.json:
        given.json.write_text(json.dumps({**found, "sklearn_fit_s": fit, "total_s": total}))


if __name__ == "__main__":
    main()
