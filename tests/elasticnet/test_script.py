from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
from tuner_plugins.elasticnet import script as elasticnet_script
from tuner_plugins.elasticnet.plugin import ElasticNetPlugin
from tuner_plugins.enet.cross_validation import refit
from tuner_plugins.perturbseq.data.screen import recipe_of
from tuner_plugins.perturbseq.data.stored import CellsError
from tuner_plugins.perturbseq.simulate import CONTROL, simulate

from tests.devices import identity, null_device, pipe_content
from tests.perturbseq.data.damage import write_base
from tests.perturbseq.data.test_forms import write_10x
from tests.perturbseq.data.test_probing import REFUSED
from tests.pythons import old_python
from tuner.export.bundle import write_script
from tuner.plugin import Provenance, RunError

PARAMS = {"alpha": 0.004, "l1_ratio": 0.6}
ALONE = """
import runpy, sys
for name in ("tuner", "tuner_plugins", "mlflow", "optuna", "numba", "sklearn", "scanpy"):
    sys.modules[name] = None
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


LIBRARY = ALONE.replace(
    '("tuner", "tuner_plugins", "mlflow", "optuna", "numba", "sklearn", "scanpy")',
    '("tuner", "mlflow", "optuna")',
)
"""With `tuner_plugins.perturbseq` and what it needs, but without the tuner."""

ANALYSIS = {"permutations": 20, "bootstraps": 2, "calibration": "none", "seed": 3}


@pytest.fixture(scope="module")
def screen(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("frozen")
    options = {"cells": 400, "genes": 150, "perturbations": 6, "programs": 2, "modules": 2}
    return simulate(folder / "screen", seed=4, **options)["screen"]


def _plugin(screen: Path, analysis: object = None, **data: object) -> ElasticNetPlugin:
    sections = {
        "analysis": analysis or {},
        "data": {"counts": str(screen), "control": [CONTROL], "batch": "batch", **data},
        "cv": {"folds": 3},
    }
    return ElasticNetPlugin(ElasticNetPlugin.Config.model_validate(sections))


def _script(plugin: ElasticNetPlugin, folder: Path) -> Path:
    path = folder / "fit_elasticnet.py"
    provenance = Provenance("study", 3, {"r2": 0.1}, {"numpy": "2"}, "0" * 64, "now")
    write_script(path, lambda part: plugin.freeze(PARAMS, part, provenance))
    return path


def _run(script: Path, *arguments: object, around: str = ALONE) -> subprocess.CompletedProcess[str]:
    """Run a script where nothing of the project, nor a heavy library, can be imported."""
    command = [sys.executable, "-I", "-c", around, str(script), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=script.parent)


@pytest.mark.parametrize(
    "data",
    [
        {"covariates": ["total_counts", "pct_counts_mt", "S_score", "G2M_score"]},
        {
            "covariates": ["total_counts", "S_score"],
            "penalise_covariates": True,
            "scale_genes": True,
            "genes": {"highly_variable": 60, "min_cells": 5},
            "y_obs": ["pct_counts_mt"],
        },
    ],
    ids=["free", "everything"],
)
def test_the_script_fits_what_the_plug_in_fits(screen, tmp_path, data):
    plugin = _plugin(screen, **data)
    loaded = plugin.load().tuned[0].data
    expected = refit(loaded.problem, PARAMS["alpha"], PARAMS["l1_ratio"])
    done = _run(_script(plugin, tmp_path), "-i", screen, "-o", tmp_path / "coef.h5ad")
    assert done.returncode == 0, done.stderr
    found = anndata.read_h5ad(tmp_path / "coef.h5ad")
    k = loaded.problem.tested
    chosen = loaded.problem.chosen[-1]
    assert list(found.obs_names) == list(loaded.dataset.transform.responses[chosen])
    assert list(found.var_names) == loaded.dataset.screen.design.names
    np.testing.assert_allclose(found.X, expected.coef[:, :k], atol=1e-9)
    covariates = found.obsm["covariates"]
    assert list(covariates.columns) == loaded.dataset.screen.covariates.names
    np.testing.assert_allclose(covariates, expected.coef[:, k:], rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(found.obs["intercept"], expected.intercept, rtol=1e-7, atol=1e-8)
    assert (found.X == 0).any()
    assert ((found.X != 0) == (expected.coef[:, :k] != 0)).all()
    assert not list(tmp_path.glob(".coef*"))


def test_files_of_10x_with_tables_of_cells_are_fitted_as_one_screen(screen, tmp_path):
    """By the plug-in and by the script alone, as the .h5ad that holds the same."""
    adata = anndata.read_h5ad(screen)
    for name, rows in (("one", slice(0, 150)), ("two", slice(150, 400))):
        write_10x(tmp_path / f"{name}.h5", adata[rows])
        adata.obs[rows].to_csv(tmp_path / f"{name}.csv")
    counts, cells = (
        [str(tmp_path / f"{n}.{end}") for n in ("one", "two")] for end in ("h5", "csv")
    )
    whole, parts = _plugin(screen), _plugin(screen, counts=counts, cells=cells)
    expected = refit(whole.load().tuned[0].data.problem, PARAMS["alpha"], PARAMS["l1_ratio"])
    loaded = parts.load().tuned[0].data
    assert any("not 2 of CRISPR Guide Capture" in note for note in loaded.notes)
    coef = refit(loaded.problem, PARAMS["alpha"], PARAMS["l1_ratio"]).coef
    np.testing.assert_allclose(coef, expected.coef, atol=1e-10)
    script = _script(parts, tmp_path)
    [_, *usage], _ = parts.usage(script)
    done = _run(script, *usage)
    assert done.returncode == 0, done.stderr
    assert "not 2 of CRISPR Guide Capture" in done.stderr
    found = anndata.read_h5ad(tmp_path / "coef.h5ad")
    np.testing.assert_allclose(found.X, coef[:, : loaded.problem.tested], atol=1e-9)
    assert list(map(str, parts.inputs())) == [*counts, *cells]
    done = _run(script, "-i", *counts, "-o", tmp_path / "new.h5ad")
    assert done.returncode == 2
    assert "no obs column 'perturbation'" in done.stderr


@pytest.mark.parametrize(
    ("pattern", "by", "said"),
    [
        (r"'alpha': 0.004", "'alpha': 0.005", "it fits alpha 0.005, l1_ratio 0.6; its head says"),
        (r"(?=shift = totals.x_shift)", "coef[1] += 1e-3; ", "its coefficients differ by 0.001 "),
        (r"(?=require_groups\(screen\)\n)", "raise CellsError('no'); ", "exit code 2: .*no"),
    ],
)
def test_a_script_that_does_something_else_does_not_verify(screen, tmp_path, pattern, by, said):
    plugin = _plugin(screen, covariates=["total_counts"])
    script, (case,) = _script(plugin, tmp_path), plugin.load().tuned
    text, count = re.subn(pattern, by, script.read_text(encoding="utf-8"))
    assert count == 1
    script.write_text(text, encoding="utf-8")
    with pytest.raises(RunError, match=said):
        plugin.remeasure(case, script, PARAMS, tmp_path / "output")


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_script_runs_in_an_environment_of_its_own(screen, tmp_path):
    """Python 3.10 with nothing but what the script's own metadata asks for."""
    plugin = _plugin(screen, covariates=["total_counts", "pct_counts_mt", "S_score", "G2M_score"])
    loaded = plugin.load().tuned[0].data
    expected = refit(loaded.problem, PARAMS["alpha"], PARAMS["l1_ratio"])
    script, venv = _script(plugin, tmp_path), tmp_path / "venv"
    subprocess.run([old_python(), "-m", "venv", str(venv)], check=True)
    python = str(venv / "bin" / "python")
    wanted = re.findall(r'^#     "(.*)",$', script.read_text(encoding="utf-8"), re.MULTILINE)
    assert any(name.startswith("anndata") for name in wanted)
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*install, *wanted], check=True)
    for suffix, code in (("h5ad", 0), ("csv", 0), ("parquet", 2)):
        command = [python, "-I", str(script), "-i", str(screen), "-o", f"coef.{suffix}"]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
        assert done.returncode == code, done.stderr
    assert done.stderr.count("\n") == 1  # no .parquet without pyarrow, known before the fit
    assert "needs the package pyarrow" in done.stderr
    k = loaded.problem.tested
    found = anndata.read_h5ad(tmp_path / "coef.h5ad")
    np.testing.assert_allclose(found.X, expected.coef[:, :k], atol=1e-9)
    table = pd.read_csv(tmp_path / "coef.csv", index_col=0)
    np.testing.assert_allclose(table[found.var_names], found.X, rtol=1e-12)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_tables_hold_the_same(screen, tmp_path, suffix):
    recipe = _plugin(screen, covariates=["total_counts"]).config.data.recipe()
    setting = {**PARAMS, "penalise_covariates": False, "scale_genes": False}
    found = elasticnet_script.fit_screen(screen, recipe_of(asdict(recipe)), setting)
    path = tmp_path / f"coef{suffix}"
    elasticnet_script.save(found, path)
    table = pd.read_csv(path, index_col=0) if suffix == ".csv" else pd.read_parquet(path)
    np.testing.assert_allclose(table[found.var_names], found.X, rtol=1e-12)
    assert list(table.index) == list(found.obs_names)
    assert list(table.columns[-3:]) == ["batch[batch2]", "batch[batch3]", "total_counts"]
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def _small() -> anndata.AnnData:
    found = anndata.AnnData(
        np.eye(2), obs=pd.DataFrame({"intercept": [0.0, 1.0]}, index=["a", "b"])
    )
    found.obsm["covariates"] = pd.DataFrame({"depth": [1.0, 2.0]}, index=["a", "b"])
    return found


