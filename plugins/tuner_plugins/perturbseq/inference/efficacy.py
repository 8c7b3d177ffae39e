"""Which cells were really perturbed: weights of the design, learnt by expectation-maximisation.

A guide that is there may not have worked. Each perturbed cell is scored along its perturbation's
coefficients; the scores are a mixture of cells that look like controls and cells that moved; the
posterior of having moved replaces the one in the design, the model is fitted again, and so on until
the weights stand still. The idea is MIMOSCA's (Dixit et al. 2016, doi:10.1016/j.cell.2016.11.038);
three things differ. The genes of a cell are not taken for independent witnesses, a product over
which is sure of everything: the covariance of genes and the spread of the scores come from control
cells, the latter as in mixscape (Papalexi et al. 2021, doi:10.1038/s41588-021-00778-2). Without the
covariance, iterating turns the coefficients towards whatever varies most among cells. A cell is
never scored by coefficients that were fitted on it. And weights change only for perturbations whose
scores are better described by two groups than by one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse
from scipy.linalg import cho_factor, cho_solve
from sklearn.covariance import ledoit_wolf_shrinkage
from threadpoolctl import threadpool_limits

from tuner_plugins.perturbseq.data.folds import deal
from tuner_plugins.perturbseq.errors import AnalysisError
from tuner_plugins.perturbseq.inference.mixture import Mixture, fit_mixture

Refit = Callable[[Any, Any, NDArray[np.float64]], tuple[NDArray[np.float64], NDArray[np.float64]]]
"""From X (cells, columns), Y (cells, genes) and what is added to the diagonal of X'X (columns,) to
coef (genes, columns) and intercept (genes,)."""

MAX_CONTROLS = 2000
"""Control cells, drawn at random, that the covariance of genes is taken from."""

FOLDS = 5
"""Cells are scored by a model of the other folds."""

MAX_ITERATIONS, TOLERANCE = 50, 1e-3
"""Weights are learnt until none changes by more than `TOLERANCE`."""

MIN_CONTROLS = 20
"""Control cells needed to know the spread of scores without an effect."""


@dataclass(frozen=True)
class Efficacy:
    """Weights of the design and how they came about.

    Attributes
    ----------
    weights : csr_array, (cells, perturbations)
        In place of the ones of the design.
    doubt : ndarray, (perturbations,)
        Sum of weight x (1 - weight) over the cells. The expected square of a design entry
        that is 1 with probability w is w, not w squared: add this to the diagonal of X'X, or
        coefficients come out too large.
    table : pandas.DataFrame
        One row a perturbation: ``perturbation``, ``n_cells``, ``proportion`` of cells that
        moved, ``separation`` of the two groups in standard deviations of the controls,
        ``p`` of so many cells beyond the controls' tail, ``reweighted``.
    iterations : int
    converged : bool
        Whether the last iteration changed no weight by more than the tolerance.
    """

    weights: sparse.csr_array
    doubt: NDArray[np.float64]
    table: pd.DataFrame
    iterations: int
    converged: bool


def whiten(
    residuals: NDArray[np.float64], coefficients: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the inverse covariance of the genes times the coefficients.

    The covariance of the control cells' residuals, gene by gene scaled to unit variance, is shrunk
    towards the identity (Ledoit & Wolf 2004, doi:10.1016/S0047-259X(03)00096-4) and inverted
    through its cells where these are fewer than genes, so that no larger matrix is made.

    Shapes: residuals (control cells, genes); coefficients and result (genes, perturbations).
    """
    centred = residuals - residuals.mean(axis=0)
    n = len(centred)
    spread = centred.std(axis=0)
    positive = spread[spread > 0]
    # A gene that is nearly constant among few controls must not rule the score.
    spread = np.maximum(spread, float(np.median(positive)) / 10 if len(positive) else 1.0)
    scaled = centred / spread
    shrinkage = float(np.clip(ledoit_wolf_shrinkage(scaled, assume_centered=True), 1e-3, 1.0))
    target = shrinkage * float((scaled**2).mean()) or 1.0
    right = coefficients / spread[:, None]
    if shrinkage < 1.0:
        ridge = target * n / (1 - shrinkage)
        if n < scaled.shape[1]:
            inner = scaled @ scaled.T
            inner[np.diag_indices(n)] += ridge
            right = right - scaled.T @ cho_solve(cho_factor(inner), scaled @ right)
        else:
            inner = scaled.T @ scaled
            inner[np.diag_indices(len(inner))] += ridge
            right = ridge * cho_solve(cho_factor(inner), right)
    return np.asarray(right / (target * spread[:, None]))


