"""From a configuration to the analysis: simulated screens, and measured ones where they are."""

from __future__ import annotations

from dataclasses import replace

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.metrics import adjusted_rand_score
from tuner_plugins.elasticnet.config import ElasticNetConfig
from tuner_plugins.elasticnet.plugin import ElasticNetPlugin
from tuner_plugins.enet.cross_validation import refit
from tuner_plugins.perturbseq.data.screen import open_screen
from tuner_plugins.perturbseq.data.transform import blocks
from tuner_plugins.perturbseq.model.load import load
from tuner_plugins.perturbseq.report import analysis
from tuner_plugins.perturbseq.report.command import options_of
from tuner_plugins.perturbseq.report.options import Analysis, AnalysisOptions
from tuner_plugins.perturbseq.report.program_steps import group
from tuner_plugins.perturbseq.report.steps import fit_coefficients, wide
from tuner_plugins.perturbseq.simulate import CONTROL, simulate

from tuner.plugin import InputError

PARAMS = {"alpha": 1e-3, "l1_ratio": 0.5}
QUICK = {"permutations": 20, "bootstraps": 0, "distance_permutations": 49}


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    folder = tmp_path_factory.mktemp("screen")
    return simulate(folder, seed=1, cells=2000, genes=300, perturbations=12, penetrance=1.0)


def config_of(paths, analysis=None, **data) -> ElasticNetConfig:
    return ElasticNetConfig.model_validate(
        {
            "data": {
                "counts": str(paths["screen"]),
                "control": [CONTROL],
                "batch": "batch",
                "guide": "guide",
                "covariates": ["total_counts", "pct_counts_mt", "S_score", "G2M_score"],
                **data,
            },
            "cv": {"folds": 2},
            "analysis": {**QUICK, "gene_sets": str(paths["gene_sets"]), **(analysis or {})},
        }
    )


@pytest.mark.parametrize(
    "options",
    [{}, {"penalise_covariates": True}, {"scale_genes": True, "genes": {"min_cells": 400}}],
)
def test_the_model_is_the_one_that_was_tuned(simulated, options):
    config = config_of(simulated, **options)
    case = ElasticNetPlugin(config).load().tuned[0].data
    expected = refit(case.problem, PARAMS["alpha"], PARAMS["l1_ratio"])
    flags = {k: v for k, v in options.items() if k != "genes"}
    screen = open_screen(config.data.source, config.data.recipe())
    adata, model = load(screen, PARAMS["alpha"], PARAMS["l1_ratio"], **flags)
    k = len(model.targets)
    chosen = case.problem.chosen[-1]
    assert model.genes == list(case.dataset.transform.responses[chosen])
    found = model.coefficients().to_numpy()
    coef = expected.coef[chosen] if len(expected.coef) == len(chosen) else expected.coef
    scale = np.ones(len(found))
    if options.get("scale_genes"):
        scale = model.responses.toarray().std(axis=0) / np.std(_responses_of(case, chosen), axis=0)
    np.testing.assert_allclose(found / scale[:, None], coef[:, :k], atol=1e-9)
    assert adata.n_obs == model.design.shape[0]


def _responses_of(case, chosen):
    parts = [Y for _, _, Y in blocks(case.dataset.screen, case.dataset.transform)]
    return sparse.vstack(parts).toarray()[:, chosen]


def test_a_configuration_is_analysed_to_a_report(simulated, tmp_path, monkeypatch):
    monkeypatch.setattr(analysis, "draw", lambda evidence: [])  # test_analysis.py has figures
    ElasticNetPlugin(config_of(simulated)).analyse(PARAMS, tmp_path)
    assert (tmp_path / "report.html").exists()
    truth = ad.read_h5ad(simulated["truth"])
    stored = ad.read_h5ad(tmp_path / "analysis.h5ad")
    said = stored.var["program"].astype(object).where(stored.var["program"].notna(), "")
    everywhere = truth.var["program"].astype(str)[stored.var_names]
    assert adjusted_rand_score(everywhere, said.astype(str)) >= 0.9  # "none" is a class too
    programs = pd.read_csv(tmp_path / "tables" / "programs.csv").set_index("gene")["program"]
    planted = truth.var["program"].astype(str)[programs.index]
    inside = (planted != "").to_numpy()
    assert adjusted_rand_score(planted[inside], programs[inside]) >= 0.9
    enriched = pd.read_csv(tmp_path / "tables" / "enrichment.csv")
    for name, genes in planted.groupby(programs.to_numpy()):
        most = genes.mode().item()
        if most != "":
            best = enriched[enriched["set"] == name].iloc[0]
            assert best["term"] == f"PLANTED_{most}"
    assert set(stored.obs["phase"]) == {"G1", "S", "G2M"}


