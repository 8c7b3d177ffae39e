"""`import tuner_plugins.perturbseq as ps`: what a notebook calls, and where results stand."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import warnings
from dataclasses import asdict, replace
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import tuner_plugins.perturbseq as ps
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import sparse
from tuner_plugins.elasticnet.config import ElasticNetConfig
from tuner_plugins.elasticnet.plugin import ElasticNetPlugin
from tuner_plugins.elasticnet.reading import probe_files
from tuner_plugins.elasticnet.script import fit_screen
from tuner_plugins.enet.cross_validation import refit
from tuner_plugins.perturbseq.annotated import ScreenWarning
from tuner_plugins.perturbseq.data.guide_calls import GuideCalling, call_guides
from tuner_plugins.perturbseq.data.guide_counts import read_modality
from tuner_plugins.perturbseq.data.screen import open_screen, recipe_of
from tuner_plugins.perturbseq.data.stored import CellsError
from tuner_plugins.perturbseq.data.transform import blocks, learn
from tuner_plugins.perturbseq.errors import AnalysisError
from tuner_plugins.perturbseq.model.surface import grid_alphas
from tuner_plugins.perturbseq.report import analysis
from tuner_plugins.perturbseq.report.embedding import log_normalised
from tuner_plugins.perturbseq.simulate import CONTROL, simulate

from tests.perturbseq.guides import guide_counts
from tests.perturbseq.screens import small_screen
from tuner.plugin import InputError

COVARIATES = ["total_counts", "pct_counts_mt", "S_score", "G2M_score"]
OPTIONS = {"control": CONTROL, "batch": "batch", "guide": "guide", "covariates": COVARIATES}
GRID = {"alphas": 6, "l1_ratios": [0.5, 1.0], "folds": 3}


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    sizes = {"cells": 700, "genes": 180, "perturbations": 6, "programs": 2, "modules": 2}
    folder = tmp_path_factory.mktemp("door")
    return simulate(folder, seed=3, penetrance=1.0, effect=1.0, **sizes)


@pytest.fixture(scope="module")
def analysed(paths):
    """Return the screen with everything that `ps.tl` writes."""
    adata = ad.read_h5ad(paths["screen"])
    ps.tl.elasticnet(adata, **OPTIONS, **GRID, n_permutations=20)
    ps.tl.programs(adata)
    ps.tl.score_programs(adata, n_permutations=100)
    ps.tl.enrich(adata, paths["gene_sets"])
    return adata


@pytest.fixture(scope="module")
def config(paths):
    """Return the same as a configuration of the plug-in."""
    data = {**OPTIONS, "counts": str(paths["screen"]), "control": [CONTROL]}
    sections = {"data": data, "cv": {"folds": 3}}
    sections["surface"] = {"alphas": 6, "l1_ratios": [0.5, 1.0], "permutations": 0}
    sections["analysis"] = {
        "permutations": 20,
        "bootstraps": 0,
        "calibration": "none",
        "gene_sets": str(paths["gene_sets"]),
    }
    return ElasticNetConfig.model_validate(sections)


def test_the_sweep_is_that_of_the_plug_in(analysed, config):
    plugin = ElasticNetPlugin(config)
    (case,) = plugin.load().tuned
    own = analysed.uns["elasticnet"]
    table = own["surface"]
    given = grid_alphas(case.data.problem, 6, [0.5, 1.0])
    np.testing.assert_allclose(table["alpha"].unique(), given, rtol=1e-12)
    best = table.loc[table["r2"].idxmax()]
    assert (own["alpha"], own["l1_ratio"]) == (best["alpha"], best["l1_ratio"])
    params = {"alpha": own["alpha"], "l1_ratio": own["l1_ratio"]}
    scores = plugin.score(case, plugin.run(case, params, 0))
    for name in ("r2", "r2_se", "delta_r2", "partial_r2"):
        assert own[name] == pytest.approx(scores[name], abs=1e-9)
    assert own["kkt"] <= 1e-9
    assert own["notes"].tolist()[: len(case.data.notes)] == list(case.data.notes)


def test_coefficients_as_counted_are_those_of_the_exported_script(paths, analysed, config):
    adata = ad.read_h5ad(paths["screen"])
    given = {"alphas": [analysed.uns["elasticnet"]["alpha"]], "l1_ratios": [1.0], "folds": 3}
    options = {**OPTIONS, "penalise_covariates": True}
    ps.tl.elasticnet(adata, **options, **given, n_permutations=0, composition=False)
    setting = {key: adata.uns["elasticnet"][key] for key in ("alpha", "l1_ratio")}
    setting |= {"penalise_covariates": True, "scale_genes": False}
    found = fit_screen(paths["screen"], config.data.recipe(), setting)
    np.testing.assert_allclose(adata.varm["coef"], found.X, atol=1e-9)
    assert list(adata.varm["coef"].columns) == list(found.var_names)
    pd.testing.assert_frame_equal(
        adata.varm["coef_covariates"], found.obsm["covariates"], atol=1e-9, check_names=False
    )
    np.testing.assert_allclose(adata.var["intercept"], found.obs["intercept"], atol=1e-9)
    assert "coef_p" not in adata.varm


def test_what_follows_is_what_the_analysis_finds(analysed, config, tmp_path, monkeypatch):
    def normalise(adata, options):
        adata.layers["lognorm"] = log_normalised(adata, options.size_factor)
        adata.obsm["X_pca"] = adata.layers["lognorm"][:, :3].toarray()

    monkeypatch.setattr(analysis, "prepare", normalise)  # UMAP and figures take most of the time
    monkeypatch.setattr(analysis, "draw", lambda evidence: [])
    own = analysed.uns["elasticnet"]
    params = {"alpha": own["alpha"], "l1_ratio": own["l1_ratio"]}
    ElasticNetPlugin(config).analyse(params, tmp_path / "report")
    other = ad.read_h5ad(tmp_path / "report" / "analysis.h5ad")
    for key in ("coef", "coef_p", "coef_q"):
        pd.testing.assert_frame_equal(analysed.varm[key], other.varm[key], check_names=False)
    assert analysed.var["program"].astype(str).tolist() == other.var["program"].astype(str).tolist()
    for key in ("programs", "modules"):
        assert analysed.uns[key]["order"].tolist() == other.uns[key]["order"].tolist()
    np.testing.assert_allclose(
        analysed.obsm["program_scores"], other.obsm["program_scores"], atol=1e-6
    )
    shared = ["program", "perturbation", "difference"]
    pd.testing.assert_frame_equal(
        analysed.uns["program_tests"][shared],
        other.uns["program_tests"][shared].astype({"program": object, "perturbation": object}),
        rtol=1e-5,
    )
    terms = [f.uns["enrichment"][["set", "term"]].to_numpy().tolist() for f in (analysed, other)]
    assert terms[0] == terms[1]
    table = pd.read_parquet(tmp_path / "report" / "tables" / "coefficients.parquet")
    mine = analysed.copy()
    ps.tl.fold_changes(mine)
    pd.testing.assert_frame_equal(ps.tl.coefficient_table(mine), table)
    figure = ps.pl.coefficients(other)[0].figure  # what a report left can be drawn as well
    assert "programs" in figure.get_suptitle()
    plt.close("all")


def test_results_survive_a_file(analysed, tmp_path):
    analysed.write_h5ad(tmp_path / "done.h5ad")
    again = ad.read_h5ad(tmp_path / "done.h5ad")
    before = again.var["program"].astype(str).tolist()
    ps.tl.programs(again)
    assert again.var["program"].astype(str).tolist() == before
    pd.testing.assert_frame_equal(ps.tl.coefficient_table(again), ps.tl.coefficient_table(analysed))


def test_programs_are_renamed_everywhere(analysed):
    adata = analysed.copy()
    ps.tl.rename_programs(adata, {"P0": "interferon"})
    assert adata.var["program"].cat.categories[0] == "interferon"
    assert adata.obsm["program_scores"].columns[0] == "interferon"
    assert "P0" not in set(adata.uns["program_tests"]["program"])
    assert "interferon" in set(adata.uns["enrichment"]["set"])
    ticks = [t.get_text() for t in ps.pl.dotplot(adata)[0].get_yticklabels()]
    assert "interferon" in ticks
    ps.tl.score_programs(adata, n_permutations=60)
    assert adata.obsm["program_scores"].columns[0] == "interferon"
    with pytest.raises(AnalysisError, match="no program 'P9'; there are: interferon, P1"):
        ps.tl.rename_programs(adata, {"P9": "x"})
    with pytest.raises(AnalysisError, match="two programs would have the same name"):
        ps.tl.rename_programs(adata, {"P1": "interferon"})
    plt.close("all")


def test_plots_return_axes_and_draw_where_they_are_told(analysed):
    analysed.obsm["X_umap"] = np.random.default_rng(0).normal(size=(analysed.n_obs, 2))
    calls = {
        ps.pl.surface: (),
        ps.pl.umap: (["batch", "perturbation"],),
        ps.pl.coefficients: (),
        ps.pl.clustermap: (),
        ps.pl.dotplot: (),
        ps.pl.volcano: ("PERT1",),
        ps.pl.qq: (),
        ps.pl.enrichment: (),
    }
    for draw, given in calls.items():
        axes = draw(analysed, *given)
        assert all(isinstance(one, Axes) for one in axes)
        assert plt.gcf() is axes[0].figure  # a notebook shows it
        own = Figure()
        assert draw(analysed, *given, figure=own)[0].figure is own
        assert axes[0].has_data()
    plt.close("all")
    with pytest.raises(AnalysisError, match="no perturbation 'PERT'; there are: PERT1"):
        ps.pl.volcano(analysed, "PERT")
    with pytest.raises(AnalysisError, match="no obs column 'phases'"):
        ps.pl.umap(analysed, ["phases"])


def test_covariates_are_those_of_the_model(paths, config):
    adata = ad.read_h5ad(paths["screen"])
    del adata.obs["total_counts"], adata.obs["pct_counts_mt"]
    ps.pp.covariates(adata)
    seen = (adata.X > 0).sum(axis=1)
    np.testing.assert_array_equal(adata.obs["n_genes_by_counts"], np.asarray(seen).ravel())
    screen = open_screen(ad.read_h5ad(paths["screen"]), config.data.recipe())
    screen, transform = learn(screen, np.zeros(len(screen.obs), dtype=np.int64))
    X = np.vstack([x.toarray() for _, x, _ in blocks(screen, transform)])[:, transform.columns[-1]]
    expected = X[:, -len(COVARIATES) :]
    np.testing.assert_allclose(adata.obs[COVARIATES], expected, rtol=1e-6, atol=1e-9)
    assert set(adata.obs["phase"].cat.categories) == {"G1", "S", "G2M"}
    counts = adata.obs["phase"].value_counts()
    assert counts.min() > 50  # a third of the cycle each, roughly


@pytest.fixture
def tiny():
    return small_screen(labels=["ctrl", "A", "B", "C"], cells=120)


QUICK = {"control": "ctrl", "alphas": 4, "l1_ratios": [1.0], "folds": 3, "n_permutations": 0}


def test_backed_and_modality_give_the_same(tiny, tmp_path):
    tiny.write_h5ad(tmp_path / "tiny.h5ad")
    backed = ad.read_h5ad(tmp_path / "tiny.h5ad", backed="r")
    ps.tl.elasticnet(tiny, **QUICK)
    assert ps.tl.elasticnet(backed, **QUICK) is None
    pd.testing.assert_frame_equal(backed.varm["coef"], tiny.varm["coef"])
    copied = ps.tl.elasticnet(backed, **QUICK, copy=True)
    assert not copied.isbacked
    pd.testing.assert_frame_equal(copied.varm["coef"], tiny.varm["coef"])
    backed.file.close()


@pytest.mark.filterwarnings("ignore:From 0.4:FutureWarning")
def test_a_modality_of_mudata(tiny):
    mudata = pytest.importorskip("mudata", reason="mudata is optional, and not here")
    expected = ps.tl.elasticnet(tiny, **QUICK, copy=True)
    other = ad.AnnData(np.ones((tiny.n_obs, 2)), obs=tiny.obs[[]])
    mdata = mudata.MuData({"rna": tiny, "guides": other})
    ps.tl.elasticnet(mdata, **QUICK)
    pd.testing.assert_frame_equal(mdata["rna"].varm["coef"], expected.varm["coef"])
    with pytest.raises(AnalysisError, match="no modality 'gex'.*rna, guides"):
        ps.tl.elasticnet(mdata, **QUICK, modality="gex")


def test_cells_and_genes_that_are_left_out_have_no_values(tiny):
    tiny.obs["score"] = np.random.default_rng(0).normal(size=tiny.n_obs)
    labels = tiny.obs["perturbation"].astype(object)
    labels.iloc[:3] = "D"
    tiny.obs["perturbation"] = labels
    with pytest.warns(ScreenWarning, match="3 cells of other perturbations were dropped"):
        ps.tl.elasticnet(
            tiny,
            **{**QUICK, "n_permutations": 5},
            perturbations=["A", "B", "C"],
            genes=["g1", "g2", "g3"],
            y_obs=["score"],
            symbols=None,
        )
    assert tiny.varm["coef"].notna().all(axis=1).sum() == 3
    assert ps.tl.coefficient_table(tiny)["gene"].unique().tolist() == ["g1", "g2", "g3"]
    assert tiny.uns["elasticnet"]["y_obs"].index.tolist() == ["score"]
    with pytest.warns(ScreenWarning, match="optimistic|no programs|modules take"):
        ps.tl.programs(tiny)
    ps.tl.score_programs(tiny, {"mine": ["g1", "g2"]}, n_permutations=99)
    scores = tiny.obsm["program_scores"]["mine"]
    assert scores.isna().to_numpy().nonzero()[0].tolist() == [0, 1, 2]
    assert set(tiny.uns["program_tests"]["program"]) == {"mine"}


def test_symbols_name_genes_and_results_stay_in_place(tiny):
    tiny.var["symbol"] = [f"S{i}" for i in range(tiny.n_vars)]
    ps.tl.elasticnet(tiny, **{**QUICK, "n_permutations": 5}, symbols="symbol")
    assert tiny.varm["coef"].index.tolist() == tiny.var_names.tolist()
    assert ps.tl.coefficient_table(tiny)["gene"].iloc[0] == "S0"
    ps.tl.enrich(tiny, {"SET": [f"S{i}" for i in range(6)]}, q_threshold=0.99)
    assert set(tiny.uns["enrichment"]["term"]) <= {"SET"}


TROUBLE = {
    "not run": (lambda a: ps.tl.programs(a), "run tl.elasticnet first"),
    "no p": (
        lambda a: (ps.tl.elasticnet(a, **QUICK), ps.tl.programs(a)),
        "no varm 'coef_p'.*n_permutations of 1 or more",
    ),
    "no programs": (
        lambda a: (ps.tl.elasticnet(a, **QUICK), ps.tl.score_programs(a)),
        "no programs in uns: run tl.programs",
    ),
    "no gene sets": (lambda a: ps.tl.enrich(a), "needs gene_sets, a GMT file or a mapping"),
    "a table": (lambda a: ps.tl.elasticnet(a.obs, **QUICK), "expected an AnnData.*got DataFrame"),
    "no separator": (
        lambda a: ps.tl.elasticnet(a, **QUICK, multiple="additive"),
        "multiple='additive' needs a separator",
    ),
    "no guide": (
        lambda a: ps.tl.elasticnet(a, **QUICK, split="leave_guide_out"),
        "split='leave_guide_out' needs guide",
    ),
    "no surface": (lambda a: ps.pl.surface(a), "no uns.'elasticnet'. to draw: run tl.elasticnet"),
}


@pytest.mark.parametrize("kind", TROUBLE)
def test_trouble_is_one_line(tiny, kind):
    call, message = TROUBLE[kind]
    with pytest.raises(AnalysisError, match=message) as caught:
        call(tiny)
    assert "\n" not in str(caught.value)


def test_unknown_perturbations_and_covariates(tiny):
    with pytest.raises(CellsError, match="no perturbation 'a' in obs column.*did you mean|there"):
        ps.tl.elasticnet(tiny, **QUICK, perturbations=["a"])
    with pytest.raises(CellsError, match="'depth' is none of"):
        ps.pp.covariates(tiny, ["depth"])
    with pytest.raises(CellsError, match="S_score cannot be computed"):
        ps.pp.covariates(tiny, ["S_score"])


def test_the_door_is_light():
    code = "import sys, tuner_plugins.perturbseq; print('anndata' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "False\n", done.stderr
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        ps.nothing  # noqa: B018


@pytest.fixture(scope="module")
def infected():
    """Return a screen of high multiplicity whose labels are to be called, and its truth."""
    counts, truth = guide_counts(2, cells=600, guides=8, moi=1.5)
    names = [f"{target}_{n}" for target in ("ctrl", "A", "B", "C") for n in (1, 2)]
    has = np.column_stack([truth[:, i : i + 2].any(axis=1) for i in range(0, 8, 2)])
    rng = np.random.default_rng(0)
    mean = 5 + 10 * has[:, [1]] * [1, 0, 0, 0, 0, 0] + 10 * has[:, [2]] * [0, 1, 0, 0, 0, 0]
    adata = ad.AnnData(rng.poisson(mean).astype(float))
    adata.obs_names = [f"c{i}" for i in range(600)]
    adata.var_names = [f"g{i}" for i in range(6)]
    adata.obsm["guides"] = pd.DataFrame(counts, index=adata.obs_names, columns=names)
    return adata, has


HIGH = {"separator": "+", "multiple": "additive", "unassigned": "drop"}


@pytest.mark.filterwarnings("ignore::tuner_plugins.perturbseq.annotated.ScreenWarning")
def test_guides_become_a_design_of_several_perturbations(infected):
    adata, has = infected[0].copy(), infected[1]
    ps.pp.assign_guides(adata, obsm="guides")
    labels = adata.obs["perturbation"].fillna("").str.split("+")
    for at, target in enumerate(("ctrl", "A", "B", "C")):
        own = labels.map(lambda parts, target=target: target in parts).to_numpy()
        assert (own == has[:, at]).mean() > 0.97
    ps.tl.elasticnet(adata, **{**QUICK, **HIGH})
    coef = adata.varm["coef"]
    assert coef.loc["g0"].idxmax() == "A"
    assert coef.loc["g1"].idxmax() == "B"
    direct = infected[0].copy()
    ps.tl.elasticnet(direct, **{**QUICK, **HIGH}, guide_counts="guides")
    pd.testing.assert_frame_equal(direct.varm["coef"], coef)


@pytest.mark.filterwarnings("ignore::tuner_plugins.perturbseq.annotated.ScreenWarning")
@pytest.mark.filterwarnings("ignore:From 0.4:FutureWarning")
def test_guides_from_features_and_from_a_modality(infected):
    adata = infected[0].copy()
    ps.pp.assign_guides(adata, obsm="guides")
    table = adata.obsm["guides"]
    var = pd.DataFrame({"feature_types": "CRISPR Guide Capture"}, index=table.columns)
    var["target_gene_name"] = [name.split("_")[0] for name in table]
    guides = ad.AnnData(sparse.csr_matrix(table.to_numpy(dtype=float)), table[[]], var)
    genes = ad.AnnData(sparse.csr_matrix(adata.X), table[[]], adata.var[[]])
    genes.var["feature_types"] = "Gene Expression"
    both = ad.concat([genes, guides], axis=1)
    both.var = pd.concat([genes.var, guides.var])
    ps.pp.assign_guides(both, targets="target_gene_name")
    pd.testing.assert_series_equal(both.obs["perturbation"], adata.obs["perturbation"])
    with pytest.raises(CellsError, match="guides have no column 'gene' for targets"):
        ps.pp.assign_guides(both, targets="gene")
    with pytest.raises(CellsError, match="no counts of guides: name obsm, a modality"):
        ps.pp.assign_guides(genes)
    mudata = pytest.importorskip("mudata", reason="mudata is optional, and not here")
    mdata = mudata.MuData({"rna": genes, "guides": guides[::-1][:500].copy()})
    ps.pp.assign_guides(mdata, guides="guides", method="threshold", min_umis=5)
    expected = call_guides(guides.X, list(table), genes.obs_names, GuideCalling("", "threshold", 5))
    kept = mdata["rna"].obs_names.isin(guides.obs_names[::-1][:500])
    found = mdata["rna"].obs["perturbation"]
    pd.testing.assert_series_equal(found[kept], expected.labels["perturbation"][kept])
    assert found[~kept].isna().all()


def test_guides_from_a_file(infected, tmp_path):
    """The plug-in and its script call the same guides as `ps` does."""
    adata = infected[0].copy()
    adata.write_h5ad(tmp_path / "screen.h5ad")
    data = {"counts": str(tmp_path / "screen.h5ad"), "control": ["ctrl"], "multiple": "additive"}
    data |= {"unassigned": "drop", "guide_counts": {"obsm": "guides", "min_umis": 4}}
    config = ElasticNetConfig.model_validate({"data": data})
    loaded = ElasticNetPlugin(config).load().tuned[0].data
    assert loaded.notes[0].startswith("guides were called (negative_binomial, 4 counts at least)")
    calls = call_guides(
        adata.obsm["guides"], list(adata.obsm["guides"]), adata.obs_names, GuideCalling(min_umis=4)
    )
    n = calls.labels["n_guides"] > 0
    assert loaded.dataset.screen.obs.index.tolist() == adata.obs_names[n].tolist()
    plain = json.loads(json.dumps(asdict(config.data.recipe())))
    setting = {"alpha": 0.01, "l1_ratio": 0.5, "penalise_covariates": False, "scale_genes": False}
    found = fit_screen(tmp_path / "screen.h5ad", recipe_of(plain), setting)
    np.testing.assert_allclose(found.X, refit(loaded.problem, 0.01, 0.5).coef, atol=1e-9)
    wrong = data | {"guide_counts": {"obsm": "guide"}}
    with pytest.raises(InputError, match="no obsm 'guide' .*did you mean: guides"):
        ElasticNetPlugin(ElasticNetConfig.model_validate({"data": wrong})).load()
    with pytest.raises(ValueError, match="method"):
        ElasticNetConfig.model_validate({"data": data | {"guide_counts": {"methods": "max"}}})


def test_guides_from_a_modality_of_a_file(infected, tmp_path):
    """Counts of guides in an .h5mu, or as features of a type of their own, in another order."""
    adata = infected[0].copy()
    table = adata.obsm.pop("guides")
    var = pd.DataFrame({"feature_types": "CRISPR Guide Capture"}, index=list(table))
    guides = ad.AnnData(sparse.csr_matrix(table.to_numpy(dtype=float)), table[[]], var)
    genes = ad.AnnData(adata.X, table[[]], adata.var.assign(feature_types="Gene Expression"))
    both = ad.concat([genes, guides], axis=1)
    both.var = pd.concat([genes.var, guides.var])
    both.write_h5ad(tmp_path / "both.h5ad")
    sources = {"both.h5ad": "CRISPR Guide Capture"}
    if importlib.util.find_spec("mudata"):
        import mudata

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of what mudata will do one day
            mudata.MuData({"rna": genes, "guides": guides[::-1].copy()}).write(tmp_path / "a.h5mu")
        sources["a.h5mu"] = "guides"
    calls = call_guides(table, list(table), adata.obs_names, GuideCalling())
    expected = calls.labels.loc[calls.labels["n_guides"] > 0, "perturbation"]
    for name, modality in sources.items():
        data = {"counts": str(tmp_path / name), "control": ["ctrl"], "multiple": "additive"}
        data |= {"unassigned": "drop", "guide_counts": {"modality": modality}}
        recipe = ElasticNetConfig.model_validate({"data": data}).data.recipe()
        screen = open_screen(tmp_path / name, recipe)
        assert screen.obs["perturbation"].tolist() == expected.tolist()
        assert screen.counts.genes.tolist() == genes.var_names.tolist()
        probe_files(ElasticNetConfig.model_validate({"data": data}).data)
        wrong = replace(recipe, calling=GuideCalling(modality="gides"))
        with pytest.raises(CellsError, match="gides"):
            open_screen(tmp_path / name, wrong)
    odd = both.copy()
    odd.obs_names = [f"other{i}" for i in range(odd.n_obs)]
    with pytest.raises(CellsError, match="has none of the screen's cells"):
        read_modality(odd, "CRISPR Guide Capture", both.obs_names)


def test_fold_changes_stand_beside_coefficients(analysed):
    adata = analysed.copy()
    adata.var_names = ["PERT1" if name == "GENE00001" else name for name in adata.var_names]
    with pytest.raises(AnalysisError, match="no varm 'log2fc': run tl.fold_changes first"):
        ps.tl.knockdown(adata)
    ps.tl.fold_changes(adata)
    table = ps.tl.coefficient_table(adata)
    hits = table[(table["q"] < 0.05) & (table["coef"].abs() > 0.2)]
    assert len(hits) > 20
    assert (np.sign(hits["coef"]) == np.sign(hits["log2fc"])).mean() > 0.98
    assert (table["log2fc_low"] <= table["log2fc"]).all()
    (row,) = ps.tl.knockdown(adata).itertuples()
    assert (row.perturbation, row.gene) == ("PERT1", "PERT1")
    assert row.remaining == pytest.approx(2**row.log2fc)
    ps.tl.elasticnet(adata, **OPTIONS, **GRID, n_permutations=0)
    assert "log2fc" not in adata.varm  # of another fit


def test_too_few_permutations_are_noted_and_a_tail_helps(tiny):
    rng = np.random.default_rng(0)
    counts = tiny.X.toarray()
    counts[(tiny.obs["perturbation"] == "A").to_numpy(), 3] += rng.poisson(9.0, 30)
    tiny.X = sparse.csr_matrix(counts)
    del tiny.obs["total_counts"]
    options = {**QUICK, "composition": False}
    with pytest.warns(ScreenWarning, match="no q can be below .* ask for [0-9]+ permutations or"):
        ps.tl.elasticnet(tiny, **{**options, "n_permutations": 5})
    assert tiny.varm["coef_q"].min(axis=None) > 0.05
    with pytest.warns(ScreenWarning, match="no q can be below"):  # 60 null values make no tail
        ps.tl.elasticnet(tiny, **{**options, "n_permutations": 5}, tail_fit=True)
    ps.tl.elasticnet(tiny, **{**options, "n_permutations": 60}, tail_fit=True)
    assert tiny.varm["coef_p"].loc["g3", "A"] < 1 / 721  # the least that 60 x 12 give


def test_what_a_step_warns_of_stays_with_the_screen(tiny):
    counts = tiny.X.toarray()
    counts[2:, 3] = 0  # two cells are too few for a p
    tiny.X = sparse.csr_matrix(counts)
    del tiny.obs["total_counts"]
    ps.tl.elasticnet(tiny, **QUICK)
    before = tiny.uns["elasticnet"]["notes"].tolist()
    said = f"1 of {tiny.n_vars} genes have counts in too few cells"
    for _ in range(2):
        with pytest.warns(ScreenWarning, match=said) as warned:
            ps.tl.fold_changes(tiny)
        assert {Path(each.filename).name for each in warned} == {Path(__file__).name}
    (added,) = tiny.uns["elasticnet"]["notes"].tolist()[len(before) :]
    assert added.startswith(said)


def test_distances_of_cells_from_control(analysed):
    adata = analysed.copy()
    with pytest.raises(AnalysisError, match="no obsm 'X_pca': run pp.prepare"):
        ps.tl.edistance(adata)
    adata.obsm["X_pca"] = np.asarray(adata.obsm["program_scores"])
    ps.tl.edistance(adata, n_permutations=99)
    table = adata.uns["edistance"].set_index("perturbation")
    assert table.index.tolist() == [f"PERT{i}" for i in range(1, 7)]
    tests = adata.uns["program_tests"]
    moved = tests.loc[tests["effect_size"].abs() > 1, "perturbation"].unique()
    assert len(moved) > 2
    assert (table.loc[moved, "p"] == 0.01).all()