def _scores(
    design: sparse.csr_array,
    covariates: NDArray[np.float64],
    responses: Any,
    rest: NDArray[np.bool_],
    refit: Refit,
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """Score the cells outside `rest` along every perturbation, fitted on `rest`.

    The score is the inner product of the residual (without the perturbation) and the whitened
    coefficients: Fisher's direction, which tells the two hypotheses apart best.
    """
    n_targets = design.shape[1]
    columns = sparse.csr_array(sparse.hstack([design, covariates]))
    entries = design[rest]
    doubt = np.asarray(entries.sum(axis=0) - entries.power(2).sum(axis=0)).ravel()
    added = np.concatenate([doubt, np.zeros(covariates.shape[1])])
    coef, intercept = refit(columns[rest], responses[rest], added)
    beta, gamma = coef[:, :n_targets], coef[:, n_targets:]
    controls = np.flatnonzero(rest & (np.diff(design.indptr) == 0))
    controls = np.sort(rng.permutation(controls)[:MAX_CONTROLS])
    observed = responses[controls]
    observed = observed.toarray() if sparse.issparse(observed) else np.asarray(observed)
    residuals = observed - covariates[controls] @ gamma.T
    direction = whiten(residuals, beta)
    here = ~rest
    raw = np.asarray(responses[here] @ direction)
    expected = intercept @ direction + covariates[here] @ (gamma.T @ direction)
    between = beta.T @ direction
    others = design[here] @ between - design[here].toarray() * np.diag(between)
    return np.asarray(raw - expected - others)


def efficacy_weights(
    design: pd.DataFrame,
    covariates: NDArray[np.float64],
    responses: Any,
    refit: Refit,
    *,
    seed: int = 0,
) -> Efficacy:
    """Learn how much each perturbed cell was perturbed.

    Parameters
    ----------
    design : pandas.DataFrame, (cells, perturbations)
        Zeros and ones; control cells are rows of zeros.
    covariates : ndarray, (cells, covariates)
    responses : ndarray or sparse array, (cells, genes)
        Never densified as a whole.
    refit : callable
        Fits the model, see `Refit`.
    seed : int
        Of the folds.

    Returns
    -------
    Efficacy
        `converged` is False when `MAX_ITERATIONS` did not suffice.

    Raises
    ------
    AnalysisError
        With fewer than `MIN_CONTROLS` control cells.

    Examples
    --------
    >>> def least_squares(x, y, added):
    ...     x, mean = x.toarray(), y.mean(axis=0)
    ...     centred = x - x.mean(axis=0)
    ...     gram = centred.T @ centred + np.diag(added)
    ...     coef = np.linalg.solve(gram, centred.T @ (y - mean)).T
    ...     return coef, mean - coef @ x.mean(axis=0)
    >>> rng = np.random.default_rng(0)
    >>> design = pd.DataFrame({"STAT1": np.repeat([0.0, 1.0], 100)})
    >>> moved = np.arange(200) >= 150  # half of the perturbed cells
    >>> responses = 2.0 * moved[:, None] + rng.normal(size=(200, 8))
    >>> found = efficacy_weights(design, np.empty((200, 0)), responses, least_squares)
    >>> found.table[["perturbation", "n_cells", "proportion", "reweighted"]].round(1)
      perturbation  n_cells  proportion  reweighted
    0        STAT1      100         0.5        True
    """
    ones = sparse.csr_array(design.to_numpy(dtype=np.float64))
    control = np.diff(ones.indptr) == 0
    if control.sum() < MIN_CONTROLS:
        raise AnalysisError(
            f"efficacy weights need at least {MIN_CONTROLS} control cells to train on; "
            f"got {int(control.sum())}: switch them off or name the control label"
        )
    labels = np.unique(ones.toarray(), axis=0, return_inverse=True)[1].ravel()
    folds = deal((labels,), FOLDS, seed)
    cell, target = ones.nonzero()
    weights, weighted = np.ones(len(cell)), ones
    mixtures: dict[int, Mixture] = {}
    reweighted = np.zeros(ones.shape[1], dtype=bool)
    converged, iteration = False, 0
    while not converged and iteration < MAX_ITERATIONS:
        iteration += 1
        scores = np.empty(ones.shape)
        rng = np.random.default_rng(seed)  # the same controls in every iteration
        for fold in range(FOLDS):
            here = folds == fold
            with threadpool_limits(1):  # the last bits must not depend on the machine
                scores[here] = _scores(weighted, covariates, responses, ~here, refit, rng)
        updated = np.ones_like(weights)
        for k in map(int, np.flatnonzero(np.bincount(target) >= 2)):
            mine = target == k
            mixtures[k] = fit_mixture(scores[cell[mine], k], scores[control, k])
            reweighted[k] |= mixtures[k].better  # for good: switching back and forth never ends
            if reweighted[k]:
                updated[mine] = mixtures[k].posterior(scores[cell[mine], k])
        converged = bool(np.abs(updated - weights).max(initial=0.0) < TOLERANCE)
        weights = updated
        weighted = sparse.csr_array((weights, (cell, target)), shape=ones.shape)
    n = len(reweighted)
    table = pd.DataFrame(
        {
            "perturbation": design.columns,
            "n_cells": np.bincount(target, minlength=n),
            "proportion": [weights[target == k].mean() if reweighted[k] else 1.0 for k in range(n)],
            "separation": [mixtures[k].separation if k in mixtures else np.nan for k in range(n)],
            "p": [mixtures[k].p if k in mixtures else np.nan for k in range(n)],
            "reweighted": reweighted,
        }
    )
    weighted.eliminate_zeros()
    doubt = np.bincount(target, weights * (1 - weights), n).astype(np.float64)
    return Efficacy(weighted, doubt, table, iteration, converged)
