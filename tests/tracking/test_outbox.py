"""Delivery: every record reaches the store once, or is in the file; whatever the store does."""

from __future__ import annotations

import errno
import math
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.studies import make_summary, make_trials
from tuner.records import Summary, TrialRecord
from tuner.tracking import outbox, spool
from tuner.tracking.outbox import Outbox, StoreTrouble
from tuner.tracking.spool import read_spool, write_spool

TRIALS = make_trials(12)


class Store:
    """A store in memory that fails where its script says so, before or after it took the call."""

    def __init__(self, script: Iterator[str] | None = None, refuses: frozenset[int] = frozenset()):
        self.script = script or iter(())
        self.refuses = refuses
        self.runs: dict[int, TrialRecord] = {}
        self.sends: list[int] = []
        self.updates = 0
        self.summary: Summary | None = None
        self.failures = 0

    def connect(self, alive: object) -> Store:
        self._may_fail()
        return self

    def known(self) -> set[int]:
        self._may_fail()
        return set(self.runs)

    def send_all(self, records: list[TrialRecord]) -> set[int]:
        return set()

    def send(self, record: TrialRecord) -> None:
        if record.number in self.refuses:
            raise StoreTrouble(f"trial {record.number}: too long", refused=True)
        late = self._may_fail()
        self.runs[record.number] = record
        self.sends.append(record.number)
        if late:
            self.failures += 1
            raise StoreTrouble("connection lost after the call")

    def update(self, records: list[TrialRecord]) -> None:
        self._may_fail()
        self.updates += 1

    def close(self, summary: Summary, records: list[TrialRecord]) -> list[str]:
        self._may_fail()
        self.summary = summary
        return []

    def _may_fail(self) -> bool:
        what = next(self.script, "works")
        if what == "fails":
            self.failures += 1
            raise StoreTrouble("the store is away")
        return what == "late"


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_GAP", "_FIRST_PAUSE", "_LONGEST_PAUSE", "_CLOSING_PAUSE"):
        monkeypatch.setattr(outbox, name, 0.001)


def deliver(store: Store, spool: Path, trials: list[TrialRecord], early: int = 0) -> tuple:
    box = Outbox(store.connect, spool, patience=20)
    box.start(trials[:early])
    for trial in trials[early:]:
        box.put(trial)
    return box.drain(make_summary(trials))


def test_a_good_store_gets_everything_once(tmp_path: Path) -> None:
    store = Store()
    problems, unsent = deliver(store, tmp_path / "spool.jsonl", TRIALS, early=4)
    assert (problems, unsent) == ([], None)
    assert sorted(store.sends) == [trial.number for trial in TRIALS]
    assert store.summary == make_summary(TRIALS)
    assert list(tmp_path.iterdir()) == []


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    script=st.lists(st.sampled_from(["works", "works", "fails", "late"]), max_size=60),
    early=st.integers(0, len(TRIALS)),
    refuses=st.frozensets(st.integers(0, len(TRIALS) - 1), max_size=3),
)
def test_sent_and_kept_make_up_the_whole(
    tmp_path_factory: pytest.TempPathFactory, script: list[str], early: int, refuses: frozenset
) -> None:
    spool = tmp_path_factory.mktemp("spool") / "unsent.jsonl"
    store = Store(iter(script), refuses)
    problems, unsent = deliver(store, spool, TRIALS, early)

    kept, damage = read_spool(spool)
    assert damage is None
    # a record that the store took though the call failed may be in both: it is sent again
    assert {record.number for record in kept} | set(store.runs) == set(range(len(TRIALS)))
    assert {record.number for record in kept} >= refuses
    assert (unsent is None) == (not kept)
    assert all(store.runs[number] == TRIALS[number] for number in store.runs)
    assert bool(problems) == bool(store.failures or refuses)
    if store.summary is not None:
        assert {record.number for record in kept} == refuses
    else:
        assert problems

    again = Store()
    again.runs = store.runs
    problems, unsent = deliver(again, spool, [])
    assert (problems, unsent) == ([], None)
    assert set(again.runs) == set(range(len(TRIALS)))
    assert not spool.exists()


def test_trouble_that_passed_is_told_once_with_its_count(tmp_path: Path) -> None:
    store = Store(iter(["fails", "fails", "works", "fails"]))
    problems, unsent = deliver(store, tmp_path / "spool.jsonl", TRIALS)
    assert problems == ["the store is away (3 times); overcome, everything was sent"]
    assert unsent is None


