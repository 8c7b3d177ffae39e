"""What pairs of perturbations do beyond the sum of both."""

from __future__ import annotations

from typing import Any

from tuner_plugins.perturbseq.annotated import fitted
from tuner_plugins.perturbseq.errors import AnalysisError
from tuner_plugins.perturbseq.inference.epistasis import epistasis as contrasted
from tuner_plugins.perturbseq.report.effects import FOLD_CHANGES


def epistasis(data: Any, *, q_threshold: float = 0.05, modality: str | None = None) -> None:
    """Contrast pairs with the sum of their perturbations, gene by gene, in log2 fold changes.

    Parameters
    ----------
    data : AnnData or MuData
        After `elasticnet` with ``combinations=True`` and `fold_changes`.
    q_threshold : float
        False discovery rate of interactions.

    Returns
    -------
    None
        Writes ``uns["epistasis"]``, one row a gene and pair whose perturbations were fitted, see
        `tuner_plugins.perturbseq.inference.epistasis`.

    Raises
    ------
    AnalysisError
        There are no pairs, or no fold changes.
    """
    own = fitted(data, modality)
    table = contrasted({key: own.table(key) for key in FOLD_CHANGES}, q_threshold)
    if table.empty:
        raise AnalysisError(
            "no pair of perturbations was fitted beside both: run tl.elasticnet with "
            "multiple='additive' and combinations=True"
        )
    own.adata.uns["epistasis"] = table
