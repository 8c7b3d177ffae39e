"""Elastic net over shared sufficient statistics: the mathematics, X and Y, no biology.

One pass over the cells sums, per fold, everything that any fit or held-out score needs
(`summarise`); from there the cross-validated grid of alpha and l1_ratio is exact and nearly free
(`sweep`, `fit_grid`, `fit`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tuner_plugins.enet.blocks import summarise, summarise_onto
from tuner_plugins.enet.cross_validation import Problem, cross_validate, sweep
from tuner_plugins.enet.cv_results import Sweep
from tuner_plugins.enet.path import Fits, Refit, alpha_max, fit, fit_grid
from tuner_plugins.enet.statistics import Statistics
from tuner_plugins.enet.validation import DataError

if TYPE_CHECKING:
    from tuner_plugins.enet.estimator import PerturbationElasticNet

__all__ = [
    "DataError",
    "Fits",
    "PerturbationElasticNet",
    "Problem",
    "Refit",
    "Statistics",
    "Sweep",
    "alpha_max",
    "cross_validate",
    "fit",
    "fit_grid",
    "summarise",
    "summarise_onto",
    "sweep",
]


def __getattr__(name: str) -> Any:
    """Import the estimator where it is asked for: scikit-learn takes a second."""
    if name != "PerturbationElasticNet":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from tuner_plugins.enet.estimator import PerturbationElasticNet

    return PerturbationElasticNet