def test_a_store_that_stays_away_leaves_every_trial_in_the_file(tmp_path: Path) -> None:
    spool = tmp_path / "below" / "spool.jsonl"
    problems, unsent = deliver(Store(iter(lambda: "fails", "")), spool, TRIALS)
    assert unsent == spool
    assert read_spool(spool) == (TRIALS, None)
    assert "12 of 12 trials are not in the store" in problems[-1]
    assert str(spool) in problems[-1]


def test_a_store_that_hangs_is_given_up_after_the_patience(tmp_path: Path) -> None:
    gate = threading.Event()

    class Hanging(Store):
        def send(self, record: TrialRecord) -> None:
            gate.wait(10)
            super().send(record)

    box = Outbox(Hanging().connect, tmp_path / "spool.jsonl", patience=0.2)
    box.start([])
    for trial in TRIALS:
        box.put(trial)
    started = time.monotonic()
    problems, unsent = box.drain(make_summary(TRIALS))
    assert time.monotonic() - started < 2
    assert problems[0] == "the store did not answer within 0.2 s"
    assert len(read_spool(unsent)[0]) == len(TRIALS)
    gate.set()
    box._thread.join(5)
    assert not box._thread.is_alive()


def test_progress_keeps_patience_alive(tmp_path: Path) -> None:
    class Slow(Store):
        def send(self, record: TrialRecord) -> None:
            time.sleep(0.06)
            super().send(record)

    store = Slow()
    box = Outbox(store.connect, tmp_path / "spool.jsonl", patience=0.4)
    box.start(TRIALS)
    assert box.drain(make_summary(TRIALS)) == ([], None)
    assert len(store.runs) == len(TRIALS)


def test_trials_that_vanish_from_the_store_are_sent_again(tmp_path: Path) -> None:
    class Forgetful(Store):
        forgot = False

        def update(self, records: list[TrialRecord]) -> None:
            super().update(records)
            if len(self.runs) == len(TRIALS) and not self.forgot:
                self.forgot = True
                del self.runs[3]

    store = Forgetful()
    problems, unsent = deliver(store, tmp_path / "spool.jsonl", TRIALS)
    assert problems == ["trials 3 are gone from the store; overcome, everything was sent"]
    assert set(store.runs) == set(range(len(TRIALS)))
    assert unsent is None


def test_a_bug_is_raised_where_the_study_ends(tmp_path: Path) -> None:
    class Buggy(Store):
        def send(self, record: TrialRecord) -> None:
            raise TypeError("a bug")

    spool = tmp_path / "spool.jsonl"
    with pytest.raises(TypeError, match="a bug"):
        deliver(Buggy(), spool, TRIALS)
    assert len(read_spool(spool)[0]) == len(TRIALS)


