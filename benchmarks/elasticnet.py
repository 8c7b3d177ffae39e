"""Time the elastic-net sweep beside its peers: ``python -m benchmarks.elasticnet [S M L]``.

What is timed is `cross_validate`, which `sweep` and the plug-in's trials run: over a grid beside
the peers, all columns penalised as they have it; and for one alpha and l1_ratio as a trial has it,
covariates free, where folds share their columns and where each has its own (cell-cycle scores).

Everything runs in one process on one thread and is given in seconds of CPU time, so that a ratio
holds on a busy machine too. Peers fit each gene on its own, so that their time is measured on some
genes and multiplied; the number of genes that were timed is printed. Drawing data is never timed.
"""

from __future__ import annotations

import argparse
import importlib
import json
import resource
import time
import warnings
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits
from tuner_plugins.elasticnet import (
    Problem,
    Statistics,
    Sweep,
    cross_validate,
    summarise,
    summarise_onto,
)

from benchmarks.elasticnet_peers import (
    FOLDS,
    PEERS,
    RATIOS,
    REFERENCE,
    clock,
    reference_fit,
    shared_gram,
)


@dataclass(frozen=True)
class Size:
    """A simulated screen, on how many genes peers are timed, and slow peers; cells in a block.

    Y is read in blocks of cells; where they are not all of them, it is never held as a whole.
    """

    cells: int
    perturbations: int
    covariates: int
    genes: int
    timed: int
    timed_slow: int
    block: int


SIZES = {
    "S": Size(5_000, 40, 12, 1_000, 1_000, 8, 5_000),
    "M": Size(50_000, 100, 12, 2_000, 100, 2, 50_000),
    "L": Size(200_000, 500, 12, 5_000, 4, 0, 20_000),
}


