"""From a fitted screen to programs, modules, tests, enrichment, figures and a report."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tuner_plugins.perturbseq.errors import AnalysisError
from tuner_plugins.perturbseq.model.resampling import Model
from tuner_plugins.perturbseq.programs.consensus import require_fewer
from tuner_plugins.perturbseq.programs.enrichment import read_gmt
from tuner_plugins.perturbseq.report.cis import add_cis, pairs_of
from tuner_plugins.perturbseq.report.effects import add_distances, add_fold_changes
from tuner_plugins.perturbseq.report.embedding import prepare
from tuner_plugins.perturbseq.report.gallery import Evidence, draw
from tuner_plugins.perturbseq.report.options import Analysis, AnalysisOptions, Surface
from tuner_plugins.perturbseq.report.program_steps import (
    compare_with_control,
    group,
    name_programs,
)
from tuner_plugins.perturbseq.report.progress import step
from tuner_plugins.perturbseq.report.responders import add_responders
from tuner_plugins.perturbseq.report.steps import calibrate, fit_coefficients, look_up, wide


def analyse(
    adata: ad.AnnData,
    model: Model,
    options: AnalysisOptions | None = None,
    *,
    obs_columns: Mapping[str, str] | None = None,
    guides: NDArray[np.object_] | None = None,
    surface: Surface | None = None,
) -> Analysis:
    """Analyse a screen with a chosen alpha and l1_ratio.

    Parameters
    ----------
    adata : AnnData
        The cells of `model`, in its order, with raw counts in X of its genes and possibly more.
        Gains, besides what
        `prepare` adds: ``varm`` ``coef``, ``coef_p``, ``coef_q`` (genes by perturbations, NaN for
        genes without a model), ``log2fc``, ``log2fc_low``, ``log2fc_high``, ``log2fc_p``,
        ``var["program"]``, ``obsm["program_scores"]``,
        ``obs`` ``discovery``, ``responder``, ``responder_of``, ``responder_posterior``,
        ``responder_score``, of factor programs ``obsm["program_usage"]`` and
        ``varm["program_spectra"]``, and ``uns`` ``program_choices``, ``program_stability``,
        ``programs``, ``modules``, ``program_colors``, ``program_tests``, ``enrichment``,
        ``edistance``, ``epistasis``, ``cis_pairs``, ``cis_controls``, ``responders``,
        ``elasticnet``.
    model : Model
        Design, covariates, responses and the setting.
    obs_columns : mapping, optional
        Title to column of obs, for the UMAP panels.
    guides : ndarray, (cells,), optional
        For calibration by guide.
    surface : Surface, optional
        Drawn as it is.

    Returns
    -------
    Analysis
        The same, bit for bit, for the same seed and any number of threads.

    Raises
    ------
    AnalysisError
        For input that does not fit together.
    """
    options = options or AnalysisOptions()
    _check(adata, model, options, guides)
    pairs = None if options.cis is None else pairs_of(adata, model, options.cis)
    found = Analysis(adata)
    step("normalising and embedding cells")
    prepare(adata, options.view)
    step(f"testing coefficients, {options.n_permutations} permutations")
    coef, table = fit_coefficients(found, model, options)
    significant = wide(table, "q", coef) < options.q_threshold
    add_fold_changes(found, model, options)
    add_cis(found, model, options, pairs, guides)
    add_distances(found, model, options)
    add_responders(found, model, options)
    step("finding programs and modules")
    programs, modules = group(found, model, options, wide(table, "p", coef).to_numpy())
    step(f"testing programs, {options.n_score_permutations} permutations")
    compare_with_control(found, model, options, programs.members())
    look_up(found, options, programs.members(), coef, significant)
    programs = name_programs(found, options, programs)
    calibrate(found, model, options, guides)
    step("drawing figures")
    evidence = Evidence(found, options, coef, programs, modules, obs_columns or {}, surface)
    found.drawn = draw(evidence)
    return found


def _check(
    adata: ad.AnnData, model: Model, options: AnalysisOptions, guides: NDArray[np.object_] | None
) -> None:
    """Refuse before the first minute of work what would fail after the last."""
    if adata.n_obs != model.design.shape[0]:
        raise AnalysisError(
            f"adata must hold the cells of the model; it has {adata.n_obs}, "
            f"the model {model.design.shape[0]}"
        )
    for kind, names in (("cell", adata.obs_names), ("gene", adata.var_names)):
        if not names.is_unique:
            twice = names[names.duplicated()][0]
            raise AnalysisError(f"{kind} names must be unique; '{twice}' comes twice: rename")
    missing = pd.Index(model.genes).difference(adata.var_names)
    if len(missing):
        raise AnalysisError(f"{len(missing)} genes of the model are not in adata: '{missing[0]}'")
    if not model.control.any():
        raise AnalysisError("the analysis compares with control cells; there are none")
    if options.factors is not None:
        require_fewer(options.factors, *adata.shape)
    if options.calibration == "guides" and guides is None:
        raise AnalysisError("calibration by guide needs the guide of each cell; name its column")
    if isinstance(options.gmt, Path) and options.enrich_online is None:
        read_gmt(options.gmt)
