from __future__ import annotations

from dataclasses import replace

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import tuner_plugins.perturbseq as ps
from scipy import sparse
from scipy.optimize import minimize
from scipy.stats import norm
from tuner_plugins.perturbseq.annotated import ScreenWarning, fitted
from tuner_plugins.perturbseq.data.folds import deal
from tuner_plugins.perturbseq.data.labels import Labels
from tuner_plugins.perturbseq.data.screen import Recipe, open_screen
from tuner_plugins.perturbseq.errors import AnalysisError
from tuner_plugins.perturbseq.inference.calibration import pseudo_perturbations
from tuner_plugins.perturbseq.inference.efficacy import FOLDS, whiten
from tuner_plugins.perturbseq.inference.mixture import fit_mixture
from tuner_plugins.perturbseq.inference.responders import call, share_interval
from tuner_plugins.perturbseq.model.load import load
from tuner_plugins.perturbseq.model.projection import project
from tuner_plugins.perturbseq.model.resampling import Model, cell_groups
from tuner_plugins.perturbseq.model.responses import matrix_of
from tuner_plugins.perturbseq.report.options import Analysis, AnalysisOptions
from tuner_plugins.perturbseq.report.responders import add_responders, responders_of
from tuner_plugins.perturbseq.simulate import CONTROL, simulate


def mixed(rng, n, share, apart, spread=1.0):
    moved = rng.random(n) < share
    return rng.normal(size=n) * np.where(moved, spread, 1.0) + apart * moved, moved


def test_shares_posteriors_and_intervals_are_those_planted():
    inside, said, true = [], [], []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        share = rng.uniform(0.15, 0.95)
        scores, moved = mixed(rng, 250, share, rng.uniform(2.0, 5.0), rng.uniform(1.0, 1.6))
        found = call(scores, rng.normal(size=600))
        if found.note:
            continue
        inside.append(found.low <= share <= found.high)
        said.append(found.posterior)
        true.append(moved)
    assert len(inside) > 30
    assert np.mean(inside) > 0.88
    posterior, moved = np.concatenate(said), np.concatenate(true)
    for low, high in ((0.0, 0.1), (0.1, 0.5), (0.5, 0.9), (0.9, 1.0)):
        bin_ = (posterior >= low) & (posterior <= high)
        assert moved[bin_].mean() == pytest.approx(posterior[bin_].mean(), abs=0.07)


def test_ends_of_an_interval_are_where_the_likelihood_has_fallen():
    rng = np.random.default_rng(3)
    scores, _ = mixed(rng, 200, 0.6, 3.0)
    mixture = fit_mixture(scores, rng.normal(size=500))
    base, spread = mixture.control_mean, mixture.control_variance

    def largest(share):
        def loss(at):
            wide = np.sqrt(spread + np.exp(at[1]))
            moved = share * norm.pdf(scores, at[0], wide)
            return -np.log(moved + (1 - share) * norm.pdf(scores, base, spread**0.5)).sum()

        return -min(minimize(loss, (3.0, wide), method="Nelder-Mead").fun for wide in (-3.0, 1.0))

    top = max(largest(share) for share in np.linspace(-0.02, 0.02, 9) + mixture.proportion)
    for end in share_interval(scores, mixture):
        assert top - largest(end) == pytest.approx(1.92, abs=0.06)


def test_without_an_effect_nothing_is_told():
    for seed in range(60):
        rng = np.random.default_rng(seed)
        controls, scores = rng.standard_t(4, 500), rng.standard_t(4, 80)
        found = call(scores, controls)
        assert found.note
        assert (found.share, found.low, found.high) == (0, 0, 1)
        assert np.isnan(found.posterior).all()


def test_where_all_cells_responded_the_interval_reaches_one():
    rng = np.random.default_rng(0)
    found = call(rng.normal(3.0, 1.2, 200), rng.normal(size=500))
    assert found.note == ""
    assert found.share > 0.97
    assert found.high == 1.0


