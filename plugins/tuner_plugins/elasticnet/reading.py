"""From a configuration to a screen that is ready to be fitted, and what is to be known of it."""

from __future__ import annotations

import os

import numpy as np

from tuner_plugins.elasticnet.config import CvSection, DataSection, ElasticNetConfig
from tuner_plugins.elasticnet.summary import Loaded, shuffle_notes
from tuner_plugins.perturbseq.data.dataset import Dataset, build
from tuner_plugins.perturbseq.data.folds import (
    leave_batch_out_folds,
    leave_guide_out_folds,
    small_groups,
    stratified_folds,
    unit_folds,
)
from tuner_plugins.perturbseq.data.forms import parts_of
from tuner_plugins.perturbseq.data.guides import single_guides
from tuner_plugins.perturbseq.data.labels import column_of
from tuner_plugins.perturbseq.data.probing import probe
from tuner_plugins.perturbseq.data.screen import COUNTS, LOG, Screen, open_screen
from tuner_plugins.perturbseq.data.sense import (
    Totals,
    notes_on_labels,
    notes_on_values,
    require_groups,
)
from tuner_plugins.perturbseq.data.texts import is_mtx
from tuner_plugins.perturbseq.inference.exchangeable_units import Units, units_of
from tuner_plugins.perturbseq.model.anndata_fit import problem_of


def read(config: ElasticNetConfig) -> Loaded:
    """Read a screen once, in blocks of cells, into statistics by fold.

    Raises
    ------
    CellsError, DataError
        Anything in the screen that does not fit the configuration, or that makes its fit mean
        nothing.
    """
    data = config.data
    opened = open_screen(data.source, data.recipe())
    require_groups(opened)
    units = units_of(opened, data.unit, data.guide, data.well)
    folds = make_folds(opened, config.cv, data.guide, units)
    on_labels = notes_on_labels(opened, data.guide)
    dataset = build(opened, folds, threads=available_threads())
    problem = problem_of(
        dataset, penalise_covariates=data.penalise_covariates, scale_genes=data.scale_genes
    )
    notes = (
        *opened.counts.notes,
        *dataset.screen.design.notes,
        *dataset.screen.covariates.notes,
        *on_labels,
        *single_guides(opened, data.guide),
        *notes_on_values(dataset.screen, dataset.transform, _totals(dataset)),
        *small_groups(dataset.screen.design, folds),
        *shuffle_notes(dataset, units, config.surface.permutations),
    )
    return Loaded(dataset, problem, notes, units)


def _totals(dataset: Dataset) -> Totals:
    """Return the sums of the fit to all cells."""
    transform = dataset.transform
    sums, chosen = dataset.statistics.total().columns(transform.columns[-1]), transform.chosen[-1]
    return Totals(sums.gram[0], sums.cross[0, 0][chosen], sums.squares[0][chosen])


def make_folds(screen: Screen, cv: CvSection, guide: str | None, units: Units | None) -> np.ndarray:
    """Return the fold of each cell, shape (cells,).

    Raises
    ------
    CellsError
        Too few cells, guides or batches, or no such column.
    """
    if cv.split == "leave_batch_out":
        return leave_batch_out_folds(screen.batches, cv.folds)
    groups = screen.design.groups
    if cv.split == "leave_guide_out":
        assert guide is not None, "validated with the configuration"
        guides = column_of(screen.obs, guide, "guide").astype(str).to_numpy(dtype=str)
        return leave_guide_out_folds(groups, guides, cv.folds, cv.seed)
    if units is not None:
        return unit_folds(units.codes, screen.batches, cv.folds, cv.seed)
    return stratified_folds(groups, screen.batches, cv.folds, cv.seed)


def available_threads() -> int:
    """Return the threads this process may use: its cores, or fewer if OMP_NUM_THREADS says so."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    limit = os.environ.get("OMP_NUM_THREADS", "")
    return max(1, min(cores or 1, int(limit) if limit.isdigit() else cores or 1))


def require_gene_sets(config: ElasticNetConfig, loaded: Loaded) -> None:
    """Raise `AnalysisError` where gene sets cannot be read, or share no genes with the screen."""
    if config.analysis.gene_sets is None or config.analysis.gprofiler is not None:
        return
    from tuner_plugins.perturbseq.programs.enrichment import enrich, read_gmt
    from tuner_plugins.perturbseq.report.options import AnalysisOptions

    low, high = AnalysisOptions().term_sizes
    symbols = loaded.dataset.screen.counts.symbols[loaded.dataset.transform.kept]
    enrich({}, list(symbols), read_gmt(config.analysis.gene_sets), min_size=low, max_size=high)


def probe_files(data: DataSection) -> None:
    """Read the screen's files in another process; `CellsError` where that does not survive it."""
    layers = [data.layer, None if data.response in (LOG, COUNTS) else data.response]
    for path in data.counts:
        if not path.is_dir() and not is_mtx(path):
            probe(path, [part for layer in layers for part in parts_of(layer)], whole=True)
