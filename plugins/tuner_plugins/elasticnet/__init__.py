"""The plug-in `elasticnet`: an elastic net for each gene of a Perturb-seq screen.

The mathematics is `tuner_plugins.enet`, whose public names are found here as well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tuner_plugins import enet
from tuner_plugins.enet import DataError as DataError
from tuner_plugins.enet import Fits as Fits
from tuner_plugins.enet import Problem as Problem
from tuner_plugins.enet import Refit as Refit
from tuner_plugins.enet import Statistics as Statistics
from tuner_plugins.enet import Sweep as Sweep
from tuner_plugins.enet import alpha_max as alpha_max
from tuner_plugins.enet import cross_validate as cross_validate
from tuner_plugins.enet import fit as fit
from tuner_plugins.enet import fit_grid as fit_grid
from tuner_plugins.enet import summarise as summarise
from tuner_plugins.enet import summarise_onto as summarise_onto
from tuner_plugins.enet import sweep as sweep

if TYPE_CHECKING:
    from tuner_plugins.enet import PerturbationElasticNet as PerturbationElasticNet


def __getattr__(name: str) -> Any:
    """Return the estimator, which is imported where it is asked for."""
    if name != "PerturbationElasticNet":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return enet.PerturbationElasticNet
