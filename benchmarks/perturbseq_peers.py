"""The methods of `benchmarks.perturbseq`: each from an AnnData to effects and p-values.

This file runs by itself as well, in an environment that has the peers and not this project:
``python perturbseq_peers.py METHOD SCREEN.h5ad TABLE.csv`` prints seconds of CPU and peak memory.

The screen has raw counts in X, and obs ``perturbation``, ``batch``, ``total_counts``; controls are
called "control". A table has ``gene``, ``perturbation``, ``effect`` and ``p``.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import resource
import sys
import warnings
from collections.abc import Callable

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse

CONTROL = "control"


def _targets(adata: ad.AnnData) -> list[str]:
    return sorted(set(adata.obs["perturbation"].astype(str)) - {CONTROL})


def _logged(adata: ad.AnnData) -> ad.AnnData:
    """Return log1p of counts per 10,000, by the depth of the whole transcriptome."""
    scale = sparse.diags_array(1e4 / adata.obs["total_counts"].to_numpy(dtype=float))
    X = sparse.csr_matrix((scale @ sparse.csr_matrix(adata.X)).log1p())
    obs = adata.obs.assign(
        perturbation=pd.Categorical(adata.obs["perturbation"], [CONTROL, *_targets(adata)])
    )
    return ad.AnnData(X, obs=obs, var=adata.var[[]])


def _covariates(adata: ad.AnnData) -> np.ndarray:
    """Return the logarithm of depth, and batches, (cells, columns)."""
    depth = np.log(adata.obs["total_counts"].to_numpy(dtype=float))
    batch = pd.get_dummies(adata.obs["batch"].astype(str), drop_first=True).to_numpy(dtype=float)
    return np.column_stack([(depth - depth.mean()) / depth.std(), batch])


def _design(adata: ad.AnnData) -> np.ndarray:
    labels = adata.obs["perturbation"].to_numpy(dtype=str)
    return (labels[:, None] == np.array(_targets(adata))).astype(float)


def _tidy(genes: list[str], targets: list[str], effect: np.ndarray, p: np.ndarray) -> pd.DataFrame:
    """Return a table of (genes, perturbations) values."""
    return pd.DataFrame(
        {
            "gene": np.repeat(genes, len(targets)),
            "perturbation": np.tile(targets, len(genes)),
            "effect": np.asarray(effect).ravel(),
            "p": np.asarray(p).ravel(),
        }
    )


def _scanpy(adata: ad.AnnData, method: str) -> pd.DataFrame:
    import scanpy as sc

    view = _logged(adata)
    view.uns["log1p"] = {"base": None}
    sc.tl.rank_genes_groups(view, "perturbation", reference=CONTROL, method=method)
    parts = [
        sc.get.rank_genes_groups_df(view, name).assign(perturbation=name) for name in _targets(view)
    ]
    columns = {"names": "gene", "logfoldchanges": "effect", "pvals": "p"}
    return pd.concat(parts).rename(columns=columns)[["gene", "perturbation", "effect", "p"]]


def scanpy_wilcoxon(adata: ad.AnnData) -> pd.DataFrame:
    """Compare each perturbation with control by ranks."""
    return _scanpy(adata, "wilcoxon")


def scanpy_t_test(adata: ad.AnnData) -> pd.DataFrame:
    """Compare each perturbation with control by Welch's t-test."""
    return _scanpy(adata, "t-test")


def statsmodels_nb(adata: ad.AnnData) -> pd.DataFrame:
    """Regress counts, negative binomial with a dispersion by the method of moments."""
    import statsmodels.api as sm

    targets = _targets(adata)
    x = np.column_stack([np.ones(adata.n_obs), _covariates(adata), _design(adata)])
    offset = np.log(adata.obs["total_counts"].to_numpy(dtype=float))
    at = slice(x.shape[1] - len(targets), x.shape[1])
    effect, p = np.full((2, adata.n_vars, len(targets)), np.nan)
    columns = sparse.csc_matrix(adata.X)
    for gene in range(adata.n_vars):
        y = np.asarray(columns[:, gene].todense(), dtype=float).ravel()
        with contextlib.suppress(ValueError, np.linalg.LinAlgError):
            few = x[:, : at.start]  # without perturbations, which most genes do not heed
            mean = sm.GLM(y, few, sm.families.Poisson(), offset=offset).fit().fittedvalues
            spread = float(((y - mean) ** 2 - mean).sum() / (mean**2).sum())
            family = sm.families.NegativeBinomial(alpha=max(spread, 1e-6))
            found = sm.GLM(y, x, family, offset=offset).fit(wls_method="qr")
            effect[gene], p[gene] = found.params[at] / np.log(2), found.pvalues[at]
    return _tidy(list(adata.var_names), targets, effect, p)


def pertpy_ols(adata: ad.AnnData) -> pd.DataFrame:
    """Regress log-normalised expression on perturbation, batch and depth, with pertpy."""
    import pertpy as pt

    view = _logged(adata)
    view.obs["depth"] = _covariates(adata)[:, 0]
    view.X = view.X.toarray()
    batches = "+ batch " if view.obs["batch"].nunique() > 1 else ""
    model = pt.tl.Statsmodels(view, design=f"~ perturbation {batches}+ depth")
    model.fit()
    control = model.cond(perturbation=CONTROL)
    contrasts = {name: model.cond(perturbation=name) - control for name in _targets(view)}
    found = model.test_contrasts(contrasts)
    columns = {"variable": "gene", "contrast": "perturbation", "log_fc": "effect", "p_value": "p"}
    found = found.rename(columns=columns)[["gene", "perturbation", "effect", "p"]]
    return found.assign(p=[float(np.asarray(p).item()) for p in found["p"]])


