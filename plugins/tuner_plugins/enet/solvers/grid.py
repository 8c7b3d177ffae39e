"""Fit a grid on every training set, genes in threads: compiled, or in NumPy."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import product

import numpy as np

from tuner_plugins.enet import kernels
from tuner_plugins.enet.arrays import Grid, OneHot, Output, Projection, Sets
from tuner_plugins.enet.solvers.numpy_solver import solve

_PIECE = 128
"""Genes a call; a multiple of the lanes of any processor."""


def fit_compiled(  # noqa: PLR0913 - the arrays of one problem
    sets: Sets,
    projection: Projection,
    onehot: OneHot | None,
    grid: Grid,
    output: Output,
    threads: int,
) -> tuple[int, int]:
    """Fit by semismooth Newton, or by coordinate descent where there is no one-hot block.

    Returns
    -------
    int, int
        Newton steps or sweeps, by gene, and fits that had to be polished (`kernels/polish.c`).
    """
    columns, genes = sets.total.shape
    split = (0, 0) if onehot is None else (onehot.eliminated.size, onehot.rest.size)
    problem = kernels.words(
        *(sets.cells.size, columns, genes),
        *(grid.alphas.size, grid.ratios.size, int(output.coef.size > 0)),
        *(projection.free.size, projection.penalised.size),
        *split,
        *sets,
        *projection,
        *grid,
        *output,
        *(onehot or [None] * len(OneHot._fields)),
    )
    name = "tuner_enet_descent" if onehot is None else "tuner_enet_newton"
    lows = range(0, genes, _PIECE)
    counts = np.zeros((len(lows), 2), dtype=np.int64)

    def work(piece: int) -> None:
        low = lows[piece]
        kernels.call(name, problem, low, min(low + _PIECE, genes), counts[piece])

    with ThreadPoolExecutor(max(1, threads)) as pool:
        list(pool.map(work, range(len(lows))))
    steps, polished = counts.sum(axis=0)
    return int(steps), int(polished)


def fit_plainly(sets: Sets, grid: Grid, output: Output, threads: int) -> None:
    """Fit every training set and penalty on its own, all genes at once."""
    penalties = list(product(enumerate(grid.alphas), enumerate(grid.ratios)))

    def work(index: int) -> np.ndarray:
        held = sets.held[index]
        worst = np.zeros(held.shape[1])
        for (a, alpha), (r, ratio) in penalties:
            at = (index, a, r)
            coef, residual = solve(
                sets.gram[index], sets.total - held, sets.squares[index], sets.weights, alpha, ratio
            )
            image = sets.held_gram[index] @ coef - 2.0 * held
            error = sets.held_squares[index] + (coef * image).sum(axis=0)
            output.sse[at] = np.maximum(error, 0.0)
            output.nonzero[at] = np.count_nonzero(coef[sets.weights > 0], axis=0)
            if output.coef.size:
                output.coef[at] = coef
            worst = np.maximum(worst, residual)
        return worst

    with ThreadPoolExecutor(max(1, threads)) as pool:
        output.kkt[:] = np.max(list(pool.map(work, range(sets.cells.size))), axis=0)
