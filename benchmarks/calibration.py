"""Check what an analysis claims on simulated screens: ``python -m benchmarks.calibration``.

Null screens (no perturbation does anything): are p-values uniform, and how often does
Benjamini-Hochberg find anything at all? Planted screens: what share of the significant
coefficients is false, and do programs and modules come back, genes and perturbations without any
being a class of their own? With and without `composition`, at the setting with the best held-out
R2.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
from sklearn.metrics import adjusted_rand_score
from tuner_plugins.elasticnet.config import ElasticNetConfig
from tuner_plugins.elasticnet.plugin import ElasticNetPlugin
from tuner_plugins.enet.cross_validation import cross_validate
from tuner_plugins.perturbseq.data.screen import open_screen
from tuner_plugins.perturbseq.inference.program_tests import uniformity
from tuner_plugins.perturbseq.model.load import load
from tuner_plugins.perturbseq.model.surface import grid_alphas
from tuner_plugins.perturbseq.report.command import options_of
from tuner_plugins.perturbseq.report.options import Analysis
from tuner_plugins.perturbseq.report.program_steps import group
from tuner_plugins.perturbseq.report.steps import fit_coefficients, wide
from tuner_plugins.perturbseq.simulate import CONTROL, simulate

NULL = {"cells": 1500, "genes": 300, "perturbations": 12, "effect": 0.0}
COVARIATES = ["total_counts", "pct_counts_mt", "S_score", "G2M_score"]


def config_of(screen: Path) -> ElasticNetConfig:
    """Return the shipped configuration for a simulated screen."""
    data = {"counts": str(screen), "control": [CONTROL], "batch": "batch", "covariates": COVARIATES}
    sections = {"data": {**data, "genes": {"min_cells": 10}}, "analysis": {"bootstraps": 0}}
    return ElasticNetConfig.model_validate(sections)


def best_setting(config: ElasticNetConfig) -> tuple[float, float]:
    """Return alpha and l1_ratio with the best held-out R2 of the grid."""
    problem = ElasticNetPlugin(config).load().tuned[0].data.problem
    alphas = grid_alphas(problem, config.surface.alphas, config.surface.l1_ratios)
    return cross_validate(problem, alphas, config.surface.l1_ratios).best


def analysed(
    seed: int, composition: bool | None, sizes: dict[str, float]
) -> tuple[pd.DataFrame, dict[str, object], ad.AnnData]:
    """Simulate and analyse one screen: coefficient table, clusters, truth."""
    with tempfile.TemporaryDirectory() as folder:
        paths = simulate(Path(folder), seed=seed, **sizes)
        config = config_of(paths["screen"])
        screen = open_screen(config.data.source, config.data.recipe())
        adata, model = load(screen, *best_setting(config), composition=composition)
        truth = ad.read_h5ad(paths["truth"])
    options = replace(options_of(config.analysis.plain(), "total_counts"), seed=seed)
    found = Analysis(adata)
    coef, table = fit_coefficients(found, model, options)
    programs, modules = group(found, model, options, wide(table, "p", coef).to_numpy())
    labels = {"programs": programs.labels, "modules": modules.labels}
    effects = truth.to_df().T.stack().reindex(pd.MultiIndex.from_frame(table.iloc[:, :2]))
    return table.assign(planted=effects.to_numpy() != 0), labels, truth


def agreement(truth: pd.Series, labels: pd.Series) -> float:
    """Return the adjusted Rand index, rows without a cluster being one."""
    said = labels.reindex(truth.index).astype(object).where(lambda x: x.notna(), "none")
    return float(adjusted_rand_score(truth.astype(str), said.astype(str)))


def null(n_seeds: int, composition: bool | None) -> None:
    """Print whether p-values of null screens are uniform, and how many find something."""
    p, found = [], []
    for seed in range(n_seeds):
        table, *_ = analysed(seed, composition, NULL)
        # One gene a perturbation: genes of a data set are not independent draws.
        rng = np.random.default_rng(seed)
        p += [rng.choice(rows.dropna()) for _, rows in table.groupby("perturbation")["p"]]
        found.append(int((table["q"] < 0.05).sum()))
    print(
        f"{n_seeds} null screens: Kolmogorov-Smirnov p {uniformity(p):.3f} ({len(p)} p-values); "
        f"{np.count_nonzero(found)} with a coefficient at q < 0.05 (5 % is nominal), {found}"
    )


def planted(n_seeds: int, composition: bool | None) -> None:
    """Print false discoveries and agreement with what was planted."""
    rows = []
    for seed in range(1, n_seeds + 1):
        table, labels, truth = analysed(seed, composition, {})
        hit = table["q"] < 0.05
        rows.append(
            {
                "seed": seed,
                "significant": int(hit.sum()),
                "false": float((hit & ~table["planted"]).sum() / max(hit.sum(), 1)),
                "found": float(hit[table["planted"]].mean()),
                "programs": agreement(truth.var["program"], labels["programs"]),
                "modules": agreement(truth.obs["module"], labels["modules"]),
            }
        )
    table = pd.DataFrame(rows)
    print(table.to_string(index=False, float_format=lambda value: f"{value:.3f}"))
    print(f"false discoveries on average: {table['false'].mean():.3f} (0.05 is nominal)")


def main() -> None:
    """Print both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--null", type=int, default=40, help="null screens")
    parser.add_argument("--planted", type=int, default=5, help="planted screens")
    options = parser.parse_args()
    for composition in (None, False):
        print(f"composition {'off' if composition is False else 'as it comes'}")
        null(options.null, composition)
        planted(options.planted, composition)


if __name__ == "__main__":
    main()
