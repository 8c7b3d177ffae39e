"""The peers of `benchmarks.elasticnet`: the same grid, gene by gene, warm-started along alpha."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.linear_model import ElasticNet, enet_path

RATIOS = np.array([0.1, 0.3, 0.5, 0.9, 1.0])
FOLDS = 5
REFERENCE = {"alpha": 5e-4, "l1_ratio": 0.5}
"""The fit of the published analysis that the sweep is compared with."""


def clock(work: Callable[[], Any]) -> tuple[float, Any]:
    """Return the CPU seconds of `work` and what it gave."""
    start = time.process_time()
    result = work()
    return time.process_time() - start, result


def reference_fit(X: np.ndarray, Y: np.ndarray) -> None:
    """Fit all genes once as the published analysis does it."""
    ElasticNet(max_iter=10_000, **REFERENCE).fit(X, Y)


def shared_gram(X: np.ndarray, Y: np.ndarray, folds: np.ndarray, alphas: np.ndarray) -> float:
    """Sweep with scikit-learn at its best: all genes and penalties share Gram matrix and X'y.

    Gives the CPU seconds that went into what does not depend on the number of genes.
    """
    shared = 0.0
    for fold in range(FOLDS):
        train = folds != fold

        def prepare(train: np.ndarray = train) -> tuple[np.ndarray, np.ndarray]:
            centred = np.asfortranarray(X[train] - X[train].mean(axis=0))
            return centred, centred.T @ centred

        seconds, (centred, gram) = clock(prepare)
        shared += seconds
        responses = np.asfortranarray(Y[train] - Y[train].mean(axis=0))
        cross = centred.T @ responses
        for gene in range(Y.shape[1]):
            for ratio in RATIOS:
                enet_path(
                    centred,
                    responses[:, gene],
                    l1_ratio=ratio,
                    alphas=alphas,
                    precompute=gram,
                    Xy=np.ascontiguousarray(cross[:, gene]),
                    tol=1e-10,
                    max_iter=100_000,
                    check_input=False,
                )
    return shared


def celer_sweep(X: np.ndarray, Y: np.ndarray, folds: np.ndarray, alphas: np.ndarray) -> None:
    """Sweep with celer, warm-started along alpha."""
    celer = importlib.import_module("celer")
    for train, gene, ratio in _problems(Y, folds):
        X_train, y = np.asfortranarray(X[train] - X[train].mean(axis=0)), Y[train, gene]
        celer.celer_path(X_train, y - y.mean(), "lasso", alphas=alphas, l1_ratio=ratio, tol=1e-10)


def skglm_sweep(X: np.ndarray, Y: np.ndarray, folds: np.ndarray, alphas: np.ndarray) -> None:
    """Sweep with skglm."""
    skglm = importlib.import_module("skglm")
    for train, gene, ratio in _problems(Y, folds):
        model = skglm.ElasticNet(l1_ratio=ratio, tol=1e-10, warm_start=True)
        for alpha in alphas:
            model.set_params(alpha=alpha).fit(X[train], Y[train, gene])


def adelie_sweep(X: np.ndarray, Y: np.ndarray, folds: np.ndarray, alphas: np.ndarray) -> None:
    """Sweep with adelie, on one thread."""
    adelie = importlib.import_module("adelie")
    for train, gene, ratio in _problems(Y, folds):
        adelie.grpnet(
            np.asfortranarray(X[train]),
            adelie.glm.gaussian(np.ascontiguousarray(Y[train, gene])),
            alpha=ratio,
            lmda_path=alphas,
            tol=1e-12,
            early_exit=False,
            progress_bar=False,
            n_threads=1,
        )


def _problems(Y: np.ndarray, folds: np.ndarray) -> list[tuple[np.ndarray, int, float]]:
    return [
        (folds != fold, gene, float(ratio))
        for fold in range(FOLDS)
        for gene in range(Y.shape[1])
        for ratio in RATIOS
    ]


PEERS = {"celer": celer_sweep, "skglm": skglm_sweep, "adelie": adelie_sweep}
