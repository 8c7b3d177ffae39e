"""Files of an analysis: .h5ad, tables, figures, and one HTML page that opens offline."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from importlib import resources
from pathlib import Path

import anndata as ad
import jinja2
import pandas as pd

from tuner_plugins.perturbseq.errors import AnalysisError
from tuner_plugins.perturbseq.report.figures import save
from tuner_plugins.perturbseq.report.options import Analysis

MAX_ROWS = 50
"""Rows of a table in the page; the files hold all."""

CAPTIONS = {
    "umap": "Cells by what they are, before any model: log-normalised expression, highly variable "
    "genes, principal components, UMAP.",
    "r2_surface": "Held-out R2 over the penalties; the cross marks the setting of this report.",
    "coefficients": "Elastic-net coefficients. Genes are grouped into programs and perturbations "
    "into modules, both in the order of the trees of their means.",
    "program_clustermap": "Program scores against control cells, in standard deviations.",
    "program_dotplot": "The same: colour is the effect, size the adjusted permutation p-value.",
    "qq": "p-values of coefficients. Mock perturbations of control cells must follow the line.",
}
TABLES = {
    "program_tests": "Programs in perturbations, against control cells",
    "program_stability": "How often programs come back when cells are resampled",
    "modules": "Perturbation modules",
    "programs": "Gene programs",
    "enrichment": "Over-represented gene sets",
    "coefficients": "Coefficients",
    "composition": "Shares of unmoved genes, against control cells",
    "efficacy": "Efficacy of perturbations",
    "calibration": "Mock perturbations of control cells",
}


def safe_stem(name: str) -> str:
    """Return a file name for any perturbation: other signs than letters and digits are replaced."""
    return re.sub(r"[^\w.+-]+", "_", name)


def write(analysis: Analysis, folder: Path, *, title: str = "Perturb-seq analysis") -> list[Path]:
    """Write ``analysis.h5ad``, ``tables/``, ``figures/`` and ``report.html`` below `folder`.

    Each file is written under another name first and renamed when it is whole.

    Parameters
    ----------
    analysis : Analysis
    folder : Path
        Made if absent.
    title : str
        Of the page.

    Returns
    -------
    list of Path
        Everything that was written.

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
        written.append(_whole(stem.with_suffix(".csv"), _csv(table)))
        written.append(_whole(stem.with_suffix(".parquet"), _parquet(table)))
    taken: set[str] = set()
    for name, figure in analysis.figures.items():
        stem = safe_stem(name)
        while stem in taken:
            stem += "_"
        taken.add(stem)
        written.extend(save(figure, folder / "figures" / stem))
    pictures = [path for path in written if path.suffix == ".png"]
    stored = storable(analysis.adata)
    written.append(
        _whole(
            folder / "analysis.h5ad",
            lambda path: stored.write_h5ad(path, compression="gzip"),
        )
    )
    page = render(analysis, pictures, title)
    written.append(
        _whole(folder / "report.html", lambda path: path.write_text(page, encoding="utf-8"))
    )
    return written


def _csv(table: pd.DataFrame) -> Callable[[Path], object]:
    return lambda path: table.to_csv(path, index=False)


def _parquet(table: pd.DataFrame) -> Callable[[Path], object]:
    return lambda path: table.to_parquet(path, index=False)


def _whole(path: Path, put: Callable[[Path], object]) -> Path:
    part = path.with_name(f".{path.name}.part")
    put(part)
    return part.replace(path)


def storable(adata: ad.AnnData) -> ad.AnnData:
    """Return a copy that an .h5ad can hold: no slash in a column name, no mixed columns."""
    copy = adata.copy()
    for mapping in (copy.varm, copy.obsm):
        for key, value in list(mapping.items()):
            if isinstance(value, pd.DataFrame):
                names = [str(column).replace("/", "_") for column in value.columns]
                if len(set(names)) < len(names):
                    raise AnalysisError(
                        f"two columns of {key} have the same name once '/' is replaced by '_', "
                        "which an .h5ad needs: rename the perturbations"
                    )
                mapping[key] = value.set_axis(names, axis=1)
    copy.obs.columns = [str(column).replace("/", "_") for column in copy.obs.columns]
    copy.var.columns = [str(column).replace("/", "_") for column in copy.var.columns]
    return copy


def _shown(name: str, table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of a table that the page shows: the most significant first."""
    for column in ("q_permutation", "q"):
        if column in table:
            order = ["q", "p"] if column == "q" and "p" in table else [column]
            if name == "program_tests":
                table = table.assign(_size=-table["effect_size"].abs())
                return table.sort_values([column, "_size"], kind="stable").drop(columns="_size")
            return table.sort_values(order, kind="stable")
    return table


def render(analysis: Analysis, pictures: list[Path], title: str) -> str:
    """Return the page as text: pictures embedded, no script, nothing fetched.

    Parameters
    ----------
    analysis : Analysis
    pictures : list of Path
        PNG files in the order of ``analysis.figures``.
    title : str
    """
    images = [
        {
            "name": name,
            "caption": CAPTIONS.get(name, ""),
            "data": base64.b64encode(path.read_bytes()).decode(),
        }
        for name, path in zip(analysis.figures, pictures, strict=True)
    ]
    tables = []
    for name, heading in TABLES.items():
        if name in analysis.tables:
            table = analysis.tables[name]
            html = (
                _shown(name, table)
                .head(MAX_ROWS)
                .to_html(
                    index=False, border=0, na_rep="", float_format=lambda value: f"{value:.3g}"
                )
            )
            tables.append({"name": name, "heading": heading, "n": len(table), "html": html})
    folder = resources.files("tuner_plugins.perturbseq.report")
    template = folder.joinpath("report.html.j2").read_text()
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    adata = analysis.adata
    return environment.from_string(template).render(
        title=title,
        facts=_facts(adata, analysis),
        notes=analysis.notes,
        main=[image for image in images if not image["name"].startswith("volcano_")],
        volcanoes=[image for image in images if image["name"].startswith("volcano_")],
        tables=tables,
        max_rows=MAX_ROWS,
    )


def _facts(adata: ad.AnnData, analysis: Analysis) -> dict[str, str]:
    coefficients = analysis.tables["coefficients"]
    setting = adata.uns["elasticnet"]
    facts = {
        "cells": f"{adata.n_obs:,}",
        "genes with a model": f"{coefficients['gene'].nunique():,}",
        "perturbations": f"{coefficients['perturbation'].nunique():,}",
        "alpha": f"{setting['alpha']:.3g}",
        "l1_ratio": f"{setting['l1_ratio']:.3g}",
        "programs": f"{analysis.tables['programs']['program'].nunique()}",
        "modules": f"{analysis.tables['modules']['module'].nunique()}",
        "coefficients at q < 0.05": f"{int((coefficients['q'] < 0.05).sum()):,}",
    }
    return facts
