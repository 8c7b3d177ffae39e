"""Over-representation of gene sets by g:Profiler, over the internet."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence

import pandas as pd

from tuner_plugins.perturbseq.errors import AnalysisError
from tuner_plugins.perturbseq.programs.enrichment import COLUMNS

GPROFILER = "https://biit.cs.ut.ee/gprofiler/api/gost/profile/"


def gprofiler(
    sets: Mapping[str, Sequence[str]],
    background: Sequence[str],
    *,
    organism: str = "hsapiens",
    sources: Sequence[str] = ("GO:BP",),
    url: str = GPROFILER,
    timeout: float = 60.0,
) -> pd.DataFrame:
    """Ask g:Profiler (Kolberg et al. 2023, doi:10.1093/nar/gkad347), which needs the internet.

    Its p-values come adjusted over the terms of a query; they are passed on as ``q`` and not
    adjusted again, and ``p`` is missing.

    Parameters
    ----------
    sets : mapping
        Name to genes; empty ones are left out.
    background : sequence of str
        All genes that were tested.
    organism, sources : str, sequence of str
        In g:Profiler's names.
    url, timeout : str, float
        Of the service; seconds.

    Returns
    -------
    pandas.DataFrame
        As `enrichment.enrich`, for the terms that g:Profiler reports.

    Raises
    ------
    AnalysisError
        If the service cannot be reached or answers with something else.
    """
    query = {name: [str(g) for g in genes] for name, genes in sets.items() if len(genes)}
    if not query:
        return pd.DataFrame(columns=list(COLUMNS))
    body = {
        "organism": organism,
        "query": query,
        "sources": list(sources),
        "background": [str(gene) for gene in background],
        "domain_scope": "custom",
        "significance_threshold_method": "fdr",
        "user_threshold": 1.0,
        "all_results": True,
        "no_evidences": True,
    }
    request = urllib.request.Request(
        url, json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            results = json.load(answer)["result"]
        rows = [
            {
                "set": row["query"],
                "term": f"{row['name']} ({row['native']})",
                "overlap": row["intersection_size"],
                "set_size": row["query_size"],
                "term_size": row["term_size"],
                "background": row["effective_domain_size"],
                "q": row["p_value"],
            }
            for row in results
        ]
    except (urllib.error.URLError, TimeoutError, ValueError, KeyError, TypeError) as error:
        raise AnalysisError(
            f"g:Profiler at {url} gave no answer that can be read ({error}): "
            "use a GMT file, which needs no internet"
        ) from error
    table = pd.DataFrame(rows).reindex(columns=list(COLUMNS))
    order = {name: i for i, name in enumerate(query)}
    return table.sort_values(
        ["set", "q"], key=lambda c: c.map(order) if c.name == "set" else c, kind="stable"
    ).reset_index(drop=True)
