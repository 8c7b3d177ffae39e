"""Delivers trial records in the background, keeps what cannot be delivered, and says so.

Knows nothing of the store: a `Session` does the talking and raises `StoreTrouble`.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from tuner.records import Summary, TrialRecord
from tuner.tracking.session import Session
from tuner.tracking.spool import read_spool, write_spool

_GAP, _SHARE = 1.0, 0.1
"""Trials are sent together: seconds from one delivery to the next, and what share of the time
deliveries may take where one takes long."""

_AT_ONCE = 200
"""Trials in one message to the store."""

_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0
_CLOSING_PAUSE, _CLOSING_ATTEMPTS = 1.5, 3
_TRIES = 2
"""So often one record may fail before those behind it are sent first."""


class StoreTrouble(Exception):
    """The store did not take something: one line that says what and, where known, the remedy.

    Attributes
    ----------
    refused : bool
        Whether the store refused this one record, so that the others are worth sending.
    """

    def __init__(self, message: str, *, refused: bool = False) -> None:
        super().__init__(message)
        self.refused = refused


class Outbox:
    """A queue, one thread, and a file for what the store did not take.

    Parameters
    ----------
    connect : callable
        Opens a `Session`; called in the thread, and again after trouble. It is given a function
        that the session calls whenever it gets on, so that `drain` waits for slow uploads.
    spool : Path
        File of JSON lines: the records that the store does not hold, if any.
    patience : float
        Seconds without progress after which `drain` gives up.
    """

    def __init__(
        self, connect: Callable[[Callable[[], None]], Session], spool: Path, patience: float
    ) -> None:
        self._connect = connect
        self._spool = spool
        self._patience = patience
        self._inbox: queue.SimpleQueue[TrialRecord | Summary] = queue.SimpleQueue()
        self._lock = threading.Lock()  # guards records, sent, trouble and the file
        self._records: dict[int, TrialRecord] = {}
        self._sent: set[int] = set()
        self._refused: set[int] = set()
        self._failures: dict[int, list[int]] = {}  # by trial: how many were sent at each
        self._trouble: dict[str, int] = {}
        self._beside: list[str] = []
        self._closed = False
        self._stop = self._abandoned = self._closing = False
        self._bug: BaseException | None = None
        self._progress = self._due = time.monotonic()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._work, name="tuner-tracking", daemon=True)

    def start(self, records: Iterable[TrialRecord]) -> None:
        """Start to deliver: `records`, what an earlier process left behind, what `put` brings."""
        with self._lock:
            kept, problem = read_spool(self._spool)
            self._records = {record.number: record for record in [*kept, *records]}
            if problem:
                self._trouble[problem] = 1
        self._thread.start()

    def put(self, record: TrialRecord) -> None:
        """Hand over a record and return at once."""
        self._inbox.put(record)

    def drain(self, summary: Summary) -> tuple[list[str], Path | None]:
        """Deliver what is left, then the summary.

        Returns
        -------
        problems : list of str
            What went wrong, a line each; whether it was overcome is said.
        unsent : Path or None
            The file that holds what the store does not.
        """
        self._alive()
        self._inbox.put(summary)
        while not self._done.wait(0.05):
            if time.monotonic() - self._progress > self._patience:
                break
        self._stop = True
        with self._lock:
            self._take_all()  # the thread may hang in a call: nothing may stay in the queue alone
            self._inbox.put(summary)  # and wakes it up if it does not
            lost = self._keep()
            problems = self._report(lost)
            unsent = self._spool if self._left() and lost is None else None
        if self._bug is not None:
            raise self._bug
        return problems, unsent

    def abandon(self) -> None:
        """Deliver and keep nothing more; a call that runs is for the caller to end."""
        self._stop = self._abandoned = True

    @property
    def hangs(self) -> bool:
        """Whether its thread has not come to its end."""
        return not self._done.is_set()

    def _loop(self) -> None:
        session: Session | None = None
        summary: Summary | None = None
        pause, attempts = _FIRST_PAUSE, _CLOSING_ATTEMPTS
        while not self._stop:
            try:
                session = session or self._open()
                self._deliver(session)
                if summary is not None:
                    self._close(session, summary)
                    return
                pause = _FIRST_PAUSE
                summary = self._receive()
            except StoreTrouble as trouble:
                session = None
                self._remember(trouble)
                if summary is None:
                    summary = self._collect(pause, is_away=True)
                    pause = _FIRST_PAUSE if summary else min(2 * pause, _LONGEST_PAUSE)
                elif attempts == 0:
                    return
                else:
                    attempts -= 1
                    time.sleep(_CLOSING_PAUSE)

    def _open(self) -> Session:
        session = self._connect(self._alive)
        known = session.known()
        with self._lock:
            self._sent = known
        self._alive()
        return session

    def _alive(self) -> None:
        self._progress = time.monotonic()

    def _deliver(self, session: Session) -> None:
        """Send what the store lacks, in the order of the trials."""
        began = time.monotonic()
        with self._lock:
            last = {number for number, sent in self._failures.items() if len(sent) >= _TRIES}
            left = sorted(self._left(), key=lambda r: (r.number in last, r.number))
        left = [record for record in left if record.number not in self._refused]
        for begin in range(0, len(left), _AT_ONCE):
            some = left[begin : begin + _AT_ONCE]
            sent: set[int] = set() if self._stop else session.send_all(some)
            with self._lock:
                self._sent |= sent
            self._alive()
            for record in some:
                if record.number not in sent and not self._stop:
                    self._send(session, record)
        session.update(list(self._records.values()))
        took = time.monotonic() - began
        self._due = began + max(_GAP, took / _SHARE)
        if self._spool.exists():
            with self._lock:
                self._keep()

    def _send(self, session: Session, record: TrialRecord) -> None:
        """Send a record; one that fails alone, while the store takes others, is passed by."""
        number = record.number
        try:
            session.send(record)
        except StoreTrouble as trouble:
            sent = self._failures.setdefault(number, [])
            sent.append(len(self._sent))
            alone = len(sent) > _TRIES and (self._closing or sent[-1] > sent[0])
            if trouble.refused or alone:
                self._refused.add(number)
            if not trouble.refused:  # the session may be of no use any more
                passed_by = f"trial {number} is passed by: " if alone else ""
                raise StoreTrouble(f"{passed_by}{trouble}") from trouble
            self._remember(trouble)
        else:
            with self._lock:
                self._sent.add(record.number)
        self._alive()

    def _close(self, session: Session, summary: Summary) -> None:
        """Look whether the store holds every trial, then log how the study ended."""
        missing = self._records.keys() - self._refused - session.known()
        if missing:
            numbers = ", ".join(str(number) for number in sorted(missing))
            raise StoreTrouble(f"trials {numbers} are gone from the store")
        beside = session.close(summary, list(self._records.values()))
        with self._lock:
            self._beside = beside
            self._closed = True

    def _receive(self) -> Summary | None:
        """Wait for the next item; take it, and all that comes until the next delivery is due."""
        item = self._inbox.get()
        with self._lock:
            summary = self._take(item) or self._take_all()
        return summary or self._collect(self._due - time.monotonic())

    def _collect(self, seconds: float, is_away: bool = False) -> Summary | None:
        """Take what comes within `seconds`; stop at the summary."""
        deadline = time.monotonic() + seconds
        while (rest := deadline - time.monotonic()) > 0:
            try:
                item = self._inbox.get(timeout=rest)
            except queue.Empty:
                break
            with self._lock:
                if summary := self._take(item):
                    return summary
                if is_away:
                    self._keep()  # the file is the only other copy
        return None

    def _take(self, item: TrialRecord | Summary) -> Summary | None:
        if isinstance(item, Summary):
            self._closing = True
            return item
        self._records[item.number] = item
        return None

    def _take_all(self) -> Summary | None:
        summary = None
        while True:
            try:
                summary = self._take(self._inbox.get_nowait()) or summary
            except queue.Empty:
                return summary

    def _left(self) -> list[TrialRecord]:
        return [record for number, record in self._records.items() if number not in self._sent]

    def _remember(self, trouble: StoreTrouble) -> None:
        with self._lock:
            self._trouble[str(trouble)] = self._trouble.get(str(trouble), 0) + 1
            self._keep()

    def _keep(self) -> str | None:
        """Write what is left to the file, or remove the file; return what went wrong."""
        if self._abandoned:
            return None
        try:
            write_spool(self._spool, self._left())
        except OSError as error:
            return f"cannot keep unsent trials in {self._spool}: {error.strerror or error}"
        return None

    def _report(self, lost: str | None) -> list[str]:
        """Return what went wrong, and what became of it."""
        left = self._left()
        end = "; overcome, everything was sent" if self._closed and not left else ""
        lines = [
            f"{message}{f' ({count} times)' if count > 1 else ''}{end}"
            for message, count in self._trouble.items()
        ]
        lines += self._beside
        if not self._closed and not self._trouble:
            lines.append(f"the store did not answer within {self._patience:g} s")
        if left:
            lines.append(
                lost
                or f"{len(left)} of {len(self._records)} trials are not in the store; they are "
                f"kept in {self._spool}, and the same command sends them when it is run again"
            )
        elif not self._closed:
            lines.append("the end of the study is not in the store; run the same command again")
        return lines

    def _work(self) -> None:
        try:
            self._loop()
        except BaseException as bug:  # noqa: BLE001  not swallowed: `drain` raises it
            self._bug = bug
        finally:
            self._done.set()
