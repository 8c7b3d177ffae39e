"""What perturbations do beside coefficients: fold changes, distances."""

from __future__ import annotations

from typing import Any

import numpy as np

from tuner_plugins.perturbseq.annotated import (
    fitted,
)
from tuner_plugins.perturbseq.data.screen import open_screen
from tuner_plugins.perturbseq.errors import AnalysisError
from tuner_plugins.perturbseq.inference.energy import energy_distances
from tuner_plugins.perturbseq.inference.program_tests import stratum_codes
from tuner_plugins.perturbseq.report.effects import (
    fold_changes_of,
    note_on_distances,
    note_on_untested,
)


def fold_changes(
    data: Any, *, level: float = 0.95, threads: int = 1, modality: str | None = None
) -> None:
    """Estimate log2 fold changes and their intervals from counts, without a penalty.

    A quasi-Poisson regression on all perturbations and covariates, see
    `tuner_plugins.perturbseq.inference.fold_changes`.

    Parameters
    ----------
    data : AnnData or MuData
        After `elasticnet`.
    level : float
        Of the intervals.

    Returns
    -------
    None
        Writes ``varm`` ``log2fc``, ``log2fc_low``, ``log2fc_high`` and ``log2fc_p``, which
        `coefficient_table` has as well.
    """
    own = fitted(data, modality)
    tables = fold_changes_of(*own.load(threads), level, threads)
    for key, table in tables.items():
        own.keep_in_varm(key, table)
    own.tell(note_on_untested(tables))


def edistance(
    data: Any,
    *,
    basis: str = "X_pca",
    n_permutations: int = 1000,
    seed: int = 0,
    modality: str | None = None,
) -> None:
    """Test how far the cells of each perturbation lie from control, by their energy distance.

    Parameters
    ----------
    data : AnnData or MuData
        After `elasticnet`, with coordinates of cells in ``obsm[basis]``, such as from `pp.prepare`.

    Returns
    -------
    None
        Writes ``uns["edistance"]``, see `tuner_plugins.perturbseq.inference.energy`.
    """
    own = fitted(data, modality)
    if basis not in own.adata.obsm:
        raise AnalysisError(f"no obsm '{basis}': run pp.prepare, or name another basis")
    screen = open_screen(own.adata, own.plan.recipe)
    coordinates = np.asarray(own.adata.obsm[basis], dtype=np.float64)[screen.design.rows]
    table = own.adata.uns["edistance"] = energy_distances(
        coordinates,
        screen.design.matrix,
        screen.design.names,
        strata=stratum_codes(screen.batches, len(screen.obs)),
        n_permutations=n_permutations,
        seed=seed,
    )
    own.tell(note_on_distances(table, n_permutations))
