"""Small designs with every trap that the solvers must survive, for the tests of this package."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from tuner_plugins.native.machine import find_compiler

needs_compiler = pytest.mark.skipif(find_compiler() is None, reason="no C compiler here")


@dataclass(frozen=True)
class Problem:
    X: np.ndarray
    Y: np.ndarray
    folds: np.ndarray
    design: int
    """Columns of X that are the design; covariates follow."""


def simulate(
    seed: int,
    cells: int = 300,
    perturbations: int = 9,
    covariates: int = 3,
    genes: int = 11,
    folds: int = 4,
    controls: float = 0.3,
    multiplicity: int = 1,
) -> Problem:
    """Draw a screen: a one-hot (or multi-hot) design, covariates, sparse effects, noise."""
    rng = np.random.default_rng(seed)
    design = np.zeros((cells, perturbations))
    for _ in range(multiplicity):
        chosen = rng.integers(0, perturbations, size=cells)
        design[np.arange(cells), chosen] = 1.0
    design[rng.random(cells) < controls] = 0.0
    X = np.hstack([design, rng.normal(size=(cells, covariates))])
    effects = rng.normal(size=(X.shape[1], genes)) * (rng.random((X.shape[1], genes)) < 0.4)
    Y = X @ effects + rng.normal(size=(cells, genes)) + rng.normal(size=genes)
    labels = rng.permutation(np.arange(cells) % folds)
    return Problem(X, Y, labels, perturbations)


def kkt_residual(
    X: np.ndarray,
    Y: np.ndarray,
    coef: np.ndarray,
    intercept: np.ndarray,
    alpha: float,
    l1_ratio: float,
    factor: np.ndarray | None = None,
) -> float:
    """Return the largest violation of the optimality conditions, from the cells themselves."""
    cells = X.shape[0]
    factor = np.ones(X.shape[1]) if factor is None else factor
    errors = Y - X @ coef.T - intercept
    slope = -(X.T @ errors).T / cells + alpha * (1 - l1_ratio) * factor * coef
    l1 = alpha * l1_ratio * factor
    excess = np.where(coef != 0, np.abs(slope + l1 * np.sign(coef)), np.abs(slope) - l1)
    return float(max(np.maximum(excess, 0).max(), np.abs(errors.mean(axis=0)).max()))


def objective(
    X: np.ndarray,
    Y: np.ndarray,
    coef: np.ndarray,
    intercept: np.ndarray,
    alpha: float,
    l1_ratio: float,
) -> np.ndarray:
    """Return loss + penalty of every gene."""
    errors = Y - X @ coef.T - intercept
    l1 = alpha * l1_ratio * np.abs(coef).sum(axis=1)
    l2 = 0.5 * alpha * (1 - l1_ratio) * (coef**2).sum(axis=1)
    return (errors**2).mean(axis=0) / 2 + l1 + l2
