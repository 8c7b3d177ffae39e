"""Tools: each takes an AnnData (or a MuData) and writes what it finds into it.

They run the code of the plug-in `elasticnet` and of ``tuner analyse``. docs/perturbseq.md has the
keys that are written, and docs/perturbseq.ipynb a screen from counts to gene sets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
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
    coefficient_table,
    fitted,
    fitted_with,
    remember,
    tell,
)
from tuner_plugins.perturbseq.data.labels import UNASSIGNED, Labels
from tuner_plugins.perturbseq.data.response import GeneChoice
from tuner_plugins.perturbseq.data.screen import LOG, Recipe
from tuner_plugins.perturbseq.errors import AnalysisError
from tuner_plugins.perturbseq.inference.exchangeable_units import AUTO
from tuner_plugins.perturbseq.model.load import load
from tuner_plugins.perturbseq.model.reading import Loaded, Plan, read
from tuner_plugins.perturbseq.model.resampling import Model
from tuner_plugins.perturbseq.model.surface import grid_alphas, surface_table
from tuner_plugins.perturbseq.programs.communities import ClusterOptions
from tuner_plugins.perturbseq.programs.grouping import clustering_of
from tuner_plugins.perturbseq.report.embedding import log_normalised
from tuner_plugins.perturbseq.report.options import Analysis, AnalysisOptions
from tuner_plugins.perturbseq.report.steps import (
    cells_of,
    compare_with_control,
    fit_coefficients,
    group,
    look_up,
)

__all__ = [
    "coefficient_table",
    "elasticnet",
    "enrich",
    "programs",
    "rename_programs",
    "score_programs",
]


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
    pooled_null, efficacy, composition
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
    1 -0.7
    2 -0.7
    """
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
    for key in ("coef_p", "coef_q"):
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
    frame = pd.DataFrame(found, names, columns)
    frame.columns = [name.replace("/", "_") for name in columns]
    return frame


def programs(  # noqa: PLR0913  keywords of a call in a notebook
    data: Any,
    *,
    discovery: float = 2 / 3,
    q_threshold: float = 0.05,
    n_neighbors: int | None = None,
    resolution: float | None = None,
    n_pcs: int | None = None,
    scale: bool = False,
    n_bootstraps: int = 0,
    seed: int = 0,
    threads: int = 1,
    modality: str | None = None,
) -> None:
    """Group genes that answer alike into programs, and perturbations that act alike into modules.

    Parameters
    ----------
    data : AnnData or MuData
        After `elasticnet` with permutations.
    discovery : float
        Share of the cells that programs are found in; the others test them in `score_programs`.
    q_threshold : float
        False discovery rate of the genes and perturbations that take part.
    n_neighbors, resolution, n_pcs, scale
        Of the clustering; None chooses by silhouette.
    n_bootstraps : int
        Refits that measure the stability of programs.

    Returns
    -------
    None
        Writes ``var["program"]``, ``obs["discovery"]``, ``uns`` ``programs``, ``modules``,
        ``program_colors`` and, with bootstraps, ``program_stability``.
    """
    own = fitted(data, modality)
    coef, p = own.table("coef"), own.table("coef_p")
    view, model = own.load(threads)
    view.varm["coef"] = coef.reindex(view.var_names)
    clustering = ClusterOptions(n_neighbors, resolution, scale, n_pcs, seed)
    options = own.options(
        seed=seed,
        discovery=discovery,
        q_threshold=q_threshold,
        n_bootstraps=n_bootstraps,
        clustering=clustering,
    )
    found = Analysis(view)
    group(found, model, options, p.to_numpy())
    tell(found.notes)
    own.keep_in_var("program", view.var["program"])
    own.adata.obs["discovery"] = (
        view.obs["discovery"].reindex(own.adata.obs_names, fill_value=False).astype(bool)
    )
    for key in ("programs", "modules", "program_colors"):
        own.adata.uns[key] = view.uns[key]
    if "program_stability" in found.tables:
        own.adata.uns["program_stability"] = found.tables["program_stability"]


