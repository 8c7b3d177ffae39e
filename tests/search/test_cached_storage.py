"""The sole writer's storage: what it shows is what another process reads from the database."""

from __future__ import annotations

import contextlib
import multiprocessing
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import StorageInternalError
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import event
from sqlalchemy.exc import OperationalError

from tuner.plugin import InputError
from tuner.search import fenced_storage
from tuner.search.cached_storage import Mirror
from tuner.search.fenced_storage import LEASE, FencedDatabase, FencedJournal, fence_of
from tuner.search.lease import Lease
from tuner.search.storage import open_storage

SPACE = {
    "x": FloatDistribution(0.1, 10, log=True),
    "n": IntDistribution(1, 5),
    "how": CategoricalDistribution(["a", "b", None]),
}


@pytest.fixture(params=["sqlite:///{}/study.db", "journal:///{}/log"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    address: str = request.param
    return address.format(tmp_path)


def plain_storage(url: str) -> optuna.storages.BaseStorage:
    """Open the storage as Optuna alone would, in another process."""
    if url.startswith("sqlite"):
        return optuna.storages.get_storage(url)
    from optuna.storages.journal import JournalFileBackend

    return optuna.storages.JournalStorage(JournalFileBackend(url.removeprefix("journal:///")))


def opened(url: str, name: str = "study") -> tuple[optuna.Study, Mirror]:
    storage = open_storage(url)
    made = optuna.create_study(storage=storage, study_name=name, load_if_exists=True)
    mirror = Mirror(made._storage, made._study_id)
    sampler = optuna.samplers.TPESampler(seed=0, n_startup_trials=2)
    return optuna.load_study(study_name=name, storage=mirror, sampler=sampler), mirror


def others(url: str) -> optuna.Study:
    return optuna.load_study(study_name="study", storage=plain_storage(url))


def elsewhere(url: str) -> list[FrozenTrial]:
    return others(url).get_trials()


def plain(trial: FrozenTrial) -> tuple[object, ...]:
    attributes = trial.user_attrs, trial.system_attrs, trial.intermediate_values
    return trial.number, trial.state, trial.params, trial.distributions, trial.values, attributes


def run_some(study: optuna.Study, mirror: Mirror) -> None:
    study.enqueue_trial({"x": 1.0}, user_attrs={"role": "first"})
    for number in range(8):
        trial = study.ask(SPACE)
        mirror.settle()
        trial.report(trial.params["x"], step=1)
        mirror.set_trial_user_attr(trial._trial_id, "kept", number)
        ended = TrialState.PRUNED if number == 5 else TrialState.COMPLETE
        study.tell(trial.number, None if number == 5 else trial.params["x"], state=ended)


def test_memory_and_storage_agree(url: str) -> None:
    opened(url, "another")[0].ask(SPACE)  # ids and numbers are not the same then
    study, mirror = opened(url)
    run_some(study, mirror)
    read = elsewhere(url)
    assert len(read) == 8
    assert list(map(plain, study.get_trials())) == list(map(plain, read))
    assert (
        study.best_trial.number
        == min((t for t in read if t.state is TrialState.COMPLETE), key=lambda t: t.value).number
    )
    again, _ = opened(url)
    assert list(map(plain, again.get_trials())) == list(map(plain, read))


def test_a_sampler_draws_the_same_through_it(url: str) -> None:
    study, mirror = opened(url)
    run_some(study, mirror)
    bare = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=0, n_startup_trials=2))
    bare.enqueue_trial({"x": 1.0})
    for number in range(8):
        trial = bare.ask(SPACE)
        trial.report(trial.params["x"], step=1)
        ended = TrialState.PRUNED if number == 5 else TrialState.COMPLETE
        bare.tell(trial.number, None if number == 5 else trial.params["x"], state=ended)
    assert [t.params for t in study.get_trials()] == [t.params for t in bare.get_trials()]


def test_a_trial_is_there_once_it_is_settled_and_whole(url: str) -> None:
    study, mirror = opened(url)
    drawn = study.ask(SPACE)
    assert elsewhere(url) == []
    mirror.settle()
    (read,) = elsewhere(url)
    assert read.state is TrialState.RUNNING
    assert read.params == drawn.params
    assert read.datetime_start == study.get_trials()[0].datetime_start


def test_a_trial_that_is_told_unsettled_is_written(url: str) -> None:
    study, _ = opened(url)
    first, second = study.ask(SPACE), study.ask(SPACE)
    study.tell(second, 2.0)
    read = elsewhere(url)
    assert [trial.state for trial in read] == [TrialState.RUNNING, TrialState.COMPLETE]
    assert read[0].params == first.params


def test_another_writer_is_noticed(url: str) -> None:
    study, mirror = opened(url)
    others(url).ask(SPACE)
    study.ask(SPACE)
    with pytest.raises(InputError, match="another program runs or ends trials of study 'study'"):
        mirror.settle()


def test_what_another_program_ends_is_not_ended_again(url: str) -> None:
    study, mirror = opened(url)
    trial = study.ask(SPACE)
    mirror.settle()
    others(url).tell(trial.number, 1.0)
    with pytest.raises(InputError, match="another program runs or ends trials of study 'study'"):
        study.tell(trial, 2.0)
    assert [trial.values for trial in elsewhere(url)] == [[1.0]]


