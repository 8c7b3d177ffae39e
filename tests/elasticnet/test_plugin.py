from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import anndata
import mlflow
import numpy as np
import pandas as pd
import pytest
import yaml
from pydantic import ValidationError
from scipy import sparse
from tuner_plugins.elasticnet import plugin as plugin_module
from tuner_plugins.elasticnet.plugin import ElasticNetPlugin
from tuner_plugins.enet.cross_validation import refit
from tuner_plugins.perturbseq.data.matrix import CellsError
from tuner_plugins.perturbseq.simulate import CONTROL, simulate

from tuner.cli import main
from tuner.config.load import load_config
from tuner.plugin import InputError, Result
from tuner.testing import PluginContract

CONFIGS = Path(__file__).resolve().parents[2] / "configs"


class TestContract(PluginContract):
    plugin_class = ElasticNetPlugin


@pytest.fixture(scope="module")
def screen(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("plugin")
    options = {"cells": 600, "genes": 150, "perturbations": 6, "programs": 2, "modules": 2}
    return simulate(folder / "screen", seed=4, null_fraction=0.5, **options)["screen"]


def _sections(path: Path, permutations: int = 0, **data: object) -> dict[str, object]:
    return {
        "data": {
            "counts": str(path),
            "control": [CONTROL],
            "batch": "batch",
            "guide": "guide",
            "covariates": ["total_counts", "pct_counts_mt"],
            **data,
        },
        "cv": {"folds": 3},
        "surface": {"alphas": 8, "l1_ratios": [0.5, 1.0], "permutations": permutations},
    }


def _plugin(
    path: Path, cv: dict[str, object] | None = None, permutations: int = 0, **data: object
) -> ElasticNetPlugin:
    sections = _sections(path, permutations, **data)
    sections["cv"] = cv or sections["cv"]
    return ElasticNetPlugin(ElasticNetPlugin.Config.model_validate(sections))


def _result(plugin: ElasticNetPlugin, alpha: float, ratio: float) -> Result:
    case = plugin.load().tuned[0]
    params = {"alpha": alpha, "l1_ratio": ratio}
    output = plugin.run(case, params, 0)
    return Result(case, params, output, plugin.score(case, output), 1.0)


def test_planted_screen_end_to_end(screen):
    plugin = _plugin(screen, permutations=39)
    result = _result(plugin, 0.003, 0.5)
    assert 0.01 < result.metrics["delta_r2"] < result.metrics["r2"] < 0.9
    assert 0.01 < result.metrics["partial_r2"] < 0.9
    without = result.metrics["r2"] - result.metrics["r2_covariates"]
    assert result.metrics["delta_r2"] == pytest.approx(without, abs=1e-12)
    assert result.metrics["kkt"] <= 1e-9
    tables = plugin.tables([result])
    assert set(tables) >= {"surface", "choice", "genes", "perturbations", "permutation_null"}
    surface = tables["surface"]
    assert len(surface) == 16
    choice = tables["choice"].set_index("choice")
    assert choice.loc["chosen", "p_of_best_partial_r2"] == pytest.approx(1 / 40)
    for table in (surface, choice.drop(index="nested")):
        np.testing.assert_allclose(
            table["delta_r2"], table["r2"] - table["r2_covariates"], rtol=0, atol=1e-12
        )
    assert choice.loc["chosen", "r2"] == pytest.approx(result.metrics["r2"], abs=1e-12)
    assert choice.loc["best of the grid", "r2"] == surface["r2"].max()
    assert choice.loc["nested", "r2"] <= surface["r2"].max() + 1e-12
    truth = anndata.read_h5ad(screen.with_name("truth.h5ad")).obs["module"]
    working = tables["perturbations"]["perturbation"].map(truth) != ""
    assert working.iloc[:3].all()
    figures = plugin.figures([result])
    assert set(figures) == {"surface", "path", "nonzeros", "perturbations", "permutation_null"}
    added, judged = plugin.findings([result])
    assert f"delta_r2 {result.metrics['delta_r2']:+.4f}" in added
    assert "is better than luck: p 0.025 (39 permutations among guide)" in judged


def test_a_screen_in_which_nothing_acts_is_called_luck(screen, tmp_path):
    adata = anndata.read_h5ad(screen)
    for column in ("perturbation", "guide"):
        labels = adata.obs[column].astype(str).to_numpy()
        adata.obs[column] = np.random.default_rng(1).permutation(labels)
    adata.write_h5ad(tmp_path / "idle.h5ad")
    plugin = _plugin(tmp_path / "idle.h5ad", permutations=19, guide=None)
    added, judged = plugin.findings([_result(plugin, 0.003, 0.5)])
    assert "add nothing to the held-out R2 of covariates: delta_r2 -" in added
    assert "not distinguishable from luck: p 1 (19 permutations among guide)" in judged


def test_a_setting_without_coefficients_is_said_to_predict_nothing(screen):
    nothing, *_ = _plugin(screen, permutations=0).findings([_result(_plugin(screen), 1e6, 0.5)])
    assert nothing.startswith("the best setting (alpha 1e+06) has no non-zero coefficient")
    found = _plugin(screen, permutations=0).findings([_result(_plugin(screen), 0.003, 0.5)])
    assert not any("non-zero" in line for line in found)


def test_the_whole_grid_holds_what_trials_find(screen):
    plugin = _plugin(screen)
    first = plugin.tables([_result(plugin, 0.003, 0.5)])["surface"]
    for row in first.iloc[[0, 5, 15]].itertuples():
        metrics = _result(plugin, row.alpha, row.l1_ratio).metrics
        assert metrics["r2"] == pytest.approx(row.r2, abs=1e-10)
        assert metrics["delta_r2"] == pytest.approx(row.delta_r2, abs=1e-10)


def test_everything_is_zero_at_the_top_of_the_grid(screen):
    plugin = _plugin(screen)
    surface = plugin.tables([_result(plugin, 0.003, 0.5)])["surface"]
    top = surface[(surface["alpha"] == surface["alpha"].max()) & (surface["l1_ratio"] == 1.0)]
    assert top["nonzeros"].item() < 0.05  # folds differ a little from all cells
    assert surface["nonzeros"].max() > 4


@pytest.mark.parametrize("split", ["leave_guide_out", "leave_batch_out"])
def test_other_splits_run(screen, split):
    metrics = _result(_plugin(screen, {"folds": 3, "split": split}), 0.003, 0.5).metrics
    assert metrics["delta_r2"] > 0.005


@pytest.mark.parametrize(
    "data",
    [
        {"penalise_covariates": True},
        {"scale_genes": True},
        {"response": "counts"},
        {"genes": {"highly_variable": 60, "min_cells": 5}},
        {"covariates": ["S_score", "G2M_score"]},
        {"y_obs": ["pct_counts_mt"], "covariates": []},
    ],
    ids=lambda data: next(iter(data)) + str(len(data)),
)
def test_options_run_with_a_certificate(screen, data):
    result = _result(_plugin(screen, **data), 0.003, 0.5)
    assert result.metrics["kkt"] <= 1e-9
    assert np.isfinite(list(result.metrics.values())).all()


def test_scrambled_held_out_cells_change_no_fit(screen, tmp_path):
    data = {
        "covariates": ["total_counts", "S_score", "G2M_score"],
        "genes": {"highly_variable": 50},
        "penalise_covariates": True,
        "scale_genes": True,
    }
    before = _plugin(screen, **data).load().tuned[0].data
    held = before.dataset.folds == 1
    adata = anndata.read_h5ad(screen)
    values = adata.X.toarray()
    values[held] = np.random.default_rng(0).poisson(4.0, values[held].shape)
    adata.X = sparse.csr_matrix(values)
    adata.obs.loc[held, "total_counts"] = values[held].sum(axis=1).astype(int)
    adata.write_h5ad(tmp_path / "scrambled.h5ad")
    after = _plugin(tmp_path / "scrambled.h5ad", **data).load().tuned[0].data
    np.testing.assert_array_equal(before.dataset.folds, after.dataset.folds)
    for fold in range(3):
        coefs = []
        for loaded in (before, after):
            part, names = loaded.problem.training[fold], loaded.dataset.transform.responses
            chosen = np.flatnonzero(loaded.problem.chosen[fold])
            from tuner_plugins.enet.path import fit

            found = fit(part.genes(chosen), 0.01, 0.5, loaded.problem.penalty_factor)
            coefs.append(pd.DataFrame(found.coef, index=names[chosen]))
        same = coefs[0].index.equals(coefs[1].index) and np.allclose(*coefs, atol=1e-9)
        assert same == (fold == 1)


def test_a_screen_is_loaded_without_what_no_trial_needs(screen):
    """`tuner validate`, and every worker, start without scikit-learn and Numba."""
    code = f"""
import sys
import scipy.sparse
given = set(sys.modules)  # old releases of SciPy load all of scipy.sparse at once
from tuner_plugins.elasticnet import plugin as plugin_module
from tuner_plugins.elasticnet.plugin import ElasticNetPlugin
config = ElasticNetPlugin.Config.model_validate({_sections(screen)!r})
plugin = ElasticNetPlugin(config)
(case,) = plugin.load().tuned
plugin.score(case, plugin.run(case, {{"alpha": 0.01, "l1_ratio": 0.5}}, 0))
heavy = {{"numba", "sklearn", "scipy.stats", "scipy.sparse.csgraph", "matplotlib"}}
print(*sorted(heavy & sys.modules.keys() - given))
import tuner_plugins.elasticnet.summary, tuner_plugins.perturbseq.inference.permutation_test
print(*sorted({{"sklearn", "scipy.stats"}} & sys.modules.keys()))
from tuner_plugins.elasticnet import PerturbationElasticNet
print(PerturbationElasticNet.__module__)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.splitlines() == ["", "", "tuner_plugins.enet.estimator"], done.stderr


@pytest.mark.parametrize(("most", "readings"), [(64 << 20, 1), (0, 2)])
def test_a_small_screen_is_read_once_by_validate(screen, monkeypatch, most, readings):
    read, calls = plugin_module.read, []
    monkeypatch.setattr("tuner_plugins.perturbseq.model.reading.SMALL_BYTES", most)

    def counted(*given, **options):
        calls.append(0)
        return read(*given, **options)

    monkeypatch.setattr(plugin_module, "read", counted)
    plugin = _plugin(screen)
    notes = plugin.notes()
    first, second = (plugin.load().tuned[0].data for _ in range(2))
    assert len(calls) == readings + 1
    assert first is not second  # nothing is held once it was handed over
    assert first.notes == second.notes == notes


def test_refit_agrees_with_the_estimator(screen):
    from tuner_plugins.elasticnet import PerturbationElasticNet
    from tuner_plugins.perturbseq.data.transform import blocks

    loaded = _plugin(screen, penalise_covariates=True, covariates=[], batch=None).load()
    data = loaded.tuned[0].data
    (_, X, Y), *rest = blocks(data.dataset.screen, data.dataset.transform)
    assert not rest
    theirs = PerturbationElasticNet(alpha=0.003, l1_ratio=0.5).fit(X, Y.toarray())
    np.testing.assert_allclose(refit(data.problem, 0.003, 0.5).coef, theirs.coef_, atol=1e-9)


def test_flags_are_not_fatal(screen, tmp_path):
    adata = anndata.read_h5ad(screen)
    labels = adata.obs["perturbation"].astype(str)
    labels.iloc[:2] = "RARE"
    adata.obs["perturbation"] = labels
    adata.obs["constant"] = 1.0
    adata.write_h5ad(tmp_path / "rare.h5ad")
    plugin = _plugin(tmp_path / "rare.h5ad", covariates=["constant"])
    result = _result(plugin, 0.003, 0.5)
    notes = plugin.tables([result])["notes"]["note"].tolist()
    assert any("'RARE' (2 cells, none in 1 of 3 folds)" in note for note in notes)
    assert any("coefficients are 0: 'constant'" in note for note in notes)
    assert all(note in plugin.notes() for note in notes)


def _broken(adata: anndata.AnnData, kind: str) -> anndata.AnnData:
    if kind == "two_names":
        adata.obs_names = ["a", "a", *adata.obs_names[2:]]
    if kind == "no_counts":
        adata.X = adata.X.log1p()
    if kind == "nan":
        adata.X.data[7] = np.nan
    if kind == "nan_covariate":
        adata.obs.loc[adata.obs_names[3], "pct_counts_mt"] = np.nan
    if kind == "nan_label":
        adata.obs.loc[adata.obs_names[3], "perturbation"] = np.nan
    if kind == "empty_perturbation":
        column = pd.Categorical(adata.obs["perturbation"])
        adata.obs["perturbation"] = column.add_categories("NOBODY")
    return adata


BAD = {
    "two_names": "two cells are called 'a'",
    "no_counts": "X does not hold counts: cell '",
    "nan": "X does not hold counts: .* is nan",
    "nan_covariate": "obs column 'pct_counts_mt' is nan in 1 cells",
    "nan_label": "has 1 cells without a perturbation",
    "empty_perturbation": "perturbation 'NOBODY' has no cells",
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_files_are_one_line(screen, tmp_path, kind):
    path = tmp_path / "bad.h5ad"
    _broken(anndata.read_h5ad(screen), kind).write_h5ad(path)
    with pytest.raises(InputError, match=BAD[kind]) as error:
        _plugin(path).load()
    assert "\n" not in str(error.value)


def test_truncated_file_is_one_line(screen, tmp_path):
    path = tmp_path / "bad.h5ad"
    whole = screen.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="is it whole"):
        _plugin(path).load()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"perturbation": "perturbations"}, "no obs column 'perturbations'.*did you mean"),
        ({"covariates": ["depth"]}, "no obs column 'depth' for covariates"),
        ({"control": ["nontargeting"]}, "control label 'nontargeting' is not in"),
        ({"layer": "counts"}, "has no layer 'counts'"),
        ({"unit": "well"}, "no obs column 'well' for unit"),
        ({"unit": "batch"}, "'batch[1-3]' has cells of 7 perturbations"),
        ({"genes": {"min_cells": 10**6}}, "leaves none"),
    ],
)
def test_bad_settings_are_one_line(screen, data, message):
    with pytest.raises(InputError, match=message):
        _plugin(screen, **data).load()


def test_bad_sections_name_their_key(screen):
    with pytest.raises(ValidationError, match="needs data.guide"):
        _plugin(screen, {"split": "leave_guide_out"}, guide=None)
    with pytest.raises(ValidationError, match="needs data.separator"):
        _plugin(screen, multiple="additive")
    with pytest.raises(ValidationError, match="combinations needs data.multiple"):
        _plugin(screen, combinations=True)
    with pytest.raises(ValidationError, match="no such file"):
        _plugin(screen.with_name("nothing.h5ad"))
    with pytest.raises(InputError, match="l1_ratio is 1.5"):
        _plugin(screen).check({"alpha": 0.1, "l1_ratio": 1.5})
    with pytest.raises(InputError, match="alpha is -1"):
        _plugin(screen).check({"alpha": -1.0, "l1_ratio": 0.5})
    assert issubclass(CellsError, ValueError)


def test_labels_may_be_written_as_numbers(screen):
    plugin = _plugin(screen, control=0)
    assert plugin.config.data.control == ["0"]


@pytest.mark.parametrize("name", ["elasticnet", "papalexi"])
def test_shipped_configurations_are_valid(name, screen):
    sections = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text(encoding="utf-8"))
    sections["data"]["counts"] = str(screen)
    own = {key: sections[key] for key in ("data", "cv", "surface")}
    ElasticNetPlugin.Config.model_validate(own)


def _command(folder: Path, sections: dict[str, object], monkeypatch, *arguments: str) -> int | None:
    """Run a configuration as the command does, or another command; return the exit code."""
    monkeypatch.chdir(folder)
    (folder / "study.yaml").write_text(yaml.safe_dump(sections), encoding="utf-8")
    command, *rest = arguments or ("run",)
    monkeypatch.setattr("sys.argv", ["tuner", command, "study.yaml", *rest])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code


def test_one_standard_error_changes_what_is_frozen(screen, tmp_path, monkeypatch, capsys):
    sections = {
        "plugin": "elasticnet",
        **_sections(screen),
        "study": {"trials": 9, "sampler": "grid"},
        "search_space": {"alpha": [2e-3, 8e-3, 1.5e-2, 2e-2], "l1_ratio": [0.5, 1.0]},
        "objective": "r2",
        "tracking": {"enabled": False},
        "export": {"path": "best.py"},
    }
    assert _command(tmp_path, sections, monkeypatch) == 0
    best = (tmp_path / "best.py").read_text(encoding="utf-8")
    assert "one standard error" not in best
    # the same study, all trials done: only what is frozen changes
    sections |= {"export": {"path": "sparse.py", "select": "one_standard_error"}}
    capsys.readouterr()
    assert _command(tmp_path, sections, monkeypatch) == 0
    output = capsys.readouterr().out
    assert "is frozen, not" in output
    assert "one standard error" in output
    sparse_script = (tmp_path / "sparse.py").read_text(encoding="utf-8")
    assert "(one standard error: " in sparse_script
    settings = []
    for text in (best, sparse_script):
        (line,) = [line for line in text.splitlines() if line.startswith("Setting:")]
        settings.append(yaml.safe_load(line.removeprefix("Setting:")))
    assert settings[1]["alpha"] >= settings[0]["alpha"]
    assert settings[1] != settings[0]
    choice = pd.read_csv(next(tmp_path.glob("out/*/plots/choice.csv"))).set_index("choice")
    assert choice.loc["chosen", "alpha"] == settings[1]["alpha"]
    # and so do the commands that follow
    assert _command(tmp_path, sections, monkeypatch, "export", "-o", "again.py") == 0
    assert "(one standard error: " in (tmp_path / "again.py").read_text(encoding="utf-8")


SETTINGS = {
    "no_column": ({"perturbation": "perturbations"}, "no obs column 'perturbations'"),
    "no_covariate": ({"covariates": ["depth"]}, "no obs column 'depth'"),
    "no_control": ({"control": ["nontargeting"]}, "control label 'nontargeting' is not in"),
    "no_layer": ({"layer": "counts"}, "has no layer 'counts'"),
    "no_unit": ({"unit": "well"}, "no obs column 'well' for unit"),
    "truncated": ({}, "is it whole"),
}


@pytest.mark.parametrize("kind", [*BAD, *SETTINGS])
def test_bad_input_ends_the_command_with_2(screen, tmp_path, monkeypatch, capsys, kind):
    data, message = SETTINGS.get(kind, ({}, BAD.get(kind)))
    path = tmp_path / "bad.h5ad"
    if kind == "truncated":
        whole = screen.read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
    else:
        _broken(anndata.read_h5ad(screen), kind).write_h5ad(path)
    sections = {
        "plugin": "elasticnet",
        **_sections(path, **data),
        "study": {"trials": 2},
        "objective": "r2",
        "tracking": {"enabled": False},
    }
    assert _command(tmp_path, sections, monkeypatch) == 2
    error = capsys.readouterr().err
    last = error.strip().splitlines()[-1]
    assert last.startswith("tuner: ")
    assert re.search(message, last)
    assert "Traceback" not in error
    assert not list(tmp_path.glob("*.py"))


def test_a_small_group_is_flagged_and_the_command_goes_on(screen, tmp_path, monkeypatch, capsys):
    adata = anndata.read_h5ad(screen)
    labels = adata.obs["perturbation"].astype(str)
    labels.iloc[:2] = "RARE"
    adata.obs["perturbation"] = labels
    adata.write_h5ad(tmp_path / "rare.h5ad")
    sections = {
        "plugin": "elasticnet",
        **_sections(tmp_path / "rare.h5ad"),
        "study": {"trials": 2},
        "objective": "r2",
        "tracking": {"enabled": False},
    }
    assert _command(tmp_path, sections, monkeypatch) == 0
    notes = pd.read_csv(next(tmp_path.glob("out/*/plots/notes.csv")))["note"]
    assert any("'RARE'" in note and "fold" in note for note in notes)


@pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")
def test_a_study_is_in_the_store_with_its_surface(screen, tmp_path, monkeypatch):
    sections = {
        "plugin": "elasticnet",
        **_sections(screen, permutations=3),
        "study": {"name": "screen", "trials": 3},
        "search_space": {"alpha": {"low": 1e-4, "high": 0.1, "log": True}, "l1_ratio": 0.5},
        "objective": "r2",
        "export": {"path": "fit_elasticnet.py"},
    }
    assert _command(tmp_path, sections, monkeypatch) == 0
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    (experiment,) = [e for e in client.search_experiments() if e.name != "Default"]
    runs = client.search_runs([experiment.experiment_id])
    parents = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    children = [run for run in runs if "mlflow.parentRunId" in run.data.tags]
    assert len(parents) == 1
    assert len(children) == 3
    for run in children:
        assert 0.0 < run.data.metrics["delta_r2"] < run.data.metrics["r2"] < 1.0
        assert run.data.metrics["kkt"] <= 1e-9
        assert run.data.params["l1_ratio"] == "0.5"
    plots = {file.path for file in client.list_artifacts(parents[0].info.run_id, "plots")}
    assert {f"plots/{name}.png" for name in ("surface", "path", "nonzeros")} <= plots
    assert {f"plots/{name}.csv" for name in ("surface", "choice", "perturbations")} <= plots
    assert (tmp_path / "fit_elasticnet.py").stat().st_size > 1000


def test_papalexi_finds_the_interferon_pathway(shared_data):
    path = shared_data / "perturbseq" / "papalexi2021_thp1_lowmoi_299genes.h5ad"
    plugin = _plugin(path, permutations=99, genes={"min_cells": 10})
    result = _result(plugin, 7e-4, 1.0)
    tables = plugin.tables([result])
    lead = tables["perturbations"]["perturbation"].head(4)
    assert set(lead) == {"STAT1", "JAK2", "IFNGR1", "IFNGR2"}
    assert tables["choice"].loc[0, "p_of_best_partial_r2"] <= 0.01
    genes = tables["genes"].set_index("gene")
    assert genes.loc["STAT1", "delta_r2"] > 0.3


def test_datlinger_gains_nothing_and_says_so(shared_data):
    """Its guides had wells of their own, those of a gene side by side.

    Among cells any difference between wells is an effect; among guides what neighbours share is.
    """
    path = shared_data / "perturbseq" / "datlinger2021_jurkat_scifi_2000hvg.h5ad"
    p = {}
    for unit, well in (("cells", None), ("auto", None), ("auto", "auto")):
        sections = _sections(
            path, control=["control"], genes={"min_cells": 10}, unit=unit, well=well
        )
        sections["surface"] = {"alphas": 5, "l1_ratios": [0.5, 1.0], "permutations": 99}
        plugin = ElasticNetPlugin(ElasticNetPlugin.Config.model_validate(sections))
        result = _result(plugin, 5e-4, 0.5)
        tables = plugin.tables([result])
        choice = tables["choice"].set_index("choice")
        assert choice.loc["best of the grid", "partial_r2"] < 1e-4
        assert any("coefficients are 0: 'pct_counts_mt'" in n for n in result.case.data.notes)
        assert any("moves labels along it, in 81 ways" in n for n in result.case.data.notes) == (
            well is not None
        )
        among = choice.loc["chosen", "labels_shuffled_among"]
        p[among] = choice.loc["chosen", "p_of_best_partial_r2"]
        assert len(tables["permutation_null"]) == 1 + (99 if well is None else 81)
    assert p["cells"] == pytest.approx(0.01)
    assert p["guide, moved along the plate"] > 0.2
    assert 0.01 < p["guide"] < 0.2


def test_few_arrangements_of_units_are_flagged(screen, tmp_path):
    adata = anndata.read_h5ad(screen)
    kept = adata.obs["perturbation"].isin([CONTROL, "PERT1"])
    adata[kept & adata.obs["guide"].str.endswith(("g1", "g2"))].write_h5ad(tmp_path / "few.h5ad")
    case = _plugin(tmp_path / "few.h5ad", permutations=9).load().tuned[0]
    assert any("the 4 units of 'guide' can exchange" in note for note in case.data.notes)
    case = _plugin(tmp_path / "few.h5ad", permutations=9, unit="cells").load().tuned[0]
    assert not any("can exchange" in note for note in case.data.notes)


def _arrayed(screen: Path, path: Path) -> Path:
    """Return the guides of a simulated screen a well each, those of a perturbation side by side."""
    adata = anndata.read_h5ad(screen)
    guides = pd.Index(sorted(set(adata.obs["guide"])))
    places = guides.get_indexer(adata.obs["guide"])
    adata.obs["well"] = [f"{'ABCD'[p // 12]}{p % 12 + 1:02d}" for p in places]
    adata.obs["lane"] = "L1"
    adata.write_h5ad(path)
    return path


def test_guides_side_by_side_are_moved_along_the_plate(screen, tmp_path):
    path = _arrayed(screen, tmp_path / "arrayed.h5ad")
    plugin = _plugin(path, permutations=99)
    result = _result(plugin, 0.003, 0.5)
    tables = plugin.tables([result])
    chosen = tables["choice"].set_index("choice").loc["chosen"]
    assert chosen["labels_shuffled_among"] == "guide, moved along the plate"
    # 21 guides, three of each perturbation and of the controls
    assert list(tables["permutation_null"]["labels"]) == ["as they are"] + ["moved"] * 41
    assert chosen["p_of_best_partial_r2"] == pytest.approx(2 / 42)
    (note,) = [n for n in tables["notes"]["note"] if "plate" in n]
    assert note in plugin.notes()
    assert "\n" not in note
    for text in ("'guide'", "obs column 'well'", "in 41 ways", "below 0.048", "data.well: null"):
        assert text in note
    assert "permutation_null" in plugin.figures([result])
    few = _plugin(path, permutations=9).load().tuned[0].data.notes
    assert any("in 41 ways, and p cannot be below 0.1;" in n for n in few)
    # guides that are held out take their folds along: the mirrored order is no tie
    guides = {"folds": 4, "split": "leave_guide_out"}
    out = _plugin(path, guides, permutations=99).load().tuned[0].data.notes
    assert any("in 41 ways, and p cannot be below 0.024;" in n for n in out)
    free = _plugin(path, permutations=9, well=None).load().tuned[0].data
    assert not any("plate" in n for n in free.notes)
    assert free.units.among == "guide"


def test_a_plate_of_one_unit_a_stratum_has_no_move(screen, tmp_path, monkeypatch):
    path = _arrayed(screen, tmp_path / "arrayed.h5ad")
    adata = anndata.read_h5ad(path)
    adata.obs["batch"] = adata.obs["guide"].astype(str)
    adata.write_h5ad(path)
    plugin = _plugin(path, permutations=9, covariates=[])
    with pytest.raises(InputError, match="share no batch"):
        plugin.notes()
    # the test of such labels says nothing either
    for check in ("notes_on_labels", "notes_on_values"):
        monkeypatch.setattr(f"tuner_plugins.perturbseq.model.reading.{check}", lambda *given: [])
    result = _result(plugin, 0.003, 0.5)
    tables = plugin.tables([result])
    assert len(tables["permutation_null"]) == 1
    assert tables["choice"].loc[0, "p_of_best_partial_r2"] == 1.0
    assert "permutation_null" in plugin.figures([result])


@pytest.mark.parametrize(
    ("well", "message"),
    [
        ("wells", "no obs column 'wells' for well; did you mean: well"),
        ("batch", "obs column 'batch' for well: 'batch[1-3]' is no well"),
        ("lane", "obs column 'lane' for well: 'L1' has cells of several units of 'guide'"),
    ],
)
def test_bad_wells_are_one_line(screen, tmp_path, well, message):
    with pytest.raises(InputError, match=message):
        _plugin(_arrayed(screen, tmp_path / "arrayed.h5ad"), well=well).load()


def test_every_covariate_of_the_reference_is_in_the_model(shared_data):
    path = shared_data / "perturbseq" / "papalexi2021_thp1_ifngr2_500hvg.h5ad"
    names = ["pct_counts_mt", "total_counts", "S_score", "G2M_score"]
    loaded = _plugin(path, covariates=names).load().tuned[0].data
    assert loaded.dataset.screen.covariates.names == ["batch[rep2]", "batch[rep3]", *names]
    coef = refit(loaded.problem, 5e-4, 0.5).coef
    assert coef.shape[1] == 7
    assert (np.abs(coef[:, 1:]).max(axis=0) > 0).all()


def test_what_comes_after_the_trials_does_not_decide_them(write_config, tmp_path):
    sections = {"plugin": "elasticnet", **ElasticNetPlugin.tiny(tmp_path)}
    config = load_config(write_config(**sections))
    other = load_config(write_config(**sections, analysis={"permutations": 7}))
    assert other.plugin.config.analysis.permutations == 7
    assert other.signature() == config.signature()
    # wells matter to the null alone; units to the folds as well
    for key, value, same in (("well", None, True), ("unit", "cells", False)):
        data = {**sections["data"], key: value}
        changed = load_config(write_config(**{**sections, "data": data}))
        assert changed.sections["data"][key] == value
        assert (changed.signature() == config.signature()) == same
