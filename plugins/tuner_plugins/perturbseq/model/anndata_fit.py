"""Elastic net on an AnnData: fit, and put the coefficients where scverse tools look for them."""

from __future__ import annotations

from collections.abc import Sequence

import anndata
import numpy as np
import pandas as pd

from tuner_plugins.enet.cross_validation import Problem, refit
from tuner_plugins.perturbseq.data.dataset import Dataset, build
from tuner_plugins.perturbseq.data.labels import Labels
from tuner_plugins.perturbseq.data.screen import LOG, Recipe, open_screen


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
    >>> adata = anndata.AnnData(np.array([[3.0, 1.0], [1.0, 2.0], [5.0, 4.0]]))
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


def elastic_net(  # noqa: PLR0913  keywords of a call in a notebook
    adata: anndata.AnnData,
    alpha: float,
    l1_ratio: float,
    *,
    perturbation: str = "perturbation",
    control: Sequence[str],
    layer: str | None = None,
    batch: str | None = None,
    covariates: Sequence[str] = (),
    response: str = LOG,
    size_factor: str = "total_counts",
    penalise_covariates: bool = False,
    scale_genes: bool = False,
    key_added: str = "elasticnet",
    threads: int = 1,
    copy: bool = False,
) -> anndata.AnnData | None:
    """Fit an elastic net of each gene on perturbations and covariates.

    Parameters
    ----------
    adata : AnnData
        Raw counts in X, or in `layer`.
    alpha, l1_ratio : float
        As in scikit-learn's ``ElasticNet``.
    perturbation : str
        Column of obs.
    control : sequence of str
        Its labels of control cells.
    layer, batch, covariates, response, size_factor
        As in `tuner_plugins.perturbseq.data.screen.Recipe`.
    penalise_covariates, scale_genes : bool
        As in `problem_of`.
    key_added : str
        Prefix of what is written.
    threads : int
        The result does not depend on it.
    copy : bool
        Return a copy with the results, and leave `adata` alone.

    Returns
    -------
    AnnData or None
        With ``varm[KEY + "_coef"]`` (genes, perturbations) and ``varm[KEY + "_covariates"]``, both
        data frames on the scale of the response; ``var[KEY + "_intercept"]``; and ``uns[KEY]``:
        ``params`` and the largest optimality residual, ``kkt``.

    Raises
    ------
    CellsError
        Labels, covariates or counts that cannot be used.

    Examples
    --------
    >>> counts = np.random.default_rng(0).poisson([[5.0, 9.0, 4.0]] * 40).astype(float)
    >>> counts[:20, 0] += 20
    >>> adata = anndata.AnnData(counts)
    >>> adata.obs["perturbation"] = ["A"] * 20 + ["NT"] * 20
    >>> elastic_net(adata, alpha=0.01, l1_ratio=0.5, control=["NT"])
    >>> adata.varm["elasticnet_coef"].round(1)
         A
    0  0.9
    1 -0.6
    2 -0.7
    """
    recipe = Recipe(
        Labels(perturbation, tuple(control)), layer, batch, tuple(covariates), response, size_factor
    )
    dataset = build(open_screen(adata, recipe), threads=threads)
    problem = problem_of(dataset, penalise_covariates=penalise_covariates, scale_genes=scale_genes)
    found = refit(problem, alpha, l1_ratio, threads=threads)
    names, k = dataset.transform.responses, problem.tested
    target = adata.copy() if copy else adata
    coef = pd.DataFrame(found.coef, index=names)
    own, rest = coef.iloc[:, :k], coef.iloc[:, k:]
    # a slash in a name is a folder to HDF5
    own.columns = [name.replace("/", "_") for name in dataset.screen.design.names]
    rest.columns = [name.replace("/", "_") for name in dataset.screen.covariates.names]
    target.varm[f"{key_added}_coef"] = own.reindex(target.var_names)
    target.varm[f"{key_added}_covariates"] = rest.reindex(target.var_names)
    intercept = pd.Series(found.intercept, index=names)
    target.var[f"{key_added}_intercept"] = intercept.reindex(target.var_names)
    target.uns[key_added] = {
        "params": {
            "alpha": alpha,
            "l1_ratio": l1_ratio,
            "perturbation": perturbation,
            "control": list(control),
            "covariates": list(covariates),
            "response": response,
            "penalise_covariates": penalise_covariates,
            "scale_genes": scale_genes,
        },
        "kkt": found.kkt,
    }
    return target if copy else None
