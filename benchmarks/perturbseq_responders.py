"""Cells that responded, against the truth and beside mixscape.

``python -m benchmarks.perturbseq_responders`` simulates screens (`tuner simulate elasticnet`: 2,500
cells, 300 genes, 10 perturbations of which 2 or 3 do nothing) with effects of several sizes that
work in several shares of the cells, ``--seeds N`` of each. A line for each:

told       share of acting perturbations whose responders are told from other cells
idle       cells called responders of perturbations that do nothing
covered    share of the 95 % intervals of the share of responders that hold the truth
error      mean of the share of responders minus the truth
right      share of cells that are called what they are
posterior  mean difference of posterior and truth in five bins of the posterior

With ``DATA --peers PYTHON`` mixscape (pertpy) judges the cells of the measured screen of Papalexi
et al. 2021 beside it, and mock perturbations of its control cells: a line for each perturbation
with the share of responders of both and the share of cells that both call alike.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import warnings
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import tuner_plugins.perturbseq as ps
from tuner_plugins.perturbseq.simulate import CONTROL, simulate

from benchmarks.perturbseq import SETS, mocked, prepared, run

EFFECTS, PENETRANCES = (0.25, 0.4, 0.8), (0.3, 0.6, 0.9)


def measure(seed: int, effect: float, penetrance: float) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Simulate a screen; return a row a perturbation, and the cells that were judged."""
    sizes = {"cells": 2500, "genes": 300, "perturbations": 10}
    with tempfile.TemporaryDirectory() as folder:
        options = {**sizes, "effect": effect, "penetrance": penetrance}
        paths = simulate(Path(folder), seed=seed, **options)
        adata, truth = ad.read_h5ad(paths["screen"]), ad.read_h5ad(paths["truth"])
        works = pd.read_csv(paths["cells"], index_col=0)["works"].to_numpy()
    ps.tl.elasticnet(
        adata,
        control=CONTROL,
        batch="batch",
        covariates=["total_counts"],
        n_permutations=0,
        seed=seed,
    )
    ps.tl.responders(adata, seed=seed)
    cells = adata.obs[["responder", "responder_of", "responder_posterior"]].assign(works=works)
    table = adata.uns["responders"].set_index("perturbation")
    table["acts"] = truth.obs["module"].ne("")
    table["truth"] = cells.groupby("responder_of", observed=True)["works"].mean()
    cells = cells[cells["responder_of"].isin(table.index[table["acts"] & (table["note"] == "")])]
    return table, cells


def summary(tables: list[pd.DataFrame], cells: list[pd.DataFrame]) -> dict[str, float]:
    """Return what is printed of screens of a kind."""
    table, judged = pd.concat(tables), pd.concat(cells)
    acting = table[table["acts"]]
    told = acting[acting["note"] == ""]
    posterior = judged["responder_posterior"]
    bins = judged.groupby(np.minimum((5 * posterior).astype(int), 4))
    gap = (bins["responder_posterior"].mean() - bins["works"].mean()).abs()
    right = (posterior >= 0.5) == judged["works"]
    return {
        "told": len(told) / len(acting),
        "idle": int(table.loc[~table["acts"], "n_responders"].sum()),
        "covered": told["truth"].between(told["share_low"], told["share_high"]).mean(),
        "error": (told["share"] - told["truth"]).mean(),
        "right": right.mean(),
        "posterior": float(np.average(gap, weights=bins.size())) if len(gap) else np.nan,
    }


def beside_mixscape(data: Path, python: str, mocks: int) -> None:
    """Print both methods on a measured screen and on mocks of its controls."""
    one = SETS["papalexi"]
    adata = prepared(data, one)
    found, took = {}, {}
    for method, by in (("responders", sys.executable), ("pertpy_mixscape", python)):
        found[method], took[method] = run(method, by, adata)
        alarms = [
            run(method, by, mocked(adata, *one.mocks, seed))[0]["responds"] for seed in range(mocks)
        ]
        false = pd.concat(alarms).mean()
        print(f"{method}: {false:.2%} of mock cells called; {took[method]}", flush=True)
    ours, theirs = (found[name].set_index("cell") for name in ("responders", "pertpy_mixscape"))
    both = ours.join(theirs[["responds", "posterior"]], rsuffix="_mixscape")
    both["alike"] = both["responds"] == both["responds_mixscape"]
    shares = both.groupby("perturbation")[["responds", "responds_mixscape", "alike"]].mean()
    print(shares.sort_values("responds", ascending=False).round(3).to_string())
    print(f"cells that both call alike: {both['alike'].mean():.3f}")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("--peers", metavar="PYTHON")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--mocks", type=int, default=2)
    given = parser.parse_args()
    if given.data is not None and given.peers:
        beside_mixscape(given.data, given.peers, given.mocks)
        return
    rows = {}
    for effect in EFFECTS:
        for penetrance in PENETRANCES:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                parts = [measure(seed, effect, penetrance) for seed in range(given.seeds)]
            rows[f"effect {effect}, works in {penetrance}"] = summary(
                *map(list, zip(*parts, strict=True))
            )
    print(pd.DataFrame.from_dict(rows, orient="index").round(3).to_string())


if __name__ == "__main__":
    main()
