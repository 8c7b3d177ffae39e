"""The steps of an analysis, each from the findings so far to more of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import anndata as ad
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from tuner_plugins.perturbseq.errors import AnalysisError
from tuner_plugins.perturbseq.inference import coefficients as co
from tuner_plugins.perturbseq.inference.calibration import inflation, pseudo_perturbations
from tuner_plugins.perturbseq.inference.efficacy import Efficacy, efficacy_weights
from tuner_plugins.perturbseq.inference.program_tests import note_on_floor, uniformity
from tuner_plugins.perturbseq.model.resampling import (
    Model,
    cell_groups,
    efficacy_refit,
    entries,
    permuted_entries,
    residual_scale,
    select_halves,
)
from tuner_plugins.perturbseq.model.responses import matrix_of
from tuner_plugins.perturbseq.programs import enrichment
from tuner_plugins.perturbseq.programs.gprofiler import gprofiler
from tuner_plugins.perturbseq.report.options import Analysis, AnalysisOptions
from tuner_plugins.perturbseq.report.progress import step


def wide(table: pd.DataFrame, column: str, like: pd.DataFrame) -> pd.DataFrame:
    """Return a column of the coefficient table as genes by perturbations, ordered as `like`."""
    values = table[column].to_numpy().reshape(like.shape)
    return pd.DataFrame(values, index=like.index, columns=like.columns)


def weighted(model: Model, seed: int) -> tuple[Model, Efficacy]:
    """Return the model with the design weighted by how far each cell was perturbed."""
    learnt = efficacy_weights(
        pd.DataFrame.sparse.from_spmatrix(model.design, columns=model.targets),
        model.covariates,
        matrix_of(model.responses),
        efficacy_refit(model),
        seed=seed,
    )
    design = sparse.csr_matrix(learnt.weights)
    return replace(model, design=design, doubt=learnt.doubt), learnt


def tested(model: Model, options: AnalysisOptions) -> co.Counts:
    """Test every coefficient by permutation."""
    summed = model.summed()
    refit = model.fit(summed)
    return co.permutation_p(
        entries(model, summed, refit),
        permuted_entries(model, options.n_permutations, options.seed),
        pooled_scale=residual_scale(model, summed, refit) if options.pooled_null else None,
        tail=options.tail_fit,
    )


def fit_coefficients(
    found: Analysis, model: Model, options: AnalysisOptions
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Fit and test the coefficients: genes by perturbations, and the tidy table.

    p-values are those of the design as it is: weights were learnt from the same responses, which
    permuted labels cannot imitate.
    """
    used = model
    if model.composition is not None:
        found.tables["composition"] = model.composition
        largest = model.composition.loc[model.composition["shift"].abs().idxmax()]
        found.notes.append(
            "Coefficients are relative to the genes that did not move: where some genes rise, the "
            "shares of all others fall. Size factors of cells make good for that, by up to "
            f"{100 * abs(np.expm1(largest['shift'])):.0f} % ({largest['perturbation']})."
        )
    if options.efficacy:
        used, learnt = weighted(model, options.seed)
        found.tables["efficacy"] = learnt.table
        found.notes.append(
            f"Efficacy weights {'stood still' if learnt.converged else 'still moved'} after "
            f"{learnt.iterations} iterations; {int(learnt.table['reweighted'].sum())} of "
            f"{len(model.targets)} perturbations were re-weighted. Coefficients are those of the "
            "weighted design, p-values those of the design as it is."
        )
    coef = used.coefficients()
    counted = tested(model, options)
    limits = note_on_floor(
        counted.p,
        options.n_permutations,
        options.q_threshold,
        what="coefficients",
        n_null=counted.n_null,
        instead=", or for tail_fit" if options.pooled_null else "",
    )
    found.note_limits(limits)
    table = co.tabulate(coef, counted.p, cells_of(model))
    if options.n_selection_pairs:
        probability, bound = co.stability_selection(
            lambda halves: select_halves(model, halves),
            cell_groups(model),
            n_pairs=options.n_selection_pairs,
            seed=options.seed,
        )
        table["selection_probability"] = probability.ravel()
        found.notes.append(
            f"Stability selection at {co.STABLE}: {int((probability >= co.STABLE).sum())} "
            f"coefficients, of which at most {bound:.1f} are expected to be false."
        )
    found.tables["coefficients"] = table
    store_coefficients(found.adata, coef, table, model)
    return coef, table


