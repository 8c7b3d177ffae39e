"""What is on the clock of a job, and what is not."""

from __future__ import annotations

import gc
import sys
import time
import types
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.execution.test_local import job
from tuner.execution.jobs import Setup
from tuner.execution.runner import Bench
from tuner.registry import plugin_class


@pytest.fixture
def _unfrozen() -> Iterator[None]:
    yield
    gc.unfreeze()


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
    assert [*phases[:4], phases[-1]] == ["load", "load", "wait", "run", "score"]
    assert set(phases[4:-1]) <= {"run"}  # once more, on a busy machine


@pytest.mark.usefixtures("_unfrozen")
def test_what_was_imported_is_spared_by_the_collections_before_each_run(
    toy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else they would take .1 s each after a baseline that imports Numba."""

    def warm_up(plugin: object, params: dict[str, object]) -> None:
        name = f"imported{params['x']}"
        if name not in sys.modules:
            module = types.ModuleType(name)
            module.held = [[] for _ in range(1000)]  # type: ignore[attr-defined]
            monkeypatch.setitem(sys.modules, name, module)

    monkeypatch.setattr(plugin_class("toy"), "warm_up", warm_up)
    bench = Bench(Setup("toy", {"data": {"targets": [1.0]}}))
    frozen = [gc.get_freeze_count()]
    for x in (1.0, 2.0, 2.0):
        bench.run(job(x=x), lambda cases: True)
        frozen.append(gc.get_freeze_count())
    assert frozen[0] > 1000
    assert frozen[1] - frozen[0] > 1000
    assert frozen[2] - frozen[1] > 1000
    assert frozen[3] <= frozen[2]