@pytest.mark.parametrize("suffix", [".h5ad", ".parquet", ".csv"])
def test_an_output_is_written_where_its_path_leads(tmp_path, suffix):
    disk = tmp_path / "disk"
    disk.mkdir()
    target, link = disk / f"coef{suffix}", tmp_path / f"link{suffix}"
    link.symlink_to(target)
    for _ in range(2):
        elasticnet_script.save(_small(), link)
        assert link.is_symlink()
        assert target.stat().st_size > 50
        assert [path.name for path in disk.iterdir()] == [target.name]
    node = null_device(tmp_path / f"null{suffix}")
    before = identity(node)
    elasticnet_script.save(_small(), node)
    assert identity(node) == before
    pipe = tmp_path / f"pipe{suffix}"
    os.mkfifo(pipe)
    with pytest.raises(CellsError, match="-o: cannot write .*: nobody reads the pipe"):
        elasticnet_script.save(_small(), pipe)
    assert len(pipe_content(pipe, lambda: elasticnet_script.save(_small(), pipe))) > 50
    assert pipe.is_fifo()


def test_a_wrong_file_is_one_line_and_2(screen, tmp_path):
    (tmp_path / "cut.h5ad").write_bytes(screen.read_bytes()[:5000])
    script = _script(_plugin(screen), tmp_path)
    done = _run(script, "-i", tmp_path / "cut.h5ad", "-o", "c.h5ad")
    assert done.returncode == 2
    assert "is it whole" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "c.h5ad").exists()


