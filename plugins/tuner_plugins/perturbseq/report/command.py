"""From a file and a setting to a report: one door for the tuner and for the frozen script.

Everything comes as plain data, which a script without the tuner can hold.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np

from tuner_plugins.enet.validation import DataError
from tuner_plugins.perturbseq.data.cell_cycle import G2M_GENES, S_GENES
from tuner_plugins.perturbseq.data.files import Source
from tuner_plugins.perturbseq.data.labels import column_of
from tuner_plugins.perturbseq.data.response import PER_10K
from tuner_plugins.perturbseq.data.screen import Recipe, open_screen, recipe_of
from tuner_plugins.perturbseq.data.stored import CellsError
from tuner_plugins.perturbseq.data.values import LOG1P, WHOLE
from tuner_plugins.perturbseq.errors import AnalysisError
from tuner_plugins.perturbseq.inference.cis import CisOptions
from tuner_plugins.perturbseq.model.load import load
from tuner_plugins.perturbseq.programs.communities import ClusterOptions
from tuner_plugins.perturbseq.programs.consensus import NmfOptions
from tuner_plugins.perturbseq.programs.enrichment import read_gmt
from tuner_plugins.perturbseq.report.analysis import analyse
from tuner_plugins.perturbseq.report.embedding import PrepareOptions
from tuner_plugins.perturbseq.report.html import write
from tuner_plugins.perturbseq.report.options import AnalysisOptions, Surface
from tuner_plugins.perturbseq.report.progress import spoken, step

BAD_INPUT = (AnalysisError, CellsError, DataError)
"""What `analyse_file` raises for a screen or options that do not fit, in one line each."""


def options_of(
    plain: Mapping[str, Any], size_factor: str | float | None, *, whole: bool = True
) -> AnalysisOptions:
    """Return the options of an analysis from plain data.

    Parameters
    ----------
    plain : mapping
        The keys of the section `analysis` of a configuration, all of them.
    size_factor, whole
        As in `PrepareOptions`.
    """
    gene_sets = plain["gene_sets"]
    return AnalysisOptions(
        seed=plain["seed"],
        q_threshold=plain["false_discovery_rate"],
        n_permutations=plain["permutations"],
        pooled_null=plain["pooled_null"],
        tail_fit=plain.get("tail_fit", False),  # scripts that were exported before have none
        discovery=plain["discovery"],
        n_bootstraps=plain["bootstraps"],
        n_selection_pairs=plain["selection_pairs"],
        calibration=plain["calibration"],
        efficacy=plain["efficacy"],
        responders=plain.get("responders", True),
        clustering=ClusterOptions(**{own.name: plain[own.name] for own in fields(ClusterOptions)}),
        fold_changes=plain.get("fold_changes", True),
        n_distance_permutations=plain.get("distance_permutations", 1000),
        cis=_cis_of(plain.get("cis")),
        gmt=None if gene_sets is None else Path(gene_sets),
        enrich_online=plain["gprofiler"],
        **_programs(plain.get("programs") or {}),
        view=PrepareOptions(
            size_factor=size_factor,
            whole=whole,
            shared=True,
            seed=plain["seed"],
            cell_cycle={"S": S_GENES, "G2M": G2M_GENES},
        ),
    )


def _cis_of(plain: Mapping[str, Any] | None) -> CisOptions | None:
    if plain is None:
        return None
    elements = plain["elements"]
    files = Path(plain["annotation"]), None if elements is None else Path(elements)
    return CisOptions(*files, plain["distance"])


def _programs(plain: Mapping[str, Any]) -> dict[str, Any]:
    """Return what options of an analysis the section `programs` is; older scripts have none."""
    if not plain:
        return {}
    numbers = plain["n_programs"]
    own = {name: plain[name] for name in ("replicates", "n_genes", "density_threshold")}
    factors = NmfOptions(
        (numbers,) if isinstance(numbers, int) else tuple(numbers),
        **own,
        top_genes=plain["top_genes"],
    )
    return {
        "factors": factors if plain["method"] == "consensus_nmf" else None,
        "names": plain["names"],
    }


@spoken()
def analyse_file(  # noqa: PLR0913  scripts that were exported call it like this
    source: Source,
    recipe: Mapping[str, Any],
    setting: Mapping[str, Any],
    options: Mapping[str, Any],
    folder: Path,
    *,
    surface: Surface | None = None,
    threads: int = 1,
) -> list[Path]:
    """Analyse a screen with a chosen setting, into a folder.

    Parameters
    ----------
    source : Path, AnnData or Files
        The screen.
    recipe : mapping
        A `screen.Recipe` as plain data.
    setting : mapping
        ``alpha``, ``l1_ratio``, ``penalise_covariates``, ``scale_genes``.
    options : mapping
        See `options_of`; and ``guide``, a column of obs or None.
    folder : Path
        Gets ``analysis.h5ad``, ``tables/``, ``figures/`` and ``report.html``.
    surface : Surface, optional
        Of the sweep, to be drawn.
    threads : int
        The results do not depend on it.

    Returns
    -------
    list of Path
        What was written.

    Raises
    ------
    CellsError, DataError, AnalysisError
        Anything in the screen that does not fit; each in one line.
    """
    made = recipe_of(recipe)
    _require_apart(source, folder)
    if options["gene_sets"] is not None and options["gprofiler"] is None:
        read_gmt(Path(options["gene_sets"]))
    step("reading counts")
    screen = open_screen(source, made)
    adata, model = load(
        screen,
        setting["alpha"],
        setting["l1_ratio"],
        penalise_covariates=setting["penalise_covariates"],
        scale_genes=setting["scale_genes"],
        composition=options["composition"],
        threads=threads,
    )
    panels = {"perturbation": made.labels.perturbation}
    if made.batch is not None:
        panels = {"batch": made.batch} | panels
    guides: np.ndarray | None = None
    if options["guide"] is not None:
        column = column_of(screen.obs, options["guide"], "guide")
        guides = column.astype(str).to_numpy(dtype=object)
    found = analyse(
        adata,
        model,
        options_of(options, _size_factor(made, adata), whole=made.values == WHOLE),
        obs_columns=panels,
        guides=guides,
        surface=surface,
    )
    found.notes[:0] = [*screen.counts.notes, *screen.design.notes, *screen.covariates.notes]
    if screen.guide_table is not None:
        found.tables["guide_calls"] = screen.guide_table.reset_index()
    step("writing tables and the report")
    paths = _paths(source)
    name = paths[0].stem if paths else "screen"
    return write(found, folder, title=f"{name}: perturbations to programs")


def _size_factor(recipe: Recipe, adata: ad.AnnData) -> str | float | None:
    if recipe.values == LOG1P:
        return PER_10K
    return recipe.size_factor if recipe.size_factor in adata.obs else None


def _paths(source: Source) -> list[Path]:
    """Return the files that a screen is read from."""
    if isinstance(source, ad.AnnData):
        return []
    return [source] if isinstance(source, Path) else [path for part in source for path in part]


def _require_apart(source: Source, folder: Path) -> None:
    """Raise `AnalysisError` where the analysis would overwrite the screen that it reads."""
    written = folder / "analysis.h5ad"
    if written.exists() and any(written.samefile(path) for path in _paths(source)):
        raise AnalysisError(f"{written} is the screen itself; name another folder for the analysis")
