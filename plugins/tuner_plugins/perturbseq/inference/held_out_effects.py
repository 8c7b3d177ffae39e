"""What each perturbation adds on cells that its fit has not seen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from tuner_plugins.enet.cross_validation import Problem
from tuner_plugins.enet.path import fit
from tuner_plugins.perturbseq.data.dataset import Dataset
from tuner_plugins.perturbseq.data.transform import blocks


def perturbation_table(
    dataset: Dataset,
    problem: Problem,
    alpha: float,
    l1_ratio: float,
    *,
    seed: int = 0,
    threads: int = 1,
) -> pd.DataFrame:
    """Score each perturbation on its held-out cells, in one more pass over them.

    A perturbation is compared with the same fit without its own coefficients, not with a fit of
    covariates alone: the strong perturbations of a screen move the mean that such a fit predicts,
    and every perturbation without effect would seem to have the opposite one.

    Parameters
    ----------
    dataset, problem : Dataset, Problem
        With folds.
    alpha, l1_ratio : float
        The setting.
    seed : int
        For the halves.
    threads : int
        For the fits.

    Returns
    -------
    DataFrame
        One row a perturbation, the largest gain first: ``cells``; ``partial_r2``, 1 - SSE / SSE
        without its own coefficients over its held-out cells and z-scored genes; ``correlation``
        over genes of its coefficients with the mean shift of its held-out cells from held-out
        controls, mean over folds; ``ceiling``, what a perfect prediction could reach given the
        noise of that shift: the square root of its reliability, from the correlation of two halves
        of the cells by the formula of Spearman (1910) and Brown (1910).

    Examples
    --------
    >>> from anndata import AnnData
    >>> from tuner_plugins.perturbseq.data.dataset import build
    >>> from tuner_plugins.perturbseq.data.labels import Labels
    >>> from tuner_plugins.perturbseq.data.screen import Recipe, open_screen
    >>> from tuner_plugins.perturbseq.model.problem import problem_of
    >>> counts = np.random.default_rng(0).poisson([[5.0, 9.0, 4.0]] * 40).astype(float)
    >>> counts[::2, 0] += 20  # in cells with perturbation A
    >>> adata = AnnData(counts)
    >>> adata.obs["perturbation"] = ["A", "control"] * 20
    >>> dataset = build(open_screen(adata, Recipe(Labels())), np.repeat([0, 1], 20))
    >>> perturbation_table(dataset, problem_of(dataset), alpha=0.01, l1_ratio=0.5).round(2)
      perturbation  cells  partial_r2  correlation  ceiling
    0            A     20        0.84         0.97      1.0
    """
    k = len(dataset.screen.design.names)
    sums = _HeldOut.empty(problem.n_folds, k, dataset.statistics.n_genes)
    half = np.random.default_rng(seed).integers(0, 2, len(dataset.folds))
    fits = [_fold_fit(problem, fold, alpha, l1_ratio, threads) for fold in range(problem.n_folds)]
    for where, X, Y in blocks(dataset.screen, dataset.transform):
        for fold, (coef, intercept, unit) in enumerate(fits):
            rows = np.flatnonzero(dataset.folds[where] == fold)
            mine = X[rows][:, problem.columns[fold]]
            values: Any = Y[rows]
            values = values.toarray() if sparse.issparse(values) else values
            error = (values - mine @ coef.T - intercept) * unit
            sums.add(fold, mine[:, :k], error, half[where][rows])
    own = np.array([coef[:, :k].T * unit for coef, _, unit in fits])
    return _tabulated(dataset.screen.design.names, sums, own)


@dataclass(frozen=True)
class _HeldOut:
    """Sums of the standardised errors of held-out cells by perturbation; controls come last.

    Shapes: errors (folds, 2 halves, perturbations + 1, genes); squares and cells (folds, 2 halves,
    perturbations + 1).
    """

    errors: np.ndarray
    squares: np.ndarray
    cells: np.ndarray

    @classmethod
    def empty(cls, folds: int, k: int, genes: int) -> _HeldOut:
        shape = (folds, 2, k + 1)
        return cls(np.zeros((*shape, genes)), np.zeros(shape), np.zeros(shape))

    def add(
        self, fold: int, design: sparse.csr_matrix, error: np.ndarray, half: np.ndarray
    ) -> None:
        control = np.asarray(design.sum(axis=1)).reshape(-1) == 0
        labels = sparse.hstack([design, sparse.csr_matrix(control[:, None] * 1.0)], format="csr")
        squares = (error**2).sum(axis=1)
        for side in (0, 1):
            inside = half == side
            mine = labels[inside].T
            self.errors[fold, side] += mine @ error[inside]
            self.squares[fold, side] += mine @ squares[inside]
            self.cells[fold, side] += np.asarray(mine.sum(axis=1)).reshape(-1)


def _fold_fit(
    problem: Problem, fold: int, alpha: float, l1_ratio: float, threads: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return coefficients (genes, columns), intercepts, and the scales of the responses."""
    x_scale, y_scale = problem.scales(fold)
    found = fit(problem.training[fold], alpha, l1_ratio, problem.penalty_factor, threads=threads)
    mask = problem.mask[fold]
    deviation = np.sqrt(np.where(mask, problem.variance[fold], 1.0)) * y_scale
    coef = found.coef * y_scale[:, None] / x_scale
    return coef, found.intercept * y_scale, mask / deviation


