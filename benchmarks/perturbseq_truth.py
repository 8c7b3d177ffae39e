"""Errors on simulated screens against nominal: ``python -m benchmarks.perturbseq_truth``.

Counts of genes are negative binomial, those of guides a signal on an ambient background; half of
the targets do nothing, so that they are mocks. Guides are called, then `ps.tl` does the rest.

high      every cell has guides of about three targets, whose effects add up
pairs     a cell has one guide, or one of each of two targets, some of which interact

``--seeds N``; a line for each screen, the mean over seeds and its standard error.

guides_found, guides_false   share of guides that are called, and of calls that are false
net_*                        coefficients of the elastic net, p by permutation
log2fc_*                     fold changes
 found                       share of planted effects (0.5 at least in log2) at q <= 0.1
 false                       share of false ones among those at q <= 0.1: 0.1 is nominal
 p05, p01                    share of p-values of mocks below 0.05 and 0.01
 covered                     share of 95 % intervals that hold the truth
pair_found, pair_false       the same of interactions (1 in log2 where planted)
pair_class                   of the interactions that were found and lie apart from the borders of
                             their class, the share that have it
pair_covered                 share of 95 % intervals of interactions that hold the truth
"""

from __future__ import annotations

import argparse
import warnings
from dataclasses import dataclass

import anndata as ad
import numpy as np
import pandas as pd
import tuner_plugins.perturbseq as ps
from scipy import sparse
from tuner_plugins.perturbseq.annotated import ScreenWarning
from tuner_plugins.perturbseq.inference.program_tests import adjust

LEVEL = 0.1
CONTROL_GUIDES = 6
CLEAR = 0.3
"""Distance from the border of a class at which an interaction clearly belongs to it."""


@dataclass(frozen=True)
class Sizes:
    """Of a simulated screen; `idle` of the targets do nothing."""

    cells: int = 3000
    genes: int = 150
    targets: int = 12
    idle: int = 6
    pairs: int = 6
    guides: int = 2
    moi: float = 3.0


@dataclass(frozen=True)
class Planted:
    """A screen and its truth: log2 fold changes, (targets, genes), of pairs beyond both, guides."""

    adata: ad.AnnData
    effects: pd.DataFrame
    interactions: pd.DataFrame
    guides: np.ndarray


