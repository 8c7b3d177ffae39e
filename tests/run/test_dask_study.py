"""Whole studies on Dask: the same as on local processes, whatever happens to the workers."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.processes import running_below
from tests.search.test_series import Silent
from tests.services import running_postgres
from tuner.config.load import load_config
from tuner.plugin import InputError
from tuner.records import TrialRecord
from tuner.run import session
from tuner.run.check import check

pytest.importorskip(
    "distributed", reason="the extra `dask` is not installed: trials run in local processes alone"
)
pytestmark = pytest.mark.usefixtures("toy", "undrawn")

TRIALS = 8


@pytest.fixture
def study(write_config: Callable[..., Path]) -> Callable[..., session.RunResult]:
    """Return a function that runs a study on an executor."""

    def run(
        name: str,
        executor: dict[str, object],
        shown: Silent | None = None,
        storage: str = "sqlite:///tuner.db",
    ) -> session.RunResult:
        sections = {
            "plugin": "toy",
            "study": {"name": name, "trials": TRIALS, "pruner": "median", "storage": storage},
            "data": {"targets": [2.0, 4.0], "seconds": 0.02, "log": "ran.jsonl", "held_out": [3.0]},
            "search_space": {"x": {}, "size": {"low": 1, "high": 2}},
            "objective": "fit",
            "timing": {"finalists": 0, "nulls": 0, "repeats": 1},
            "tracking": {"enabled": False},
            "executor": executor,
        }
        config = load_config(write_config(f"{name}.yaml", **sections))
        check(config)
        return session.run(config, shown or Silent(), lambda: False)

    return run


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def storage(request: pytest.FixtureRequest) -> Iterator[str]:
    """Return the address of a storage."""
    if request.param == "sqlite":
        yield "sqlite:///tuner.db"
        return
    with running_postgres() as (url, _):
        yield url


def test_one_slot_gives_the_same_trials_and_best_as_a_local_process(
    study: Callable[..., session.RunResult], storage: str
) -> None:
    kinds = {"local": {"kind": "local"}, "dask": {"kind": "dask", "workers": 1}}
    results = [study(name, executor, storage=storage) for name, executor in kinds.items()]
    local, dask = ([(r.number, r.state, r.params) for r in result.records] for result in results)
    assert local == dask
    best = [result.summary.best.number for result in results if result.summary.best]
    assert best[0] == best[1]
    assert [len(result.summary.held_out) for result in results] == [1, 1]
    scripts = [result.export.read_text() for result in results if result.export]
    assert scripts[0] == scripts[1]


class Killer(Silent):
    """Kills a Dask worker when some trials have ended."""

    def __init__(self, after: set[int]) -> None:
        super().__init__()
        self.after, self.seen, self.killed = after, 0, 0

    def trial(self, record: TrialRecord, best: TrialRecord | None) -> None:
        self.seen += 1
        if self.seen in self.after:
            workers = running_below(os.getpid(), "spawn_main")
            time.sleep(0.1)
            os.kill(workers[self.seen % len(workers)].pid, signal.SIGKILL)
            self.killed += 1


def test_workers_killed_in_mid_study_lose_and_repeat_nothing(
    study: Callable[..., session.RunResult],
) -> None:
    killer = Killer({2, 4, 6})
    result = study("killed", {"kind": "dask", "workers": 2}, killer)
    assert killer.killed == 3
    assert result.ending == "complete"
    states = Counter(record.state for record in result.records)
    assert set(states) <= {"complete", "pruned"}
    assert states["complete"] == TRIALS
    numbers = [record.number for record in result.records]
    assert sorted(numbers) == list(range(len(numbers)))
    assert sum(record.losses for record in result.records) <= killer.killed


@pytest.mark.parametrize(
    ("executor", "message"),
    [
        ({"address": "tcp://127.0.0.1:9"}, "no Dask scheduler answers at 'tcp://127.0.0.1:9'"),
        ({"address": "here"}, "no Dask scheduler answers at 'here'"),
        ({"address": "tcp://127.0.0.1:9", "workers": 2}, "expected 'address' or 'workers', got"),
        ({"workers": 0}, "option 'workers': expected at least 1, got 0"),
    ],
)
def test_what_cannot_be_had_is_one_line(
    study: Callable[..., session.RunResult], executor: dict[str, object], message: str
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        study("none", {"kind": "dask", **executor})
    assert "\n" not in str(caught.value)
