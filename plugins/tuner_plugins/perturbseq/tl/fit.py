"""The fit: sweep, choice, coefficients and their tests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import anndata as ad
import numpy as np
import pandas as pd

from tuner_plugins.enet.cross_validation import Problem, cross_validate, refit
from tuner_plugins.enet.cv_results import Sweep
from tuner_plugins.perturbseq.annotated import (
    KEY,
    Fitted,
    adata_of,
    fitted_with,
    remember,
    tell,
)
from tuner_plugins.perturbseq.data.guide_calls import GuideCalling
from tuner_plugins.perturbseq.data.labels import UNASSIGNED, Labels
from tuner_plugins.perturbseq.data.response import GeneChoice
from tuner_plugins.perturbseq.data.screen import LOG, Recipe
from tuner_plugins.perturbseq.data.stored import stored_names
from tuner_plugins.perturbseq.errors import AnalysisError
from tuner_plugins.perturbseq.inference.exchangeable_units import AUTO
from tuner_plugins.perturbseq.model.load import load
from tuner_plugins.perturbseq.model.reading import Loaded, Plan, read
from tuner_plugins.perturbseq.model.resampling import Model
from tuner_plugins.perturbseq.model.surface import grid_alphas, surface_table
from tuner_plugins.perturbseq.report.options import Analysis, AnalysisOptions
from tuner_plugins.perturbseq.report.steps import (
    cells_of,
    fit_coefficients,
)


def elasticnet(  # noqa: PLR0913  keywords of a call in a notebook
    data: Any,
    *,
    control: str | Sequence[str],
    perturbation: str = "perturbation",
    unassigned: Literal["error", "drop", "control"] = "error",
    unassigned_labels: Sequence[str] = UNASSIGNED,
    separator: str | None = None,
    multiple: Literal["error", "drop", "control", "additive"] = "error",
    combinations: bool = False,
    min_cells: int = 1,
    perturbations: Sequence[str] | None = None,
    guide_counts: GuideCalling | str | None = None,
    guide: str | None = None,
    unit: str = AUTO,
    well: str | None = AUTO,
    batch: str | None = None,
    covariates: Sequence[str] = (),
    penalise_covariates: bool = False,
    layer: str | None = None,
    response: str = LOG,
    symbols: str | None = None,
    size_factor: str = "total_counts",
    genes: GeneChoice | Sequence[str] | int | None = None,
    scale_genes: bool = False,
    y_obs: Sequence[str] = (),
    alphas: int | Sequence[float] = 30,
    l1_ratios: Sequence[float] = (0.1, 0.3, 0.5, 0.7, 0.9, 1.0),
    folds: int = 5,
    split: Literal["stratified", "leave_guide_out", "leave_batch_out"] = "stratified",
    select: Literal["best", "one_standard_error"] = "best",
    n_permutations: int = 100,
    pooled_null: bool = True,
    tail_fit: bool = False,
    efficacy: bool = False,
    composition: bool | None = None,
    seed: int = 0,
    threads: int = 1,
    modality: str | None = None,
    copy: bool = False,
) -> ad.AnnData | None:
    """Fit an elastic net of each gene on perturbations and covariates.

    Penalties are chosen by held-out R2, from an exact sweep over alpha and l1_ratio. What is known
    to mean little in the screen is said as warnings before anything is fitted.

    Parameters
    ----------
    data : AnnData or MuData
        Raw counts in X, or in `layer`; in memory or backed.
    control : str or sequence of str
        Labels of control cells; [] if there are none.
    perturbation, unassigned, unassigned_labels, separator, multiple, combinations, min_cells, \
