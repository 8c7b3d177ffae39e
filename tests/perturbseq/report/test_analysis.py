from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from scipy import sparse
from sklearn.metrics import adjusted_rand_score
from threadpoolctl import threadpool_limits
from tuner_plugins.perturbseq.errors import AnalysisError
from tuner_plugins.perturbseq.inference.program_tests import uniformity
from tuner_plugins.perturbseq.model.resampling import cell_groups
from tuner_plugins.perturbseq.programs.clustering import cluster
from tuner_plugins.perturbseq.report import gallery
from tuner_plugins.perturbseq.report.analysis import analyse
from tuner_plugins.perturbseq.report.embedding import PrepareOptions
from tuner_plugins.perturbseq.report.gallery import GALLERY, Entry, Evidence
from tuner_plugins.perturbseq.report.html import safe_stem, write
from tuner_plugins.perturbseq.report.options import Analysis, AnalysisOptions, Surface
from tuner_plugins.perturbseq.report.program_steps import (
    compare_with_control,
    group,
    split_cells,
)
from tuner_plugins.perturbseq.report.steps import fit_coefficients, wide

from tests.perturbseq.inference.test_coefficients import model_of
from tests.perturbseq.planted import planted_screen

SIZES = {"n_cells": 1800, "n_other_genes": 40, "targets_per_module": 2, "n_idle": 3, "seed": 3}


def planted_terms(planted, folder: Path) -> Path:
    """Write every planted program as a gene set, among random ones."""
    rng = np.random.default_rng(0)
    genes = planted.programs
    lines = [
        f"{name}\t\t" + "\t".join(genes.index[genes == name])
        for name in sorted(set(genes) - {"none"})
    ]
    lines += [f"decoy{i}\t\t" + "\t".join(rng.choice(genes.index, 12, False)) for i in range(20)]
    path = folder / "sets.gmt"
    path.write_text("\n".join(lines) + "\n")
    return path


def options_of(gmt: Path | None = None, **changes) -> AnalysisOptions:
    base = AnalysisOptions(
        n_permutations=30,
        n_score_permutations=499,
        n_distance_permutations=49,
        n_bootstraps=2,
        n_selection_pairs=2,
        discovery=0.5,
        gmt=gmt,
        view=PrepareOptions(size_factor="total_counts"),
        max_volcanoes=2,
    )
    return replace(base, **changes)


def run(gmt, *, threads=1, rename=None, **changes):
    planted = planted_screen(**SIZES)
    model = replace(model_of(planted), threads=threads)
    if rename:
        model = replace(model, targets=[rename.get(t, t) for t in model.targets])
    return planted, analyse(
        planted.adata,
        model,
        options_of(gmt, **changes),
        obs_columns={"batch": "batch", "perturbation": "perturbation"},
        surface=Surface(np.array([[0.1, 0.2], [0.3, 0.1]]), [1e-3, 1e-2], [0.5, 1.0]),
    )


@pytest.fixture(scope="module")
def gmt(tmp_path_factory) -> Path:
    return planted_terms(planted_screen(**SIZES), tmp_path_factory.mktemp("sets"))


@pytest.fixture(scope="module")
def analysed(gmt):
    return run(gmt)


