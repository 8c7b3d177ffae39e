"""The grid of alpha and l1_ratio that a screen is swept over, and its table."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from tuner_plugins.enet.cross_validation import Problem
from tuner_plugins.enet.cv_results import Sweep, standard_error
from tuner_plugins.enet.path import alpha_max

SMALLEST_ALPHA = 1e-3


def grid_alphas(problem: Problem, count: int, l1_ratios: Sequence[float]) -> np.ndarray:
    """Return log-spaced alphas, rising to where all penalised coefficients are zero."""
    top = alpha_max(problem.whole, max(*l1_ratios, 0.1), problem.penalty_factor)
    top = top if top > 0 else 1.0
    return np.geomspace(SMALLEST_ALPHA * top, top, count)


def surface_table(surface: Sweep) -> pd.DataFrame:
    """Tabulate a sweep, one row an alpha and l1_ratio."""
    alphas, ratios = np.meshgrid(surface.alphas, surface.l1_ratios, indexing="ij")
    columns = {
        "alpha": alphas,
        "l1_ratio": ratios,
        "r2": surface.r2,
        "r2_se": surface.r2_se,
        "r2_mean": surface.r2_mean,
        "r2_covariates": np.broadcast_to(surface.r2_covariates, surface.r2.shape),
        "delta_r2": surface.delta_r2,
        "delta_r2_se": standard_error(surface.delta_r2_folds),
        "partial_r2": surface.partial_r2,
        "nonzeros": surface.nonzeros,
    }
    return pd.DataFrame({name: values.reshape(-1) for name, values in columns.items()})
