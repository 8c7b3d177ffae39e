"""Programs of a screen: found, scored, looked up in gene sets, named."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import anndata as ad

from tuner_plugins.perturbseq.annotated import (
    Fitted,
    adata_of,
    fitted,
)
from tuner_plugins.perturbseq.errors import AnalysisError
from tuner_plugins.perturbseq.programs.communities import ClusterOptions
from tuner_plugins.perturbseq.programs.consensus import NmfOptions
from tuner_plugins.perturbseq.programs.grouping import clustering_of
from tuner_plugins.perturbseq.programs.naming import best_terms, names_for, rename_in
from tuner_plugins.perturbseq.report.embedding import log_normalised
from tuner_plugins.perturbseq.report.options import Analysis
from tuner_plugins.perturbseq.report.program_steps import compare_with_control, group
from tuner_plugins.perturbseq.report.steps import look_up


def programs(  # noqa: PLR0913  keywords of a call in a notebook
    data: Any,
    *,
    method: Literal["leiden", "consensus_nmf"] = "leiden",
    discovery: float = 2 / 3,
    q_threshold: float = 0.05,
    n_neighbors: int | None = None,
    resolution: float | Sequence[float] | None = None,
    n_pcs: int | None = None,
    scale: bool = False,
    n_bootstraps: int = 0,
    n_programs: int | Sequence[int] = 10,
    replicates: int = 20,
    n_genes: int = 2000,
    density_threshold: float = 0.5,
    top_genes: int = 50,
    seed: int = 0,
    threads: int = 1,
    modality: str | None = None,
) -> None:
    """Group genes into programs, and perturbations that act alike into modules.

    Parameters
    ----------
    data : AnnData or MuData
        After `elasticnet` with permutations.
    method : {"leiden", "consensus_nmf"}
        Cluster genes that answer alike to the perturbations, or factorise the counts of cells
        (Kotliar et al. 2019, doi:10.7554/eLife.43803).
    discovery : float
        Share of the cells that programs are found in; the others test them in `score_programs`.
    q_threshold : float
        False discovery rate of the genes and perturbations that take part.
    n_neighbors, resolution, n_pcs, scale
        Of the clustering; None, or of several resolutions, chooses by silhouette.
    n_bootstraps : int
        Refits that measure the stability of clusters.
    n_programs, replicates, n_genes, density_threshold, top_genes
        Of the factorisation, see `tuner_plugins.perturbseq.programs.consensus_nmf.NmfOptions`.

    Returns
    -------
    None
        Writes ``var["program"]``, ``obs["discovery"]``, ``uns`` ``programs``, ``modules``,
        ``program_colors`` and, with bootstraps, ``program_stability``; with several resolutions
        ``program_choices`` and ``var["program_RESOLUTION"]``; factor programs with
        ``obsm["program_usage"]``, ``varm["program_spectra"]``, ``program_choices`` and
        ``program_stability``.
    """
    factors = None
    if method == "consensus_nmf":
        numbers = (n_programs,) if isinstance(n_programs, int) else tuple(n_programs)
        factors = NmfOptions(numbers, replicates, n_genes, density_threshold, top_genes, seed)
    elif method != "leiden":
        raise AnalysisError(f"no method '{method}'; there are: leiden, consensus_nmf")
    own = fitted(data, modality)
    coef, p = own.table("coef"), own.table("coef_p")
    view, model = own.load(threads)
    view.varm["coef"] = coef.reindex(view.var_names)
    if factors is not None:
        _log_normalise(own, view)
    options = own.options(
        seed=seed,
        discovery=discovery,
        q_threshold=q_threshold,
        n_bootstraps=n_bootstraps,
        clustering=ClusterOptions(n_neighbors, resolution, scale, n_pcs, seed),
        factors=factors,
    )
    found = Analysis(view)
    group(found, model, options, p.to_numpy())
    own.tell(found.notes)
    _keep_programs(own, found)


def _log_normalise(own: Fitted, view: ad.AnnData) -> None:
    size_factor = own.plan.recipe.size_factor
    view.layers["lognorm"] = log_normalised(view, size_factor if size_factor in view.obs else None)


def _keep_programs(own: Fitted, found: Analysis) -> None:
    """Write programs and modules to the user's AnnData, and take away those of an earlier call."""
    view, adata = found.adata, own.adata
    for column in _columns(adata.uns.get("program_choices")):
        adata.var.pop(column)
    for column in ("program", *_columns(found.tables.get("program_choices"))):
        own.keep_in_var(column, view.var[column])
    adata.obs["discovery"] = (
        view.obs["discovery"].reindex(adata.obs_names, fill_value=False).astype(bool)
    )
    for key in ("programs", "modules", "program_colors"):
        adata.uns[key] = view.uns[key]
    for key in ("program_stability", "program_choices"):
        adata.uns.pop(key, None)
        if key in found.tables:
            adata.uns[key] = found.tables[key]
    for table in (adata.obsm, adata.varm):
        for key in ("program_usage", "program_spectra"):
            table.pop(key, None)
    if "program_usage" in view.obsm:
        adata.obsm["program_usage"] = view.obsm["program_usage"].reindex(adata.obs_names)
        own.keep_in_varm("program_spectra", view.varm["program_spectra"])