def score_programs(
    data: Any,
    programs: Mapping[str, Sequence[str]] | None = None,
    *,
    n_permutations: int = 1000,
    seed: int = 0,
    modality: str | None = None,
) -> None:
    """Score programs in every cell and test each perturbation's cells against control.

    Parameters
    ----------
    data : AnnData or MuData
        After `elasticnet`.
    programs : mapping, optional
        Name to genes. None: those of `programs`, tested in cells that did not find them.

    Returns
    -------
    None
        Writes ``obsm["program_scores"]`` (cells by programs, NaN for cells that were left out) and
        ``uns["program_tests"]``.
    """
    own = fitted(data, modality)
    view, model = own.load()
    members = clustering_of(own.adata, "programs").members() if programs is None else programs
    known = programs is None and "discovery" in own.adata.obs
    view.obs["discovery"] = (
        own.adata.obs.loc[view.obs_names, "discovery"].to_numpy(dtype=bool) if known else False
    )
    size_factor = own.plan.recipe.size_factor
    view.layers["lognorm"] = log_normalised(view, size_factor if size_factor in view.obs else None)
    found = Analysis(view)
    share = 0.5 if known and not view.obs["discovery"].all() else 1.0
    options = own.options(seed=seed, n_score_permutations=n_permutations, discovery=share)
    compare_with_control(found, model, options, members)
    if members:
        own.adata.obsm["program_scores"] = view.obsm["program_scores"].reindex(own.adata.obs_names)
        own.adata.uns["program_tests"] = found.tables["program_tests"]


def enrich(
    data: Any,
    gene_sets: Path | str | Mapping[str, Sequence[str]] | None = None,
    *,
    organism: str | None = None,
    q_threshold: float = 0.05,
    term_sizes: tuple[int, int] = (5, 500),
    modality: str | None = None,
) -> None:
    """Look programs, and what each perturbation moves up and down, up in gene sets.

    Parameters
    ----------
    data : AnnData or MuData
        After `elasticnet` with permutations.
    gene_sets : Path, str or mapping, optional
        A GMT file, or term to genes.
    organism : str, optional
        Such as ``hsapiens``: ask g:Profiler instead, over the internet.
    q_threshold : float
        Of the coefficients that count as moved.
    term_sizes : (int, int)
        Smallest and largest term that is tested.

    Returns
    -------
    None
        Writes ``uns["enrichment"]``, whose ``q`` is adjusted over all sets and terms.
    """
    if gene_sets is None and organism is None:
        raise AnalysisError("enrich needs gene_sets, a GMT file or a mapping, or an organism")
    own = fitted(data, modality)
    members = {}
    if "programs" in own.adata.uns:
        members = clustering_of(own.adata, "programs").members()
    given = Path(gene_sets) if isinstance(gene_sets, str) else gene_sets
    options = own.options(gmt=given, enrich_online=organism, term_sizes=term_sizes)
    significant = own.table("coef_q") < q_threshold
    look_up(Analysis(own.adata), options, members, own.table("coef"), significant)


def rename_programs(data: Any, names: Mapping[str, str], *, modality: str | None = None) -> None:
    """Rename programs wherever they are written.

    Parameters
    ----------
    names : mapping
        Name of today to new name; others stay.

    Raises
    ------
    AnalysisError
        An unknown name, or two programs of the same new one.
    """
    adata = adata_of(data, modality)
    labels = list(clustering_of(adata, "programs").labels.cat.categories)
    unknown = [name for name in names if name not in labels]
    if unknown:
        raise AnalysisError(f"no program '{unknown[0]}'; there are: {', '.join(labels)}")
    renamed = {label: names.get(label, label) for label in labels}
    if len(set(renamed.values())) < len(labels):
        raise AnalysisError("two programs would have the same name; give each its own")
    adata.var["program"] = adata.var["program"].cat.rename_categories(renamed)
    stored = adata.uns["programs"]
    stored["labels"] = np.array([renamed[str(label)] for label in stored["labels"]], dtype=str)
    if "program_scores" in adata.obsm:
        adata.obsm["program_scores"] = adata.obsm["program_scores"].rename(columns=renamed)
    for key, column in (("program_tests", "program"), ("enrichment", "set")):
        if key in adata.uns:
            adata.uns[key] = adata.uns[key].assign(
                **{column: adata.uns[key][column].replace(renamed)}
            )