def test_a_wrong_command_line_is_one_line_and_2(screen, tmp_path, capsys):
    copy = tmp_path / "analysis.h5ad"
    copy.write_bytes(screen.read_bytes())
    (tmp_path / "linked.h5ad").hardlink_to(copy)
    (tmp_path / "pointed.h5ad").symlink_to(copy)
    (tmp_path / "sets.gmt").write_text("TERM\t\tG1\n")
    (tmp_path / "sets.csv").symlink_to(tmp_path / "sets.gmt")
    new = tmp_path / "c.h5ad"
    analysis = ("--analyse", tmp_path / "a", "--gene-sets")
    cases = {
        ("-i", copy, "-o", copy): "-o: .*analysis.h5ad is the file that -i names",
        ("-i", copy, "-o", tmp_path / "linked.h5ad"): "linked.h5ad is the file that -i names",
        ("-i", copy, "-o", tmp_path / "pointed.h5ad"): "pointed.h5ad is the file that -i names",
        ("-i", copy, "-o", new, "--analyse", tmp_path): "--analyse: .*is the file that -i names",
        ("-i", screen, "-o", tmp_path / "a/../n/analysis.h5ad", "--analyse", tmp_path / "n"): (
            "--analyse: .*is the file that -o names"
        ),
        ("-i", screen, "-o", tmp_path / "sets.csv", *analysis, tmp_path / "sets.gmt"): (
            "-o: .*is the file that --gene-sets names"
        ),
        ("-i", screen, "-o", new, "--analyse", copy): "--analyse: .*is a file; expected a folder",
        ("-i", screen, "-o", new, "--gene-sets", copy): "--gene-sets is for --analyse FOLDER",
        ("-i", screen, "-o", new, *analysis, "no.gmt"): "--gene-sets: no such file: no.gmt",
        ("-i", tmp_path, "-o", new): "-i: .* is a folder; expected an .h5ad file",
        ("-i", screen, "-o", tmp_path / "n.csv"): "-o: .*n.csv is a folder",
        ("-i", screen): "required: -o/--output; see --help",
        ("-i", "no.h5ad", "-o", "c.h5ad"): "-i: no such file: no.h5ad",
        ("-i", screen, "-o", "c.xlsx"): "must end in .h5ad, .parquet or .csv",
        ("-i", screen, "-o", "no/c.h5ad"): "no such folder",
    }
    for folder in ("a", "n", "n.csv"):
        (tmp_path / folder).mkdir()
    for arguments, message in cases.items():
        assert elasticnet_script.main([str(argument) for argument in arguments]) == 2
        error = capsys.readouterr().err
        assert re.search(message, error), error
        assert error.count("\n") == 1
    assert copy.read_bytes() == screen.read_bytes()
    assert not new.exists()