@pytest.fixture(scope="module")
def folder(analysed, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("analysis")
    write(analysed[1], path, title="A <planted> screen")
    return path


def test_planted_programs_and_modules_come_back(analysed):
    planted, found = analysed
    labels = found.adata.var["program"].astype(object).fillna("none").astype(str)
    assert adjusted_rand_score(planted.programs[labels.index], labels) >= 0.9
    modules = found.tables["modules"].set_index("perturbation")["module"]
    active = planted.modules.index[planted.modules != "none"]
    assert set(active) <= set(modules.index)
    assert adjusted_rand_score(planted.modules[active], modules[active]) == 1.0


def test_planted_gene_sets_come_first_in_their_program(analysed):
    planted, found = analysed
    table = found.tables["enrichment"]
    programs = found.tables["programs"]
    for name, members in programs.groupby("program"):
        truth = planted.programs[members["gene"]].mode().item()
        if truth != "none":
            best = table[table["set"] == name].iloc[0]
            assert best["term"] == truth
            assert best["q"] < 0.01
    assert {"T0_0 up", "T0_0 down"} <= set(table["set"])


def test_idle_perturbations_are_not_significant(analysed):
    planted, found = analysed
    tests = found.tables["program_tests"]
    idle = tests["perturbation"].str.startswith("IDLE")
    assert (tests.loc[idle, "q_permutation"] > 0.05).mean() >= 0.95
    assert (tests.loc[~idle, "q_permutation"] < 0.05).mean() > 0.4
    coefficients = found.tables["coefficients"]
    idle = coefficients["perturbation"].str.startswith("IDLE")
    assert (coefficients.loc[idle, "q"] < 0.05).mean() < 0.02


def test_tests_of_idle_perturbations_are_calibrated_over_screens():
    p, false = [], []
    for seed in range(8):
        planted = planted_screen(**SIZES | {"seed": seed, "n_cells": 1200})
        model, options = model_of(planted), options_of(discovery=2 / 3, seed=seed)
        scaled = (
            sparse.diags_array(1e4 / planted.adata.obs["total_counts"].to_numpy()) @ planted.adata.X
        )
        planted.adata.layers["lognorm"] = sparse.csr_matrix(scaled.log1p())
        found = Analysis(planted.adata)
        options = replace(options, n_bootstraps=0, n_selection_pairs=0)
        coef, table = fit_coefficients(found, model, options)
        programs, _ = group(found, model, options, wide(table, "p", coef).to_numpy())
        compare_with_control(found, model, options, programs.members())
        tests = found.tables["program_tests"]
        idle, hit = tests["perturbation"].str.startswith("IDLE"), tests["q_permutation"] < 0.05
        p += list(tests.loc[idle, "p_permutation"])
        false.append((hit & idle).sum() / hit.sum())
    assert uniformity(p) > 0.01
    assert np.mean(false) <= 0.05


def test_programs_are_tested_in_other_cells_than_they_were_found_in(analysed):
    _, found = analysed
    discovery = found.adata.obs["discovery"]
    assert 0.45 < discovery.mean() < 0.55
    tests = found.tables["program_tests"].drop_duplicates("perturbation")
    expected = found.adata.obs.loc[~discovery, "perturbation"].value_counts()
    for _, row in tests.iterrows():
        assert row["n_compared"] == expected[row["perturbation"]]
        assert row["n_control"] == expected["control"]


def test_the_cells_of_a_perturbation_are_as_many_in_every_table(analysed):
    _, found = analysed
    expected = found.adata.obs["perturbation"].value_counts()
    tables = [table for table in found.tables.values() if {"perturbation", "n_cells"} <= {*table}]
    assert len(tables) >= 4
    for table in tables:
        named = table[table["perturbation"].isin(expected.index)]  # mocks have names of their own
        assert (named["n_cells"].to_numpy() == expected[named["perturbation"]].to_numpy()).all()


def test_the_split_keeps_every_group():
    model = model_of(planted_screen(**SIZES))
    for share in (0.3, 0.5):
        inside = split_cells(model, share, 0)
        groups = cell_groups(model)
        sizes = np.bincount(groups)
        taken = np.bincount(groups, weights=inside)
        assert (np.abs(taken - share * sizes) < 1 + 1e-9).all()
        assert inside.mean() == pytest.approx(share, abs=0.001)


def test_scrambling_the_testing_cells_does_not_change_the_programs(analysed, gmt):
    planted = planted_screen(**SIZES)
    model = model_of(planted)
    inside = split_cells(model, 0.5, 0)
    y = model.responses.toarray()
    y[~inside] = np.random.default_rng(0).permutation(y[~inside])
    changed = replace(model, responses=sparse.csr_matrix(y))
    found = analyse(planted.adata, changed, options_of(gmt, n_bootstraps=0, calibration="none"))
    pd.testing.assert_frame_equal(found.tables["programs"], analysed[1].tables["programs"])


def test_same_seed_same_labels_same_tables_with_one_and_two_threads(analysed, gmt):
    with threadpool_limits(2):
        _, again = run(gmt, threads=2)
    first = analysed[1]
    assert list(first.tables) == list(again.tables)
    for name, table in first.tables.items():
        pd.testing.assert_frame_equal(table, again.tables[name], check_exact=True)
    np.testing.assert_array_equal(first.adata.obsm["X_umap"], again.adata.obsm["X_umap"])


def test_the_file_holds_everything_under_documented_keys(analysed, folder):
    _, found = analysed
    stored = ad.read_h5ad(folder / "analysis.h5ad")
    assert {"coef", "coef_p", "coef_q"} <= set(stored.varm)
    assert {"X_umap", "X_pca", "program_scores"} <= set(stored.obsm)
    assert {"programs", "modules", "program_tests", "enrichment", "elasticnet"} <= set(stored.uns)
    assert len(stored.uns["program_colors"]) == stored.var["program"].nunique()
    pd.testing.assert_frame_equal(stored.varm["coef"], found.adata.varm["coef"])
    table = found.tables["coefficients"].set_index(["gene", "perturbation"])
    assert stored.varm["coef_q"].loc["G003", "T0_0"] == table.loc[("G003", "T0_0"), "q"]


def test_tables_are_whole_in_both_formats(analysed, folder):
    for name, table in analysed[1].tables.items():
        stored = pd.read_parquet(folder / "tables" / f"{name}.parquet")
        pd.testing.assert_frame_equal(stored, table)
        assert len(pd.read_csv(folder / "tables" / f"{name}.csv")) == len(table)
    assert not list(folder.rglob("*.part"))


def test_figures_are_png_and_pdf_with_editable_text(analysed, folder):
    for name in analysed[1].figures:
        stem = folder / "figures" / safe_stem(name)
        assert stem.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
        pdf = stem.with_suffix(".pdf").read_bytes()
        assert b"/Type3" not in pdf
        assert b"/TrueType" in pdf or b"/Type0" in pdf
    assert {"umap", "coefficients", "program_clustermap", "program_dotplot", "qq"} <= set(
        analysed[1].figures
    )


def test_every_figure_of_the_report_has_a_caption():
    assert all(entry.caption.endswith(".") and entry.section for entry in GALLERY)
    with pytest.raises(TypeError, match="caption"):
        Entry(lambda evidence: {})


def test_a_figure_is_added_by_a_function_and_an_entry(analysed, monkeypatch, tmp_path):
    def depth(evidence):
        figure = Figure()
        figure.subplots().hist(evidence.found.adata.obs["total_counts"])
        return {"depth": figure, "again/depth": figure}

    entry = Entry(depth, "Counts of <cells>.", section="Quality")
    monkeypatch.setattr(gallery, "GALLERY", (entry, Entry(lambda evidence: {}, "Nothing.")))
    found = analysed[1]
    coef, nothing = found.adata.varm["coef"], cluster(pd.DataFrame(index=["G"]))
    drawn = gallery.draw(Evidence(found, options_of(), coef, nothing, nothing))
    write(replace(found, drawn=drawn), tmp_path)
    stems = {path.name for path in (tmp_path / "figures").iterdir()}
    assert stems == {"depth.png", "depth.pdf", "again_depth.png", "again_depth.pdf"}
    page = (tmp_path / "report.html").read_text()
    assert re.findall("<h2>(.*)</h2>", page) == ["Quality", "Tables"]
    assert re.findall("<figcaption>(.*)</figcaption>", page) == ["Counts of &lt;cells&gt;."]
    assert re.findall('<figure id="(.*)">', page) == ["depth"]
    assert page.count("<img ") == 2


def test_volcanoes_stand_in_a_section_of_their_own(analysed, folder):
    page = (folder / "report.html").read_text()
    first, second = page.split("<h2>Perturbations with the most significant coefficients</h2>")
    names = [name for name in analysed[1].figures if name.startswith("volcano_")]
    assert len(names) == 2
    assert all(f'alt="{name}"' in second for name in names)
    assert "volcano_" not in first
    # none is named after a gene or is an element: no knock-down, no pairs in cis; clusters at one
    # resolution: no choice, no usage
    assert page.count("<figcaption>") == len(GALLERY) - 4


class Sources(HTMLParser):
    """Collect what a page would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.found += [v for k, v in attrs if k in ("src", "href", "srcset", "data") and v]
        assert tag != "script"


def test_the_report_fetches_nothing_and_escapes_names(folder):
    text = (folder / "report.html").read_text(encoding="utf-8")
    parser = Sources()
    parser.feed(text)
    assert len(parser.found) > 5
    assert all(source.startswith("data:") for source in parser.found)
    assert not re.search(r"@import|url\(", text)
    assert "A &lt;planted&gt; screen" in text
    assert "Programs were found in" in text


def test_the_report_opens_offline_in_a_browser(folder):
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = Path("/usr/bin/chromium")
    if not chromium.exists():
        pytest.skip("no Chromium at /usr/bin/chromium; the parsed twin of this test runs")
    problems: list[str] = []
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(chromium), args=["--no-sandbox"])
        page = browser.new_context(offline=True).new_page()
        page.on("console", lambda message: problems.append(message.text))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("requestfailed", lambda request: problems.append(request.url[:80]))
        page.goto((folder / "report.html").as_uri())
        assert page.title() == "A <planted> screen"
        assert page.evaluate("[...document.images].every(i => i.complete && i.naturalWidth > 0)")
        assert page.locator("figure img").count() >= 8
        wide = page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        assert wide, "the page must not scroll sideways"
        browser.close()
    assert problems == []


def test_a_slash_and_a_comma_in_names_survive(gmt, tmp_path):
    names = {"T0_0": "A/B", "T0_1": "A,B", "IDLE0": "x" * 30 + " <b>&"}
    _, found = run(gmt, rename=names, n_bootstraps=0, n_selection_pairs=0, calibration="none")
    write(found, tmp_path)
    stored = ad.read_h5ad(tmp_path / "analysis.h5ad")
    assert {"A_B", "A,B"} <= set(stored.varm["coef"].columns)
    assert "A/B" in set(pd.read_csv(tmp_path / "tables" / "coefficients.csv")["perturbation"])
    assert "<b>" not in (tmp_path / "report.html").read_text()


def test_a_null_screen_has_no_programs_and_a_report(tmp_path):
    planted = planted_screen(**SIZES | {"effect": 0.0, "n_cells": 600})
    found = analyse(planted.adata, model_of(planted), options_of(n_bootstraps=2))
    assert found.tables["coefficients"]["q"].min() > 0.01
    assert len(found.tables["programs"]) <= 2
    assert any("left out: no gene sets were given (analysis: {gene_sets" in n for n in found.notes)
    write(found, tmp_path)
    assert (tmp_path / "report.html").stat().st_size > 50_000


def test_efficacy_weights_are_an_option(gmt):
    _, found = run(gmt, efficacy=True, n_bootstraps=0, n_selection_pairs=0, calibration="none")
    table = found.tables["efficacy"].set_index("perturbation")
    assert table.loc["T0_0", "proportion"] > 0.85  # every planted cell was perturbed
    assert not table.filter(like="IDLE", axis=0)["reweighted"].any()
    assert any("Efficacy weights stood still" in note for note in found.notes)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda a, m: (a[:10].copy(), m), "the model 1800"),
        (lambda a, m: (a[:, 5:].copy(), m), "genes of the model are not in adata: 'G000'"),
        (lambda a, m: (_twice(a), m), "cell names must be unique"),
        (
            lambda a, m: (a[~m.control].copy(), m.rows(~m.control)),
            "control cells; there are none",
        ),
    ],
)
def test_input_that_does_not_fit_is_refused_in_one_line(spoil, words):
    planted = planted_screen(**SIZES)
    adata, model = spoil(planted.adata, model_of(planted))
    with pytest.raises(AnalysisError, match=words) as caught:
        analyse(adata, model, options_of())
    assert "\n" not in str(caught.value)


def _twice(adata: ad.AnnData) -> ad.AnnData:
    adata.obs_names = ["same", "same", *adata.obs_names[2:]]
    return adata


def test_options_and_a_missing_gene_set_file_are_refused(tmp_path):
    with pytest.raises(AnalysisError, match="share of the cells"):
        AnalysisOptions(discovery=0.0)
    with pytest.raises(AnalysisError, match="needs the guide"):
        run(None, calibration="guides", n_bootstraps=0)
    with pytest.raises(AnalysisError, match="cannot read gene sets"):
        run(tmp_path / "absent.gmt", n_bootstraps=0, n_selection_pairs=0)
