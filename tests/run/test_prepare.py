"""Data that a configuration simulates are there before it is loaded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tuner.plugin import InputError
from tuner.run.prepare import load_prepared

pytestmark = pytest.mark.usefixtures("toy")


def test_data_are_simulated_once_beside_the_file(write_config: Callable[..., Path]) -> None:
    path = write_config(
        plugin="toy",
        data={"file": "made/points.json"},
        simulate={"folder": "made", "seed": 3, "points": 2},
    )
    said: list[str] = []
    config = load_prepared(path, ["study.trials=7"], said.append)
    assert said == ["simulating data: toy, seed 3"]
    assert config.engine.study.trials == 7
    assert config.plugin.inputs() == [path.parent / "made" / "points.json"]
    load_prepared(path, [], said.append)
    assert len(said) == 1


def test_a_simulator_that_is_not_there_is_all_that_is_said(
    write_config: Callable[..., Path],
) -> None:
    path = write_config(plugin="toy", simulate={"folder": "made", "simulator": "absent"})
    said: list[str] = []
    with pytest.raises(InputError, match="no simulator called 'absent'"):
        load_prepared(path, [], said.append)
    assert said == []