def _zeros(adata: anndata.AnnData) -> None:
    adata.X = adata.X * 0


def _logs(adata: anndata.AnnData) -> None:
    adata.obs["total_counts"] = np.log1p(adata.X.sum(axis=1).A1)


@pytest.mark.parametrize(
    ("change", "message"),
    [(_zeros, "no gene or further response varies"), (_logs, "400 of 400 cells are such")],
)
def test_what_validate_refuses_the_script_refuses(screen, tmp_path, change, message):
    adata = anndata.read_h5ad(screen)
    change(adata)
    plugin = _plugin(screen)
    setting = {**PARAMS, "penalise_covariates": False, "scale_genes": False}
    with pytest.raises(CellsError, match=message):
        elasticnet_script.fit_screen(adata, recipe_of(asdict(plugin.config.data.recipe())), setting)


def test_the_script_says_where_its_setting_comes_from(screen, tmp_path):
    text = _script(_plugin(screen), tmp_path).read_text(encoding="utf-8")
    assert "Study:    study, trial 3" in text
    assert '"alpha": 0.004' in text
    assert "import tuner" not in text


def test_names_with_a_slash_can_be_written(screen, tmp_path):
    adata = anndata.read_h5ad(screen)
    adata.obs["batch"] = adata.obs["batch"].astype(str) + "/x"
    labels = adata.obs["perturbation"].astype(str)
    adata.obs["perturbation"] = labels.replace("PERT1", "PERT1/2")
    adata.write_h5ad(tmp_path / "slash.h5ad")
    script = _script(_plugin(tmp_path / "slash.h5ad"), tmp_path)
    done = _run(script, "-i", tmp_path / "slash.h5ad", "-o", tmp_path / "coef.h5ad")
    assert done.returncode == 0, done.stderr
    found = anndata.read_h5ad(tmp_path / "coef.h5ad")
    assert "PERT1/2" in found.var_names
    assert list(found.obsm["covariates"]) == ["batch[batch2_x]", "batch[batch3_x]"]


def test_the_script_analyses_as_the_command_does(screen, tmp_path, capfd):
    sets = {"gene_sets": str(screen.with_name("gene_sets.gmt"))}
    options = {"covariates": ["total_counts", "pct_counts_mt"], "guide": "guide"}
    plugin = _plugin(screen, {**ANALYSIS, **sets}, **options)
    plugin.analyse(PARAMS, tmp_path / "command")
    script = _script(plugin, tmp_path)
    arguments = ("-i", screen, "-o", tmp_path / "c.h5ad", "--analyse", tmp_path / "script")
    done = _run(script, *arguments, around=LIBRARY)
    assert done.returncode == 0, done.stderr
    assert f"analysis: {tmp_path / 'script' / 'report.html'}" in done.stdout
    steps = ("reading counts", "testing coefficients, 20 permutations", "drawing figures")
    for told in (done.stderr, capfd.readouterr().err):
        assert [told.count(f" analysis: {step}\n") for step in steps] == [1, 1, 1]
    tables = sorted((tmp_path / "command" / "tables").glob("*.csv"))
    assert len(tables) >= 5
    for path in tables:
        assert (tmp_path / "script" / "tables" / path.name).read_bytes() == path.read_bytes()
    figures = {p.name for p in (tmp_path / "command" / "figures").iterdir()}
    assert "r2_surface.png" in figures  # the script has no folds to draw it from
    mine = {p.name for p in (tmp_path / "script" / "figures").iterdir()}
    assert figures - mine == {"r2_surface.png", "r2_surface.pdf"}


