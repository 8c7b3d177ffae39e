"""Plots of what `ps.tl` wrote, or of an ``analysis.h5ad``.

Each returns its axes, the main one first. Figures are made with pyplot, so that a notebook shows
them; `figure` takes one of yours instead.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tuner_plugins.perturbseq.annotated import KEY, adata_of, coefficient_table, stored_table
from tuner_plugins.perturbseq.annotated import knockdown as _knockdown
from tuner_plugins.perturbseq.errors import AnalysisError
from tuner_plugins.perturbseq.programs.grouping import clustering_of
from tuner_plugins.perturbseq.report import (
    cis_figures,
    effect_figures,
    figures,
    heatmaps,
    program_figures,
    responder_figures,
)


def _drawn(
    draw: Callable[..., Figure], figure: Figure | None, *given: Any, **options: Any
) -> list[Axes]:
    from matplotlib import pyplot as plt

    made = draw(*given, **options, figure=plt.figure() if figure is None else figure)
    return list(made.axes)


def _stored(data: Any, key: str, tool: str) -> Any:
    adata = adata_of(data)
    if key not in adata.uns:
        raise AnalysisError(f"no uns['{key}'] to draw: run {tool} first")
    return adata.uns[key]


def surface(data: Any, *, figure: Figure | None = None) -> list[Axes]:
    """Draw held-out R2 over alpha and l1_ratio, the choice marked, and along alpha."""
    setting = _stored(data, KEY, "tl.elasticnet")
    if "surface" not in setting:
        raise AnalysisError(f"uns['{KEY}'] has no surface: run tl.elasticnet")
    r2 = setting["surface"].pivot(index="alpha", columns="l1_ratio", values="r2")
    chosen = float(setting["alpha"]), float(setting["l1_ratio"])
    axes = [list(part) for part in r2.axes]
    return _drawn(figures.r2_surface, figure, r2.to_numpy(), *axes, chosen)


def umap(data: Any, color: Sequence[str], *, figure: Figure | None = None) -> list[Axes]:
    """Draw cells by columns of obs, side by side; ``obsm["X_umap"]`` comes from `pp.prepare`."""
    adata = adata_of(data)
    missing = [name for name in color if name not in adata.obs]
    if "X_umap" not in adata.obsm or missing:
        what = f"obs column '{missing[0]}'" if missing else "obsm['X_umap']: run pp.prepare"
        raise AnalysisError(f"no {what}")
    coordinates = adata.obsm["X_umap"]
    return _drawn(figures.embeddings, figure, coordinates, adata.obs[list(color)])


def coefficients(data: Any, *, figure: Figure | None = None) -> list[Axes]:
    """Draw coefficients, genes by programs and perturbations by modules, with both trees."""
    adata = adata_of(data)
    groups = (clustering_of(adata, key) for key in ("programs", "modules"))
    return _drawn(heatmaps.coefficient_heatmap, figure, stored_table(adata, "coef"), *groups)


def clustermap(data: Any, *, q_threshold: float = 0.05, figure: Figure | None = None) -> list[Axes]:
    """Draw program scores against control, programs by perturbations; dots where significant."""
    table = _stored(data, "program_tests", "tl.score_programs")
    return _drawn(heatmaps.program_clustermap, figure, table, q_threshold=q_threshold)


def dotplot(data: Any, *, figure: Figure | None = None) -> list[Axes]:
    """Draw the same as dots: size by -log10 q, colour by effect."""
    return _drawn(heatmaps.dotplot, figure, _stored(data, "program_tests", "tl.score_programs"))


def program_choices(data: Any, *, figure: Figure | None = None) -> list[Axes]:
    """Draw stability and error by the number of programs or the resolution, the choice marked."""
    table = _stored(data, "program_choices", "tl.programs with several resolutions or n_programs")
    return _drawn(program_figures.program_choices, figure, table)


def usage(data: Any, *, figure: Figure | None = None) -> list[Axes]:
    """Draw the usage of factor programs on the cells, a panel a program."""
    adata = adata_of(data)
    tools = {"program_usage": "tl.programs(method='consensus_nmf')", "X_umap": "pp.prepare"}
    for key, tool in tools.items():
        if key not in adata.obsm:
            raise AnalysisError(f"no obsm['{key}'] to draw: run {tool} first")
    return _drawn(program_figures.usage, figure, adata.obsm["X_umap"], adata.obsm["program_usage"])


def knockdown(data: Any, *, q_threshold: float = 0.05, figure: Figure | None = None) -> list[Axes]:
    """Draw what perturbations leave of their own gene, after `tl.fold_changes`."""
    return _drawn(effect_figures.knockdown, figure, _knockdown(data, q_threshold=q_threshold))


def cis_pairs(data: Any, *, q_threshold: float = 0.05, figure: Figure | None = None) -> list[Axes]:
    """Draw significance of elements and genes near them by distance, after `tl.cis_pairs`."""
    table = _stored(data, "cis_pairs", "tl.cis_pairs")
    return _drawn(cis_figures.cis_pairs, figure, table, q_threshold=q_threshold)


def responders(data: Any, *, figure: Figure | None = None) -> list[Axes]:
    """Draw shares of responders and scores of cells, after `tl.responders`."""
    table, adata = _stored(data, "responders", "tl.responders"), adata_of(data)
    return _drawn(responder_figures.responders, figure, table, adata.obs)


def volcano(
    data: Any, perturbation: str, *, q_threshold: float = 0.05, figure: Figure | None = None
) -> list[Axes]:
    """Draw the coefficients of one perturbation against their significance."""
    table = _of_perturbation(coefficient_table(data), perturbation)
    return _drawn(figures.volcano, figure, table, perturbation, q_threshold=q_threshold)


def _of_perturbation(table: pd.DataFrame, perturbation: str) -> pd.DataFrame:
    rows = table[table["perturbation"] == perturbation]
    if rows.empty:
        known = ", ".join(table["perturbation"].unique()[:5])
        raise AnalysisError(f"no perturbation '{perturbation}'; there are: {known}, ...")
    return rows


def qq(data: Any, *, figure: Figure | None = None) -> list[Axes]:
    """Draw observed against expected p-values of all coefficients."""
    return _drawn(figures.qq, figure, {"perturbations": coefficient_table(data)["p"].to_numpy()})


def enrichment(
    data: Any, *, q_threshold: float = 0.05, n_terms: int = 5, figure: Figure | None = None
) -> list[Axes]:
    """Draw the most significant terms of each gene set as dots."""
    table = _stored(data, "enrichment", "tl.enrich")
    options = {"q_threshold": q_threshold, "n_terms": n_terms}
    return _drawn(heatmaps.enrichment_dots, figure, table, **options)
