"""A whole study where the configuration says: the executor is chosen by name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.search.test_series import Silent
from tuner.config.load import load_config
from tuner.execution.local import LocalExecutor
from tuner.plugin import InputError
from tuner.run import session
from tuner.run.check import check
from tuner.run.status import lines_of, status_of
from tuner.search.fenced_storage import LEASE
from tuner.search.lease import Lease, LeaseLost
from tuner.search.storage import read_study

pytestmark = pytest.mark.usefixtures("toy", "undrawn")


def sections(**more: object) -> dict[str, object]:
    return {
        "plugin": "toy",
        "data": {"targets": [1.0, 2.0], "held_out": [1.5]},
        "study": {"trials": 5, "sampler": "random", "pruner": "median"},
        "search_space": {"x": {"low": -5, "high": 5}},
        "timing": {"final_time": 0.5, "nulls": 0},
        "tracking": {"enabled": False},
        **more,
    }


@pytest.mark.parametrize("kind", ["threads", "tuner_toy_executor:Threads"])
def test_a_study_runs_where_the_configuration_says(
    write_config: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(LocalExecutor, "__init__", None)  # no worker process is made
    executor = {"kind": kind, "log": "jobs.log"}
    config = load_config(write_config(**sections(workers=2, executor=executor)))
    check(config)
    result = session.run(config, Silent(), lambda: False)
    assert result.ending == "complete"
    assert result.summary.counts["complete"] == 5
    assert result.summary.final is not None
    best, told = result.summary.best, status_of(config)  # as the run's table has it
    assert best is not None
    assert (told.best, told.baseline) == (best, result.summary.baseline)
    (line,) = [line for line in lines_of(told, config) if line.startswith("best: ")]
    if not best.is_baseline:
        assert f"(speed-up {best.metrics['speedup']:.3g}x, score" in line
    assert len(result.summary.held_out) == 1
    assert result.export is not None
    assert result.export.exists()
    jobs = Counter(Path("jobs.log").read_text().split())
    assert jobs["TrialJob"] >= 5
    assert jobs["PresentJob"] == 1
    assert jobs["TimeJob"] > 0


@pytest.mark.parametrize(
    ("executor", "message"),
    [
        (
            {"kind": "thread"},
            r"no executor called 'thread'; installed: local, dask, .*threads; did you",
        ),
        ({"kind": "gone:Threads"}, r"'gone:Threads' needs the package 'gone'"),
        ({"kind": "tuner_toy_executor:CaseDone", "at": 1}, r"has no option 'at'; it has: none"),
        ({"kind": "local", "log": "x"}, r"'local' has no option 'log'; it has: none"),
        ({"kind": "threads"}, r"'threads' needs the option 'log'"),
        ({"kind": "threads", "lgo": "x"}, r"no option 'lgo'; it has: log; did you mean 'log'\?"),
        ({"kind": "threads", "log": 3}, r"threads., option .log.: expected a path, got 3"),
        ({"kind": "dask", "workers": 0}, r"'dask', option 'workers': expected at least 1, got 0"),
    ],
)
def test_an_executor_that_cannot_be_had_is_one_line(
    write_config: Callable[..., Path], executor: dict[str, object], message: str
) -> None:
    config = load_config(write_config(**sections(executor=executor)))
    with pytest.raises(InputError, match=r"line \d+: executor: (?!executor).*" + message) as caught:
        check(config)
    assert "\n" not in str(caught.value)


def test_a_run_that_is_taken_over_ends_and_writes_nothing_more(
    write_config: Callable[..., Path],
) -> None:
    """Another coordinator takes the lease after the second trial."""
    told = sections(
        executor={"kind": "threads", "log": "jobs.log"}, study={"trials": 9, "sampler": "random"}
    )
    config = load_config(write_config(**told))
    seen: list[object] = []

    class TakenOver(Silent):
        def trial(self, *args: object) -> None:
            seen.append(args)
            if len(seen) == 2:
                Lease(read_study(config)).take()

    with pytest.raises(LeaseLost, match="'study' was taken over by process"):
        session.run(config, TakenOver(), lambda: False)
    study = read_study(config)
    done = [trial for trial in study.get_trials() if trial.state.is_finished()]
    assert len(done) == len(seen) == 2
    assert study.user_attrs[LEASE]["number"] == 2
    assert "token" in study.user_attrs[LEASE]
    assert not list(Path("out/study").rglob("*.py"))
