"""Shares of counts: what genes owe to each other, and that it is made good."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import adjusted_rand_score
from tuner_plugins.perturbseq.data.cell_cycle import score_weights
from tuner_plugins.perturbseq.data.labels import Labels
from tuner_plugins.perturbseq.data.screen import Recipe, open_screen
from tuner_plugins.perturbseq.data.transform import learn
from tuner_plugins.perturbseq.inference.program_tests import uniformity
from tuner_plugins.perturbseq.model.composition import (
    FEWEST_GENES,
    applies,
    balance,
    compose,
    shifts,
)
from tuner_plugins.perturbseq.model.load import load
from tuner_plugins.perturbseq.report.options import Analysis, AnalysisOptions
from tuner_plugins.perturbseq.report.program_steps import group
from tuner_plugins.perturbseq.report.steps import fit_coefficients, wide
from tuner_plugins.perturbseq.simulate import CONTROL, simulate

PENETRANCE = 0.85
SIZES = {"cells": 3000, "genes": 400, "perturbations": 16}
COVARIATES = ("total_counts", "pct_counts_mt", "S_score", "G2M_score")
SETTING = (1e-3, 1.0)


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    return simulate(tmp_path_factory.mktemp("screen"), seed=5, penetrance=PENETRANCE, **SIZES)


@pytest.fixture(scope="module")
def truth(paths):
    return ad.read_h5ad(paths["truth"])


def opened(paths, **changes):
    recipe = Recipe(
        Labels("perturbation", (CONTROL,)), **{"batch": "batch", "covariates": COVARIATES} | changes
    )
    return open_screen(paths["screen"], recipe)


@pytest.fixture(scope="module")
def found(paths):
    """Fit, test and cluster with and without making good for the shift."""
    results = {}
    for name, composition in (("as it comes", None), ("off", False)):
        adata, model = load(opened(paths), *SETTING, composition=composition)
        analysis = Analysis(adata)
        options = AnalysisOptions(n_permutations=60, n_bootstraps=0)
        coef, table = fit_coefficients(analysis, model, options)
        clusters = group(analysis, model, options, wide(table, "p", coef).to_numpy())
        results[name] = analysis, table, clusters
    return results


def planted_shifts(truth) -> pd.Series:
    """Return the change of an unmoved gene's share, from the planted rates."""
    share = np.exp(truth.var["log_share"].to_numpy())
    total = np.exp(truth.X) @ share / share.sum()
    return pd.Series(-np.log1p(PENETRANCE * (total - 1)), index=truth.obs_names)


def test_shifts_are_those_that_were_planted(found, truth):
    table = found["as it comes"][0].tables["composition"].set_index("perturbation")
    expected = planted_shifts(truth)[table.index]
    assert expected.abs().max() > 0.1
    assert (table["shift"] - expected).abs().max() < 0.06
    assert np.sqrt(((table["shift"] - expected) ** 2).mean()) < 0.03
    assert (table["n_genes"] >= FEWEST_GENES).all()


def test_false_discoveries_keep_to_the_rate_only_where_the_shift_is_made_good(found, truth):
    rate = {}
    for name, (_, table, _) in found.items():
        pairs = pd.MultiIndex.from_frame(table[["gene", "perturbation"]])
        planted = truth.to_df().T.stack().reindex(pairs).to_numpy() != 0
        hit = (table["q"] < 0.05).to_numpy()
        rate[name] = (hit & ~planted).sum() / hit.sum()
        assert hit[planted].mean() > 0.3
    assert rate["as it comes"] <= 0.05
    assert rate["off"] > 0.1  # what counts per 10k say is not what was planted


def test_genes_without_a_program_are_a_class_of_their_own(found, truth):
    agreement = {}
    for name, (_, _, clusters) in found.items():
        for what, planted, clustering in (
            ("programs", truth.var["program"], clusters[0]),
            ("modules", truth.obs["module"], clusters[1]),
        ):
            said = clustering.labels.reindex(planted.index).astype(object)
            said = said.where(said.notna(), "").astype(str)
            agreement[name, what] = adjusted_rand_score(planted.astype(str), said)
    assert agreement["as it comes", "programs"] >= 0.85  # small screen; benchmark: >= 0.9
    assert agreement["as it comes", "modules"] >= 0.85
    assert agreement["off", "programs"] < agreement["as it comes", "programs"]


def test_it_is_said(found):
    notes = found["as it comes"][0].notes
    assert any("relative to the genes that did not move" in note for note in notes)
    assert not any("did not move" in note for note in found["off"][0].notes)
    assert "composition" not in found["off"][0].tables