def test_analysis_without_the_library_is_one_line_and_2(screen, tmp_path):
    script = _script(_plugin(screen), tmp_path)
    done = _run(script, "-i", screen, "-o", tmp_path / "c.csv", "--analyse", tmp_path / "a")
    assert done.returncode == 2
    assert "pip install 'tunefreeze[perturbseq]'" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "a").exists()
    assert not (tmp_path / "c.csv").exists()  # refused before the first minute of work


def test_bad_gene_sets_of_the_script_are_one_line_and_2(screen, capsys, monkeypatch, tmp_path):
    plugin = _plugin(screen, ANALYSIS, covariates=["total_counts"])
    recipe, setting, options = plugin._plain(PARAMS)
    for name, value in {"RECIPE": recipe, "SETTING": setting, "ANALYSIS": options}.items():
        monkeypatch.setattr(elasticnet_script, name, value)
    (tmp_path / "bad.gmt").write_text("only a name\n")
    arguments = ["-i", screen, "-o", tmp_path / "c.csv", "--analyse", tmp_path / "a"]
    arguments += ["--gene-sets", tmp_path / "bad.gmt"]
    assert elasticnet_script.main([str(argument) for argument in arguments]) == 2
    error = capsys.readouterr().err
    assert "line 1: no genes" in error
    assert error.count("\n") == 1


MANY = """
import contextlib, io, json, runpy, sys
for name in ("tuner", "tuner_plugins", "mlflow", "optuna", "numba", "sklearn", "scanpy"):
    sys.modules[name] = None
script, *paths = sys.argv[1:]
sys.argv = [script]
main = runpy.run_path(script, run_name="frozen")["main"]
for path in paths:
    with contextlib.redirect_stderr(io.StringIO()) as error:
        code = main(["-i", path, "-o", path + ".coef.h5ad"])
    print(json.dumps([path, code, error.getvalue()]))
"""
"""Runs one script on many files: its imports take longer than a refusal."""

DAMAGES = (
    *("truncated to 0.5", "text", "count nan", "column -5", "column beyond 32 bits"),
    *("columns repeat", "unsigned pointers fall", "pointers past the end in the middle"),
    *("values as text", "values lack a part", "shape negative", "table of another kind"),
    *("no labels", "code too large", "cells of one name", "X of nothing"),
    *("soft link to another file", "link in a circle", "values in another file"),
    "column of 8 terabytes",
)


def test_the_script_refuses_damaged_files_in_one_line_and_2(tmp_path):
    data = {"control": ["ctrl"], "batch": "batch", "covariates": ["total_counts"]}
    write_base(tmp_path / "base.h5ad")
    script = _script(_plugin(tmp_path / "base.h5ad", **data), tmp_path)
    paths = []
    for number, kind in enumerate(DAMAGES):
        (tmp_path / str(number)).mkdir()
        paths.append(tmp_path / str(number) / "screen.h5ad")
        write_base(paths[-1])
        REFUSED[kind][0](paths[-1])
    done = _run(script, tmp_path / "base.h5ad", *paths, around=MANY)
    assert not done.returncode, done.stderr
    assert not done.stderr
    (_, code, error), *refused = (json.loads(x) for x in done.stdout.splitlines() if x[0] == "[")
    assert code == 0
    assert error.startswith("fit_elasticnet.py: only 15 control cells for all perturbations")
    assert error.count("\n") == 1
    for kind, (path, code, error) in zip(DAMAGES, refused, strict=True):
        assert code == 2, kind
        (line,) = error.splitlines()
        assert line.startswith("fit_elasticnet.py: ")
        assert path in line, kind
        assert re.search(REFUSED[kind][1], line), (kind, line)
        assert not list(Path(path).parent.glob("*coef*"))
