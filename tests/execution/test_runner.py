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
from tuner.execution.jobs import PresentJob, Setup
from tuner.execution.runner import AGAIN, PRESENTING, Bench
from tuner.measure.stopwatch import Timed
from tuner.plugin import Plugin
from tuner.plugin.registry import plugin_class


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
    done = bench.run(job(x=1.0, timed=False), lambda cases: True)  # once, however busy it is
    assert warmed == [1.0]
    assert done.cases[0].seconds < 0.4
    assert phases == ["load", "load", "wait", "run", "score"]


@pytest.fixture
def calls(toy: Path, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return where the toy's calls are noted; the timing of each is disturbed."""
    noted: list[float] = []
    run = plugin_class("toy").run

    def counted(plugin: Plugin, case: object, params: dict[str, float], seed: int) -> float:
        noted.append(params["x"])
        return run(plugin, case, params, seed)

    monkeypatch.setattr(plugin_class("toy"), "run", counted)
    monkeypatch.setattr(
        "tuner.execution.runner.timed", lambda call: Timed(call(), 1.0, 0.1, waited=0.9)
    )
    return noted


@pytest.mark.parametrize(("timed", "count"), [(True, 1 + AGAIN), (False, 1)])
def test_a_disturbed_trial_is_run_again_only_where_its_time_counts(
    calls: list[float], timed: bool, count: int
) -> None:
    bench = Bench(Setup("toy", {"data": {"targets": [1.0]}}))
    assert bench.run(job(x=1.0, timed=timed), lambda cases: True).state == "complete"
    assert calls == [1.0] * count


@pytest.mark.parametrize("verb", [None, *PRESENTING])
def test_the_chosen_setting_is_run_for_what_looks_at_it_alone(
    calls: list[float], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, verb: str | None
) -> None:
    for each in set(PRESENTING) - {verb}:
        monkeypatch.setattr(plugin_class("toy"), each, getattr(Plugin, each))
    monkeypatch.setenv("TOY_UNDRAWN", "1")
    if verb == "findings":
        monkeypatch.setattr(plugin_class("toy"), verb, lambda plugin, results: ["one"])
    bench = Bench(Setup("toy", {"data": {"targets": [1.0]}}))
    params = {"x": 1.0, "size": 1, "mode": "fine"}
    assert bench.run(PresentJob(params, 0, tmp_path), lambda cases: True).state == "complete"
    assert bool(calls) == (verb is not None)


@pytest.mark.usefixtures("_unfrozen")
def test_what_was_imported_is_spared_by_the_collections_before_each_run(
    toy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else they would take .1 s each after a baseline that imports Numba."""

    def warm_up(plugin: object, params: dict[str, object]) -> None:
        name = f"imported{params['x']}"
        if name not in sys.modules:
            module = types.ModuleType(name)
            module.__dict__["held"] = [[] for _ in range(50_000)]
            monkeypatch.setitem(sys.modules, name, module)

    monkeypatch.setattr(plugin_class("toy"), "warm_up", warm_up)
    bench = Bench(Setup("toy", {"data": {"targets": [1.0]}}))
    frozen = [gc.get_freeze_count()]
    for x in (1.0, 2.0, 2.0):
        bench.run(job(x=x), lambda cases: True)
        frozen.append(gc.get_freeze_count())
    assert frozen[0] > 1000
    assert frozen[1] - frozen[0] > 40_000
    assert frozen[2] - frozen[1] > 40_000
    assert frozen[3] <= frozen[2]