def simulate(size: Size, every_batch: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Draw X (one-hot perturbations, batches, numeric covariates) and folds.

    There are three dummy columns for four batches, or four for four with `every_batch`: their sum
    is then the intercept, and all solvers take longer.
    """
    rng = np.random.default_rng(0)
    X = np.zeros((size.cells, size.perturbations + size.covariates))
    label = rng.integers(0, size.perturbations, size.cells)
    assigned = np.flatnonzero(rng.random(size.cells) < 0.8)
    X[assigned, label[assigned]] = 1.0
    batch = rng.integers(0, 4, size.cells)
    dummies = 4 if every_batch else 3
    known = np.flatnonzero(batch < dummies)
    X[known, size.perturbations + batch[known]] = 1.0
    numeric = X[:, size.perturbations + dummies :]
    numeric[:] = rng.normal(size=numeric.shape)
    return X, rng.integers(0, FOLDS, size.cells)


def responses(size: Size, X: np.ndarray, block: int) -> np.ndarray:
    """Draw Y of one block of cells, (cells of the block, genes)."""
    rng = np.random.default_rng((1, block))
    Y = rng.standard_normal((size.block, size.genes))
    mine = sparse.csr_array(X[block * size.block :][: size.block])
    effects = np.random.default_rng(2)
    for low in range(0, size.genes, 250):
        part = slice(low, low + 250)
        drawn = effects.normal(scale=0.3, size=(X.shape[1], Y[:, part].shape[1]))
        Y[:, part] += mine @ (drawn * (effects.random(drawn.shape) < 0.1)) + 1.0
    return Y


def timed_peers(
    size: Size, X: np.ndarray, Y: np.ndarray, folds: np.ndarray, alphas: np.ndarray
) -> dict[str, tuple[float, int]]:
    """Return CPU seconds, scaled to all genes, and the genes that were timed, for every peer."""
    few, very_few = Y[:, : size.timed], Y[:, : size.timed_slow]
    found = {}
    seconds, _ = clock(lambda: reference_fit(X, few))
    found["scikit-learn, ONE fit"] = (seconds * size.genes / size.timed, size.timed)
    seconds, shared = clock(lambda: shared_gram(X, few, folds, alphas))
    count = few.shape[1]
    found["scikit-learn, shared Gram"] = (
        shared + (seconds - shared) * size.genes / count,
        count,
    )
    for name, run in PEERS.items():
        if not size.timed_slow:
            continue
        try:
            importlib.import_module(name)
        except ImportError:
            print(f"   {name:28s} not installed here, skipped")
            continue
        # The first run compiles what the peer compiles.
        run(X[:500], very_few[:500, :1], folds[:500], alphas[:2])
        seconds, _ = clock(lambda run=run: run(X, very_few, folds, alphas))
        found[name] = (seconds * size.genes / size.timed_slow, size.timed_slow)
    return found


@dataclass(frozen=True)
class Timed:
    """Seconds of CPU time of the pass over the cells and of the fits, and of wall clock of both."""

    passing: float
    fitting: float
    wall: float

    @property
    def seconds(self) -> float:
        """Both together."""
        return self.passing + self.fitting


def timed_trials(statistics: Statistics, tested: int) -> dict[str, float]:
    """Return the CPU seconds of a trial, the best of four; what trials share is not in it.

    A trial has `tested` penalised columns, those after free, as the plug-in makes of a screen.
    """
    whole = np.arange(statistics.n_columns)
    alike = Problem.of(statistics, whole < tested, tested=tested)
    # The last two columns change places from fold to fold, which changes no fit.
    turned = np.concatenate([whole[:-2], whole[:-3:-1]])
    own = replace(alike, columns=[turned if fold % 2 else whole for fold in range(FOLDS + 1)])
    found = {}
    for name, problem in (("a trial", alike), ("a trial, own columns", own)):
        run = partial(cross_validate, problem, *REFERENCE.values())
        found[name] = min(clock(run)[0] for _ in range(4))
    return found


def timed_sweep(
    size: Size, X: np.ndarray, folds: np.ndarray, alphas: np.ndarray, threads: int
) -> tuple[Timed, Sweep, np.ndarray, Statistics]:
    """Return the times of a sweep, itself, the responses that peers are timed on, and the sums.

    The best of three, but for a pass in several blocks, which is timed once.
    """
    runs, result = [], None
    for _ in range(3 if size.block == size.cells else 1):
        total, few = None, []
        passing = wall = 0.0
        for block in range(size.cells // size.block):
            Y = responses(size, X, block)
            few.append(Y[:, : size.timed].copy())
            rows = slice(block * size.block, (block + 1) * size.block)
            start = time.perf_counter()
            seconds, total = clock(
                lambda Y=Y, rows=rows, total=total: added(total, X[rows], Y, folds[rows], threads)
            )
            passing, wall = passing + seconds, wall + time.perf_counter() - start
            del Y
        for _ in range(1 if size.block == size.cells else 3):
            start = time.perf_counter()
            fitting, result = clock(
                lambda total=total: cross_validate(
                    Problem.of(total), alphas, RATIOS, threads=threads
                )
            )
            runs.append(Timed(passing, fitting, wall + time.perf_counter() - start))
    assert isinstance(result, Sweep)
    assert total is not None
    best = min(runs, key=lambda run: run.wall if threads > 1 else run.seconds)
    return best, result, np.concatenate(few), total


def added(
    total: Statistics | None, X: np.ndarray, Y: np.ndarray, folds: np.ndarray, threads: int
) -> Statistics:
    """Add a block of cells to the statistics of those before it."""
    if total is None:
        return summarise(X, Y, folds, FOLDS, threads=threads)
    summarise_onto(total, X, Y, folds, threads=threads)
    return total


def compare(name: str, threads: int, every_batch: bool) -> dict[str, Any]:
    """Time one size, print a line for every peer, and return the figures."""
    size = SIZES[name]
    X, folds = simulate(size, every_batch)
    alphas = np.geomspace(0.1, 1e-4, 10)
    small = replace(size, block=200, genes=9)

    def first() -> None:
        sums = summarise(X[:200], responses(small, X, 0), folds[:200], FOLDS)
        cross_validate(Problem.of(sums), alphas[:2], RATIOS)

    compiling, _ = clock(first)
    timed, result, few, sums = timed_sweep(size, X, folds, alphas, 1)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    fits = alphas.size * RATIOS.size * FOLDS * size.genes
    print(
        f"{name}: {size.cells:,} cells x {size.perturbations}+{size.covariates} columns x "
        f"{size.genes:,} genes, {fits:,} fits; largest KKT residual {result.kkt:.1e}"
    )
    print(
        f"   {'this sweep':28s} {timed.seconds:10.3f} s    (pass {timed.passing:.3f} + fits "
        f"{timed.fitting:.3f}; first call: {compiling:.1f} s more; peak {memory:.2f} GB with X and "
        f"{size.block:,} cells of Y)"
    )
    figures: dict[str, Any] = {
        "sweep": timed.seconds,
        "pass": timed.passing,
        "kkt": result.kkt,
        "peak_gb": memory,
        "peers": {},
    }
    for trial, seconds in timed_trials(sums, size.perturbations).items():
        figures[trial.replace(", ", "_").replace(" ", "_")] = seconds
        print(f"   {trial:28s} {seconds:10.3f} s    (one alpha and l1_ratio, covariates free)")
    if threads > 1:
        figures["wall_threads"] = timed_sweep(size, X, folds, alphas, threads)[0].wall
        print(
            f"   {'on ' + str(threads) + ' threads':28s} "
            f"{figures['wall_threads']:10.3f} s of wall clock"
        )
    for peer, (seconds, genes) in timed_peers(size, X, few, folds, alphas).items():
        ratio = seconds / timed.seconds
        figures["peers"][peer] = {"seconds": seconds, "genes": genes, "ratio": ratio}
        print(
            f"   {peer:28s} {seconds:10.3f} s    {ratio:8.1f} x    "
            f"({genes} of {size.genes} genes timed{', and multiplied' * (genes < size.genes)})"
        )
    return figures


def main() -> None:
    """Run the sizes that were asked for; S and M by default."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sizes", nargs="*", default=["S", "M"], help="of S, M and L")
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    parser.add_argument("--threads", type=int, default=1, help="also time this many threads")
    parser.add_argument("--every-batch", action="store_true", help="collinear batch columns")
    options = parser.parse_args()
    unknown = set(options.sizes) - set(SIZES)
    if unknown:
        parser.error(f"sizes are S, M and L; got {', '.join(sorted(unknown))}")
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        figures = {
            name: compare(name, options.threads, options.every_batch) for name in options.sizes
        }
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
