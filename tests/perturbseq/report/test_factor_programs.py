"""Factor programs, programs at several resolutions, and their names, in an analysis."""

from __future__ import annotations

from dataclasses import replace

import anndata as ad
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import tuner_plugins.perturbseq as ps
from tuner_plugins.elasticnet.config import ProgramsSection
from tuner_plugins.perturbseq.errors import AnalysisError
from tuner_plugins.perturbseq.programs.consensus import NmfOptions
from tuner_plugins.perturbseq.programs.grouping import clustering_of
from tuner_plugins.perturbseq.programs.naming import COLUMNS
from tuner_plugins.perturbseq.report.analysis import analyse
from tuner_plugins.perturbseq.report.html import write
from tuner_plugins.perturbseq.report.options import Analysis, AnalysisOptions
from tuner_plugins.perturbseq.report.program_figures import program_choices
from tuner_plugins.perturbseq.report.program_steps import group, name_programs
from tuner_plugins.perturbseq.report.steps import fit_coefficients, wide

from tests.perturbseq.factor_screens import factor_screen, matched, planted_factors
from tests.perturbseq.report.test_analysis import SIZES, model_of, options_of, planted_screen

pytestmark = pytest.mark.filterwarnings("ignore::tuner_plugins.perturbseq.annotated.ScreenWarning")


@pytest.fixture(scope="module")
def planted():
    return planted_factors(0, cells=900, genes=200, programs=4)


@pytest.fixture(scope="module")
def terms(planted):
    return {f"RAISED_{i}": [f"G{g:03d}" for g in mine] for i, mine in enumerate(planted.raised)}


@pytest.fixture(scope="module")
def screen(planted, terms):
    adata = factor_screen(planted)
    ps.tl.elasticnet(
        adata, control="control", batch="batch", alphas=[1e-3], l1_ratios=[0.5], n_permutations=30
    )
    ps.tl.programs(adata, method="consensus_nmf", n_programs=[3, 4, 5], replicates=6, top_genes=20)
    ps.tl.score_programs(adata, n_permutations=200)
    ps.tl.enrich(adata, terms)
    return adata


def test_perturbations_that_change_usage_are_found(planted, screen):
    place, _ = matched(planted.usage.T, screen.obsm["program_usage"].to_numpy().T)
    names = screen.obsm["program_usage"].columns
    tests = screen.uns["program_tests"].set_index(["program", "perturbation"])
    up, down = tests.loc[(names[place[0]], "UP")], tests.loc[(names[place[1]], "DOWN")]
    assert up["q_permutation"] < 0.05
    assert down["q_permutation"] < 0.05
    true = [planted.usage[planted.labels == label].mean(axis=0) for label in ("UP", "control")]
    assert up["difference"] == pytest.approx((true[0] - true[1])[0], abs=0.05)
    assert down["difference"] < 0
    assert (tests.xs("IDLE", level="perturbation")["q_permutation"] > 0.05).all()
    assert up["n_compared"] == (planted.labels == "UP").sum()  # all cells: labels took no part


def test_genes_are_in_the_programs_that_raise_them(planted, screen, terms):
    choices = screen.uns["program_choices"]
    assert choices["n_programs"][choices["chosen"]].tolist() == [4]
    table = screen.uns["enrichment"]
    first = table[table["set"].str.match(r"P\d$")].groupby("set").first()
    assert sorted(first["term"]) == sorted(terms)
    assert (first["q"] < 1e-6).all()
    assert screen.varm["program_spectra"].shape == (200, 4)
    assert screen.uns["program_stability"]["cluster"].tolist() == ["P0", "P1", "P2", "P3"]
    assert screen.var["program"].value_counts().max() <= 20


def test_best_terms_and_numbers_name_programs_everywhere(screen, tmp_path):
    adata = screen.copy()
    ps.tl.rename_programs(adata, "best_term")
    names = list(adata.var["program"].cat.categories)
    assert [name.split()[0] for name in names] == ["P0", "P1", "P2", "P3"]
    assert all(" RAISED_" in name for name in names)
    ps.tl.rename_programs(adata, {0: "stress/response"})
    names[0] = "stress/response"
    assert list(adata.obsm["program_usage"].columns) == names
    assert list(adata.varm["program_spectra"].columns) == names
    for key in ("program_tests", "program_stability"):
        assert list(dict.fromkeys(adata.uns[key][COLUMNS[key]])) == names
    for draw in (ps.pl.dotplot, ps.pl.coefficients, ps.pl.program_choices):
        assert draw(adata)[0].has_data()
    plt.close("all")
    with pytest.raises(AnalysisError, match="no program '9'"):
        ps.tl.rename_programs(adata, {9: "x"})
    with pytest.raises(AnalysisError, match="expected a mapping, or best_term"):
        ps.tl.rename_programs(adata, "best")


def test_clusters_take_the_place_of_factor_programs(screen):
    adata = screen.copy()
    ps.tl.programs(adata, resolution=[0.3, 1.0], n_bootstraps=2)
    assert "program_usage" not in adata.obsm
    assert "program_spectra" not in adata.varm
    assert adata.uns["program_choices"]["resolution"].tolist() == [0.3, 1.0]
    assert {"program_0.3", "program_1"} <= set(adata.var)
    ps.tl.programs(adata)
    assert not {"program_0.3", "program_1"} & set(adata.var)
    assert "program_choices" not in adata.uns
    with pytest.raises(AnalysisError, match="no method 'nmf'; there are: leiden, consensus_nmf"):
        ps.tl.programs(adata, method="nmf")


