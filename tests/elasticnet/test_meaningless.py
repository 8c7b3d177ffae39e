"""Input that means nothing, or little: `tuner validate` answers in one line, before any trial."""

from __future__ import annotations

import warnings
from dataclasses import asdict
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import yaml
from scipy import sparse
from tuner_plugins.elasticnet import script
from tuner_plugins.elasticnet.config import ElasticNetConfig

from tests.perturbseq.screens import small_screen
from tuner.cli import main


def _label(adata, where, column, value):
    values = adata.obs[column].astype(object)
    values.iloc[np.flatnonzero(where) if np.asarray(where).dtype == bool else where] = value
    adata.obs[column] = values.astype(str)


def _is(adata, label):
    return (adata.obs["perturbation"] == label).to_numpy()


def batch_of_one(adata):
    _label(adata, _is(adata, "A"), "batch", "own")


def batch_of_all(adata):
    _label(adata, ~_is(adata, "ctrl"), "batch", "treated")
    _label(adata, _is(adata, "ctrl"), "batch", "untreated")


def one_label(adata):
    adata.obs["perturbation"] = "A"


def control_like(adata):
    _label(adata, _is(adata, "C"), "perturbation", "non-targeting_2")


def renamed(**labels):
    def change(adata):
        adata.obs["perturbation"] = adata.obs["perturbation"].astype(str).replace(labels)

    return change


def a_gene_called_wt1(adata):
    renamed(A="WT1", B="NEGR1", C="NT5E")(adata)
    adata.var_names = ["WT1", *adata.var_names[1:]]


def lane_of_one(adata):
    adata.obs["lane"] = np.where(_is(adata, "A"), "L2", "L1")


def norman(adata):
    """Label as Norman et al. do: A_ctrl, ctrl_B, A_B."""
    values = np.array(["ctrl", "A_ctrl", "ctrl_B", "A_B"])
    adata.obs["perturbation"] = values[np.arange(adata.n_obs) % 4]


def rare(adata):
    _label(adata, np.flatnonzero(_is(adata, "A"))[2:], "perturbation", "B")


def column(name, value):
    def change(adata):
        adata.obs[name] = value(adata) if callable(value) else value

    return change


def value(number):
    def change(adata):
        adata.X.data[3] = number

    return change


def log_normalised(adata):
    adata.X = adata.X.log1p()


def layered(adata):
    adata.layers["old"] = adata.X.copy()
    adata.layers["scaled"] = adata.X * 0.3
    adata.raw = adata.copy()
    log_normalised(adata)


def flat(adata):
    adata.X = sparse.csr_matrix(adata.shape, dtype=np.float32)


def combined(adata):
    _label(adata, np.flatnonzero(_is(adata, "A"))[:5], "perturbation", "A+ctrl")
    _label(adata, np.flatnonzero(_is(adata, "B"))[:5], "perturbation", "A+B")


def never_alone(adata):
    _label(adata, np.flatnonzero(_is(adata, "A")), "perturbation", "A+B")


def spelled(adata):
    _label(adata, np.flatnonzero(_is(adata, "A"))[:5], "perturbation", "a ")
    _label(adata, np.flatnonzero(_is(adata, "ctrl"))[:5], "perturbation", "CTRL")


def few_controls(adata):
    _label(adata, np.flatnonzero(_is(adata, "ctrl"))[1:], "perturbation", "A")


