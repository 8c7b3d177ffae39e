"""The leader's executor: its own slots, and those that partners lend it.

Trials go to its own slots first. What is measured for the clock of a host goes to who has that
host; all else is done by the leader's own executor.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime

import optuna

from tuner.execution.executor import Executor
from tuner.execution.jobs import (
    CaseDone,
    Event,
    Job,
    JobDone,
    PhaseBegun,
    TrialJob,
    now,
)
from tuner.execution.wire import Answer, Order, Proceed, Returned, packed, unpacked
from tuner.records import MOST_LOSSES
from tuner.search.channel import Channel, Gone, Line, PartnerRow, channel_of
from tuner.search.lease import Lease, has_ended

TICK = 0.1
"""Seconds after which partners at work are asked again what they have."""

LOOK = 1.0
"""Seconds after which to look again who is there."""

SILENT = 25.0
"""Seconds without a sign of life after which a partner is given up."""


@dataclass(eq=False)
class _Member:
    """Who runs jobs: this process, or a partner.

    Attributes
    ----------
    tickets : set of int
        Of the jobs that it has.
    hosts : set of str
        Where its jobs have run.
    """

    tickets: set[int] = field(default_factory=set)
    hosts: set[str] = field(default_factory=set)

    def room(self, slots: int) -> int:
        """Return how many of its slots are free."""
        return slots - len(self.tickets)


@dataclass(eq=False, kw_only=True)
class _Lender(_Member):
    """A partner; its silence is counted as far as this process was awake to hear it."""

    partner: PartnerRow
    line: Line
    silence: float = 0.0

    @property
    def free(self) -> int:
        """How many jobs it can take."""
        return self.room(self.partner.slots)


@dataclass(eq=False)
class _Flight:
    """A job under way, or waiting for a slot."""

    job: Job
    started: datetime = field(default_factory=now)
    member: _Member | None = None
    losses: int = 0
    asks: bool = False


class SharedExecutor:
    """Runs jobs on an executor of this process, and on those of partners.

    A job whose partner is lost begins again; after three losses it fails.

    Parameters
    ----------
    own : Executor
        Of this process; closed with this.
    channel : Channel
        To the partners.
    leader : str
        Token of the lease that this process holds.
    say : callable
        Told, in a line each, who comes and goes.
    """

    def __init__(
        self, own: Executor, channel: Channel, leader: str, say: Callable[[str], object]
    ) -> None:
        self._own, self._channel, self._leader, self._say = own, channel, leader, say
        self._here = _Member()
        self._lenders: dict[str, _Lender] = {}
        self._flights: dict[int, _Flight] = {}
        self._waiting: deque[_Flight] = deque()
        self._events: deque[Event] = deque()
        self._looked = self._polled = 0.0
        channel.remove_others(leader)

    @property
    def slots(self) -> int:
        """Slots of this process and of all partners."""
        return self._own.slots + sum(each.partner.slots for each in self._lenders.values())

    def submit(self, job: Job) -> None:
        """Start `job` where there is room, or as soon as there is."""
        flight = self._flights[job.ticket] = _Flight(job)
        self._waiting.append(flight)
        self._assign()

    def wait(self, timeout: float) -> Event | None:
        """Return the next event, looking after partners meanwhile."""
        until = time.monotonic() + timeout
        while not self._events:
            if time.monotonic() >= self._looked + LOOK:
                self._look()
            is_away = any(each.tickets for each in self._lenders.values())
            if is_away and time.monotonic() >= self._polled + TICK:
                self._poll()
            self._assign()
            left = until - time.monotonic()
            if left <= 0 or self._events:
                break
            if (event := self._own.wait(min(left, TICK if is_away else LOOK))) is not None:
                self._take(self._here, event)
        return self._events.popleft() if self._events else None

    def proceed(self, ticket: int, onward: bool) -> None:
        """Answer the `CaseDone` of job `ticket`; one that begins again meanwhile asks again."""
        flight = self._flights.get(ticket)
        if flight is None or not flight.asks:
            return
        flight.asks = False
        if isinstance(flight.member, _Lender):
            self._order(flight.member, Proceed(ticket, onward))
        else:
            self._own.proceed(ticket, onward)

    def close(self) -> None:
        """End the jobs of this process at once; partners end theirs as the lease is released."""
        self._own.close()

    def _look(self) -> None:
        """See who is there, and who does not live any more."""
        passed = min(time.monotonic() - self._looked, 2 * LOOK)  # else this process slept itself
        found = {each.id: each for each in self._channel.partners(self._leader)}
        for lender in list(self._lenders.values()):
            if (partner := found.pop(lender.partner.id, None)) is None:
                self._part(lender, "has left")
                continue
            lives = partner.beats != lender.partner.beats
            lender.partner, lender.silence = partner, 0.0 if lives else lender.silence + passed
            if has_ended(partner.process) or lender.silence > SILENT:
                self._poll()  # what it has delivered counts
                self._channel.remove(partner.id)
                self._part(lender, "is lost")
        for partner in found.values():
            line = Line(partner.id, to_leader=False)
            self._lenders[partner.id] = _Lender(partner=partner, line=line)
            self._say(f"partner {partner} has come{at_a_time(partner.slots)}")
        self._looked = time.monotonic()

    def _poll(self) -> None:
        """Take what partners have sent."""
        by_line = {each.line: each for each in self._lenders.values()}
        for line, text in self._channel.receive(list(by_line)):
            self._take(by_line[line], unpacked(text))
        self._polled = time.monotonic()

    def _take(self, member: _Member, event: Answer) -> None:
        flight = self._flights.get(event.ticket)
        if flight is None or flight.member is not member:
            return
        if isinstance(event, Returned):
            self._put_back(flight)
            if isinstance(member, _Lender):  # it leaves
                member.partner = replace(member.partner, slots=0)
            return
        if not isinstance(event, PhaseBegun):
            member.hosts.add(event.host)
        flight.asks = isinstance(event, CaseDone)
        if isinstance(event, JobDone):
            event = replace(event, losses=event.losses + flight.losses)
            member.tickets.remove(event.ticket)
            del self._flights[event.ticket]
        self._events.append(event)

    def _assign(self) -> None:
        for flight in list(self._waiting):
            host = flight.job.host
            members = self._members_on(host) if host else self._members_for(flight.job)
            if host and not members:
                self._waiting.remove(flight)
                self._fail(flight, f"{host} has gone", host)
            elif member := next((each for each in members if self._has_room(each)), None):
                if isinstance(member, _Lender) and not self._order(member, flight.job):
                    continue
                self._waiting.remove(flight)
                member.tickets.add(flight.job.ticket)
                flight.member = member
                if member is self._here:
                    self._own.submit(flight.job)

    def _members_on(self, host: str) -> list[_Member]:
        """Return who has a host, this process first."""
        lenders = [each for each in self._lenders.values() if each.partner.slots]
        return [each for each in (self._here, *lenders) if host in each.hosts]

    def _members_for(self, job: Job) -> list[_Member]:
        """Return who may have a job, in order."""
        if not isinstance(job, TrialJob) or job.trial.is_baseline:
            return [self._here]
        lenders = sorted(self._lenders.values(), key=lambda each: -each.free)
        return [self._here, *lenders] if self._own.slots else [*lenders]

    def _has_room(self, member: _Member) -> bool:
        if isinstance(member, _Lender):
            return member.free > 0
        return member.room(max(1, self._own.slots)) > 0  # without any the own executor knows why

    def _order(self, lender: _Lender, order: Job | Proceed) -> bool:
        """Send an order; return False where the partner is not there any more."""
        assert isinstance(order, Order)
        try:
            self._channel.send(lender.line, packed(order))
        except Gone:
            self._part(lender, "has left")
            return False
        return True

    def _put_back(self, flight: _Flight) -> None:
        """Let a job wait for a slot once more, before all others."""
        assert flight.member is not None
        flight.member.tickets.discard(flight.job.ticket)
        flight.member, flight.asks = None, False
        self._waiting.appendleft(flight)

    def _part(self, lender: _Lender, what: str) -> None:
        """Forget a partner; what it was doing begins again elsewhere."""
        del self._lenders[lender.partner.id]
        self._say(f"partner {lender.partner} {what}")
        for ticket in sorted(lender.tickets, reverse=True):
            flight = self._flights[ticket]
            flight.losses += 1
            self._put_back(flight)
            if flight.losses < MOST_LOSSES:
                job = f"trial {ticket}" if ticket >= 0 else "what it measured"
                self._say(f"partner {lender.partner}: {job} begins again")
                continue
            self._waiting.remove(flight)
            reason = (
                f"{flight.losses} partners were lost under it, the last one {lender.partner}: "
                "the machine's fault and not the setting's, unless it takes its host with it"
            )
            self._fail(flight, reason, str(lender.partner.process["host"]))

    def _fail(self, flight: _Flight, reason: str, host: str) -> None:
        """End a job that nobody will ever do."""
        del self._flights[flight.job.ticket]
        lost = JobDone(flight.job.ticket, "failed", flight.started, now(), (), reason)
        self._events.append(replace(lost, losses=MOST_LOSSES, host=host))


def at_a_time(slots: int) -> str:
    """Return how many jobs there may be, for a sentence; nothing as long as there are none."""
    return f", for {slots} at a time" if slots else ""


def shared(
    own: Executor, study: optuna.Study, lease: Lease, say: Callable[[str], object]
) -> Executor:
    """Return an executor that has the slots of partners too, where the storage lets them come."""
    channel = channel_of(study._storage, study._study_id)
    return own if channel is None else SharedExecutor(own, channel, lease.token, say)
