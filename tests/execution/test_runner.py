"""What is on the clock of a job, and what is not."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.execution.test_local import job
from tuner.execution.jobs import Setup
from tuner.execution.runner import Bench
from tuner.registry import plugin_class


def test_warming_up_is_off_the_clock(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    warmed = []

    def warm_up(plugin: object, params: dict[str, object]) -> None:
        time.sleep(0.5)
        warmed.append(params["x"])

    monkeypatch.setattr(plugin_class("toy"), "warm_up", warm_up)
    phases: list[str] = []
    bench = Bench(Setup("toy", {"data": {"targets": [1.0]}}), phases.append)
    done = bench.run(job(x=1.0), lambda cases: True)
    assert warmed == [1.0]
    assert done.cases[0].seconds < 0.4
    assert phases == ["load", "load", "wait", "run", "score"]
