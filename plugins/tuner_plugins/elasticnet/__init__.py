"""The plug-in `elasticnet`: an elastic net for each gene of a Perturb-seq screen.

The mathematics is `tuner_plugins.enet`, whose public names are found here as well.
"""

from __future__ import annotations

from tuner_plugins.enet import (
    DataError,
    Fits,
    PerturbationElasticNet,
    Problem,
    Refit,
    Statistics,
    Sweep,
    alpha_max,
    cross_validate,
    fit,
    fit_grid,
    summarise,
    summarise_onto,
    sweep,
)

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
