"""The leader's executor, and what partners make of it; here the test is the partner."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, event

from tests.execution.jobs import job, outcome
from tuner.execution.jobs import CaseDone, FixedCostJob, JobDone, PresentJob, Setup, now
from tuner.execution.local import LocalExecutor
from tuner.execution.wire import Proceed, Returned, packed, unpacked
from tuner.plugin import InputError
from tuner.records import MOST_LOSSES, CaseRecord
from tuner.search import shared_executor
from tuner.search.channel import TABLES, Channel, Gone, Line
from tuner.search.partner import LEFT, Partner
from tuner.search.shared_executor import SharedExecutor

LEADER = "l" * 32
ELSEWHERE = "elsewhere"


@pytest.fixture
def engine(workplace: Path) -> Iterator[Engine]:
    made = create_engine("sqlite:///channel.db", connect_args={"timeout": 60})
    event.listen(made, "connect", lambda raw, _: raw.execute("PRAGMA foreign_keys = ON"))
    TABLES.create_all(made)
    yield made
    made.dispose()


@pytest.fixture
def channel(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Channel:
    monkeypatch.setattr(shared_executor, "LOOK", 0.05)
    return Channel(engine, 1)


@pytest.fixture
def own(toy: Path) -> Iterator[LocalExecutor]:
    executor = LocalExecutor(Setup("toy", {"data": {"targets": [2.0, 4.0]}}), 1, 60.0)
    yield executor
    executor.close()


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def shared(own: LocalExecutor, channel: Channel, said: list[str]) -> SharedExecutor:
    return SharedExecutor(own, channel, LEADER, said.append)


def done(ticket: int, host: str = ELSEWHERE) -> JobDone:
    cases = [CaseRecord("target2", {"fit": float("nan")}, 1.0)]
    return JobDone(ticket, "complete", now(), now(), cases, host=host, machine="m")


def orders(channel: Channel, line: Line) -> list[Any]:
    return [unpacked(text) for _, text in channel.receive([line])]


def occupied(shared: SharedExecutor) -> None:
    """Let the own slot have a job that does not end."""
    shared.submit(job(100, mode="hang"))


def test_trials_that_find_no_slot_here_run_at_partners(
    shared: SharedExecutor, channel: Channel, said: list[str]
) -> None:
    line = channel.register(LEADER, 2)
    channel.register("another leader" * 2, 8)
    assert shared.slots == 1
    assert shared.wait(0.1) is None
    assert shared.slots == 3
    assert "has come, for 2 at a time" in said[0]
    occupied(shared)
    there = job(1, stepwise=True), job(2)
    for each in there:
        shared.submit(each)
    assert orders(channel, line) == list(there)
    channel.send(line, packed(CaseDone(1, [], 2, ELSEWHERE, "m")))
    channel.send(line, packed(done(2)))
    assert isinstance(shared.wait(5), CaseDone)
    shared.proceed(1, False)
    assert orders(channel, line) == [Proceed(1, False)]
    assert outcome(shared).ticket == 2
    assert not channel.is_unread(line)


def test_what_is_no_trial_stays_but_for_what_sets_the_clock_of_a_host(
    shared: SharedExecutor, channel: Channel, tmp_path: Path
) -> None:
    line = channel.register(LEADER, 2)
    shared.wait(0.1)
    occupied(shared)
    present = PresentJob({"x": 1.0}, 0, tmp_path)
    cost = FixedCostJob({"x": 1.0, "size": 1, "mode": "fine"}, 0, 1, ticket=-7, host=ELSEWHERE)
    for each in (present, replace(cost, ticket=-2, host=""), job(0, is_baseline=True)):
        shared.submit(each)
    shared.submit(job(1))
    assert [each.ticket for each in orders(channel, line)] == [1]
    channel.send(line, packed(done(1)))
    assert outcome(shared).host == ELSEWHERE
    shared.submit(cost)
    assert orders(channel, line) == [cost]
    shared.submit(replace(cost, ticket=-8, host="nowhere"))
    gone = outcome(shared)
    assert (gone.ticket, gone.losses, gone.host) == (-8, MOST_LOSSES, "nowhere")


def test_a_partner_that_is_lost_loses_its_trials_to_others_and_delivers_no_more(
    shared: SharedExecutor,
    channel: Channel,
    said: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    occupied(shared)
    shared.submit(job(1, stepwise=True))
    monkeypatch.setattr(shared_executor, "SILENT", 0.3)
    for loss in range(MOST_LOSSES):
        line = channel.register(LEADER, 1)
        until = time.monotonic() + 30
        while not (found := orders(channel, line)):
            assert time.monotonic() < until
            assert shared.wait(0.01) is None
        assert found == [job(1, stepwise=True)]
        shared.proceed(1, True)  # to what the one before has asked
        assert orders(channel, line) == []
        if loss == 0:
            channel.send(line, packed(CaseDone(1, [], 2, ELSEWHERE, "m")))
            assert isinstance(shared.wait(5), CaseDone)
            for _ in range(8):  # it lives
                channel.beat(line, 1, [1])
                assert shared.wait(0.06) is None
        event = None
        while channel.partners(LEADER) or (loss == MOST_LOSSES - 1 and event is None):
            assert time.monotonic() < until
            event = shared.wait(0.05)
        assert (event is None) is (loss < MOST_LOSSES - 1)
        with pytest.raises(Gone):
            channel.send(line, packed(done(1)))
        with pytest.raises(Gone):
            channel.beat(line, 1, [1])
        shared.proceed(1, True)  # of one that nobody runs now
    assert isinstance(event, JobDone)
    assert (event.state, event.losses) == ("failed", MOST_LOSSES)
    assert "3 partners were lost under it" in event.outcome
    assert [text.partition(": ")[2] for text in said if "again" in text] == [
        "trial 1 begins again"
    ] * 2


def test_what_was_delivered_before_a_partner_was_lost_counts(
    shared: SharedExecutor, channel: Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = channel.register(LEADER, 1)
    shared.wait(0.1)
    occupied(shared)
    shared.submit(job(1))
    monkeypatch.setattr(shared_executor, "has_ended", lambda process: True)
    monkeypatch.setattr(shared_executor, "TICK", 60.0)
    channel.send(line, packed(done(1)))
    assert (found := outcome(shared)).ticket == 1
    assert found.losses == 0


def test_a_partner_that_leaves_gives_back_what_it_has_not_begun(
    shared: SharedExecutor, channel: Channel
) -> None:
    line = channel.register(LEADER, 1)
    shared.wait(0.1)
    occupied(shared)
    shared.submit(job(1))
    channel.beat(line, 0, [])
    channel.send(line, packed(Returned(1)))
    other, until = channel.register(LEADER, 1), time.monotonic() + 30
    while not (found := orders(channel, other)):
        assert time.monotonic() < until
        shared.wait(0.01)
    assert found == [job(1)]
    channel.send(other, packed(done(1)))
    assert outcome(shared).losses == 0


def test_what_a_partner_that_has_left_was_to_begin_is_no_loss(
    shared: SharedExecutor, channel: Channel
) -> None:
    line = channel.register(LEADER, 1)
    shared.wait(0.1)
    occupied(shared)
    channel.remove(line.partner)
    shared.submit(job(1))
    assert shared.slots == 1
    other, until = channel.register(LEADER, 1), time.monotonic() + 30
    while not orders(channel, other):
        assert time.monotonic() < until
        shared.wait(0.01)
    channel.send(other, packed(done(1)))
    assert outcome(shared).losses == 0


def test_a_new_leader_has_none_of_the_partners_of_the_last(
    own: LocalExecutor, channel: Channel, engine: Engine, said: list[str]
) -> None:
    line, elsewhere = channel.register(LEADER, 1), Channel(engine, 2).register(LEADER, 1)
    channel.send(line, packed(done(1)))
    shared = SharedExecutor(own, channel, "m" * 32, said.append)
    assert shared.wait(0.1) is None
    with pytest.raises(Gone):
        channel.send(line, packed(done(2)))
    Channel(engine, 2).beat(elsewhere, 1, [])  # another study's


def test_a_message_is_read_once_whatever_is_left_of_it(channel: Channel) -> None:
    partner = channel.register(LEADER, 1)
    line = Line(partner.partner, to_leader=False)
    for text in ("a", "b"):
        channel.send(partner, text)
    assert [text for _, text in channel.receive([line])] == ["a", "b"]
    partner.sent -= 1
    channel.send(partner, "b")  # as one that a server's end has cut off after it was kept
    assert channel.receive([line]) == []
    channel.send(partner, "c")
    assert [text for _, text in channel.receive([line])] == ["c"]


@pytest.fixture
def partner(
    channel: Channel, toy: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Partner]]:
    """Return what makes a partner with a worker of its own, led by who holds a lease."""
    executors = []

    def make(read: Callable[[], str | None], stop: Callable[[], bool]) -> Partner:
        executors.append(LocalExecutor(Setup("toy", {"data": {"targets": [2.0, 4.0]}}), 1, 60.0))
        return Partner(executors[-1], channel, LEADER, read, stop)

    yield make
    for executor in executors:
        executor.close()


def led(token: str = LEADER) -> str:
    """Return the lease of a process on another host."""
    return json.dumps({"token": token, "host": "h", "place": "p", "pid": 1, "renewed": time.time()})


class Running:
    """A partner at work in a thread."""

    def __init__(self, partner: Partner) -> None:
        self._partner, self.ended = partner, None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.ended: object = self._partner.run()
        except InputError as error:
            self.ended = error

    def end(self, meanwhile: Callable[[], object] = lambda: time.sleep(0.05)) -> object:
        until = time.monotonic() + 30
        while self._thread.is_alive():
            assert time.monotonic() < until
            meanwhile()
        return self.ended


def test_two_work_on_one_study(
    shared: SharedExecutor, channel: Channel, partner: Callable[..., Partner]
) -> None:
    stop = threading.Event()
    helper = partner(led, stop.is_set)
    running = Running(helper)
    occupied(shared)
    while shared.slots == 1:
        shared.wait(0.05)
    shared.submit(job(1, x=2.0, stepwise=True))
    step = shared.wait(30)
    assert isinstance(step, CaseDone)
    assert [case.metrics["fit"] for case in step.cases] == [0.0]
    shared.proceed(1, False)
    assert (found := outcome(shared)).state == "pruned"
    assert len(found.cases) == 1
    shared.submit(job(2, mode="die"))
    assert "last words" in (outcome(shared).reason or "")
    stop.set()
    assert running.end(lambda: shared.wait(0.05)) == LEFT
    assert helper.done == 2
    assert channel.partners(LEADER) == []


def test_input_that_is_at_fault_on_one_host_ends_that_partner_alone(
    channel: Channel, partner: Callable[..., Partner]
) -> None:
    running = Running(partner(led, lambda: False))
    while not (found := channel.partners(LEADER)):
        time.sleep(0.01)
    line, texts = Line(found[0].id, to_leader=False), []
    channel.send(line, packed(job(3, mode="input")))
    error = running.end(lambda: texts.extend(channel.receive([line])))
    assert isinstance(error, InputError)
    assert "data.targets: cannot be used" in str(error)
    assert [unpacked(text) for _, text in texts] == [Returned(3)]


@pytest.mark.parametrize("ending", ["complete", "failed", None])
def test_a_partner_ends_with_its_leader(
    channel: Channel, partner: Callable[..., Partner], ending: str | None
) -> None:
    last = led("another") if ending is None else json.dumps({"number": 1, "ending": ending})
    leases = iter([led(), last])
    running = Running(partner(lambda: next(leases), lambda: False))
    assert running.end() == ending
    assert channel.partners(LEADER) == []


def test_a_partner_that_was_given_up_runs_nothing_more(
    channel: Channel, partner: Callable[..., Partner]
) -> None:
    running = Running(partner(led, lambda: False))
    while not (found := channel.partners(LEADER)):
        time.sleep(0.01)
    channel.remove(found[0].id)
    assert running.end() is None
