"""What follows from coefficients: programs, scores, gene sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tuner_plugins.perturbseq.annotated import (
    adata_of,
    fitted,
)
from tuner_plugins.perturbseq.data.screen import open_screen
from tuner_plugins.perturbseq.errors import AnalysisError
from tuner_plugins.perturbseq.inference.energy import energy_distances
from tuner_plugins.perturbseq.inference.program_tests import stratum_codes
from tuner_plugins.perturbseq.programs.communities import ClusterOptions
from tuner_plugins.perturbseq.programs.grouping import clustering_of
from tuner_plugins.perturbseq.report.effects import (
    fold_changes_of,
    note_on_distances,
    note_on_untested,
)
from tuner_plugins.perturbseq.report.embedding import log_normalised
from tuner_plugins.perturbseq.report.options import Analysis
from tuner_plugins.perturbseq.report.steps import (
    compare_with_control,
    group,
    look_up,
)


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
    own.tell(found.notes)
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
    own.tell(note for note in found.notes if "no q can be below" in note)
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