def _columns(choices: Any) -> list[str]:
    """Return the columns of var with the programs at each resolution that was compared."""
    if choices is None or "resolution" not in choices:
        return []
    return [f"program_{resolution:g}" for resolution in choices["resolution"]]


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
        Name to genes. None: those of `programs`, tested in cells that did not find them; factor
        programs by their usages, in all cells.

    Returns
    -------
    None
        Writes ``obsm["program_scores"]`` (cells by programs, NaN for cells that were left out),
        unless factor programs have usages, and ``uns["program_tests"]``.
    """
    own = fitted(data, modality)
    view, model = own.load()
    members = clustering_of(own.adata, "programs").members() if programs is None else programs
    known = programs is None and "discovery" in own.adata.obs
    view.obs["discovery"] = (
        own.adata.obs.loc[view.obs_names, "discovery"].to_numpy(dtype=bool) if known else False
    )
    factors = NmfOptions() if programs is None and "program_usage" in own.adata.obsm else None
    if factors is None:
        _log_normalise(own, view)
    else:
        view.obsm["program_usage"] = own.adata.obsm["program_usage"].loc[view.obs_names]
    found = Analysis(view)
    share = 0.5 if known and not view.obs["discovery"].all() else 1.0
    options = own.options(
        seed=seed, n_score_permutations=n_permutations, discovery=share, factors=factors
    )
    compare_with_control(found, model, options, members)
    own.tell(found.limits)
    if "program_scores" in view.obsm:
        own.adata.obsm["program_scores"] = view.obsm["program_scores"].reindex(own.adata.obs_names)
    if members:
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


def rename_programs(
    data: Any,
    names: Mapping[str, str] | Mapping[int, str] | Literal["best_term"],
    *,
    q_threshold: float = 0.05,
    modality: str | None = None,
) -> None:
    """Rename programs wherever they are written.

    Parameters
    ----------
    names : mapping or "best_term"
        Name of today, or number, to new name; others stay. Or put the most significant gene set
        behind each name, after `enrich`.
    q_threshold : float
        Of these gene sets.

    Raises
    ------
    AnalysisError
        An unknown name, two programs of the same new one, or no gene sets.
    """
    adata = adata_of(data, modality)
    labels = list(clustering_of(adata, "programs").labels.cat.categories)
    if names == "best_term":
        if "enrichment" not in adata.uns:
            raise AnalysisError("no enrichment in uns to name programs by: run tl.enrich first")
        rename_in(adata, best_terms(adata.uns["enrichment"], labels, q_threshold))
        return
    if isinstance(names, str):
        raise AnalysisError(f"names is '{names}'; expected a mapping, or best_term")
    renamed, unknown = names_for(labels, names)
    if unknown:
        raise AnalysisError(f"no program '{unknown[0]}'; there are: {', '.join(labels)}")
    rename_in(adata, renamed)
