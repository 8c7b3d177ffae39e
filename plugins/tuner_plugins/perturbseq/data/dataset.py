"""From a screen to the sufficient statistics of its folds, in two passes over the cells."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tuner_plugins.enet import Statistics, summarise, summarise_onto
from tuner_plugins.perturbseq.data.screen import Screen
from tuner_plugins.perturbseq.data.transform import Transform, blocks, learn


@dataclass(frozen=True)
class Dataset:
    """The statistics of a screen's folds, and how they were made.

    Attributes
    ----------
    screen : Screen
        Where they come from; its covariates are complete.
    folds : array of int, shape (cells,)
        Fold of each cell.
    transform : Transform
        How blocks of cells became X and Y, and what each fit may use of them.
    statistics : Statistics
        Of perturbations, covariates and all versions of the scores, and of all responses that any
        version fits.
    """

    screen: Screen
    folds: np.ndarray
    transform: Transform
    statistics: Statistics


def build(screen: Screen, folds: np.ndarray | None = None, *, threads: int = 1) -> Dataset:
    """Sum the statistics of all folds in two passes over the cells.

    Parameters
    ----------
    screen : Screen
        From `open_screen`.
    folds : array of int, shape (cells,), optional
        Fold of each cell, 0 .. n - 1. None: no fold, only the fit to all cells.
    threads : int
        For the sums; the result does not depend on it.

    Raises
    ------
    CellsError
        Counts that are none, empty cells, no gene left.

    Examples
    --------
    >>> from anndata import AnnData
    >>> from tuner_plugins.perturbseq.data.labels import Labels
    >>> from tuner_plugins.perturbseq.data.screen import Recipe, open_screen
    >>> adata = AnnData(np.array([[3.0, 0.0], [1.0, 2.0], [0.0, 4.0], [2.0, 2.0]]))
    >>> adata.obs["perturbation"] = ["A", "control", "A", "control"]
    >>> dataset = build(open_screen(adata, Recipe(Labels())), np.array([0, 0, 1, 1]))
    >>> dataset.statistics.cells.tolist(), dataset.transform.responses.tolist()
    ([2.0, 2.0], ['0', '1'])
    """
    folds = np.zeros(len(screen.obs), dtype=np.int64) if folds is None else folds
    n_folds = int(folds.max()) + 1
    screen, transform = learn(screen, folds)
    total: Statistics | None = None
    for where, X, Y in blocks(screen, transform):
        if total is None:
            total = summarise(X, Y, folds[where], n_folds, threads=threads)
        else:
            summarise_onto(total, X, Y, folds[where], threads=threads)
    assert total is not None, "a design has at least one cell"
    return Dataset(screen, folds, transform, total)
