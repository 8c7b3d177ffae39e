"""Talk to the tracking store from a process of its own, so that it never takes the coordinator's.

MLflow takes tens of milliseconds of Python for each trial. In a thread of the coordinator they
would be the coordinator's own, one interpreter runs one thread at a time. Here they are another
core's, at a low priority, for trials are being timed meanwhile.

The outbox stays where it is: what this process has not confirmed is not sent, and it may die.
"""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from datetime import datetime
from multiprocessing.connection import Connection
from typing import Any

from tuner.config.addresses import masked
from tuner.execution.subprocesses import end_with_parent, how_it_ended, kill_group, spawn
from tuner.records import StudyInfo, Summary, TrialRecord
from tuner.tracking.mlflow_session import MlflowSession
from tuner.tracking.outbox import StoreTrouble

NICE = 5
GRACE = 2.0
_CLOSED = (EOFError, OSError)


class TrackingProcess:
    """The process, started when it is first needed and again should it have died."""

    def __init__(self) -> None:
        self._at: tuple[subprocess.Popen[bytes], Connection] | None = None
        self._lock = threading.Lock()  # the outbox's thread starts it, the coordinator's ends it
        self._closed = False

    def call(self, name: str, *arguments: Any, alive: Callable[[], None]) -> Any:
        """Have the process do something; return what it gave.

        Raises
        ------
        StoreTrouble
            Of the session, or where the process died.
        RuntimeError
            For a bug on the other side, with its traceback.
        """
        with self._lock:
            if self._closed:
                raise StoreTrouble("the tracking process has been ended")
            if self._at is None:
                self._at = spawn("tuner.tracking.mlflow_process", subprocess.DEVNULL)
            process, connection = self._at
        try:
            connection.send((name, arguments))
            while (answer := connection.recv())[0] == "alive":
                alive()
        except _CLOSED as error:
            self._at = None
            kill_group(process)
            connection.close()
            raise StoreTrouble(f"the tracking process died: {how_it_ended(process)}") from error
        kind, value, *more = answer
        if kind == "trouble":
            raise StoreTrouble(value, refused=more[0])
        if kind == "bug":
            raise RuntimeError(f"in the tracking process:\n{value}")
        return value

    def kill(self) -> None:
        """End a call that hangs; it fails."""
        with self._lock:
            if self._at is not None:
                kill_group(self._at[0])

    def close(self) -> None:
        """End the process for good."""
        with self._lock:
            self._closed = True
            at, self._at = self._at, None
        if at is None:
            return
        process, connection = at
        if process.poll() is None:
            connection.close()
        try:
            process.wait(GRACE)
        except subprocess.TimeoutExpired:
            kill_group(process)


class RemoteSession:
    """A `tuner.tracking.session.Session` whose work is done by a `TrackingProcess`.

    Attributes
    ----------
    parent : str
        The study's run.
    links : mapping
        Title to fragment of the pages that show the study.
    """

    def __init__(
        self,
        process: TrackingProcess,
        uri: str,
        experiment: str,
        study: StudyInfo,
        began: datetime,
        alive: Callable[[], None],
    ) -> None:
        self._process = process
        self._alive = alive
        self._told: dict[int, TrialRecord] = {}
        self.parent, self.links = self._call("open", os.getcwd(), uri, experiment, study, began)

    def _call(self, name: str, *arguments: Any) -> Any:
        return self._process.call(name, *arguments, alive=self._alive)

    def known(self) -> set[int]:
        """Return the numbers of the trials that the store holds whole."""
        numbers: set[int] = self._call("known")
        return numbers

    def send(self, record: TrialRecord) -> None:
        """Log one trial."""
        self._call("send", record)

    def send_all(self, records: Sequence[TrialRecord]) -> set[int]:
        """Log trials at once where the store can; return which it has now."""
        numbers: set[int] = self._call("send_all", records)
        return numbers

    def update(self, records: Sequence[TrialRecord]) -> None:
        """Bring the study's curves and counts up to `records`."""
        self._call("update", self._news(records))
        self._told.update({record.number: record for record in records})

    def close(self, summary: Summary, records: Sequence[TrialRecord]) -> list[str]:
        """Log the end of the study."""
        problems: list[str]
        problems, self.links = self._call("close", summary, self._news(records))
        return problems

    def _news(self, records: Sequence[TrialRecord]) -> list[TrialRecord]:
        """Return the records that the other side lacks; sending all again would be quadratic."""
        return [record for record in records if self._told.get(record.number) is not record]


class _Server:
    """The other side."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._session: MlflowSession | None = None
        self._records: dict[int, TrialRecord] = {}

    def _alive(self) -> None:
        self._connection.send(("alive",))

    def answer(self, name: str, arguments: Sequence[Any]) -> Any:
        """Do what is asked; return what there is to say."""
        if name == "open":
            self._records = {}
            folder, uri, experiment, study, began = arguments
            os.chdir(folder)  # artifacts go below it
            self._session = MlflowSession(uri, experiment, study, began, self._alive)
            return self._session.parent, self._session.links
        assert self._session is not None
        if name == "known":
            return self._session.known()
        if name in ("send", "send_all"):
            return getattr(self._session, name)(*arguments)
        news = arguments[-1]
        self._records.update({record.number: record for record in news})
        if name == "update":
            return self._session.update(list(self._records.values()))
        problems = self._session.close(arguments[0], list(self._records.values()))
        return problems, self._session.links


def serve(connection: Connection) -> None:
    """Answer calls until the connection closes."""
    server = _Server(connection)
    while True:
        try:
            name, arguments = connection.recv()
        except _CLOSED:
            return
        try:
            answer: tuple[Any, ...] = ("done", server.answer(name, arguments))
        except StoreTrouble as trouble:
            answer = ("trouble", str(trouble), trouble.refused)
        except Exception:  # noqa: BLE001 - a bug is raised where the study ends; see the outbox
            answer = ("bug", masked(traceback.format_exc()))
        connection.send(answer)


def main(descriptor: int, parent: int) -> None:
    """Serve on an inherited descriptor."""
    end_with_parent(parent)
    gc.set_threshold(50_000)  # MLflow's imports make objects by the hundred thousand, no garbage
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(NICE)
    with Connection(descriptor) as connection:
        serve(connection)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
