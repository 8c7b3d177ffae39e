"""How far single cells lie along the effect of their perturbation, judged by other cells.

The effect is fitted without the cell (cross-fitting), and what is left of the cell when covariates
are taken away is projected on it by Fisher's direction: the covariance of genes is that of control
cells. Scores of the folds have one unit, the standard deviation that control cells are expected to
have along that direction.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from threadpoolctl import threadpool_limits

from tuner_plugins.perturbseq.data.folds import deal
from tuner_plugins.perturbseq.inference.efficacy import FOLDS, MAX_CONTROLS, whiten
from tuner_plugins.perturbseq.model.resampling import Model, cell_groups
from tuner_plugins.perturbseq.model.responses import matrix_of, rows_of

CELLS_AT_ONCE = 1024
"""Cells whose responses are held at once."""


@dataclass(frozen=True)
class Projection:
    """Scores of cells along the effects of perturbations.

    Attributes
    ----------
    cells, targets : ndarray of int, (cells with one perturbation,)
        Rows of the model, sorted by perturbation, and their perturbations.
    scores : ndarray, (cells with one perturbation,)
        Along their own perturbation, larger meaning more perturbed; NaN where other cells show no
        effect of it.
    controls : ndarray, (some control cells, perturbations)
        The same of control cells along every perturbation.
    """

    cells: NDArray[np.int64]
    targets: NDArray[np.int64]
    scores: NDArray[np.float64]
    controls: NDArray[np.float64]


def project(model: Model, seed: int = 0) -> Projection:
    """Project cells with one perturbation, and control cells, on effects fitted without them.

    Parameters
    ----------
    model : Model
        Responses are read in blocks of cells, and their sums once for all folds.
    seed : int
        Of the folds, and of the control cells if there are more than `efficacy.MAX_CONTROLS`.
    """
    folds = deal((cell_groups(model),), FOLDS, seed)
    rng = np.random.default_rng(seed)
    several = np.diff(model.design.indptr)
    cells = np.flatnonzero(several == 1)
    targets = model.design.indices[model.design.indptr[cells]].astype(np.int64)
    order = np.argsort(targets, kind="stable")
    cells, targets = cells[order], targets[order]
    scores = np.full(len(cells), np.nan)
    chosen = np.sort(rng.permutation(np.flatnonzero(several == 0))[:MAX_CONTROLS])
    controls = np.full((len(chosen), len(model.targets)), np.nan)
    summed = model.summed(folds)
    for fold in range(FOLDS):
        with threadpool_limits(1):  # the last bits must not depend on the machine
            fit = model.fit(summed.training(slice(fold, fold + 1)))
            axes = _Axes.of(model, fit, np.flatnonzero((several == 0) & (folds != fold)), rng)
            here = np.flatnonzero(folds[cells] == fold)
            for start in range(0, len(here), CELLS_AT_ONCE):
                at = here[start : start + CELLS_AT_ONCE]
                scores[at] = axes.own(model, cells[at], targets[at])
            held = folds[chosen] == fold
            controls[held] = axes.all(model, chosen[held])
    return Projection(cells, targets, scores, controls)


@dataclass(frozen=True)
class _Axes:
    """Directions of perturbations, (perturbations, genes), NaN without an effect.

    `intercept` (perturbations,) and `covariates` (covariates, perturbations) are what is expected
    along them without a perturbation.
    """

    direction: NDArray[np.float64]
    intercept: NDArray[np.float64]
    covariates: NDArray[np.float64]

    @classmethod
    def of(
        cls, model: Model, fit: Any, controls: NDArray[np.int64], rng: np.random.Generator
    ) -> _Axes:
        """Make the directions of a fit from the covariance of control cells."""
        k = len(model.targets)
        beta, gamma = fit.coef[:, :k], fit.coef[:, k:]
        rows = np.sort(rng.permutation(controls)[:MAX_CONTROLS])
        observed = _responses(model, rows)
        observed = observed.toarray() if sparse.issparse(observed) else np.asarray(observed)
        direction = whiten(observed - model.covariates[rows] @ gamma.T, beta)
        length = np.sqrt((direction * beta).sum(axis=0))
        direction = direction / np.where(length > 0, length, np.nan)
        return cls(
            np.ascontiguousarray(direction.T), fit.intercept @ direction, gamma.T @ direction
        )

    def own(
        self, model: Model, cells: NDArray[np.int64], targets: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Return the score of each cell along its own perturbation."""
        values = sparse.csr_matrix(_responses(model, cells))
        per_value = np.repeat(targets, np.diff(values.indptr))
        products = values.data * self.direction[per_value, values.indices]
        along = np.bincount(np.repeat(np.arange(len(cells)), np.diff(values.indptr)), products)
        along = np.append(along, np.zeros(len(cells) - len(along)))
        expected = (model.covariates[cells] * self.covariates[:, targets].T).sum(axis=1)
        return np.asarray(along - self.intercept[targets] - expected)

    def all(self, model: Model, cells: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the scores of cells along every perturbation."""
        along = np.asarray(_responses(model, cells) @ self.direction.T)
        return np.asarray(along - self.intercept - model.covariates[cells] @ self.covariates)


def _responses(model: Model, cells: NDArray[np.int64]) -> Any:
    return matrix_of(rows_of(model.responses, cells))
