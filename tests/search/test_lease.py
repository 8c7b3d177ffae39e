"""One process writes to a study: of many that start at once one, and none that lost its lease."""

from __future__ import annotations

import json
import os
import resource
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import optuna
import pytest

from tests.driver import Driver
from tests.search import rivals
from tests.services import running_postgres
from tuner.config.load import load_config
from tuner.search.cached_storage import Mirror
from tuner.search.fenced_storage import LEASE, FencedJournal, fence_of
from tuner.search.lease import Lease, LeaseLost
from tuner.search.plan import plan_study
from tuner.search.storage import open_storage, open_study

FILES = ["sqlite:///t.db", "journal:///t.log"]


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    with running_postgres() as (url, _):
        yield url


@pytest.fixture(params=[*FILES, "postgresql"])
def url(request: pytest.FixtureRequest) -> str:
    kind: str = request.param
    return request.getfixturevalue("postgres") if kind == "postgresql" else kind


@pytest.mark.usefixtures("toy")
def test_one_of_many_has_the_study_and_who_slept_writes_nothing_more(
    url: str, write_config: Callable[..., Path]
) -> None:
    path = write_config(plugin="toy", study={"storage": url}, tracking={"enabled": False})
    command = [sys.executable, rivals.__file__, path.name, "4", "6"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    for number, outcomes in enumerate(told["rounds"]):
        assert not (bugs := [text for kind, text in outcomes if kind == "bug"]), bugs[0]
        kinds = Counter(kind for kind, _ in outcomes)
        assert kinds == {"done": 1, "StudyHeld": 5}, (number, outcomes)
        for kind, text in outcomes:
            assert kind == "done" or "is being run by process" in text or "just now" in text
    slept = told["slept"]
    assert slept["values"] == [1.0, 3.0, 4.0]
    assert slept["number"] == 2
    kind, text = slept["sleeper"]
    assert kind == "LeaseLost"
    assert "study 'asleep' was taken over by process" in text
    assert "on second; this run ends" in text


@pytest.mark.usefixtures("toy")
def test_the_answer_to_a_second_coordinator_is_one_line(
    url: str, write_config: Callable[..., Path], driver: Driver
) -> None:
    path = write_config(plugin="toy", study={"name": "led", "storage": url, "trials": 3})
    _, mirror = open_study(load_config(path))
    second = driver.run("run", path.name)
    assert mirror.lease is not None
    mirror.lease.renew(force=True)  # it is this process's as before
    here = f"process {os.getpid()} on {socket.gethostname()}"
    helping = "" if url in FILES else "help it with --join, "
    todo = f"wait for it, {helping}stop it, or start another study with --new"
    assert second.stderr == f"tuner: study 'led' is being run by {here}; {todo}\n"
    assert (second.returncode, second.stdout) == (2, "")


@pytest.fixture(params=FILES)
def study(request: pytest.FixtureRequest, workplace: Path) -> optuna.Study:
    return optuna.create_study(storage=open_storage(request.param), study_name="s")


def again(study: optuna.Study) -> optuna.Study:
    """Open the study as another process would."""
    url = "sqlite:///t.db" if Path("t.db").exists() else "journal:///t.log"
    return optuna.load_study(study_name="s", storage=open_storage(url))


def test_every_kind_of_write_is_fenced(study: optuna.Study) -> None:
    lease = Lease(study)
    lease.take()
    trial = study.ask({"x": optuna.distributions.FloatDistribution(0, 1)})
    other = Lease(again(study))
    other.take()
    storage = study._storage
    running, complete = trial._trial_id, optuna.trial.TrialState.COMPLETE
    writes = (
        lambda: study.set_user_attr("a", 1),
        lambda: storage.set_study_system_attr(study._study_id, "a", 1),
        lambda: trial.set_user_attr("a", 1),
        lambda: storage.set_trial_system_attr(running, "a", 1),
        lambda: trial.report(1.0, 1),
        lambda: trial.suggest_float("y", 0, 1),
        lambda: storage.set_trial_state_values(running, complete, [1.0]),
        lambda: study.ask(),
        lambda: study.add_trial(optuna.trial.create_trial(value=1.0)),
        lambda: storage.delete_study(study._study_id),
        lambda: optuna.create_study(storage=storage, study_name="t"),
        lambda: lease.renew(force=True),
    )
    for number, write in enumerate(writes):
        try:
            write()
        except LeaseLost:
            continue
        pytest.fail(f"write {number} passed")
    seen = again(study)
    (kept,) = seen.get_trials()
    assert (kept.state.name, list(kept.params)) == ("RUNNING", ["x"])
    assert (kept.user_attrs, kept.intermediate_values) == ({}, {})
    assert list(seen.user_attrs) == [LEASE]
    assert [study.study_name for study in seen._storage.get_all_studies()] == ["s"]
    lease.release()  # what is not its own stays
    other.renew(force=True)


def test_what_is_written_together_is_fenced_as_a_whole(study: optuna.Study) -> None:
    lease = Lease(study)
    lease.take()
    mirror = Mirror(study._storage, study._study_id, lease)
    ours = optuna.load_study(study_name="s", storage=mirror)
    space = {"x": optuna.distributions.FloatDistribution(0, 1)}
    trial = ours.ask(space)
    mirror.settle()
    other = Lease(again(study))
    other.take()
    mirror.hold()
    ours.tell(trial.number, 1.0)
    ours.ask(space)
    with pytest.raises(LeaseLost):
        mirror.settle()
    (kept,) = again(study).get_trials()
    assert (kept.state.name, kept.params) == ("RUNNING", trial.params)
    other.renew(force=True)


def test_each_taking_has_a_number_and_a_free_study_keeps_it(study: optuna.Study) -> None:
    for number in (1, 2, 3):
        lease = Lease(again(study))
        lease.take()
        assert again(study).user_attrs[LEASE]["number"] == number
        lease.renew(force=True)
        lease.release()
        assert again(study).user_attrs[LEASE] == {"number": number}


def test_a_lease_is_swapped_only_for_the_one_that_was_read(study: optuna.Study) -> None:
    one, two = fence_of(study._storage), fence_of(again(study)._storage)
    assert one.read(study._study_id) is None
    assert one.swap_lease(study._study_id, None, '{"number": 1}')
    assert not two.swap_lease(study._study_id, None, '{"number": 9}')
    assert not two.swap_lease(study._study_id, '{"number": 0}', '{"number": 9}')
    assert two.swap_lease(study._study_id, '{"number": 1}', '{"number": 2}')
    assert one.read(study._study_id) == '{"number": 2}'
    study._storage.delete_study(study._study_id)
    for fence in (one, two):
        for old in (None, '{"number": 2}', fence.read(study._study_id)):
            assert not fence.swap_lease(study._study_id, old, '{"number": 3}')


def test_a_dead_process_holds_nothing_not_even_before_its_parent_asks(study: optuna.Study) -> None:
    if not (pid := os.fork()):
        Lease(again(study)).take()
        os._exit(0)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)  # it is a zombie now
    Lease(study).take()
    os.waitpid(pid, 0)