perturbations
        How labels are read, see `tuner_plugins.perturbseq.data.labels.Labels`.
    guide_counts : GuideCalling or str, optional
        Key of obsm with counts of guides that labels are called from, or how they are called;
        `tuner_plugins.perturbseq.pp.assign_guides` does the same beforehand.
    guide, unit, well, batch, covariates, penalise_covariates, response, symbols, size_factor, y_obs
        As the keys of ``data`` in a configuration of the plug-in `elasticnet`.
    layer : str, optional
        Where the counts are: None for X, ``raw``, or a layer.
    genes : GeneChoice, sequence of str or int, optional
        Which genes are fitted: these names, or so many highly variable ones; all if None.
    scale_genes : bool
        Divide each response by its standard deviation before it is fitted.
    alphas, l1_ratios : int or sequence of float, sequence of float
        The grid; a number of alphas is log-spaced, up to where nothing is left.
    folds, split
        How cells are held out.
    select : {"best", "one_standard_error"}
        The largest held-out R2, or the sparsest fits that are no worse by a standard error.
    n_permutations : int
        Refits under permuted labels, for p-values; 0 for none.
    pooled_null, tail_fit, efficacy, composition
        As the keys of ``analysis``: coefficients are relative to the genes that did not move unless
        `composition` is False.
    seed : int
        Of folds and permutations.
    threads : int
        The result does not depend on it.
    modality : str, optional
        Of a MuData.
    copy : bool
        Return a copy with the results, and leave `data` alone.

    Returns
    -------
    AnnData or None
        With ``varm`` ``coef``, ``coef_p``, ``coef_q`` (genes, perturbations) and
        ``coef_covariates``, ``var["intercept"]``, and ``uns["elasticnet"]``: setting, held-out R2,
        surface, notes.

    Raises
    ------
    CellsError, DataError, AnalysisError
        Labels, covariates or counts that cannot be used, in one line each.

    Examples
    --------
    >>> counts = np.random.default_rng(0).poisson([[5.0, 9.0, 4.0]] * 80).astype(float)
    >>> counts[:40, 0] += 20
    >>> adata = ad.AnnData(counts)
    >>> adata.obs["perturbation"] = ["A"] * 40 + ["NT"] * 40
    >>> elasticnet(adata, control="NT", n_permutations=0)
    >>> adata.varm["coef"].round(1)
         A
    0  0.9
    1 -0.6
    2 -0.7
    """
    calling = GuideCalling(guide_counts) if isinstance(guide_counts, str) else guide_counts
    if calling is not None:
        separator = calling.separator
    labels = Labels(
        perturbation,
        (control,) if isinstance(control, str) else tuple(map(str, control)),
        unassigned,
        tuple(map(str, unassigned_labels)),
        separator,
        multiple,
        combinations,
        min_cells,
        None if perturbations is None else tuple(perturbations),
    )
    recipe = Recipe(
        labels,
        layer,
        batch,
        tuple(covariates),
        response,
        size_factor,
        _gene_choice(genes),
        tuple(y_obs),
        symbols,
        calling=calling,
    )
    plan = Plan(
        recipe,
        guide=guide,
        unit=unit,
        well=well,
        penalise_covariates=penalise_covariates,
        scale_genes=scale_genes,
        folds=folds,
        split=split,
        seed=seed,
    )
    _require_policies(plan)
    adata = adata_of(data, modality, copy=copy)
    loaded = read(adata, plan, threads=threads)
    tell(loaded.notes)
    surface = _swept(loaded.problem, alphas, l1_ratios, threads)
    at = surface.best_index if select == "best" else surface.one_standard_error()
    options = {"seed": seed, "pooled_null": pooled_null, "efficacy": efficacy}
    options["tail_fit"] = tail_fit
    chosen = {"alpha": float(surface.alphas[at[0]]), "l1_ratio": float(surface.l1_ratios[at[1]])}
    view, model = load(
        loaded.dataset.screen,
        **chosen,
        penalise_covariates=penalise_covariates,
        scale_genes=scale_genes,
        composition=composition,
        threads=threads,
    )
    found = Analysis(view)
    if n_permutations:
        options["n_permutations"] = n_permutations
        fit_coefficients(found, model, AnalysisOptions(**options))  # type: ignore[arg-type]
        tell(found.limits)
    else:
        view.varm["coef"] = model.coefficients().reindex(view.var_names)
    own = fitted_with(adata, plan)
    _keep_fit(own, view, model)
    adata.uns[KEY] = {
        **chosen,
        "perturbations": np.array(model.targets, dtype=str),
        "n_cells": np.array(cells_of(model)),
        "r2": float(surface.r2[at]),
        "r2_se": float(surface.r2_se[at]),
        "delta_r2": float(surface.delta_r2[at]),
        "partial_r2": float(surface.partial_r2[at]),
        "kkt": surface.kkt,
        "surface": surface_table(surface),
        "notes": np.array([*loaded.notes, *found.notes], dtype=str),
        "plan": remember(plan, composition, options),
    }
    if y_obs:
        adata.uns[KEY]["y_obs"] = _further(loaded, surface, **chosen)
    if efficacy and n_permutations:
        adata.uns[KEY]["efficacy"] = found.tables["efficacy"]
    return adata if copy else None


def _gene_choice(genes: GeneChoice | Sequence[str] | int | None) -> GeneChoice:
    if isinstance(genes, GeneChoice):
        return genes
    if isinstance(genes, int):
        return GeneChoice(highly_variable=genes)
    return GeneChoice(None if genes is None else tuple(genes))


def _require_policies(plan: Plan) -> None:
    """Raise `AnalysisError` for keywords that do not fit together."""
    labels = plan.recipe.labels
    if labels.multiple != "error" and labels.separator is None:
        raise AnalysisError(f"multiple='{labels.multiple}' needs a separator, such as ','")
    if labels.combinations and labels.multiple != "additive":
        raise AnalysisError("combinations=True needs multiple='additive'")
    needed = {"leave_guide_out": "guide", "leave_batch_out": "batch"}.get(plan.split)
    if needed is not None and (plan.guide if needed == "guide" else plan.recipe.batch) is None:
        raise AnalysisError(f"split='{plan.split}' needs {needed}, a column of obs")


def _swept(
    problem: Problem, alphas: int | Sequence[float], l1_ratios: Sequence[float], threads: int
) -> Sweep:
    given = grid_alphas(problem, alphas, l1_ratios) if isinstance(alphas, int) else alphas
    return cross_validate(problem, given, l1_ratios, threads=threads)


def _keep_fit(own: Fitted, view: ad.AnnData, model: Model) -> None:
    """Write coefficients, their tests, and those of covariates."""
    for key in ("coef_p", "coef_q", "log2fc", "log2fc_low", "log2fc_high", "log2fc_p"):
        own.adata.varm.pop(key, None)  # of an earlier fit
    for key in ("coef", "coef_p", "coef_q"):
        if key in view.varm:
            own.keep_in_varm(key, view.varm[key])
    fit = model.fit()
    assert model.covariate_scale is not None, "of a model from `load`"
    rest = fit.coef[:, len(model.targets) :] / model.covariate_scale
    own.keep_in_varm("coef_covariates", pd.DataFrame(rest, model.genes, model.covariate_names))
    own.keep_in_var("intercept", pd.Series(fit.intercept, model.genes))


def _further(loaded: Loaded, surface: Sweep, alpha: float, l1_ratio: float) -> pd.DataFrame:
    """Return the coefficients of the columns of obs that were fitted beside the genes."""
    dataset, problem = loaded.dataset, loaded.problem
    names = list(dataset.screen.recipe.y_obs)
    columns = [*dataset.screen.design.names, *dataset.screen.covariates.names]
    found = refit(problem, alpha, l1_ratio).coef[-len(names) :]
    return pd.DataFrame(found, names, stored_names(columns))