def _tabulated(names: list[str], sums: _HeldOut, own: np.ndarray) -> pd.DataFrame:
    """Tabulate from sums and standardised coefficients, shape (folds, perturbations, genes)."""
    folds, k = own.shape[:2]
    errors, cells = sums.errors.sum(axis=1), sums.cells.sum(axis=1)
    full = sums.squares.sum(axis=1)[:, :k]
    cross = (own * errors[:, :k]).sum(axis=2)
    base = full + 2 * cross + cells[:, :k] * (own**2).sum(axis=2)
    shift = _shift(errors, cells, own)
    per_fold = np.array([_row_correlations(own[f], shift[f]) for f in range(folds)])
    weights = cells[:, :k] * np.isfinite(per_fold)
    total = weights.sum(axis=0)
    correlation = (np.nan_to_num(per_fold) * weights).sum(axis=0) / np.where(total, total, np.nan)
    # a half of the cells is folds / 2 times as many as a fold holds
    r = np.clip(_row_correlations(*_half_shifts(sums, own)), 0.0, 1.0)
    reliability = r * (2 / folds) / (1 + (2 / folds - 1) * r)
    full, base = full.sum(axis=0), base.sum(axis=0)
    table = pd.DataFrame(
        {
            "perturbation": names,
            "cells": cells[:, :k].sum(axis=0).astype(int),
            "partial_r2": 1.0 - np.divide(full, base, out=np.ones_like(base), where=base > 0),
            "correlation": correlation,
            "ceiling": np.sqrt(reliability),
        }
    )
    return table.sort_values("partial_r2", ascending=False, kind="stable", ignore_index=True)


def _shift(errors: np.ndarray, cells: np.ndarray, own: np.ndarray) -> np.ndarray:
    """Return the mean shift from controls, (..., perturbations, genes): errors plus the prediction.

    Against held-out controls, for the training controls are in the coefficients already.
    """
    means = errors / np.maximum(cells, 1.0)[..., None]
    return np.asarray(means[..., :-1, :] + own - means[..., -1:, :])


def _half_shifts(sums: _HeldOut, own: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the shift by each half of the cells, all folds together."""
    k = own.shape[1]
    halves = []
    for side in (0, 1):
        cells = sums.cells[:, side]
        weight = cells[:, :k] / np.maximum(cells[:, :k].sum(axis=0), 1.0)
        predicted = (own * weight[:, :, None]).sum(axis=0)
        halves.append(_shift(sums.errors[:, side].sum(axis=0), cells.sum(axis=0), predicted))
    return halves[0], halves[1]


def _row_correlations(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Correlate row with row; NaN where one of them is constant."""
    a = a - a.mean(axis=1, keepdims=True)
    b = b - b.mean(axis=1, keepdims=True)
    scale = np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1))
    products = (a * b).sum(axis=1)
    return np.asarray(np.divide(products, scale, out=np.full(len(a), np.nan), where=scale > 0))