def test_who_waits_elsewhere_goes_by_the_time(
    study: optuna.Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same number is another process in another container, though its name be the same."""
    monkeypatch.setattr("tuner.search.lease._here", lambda: {"host": "h", "place": "one"})
    Lease(study).take()
    monkeypatch.setattr("tuner.search.lease._here", lambda: {"host": "h", "place": "two"})
    with pytest.raises(Exception, match="is being run by process"):
        Lease(again(study)).take()
    monkeypatch.setattr("tuner.search.lease.LEASE_SECONDS", 0.0)
    Lease(again(study)).take()


def test_a_line_of_the_journal_that_a_crash_left_half_is_cut_off(workplace: Path) -> None:
    study = optuna.create_study(storage=open_storage("journal:///t.log"), study_name="s")
    whole = Path("t.log").read_bytes()
    Path("t.log").write_bytes(whole + b'{"op_code":2,"study_id":0,"user_')
    again(study).set_user_attr("a", "b" * 100_000)
    assert again(study).user_attrs == {"a": "b" * 100_000}
    assert Path("t.log").read_bytes().startswith(whole + b'{"op_code":2,"worker_id"')


def test_a_journal_that_may_only_be_read_is_read(workplace: Path) -> None:
    optuna.create_study(storage=open_storage("journal:///t.log"), study_name="s")
    Path("t.log").chmod(0o444)
    assert open_storage("journal:///t.log").get_study_id_from_name("s") == 0


def test_who_keeps_the_lock_of_a_journal_is_named_in_time(
    workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tuner.search.journal_lock.LOCK_SECONDS", 0.1)
    one, two = FencedJournal("t.log"), FencedJournal("t.log")
    one._lock.acquire()
    with pytest.raises(Exception, match=r"has held the lock of t\.log for 0\.1 s; end it"):
        two.append_logs([])
    one._lock.release()
    two.append_logs([])


@pytest.mark.usefixtures("toy")
def test_what_came_between_plan_and_lease_is_seen_under_the_lease(
    write_config: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process begins the study with another configuration and completes a trial."""
    from tuner.plugin import InputError
    from tuner.search import storage as module

    path = write_config(plugin="toy", study={"storage": "journal:///t.log"})
    ours, theirs = load_config(path), load_config(path, ["study.seed=1"])
    planned = module.plan_study

    def late(*arguments: object) -> object:
        plan = planned(*arguments)
        monkeypatch.setattr(module, "plan_study", planned)
        study, other = open_study(theirs)
        study.add_trial(optuna.trial.create_trial(value=1.0))
        other.lease.release()
        return plan

    monkeypatch.setattr(module, "plan_study", late)
    with pytest.raises(InputError, match="made with another configuration: seed: was 1, now 0"):
        open_study(ours)
    assert plan_study(open_storage("journal:///t.log"), theirs).completed == 1
    open_study(theirs)  # the lease was given back


def test_what_a_full_disk_took_half_of_is_taken_back(workplace: Path) -> None:
    study = optuna.create_study(storage=open_storage("journal:///t.log"), study_name="s")
    whole, limits = Path("t.log").read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(whole) + 40, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            study.set_user_attr("a", "b" * 1000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert Path("t.log").read_bytes() == whole
    study.set_user_attr("a", 1)
    assert again(study).user_attrs == {"a": 1}
