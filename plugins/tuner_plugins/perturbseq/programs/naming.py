"""Names of programs: given by the user, or those of their most significant gene sets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import anndata as ad
import numpy as np
import pandas as pd

from tuner_plugins.perturbseq.errors import AnalysisError
from tuner_plugins.perturbseq.programs.clustering import Clustering

COLUMNS = {
    "programs": "program",
    "program_tests": "program",
    "program_stability": "cluster",
    "spectra": "program",
    "enrichment": "set",
}
"""Tables that name programs, and the column that does."""

BY_CELL_OR_GENE = {"obsm": ("program_scores", "program_usage"), "varm": ("program_spectra",)}
"""Tables of an AnnData that have a column for each program."""


def names_for(
    labels: Sequence[str], given: Mapping[str, str] | Mapping[int, str]
) -> tuple[dict[str, str], list[str]]:
    """Return the new name of every program, and what was named that is none.

    Parameters
    ----------
    labels : sequence of str
        Names of today.
    given : mapping
        Name of today, or number in this order, to new name; others stay.

    Raises
    ------
    AnalysisError
        Two programs would have the same name.

    Examples
    --------
    >>> names_for(["P0", "P1"], {0: "cell cycle", "P7": "stress"})
    ({'P0': 'cell cycle', 'P1': 'P1'}, ['P7'])
    """
    plain = {str(key): str(name) for key, name in given.items()}
    numbered = {str(number): label for number, label in enumerate(labels)}
    unknown = [key for key in plain if key not in labels and key not in numbered]
    by_label = {key if key in labels else numbered.get(key, key): plain[key] for key in plain}
    renamed = {label: by_label.get(label, label) for label in labels}
    if len(set(renamed.values())) < len(labels):
        raise AnalysisError("two programs would have the same name; give each its own")
    return renamed, unknown


def best_terms(
    enrichment: pd.DataFrame, labels: Iterable[str], q_threshold: float
) -> dict[str, str]:
    """Return each program's most significant term behind its name; none keeps its name alone.

    Examples
    --------
    >>> rows = {"set": ["P0", "P0"], "term": ["E2F", "MYC"], "p": [1e-4, 1e-9], "q": [0.01, 1e-6]}
    >>> best_terms(pd.DataFrame(rows), ["P0", "P1"], 0.05)
    {'P0': 'P0 MYC', 'P1': 'P1'}
    """
    hits = enrichment[enrichment["q"] < q_threshold].sort_values("p", kind="stable")
    first = hits.drop_duplicates("set").set_index("set")["term"]
    return {label: f"{label} {first[label]}" if label in first else label for label in labels}


def rename_table(key: str, table: pd.DataFrame, renamed: Mapping[str, str]) -> pd.DataFrame:
    """Return a table of an analysis with programs renamed; one that names none as it is."""
    column = COLUMNS.get(key)
    if column is None or column not in table:
        return table.rename(columns=dict(renamed)) if key == "usages" else table
    return table.assign(**{column: table[column].replace(dict(renamed))})


def rename_in(adata: ad.AnnData, renamed: Mapping[str, str]) -> None:
    """Rename programs wherever they are written in an AnnData."""
    adata.var["program"] = adata.var["program"].cat.rename_categories(dict(renamed))
    stored = adata.uns["programs"]
    for key in ("labels", "names"):
        if key in stored:
            stored[key] = np.array([renamed[str(label)] for label in stored[key]], dtype=str)
    for kind, keys in BY_CELL_OR_GENE.items():
        for key in keys:
            if key in (own := getattr(adata, kind)):
                own[key] = own[key].rename(columns=dict(renamed))
    for key in COLUMNS:
        if isinstance(adata.uns.get(key), pd.DataFrame):
            adata.uns[key] = rename_table(key, adata.uns[key], renamed)


def rename_clustering(clustering: Clustering, renamed: Mapping[str, str]) -> Clustering:
    """Return the same clusters under new names."""
    return replace(
        clustering,
        labels=clustering.labels.cat.rename_categories(dict(renamed)),
        colours={renamed[label]: colour for label, colour in clustering.colours.items()},
    )