def test_what_is_enqueued_from_outside_comes_before_what_is_drawn(url: str) -> None:
    opened(url, "another")[0].ask(SPACE)  # ids and numbers are not the same then
    study, mirror = opened(url)
    run_some(study, mirror)
    first = study.ask(SPACE)
    mirror.settle()
    for x in (2.0, 3.0):
        others(url).enqueue_trial({"x": x, "n": 2, "how": "a"})
    mirror.hold()
    study.tell(first.number, 1.0)
    drawn = study.ask(SPACE)
    mirror.settle()
    assert (drawn.number, mirror.number_of(drawn.number)) == (9, 11)
    read = elsewhere(url)
    assert [trial.state for trial in read[8:]] == [
        TrialState.COMPLETE,
        TrialState.WAITING,
        TrialState.WAITING,
        TrialState.RUNNING,
    ]
    assert read[11].params == drawn.params
    assert list(map(plain, study.get_trials())) == list(map(plain, read))
    for number in (9, 10):
        mirror.hold()
        assert study.ask(SPACE).number == number
        study.tell(number, float(number))
        mirror.settle()
    others(url).enqueue_trial({"x": 4.0})
    study.enqueue_trial({"x": 5.0})  # it comes after that
    mirror.look()
    study.tell(11, 11.0)
    assert list(map(plain, study.get_trials())) == list(map(plain, elsewhere(url)))
    assert [t.system_attrs.get("fixed_params") for t in study.get_trials()[12:]] == [
        {"x": 4.0},
        {"x": 5.0},
    ]


