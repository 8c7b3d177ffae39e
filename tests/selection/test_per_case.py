"""One setting in the script or one for each size: decided on held-out cases, kept, exported."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.search.test_loop import Harness
from tests.selection.test_finalists import Match
from tuner.config.load import load_config
from tuner.plugin import InputError, Rule, rule_for
from tuner.selection.finish import freeze_record
from tuner.selection.per_case import compare_settings, kept_per_case

pytestmark = pytest.mark.usefixtures("toy")

Config = Callable[..., Path]


def sections(held_out: list[float], start_up: float | None = None) -> dict[str, Any]:
    return {
        "plugin": "toy",
        "study": {"trials": 50, "sampler": "grid", "storage": "journal:///journal.log"},
        "search_space": {"x": [1.0, 2.5, 4.0]},
        "data": {
            "targets": [1.0, 4.0],
            "held_out": held_out,
            "seconds": 0.02,
            "start_up": start_up,
        },
        "timing": {"per_case": True, "fixed_cost_repeats": 0, "repeats": 1},
        "tracking": {"enabled": False},
    }


def compared(study: Harness) -> tuple[Any, Any, str]:
    match = Match(study)
    best = match.objective.best(study.records)
    assert best is not None
    study.executor.submit = type(study.executor).submit.__get__(study.executor)
    found, note = compare_settings(
        study.config,
        study.study,
        study.executor,
        best,
        study.records,
        match.objective,
        lambda: None,
    )
    return best, found, note


@pytest.mark.parametrize("start_up", [None, 0.01])
def test_settings_by_size_win_where_sizes_differ(
    write_config: Config, start_up: float | None, tmp_path: Path
) -> None:
    study = Harness(write_config(**sections([1.1, 3.9], start_up)))
    best, found, note = compared(study)
    assert best.params["x"] == 2.5
    assert found.chosen
    assert [rule.params["x"] for rule in found.rules] == [1.0, 4.0]
    assert sum(found.by_size.values()) > sum(found.single.values())
    assert "the script has a setting for each of 2 sizes" in note
    assert kept_per_case(study.study, best, study.records) == found
    assert kept_per_case(study.study, best, study.records[:-1]) is None

    freeze_record(study.config, "study", best, tmp_path / "frozen.py", sizes=found)
    for target, expected in (("1.1", 1.0), ("3.9", 4.0)):
        command = [sys.executable, str(tmp_path / "frozen.py"), "0", "0", target]
        shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        assert json.loads(shown)["x"] == expected


def test_one_setting_stays_where_the_others_do_not_carry_over(
    write_config: Config, tmp_path: Path
) -> None:
    study = Harness(write_config(**sections([2.5])))
    best, found, note = compared(study)
    assert not found.chosen
    assert "the script has one setting" in note
    freeze_record(study.config, "study", best, tmp_path / "frozen.py", sizes=found)
    command = [sys.executable, str(tmp_path / "frozen.py"), "0", "0", "4.0"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert json.loads(shown)["x"] == 2.5


def test_without_held_out_cases_nothing_is_decided(write_config: Config) -> None:
    _, found, note = compared(Harness(write_config(**sections([]))))
    assert found is None
    assert "add data.held_out" in note


def test_it_needs_a_score(write_config: Config) -> None:
    with pytest.raises(InputError, match="timing.per_case: settings by size are compared"):
        load_config(write_config(**{**sections([2.5]), "objective": "fit"}))


def test_the_nearest_size_is_by_ratio() -> None:
    rules = [Rule({"n": 1e6, "k": 10.0}, {"x": 1}), Rule({"n": 1e7, "k": 10.0}, {"x": 2})]
    assert rule_for(rules, {"n": 2.5e6, "k": 10.0}).params == {"x": 1}
    assert rule_for(rules, {"n": 4e6, "k": 10.0}).params == {"x": 2}