def test_the_mode_is_where_most_genes_agree():
    rng = np.random.default_rng(0)
    error = np.full((2, 300), 0.05)
    ratio = rng.normal(0, error)
    ratio[:, :120] += rng.uniform(0.3, 1.0, 120)  # four in ten go up
    ratio += np.array([[0.0], [-0.3]])
    shift, voters, moved = shifts(ratio, error)
    assert shift == pytest.approx([0.0, -0.3], abs=0.02)
    assert moved[:120].mean() > 0.95
    assert moved[120:].mean() < 0.05
    assert (voters >= 170).all()
    assert abs(shift[0]) < 0.5 * abs(np.median(ratio[0]))


def test_genes_that_move_little_here_and_much_elsewhere_have_no_say():
    rng = np.random.default_rng(0)
    error = np.full((2, 300), 0.05)
    ratio = rng.normal(0, error)
    ratio[0, :140] += 0.12  # near enough to be taken for unmoved genes ...
    ratio[1, :140] += 1.0  # ... but for what another perturbation does to them
    alone, together = shifts(ratio[:1], error[:1])[0][0], shifts(ratio, error)[0][0]
    assert alone > 0.03
    assert together == pytest.approx(0.0, abs=0.015)


def test_few_genes_have_no_say():
    ratio, error = np.full((1, 60), 0.5), np.full((1, 60), 0.1)
    ratio[0, 40:] = error[0, 40:] = np.nan
    assert shifts(ratio, error)[0] == 0.0


def test_null_screens_have_no_shift(tmp_path):
    paths = simulate(tmp_path, seed=2, effect=0.0, cells=2000, genes=250, perturbations=8)
    screen, transform = learn(opened(paths), np.zeros(2000, dtype=np.int64))
    assert compose(screen, transform).table["shift"].abs().max() < 0.06


def test_null_screens_have_uniform_p_and_no_more_discoveries_than_promised(tmp_path):
    p, found = [], 0
    sizes = {"cells": 600, "genes": 180, "perturbations": 6, "programs": 2, "modules": 2}
    for seed in range(20):
        paths = simulate(tmp_path / str(seed), seed=seed, effect=0.0, **sizes)
        adata, model = load(opened(paths), *SETTING, composition=None)
        analysis = Analysis(adata)
        options = AnalysisOptions(n_permutations=40, seed=seed)
        _, table = fit_coefficients(analysis, model, options)
        rng = np.random.default_rng(seed)  # genes of a screen are not independent: one of each
        p += [rng.choice(rows.dropna()) for _, rows in table.groupby("perturbation")["p"]]
        found += bool((table["q"] < 0.05).any())
    assert uniformity(p) > 0.01
    assert found <= 4  # 20 screens at 5 %: more than 4 has probability 0.003


def test_it_applies_where_counts_are_divided_by_their_own_sum(paths):
    cells = np.zeros(SIZES["cells"], dtype=np.int64)
    assert applies(*learn(opened(paths), cells))
    assert not applies(*learn(opened(paths, response="counts"), cells))
    panel = ad.read_h5ad(paths["screen"])
    panel = panel[:, 13:].copy()  # the totals in obs are those of all genes
    recipe = Recipe(Labels("perturbation", (CONTROL,)), batch="batch")
    assert not applies(*learn(open_screen(panel, recipe), cells))


def test_covariates_that_are_shares_follow(paths):
    screen, transform = learn(opened(paths), np.zeros(SIZES["cells"], dtype=np.int64))
    found = compose(screen, transform)
    fixed, balanced = balance(screen, transform, found)
    column = screen.covariates.names.index("pct_counts_mt")
    before, after = (s.covariates.values[:, column] for s in (screen, fixed))
    np.testing.assert_allclose(after, before / np.exp(found.per_cell))
    np.testing.assert_allclose(balanced.sizes, transform.sizes * np.exp(found.per_cell))
    control = (screen.design.matrix.sum(axis=1) == 0).ravel()
    assert (found.per_cell[np.asarray(control).ravel()] == 0).all()
    assert not (balanced.scores[found.moved] < 0).any()  # no moved gene is compared with


def test_scores_use_moved_genes_where_too_few_others_are_left():
    mean, listed = np.linspace(0, 1, 80), np.arange(20)
    assert (score_weights(mean, listed, np.arange(80) >= 25) < 0).sum() > 5
    few = score_weights(mean, listed, np.arange(80) >= 75)
    assert not (few[75:] < 0).any()


def test_perturbations_that_share_no_batch_with_controls_stay_as_they_are(paths):
    adata = ad.read_h5ad(paths["screen"])
    apart = adata.obs["perturbation"] == "PERT01"
    adata.obs["batch"] = np.where(apart, "alone", adata.obs["batch"])
    recipe = Recipe(Labels("perturbation", (CONTROL,)), batch="batch")
    screen, transform = learn(open_screen(adata, recipe), np.zeros(adata.n_obs, dtype=np.int64))
    table = compose(screen, transform).table.set_index("perturbation")
    assert table.loc["PERT01", "shift"] == 0
    assert table.loc["PERT01", "n_compared"] == 0
    assert (table.drop("PERT01")["shift"] != 0).all()
