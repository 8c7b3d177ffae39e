"""What pairs of perturbations do beyond the sum of both, in log2 fold changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from tuner_plugins.perturbseq.inference.program_tests import adjust


def pairs_of(targets: Sequence[str]) -> list[list[str]]:
    """Return the pairs among the columns of a design whose perturbations are columns as well.

    Examples
    --------
    >>> pairs_of(["A", "B", "A,B", "A,C"]), pairs_of(["a,b", "C", "a,b,C"])  # "a,b": one label
    ([['A', 'B']], [['a,b', 'C']])
    """
    splits = [
        [name[:at], name[at + 1 :]]
        for name in targets
        for at, character in enumerate(name)
        if character == ","
    ]
    return [pair for pair in splits if set(targets).issuperset(pair)]


def epistasis(tables: Mapping[str, pd.DataFrame], q_threshold: float = 0.05) -> pd.DataFrame:
    """Contrast pairs with the sum of their perturbations, gene by gene.

    Parameters
    ----------
    tables : mapping
        ``log2fc``, ``log2fc_low``, ``log2fc_high``, ``log2fc_p``: genes by perturbations, of a
        design with a column of its own for each pair.
    q_threshold : float
        False discovery rate of interactions.

    Returns
    -------
    DataFrame
        One row a gene and pair: ``gene``, ``first``, ``second``, the log2 fold changes of both
        (``log2fc_first``, ``log2fc_second``), ``expected``, their sum, ``observed``,
        ``interaction``, the difference, with its interval (``low``, ``high``), ``p`` and ``q``
        (Benjamini-Hochberg over all rows), and ``class``: empty where there is no q, ``additive``
        where there is no significant interaction; else ``synergistic`` (farther from 0 than the
        sum, or the sum is not told from 0), ``buffering`` (nearer), ``reversing`` (on the other
        side). No rows without pairs.

    Examples
    --------
    >>> value = pd.DataFrame([[1.0, 1.0, 1.5]], index=["IRF1"], columns=["A", "B", "A,B"])
    >>> p = value * 0 + 1e-4
    >>> tables = {"log2fc_low": value - 0.5, "log2fc_high": value + 0.5, "log2fc_p": p}
    >>> epistasis({"log2fc": value, **tables})[["gene", "expected", "observed", "class"]]
       gene  expected  observed        class
    0  IRF1       2.0       3.5  synergistic
    """
    changes = tables["log2fc"]
    rows = []
    for first, second in pairs_of(list(changes.columns)):
        single, pair = changes[[first, second]].to_numpy(), f"{first},{second}"
        reach = sum((tables["log2fc_high"][one] - changes[one]) ** 2 for one in (first, second))
        columns = {"gene": changes.index.astype(str), "first": first, "second": second}
        columns |= {"log2fc_first": single[:, 0], "log2fc_second": single[:, 1]}
        columns |= {"expected": single.sum(axis=1), "interaction": changes[pair].to_numpy()}
        columns["idle"] = columns["expected"] ** 2 < reach  # as far as one interval of both goes
        columns |= {k: tables[f"log2fc_{k}"][pair].to_numpy() for k in ("low", "high", "p")}
        rows.append(pd.DataFrame(columns))
    if not rows:
        return pd.DataFrame()
    table = pd.concat(rows, ignore_index=True)
    table.insert(6, "observed", table["expected"] + table["interaction"])
    table["q"] = adjust(table["p"])
    expected, observed = table["expected"].to_numpy(), table["observed"].to_numpy()
    kinds = np.select(
        [table["q"].isna(), table["q"] >= q_threshold, table.pop("idle"), expected * observed < 0],
        ["", "additive", "synergistic", "reversing"],
        np.where(np.abs(observed) > np.abs(expected), "synergistic", "buffering"),
    )
    return table.assign(**{"class": kinds})
