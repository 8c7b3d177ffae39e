"""A process that lends its slots to whoever leads a study."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Mapping
from typing import Any

from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import SQLAlchemyError

from tuner.execution.executor import Executor
from tuner.execution.jobs import Event, JobDone
from tuner.execution.wire import Order, Proceed, Returned, packed, unpacked
from tuner.plugin import InputError
from tuner.search.channel import Channel, Gone, Line
from tuner.search.lease import is_held
from tuner.search.shared_executor import LOOK, TICK

BEAT = 1.0
"""Seconds after which a partner tells that it lives."""

IDLE = 10.0
"""Seconds without a job after which a partner asks for one every second only."""

LEFT = "left"
"""Ending of a partner that was asked to stop."""


class Partner:
    """Runs a leader's jobs on an executor of this process, until one of the two ends.

    Parameters
    ----------
    executor : Executor
        Of this process; not closed.
    channel : Channel
        To the leader.
    leader : str
        Token of the leader's lease.
    read_lease : callable
        Returns the lease as it is now, as JSON; None where the study is deleted.
    should_stop : callable
        Asked often; once it says True no further job is taken.

    Attributes
    ----------
    done : int
        Jobs that have ended here.
    """

    def __init__(
        self,
        executor: Executor,
        channel: Channel,
        leader: str,
        read_lease: Callable[[], str | None],
        should_stop: Callable[[], bool],
    ) -> None:
        self._executor, self._channel, self._leader = executor, channel, leader
        self._read_lease, self._should_stop = read_lease, should_stop
        self._tickets: set[int] = set()
        self._trouble: str | None = None
        self._leaves = False
        self._looked = self._beaten = self._polled = 0.0
        self._busy = time.monotonic()
        self.done = 0

    def run(self) -> str | None:
        """Run jobs until the study has ended, or this process is to.

        Returns
        -------
        str or None
            How the leader's run ended, or `LEFT`; None where it leads no more, or has given this
            partner up: what was under way here is nobody's any more.

        Raises
        ------
        InputError
            Where the plug-in finds the input of this host at fault, or the study is deleted.
        """
        line = self._channel.register(self._leader, self._executor.slots)
        try:
            return self._run(line)
        except Gone:
            return None
        finally:
            with contextlib.suppress(SQLAlchemyError, StorageInternalError, OSError):
                self._channel.remove(line.partner)

    def _run(self, line: Line) -> str | None:
        while True:
            now = time.monotonic()
            if now >= self._looked + LOOK:
                self._looked = now
                if (lease := self._lease()) is None:
                    return None
                if "ending" in lease:
                    return str(lease["ending"])
            self._look_after(line, now)
            pause = TICK if now < self._busy + IDLE or self._tickets else LOOK
            if now >= self._polled + pause:
                self._polled = now
                for _, text in self._channel.receive([line]):
                    self._busy = now
                    self._obey(line, unpacked(text))
            if self._leaves and not self._tickets and not self._channel.is_unread(line):
                if self._trouble is not None:
                    raise InputError(self._trouble)
                return LEFT
            if (event := self._executor.wait(pause)) is not None:
                self._busy = time.monotonic()
                self._report(line, event)

    def _lease(self) -> Mapping[str, Any] | None:
        """Return the lease while it is the leader's, or as that one has left it; None if lost."""
        text = self._read_lease()
        if text is None:
            raise InputError("the study was deleted; run the same command again for a new one")
        lease: Mapping[str, Any] = json.loads(text)
        is_led = lease.get("token") == self._leader and is_held(lease)
        return lease if is_led or "ending" in lease else None

    def _look_after(self, line: Line, now: float) -> None:
        """Report to the leader that this process lives, and at once that it leaves."""
        leaves = self._leaves or self._should_stop() or self._trouble is not None
        if leaves != self._leaves or now >= self._beaten + BEAT:
            self._leaves, self._beaten = leaves, now
            slots = 0 if leaves else self._executor.slots
            self._channel.beat(line, slots, sorted(self._tickets))

    def _obey(self, line: Line, order: Order) -> None:
        if isinstance(order, Proceed):
            if order.ticket in self._tickets:
                self._executor.proceed(order.ticket, order.onward)
        elif self._leaves:
            self._channel.send(line, packed(Returned(order.ticket)))
        else:
            self._tickets.add(order.ticket)
            self._executor.submit(order)

    def _report(self, line: Line, event: Event) -> None:
        if isinstance(event, JobDone):
            self._tickets.discard(event.ticket)
            if event.bad_input:  # the host's fault, as far as is known: others may do better
                self._trouble = self._trouble or event.reason
                self._channel.send(line, packed(Returned(event.ticket)))
                return
            self.done += 1
        self._channel.send(line, packed(event))
