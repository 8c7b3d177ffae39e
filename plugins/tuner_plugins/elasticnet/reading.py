"""What the plug-in asks of a screen's file before any trial."""

from __future__ import annotations

import os

from tuner_plugins.elasticnet.config import ElasticNetConfig
from tuner_plugins.elasticnet.data_section import DataSection
from tuner_plugins.perturbseq.data.forms import parts_of
from tuner_plugins.perturbseq.data.probing import probe
from tuner_plugins.perturbseq.data.screen import COUNTS, LOG
from tuner_plugins.perturbseq.data.texts import is_mtx
from tuner_plugins.perturbseq.data.values import LOG1P
from tuner_plugins.perturbseq.errors import AnalysisError
from tuner_plugins.perturbseq.model.reading import Loaded


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


def require_cis_pairs(config: ElasticNetConfig, loaded: Loaded) -> None:
    """Raise `AnalysisError` where no element of the screen has a gene near it."""
    cis, screen = config.analysis.cis, loaded.dataset.screen
    if cis is None:
        return
    from tuner_plugins.perturbseq.inference.cis import CisOptions, find_pairs
    from tuner_plugins.perturbseq.model.load import gene_names

    if screen.recipe.values == LOG1P:
        raise AnalysisError("pairs are tested by counts, and data.values is log1p; leave cis out")
    kept = loaded.dataset.transform.kept
    ids = None if screen.recipe.symbols is None else screen.counts.genes[kept].astype(str)
    options = CisOptions(cis.annotation, cis.elements, cis.distance)
    find_pairs(options, screen.design.names, gene_names(screen.counts)[kept], ids)


def require_programs(config: ElasticNetConfig, loaded: Loaded) -> None:
    """Raise `AnalysisError` where more factor programs are asked for than the screen can have."""
    if config.analysis.programs.method != "consensus_nmf":
        return
    from tuner_plugins.perturbseq.programs.consensus import require_fewer
    from tuner_plugins.perturbseq.report.command import options_of

    factors = options_of(config.analysis.plain(), None).factors
    assert factors is not None, "as the method is consensus_nmf"
    screen = loaded.dataset.screen
    require_fewer(factors, len(screen.obs), screen.counts.matrix.shape[1])


def probe_files(data: DataSection) -> None:
    """Read the screen's files in another process; `CellsError` where that does not survive it."""
    layers = [data.layer, None if data.response in (LOG, COUNTS) else data.response]
    calling = data.guide_counts
    in_obsm = calling is not None and calling.modality is None
    guides = [f"obsm/{calling.obsm}"] if calling is not None and in_obsm else []
    parts = [part for layer in layers for part in parts_of(layer)]
    for path in data.counts:
        if not path.is_dir() and not is_mtx(path):
            probe(path, [*parts, *guides], whole=True)