def doubled(adata):
    adata.X = adata.X[np.arange(adata.n_obs) // 2 * 2]
    adata.obs = adata.obs.iloc[np.arange(adata.n_obs) // 2 * 2].set_index(adata.obs_names)


def empty_cell(adata):
    counts = adata.X.toarray()
    counts[4] = 0
    adata.X = sparse.csr_matrix(counts)
    del adata.obs["total_counts"]


def no_cells(adata):
    adata._inplace_subset_obs(np.arange(0))


def counts_gone(adata):
    counts = adata.X.toarray()
    counts[3:5] = 0
    adata.X = sparse.csr_matrix(counts)


def one_cell(adata):
    _label(adata, np.flatnonzero(_is(adata, "A"))[1:], "perturbation", "B")


def shuffled_guides(adata):
    guides = adata.obs["guide"].to_numpy(dtype=str, copy=True)
    perturbed = np.flatnonzero(~_is(adata, "ctrl"))
    guides[perturbed] = np.random.default_rng(0).permutation(guides[perturbed])
    adata.obs["guide"] = guides


def enough_controls(adata):
    _label(adata, np.flatnonzero(_is(adata, "C"))[:8], "perturbation", "ctrl")


def unseen_gene(adata):
    counts = adata.X.toarray()
    counts[:, 5] = 0
    adata.X = sparse.csr_matrix(counts)


def shared_guide(adata):
    _label(adata, adata.obs["guide"].isin(["A_0", "B_0"]), "guide", "sg17")


def one_guide(adata):
    adata.obs["guide"] = adata.obs["perturbation"]


def twin_names(adata):
    adata.var_names = ["g0", "g0", *adata.var_names[2:]]


def twin_cells(adata):
    adata.obs_names = ["c", "c", *adata.obs_names[2:]]


def ensembl(adata):
    adata.var["feature_name"] = adata.var_names
    adata.var_names = [f"ENSG{i:011d}" for i in range(adata.n_vars)]
    del adata.obs["pct_counts_mt"]


REFUSED = {
    "batch confounded with all": (batch_of_all, {}, "no batch .*'A', 'B', 'C'; give.*data.batch"),
    "one label": (one_label, {"control": []}, "all 60 cells .* have the label 'A'"),
    "no control label": (None, {"control": ["control"]}, "'control' is not in .*it has: ctrl"),
    "no such label column": (None, {"perturbation": "pertubation"}, "did you mean: perturbation"),
    "numbers as labels": (
        column("score", lambda a: np.random.default_rng(0).random(a.n_obs)),
        {"perturbation": "score", "control": []},
        "'score' has 60 labels for 60 cells; expected groups.*data.perturbation",
    ),
    "numbers as batch": (
        column("depth", lambda a: np.arange(a.n_obs) / 7), {"batch": "depth"}, "data.batch",
    ),
    "names as covariate": (
        column("barcode", lambda a: a.obs_names),
        {"covariates": ["barcode"]},
        "'barcode' has 60 labels for 60 cells.*data.covariates",
    ),
    "no such layer": (None, {"layer": "counts"}, "no layer 'counts'; it has: X"),
    "log-normalised": (log_normalised, {}, "X does not hold counts.*expected whole numbers"),
    "fraction": (value(0.5), {}, "is 0.5; expected whole numbers >= 0"),
    "negative": (value(-1.0), {}, "is -1; expected whole numbers >= 0"),
    "nan count": (value(np.nan), {}, "is nan; expected whole numbers >= 0"),
    "empty cell": (empty_cell, {}, r"of cell 'cell4' is 0 \(1 such cells\); .*drop empty cells"),
    "zero size factor": (column("total_counts", 0.0), {}, "size factor total_counts .* is 0"),
    "negative size factor": (column("total_counts", -5.0), {}, "is -5 .*expected > 0"),
    "nan size factor": (column("total_counts", np.nan), {}, "'total_counts' is nan in 60 cells"),
    "text as size factor": (column("total_counts", "many"), {}, "'total_counts' holds .*numbers"),
    "no gene left": (None, {"genes": {"min_cells": 61}}, "leaves none; relax min_cells"),
    "no such gene": (None, {"genes": {"names": ["G3"]}}, "'G3' is not .*did you mean: g3$"),
    "no cell-cycle gene": (None, {"covariates": ["S_score"]}, "S_score cannot be computed: 0 of"),
    "ensembl ids": (ensembl, {"covariates": ["pct_counts_mt"]}, "ENSG00000000000.*data.gene_symb"),
    "no symbols column": (ensembl, {"symbols": "feature"}, "did you mean: feature_name"),
    "empty covariate": (column("x", np.nan), {"covariates": ["x"]}, "'x' is nan in 60 cells"),
    "covariate twice": (
        None,
        {"covariates": ["total_counts"] * 2},
        "data.covariates names 'total_counts' twice; name it once$",
    ),
    "batch as covariate": (None, {"covariates": ["batch"]}, "data.batch names 'batch' already"),
    "logs as size factor": (
        column("total_counts", lambda a: np.log1p(a.obs["total_counts"])),
        {},
        r"of cell 'cell0' is [34]\.\d+, but its counts in X add up to \d+ \(60 of 60 cells",
    ),
    "percent as size factor": (
        None, {"size_factor": "pct_counts_mt"}, "set size_factor: total_counts$",
    ),
    "shuffled size factor": (
        column("total_counts", lambda a: np.roll(a.obs["total_counts"], 1)),
        {},
        "expected raw totals of the same cells.*remove the column",
    ),
    "numbers as text": (
        column("mt", lambda a: [f"{x:.2f}%" for x in a.obs["pct_counts_mt"]]),
        {"covariates": ["mt"]},
        r"'mt' holds numbers as text \('\d\.\d\d%'\), \d+ different ones; expected numbers",
    ),
    "counts in a layer": (layered, {}, "whole numbers >= 0, which 'old', 'raw' holds .layer: old"),
    "nothing varies": (flat, {}, "no gene or further response varies"),
    "twin gene names": (twin_names, {}, "two genes are called 'g0'.*var_names_make_unique"),
    "no cells": (no_cells, {}, "the file has no cells: obs has no rows"),
    "all rarer than min_cells": (
        None, {"min_cells": 1000}, "perturbed cell; min_cells is 1000, .* 'A', has 15: lower min_",
    ),
    "misspelled response": (
        None, {"response": "log1p_cp10K"}, "'log1p_cp10K'; did you mean: log1p_cp10k .*from counts",
    ),
    "no such response": (
        None, {"response": "zzz"}, "'zzz'; there are: log1p_cp10k, counts, X .*others are layers",
    ),
    "twin cell names": (twin_cells, {}, "two cells are called 'c'.*obs_names_make_unique"),
}  # fmt: skip

NOTED = {
    "batch confounded with one": (
        batch_of_one, {}, "these perturbations share no batch .*: 'A'; leave them out",
    ),
    "control-like label": (
        control_like, {}, "these labels look like controls .*: 'non-targeting_2'; name",
    ),
    "safe harbour": (renamed(C="AAVS1"), {}, "these labels look like controls .*: 'AAVS1'; name"),
    "numbered controls": (renamed(C="sgNT-2"), {}, "these labels look like controls .*: 'sgNT-2'"),
    "demultiplexer's words": (
        renamed(B="Negative", C="Doublet"),
        {},
        "without a known guide.*: 'Doublet', 'Negative'; name them in data.unassigned_labels",
    ),
    "combination with control": (
        renamed(C="A+ctrl"),
        {"separator": "+"},
        r"join a control with a perturbation .* alone: 'A\+ctrl' \(15 cells\)",
    ),
    "combinations of parts that recur": (
        renamed(A="X|Y", B="X|Z", C="Y|Z"), {}, r"join others with '\|'.*'X\|Y', 'X\|Z', 'Y\|Z'; d",
    ),
    "combinations as in Norman et al.": (
        norman, {}, "join others with '_'.*'A_B', 'A_ctrl', 'ctrl_B'",
    ),
    "a lane of one": (
        lane_of_one, {}, "these perturbations share no 'lane' .*: 'A'; data.batch: lane",
    ),
    "rare perturbation": (rare, {}, r"held-out cell: 'A' \(2 cells, none in 3 of 5 folds\)"),
    "unseen gene": (unseen_gene, {}, "these responses never vary and count for nothing: 'g5'"),
    "constant covariate": (
        column("x", 4.0), {"covariates": ["x"]}, "constant, their coefficients are 0: 'x'",
    ),
    "collinear covariate": (
        column("x", lambda a: 3.0 * a.obs["total_counts"] - 7),
        {"covariates": ["total_counts", "x"]},
        "these covariates follow exactly from those before them .*: 'x'",
    ),
    "covariate is a perturbation": (
        column("x", lambda a: 1.0 * _is(a, "B")),
        {"covariates": ["x"]},
        "covariates explain these perturbations wholly: 'B'",
    ),
    "guide of two": (shared_guide, {"guide": "guide"}, "these guides .*: 'sg17' .the first of A,"),
    "combinations without a separator": (
        combined, {}, r"join others with '\+'.*: 'A\+B', 'A\+ctrl'; data.separator: '\+' takes",
    ),
    "two spellings": (spelled, {}, "differ by case or blanks only.*: 'A', 'a ', 'CTRL', 'ctrl'; "),
    "two spellings, with guides": (spelled, {"guide": "guide"}, ": 'A', 'a ', 'CTRL', 'ctrl'; "),
    "few controls": (few_controls, {}, "only 1 control cell for all perturbations"),
    "every cell twice": (doubled, {}, "60 of 60 cells have a twin with the same counts"),
    "size factor of other units": (
        column("total_counts", lambda a: 1000 * a.obs["total_counts"]),
        {},
        r"X holds 0\.10% of the size factor total_counts .median.*; if it holds all genes, correct",
    ),
    "cells without counts": (counts_gone, {}, "^2 of 60 cells have no counts in X, though their"),
    "shuffled guides": (
        shuffled_guides, {"guide": "guide"}, r"^\d of 9 guides .obs column 'guide'. have cells of",
    ),
    "perturbation of one cell": (one_cell, {}, "these perturbations have one cell.*: 'A'; min_"),
    "never alone": (
        never_alone,
        {"separator": "+", "multiple": "additive", "combinations": True},
        "^these are in the same cells.*: 'A and A,B'; leave one",
    ),
    "one guide each": (one_guide, {"guide": "guide"}, "no perturbation has two guides"),
}  # fmt: skip


@pytest.fixture
def validate(tmp_path, monkeypatch, capfd):
    """Return what `tuner validate` ends with: exit code, standard output and error."""

    def call(path: Path, data: dict[str, object], **sections: object) -> tuple[object, str, str]:
        whole = {"counts": str(path), "control": ["ctrl"], "batch": "batch", **data}
        text = yaml.safe_dump({"plugin": "elasticnet", "data": whole, **sections})
        (tmp_path / "study.yaml").write_text(text, encoding="utf-8")
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr("sys.argv", ["tuner", "validate", "study.yaml"])
        try:
            code = main()
        except SystemExit as ended:
            code = ended.code
        return code, *capfd.readouterr()

    return call


@pytest.fixture
def unprobed(monkeypatch):
    """Spare the process that tries a file out: these files are whole."""
    monkeypatch.setattr(
        "tuner_plugins.perturbseq.data.probing._read_in_child", lambda *arguments: None
    )


def _written(folder: Path, change) -> Path:
    adata = small_screen()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "(Variable|Observation) names are not unique")
        if change is not None:
            change(adata)
        adata.write_h5ad(folder / "screen.h5ad")
    return folder / "screen.h5ad"


@pytest.mark.usefixtures("unprobed")
@pytest.mark.parametrize("kind", REFUSED)
def test_what_means_nothing_is_refused_in_one_line(validate, tmp_path, kind):
    change, data, message = REFUSED[kind]
    code, _, error = validate(_written(tmp_path, change), data)
    assert code == 2
    (line,) = error.splitlines()
    assert line.startswith("tuner: ")
    assert pd.Series([line]).str.contains(message).all(), line


@pytest.mark.usefixtures("unprobed")
@pytest.mark.parametrize("kind", NOTED)
def test_what_means_little_is_noted(validate, tmp_path, kind):
    change, data, message = NOTED[kind]
    code, output, error = validate(_written(tmp_path, change), data)
    assert not code, error
    assert pd.Series(output.splitlines()).str.contains(message).any(), output


GENES = {
    "genes that read like controls": a_gene_called_wt1,
    "guides by number": renamed(A="STAT1_g1", B="STAT1_g2", C="IRF1_g1"),
    "genes with a dash": renamed(A="HLA-A", B="HLA-B", C="NKX2-1"),
}


@pytest.mark.usefixtures("unprobed")
@pytest.mark.parametrize("kind", GENES)
def test_names_of_genes_are_not_noted(validate, tmp_path, kind):
    code, output, error = validate(_written(tmp_path, GENES[kind]), {})
    assert not code, error
    assert "these labels" not in output, output


@pytest.mark.usefixtures("unprobed")
def test_an_additive_design_has_a_line_for_each_kind(validate, tmp_path):
    """Rare combinations of common perturbations are no reason for a note."""

    def change(adata):
        rng = np.random.default_rng(0)
        pairs = [f"P{a}+P{b}" for a, b in rng.integers(0, 3, (adata.n_obs, 2))]
        pairs[1] = "P1+RARE"
        adata.obs["perturbation"] = np.where(_is(adata, "ctrl"), "ctrl", pairs)

    path = _written(tmp_path, change)
    code, output, error = validate(path, {"separator": "+", "multiple": "additive"})
    assert not code, error
    lines = [line for line in output.splitlines() if "these perturbations" in line]
    assert len(lines) == 2
    assert all("'RARE'" in line and "P1" not in line for line in lines)


@pytest.fixture
def frozen(tmp_path, monkeypatch, capsys):
    """Return what the exported script ends with on a screen: exit code and lines of error."""

    def call(path: Path, data: dict[str, object]) -> tuple[int, list[str]]:
        whole = {"counts": str(path), "control": ["ctrl"], "batch": "batch", **data}
        config = ElasticNetConfig.model_validate({"data": whole})
        recipe, analysis = asdict(config.data.recipe()), {"guide": config.data.guide}
        setting = {"alpha": 0.001, "l1_ratio": 0.5}
        setting |= {"penalise_covariates": False, "scale_genes": False}
        for name, value in {"RECIPE": recipe, "SETTING": setting, "ANALYSIS": analysis}.items():
            monkeypatch.setattr(script, name, value)
        monkeypatch.setattr("sys.argv", ["/some/where/fit_screen.py"])
        code = script.main(["-i", str(path), "-o", str(tmp_path / "coef.h5ad")])
        return code, capsys.readouterr().err.splitlines()

    return call


OF_FOLDS = {"rare perturbation", "one guide each"}
"""What only a cross-validation or a permutation test needs to know."""


@pytest.mark.usefixtures("unprobed")
@pytest.mark.parametrize("kind", REFUSED)
def test_the_script_refuses_what_validate_refuses(frozen, tmp_path, kind):
    change, data, message = REFUSED[kind]
    code, lines = frozen(_written(tmp_path, change), data)
    assert code == 2
    (line,) = lines
    assert pd.Series([line]).str.contains(message).all(), line
    assert line.startswith("fit_screen.py: ")
    assert not (tmp_path / "coef.h5ad").exists()


@pytest.mark.usefixtures("unprobed")
@pytest.mark.parametrize("kind", sorted(NOTED.keys() - OF_FOLDS))
def test_the_script_notes_what_validate_notes(frozen, tmp_path, kind):
    change, data, message = NOTED[kind]
    code, lines = frozen(_written(tmp_path, change), data)
    assert code == 0, lines
    assert all(line.startswith("fit_screen.py: ") for line in lines)
    said = pd.Series([line.removeprefix("fit_screen.py: ") for line in lines])
    assert said.str.contains(message).any(), lines


@pytest.mark.usefixtures("unprobed")
def test_the_script_is_silent_on_a_screen_without_fault(frozen, tmp_path):
    path = _written(tmp_path, enough_controls)
    assert frozen(path, {"guide": "guide"}) == (0, [])
    found: list[str] = []
    setting = {**script.SETTING, "alpha": 1e6}
    script.fit_screen(path, script.recipe_of(script.RECIPE), setting, found.append)
    assert found == ["no coefficient is non-zero: alpha 1e+06 leaves covariates alone"]


SETTINGS = {
    "more folds than cells": ({"cv": {"folds": 61}}, "folds is 61; expected 2 to .*60"),
    "alpha from zero": ({"search_space": {"alpha": {"low": 0.0, "log": True}}}, "low"),
    "negative alpha": ({"search_space": {"alpha": [-1.0, 0.1]}}, "alpha is -1; expected"),
    "ratio above 1": ({"search_space": {"l1_ratio": {"high": 1.5}}}, "l1_ratio is 1.5; expected"),
    "ratio fixed below 0": (
        {"search_space": {"alpha": {}, "l1_ratio": -0.1}},
        "l1_ratio is -0.1",
    ),
    "grid ratio above 1": ({"surface": {"l1_ratios": [0.5, 2.0]}}, "at most 1"),
    "gene sets of other genes": ({"analysis": {"gene_sets": "sets.gmt"}}, "none of 1 terms has"),
    "genes of another file": (
        {"analysis": {"cis": {"annotation": "genes.gtf", "elements": "elements.bed"}}},
        "analysis.cis: no cis pair: none of 12 genes is in genes.gtf, which names 'MYC'",
    ),
    "labels without positions": (
        {"analysis": {"cis": {"annotation": "genes.gtf"}}},
        "analysis.cis: no cis pair: none of 3 perturbations has a position by labels",
    ),
    "a distance of no unit": (
        {"analysis": {"cis": {"annotation": "genes.gtf", "distance": "1 mile"}}},
        "analysis.cis.distance: .*expected a distance such as 1Mb, 500kb or 20000",
    ),
    "pairs without fold changes": (
        {"analysis": {"cis": {"annotation": "genes.gtf"}, "fold_changes": False}},
        "cis pairs are tested by fold changes",
    ),
    "no gene sets": ({"analysis": {"gene_sets": "empty.gmt"}}, "holds no gene sets"),
}


@pytest.mark.usefixtures("unprobed")
@pytest.mark.parametrize("kind", SETTINGS)
def test_settings_that_mean_nothing_are_refused_in_one_line(validate, tmp_path, kind):
    sections, message = SETTINGS[kind]
    (tmp_path / "sets.gmt").write_text("TERM\t\t" + "\t".join(f"H{i}" for i in range(9)) + "\n")
    (tmp_path / "empty.gmt").write_text("\n")
    (tmp_path / "elements.bed").write_text("chr1\t10\t20\tA\n")
    gene = 'chr1\tx\tgene\t101\t200\t.\t+\t.\tgene_id "ENSG1"; gene_name "MYC";\n'
    (tmp_path / "genes.gtf").write_text(gene)
    code, _, error = validate(_written(tmp_path, None), {}, **sections)
    assert code == 2
    (line,) = error.splitlines()
    assert pd.Series([line]).str.contains(message).all(), line


def ten_x(path):
    with h5py.File(path, "w") as file:
        file["matrix/data"] = np.ones(3)


def loom(path):
    with h5py.File(path, "w") as file:
        file["matrix"] = np.ones((3, 3))
        file.create_group("row_attrs")


def pointers(number):
    def change(path):
        with h5py.File(path, "r+") as file:
            file["X/indptr"][20] = number

    return change


def index(path):
    with h5py.File(path, "r+") as file:
        file["X/indices"][5] = 10**6


def no_shape(path):
    with h5py.File(path, "r+") as file:
        del file["X"].attrs["shape"]


def short_obs(path):
    with h5py.File(path, "r+") as file:
        del file["obs/total_counts"]
        file["obs/total_counts"] = np.zeros(3)


FILES = {
    "empty": (lambda path: path.write_bytes(b""), "is it whole"),
    "text": (lambda path: path.write_text("gene,cell\n"), "is no HDF5 file (.h5ad, .h5mu, .h5"),
    "truncated": (lambda path: path.write_bytes(path.read_bytes()[:20_000]), "is it whole"),
    "a folder": (lambda path: (path.unlink(), path.mkdir()), "is a folder; expected an .h5ad file"),
    "10x without barcodes": (ten_x, "HDF5 but no .h5ad file: it has no 'obs'"),
    "loom without columns": (loom, "HDF5 but no .h5ad file: it has no 'obs'"),
    "pointers past the end": (pointers(10**7), "X is damaged, its pointers do not ascend"),
    "pointers below zero": (pointers(-7), "X is damaged, its pointers do not ascend"),
    "index past the end": (index, "X is damaged, a value stands in column 1000000 of 12"),
    "no shape": (no_shape, "X is damaged, it has no shape"),
    "short column of obs": (short_obs, "is it whole"),
}


@pytest.mark.parametrize("kind", FILES)
def test_files_that_hold_no_screen_are_refused_in_one_line(validate, tmp_path, kind):
    change, message = FILES[kind]
    path = _written(tmp_path, None)
    change(path)
    code, _, error = validate(path, {})
    assert code == 2
    (line,) = error.splitlines()
    assert message in line


def test_a_file_that_kills_hdf5_is_refused_in_one_line(validate, tmp_path, monkeypatch):
    """A library that dies takes its process along: another one tries the file out."""
    path = _written(tmp_path, None)
    dies = "def read_parts(*arguments):\n    os.kill(os.getpid(), 11)\n"
    monkeypatch.setattr("tuner_plugins.perturbseq.data.probing.READER", dies)
    code, _, error = validate(path, {})
    assert code == 2
    assert "reading it ended a process by signal 11" in error


@pytest.mark.usefixtures("unprobed")
@pytest.mark.parametrize(
    "change",
    [sparse.csc_matrix, lambda X: X.toarray().astype(np.int32), lambda X: X.astype(np.float64)],
    ids=["csc", "dense integers", "float64"],
)
def test_other_layouts_of_the_same_counts_are_read(validate, tmp_path, change):
    path = _written(tmp_path, lambda adata: setattr(adata, "X", change(adata.X)))
    assert not validate(path, {})[0]
