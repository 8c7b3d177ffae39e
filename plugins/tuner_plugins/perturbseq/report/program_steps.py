"""Programs and modules of a screen, their tests, and their names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tuner_plugins.perturbseq.errors import AnalysisError
from tuner_plugins.perturbseq.inference.program_tests import (
    any_effect,
    compare_programs,
    note_on_floor,
)
from tuner_plugins.perturbseq.model.resampling import (
    Model,
    bootstrap_coefficients,
    cell_groups,
)
from tuner_plugins.perturbseq.programs.clustering import Clustering, cluster, find_modules
from tuner_plugins.perturbseq.programs.grouping import describe, members, notes_on, own_gene
from tuner_plugins.perturbseq.programs.naming import (
    best_terms,
    names_for,
    rename_clustering,
    rename_in,
    rename_table,
)
from tuner_plugins.perturbseq.programs.resolutions import at_resolutions, compare_resolutions
from tuner_plugins.perturbseq.programs.scores import score_programs
from tuner_plugins.perturbseq.programs.stability import stability
from tuner_plugins.perturbseq.report.factor_programs import factor_programs
from tuner_plugins.perturbseq.report.options import Analysis, AnalysisOptions
from tuner_plugins.perturbseq.report.steps import cells_of, tested, weighted


def split_cells(model: Model, share: float, seed: int) -> NDArray[np.bool_]:
    """Return a mask of the cells that programs are found in: `share` of each label and batch."""
    groups = cell_groups(model)
    order = np.lexsort((np.random.default_rng(seed).random(len(groups)), groups))
    # Counting on from group to group, small groups do not all round the same way.
    place = np.empty(len(groups))
    place[order] = np.arange(1, len(groups) + 1)
    return np.asarray(np.floor(place * share) > np.floor((place - 1) * share))


def group(
    found: Analysis, model: Model, options: AnalysisOptions, p: NDArray[np.float64]
) -> tuple[Clustering, Clustering]:
    """Find programs, and modules in all cells; measure the stability of programs.

    Only genes that answer to some perturbation, and perturbations that move some gene, take part
    in clusters (`p`, (genes, perturbations), joined by `any_effect`): the others belong to no
    program and no module, or they would make up clusters of noise. What a perturbation does to its
    own gene is left aside: it makes no two perturbations alike, and no two genes.
    """
    adata = found.adata
    own = own_gene(model.genes, model.targets)
    p = np.where(own, np.nan, p)
    everywhere = adata.varm["coef"].loc[model.genes].mask(own, 0.0)
    if options.factors is not None:
        adata.obs["discovery"] = np.ones(adata.n_obs, dtype=bool)
        programs = factor_programs(found, model, options)
    else:
        programs = _clusters(found, model, options, any_effect(p, 1), everywhere)
    acting = any_effect(p, 0) < options.q_threshold
    modules = find_modules(everywhere, options.clustering, acting)
    describe(adata, programs, modules)
    found.tables["programs"] = members(programs, "gene", "program")
    found.tables["modules"] = members(modules, "perturbation", "module")
    found.notes += notes_on(programs, len(model.targets), int(acting.sum()))
    return programs, modules


def _clusters(
    found: Analysis,
    model: Model,
    options: AnalysisOptions,
    p: NDArray[np.float64],
    coef: pd.DataFrame,
) -> Clustering:
    """Cluster the coefficients of discovery cells; `p` (genes,) and `coef` are those of all."""
    adata = found.adata
    own = own_gene(model.genes, model.targets)
    discovery = np.ones(adata.n_obs, dtype=bool)
    keep, used = p < options.q_threshold, model
    if options.discovery < 1:
        discovery = split_cells(model, options.discovery, options.seed)
        used = model.rows(discovery)
        p_discovery = np.where(own, np.nan, tested(used, options).p)
        keep = any_effect(p_discovery, 1) < options.q_threshold
        used = weighted(used, options.seed)[0] if options.efficacy else used
        coef = used.coefficients().mask(own, 0.0)
    adata.obs["discovery"] = discovery
    resampled = (
        table.mask(own, 0.0)
        for table in bootstrap_coefficients(used, options.n_bootstraps, options.seed)
    )
    if options.clustering.resolution is None or len(options.clustering.resolutions) == 1:
        programs = cluster(coef, options.clustering, keep=keep)
        if options.n_bootstraps and programs.order:
            found.tables["program_stability"] = stability(
                programs, resampled, lambda table: cluster(table, programs.options, keep=keep)
            )
        return programs
    at = at_resolutions(coef, options.clustering, keep)
    some = any(one.order for one in at.values())
    chosen, choices, stable = compare_resolutions(coef, at, resampled if some else (), keep)
    found.tables["program_choices"] = adata.uns["program_choices"] = choices
    for resolution, one in at.items():
        adata.var[f"program_{resolution:g}"] = one.labels.reindex(adata.var_names).array
    if len(stable):
        found.tables["program_stability"] = stable
    return at[chosen]


def compare_with_control(
    found: Analysis, model: Model, options: AnalysisOptions, members: Mapping[str, Sequence[str]]
) -> None:
    """Score programs in all cells and test them in those that did not find them.

    Factor programs have usages instead of scores, and were found without the labels of cells: all
    of these test them.
    """
    if not members:
        return
    adata = found.adata
    if options.factors is not None:
        scores = adata.obsm["program_usage"]
    else:
        scores = score_programs(adata, members, layer="lognorm")
    whole = options.factors is not None or options.discovery == 1
    rows = np.flatnonzero(np.ones(adata.n_obs, bool) if whole else ~adata.obs["discovery"])
    table = compare_programs(
        scores.iloc[rows],
        pd.DataFrame.sparse.from_spmatrix(model.design[rows], columns=model.targets),
        model.control[rows],
        strata=model.strata[rows],
        n_permutations=options.n_score_permutations,
        seed=options.seed,
    )
    cells = dict(zip(model.targets, cells_of(model), strict=True))
    table.insert(2, "n_cells", table["perturbation"].map(cells))
    limits = note_on_floor(
        table["p_permutation"],
        options.n_score_permutations,
        options.q_threshold,
        what="effects on programs",
    )
    found.note_limits(limits)
    found.tables["program_tests"] = table
    adata.uns["program_tests"] = table
    if options.factors is not None:
        found.notes.append(
            f"{scores.shape[1]} factor programs by consensus of {options.factors.replicates} "
            "factorisations of the counts of variable genes; a program's genes are the "
            f"{options.factors.top_genes} at most that rise with its usage, and more than with "
            "another's. Labels of cells took no part, so that all cells test the programs."
        )
        return
    found.notes.append(
        "Programs were tested in the cells that they were found in; the p-values are optimistic."
        if options.discovery == 1
        else f"Programs were found in {int(adata.obs['discovery'].sum()):,} cells and tested in "
        f"the other {len(rows):,}."
    )


def name_programs(found: Analysis, options: AnalysisOptions, programs: Clustering) -> Clustering:
    """Name programs as asked, in every table and key; return them under these names."""
    labels = list(programs.labels.cat.categories)
    if options.names is None or not labels:
        return programs
    unknown: list[str] = []
    if options.names != "best_term":
        try:
            renamed, unknown = names_for(labels, options.names)
        except AnalysisError as error:  # after all the work
            found.notes.append(f"Programs keep their numbers: {error}.")
            return programs
    elif "enrichment" in found.tables:
        renamed = best_terms(found.tables["enrichment"], labels, options.q_threshold)
    else:
        found.notes.append("Programs keep their numbers: names by best term need gene sets.")
        return programs
    if unknown:
        found.notes.append(
            f"Of the names that were given, {len(unknown)} name no program, '{unknown[0]}' for "
            f"one; there are: {', '.join(labels)}."
        )
    rename_in(found.adata, renamed)
    for key, table in found.tables.items():
        found.tables[key] = rename_table(key, table, renamed)
    return rename_clustering(programs, renamed)
