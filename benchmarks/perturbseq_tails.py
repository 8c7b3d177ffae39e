"""Small p-values of fold changes on mocks: ``python -m benchmarks.perturbseq_tails``.

Counts are negative binomial, cells differ in depth, and 20 perturbations do nothing. A line for
each number of cells of a perturbation and each mean count of a gene has the share of p-values below
0.05, 0.01, 0.001 and 0.0001 over the nominal one: 1 is right, more is too many. The same of Wald's
test, the estimate over its error, and CPU milliseconds a gene.

``--controls N`` cells without a perturbation; ``--multiple`` gives cells several perturbations.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from scipy import sparse
from scipy.stats import norm
from tuner_plugins.perturbseq.inference.fold_changes import fold_changes

LEVELS = (0.05, 0.01, 0.001, 0.0001)
MOCKS = 20
REACH = 2 * norm.ppf(0.975)


def mocks(  # noqa: PLR0913  what a line of the table may vary
    cells: int,
    mean: float,
    *,
    genes: int,
    controls: int = 1000,
    multiple: bool = False,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Return p of genes by mocks that do nothing, and Wald's."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(-1, MOCKS), [controls, *[cells] * MOCKS])
    n = len(labels)
    design = labels[:, None] == np.arange(MOCKS)
    if multiple:
        design = rng.random(design.shape) < cells / n
    depth = np.exp(rng.normal(0.0, 0.4, n))
    rate = depth[:, None] * mean * np.exp(rng.normal(0.0, 0.3, genes))
    counts = rng.poisson(rng.gamma(1 / 0.2, 0.2 * rate))
    found = fold_changes(
        sparse.csc_matrix(counts, dtype=np.float32),
        depth,
        sparse.csr_matrix(design, dtype=np.float64),
        np.log(depth)[:, None],
    )
    with np.errstate(invalid="ignore"):
        z = found["log2fc"] * REACH / (found["high"] - found["low"])
    return found["p"], np.where(np.isfinite(z), 2 * norm.sf(np.abs(z)), np.nan)


def excess(p: np.ndarray) -> list[float]:
    """Return the shares of p-values below `LEVELS` over these."""
    tested = p[np.isfinite(p)]
    return [(tested < level).mean() / level for level in LEVELS]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--genes", type=int, default=3000)
    parser.add_argument("--controls", type=int, default=1000)
    parser.add_argument("--multiple", action="store_true")
    given = vars(parser.parse_args())
    mocks(25, 0.5, **{**given, "genes": 2})  # compiled before the clock starts
    print(f"{'mean':>6} {'cells':>5}  {'<.05  <.01  <.001 <.0001':>26}  {'Wald':>26}  ms")
    for mean in (0.02, 0.1, 0.5, 5.0):
        for cells in (25, 50, 100, 500):
            start = time.process_time()
            both = mocks(cells, mean, **given)
            took = 1000 * (time.process_time() - start) / given["genes"]
            shares = ("  ".join(f"{value:5.2f}" for value in excess(p)) for p in both)
            print(f"{mean:>6} {cells:>5}  {'    '.join(shares)}  {took:4.1f}", flush=True)


if __name__ == "__main__":
    main()