def pysceptre(adata: ad.AnnData) -> pd.DataFrame:
    """Run sceptre's low-multiplicity test, in its port to Python: against control cells."""
    from pysceptre import run_discovery_analysis

    labels = adata.obs["perturbation"].to_numpy(dtype=str)
    targets, genes = _targets(adata), list(adata.var_names)
    pairs = pd.DataFrame(
        [(gene, name) for gene in genes for name in targets],
        columns=["response_id", "grna_target"],
    )
    found = run_discovery_analysis(
        sparse.csr_matrix(sparse.csr_matrix(adata.X).T, dtype=float),
        genes,
        np.column_stack([np.ones(adata.n_obs), _covariates(adata)]),
        {name: np.flatnonzero(labels == name) for name in targets},
        pairs,
        moi="low",
        ntc_grna_cells={"NT": np.flatnonzero(labels == CONTROL)},
        seed=1,
    )
    columns = {"response_id": "gene", "grna_target": "perturbation", "p_value": "p"}
    found = found.rename(columns=columns)
    effect = np.log2(found["fold_change"].to_numpy(dtype=float))
    return found.assign(effect=effect)[["gene", "perturbation", "effect", "p"]]


def _fitted(adata: ad.AnnData, n_permutations: int) -> ad.AnnData:
    import tuner_plugins.perturbseq as ps

    adata.obs["log_depth"] = np.log(adata.obs["total_counts"].to_numpy(dtype=float))
    ps.tl.elasticnet(
        adata,
        control=CONTROL,
        batch="batch" if adata.obs["batch"].nunique() > 1 else None,
        covariates=["log_depth"],
        n_permutations=n_permutations,
        composition=False,
    )
    return adata


def elastic_net(adata: ad.AnnData) -> pd.DataFrame:
    """Sweep, choose, fit and permute with `ps.tl.elasticnet`."""
    import tuner_plugins.perturbseq as ps

    table = ps.tl.coefficient_table(_fitted(adata, 100))
    return table.rename(columns={"coef": "effect"})[["gene", "perturbation", "effect", "p"]]


def fold_changes(adata: ad.AnnData) -> pd.DataFrame:
    """Estimate fold changes with `ps.tl.fold_changes`."""
    import tuner_plugins.perturbseq as ps

    fitted = _fitted(adata, 0)
    ps.tl.fold_changes(fitted)
    effect, p = (fitted.varm[key] for key in ("log2fc", "log2fc_p"))
    return _tidy(list(adata.var_names), list(effect.columns), effect.to_numpy(), p.to_numpy())


def _cells(adata: ad.AnnData, responds: np.ndarray, posterior: np.ndarray) -> pd.DataFrame:
    """Return which cells a method says responded, perturbed ones alone."""
    found = pd.DataFrame(
        {
            "cell": adata.obs_names,
            "perturbation": adata.obs["perturbation"].to_numpy(dtype=str),
            "responds": responds,
            "posterior": posterior,
        }
    )
    return found[found["perturbation"] != CONTROL]


def responders(adata: ad.AnnData) -> pd.DataFrame:
    """Return which cells responded, by `ps.tl.responders`."""
    import tuner_plugins.perturbseq as ps

    fitted = _fitted(adata, 0)
    ps.tl.responders(fitted)
    return _cells(fitted, fitted.obs["responder"] == "responder", fitted.obs["responder_posterior"])


def pertpy_mixscape(adata: ad.AnnData) -> pd.DataFrame:
    """Return which cells are perturbed (KO, not NP) by pertpy's mixscape, by its defaults."""
    import pertpy as pt
    import scanpy as sc

    view = _logged(adata)
    sc.pp.pca(view)
    tool = pt.tl.Mixscape()
    batch = "batch" if view.obs["batch"].nunique() > 1 else None
    tool.perturbation_signature(view, "perturbation", CONTROL, split_by=batch)
    tool.mixscape(view, "perturbation", CONTROL, layer="X_pert")
    called = view.obs["mixscape_class_global"].astype(str) == "KO"
    return _cells(view, called, view.obs["mixscape_class_p_ko"])


CELLS: dict[str, Callable[[ad.AnnData], pd.DataFrame]] = {
    "responders": responders,
    "pertpy_mixscape": pertpy_mixscape,
}
"""Methods that judge cells: ``cell``, ``perturbation``, ``responds``, ``posterior``."""

OURS: dict[str, Callable[[ad.AnnData], pd.DataFrame]] = {
    "elastic_net": elastic_net,
    "fold_changes": fold_changes,
}
PEERS: dict[str, Callable[[ad.AnnData], pd.DataFrame]] = {
    "scanpy_wilcoxon": scanpy_wilcoxon,
    "scanpy_t_test": scanpy_t_test,
    "statsmodels_nb": statsmodels_nb,
    "pertpy_ols": pertpy_ols,
    "pysceptre": pysceptre,
}


def main() -> None:
    """Run one method; print what it took, imports and reading left aside."""
    method, screen, table = sys.argv[1:]
    adata = ad.read_h5ad(screen)
    before = sum(os.times()[:4])
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        found = {**OURS, **PEERS, **CELLS}[method](adata)
    seconds = sum(os.times()[:4]) - before
    found.to_csv(table, index=False)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(json.dumps({"cpu": seconds, "gb": peak}))


if __name__ == "__main__":
    main()
