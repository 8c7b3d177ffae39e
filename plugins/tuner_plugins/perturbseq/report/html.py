"""Files of an analysis: .h5ad, tables, figures, and one HTML page that opens offline."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from functools import partial
from importlib import resources
from pathlib import Path

import anndata as ad
import jinja2
import pandas as pd

from tuner_plugins.perturbseq.data.stored import stored_names
from tuner_plugins.perturbseq.report.figures import save, write_whole
from tuner_plugins.perturbseq.report.options import Analysis

MAX_ROWS = 50
"""Rows of a table in the page; the files hold all."""

TABLES = {
    "program_tests": "Programs in perturbations, against control cells",
    "program_choices": "Numbers of programs, or resolutions, that were compared",
    "program_stability": "How often programs come back: resampled cells, or other replicates",
    "modules": "Perturbation modules",
    "programs": "Gene programs",
    "enrichment": "Over-represented gene sets",
    "coefficients": "Coefficients, and fold changes",
    "knockdown": "What perturbations leave of their own gene",
    "cis_pairs": "Elements and genes near them",
    "cis_controls": "Negative controls of these tests",
    "epistasis": "Pairs of perturbations against the sum of both",
    "edistance": "Energy distances to control cells",
    "guide_calls": "Guides that were called",
    "composition": "Shares of unmoved genes, against control cells",
    "responders": "Cells that responded",
    "efficacy": "Efficacy of perturbations",
    "calibration": "Mock perturbations of control cells",
}


def safe_stem(name: str) -> str:
    """Return a file name for any perturbation: other signs than letters and digits are replaced."""
    return re.sub(r"[^\w.+-]+", "_", name)


def write(analysis: Analysis, folder: Path, *, title: str = "Perturb-seq analysis") -> list[Path]:
    """Write ``analysis.h5ad``, ``tables/``, ``figures/`` and ``report.html`` below `folder`.

    The folder is made if absent; each file is written under another name first and renamed when it
    is whole. Returned is everything that was written.

    Raises
    ------
    AnalysisError
        If two perturbations would have the same name in the file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, table in analysis.tables.items():
        stem = folder / "tables" / safe_stem(name)
        stem.parent.mkdir(exist_ok=True)
        for suffix, put in ((".csv", table.to_csv), (".parquet", table.to_parquet)):
            written.append(write_whole(stem.with_suffix(suffix), partial(put, index=False)))
    pictures: dict[str, Path] = {}
    for name, figure in analysis.figures.items():
        stem = folder / "figures" / safe_stem(name)
        while stem.with_name(f"{stem.name}.png") in written:
            stem = stem.with_name(f"{stem.name}_")
        png, pdf = save(figure, stem)
        pictures[name] = png
        written += [png, pdf]
    pressed = {"compression": "gzip", "compression_opts": 1}  # more takes long for little
    whole = partial(storable(analysis.adata).write_h5ad, **pressed)
    page = partial(Path.write_text, data=render(analysis, pictures, title), encoding="utf-8")
    return [
        *written,
        write_whole(folder / "analysis.h5ad", whole),
        write_whole(folder / "report.html", page),
    ]


def storable(adata: ad.AnnData) -> ad.AnnData:
    """Return what an .h5ad can hold, the matrices shared: no slash in a name, no mixed columns."""
    parts = {key: dict(getattr(adata, key)) for key in ("uns", "obsm", "varm", "obsp", "layers")}
    copy = ad.AnnData(adata.X, obs=adata.obs.copy(), var=adata.var.copy(), **parts)
    for mapping in (copy.varm, copy.obsm):
        for key, value in list(mapping.items()):
            if isinstance(value, pd.DataFrame):
                mapping[key] = value.set_axis(stored_names(value.columns), axis=1)
    copy.obs.columns = stored_names(copy.obs.columns)
    copy.var.columns = stored_names(copy.var.columns)
    return copy


def _shown(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of a table that the page shows: the most significant first."""
    by = [column for column in ("q", "p") if "q" in table and column in table]
    if "q_permutation" in table:
        by = ["q_permutation"]
        table = table.sort_values("effect_size", key=lambda size: -size.abs(), kind="stable")
    return (table.sort_values(by, kind="stable") if by else table).head(MAX_ROWS)


def render(analysis: Analysis, pictures: Mapping[str, Path], title: str) -> str:
    """Return the page: pictures (PNG files by figure) embedded, no script, nothing fetched."""
    sections: dict[str, list[tuple[dict[str, str], str]]] = {}
    for drawn in analysis.drawn:
        images = {n: base64.b64encode(pictures[n].read_bytes()).decode() for n in drawn.figures}
        sections.setdefault(drawn.section, []).append((images, drawn.caption))
    tables = []
    for name, heading in TABLES.items():
        if name in analysis.tables:
            table = analysis.tables[name]
            html = _shown(table).to_html(
                index=False, border=0, na_rep="", float_format=lambda value: f"{value:.3g}"
            )
            tables.append({"name": name, "heading": heading, "n": len(table), "html": html})
    folder = resources.files("tuner_plugins.perturbseq.report")
    template = folder.joinpath("report.html.j2").read_text()
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    return environment.from_string(template).render(
        title=title,
        facts=_facts(analysis),
        notes=analysis.notes,
        sections=sections,
        tables=tables,
        max_rows=MAX_ROWS,
    )


def _facts(analysis: Analysis) -> dict[str, str]:
    adata, coefficients = analysis.adata, analysis.tables["coefficients"]
    setting = adata.uns["elasticnet"]
    return {
        "cells": f"{adata.n_obs:,}",
        "genes with a model": f"{coefficients['gene'].nunique():,}",
        "perturbations": f"{coefficients['perturbation'].nunique():,}",
        "alpha": f"{setting['alpha']:.3g}",
        "l1_ratio": f"{setting['l1_ratio']:.3g}",
        "programs": f"{analysis.tables['programs']['program'].nunique()}",
        "modules": f"{analysis.tables['modules']['module'].nunique()}",
        "coefficients at q < 0.05": f"{int((coefficients['q'] < 0.05).sum()):,}",
    }