def test_bad_input_is_one_line_for_the_command(simulated, tmp_path):
    plugin = ElasticNetPlugin(config_of(simulated, {"calibration": "guides"}, guide=None))
    with pytest.raises(InputError, match="needs the guide of each cell") as caught:
        plugin.analyse(PARAMS, tmp_path)
    assert "\n" not in str(caught.value)
    bad = tmp_path / "bad.gmt"
    bad.write_text("only a name\n")
    plugin = ElasticNetPlugin(config_of(simulated, {"gene_sets": str(bad)}))
    with pytest.raises(InputError, match="line 1: no genes"):
        plugin.analyse(PARAMS, tmp_path)
    assert not (tmp_path / "report.html").exists()


def test_interferon_targets_form_a_module_of_their_own(shared_data, tmp_path):
    path = shared_data / "perturbseq" / "papalexi2021_thp1_lowmoi_299genes.h5ad"
    quick = {"permutations": 30, "bootstraps": 0, "calibration": "none"}
    config = ElasticNetConfig.model_validate(
        {
            "data": {
                "counts": str(path),
                "control": ["non-targeting"],
                "batch": "batch",
                "covariates": ["total_counts", "pct_counts_mt"],
            },
            "analysis": quick,
        }
    )
    screen = open_screen(config.data.source, config.data.recipe())
    adata, model = load(screen, 7e-4, 0.9, composition=None)
    assert model.composition is None  # divided by the depth of the whole transcriptome
    found = Analysis(adata)
    options = options_of(config.analysis.plain(), "total_counts")
    coef, table = fit_coefficients(found, model, options)
    _, modules = group(found, model, options, wide(table, "p", coef).to_numpy())
    hits = (wide(table, "q", coef) < 0.05).sum()
    interferon = ["IFNGR1", "IFNGR2", "JAK2", "STAT1"]
    idle = ["ATF2", "CAV1", "PDCD1LG2", "STAT5A", "MARCH8", "CD86", "CMTM6"]
    assert (hits[interferon] > 40).all()
    assert (hits[idle] <= 3).all()
    assert modules.labels[interferon].nunique() == 1
    assert modules.labels[idle].isna().all()  # CMTM6 lowers itself, which makes it like no other


def test_what_a_perturbation_does_to_its_own_gene_makes_no_module(tmp_path):
    paths = simulate(tmp_path, seed=3, cells=1500, genes=260, perturbations=8, null_fraction=0.5)
    truth = ad.read_h5ad(paths["truth"])
    idle = list(truth.obs_names[truth.obs["module"] == ""])
    screen = ad.read_h5ad(paths["screen"])
    own = [g for g in screen.var_names if g.startswith("GENE")][: len(idle)]
    names = dict(zip(idle, own, strict=True))
    labels = screen.obs["perturbation"].astype(str).replace(names).to_numpy()
    counts = screen.X.toarray()
    for gene in own:
        counts[labels == gene, screen.var_names.get_loc(gene)] = 0  # a knock-out
        counts[labels != gene, screen.var_names.get_loc(gene)] += 3
    screen.X, screen.obs["perturbation"] = sparse.csr_matrix(counts), labels
    screen.obs["total_counts"] = counts.sum(axis=1)
    recipe = config_of(paths).data.recipe()
    _, model = load(open_screen(screen, replace(recipe, covariates=())), 1e-3, 1.0)
    found = Analysis(screen[:, model.genes].copy())
    options = AnalysisOptions(n_permutations=40, n_bootstraps=0, calibration="none")
    coef, table = fit_coefficients(found, model, options)
    programs, modules = group(found, model, options, wide(table, "p", coef).to_numpy())
    q = wide(table, "q", coef)
    assert all(q.loc[gene, gene] < 0.05 for gene in own)  # found, and left aside
    assert modules.labels[own].isna().mean() >= 0.75
    active = truth.obs_names[truth.obs["module"] != ""]
    assert modules.labels[active].notna().all()