def test_what_waits_is_known_without_a_look_at_all_trials(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both are asked for at every trial, or at the end of ten thousand."""
    study, mirror = opened(f"sqlite:///{tmp_path}/study.db")
    run_some(study, mirror)
    study.enqueue_trial({"x": 2.0})
    others(f"sqlite:///{tmp_path}/study.db").enqueue_trial({"x": 3.0})
    mirror.look()
    waiting = study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
    every = study.get_trials(deepcopy=False)
    assert waiting == [trial for trial in every if trial.state == TrialState.WAITING]
    assert [trial.system_attrs["fixed_params"]["x"] for trial in waiting] == [2.0, 3.0]

    def refuse(*arguments: object, **more: object) -> None:
        raise AssertionError("all trials were read")

    monkeypatch.setattr(mirror._backend, "get_all_trials", refuse)
    monkeypatch.setattr(mirror._memory, "get_all_trials", refuse)
    mirror.look()
    for taken, trial in enumerate(waiting, 1):
        mirror.set_trial_state_values(trial.number, TrialState.RUNNING)
        left = study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
        assert [other.number for other in left] == [other.number for other in waiting[taken:]]


def enqueuing(url: str, many: int) -> None:
    """Enqueue trials, one by one, through Optuna alone."""
    study = others(url)
    for number in range(many):
        study.enqueue_trial({"x": 1.0 + number / 10, "n": 2, "how": "a"})


def test_many_are_enqueued_while_trials_are_written(url: str) -> None:
    """Optuna's own programs do not know our lock of a journal."""
    study, mirror = opened(url)
    lease = Lease(study)  # with it every write begins with one, which locks a SQLite file
    lease.take()
    asked, many = [], 25
    process = multiprocessing.get_context("spawn").Process(target=enqueuing, args=(url, many))
    process.start()
    is_over = False
    while not is_over:
        was_alive = process.is_alive()
        mirror.hold()
        trial = study.ask(SPACE)
        mirror.settle()
        asked.append(mirror.number_of(trial.number))
        mirror.hold()
        study.tell(asked[-1], trial.params["x"])
        mirror.look()
        is_waiting = bool(mirror.get_all_trials(0, states=(TrialState.WAITING,)))
        is_over = not was_alive and not is_waiting and len(asked) > many
    mirror.settle()
    process.join()
    assert process.exitcode == 0
    read = elsewhere(url)
    assert sorted(asked) == list(range(len(read)))
    assert {trial.state for trial in read} == {TrialState.COMPLETE}
    given = [t.params["x"] for t in read if "fixed_params" in t.system_attrs]
    assert sorted(given) == [1.0 + number / 10 for number in range(many)]
    assert list(map(plain, study.get_trials())) == list(map(plain, read))


def test_what_comes_between_a_look_at_a_journal_and_a_write_keeps_its_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"journal:///{tmp_path}/log"
    study, mirror = opened(url)
    study.ask(SPACE)
    mirror.settle()
    append, fence = FencedJournal._append, fence_of(mirror)
    assert isinstance(fence, FencedJournal)

    def late(*logs: Any) -> None:
        monkeypatch.undo()
        others(url).enqueue_trial({"x": 1.0, "n": 2, "how": "a"})
        append(fence, *logs)

    drawn = study.ask(SPACE)
    monkeypatch.setattr(fence, "_append", late)
    mirror.settle()
    assert mirror.number_of(drawn.number) == 2
    study.tell(2, 1.0)
    assert list(map(plain, study.get_trials())) == list(map(plain, elsewhere(url)))
    states = [trial.state for trial in study.get_trials()]
    assert states == [TrialState.RUNNING, TrialState.WAITING, TrialState.COMPLETE]


def transactions(storage: FencedDatabase) -> list[str]:
    """Return a list that grows by what each transaction from now on has written."""
    found: list[str] = []
    written: list[str] = []

    @event.listens_for(storage.engine, "before_cursor_execute")
    def _note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if not statement.startswith("SELECT"):
            written.append(statement.split()[2 if statement.startswith("INSERT") else 1])

    @event.listens_for(storage.engine, "commit")
    def _commit(_connection: object) -> None:
        if written:
            found.append(" ".join(sorted(set(written))))
            written.clear()

    return found


def test_an_end_and_the_next_trial_are_one_transaction(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/study.db"
    study, mirror = opened(url)
    run_some(study, mirror)
    first = study.ask(SPACE)
    mirror.settle()
    database = mirror._backend._backend
    assert isinstance(database, FencedDatabase)
    written = transactions(database)
    mirror.hold()
    mirror.set_trial_user_attr(first._trial_id, "kept", "all")
    study.tell(first.number, 2.0)
    second = study.ask(SPACE)
    assert elsewhere(url)[-1].state is TrialState.RUNNING
    assert written == []
    mirror.settle()
    (all_of_it,) = written
    assert {"trials", "trial_values", "trial_params", "trial_user_attributes"} <= {
        *all_of_it.split()
    }
    ended, drawn = elsewhere(url)[-2:]
    assert (ended.state, ended.values, ended.user_attrs) == (
        TrialState.COMPLETE,
        [2.0],
        {"kept": "all"},
    )
    assert (drawn.state, drawn.params) == (TrialState.RUNNING, second.params)


@pytest.mark.parametrize("is_committed", [True, False])
def test_a_transaction_that_a_servers_end_cuts_off_is_done_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_committed: bool
) -> None:
    url = f"sqlite:///{tmp_path}/study.db"
    study, mirror = opened(url)
    lease = Lease(study)
    lease.take()
    first = study.ask(SPACE)
    mirror.settle()
    whole = fenced_storage._create_scoped_session
    why = Exception("server closed the connection unexpectedly")
    cut = OperationalError("COMMIT", {}, why, connection_invalidated=True)

    @contextlib.contextmanager
    def once(*arguments: Any) -> Iterator[Any]:
        monkeypatch.undo()
        with whole(*arguments) as session:
            yield session
            if not is_committed:
                raise cut
        raise StorageInternalError("cut off") from cut

    mirror.hold()
    study.tell(first.number, 1.0)
    second = study.ask(SPACE)
    monkeypatch.setattr(fenced_storage, "_create_scoped_session", once)
    mirror.settle()
    lease.renew(force=True)
    study.tell(second.number, 2.0)
    read = elsewhere(url)
    assert [trial.values for trial in read] == [[1.0], [2.0]]
    assert list(map(plain, study.get_trials())) == list(map(plain, read))
    lease.release()
    assert set(others(url).user_attrs[LEASE]) == {"number"}


def test_values_of_every_kind_are_written_as_optuna_writes_them(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/study.db"
    study, mirror = opened(url)
    for value in (float("inf"), float("-inf"), 1e-308, -2.5):
        trial = study.ask(SPACE)
        for step, seen in enumerate((float("nan"), float("inf"), value)):
            trial.report(seen, step)
        mirror.settle()
        mirror.set_trial_user_attr(trial._trial_id, "kept", {"a": [1, None], "b": "\u00e9"})
        mirror.set_trial_user_attr(trial._trial_id, "kept", "anew")
        mirror.set_trial_intermediate_value(trial._trial_id, 0, 3.0)
        study.tell(trial.number, value)
    read = elsewhere(url)
    assert list(map(repr, map(plain, study.get_trials()))) == list(map(repr, map(plain, read)))
    assert [trial.values for trial in read] == [[float("inf")], [float("-inf")], [1e-308], [-2.5]]
    assert {trial.user_attrs["kept"] for trial in read} == {"anew"}
    assert {trial.intermediate_values[0] for trial in read} == {3.0}


def test_what_a_database_refuses_is_not_half_there(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/study.db"
    study, mirror = opened(url)
    first = study.ask(SPACE)
    mirror.settle()
    before = list(map(plain, elsewhere(url)))
    mirror.hold()
    study.tell(first.number, 1.0)
    study.ask(SPACE)
    database = mirror._backend._backend
    refused = True

    @event.listens_for(database.engine, "before_cursor_execute")
    def _refuse(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if refused and statement.startswith("INSERT INTO trial_params"):
            full = sqlite3.OperationalError("database or disk is full")
            raise OperationalError(statement, {}, full)

    with pytest.raises(StorageInternalError):
        mirror.settle()
    assert list(map(plain, elsewhere(url))) == before
    refused = False
    mirror.settle()
    assert list(map(plain, study.get_trials())) == list(map(plain, elsewhere(url)))
