"""The benchmark of scripts tunes as `tuner run` does for its users: with the defaults."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import nmf, nmf_real
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