def simulate(kind: str, seed: int, sizes: Sizes) -> Planted:
    """Draw a screen of a kind, ``high`` or ``pairs``."""
    rng = np.random.default_rng(seed)
    names = [f"T{number:02d}" for number in range(sizes.targets)]
    genes = [f"G{number:03d}" for number in range(sizes.genes)]
    acting = rng.permutation(sizes.targets)[sizes.idle :]
    effects = np.zeros((sizes.targets, sizes.genes))
    planted = rng.random((len(acting), sizes.genes)) < 0.15
    effects[acting] = planted * rng.choice([-1, 1], planted.shape) * rng.uniform(0.5, 1.5)
    pairs = [tuple(sorted(rng.choice(sizes.targets, 2, replace=False))) for _ in range(99)]
    pairs = sorted(set(pairs[: sizes.pairs])) if kind == "pairs" else []
    beyond = np.zeros((len(pairs), sizes.genes))
    beyond[:, : sizes.genes // 10] = rng.choice([-1.0, 1.0], (len(pairs), sizes.genes // 10))
    has, columns = _cells(kind, rng, sizes, pairs)
    both = np.array([has[:, a] & has[:, b] for a, b in pairs]).T.reshape(sizes.cells, -1)
    depth = np.exp(rng.normal(0.0, 0.35, (sizes.cells, 1)))
    rate = np.exp(rng.normal(0.3, 1.0, sizes.genes)) * np.exp2(has @ effects + both @ beyond)
    counts = rng.poisson(rng.gamma(1 / 0.15, 0.15 * rate * depth))
    guides = rng.poisson(0.1 * depth * rng.gamma(2.0, 0.5, columns.shape[1]))
    guides += columns * np.floor(np.exp2(rng.normal(6.0, 1.0, columns.shape)) * depth).astype(int)
    cells = [f"cell{number}" for number in range(sizes.cells)]
    adata = ad.AnnData(sparse.csr_matrix(counts, dtype=np.float32), pd.DataFrame(index=cells))
    adata.var_names = genes
    adata.obs["total_counts"] = (2_000 * depth).ravel()  # of the whole transcriptome
    numbered = [f"{name}_g{i}" for name in names for i in range(sizes.guides)]
    numbered += [f"NT_g{i}" for i in range(CONTROL_GUIDES)]
    adata.obsm["guides"] = pd.DataFrame(guides, index=cells, columns=numbered)
    joined = [f"{names[a]},{names[b]}" for a, b in pairs]
    return Planted(
        adata, pd.DataFrame(effects, names, genes), pd.DataFrame(beyond, joined, genes), columns
    )


def _cells(
    kind: str, rng: np.random.Generator, sizes: Sizes, pairs: list[tuple[int, ...]]
) -> tuple[np.ndarray, np.ndarray]:
    """Return which targets and which guides each cell has, (cells, targets) and (cells, guides)."""
    has = np.zeros((sizes.cells, sizes.targets), dtype=bool)
    if kind == "high":
        has |= rng.random(has.shape) < sizes.moi / sizes.targets
    else:
        chosen = rng.integers(-2, sizes.targets + len(pairs), sizes.cells)
        for cell, number in enumerate(chosen):
            if number >= 0:
                has[cell, pairs[number - sizes.targets] if number >= sizes.targets else number] = 1
    one = np.arange(sizes.guides) == rng.integers(0, sizes.guides, (*has.shape, 1))
    columns = (has[:, :, None] & one).reshape(sizes.cells, -1)
    control = np.arange(CONTROL_GUIDES) == rng.integers(0, CONTROL_GUIDES, (sizes.cells, 1))
    return has, np.hstack([columns, control & ~has.any(axis=1, keepdims=True)])


def _planted(effects: pd.DataFrame, names: pd.Series, genes: pd.Series) -> np.ndarray:
    """Return what was planted for each row of a table."""
    at = effects.index.get_indexer(names), effects.columns.get_indexer(genes)
    return np.asarray(effects.to_numpy()[at])


def _scored(table: pd.DataFrame, truth: np.ndarray) -> dict[str, float]:
    """Return how many of the planted effects were found, and how many findings are false."""
    hit = table["q"].to_numpy() <= LEVEL
    large = np.abs(truth) >= 0.5
    return {
        "found": hit[large].mean(),
        "false": (hit & (truth == 0)).sum() / max(hit.sum(), 1),
    }


def measure(kind: str, seed: int, sizes: Sizes | None = None) -> dict[str, float]:
    """Simulate a screen, analyse it, and compare with what was planted."""
    planted = simulate(kind, seed, sizes or Sizes())
    adata = planted.adata
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ScreenWarning)
        ps.pp.assign_guides(adata, obsm="guides")
        ps.tl.elasticnet(
            adata,
            control="NT",
            separator="+",
            unassigned="drop",
            multiple="additive",
            combinations=kind == "pairs",
            covariates=["total_counts"],
            seed=seed,
        )
    ps.tl.fold_changes(adata)
    called = adata.obsm["guide_calls"]
    called = (called.toarray() if sparse.issparse(called) else np.asarray(called)) > 0
    found: dict[str, float] = {
        "guides_found": called[planted.guides].mean(),
        "guides_false": (called & ~planted.guides).sum() / called.sum(),
    }
    table = ps.tl.coefficient_table(adata)
    table = table[table["perturbation"].isin(planted.effects.index)]
    truth = _planted(planted.effects, table["perturbation"], table["gene"])
    mock = (
        table["perturbation"]
        .isin(planted.effects.index[(planted.effects == 0).all(axis=1)])
        .to_numpy()
    )
    changes = table.assign(p=table["log2fc_p"], q=adjust(table["log2fc_p"]))  # of these targets
    for name, one in (("net", table), ("log2fc", changes)):
        found |= {f"{name}_{key}": value for key, value in _scored(one, truth).items()}
        p = one["p"].to_numpy()[mock]
        found |= {f"{name}_p05": (p < 0.05).mean(), f"{name}_p01": (p < 0.01).mean()}
    inside = (changes["log2fc_low"] <= truth) & (truth <= changes["log2fc_high"])
    found["log2fc_covered"] = inside.mean()
    return found | (_of_pairs(adata, planted) if kind == "pairs" else {})


def _of_pairs(adata: ad.AnnData, planted: Planted) -> dict[str, float]:
    ps.tl.epistasis(adata, q_threshold=LEVEL)
    table = adata.uns["epistasis"]
    truth = _planted(planted.interactions, table["first"] + "," + table["second"], table["gene"])
    parts = [_planted(planted.effects, table[one], table["gene"]) for one in ("first", "second")]
    expected = parts[0] + parts[1]
    observed = expected + truth
    kinds = np.where(np.abs(observed) > np.abs(expected), "synergistic", "buffering")
    kinds = np.where(expected * observed < 0, "reversing", kinds)
    clear = np.abs(np.abs(observed) - np.abs(expected)) > CLEAR
    clear &= (np.abs(observed) > CLEAR) | (expected == 0)
    hit = (table["q"] <= LEVEL).to_numpy() & (truth != 0) & clear
    inside = (table["low"] <= truth) & (truth <= table["high"])
    return {f"pair_{key}": value for key, value in _scored(table, truth).items()} | {
        "pair_class": (table["class"].to_numpy() == kinds)[hit].mean(),
        "pair_covered": inside.mean(),
    }


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=20)
    seeds = parser.parse_args().seeds
    for kind in ("high", "pairs"):
        rows = pd.DataFrame([measure(kind, seed) for seed in range(seeds)])
        error = rows.std() / np.sqrt(len(rows))
        print(f"{kind}: {seeds} seeds")
        print(pd.DataFrame({"mean": rows.mean(), "error": error}).round(4).to_string(), flush=True)


if __name__ == "__main__":
    main()