def small(**changes):
    planted = planted_screen(**{**SIZES, "n_cells": 900})
    options = options_of(
        n_selection_pairs=0, calibration="none", fold_changes=False, max_volcanoes=0
    )
    return planted.adata, model_of(planted), replace(options, n_score_permutations=99, **changes)


def grouped(**changes) -> Analysis:
    """Return programs and modules alone."""
    adata, model, options = small(**changes)
    found = Analysis(adata)
    coef, table = fit_coefficients(found, model, options)
    programs, _ = group(found, model, options, wide(table, "p", coef).to_numpy())
    name_programs(found, options, programs)
    return found


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> tuple[Analysis, dict[str, pd.DataFrame], ad.AnnData]:
    factors = NmfOptions((2, 3), replicates=4, top_genes=12)
    found = analyse(*small(factors=factors, names={"0": "cell cycle", "P9": "nothing"}))
    folder = tmp_path_factory.mktemp("factors")
    write(found, folder)
    tables = {path.stem: pd.read_csv(path) for path in (folder / "tables").glob("*.csv")}
    return found, tables, ad.read_h5ad(folder / "analysis.h5ad")


def test_a_report_has_usages_spectra_and_the_choice(report):
    found, tables, stored = report
    n = int(tables["program_choices"].query("chosen")["n_programs"].item())
    assert tables["usages"].shape == (found.adata.n_obs, n + 1)
    assert tables["usages"].columns[:2].tolist() == ["cell", "cell cycle"]
    assert len(tables["spectra"]) == n * found.adata.n_vars
    for key in ("programs", "program_tests", "program_stability", "spectra"):
        assert "cell cycle" in set(tables[key][COLUMNS[key]]), key
        assert "P0" not in set(tables[key][COLUMNS[key]]), key
    assert {"program_choices", "program_usage"} <= set(found.figures)
    assert stored.obsm["program_usage"].shape == (found.adata.n_obs, n)
    assert any("'P9' for one" in note for note in found.notes)
    assert any("Labels of cells took no part" in note for note in found.notes)
    assert not any("optimistic" in note for note in found.notes)


def test_resolutions_are_compared_and_the_best_is_taken():
    options = AnalysisOptions().clustering
    several = replace(options, resolution=[0.1, 1.0, 3.0])
    found = grouped(clustering=several, names="best_term")
    choices = found.tables["program_choices"]
    assert choices["resolution"].tolist() == [0.1, 1.0, 3.0]
    stable = found.tables["program_stability"]
    best = choices[choices["chosen"]].iloc[0]
    assert best["silhouette"] == choices["silhouette"].max()
    assert best["n_programs"] == len(stable)
    weighted = np.average(stable["jaccard_mean"], weights=stable["size"])
    assert best["jaccard_mean"] == pytest.approx(weighted)
    chosen = found.adata.var[f"program_{best['resolution']:g}"]
    assert chosen.equals(found.adata.var["program"].rename(chosen.name))
    alone = grouped(clustering=replace(options, resolution=best["resolution"]))
    assert alone.adata.var["program"].equals(found.adata.var["program"])
    pd.testing.assert_frame_equal(alone.tables["program_stability"], stable)
    assert any("names by best term need gene sets" in note for note in found.notes)
    figure = program_choices(choices)
    assert figure.axes[0].get_xlabel() == "resolution; number of programs below"


def test_names_by_best_term_in_an_analysis(report):
    found = Analysis(report[0].adata.copy(), dict(report[0].tables))
    labels = list(found.adata.var["program"].cat.categories)
    rows = {"set": labels[:1], "term": ["E2F"], "p": [1e-9], "q": [1e-6], "overlap": [3]}
    found.tables["enrichment"] = pd.DataFrame(rows)
    programs = clustering_of(found.adata, "programs")
    named = name_programs(found, AnalysisOptions(names="best_term"), programs)
    assert list(named.colours)[0] == "cell cycle E2F"
    assert found.tables["usages"].columns[1] == "cell cycle E2F"


def test_names_that_collide_are_noted_after_all_the_work(report):
    found = Analysis(report[0].adata.copy(), dict(report[0].tables))
    programs = clustering_of(found.adata, "programs")
    kept = name_programs(found, AnalysisOptions(names={"0": "P1"}), programs)
    assert kept is programs
    assert "keep their numbers: two programs would have the same name" in found.notes[0]


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"n_programs": [5, 7], "replicates": 1}, "ask for 2 or more"),
        ({"n_programs": []}, "whole number from 1, or a list of them"),
        ({"n_programs": [3, 3.5]}, "whole number from 1, or a list of them"),
        ({"names": {0: "a", "P1": "a"}}, "the same name"),
        ({"names": "best"}, "best_term"),
        ({"method": "nmf"}, "consensus_nmf"),
    ],
)
def test_a_section_that_cannot_be_run_is_refused(section, message):
    with pytest.raises(ValueError, match=message):
        ProgramsSection.model_validate(section)
    assert ProgramsSection(names={0: "cell cycle"}).names == {"0": "cell cycle"}