def test_why_nothing_is_told():
    rng = np.random.default_rng(0)
    controls = rng.normal(size=2000)
    assert call(rng.normal(0.6, 1, 900), controls).note.startswith("responders would lie 0.")
    notes = [call(mixed(rng, 50, 0.5, 1.6)[0], controls).note for _ in range(20)]
    assert sum(note.startswith("the share may be ") for note in notes) > 8
    assert call(np.zeros(9), controls).note == "only 9 cells of it"
    assert call(np.zeros(90), controls[:5]).note == "only 5 cells of controls"
    assert call(np.full(90, np.nan), controls).note.startswith("no gene has a coefficient")


def planted(tmp_path, seed, **changes):
    """Return a screen and which cells responded."""
    sizes = {"cells": 2000, "genes": 260, "perturbations": 8, "penetrance": 0.6, "effect": 0.6}
    paths = simulate(tmp_path / str(seed), seed=seed, **(sizes | changes))
    adata, truth = ad.read_h5ad(paths["screen"]), ad.read_h5ad(paths["truth"])
    options = {"n_permutations": 0, "alphas": [0.002], "l1_ratios": [0.9], "batch": "batch"}
    ps.tl.elasticnet(adata, control=CONTROL, covariates=["total_counts"], **options)
    works = pd.read_csv(paths["cells"], index_col=0)["works"].to_numpy()
    return adata, works, truth.obs["module"].ne("")


def test_planted_non_responders_are_told_from_responders(tmp_path):
    inside, right, said, idle = [], [], [], []
    for seed in range(3):
        penetrance = (0.4, 0.65, 0.9)[seed]
        adata, works, acts = planted(tmp_path, seed, penetrance=penetrance)
        ps.tl.responders(adata)
        works = pd.Series(works, adata.obs_names)
        for row in adata.uns["responders"].itertuples():
            own = adata.obs["responder_of"] == row.perturbation
            if not acts[row.perturbation]:
                idle.append(row.share)
                assert (adata.obs.loc[own, "responder"] == "unclear").all()
            elif not row.note:
                true = works[own].mean()
                inside.append(row.share_low <= true <= row.share_high)
                called = adata.obs.loc[own, "responder"] == "responder"
                assert called.sum() == row.n_responders
                right.append((called == works[own]).mean())
                said.append(adata.obs.loc[own, "responder_posterior"].mean() - true)
    assert len(idle) == 6
    assert max(idle) == 0.0
    assert len(inside) >= 14
    assert np.mean(inside) > 0.85
    assert np.mean(right) > 0.93
    assert abs(np.mean(said)) < 0.03
    drawn = ps.pl.responders(adata)
    assert drawn[0].get_xlabel() == "share of responders"