def test_a_spool_that_cannot_be_written_is_a_problem_not_a_crash(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    spool = tmp_path / "file" / "spool.jsonl"
    problems, unsent = deliver(Store(iter(lambda: "fails", "")), spool, TRIALS)
    assert unsent is None
    assert any(problem.startswith("cannot keep unsent trials in") for problem in problems)


def test_spool_round_trip_keeps_types_and_infinities(tmp_path: Path) -> None:
    odd = replace(
        TRIALS[1],
        params={"a": 1, "b": 1.0, "c": True, "d": None, "e": "1", "f": "true"},
        metrics={"r": math.inf, "time": 1e-300},
        reason="two\nlines",
    )
    path = tmp_path / "spool.jsonl"
    write_spool(path, [odd, TRIALS[5]])
    back, problem = read_spool(path)
    assert problem is None
    assert back == [odd, TRIALS[5]]
    assert [type(value) for value in back[0].params.values()] == [
        type(value) for value in odd.params.values()
    ]
    (tmp_path / "spool.jsonl.part").write_text("of a process that was killed")
    write_spool(path, [])
    assert not list(tmp_path.iterdir())


def test_a_spool_without_room_leaves_no_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "spool.jsonl"
    write_spool(path, TRIALS[:1])

    def no_room(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(spool.os, "replace", no_room)
    with pytest.raises(OSError, match="No space"):
        write_spool(path, TRIALS[:2])
    assert list(tmp_path.iterdir()) == [path]
    assert read_spool(path) == (TRIALS[:1], None)


def test_a_damaged_spool_is_set_aside_and_its_good_lines_used(tmp_path: Path) -> None:
    path = tmp_path / "spool.jsonl"
    write_spool(path, TRIALS[:2])
    with path.open("a") as handle:
        handle.write('{"number": 2, "sta')
    store = Store()
    problems, unsent = deliver(store, path, [])
    aside = tmp_path / "spool.jsonl.damaged"
    assert set(store.runs) == {0, 1}
    assert aside.exists()
    assert f"line 3 of {path}" in problems[0]
    assert unsent is None


@pytest.mark.parametrize("bad", [{3}, {3, 4}, {0}, {11}])
def test_a_record_that_fails_alone_holds_up_none_behind_it(tmp_path: Path, bad: set[int]) -> None:
    """The store gives no code of a refusal: it breaks, and the session with it."""

    class Breaks(Store):
        def send(self, record: TrialRecord) -> None:
            if record.number in bad:
                raise StoreTrouble("'utf-8' codec can't encode")
            super().send(record)

    store, spool = Breaks(), tmp_path / "spool.jsonl"
    box = Outbox(store.connect, spool, patience=20)
    box.start(TRIALS[:5])
    for trial in TRIALS[5:]:
        box.put(trial)
        until = time.monotonic() + 20  # one by one, as trials end
        while trial.number not in {*store.runs, *bad} and time.monotonic() < until:
            time.sleep(0.001)
    problems, unsent = box.drain(make_summary(TRIALS))
    assert set(store.runs) == set(range(12)) - bad
    assert store.summary == make_summary(TRIALS)
    for number in bad:
        line = f"trial {number} is passed by: 'utf-8' codec can't encode"
        assert sum(problem.startswith(line) for problem in problems) == 1
    assert {record.number for record in read_spool(spool)[0]} == bad
    assert f"{len(bad)} of 12 trials are not in the store" in problems[-1]
    assert unsent == spool


def test_a_store_that_takes_no_record_at_all_has_none_passed_by(tmp_path: Path) -> None:
    class Full(Store):
        away = True

        def send(self, record: TrialRecord) -> None:
            if self.away:
                self.failures += 1
                raise StoreTrouble("database or disk is full")
            super().send(record)

    store = Full()
    box = Outbox(store.connect, tmp_path / "spool.jsonl", patience=20)
    box.start(TRIALS)
    until = time.monotonic() + 20
    while store.failures < 3 * len(TRIALS) and time.monotonic() < until:
        time.sleep(0.001)
    store.away = False
    problems, unsent = box.drain(make_summary(TRIALS))
    assert set(store.runs) == set(range(12))
    assert [problem.partition(" (")[0] for problem in problems] == ["database or disk is full"]
    assert unsent is None


def test_who_was_taken_over_sends_and_keeps_nothing_more(tmp_path: Path) -> None:
    gate, store = threading.Event(), Store(iter(lambda: "fails", ""))

    def connect(alive: object) -> Store:
        gate.wait(10)
        return store.connect(alive)

    box = Outbox(connect, tmp_path / "spool.jsonl", patience=20)
    box.start(TRIALS)
    box.abandon()
    gate.set()
    box._thread.join(10)
    assert not box._thread.is_alive()
    assert store.runs == {}
    assert list(tmp_path.iterdir()) == []


class FileStore(Store):
    """A store that takes trials together: all of them, but those that it refuses."""

    def __init__(self, refuses: frozenset[int] = frozenset()) -> None:
        super().__init__(refuses=refuses)
        self.together: list[list[int]] = []

    def send_all(self, records: list[TrialRecord]) -> set[int]:
        numbers = [record.number for record in records]
        if self.refuses & set(numbers):
            return set()
        self.runs.update({record.number: record for record in records})
        self.together.append(numbers)
        return set(numbers)


def test_a_store_that_takes_trials_together_gets_them_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "_GAP", 30.0)
    store = FileStore()
    began = time.monotonic()
    problems, unsent = deliver(store, tmp_path / "spool.jsonl", TRIALS, early=1)
    assert time.monotonic() - began < 15  # the end of a study waits for no gap
    assert (problems, unsent, store.sends) == ([], None, [])
    assert sum(store.together, []) == [trial.number for trial in TRIALS]
    assert len(store.together) <= 3
    assert store.updates <= 3


def test_one_that_is_refused_holds_up_none_of_those_sent_with_it(tmp_path: Path) -> None:
    store = FileStore(refuses=frozenset({5}))
    problems, unsent = deliver(store, tmp_path / "spool.jsonl", TRIALS, early=12)
    assert set(store.runs) == {trial.number for trial in TRIALS} - {5}
    assert [record.number for record in read_spool(unsent)[0]] == [5]
    assert any("trial 5: too long" in line for line in problems)
