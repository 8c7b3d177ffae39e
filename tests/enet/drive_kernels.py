"""Drive C kernels over random and extreme sizes and values: ``drive_kernels.py FILE SEED ROUNDS``.

For a process whose allocator and kernels are watched by sanitizers (test_sanitized.py). Answers
that can be told right from wrong are.
"""

from __future__ import annotations

import ctypes
import sys
import warnings

import numpy as np
import scipy.sparse as sp
from tuner_plugins.enet import DataError, fit_grid, kernels, summarise
from tuner_plugins.enet.sparse_rows import count_nonzero, to_csr

SIZES = [1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 33, 127, 129]
EXTREMES = [0.0, -0.0, 1e150, -1e150, 1e-160, 5e-324, 1e30, 1e-30, 1e300, np.inf, np.nan]


def main(path: str, seed: int, rounds: int) -> None:
    library = ctypes.CDLL(path)
    kernels.load = lambda: library
    rng = np.random.default_rng(seed)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        for _ in range(rounds):
            drive(rng)


def drive(rng: np.random.Generator) -> None:
    cells, genes = int(rng.integers(1, 70)), int(rng.choice(SIZES))
    if rng.random() < 0.1:
        genes = int(rng.choice([255, 256, 257, 511, 513, 600]))
    X = design(rng, cells)
    Y = rng.normal(size=(cells, genes)) * (rng.random((cells, genes)) < rng.choice([0.2, 1.0]))
    sound = rng.random() < 0.6
    if not sound:
        for values in (X, Y):
            at = rng.random(values.shape) < rng.choice([0.0, 0.02, 0.5, 1.0])
            values[at] = rng.choice(EXTREMES, at.sum())
    kind = rng.choice([np.float32, np.float64])
    given = Y.astype(kind)
    if rng.random() < 0.4:
        given = sp.csr_array(given)
        index = rng.choice([np.int32, np.int64])
        given.indptr, given.indices = given.indptr.astype(index), given.indices.astype(index)
    n_folds = int(rng.integers(1, 4))
    folds = rng.integers(0, n_folds, cells)
    as_given = sp.csr_array(X) if rng.random() < 0.3 else X.astype(rng.choice([kind, np.float64]))
    check_columns(rng, X.astype(kind))
    try:
        summed = summarise(as_given, given, folds, n_folds, threads=int(rng.integers(1, 3)))
        method = rng.choice(["newton", "descent"])
        factor = rng.choice([0.0, 1.0, 1.0, 0.3, 1e-300, 1e6], X.shape[1])
        alphas = rng.choice([0.0, 1e-300, 1e-6, 0.01, 0.3, 1e12], int(rng.integers(1, 4)))
        ratios = rng.choice([0.0, 0.3, 1.0], int(rng.integers(1, 3)))
        fits = fit_grid(
            summed, alphas, ratios, factor, coefficients=bool(rng.integers(2)), method=method
        )
    except DataError:
        return
    # Optimality is held by test_path.py; here, only where penalties are of ordinary size and there
    # are more cells than columns.
    usual = np.isin(factor, (0.3, 1.0)).all() and np.isin(alphas, (0.01, 0.3)).all()
    if sound and usual and X.shape[1] < cells // 2:
        assert fits.kkt.max() <= 1e-9, (method, fits.kkt.max())
        assert np.isfinite(fits.sse).all()


def design(rng: np.random.Generator, cells: int) -> np.ndarray:
    """Return a design of disjoint or overlapping columns and covariates, some of them trouble."""
    n_design, n_covariates = int(rng.choice([0, 1, 2, 5, 12, 13, 25])), int(rng.integers(0, 27))
    D = np.zeros((cells, n_design))
    for _ in range(int(rng.integers(1, 3))):
        if n_design:
            D[np.arange(cells), rng.integers(0, n_design, cells)] = 1.0
    D[rng.random(cells) < rng.choice([0.0, 0.4])] = 0.0
    C = rng.normal(size=(cells, n_covariates))
    for column in range(1, n_covariates):
        trouble = rng.integers(0, 12)
        if trouble < 3:
            C[:, column] = [np.zeros(cells), np.full(cells, 7.0), C[:, column - 1]][trouble]
    X = np.hstack([D, C])
    return X if X.shape[1] else np.ones((cells, 1))


def check_columns(rng: np.random.Generator, X: np.ndarray) -> None:
    counts = count_nonzero(X)
    assert counts.tolist() == (X != 0).sum(axis=0).tolist()
    chosen = np.flatnonzero(rng.random(X.shape[1]) < 0.5)
    picked = to_csr(X, chosen, int(counts[chosen].sum())).toarray()
    np.testing.assert_array_equal(picked[:, chosen], X[:, chosen])


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
