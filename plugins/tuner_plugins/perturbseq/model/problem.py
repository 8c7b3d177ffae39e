"""The regression problem of a screen: which columns are penalised, what each fold may know."""

from __future__ import annotations

import numpy as np

from tuner_plugins.enet.cross_validation import Problem
from tuner_plugins.perturbseq.data.dataset import Dataset


def problem_of(
    dataset: Dataset, *, penalise_covariates: bool = False, scale_genes: bool = False
) -> Problem:
    """Return the regression problem of a dataset: perturbations penalised, covariates free or not.

    Parameters
    ----------
    dataset : Dataset
        From `tuner_plugins.perturbseq.data.dataset.build`.
    penalise_covariates : bool
        Penalise them too, divided by their standard deviation.
    scale_genes : bool
        Divide responses by their standard deviation before they are fitted.

    Examples
    --------
    >>> from anndata import AnnData
    >>> from tuner_plugins.perturbseq.data.dataset import build
    >>> from tuner_plugins.perturbseq.data.labels import Labels
    >>> from tuner_plugins.perturbseq.data.screen import Recipe, open_screen
    >>> adata = AnnData(np.array([[3.0, 1.0], [1.0, 2.0], [5.0, 4.0]]))
    >>> adata.obs = adata.obs.assign(perturbation=["A", "control", "A"], depth=[4.0, 3.0, 9.0])
    >>> dataset = build(open_screen(adata, Recipe(Labels(), covariates=["depth"])))
    >>> problem_of(dataset).penalty_factor.tolist()
    [1.0, 0.0]
    >>> problem_of(dataset, penalise_covariates=True).penalty_factor.tolist()
    [1.0, 1.0]
    """
    perturbations = len(dataset.screen.design.names)
    factor = np.ones(perturbations + len(dataset.screen.covariates.names))
    if not penalise_covariates:
        factor[perturbations:] = 0.0
    return Problem(
        dataset.statistics,
        dataset.transform.columns,
        dataset.transform.chosen,
        perturbations,
        factor,
        scale_genes,
    )
