"""What pairs of perturbations do beyond the sum of both."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from tuner_plugins.perturbseq.annotated import fitted
from tuner_plugins.perturbseq.errors import AnalysisError
from tuner_plugins.perturbseq.inference.program_tests import adjust


def epistasis(data: Any, *, q_threshold: float = 0.05, modality: str | None = None) -> None:
    """Contrast pairs with the sum of their perturbations, gene by gene, in log2 fold changes.

    Parameters
    ----------
    data : AnnData or MuData
        After `elasticnet` with ``combinations=True`` and `fold_changes`.
    q_threshold : float
        False discovery rate of interactions.

    Returns
    -------
    None
        Writes ``uns["epistasis"]``, one row a gene and pair whose perturbations were fitted:
        ``gene``, ``first``, ``second``, the log2 fold changes of both (``log2fc_first``,
        ``log2fc_second``), ``expected``, their sum, ``observed``, ``interaction``, the difference,
        with its interval (``low``, ``high``), ``p`` and ``q`` (Benjamini-Hochberg over all rows),
        and ``class``: ``additive`` where there is no significant interaction; else ``synergistic``
        (farther from 0 than the sum), ``buffering`` (nearer), ``reversing`` (on the other side).

    Raises
    ------
    AnalysisError
        There are no pairs, or no fold changes.
    """
    own = fitted(data, modality)
    tables = {key: own.table(f"log2fc{key}") for key in ("", "_low", "_high", "_p")}
    targets = set(tables[""].columns)
    pairs = [name.split(",") for name in tables[""].columns if name.count(",") == 1]
    pairs = [pair for pair in pairs if targets.issuperset(pair)]
    if not pairs:
        raise AnalysisError(
            "no pair of perturbations was fitted beside both: run tl.elasticnet with "
            "multiple='additive' and combinations=True"
        )
    rows = []
    for first, second in pairs:
        single, pair = tables[""][[first, second]].to_numpy(), f"{first},{second}"
        columns = {"gene": tables[""].index.astype(str), "first": first, "second": second}
        columns |= {"log2fc_first": single[:, 0], "log2fc_second": single[:, 1]}
        columns |= {"expected": single.sum(axis=1), "interaction": tables[""][pair].to_numpy()}
        columns |= {key[1:]: tables[key][pair].to_numpy() for key in ("_low", "_high", "_p")}
        rows.append(pd.DataFrame(columns))
    table = pd.concat(rows, ignore_index=True)
    table.insert(6, "observed", table["expected"] + table["interaction"])
    table["q"] = adjust(table["p"])
    expected, observed = table["expected"].to_numpy(), table["observed"].to_numpy()
    kinds = np.select(
        [~(table["q"].to_numpy() < q_threshold), expected * observed < 0],
        ["additive", "reversing"],
        np.where(np.abs(observed) > np.abs(expected), "synergistic", "buffering"),
    )
    own.adata.uns["epistasis"] = table.assign(**{"class": kinds})
