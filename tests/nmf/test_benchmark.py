"""The benchmark of scripts tunes as `tuner run` does for its users: with the defaults."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tuner_plugins.nmf import params as nmf_params
from tuner_plugins.nmf.model.correlation import annotation_correlations
from tuner_plugins.nmf.pipeline import compute_loadings

from benchmarks import held_out_r, nmf, nmf_real
from tuner.config.load import read_engine_sections
from tuner.config.schema import ExportSection


class Captured(Exception):
    """Carries the configuration that a benchmark would have run."""


def capture(config: dict[str, Any], work: Path) -> None:
    raise Captured(config)


def engine_of(config: dict[str, Any], tmp_path: Path) -> Any:
    path = tmp_path / "study.yaml"
    path.write_text(json.dumps(config))
    return read_engine_sections(path, [])[1]


def test_scripts_are_exported_with_the_default_choice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nmf, "run_tuner", capture)
    monkeypatch.setattr(nmf, "simulate", lambda folder, *others: folder)
    with pytest.raises(Captured) as simulated:
        nmf.frozen(tmp_path, 0.02, [11], [13])
    monkeypatch.setattr(nmf_real, "run_tuner", capture)
    monkeypatch.setattr(nmf_real, "data_folder", lambda: tmp_path)
    with pytest.raises(Captured) as real:
        nmf_real.real(tmp_path, 20)
    for config in (simulated.value.args[0], real.value.args[0]):
        export = engine_of(config, tmp_path).export
        assert export.select == ExportSection().select == "best"
        assert export.path is not None


def test_held_out_settings_are_chosen_elsewhere() -> None:
    """Two sets of two parts, three settings: the best on a part itself is never what counts."""
    one = np.array([[0.9, 0.1], [0.5, 0.4], [0.2, 0.2]])
    other = np.array([[0.0, 0.1], [0.2, 0.3], [0.6, 0.5]])
    found = held_out_r.held_out([one, other])
    np.testing.assert_allclose(found["same set"], [(0.5 + 0.1) / 2, (0.6 + 0.5) / 2])
    np.testing.assert_allclose(found["other sets"], [(0.2 + 0.2) / 2, (0.0 + 0.1) / 2])
    np.testing.assert_allclose(found["best"], [(0.9 + 0.4) / 2, (0.6 + 0.5) / 2])
    assert "other sets" not in held_out_r.held_out([one])


def test_every_grid_can_be_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held_out_r, "SIZES", ((200_000, 3), (100_000, 15)))
    for grid in held_out_r.GRIDS.values():
        for setting in held_out_r.settings_of(grid):
            assert nmf_params.setting_problem(setting) is None
    (sets,) = [list(held_out_r.simulated_sets(tmp_path, [7]))]
    assert [len(parts) for parts in sets] == [1] * len(held_out_r.SIZES)
    r = held_out_r.correlation(sets[0][0], held_out_r.OLD)
    loadings = compute_loadings(
        sets[0][0].tracks, *sets[0][0].region, sets[0][0].k, {**held_out_r.OLD, "nan": "zero"}
    )
    expected = np.abs(annotation_correlations(loadings, sets[0][0].genes)).max()
    assert r == pytest.approx(expected, abs=1e-9)
