"""Measured screens, ours and peers: ``python -m benchmarks.perturbseq DATA --peers PYTHON``.

DATA is a folder with the screens of `SETS`, PYTHON the interpreter of an environment with the peers
(``pip install pertpy filelock pysceptre``; pysceptre is sceptre's engine in Python, for where R has
none), without which ours run alone. Every method has the same counts, depths and batches, and a
process of its own; its p-values are adjusted over all genes and perturbations alike
(Benjamini-Hochberg). ``--only METHOD ...`` takes some, ``--mocks N`` the number of splits.

hits     coefficients at q <= 0.1
own      perturbations that lower their own gene at q <= 0.1, of those whose gene is there
strong   hits of a perturbation that is known to act, in the mean
idle     hits of one that is known not to, in the mean
sign     share of the hits of `REFERENCE` that have the same sign
rank     Spearman correlation of effects with those of `REFERENCE`, over its hits
p<.05    share of the p-values of mocks below 0.05, which should be 0.05: control cells with random
         labels, within batches
p<.001   times 1000: should be 1
false    hits among mocks, over all splits
cpu, GB  of the whole screen; imports and reading are left aside, peak memory is not
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
from scipy.stats import spearmanr
from tuner_plugins.perturbseq.inference.program_tests import adjust

from benchmarks.perturbseq_peers import CONTROL, OURS, PEERS

REFERENCE, LEVEL = "pysceptre", 0.1
FEWEST_CELLS = 20
"""Cells that a gene is seen in."""


@dataclass(frozen=True)
class Measured:
    """A screen, what is known of it, and the mocks of its controls (number, cells in each)."""

    file: str
    control: str
    strong: tuple[str, ...]
    idle: tuple[str, ...]
    mocks: tuple[int, int]
    genes: int = 500


SETS = {
    "papalexi": Measured(
        "papalexi2021_thp1_lowmoi_299genes.h5ad",
        "non-targeting",
        ("IFNGR1", "IFNGR2", "JAK2", "STAT1"),
        ("ATF2", "CAV1", "CD86", "MARCH8", "PDCD1LG2", "STAT5A"),
        (8, 120),
    ),
    "datlinger": Measured(
        "datlinger2021_jurkat_scifi_2000hvg.h5ad", "control", ("ZAP70", "LCK", "LAT"), (), (4, 25)
    ),
}


def prepared(folder: Path, one: Measured) -> ad.AnnData:
    """Return raw counts of the most expressed genes, and of own ones, with the columns of obs."""
    adata = ad.read_h5ad(folder / one.file)
    labels = adata.obs["perturbation"].astype(str).replace(one.control, CONTROL)
    seen = np.asarray((adata.X > 0).sum(axis=0)).ravel()
    rank = np.argsort(np.argsort(-np.asarray(adata.X.sum(axis=0)).ravel(), kind="stable"))
    own = adata.var_names.isin(set(labels))
    keep = (seen >= FEWEST_CELLS) & ((rank < one.genes) | own)
    obs = adata.obs[["batch", "total_counts"]].assign(perturbation=labels.to_numpy())
    obs["batch"] = obs["batch"].astype(str)
    return ad.AnnData(adata.X[:, keep], obs=obs, var=pd.DataFrame(index=adata.var_names[keep]))


def mocked(adata: ad.AnnData, number: int, size: int, seed: int) -> ad.AnnData:
    """Return the control cells, some of them with labels drawn within batches."""
    alone = adata[(adata.obs["perturbation"] == CONTROL).to_numpy()].copy()
    rng = np.random.default_rng(seed)
    order = rng.permutation(alone.n_obs)
    order = order[np.argsort(alone.obs["batch"].to_numpy()[order], kind="stable")]
    labels = np.full(alone.n_obs, CONTROL, dtype=object)
    width = alone.n_obs / size  # every so many cells one of each mock, through all batches
    for mock in range(number):
        labels[order[((np.arange(size) + rng.random()) * width).astype(int)]] = f"mock{mock}"
    alone.obs["perturbation"] = labels.astype(str)
    return alone


def run(method: str, python: str, adata: ad.AnnData) -> tuple[pd.DataFrame, dict[str, float]]:
    """Run a method in a process of its own: its table with q, and what it took."""
    script = Path(__file__).with_name("perturbseq_peers.py")
    with tempfile.TemporaryDirectory() as folder:
        screen, table = Path(folder) / "screen.h5ad", Path(folder) / "table.csv"
        adata.write_h5ad(screen)
        command = [python, str(script), method, str(screen), str(table)]
        said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        found = pd.read_csv(table)
    found = found.assign(q=adjust(found["p"])) if "p" in found else found
    return found, json.loads(said.splitlines()[-1])


def answers(table: pd.DataFrame, one: Measured) -> dict[str, float | str]:
    """Return what a method says of what is known."""
    hit = (table["q"] <= LEVEL) & table["effect"].notna()
    own = table["gene"] == table["perturbation"]
    counts = hit.groupby(table["perturbation"]).sum()
    found = int((hit & own & (table["effect"] < 0)).sum())
    return {
        "hits": int(hit.sum()),
        "own": f"{found}/{int(own.sum())}",
        "strong": counts.reindex(list(one.strong)).mean(),
        "idle": counts.reindex(list(one.idle)).mean(),
    }


def agreement(table: pd.DataFrame, reference: pd.DataFrame) -> dict[str, float]:
    """Return sign and rank agreement over the hits of the reference; effects of 0 have no sign."""
    keys = ["gene", "perturbation"]
    both = reference[reference["q"] <= LEVEL].merge(table, on=keys, suffixes=("_reference", ""))
    both = both[np.isfinite(both[["effect", "effect_reference"]]).all(axis=1)]
    nonzero = both[both["effect"] != 0]
    same = np.sign(nonzero["effect"]) == np.sign(nonzero["effect_reference"])
    rank = spearmanr(both["effect"], both["effect_reference"]).statistic if len(both) > 2 else None
    return {"sign": same.mean(), "rank": rank}


def false_alarms(tables: list[pd.DataFrame]) -> dict[str, float]:
    """Return what is said of mocks."""
    p = pd.concat(tables)["p"].dropna()
    return {
        "p<.05": (p < 0.05).mean(),
        "p<.001": 1000 * (p < 0.001).mean(),
        "false": int(sum((table["q"] <= LEVEL).sum() for table in tables)),
    }


def main() -> None:
    """Run every method on every screen and its mocks; print a table for each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--peers", metavar="PYTHON")
    parser.add_argument("--only", nargs="*", choices=[*OURS, *PEERS], default=[*OURS, *PEERS])
    parser.add_argument("--sets", nargs="*", choices=list(SETS), default=list(SETS))
    parser.add_argument("--mocks", type=int, default=3)
    given = parser.parse_args()
    methods = [name for name in given.only if name in OURS or given.peers]
    methods.sort(key=lambda name: name != REFERENCE)  # the others are compared with it
    for name in given.sets:
        one, rows, tables = SETS[name], {}, {}
        adata = prepared(given.data, one)
        for method in methods:
            python = sys.executable if method in OURS else given.peers
            tables[method], cost = run(method, python, adata)
            splits = [mocked(adata, *one.mocks, seed) for seed in range(given.mocks)]
            alarms = false_alarms([run(method, python, split)[0] for split in splits])
            alike = agreement(tables[method], tables[methods[0]]) if REFERENCE in tables else {}
            rows[method] = {**answers(tables[method], one), **alike, **alarms, **cost}
            print(f"{name}: {method}: {rows[method]}", file=sys.stderr, flush=True)
        print(f"\n{name}: {adata.n_obs} cells x {adata.n_vars} genes")
        printed = pd.DataFrame.from_dict(rows, orient="index")
        print(printed.to_string(float_format=lambda value: f"{value:.3g}"), flush=True)


if __name__ == "__main__":
    main()