def test_no_cell_is_judged_by_itself(tmp_path):
    """In the cells that an effect was fitted on, noise of 40 cells looks like an effect."""
    rng = np.random.default_rng(0)
    design = sparse.csr_matrix((np.arange(400)[:, None] // 40 == np.arange(6)).astype(float))
    names = [f"T{k}" for k in range(6)], [f"G{g}" for g in range(150)]
    rest = np.zeros(400, dtype=np.int64), 0.002, 0.5
    model = Model(design, np.empty((400, 0)), rng.normal(size=(400, 150)), *names, *rest)
    found = project(model)
    apart = found.scores.mean() - found.controls.mean()
    assert abs(apart) < 0.25
    assert set(responders_of(model).table["note"]) == {"its cells lie as control cells do"}


@pytest.mark.parametrize("kind", ["counts", "dense"])
def test_scores_are_those_of_the_formula(tmp_path, kind):
    adata, *_ = planted(tmp_path, 5, cells=300, genes=160, perturbations=3)
    _, model = fitted(adata).load()
    if kind == "dense":
        model = replace(model, responses=model.responses.toarray())
    found = project(model, seed=4)
    folds = deal((cell_groups(model),), FOLDS, 4)
    Y, k = matrix_of(model.responses), 3
    Y = Y.toarray() if sparse.issparse(Y) else Y
    for fold in range(FOLDS):
        fit = model.rows(np.flatnonzero(folds != fold)).fit()
        control = model.control & (folds != fold)
        left = Y - model.covariates @ fit.coef[:, k:].T
        beta = fit.coef[:, :k]
        direction = whiten(left[control], beta)
        expected = (left - fit.intercept) @ direction / np.sqrt((beta * direction).sum(axis=0))
        own = folds[found.cells] == fold
        cells, targets = found.cells[own], found.targets[own]
        np.testing.assert_allclose(found.scores[own], expected[cells, targets], rtol=1e-6)
        held = folds[np.flatnonzero(model.control)] == fold
        np.testing.assert_allclose(found.controls[held], expected[model.control & (folds == fold)])
    assert len(found.cells) == 300 - model.control.sum()


def test_cells_with_several_perturbations_are_not_judged():
    rng = np.random.default_rng(0)
    labels = np.array(["NT", "A", "B", "A+B"])[np.arange(800) % 4]
    change = np.zeros((800, 40))
    change[:, :8] = 1.5 * np.char.find(labels, "A")[:, None].clip(-1, 0) + 1.5
    adata = ad.AnnData(rng.poisson(4.0 * np.exp2(change)).astype(np.float32))
    adata.obs["perturbation"] = labels
    options = {"n_permutations": 0, "alphas": [0.002], "l1_ratios": [0.9], "separator": "+"}
    ps.tl.elasticnet(adata, control="NT", multiple="additive", combinations=True, **options)
    with pytest.warns(ScreenWarning, match="200 cells with several perturbations are not judged"):
        ps.tl.responders(adata)
    table = adata.uns["responders"].set_index("perturbation")
    assert table.loc["A", ["n_cells", "n_compared"]].tolist() == [400, 200]
    assert set(table.index) == {"A", "B"}
    assert table.loc["A", "share"] > 0.9
    assert adata.obs["responder"].isna().sum() == 200
    assert (adata.obs.loc[labels == "NT", "responder"] == "control").all()
    assert adata.obs["responder_posterior"].notna().sum() == 200


def test_too_few_controls_are_one_line(tmp_path):
    adata, *_ = planted(tmp_path, 0, cells=300, genes=160, perturbations=3)
    _, model = fitted(adata).load()
    few = np.append(np.flatnonzero(model.control)[:7], np.flatnonzero(~model.control))
    with pytest.raises(AnalysisError, match="from 20 control cells at least; got 7: name further"):
        responders_of(model.rows(few))
    alone = model.rows(np.flatnonzero(model.control))
    with pytest.raises(AnalysisError, match="cells with one perturbation; got none"):
        responders_of(alone)


def test_measured_controls_have_no_responders_and_strong_knock_outs_have(shared_data):
    path = shared_data / "perturbseq" / "papalexi2021_thp1_lowmoi_299genes.h5ad"
    recipe = Recipe(Labels("perturbation", ("non-targeting",)), batch="batch")
    _, model = load(open_screen(path, recipe), 5.6e-4, 0.9)
    table = responders_of(model).table.set_index("perturbation")
    assert (table.loc[["IFNGR1", "IFNGR2", "JAK2", "STAT1"], "share"] > 0.75).all()
    idle = ["ATF2", "CAV1", "CD86", "ETV7", "IRF7", "PDCD1LG2", "STAT5A", "TNFRSF14"]
    assert (table.loc[idle, "share"] == 0).all()
    for seed in range(3):
        mock = pseudo_perturbations(model.control, [120] * 8, seed=seed)
        alone = replace(
            model.rows(mock.index.to_numpy()),
            design=sparse.csr_matrix(mock.to_numpy()),
            targets=list(mock.columns),
        )
        assert (responders_of(alone, seed).table["share"] == 0).all()


def test_an_analysis_leaves_them_out_where_asked_or_without_controls(tmp_path):
    adata, *_ = planted(tmp_path, 0, cells=300, genes=160, perturbations=3)
    view, model = fitted(adata).load()
    found = Analysis(view)
    add_responders(found, model, AnalysisOptions(responders=False))
    assert not found.tables
    few = np.append(np.flatnonzero(model.control)[:7], np.flatnonzero(~model.control))
    add_responders(found, model.rows(few), AnalysisOptions())
    assert not found.tables
    (note,) = found.notes
    assert note.startswith("Responders were left out: responders are told from 20 control cells")
