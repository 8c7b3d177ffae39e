"""Cells that responded to their perturbation."""

from __future__ import annotations

from typing import Any

from tuner_plugins.perturbseq.annotated import fitted
from tuner_plugins.perturbseq.report.responders import responders_of


def responders(data: Any, *, seed: int = 0, threads: int = 1, modality: str | None = None) -> None:
    """Separate cells that responded to their perturbation from those that escaped it.

    Cells are scored along the effect of their perturbation, fitted without them, and judged by a
    mixture whose component of non-responders is that of control cells (Papalexi et al. 2021,
    doi:10.1038/s41588-021-00778-2, whose mixscape fits the effect to the cells that it judges).

    Parameters
    ----------
    data : AnnData or MuData
        After `elasticnet`, whose penalties are taken.
    seed : int
        Of the folds.
    threads : int
        The result does not depend on it.

    Returns
    -------
    None
        Writes ``obs`` ``responder``, ``responder_of``, ``responder_posterior`` and
        ``responder_score`` (missing for cells that were left out or have several perturbations),
        and ``uns["responders"]``, see `tuner_plugins.perturbseq.report.responders.Responders`.

    Raises
    ------
    AnalysisError
        Too few control cells, or no cell with one perturbation.
    """
    own = fitted(data, modality)
    view, model = own.load(threads)
    called = responders_of(model, seed)
    cells = called.cells.set_axis(view.obs_names).reindex(own.adata.obs_names)
    own.adata.obs["responder"] = cells["responder"]
    own.adata.obs["responder_of"] = cells["responder_of"]
    own.adata.obs["responder_posterior"] = cells["responder_posterior"]
    own.adata.obs["responder_score"] = cells["responder_score"]
    own.adata.uns["responders"] = called.table
    if called.n_several:
        own.tell(
            [f"{called.n_several:,} cells with several perturbations are not judged as responders"]
        )
