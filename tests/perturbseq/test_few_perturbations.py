"""Screens of one, two or three perturbations, or with none that acts, are analysed to the end."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tuner_plugins.perturbseq.report.analysis import analyse
from tuner_plugins.perturbseq.report.embedding import PrepareOptions
from tuner_plugins.perturbseq.report.html import write
from tuner_plugins.perturbseq.report.options import AnalysisOptions

from tests.perturbseq.inference.test_coefficients import model_of
from tests.perturbseq.planted import planted_screen

OPTIONS = AnalysisOptions(
    n_permutations=20,
    n_score_permutations=99,
    n_bootstraps=2,
    calibration="none",
    max_volcanoes=1,
    view=PrepareOptions(size_factor="total_counts", n_pcs=5),
)


def analysed(keep: list[str], effect: float = 1.0):
    """Analyse a planted screen of which only some perturbations are kept."""
    planted = planted_screen(n_cells=600, n_other_genes=30, effect=effect, seed=5)
    model = model_of(planted)
    at = [model.targets.index(name) for name in keep]
    rows = planted.control | (model.design[:, at].sum(axis=1) > 0).A1
    model = model.rows(rows)
    model = replace(model, design=model.design[:, at], targets=keep)
    return analyse(planted.adata[rows].copy(), model, OPTIONS), planted


@pytest.mark.timeout(900, method="thread")
@pytest.mark.parametrize("keep", [["T0_0"], ["T0_0", "T1_0"], ["T0_0", "T0_1", "T1_0"], ["IDLE0"]])
def test_a_screen_of_few_perturbations_is_analysed(keep, tmp_path):
    found, planted = analysed(keep)
    modules = found.tables["modules"]
    assert len(modules) == (3 if len(keep) == 3 else 0)
    if len(keep) == 3:
        of = modules.set_index("perturbation")["module"]
        assert of["T0_0"] == of["T0_1"] != of["T1_0"]
    else:
        assert any("modules" in note for note in found.notes)
    programs = found.tables["programs"]
    if keep == ["T0_0"]:
        effects = planted.effects.loc[programs["gene"], "T0_0"].to_numpy()
        up = programs.groupby("program")["gene"].agg(len)
        assert len(up) == 2
        for _, group in programs.groupby("program"):
            signs = np.sign(effects[group.index])
            assert set(signs[signs != 0]) <= {-1.0} or set(signs[signs != 0]) <= {1.0}
    if len(keep) == 1:
        assert (tmp_path / "report.html") in write(found, tmp_path)


@pytest.mark.timeout(900, method="thread")
def test_a_screen_in_which_nothing_acts_has_no_modules(tmp_path):
    found, _ = analysed(["T0_0", "T0_1", "T1_0", "T2_0", "IDLE1"], effect=0.0)
    assert found.tables["modules"].empty
    assert any("5 perturbations move genes significantly" in note for note in found.notes)
    write(found, tmp_path)
