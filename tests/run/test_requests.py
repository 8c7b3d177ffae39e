"""A study that runs is looked at and talked to from other processes."""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from tests.driver import Command, Driver
from tests.search.test_series import Silent
from tuner.config.load import load_config
from tuner.plugin import InputError
from tuner.run import requests, session
from tuner.run.status import lines_of, status_of
from tuner.search import lease as leases
from tuner.search.fenced_storage import LEASE
from tuner.search.lease import Lease
from tuner.search.storage import open_study, read_study

pytestmark = pytest.mark.usefixtures("toy", "undrawn")
STORAGES = ["sqlite:///t.db", "journal:///t.log"]


@pytest.fixture
def config(write_config: Callable[..., Path]) -> str:
    sections = {
        "plugin": "toy",
        "study": {"trials": 300, "sampler": "random", "storage": STORAGES[0]},
        "data": {"targets": [2.0], "seconds": 0.02, "log": "log.txt"},
        "search_space": {"x": {}, "size": {}},
        "objective": "fit",
        "timing": {"finalists": 0, "nulls": 0},
        "tracking": {"enabled": False},
    }
    return write_config(**sections).name


def told(driver: Driver, *arguments: str) -> Any:
    done = driver.run(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def until(driver: Driver, command: Command, config: tuple[str, ...], enough: int) -> Any:
    """Return the status of a running study once it has completed enough trials."""
    while True:
        assert command.poll() is None, command.said(command.stderr)
        if Path("log.txt").exists():  # the study is there, and its baseline is measured
            found = told(driver, "status", *config)
            if found["counts"].get("complete", 0) >= enough:
                return found
        time.sleep(0.1)


@pytest.mark.parametrize("url", STORAGES)
def test_a_running_study_is_watched_stopped_and_resumed(
    driver: Driver, config: str, url: str
) -> None:
    asked = (config, "--set", f"study.storage={url}")
    command = driver.start("run", *asked)
    found = until(driver, command, asked, enough=8)
    assert found["state"] == "running"
    assert found["coordinator"]["pid"] == command.pid
    assert (found["phase"], found["wanted"]) == ("searching", 300)
    assert found["baseline"]["number"] == 0
    assert found["best"]["metrics"]["fit"] >= found["baseline"]["metrics"]["fit"]
    assert found["seconds_left"] > 0
    said = driver.run("enqueue", *asked, "x=1.25", "size=1").stdout
    assert (
        said
        == "enqueued in study 'study': x 1.25, size 1; the process that runs it takes it up next\n"
    )
    theirs: Any = url  # as a program opens it that knows Optuna alone
    if url.startswith("journal"):
        theirs = JournalStorage(JournalFileBackend("t.log"))
    for x in (-1.25, 99.0):
        optuna.load_study(study_name="study", storage=theirs).enqueue_trial({"x": x, "size": 2})
    done = found["counts"]["complete"]
    until(driver, command, asked, enough=done + 8)
    said = driver.run("stop", *asked).stdout
    assert said.startswith(f"asked process {command.pid} on ")
    assert "study 'study' end" in said
    out, err = command.communicate()
    assert command.returncode == 130, err
    assert err.count("asked to stop by tuner stop: ends after the running trials") == 1
    assert "the study did not end" in out
    outside = (
        "enqueued with params outside of the search space: x: expected a number from -10 to 10"
    )
    assert f"failed: {outside}, got 99.0" in err
    assert f"to resume: tuner run {config}" in err

    after = told(driver, "status", *asked)
    assert (after["state"], after["coordinator"], after["phase"]) == ("interrupted", {}, "")
    done = after["counts"]["complete"]
    assert 8 <= done < 300
    assert after["counts"]["running"] == 0
    assert driver.run("stop", *asked).stdout == "study 'study' is not running\n"
    last = driver.run("run", *asked, "--trials", str(done + 2))
    assert last.returncode == 0, last.stderr  # the request was for the run before
    shown = driver.run("status", *asked, "--set", f"study.trials={done + 2}").stdout
    assert shown.startswith("study 'study' has run to its end\n")
    assert f"trials: {done + 2} of {done + 2} complete, 1 failed\n" in shown
    lines = [json.loads(line) for line in Path("log.txt").read_text().splitlines()]
    times = Counter((line["x"], line["size"]) for line in lines)
    assert len(times) == done + 2
    assert times[1.25, 1] == times[-1.25, 2] == 1


def test_a_coordinator_on_another_host_is_asked(
    config: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, storage = open_study(load_config(config))
    assert storage.lease is not None
    storage.lease.release()
    assert requests.stop(Path(config)) == "study 'study' is not running"
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(leases, "_here", lambda: {"host": "second", "place": "there"})
        away = Lease(study, {"trials": 300, "timeout": 60.0})
        away.take()
    assert not away.stop_asked
    assert f"asked process {study.user_attrs[LEASE]['pid']} on second" in requests.stop(
        Path(config)
    )
    monkeypatch.setattr(leases, "LOOK_SECONDS", 0.0)
    away._look = 0.0  # it looked just now
    assert away.stop_asked
    found = status_of(load_config(config))
    assert (found.state, found.coordinator["host"]) == ("stopping", "second")
    assert found.phase == "measuring the baseline"


def test_what_is_enqueued_before_a_run_comes_after_the_baseline(
    driver: Driver, config: str
) -> None:
    few = (config, "--set", "study.trials=3")
    said = driver.run("enqueue", *few, "x=1.5", "size=2").stdout
    assert said == "enqueued in study 'study': x 1.5, size 2; tuner run begins with it\n"
    assert driver.run("enqueue", *few, "size=3", "x=2").returncode == 0
    before = told(driver, "status", *few)
    assert (before["state"], before["counts"]["enqueued"]) == ("new", 2)
    (row,) = json.loads(driver.run("studies", "--storage", STORAGES[0], "--json").stdout)
    assert (row["name"], row["trials"]) == ("study", {"enqueued": 2})
    changed = driver.run("run", *few, "--set", "search_space.x.high=1")
    assert changed.returncode == 2
    assert "study 'study' has enqueued trials and was made with another" in changed.stderr
    done = driver.run("run", *few)
    assert done.returncode == 0, done.stderr
    study = read_study(load_config(config))
    assert [trial.params for trial in study.get_trials()] == [
        {"x": 0.0, "size": 5},
        {"x": 1.5, "size": 2},
        {"x": 2.0, "size": 3},
    ]
    again = driver.run("enqueue", *few, "x=-1", "size=4").stdout
    assert again.endswith("tuner run begins with it\n")
    done = driver.run("run", *few, "--json")  # the study has its trials, and runs this one too
    assert json.loads(done.stdout)["trials"]["complete"] == 4
    assert study.get_trials()[-1].params == {"x": -1.0, "size": 4}


class Late(Silent):
    """Enqueues a trial from another process when the search is over."""

    def __init__(self, driver: Driver, asked: tuple[str, ...]) -> None:
        super().__init__()
        self.driver, self.asked = driver, asked
        self.said, self.status = "", {}

    def phase(self, name: str, detail: str = "") -> None:
        if name == "writing the script":
            self.said = self.driver.run("enqueue", *self.asked, "x=1.5", "size=2").stdout
            self.status = told(self.driver, "status", *self.asked)


def test_what_is_enqueued_after_the_search_waits_and_both_say_so(
    driver: Driver, config: str
) -> None:
    few = (config, "--set", "study.trials=3")
    late, loaded = Late(driver, few), load_config(Path(config), ["study.trials=3"])
    waits = "1 enqueued trial waits, for the search was over: run the same command again"
    assert waits in session.run(loaded, late, lambda: False).summary.notes
    assert late.said.endswith("size 2; the search is over: run the same command again\n")
    assert late.status["phase"] == "timing the finalists, drawing, freezing"
    assert late.status["counts"]["enqueued"] == 1
    again = session.run(loaded, Silent(), lambda: False)
    assert again.records[-1].params["x"] == 1.5
    assert waits not in again.summary.notes


@pytest.mark.parametrize(
    ("params", "message"),
    [
        (["x=11", "size=2"], "x: expected a number from -10 to 10, got 11"),
        (["x=one", "size=2"], "x: expected a number from -10 to 10, got 'one'"),
        (["x=1", "size=2.5"], "size: expected a whole number from 1 to 5, got 2.5"),
        (["x=1", "size=true"], "size: expected a whole number from 1 to 5, got True"),
        (["x=1"], "size is not given; expected a value of each searched parameter: x, size"),
        (["x=1", "size=2", "sise=3"], "unknown parameter 'sise'; the plug-in has: x, size, mode;"),
        (["x=1", "size=2", "mode=die"], "mode: the search space fixes it at 'fine', got 'die'"),
        (["x", "size=2"], "'x': expected NAME=VALUE, as in alpha=0.1"),
        (["x=1", "x=2", "size=2"], "x is given twice; expected one value of each"),
        (["x={", "size=2"], "x={: '{' is no YAML value: "),
        (["x=[1]", "size=2"], "x: expected a number from -10 to 10, got [1]"),
    ],
)
def test_params_that_the_space_lacks_are_refused_in_one_line(
    config: str, params: list[str], message: str
) -> None:
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        requests.enqueue(load_config(config), params)
    assert "\n" not in str(caught.value)
    assert not Path("t.db").exists()


def test_a_study_that_was_left_is_told_from_one_that_runs(
    config: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = load_config(config)
    study, storage = open_study(loaded)
    trial = study.ask(dict(loaded.space.searched))
    storage.settle()
    lease = read_study(loaded).user_attrs[LEASE]
    gone = {**lease, "start": "0"}  # another process has its number now
    optuna.load_study(study_name="study", storage=storage._backend).set_user_attr(LEASE, gone)
    found = status_of(loaded)
    assert found.state == "lost"
    assert [number for number, _, _ in found.running] == [trial.number]
    told = list(lines_of(found, loaded))
    assert told[0].startswith("study 'study' was left by a process that ended without a word: ")
    assert told[2].startswith("  trial 0, to be run again: x ")
    assert told[-1].endswith(f" run {config}")


def test_a_trial_that_runs_again_is_timed_since_this_run_began(
    config: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process drew it two hours ago, and was killed."""
    loaded = load_config(config)
    study, storage = open_study(loaded)
    template = study.ask(dict(loaded.space.searched))._cached_frozen_trial
    template.datetime_start = datetime.now() - timedelta(hours=2)
    storage.settle()
    storage._backend.create_new_trial(study._study_id, template)
    assert storage.lease is not None
    storage.lease.release()
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(leases, "_here", lambda: {"host": "second", "place": "there"})
        Lease(study, {"trials": 300, "timeout": None}).take()
    found = status_of(loaded)
    assert (found.state, len(found.running)) == ("running", 2)
    (_, _, fresh), (_, _, again) = found.running
    assert 0 <= fresh <= again < 60
    shown = next(line for line in lines_of(found, loaded) if line.startswith("  trial 1, for "))
    assert " s: " in shown or " ms: " in shown