def cells_of(model: Model) -> list[int]:
    """Return the number of cells of every perturbation."""
    return [int(n) for n in np.diff(model.design.tocsc().indptr)]


def store_coefficients(
    adata: ad.AnnData, coef: pd.DataFrame, table: pd.DataFrame, model: Model
) -> None:
    """Write coefficients, p and q to ``varm``; genes without a model have NaN."""
    for key, column in (("coef", "coef"), ("coef_p", "p"), ("coef_q", "q")):
        adata.varm[key] = wide(table, column, coef).reindex(adata.var_names)
    adata.uns["elasticnet"] = {
        "alpha": model.alpha,
        "l1_ratio": model.l1_ratio,
        "penalise_covariates": model.penalise_covariates,
        "perturbations": list(coef.columns),
    }


def look_up(
    found: Analysis,
    options: AnalysisOptions,
    members: Mapping[str, Sequence[str]],
    coef: pd.DataFrame,
    significant: pd.DataFrame,
) -> None:
    """Enrich programs, and what each perturbation moves up and down, for known gene sets."""
    if options.gmt is not None or options.enrich_online is not None:
        step("looking up gene sets")
    sets = {**members, **enrichment.direction_sets(coef, significant)}
    background = list(coef.index.astype(str))
    if options.enrich_online is not None:
        table = gprofiler(sets, background, organism=options.enrich_online)
    elif options.gmt is not None:
        low, high = options.term_sizes
        given = options.gmt
        terms = given if isinstance(given, Mapping) else enrichment.read_gmt(given)
        table = enrichment.enrich(sets, background, terms, min_size=low, max_size=high)
    else:
        found.notes.append(
            "Enrichment was left out: no gene sets were given (analysis: {gene_sets: FILE.gmt}, "
            "such as a collection of MSigDB or a library of Enrichr)."
        )
        return
    # Every term counts in the adjustment; those without a gene in common are not kept.
    table = table[table["overlap"] > 0].reset_index(drop=True)
    found.tables["enrichment"] = table
    found.adata.uns["enrichment"] = table


def calibrate(
    found: Analysis, model: Model, options: AnalysisOptions, guides: NDArray[np.object_] | None
) -> None:
    """Test mock perturbations of control cells; note where that cannot be done."""
    if options.calibration == "none":
        return
    try:
        mock = pseudo_perturbations(
            model.control,
            cells_of(model),
            guides=guides if options.calibration == "guides" else None,
            seed=options.seed,
        )
    except AnalysisError as error:
        found.notes.append(f"Calibration was left out: {error}.")
        return
    step("testing mock perturbations of control cells")
    alone = replace(
        model.rows(mock.index.to_numpy()),
        design=sparse.csr_matrix(mock.to_numpy()),
        targets=list(mock.columns),
        doubt=None,
    )
    p = tested(alone, options).p
    found.tables["calibration"] = co.tabulate(alone.coefficients(), p, cells_of(alone))
    found.notes.append(
        f"{mock.shape[1]} mock perturbations of control cells: inflation {inflation(p):.2f} "
        f"(1 is calibrated), Kolmogorov-Smirnov p {uniformity(p):.2g} (genes taken for "
        f"independent), {int((found.tables['calibration']['q'] < options.q_threshold).sum())} "
        f"coefficients at q < {options.q_threshold:g}."
    )
