"""The figures of the report, in its order.

To add one, write a function that draws it from an `Evidence` and give it an entry in `GALLERY`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import pandas as pd
from matplotlib.figure import Figure

from tuner_plugins.perturbseq.programs.clustering import Clustering
from tuner_plugins.perturbseq.report import (
    cis_figures,
    effect_figures,
    figures,
    heatmaps,
    program_figures,
    responder_figures,
)
from tuner_plugins.perturbseq.report.options import Analysis, AnalysisOptions, Drawn, Surface


@dataclass(frozen=True)
class Evidence:
    """What figures are drawn from.

    `coef` is genes by perturbations; `obs_columns` maps titles of UMAP panels to columns of obs.
    """

    found: Analysis
    options: AnalysisOptions
    coef: pd.DataFrame
    programs: Clustering
    modules: Clustering
    obs_columns: Mapping[str, str] = field(default_factory=dict)
    surface: Surface | None = None


@dataclass(frozen=True)
class Entry:
    """A figure of the report, and the heading of the page that it stands under.

    `draw` returns figures by file stem, none where there is nothing to draw.
    """

    draw: Callable[[Evidence], Mapping[str, Figure]]
    caption: str
    section: str = "Figures"


def _umap(evidence: Evidence) -> Mapping[str, Figure]:
    adata = evidence.found.adata
    panels = {title: adata.obs[c] for title, c in evidence.obs_columns.items() if c in adata.obs}
    if "phase" in adata.obs:
        panels["phase"] = adata.obs["phase"]
    if not panels:
        return {}
    return {"umap": figures.embeddings(adata.obsm["X_umap"], pd.DataFrame(panels))}


def _r2_surface(evidence: Evidence) -> Mapping[str, Figure]:
    surface, params = evidence.surface, evidence.found.adata.uns["elasticnet"]
    if surface is None:
        return {}
    chosen = params["alpha"], params["l1_ratio"]
    drawn = figures.r2_surface(surface.r2, surface.alphas, surface.l1_ratios, chosen)
    return {"r2_surface": drawn}


def _coefficients(evidence: Evidence) -> Mapping[str, Figure]:
    drawn = heatmaps.coefficient_heatmap(evidence.coef, evidence.programs, evidence.modules)
    return {"coefficients": drawn}


def _program_choices(evidence: Evidence) -> Mapping[str, Figure]:
    table = evidence.found.tables.get("program_choices")
    if table is None or len(table) < 2:
        return {}
    return {"program_choices": program_figures.program_choices(table)}


def _program_usage(evidence: Evidence) -> Mapping[str, Figure]:
    adata = evidence.found.adata
    if "program_usage" not in adata.obsm:
        return {}
    drawn = program_figures.usage(adata.obsm["X_umap"], adata.obsm["program_usage"])
    return {"program_usage": drawn}


def _tested(evidence: Evidence) -> pd.DataFrame | None:
    """Return the tests of programs, if any was possible."""
    tests = evidence.found.tables.get("program_tests")
    return tests if tests is not None and tests["effect_size"].notna().any() else None


def _program_clustermap(evidence: Evidence) -> Mapping[str, Figure]:
    tests = _tested(evidence)
    if tests is None:
        return {}
    drawn = heatmaps.program_clustermap(tests, q_threshold=evidence.options.q_threshold)
    return {"program_clustermap": drawn}


def _program_dotplot(evidence: Evidence) -> Mapping[str, Figure]:
    tests = _tested(evidence)
    return {} if tests is None else {"program_dotplot": heatmaps.dotplot(tests)}


def _qq(evidence: Evidence) -> Mapping[str, Figure]:
    tables = evidence.found.tables
    titles = {"calibration": "mock of controls", "coefficients": "perturbations"}
    groups = {title: tables[name]["p"] for name, title in titles.items() if name in tables}
    return {"qq": figures.qq(groups)}


def _knockdown(evidence: Evidence) -> Mapping[str, Figure]:
    own = evidence.found.tables.get("knockdown")
    return {} if own is None else {"knockdown": effect_figures.knockdown(own)}


def _cis(evidence: Evidence) -> Mapping[str, Figure]:
    tables = evidence.found.tables
    if "cis_pairs" not in tables:
        return {}
    level, pairs = evidence.options.q_threshold, tables["cis_pairs"]
    titles = {"cis_controls": "negative controls", "cis_pairs": "cis pairs"}
    groups = {title: tables[name]["p"] for name, title in titles.items() if name in tables}
    drawn = cis_figures.cis_pairs(pairs, q_threshold=level)
    return {"cis_pairs": drawn, "cis_qq": figures.qq(groups)}


def _responders(evidence: Evidence) -> Mapping[str, Figure]:
    table, adata = evidence.found.tables.get("responders"), evidence.found.adata
    if table is None or not (table["note"] == "").any():
        return {}
    return {"responders": responder_figures.responders(table, adata.obs)}


def _volcanoes(evidence: Evidence) -> Mapping[str, Figure]:
    table, level = evidence.found.tables["coefficients"], evidence.options.q_threshold
    hits = table[table["q"] < level]["perturbation"].value_counts()
    ranked = sorted(hits.index, key=lambda name: (-hits[name], name))
    return {
        f"volcano_{name}": figures.volcano(table, name, q_threshold=level)
        for name in ranked[: evidence.options.max_volcanoes]
    }


GALLERY = (
    Entry(
        _umap,
        "Cells by what they are, before any model: log-normalised expression, highly variable "
        "genes, principal components, UMAP.",
    ),
    Entry(
        _r2_surface, "Held-out R2 over the penalties; the cross marks the params of this report."
    ),
    Entry(
        _coefficients,
        "Elastic-net coefficients. Genes are grouped into programs and perturbations into "
        "modules, both in the order of the trees of their means.",
    ),
    Entry(
        _program_choices,
        "Stability of programs, and the error of factor programs, by their number or the "
        "resolution; the line marks the choice.",
    ),
    Entry(_program_usage, "Share of each factor program in the cells."),
    Entry(_program_clustermap, "Program scores against control cells, in standard deviations."),
    Entry(
        _program_dotplot, "The same: colour is the effect, size the adjusted permutation p-value."
    ),
    Entry(
        _qq, "p-values of coefficients. Mock perturbations of control cells must follow the line."
    ),
    Entry(
        _knockdown,
        "What perturbations leave of their own gene, estimated from counts, with 95 % intervals; "
        "filled where the change is significant.",
    ),
    Entry(
        _cis,
        "Elements and the genes near them, by the distance from the start of the gene along its "
        "strand; p-values of the pairs beside those of negative controls.",
    ),
    Entry(
        _responders,
        "Share of the cells of a perturbation that responded, with 95 % intervals, and how far "
        "cells lie along its effect, coloured by the probability of having responded.",
    ),
    Entry(
        _volcanoes,
        "Coefficients of a perturbation and their p-values; significant ones are coloured.",
        section="Perturbations with the most significant coefficients",
    ),
)
"""Every figure of the report."""


def draw(evidence: Evidence) -> list[Drawn]:
    """Draw every entry of `GALLERY` that there is something to draw for."""
    drawn = [Drawn(entry.draw(evidence), entry.caption, entry.section) for entry in GALLERY]
    return [one for one in drawn if one.figures]
