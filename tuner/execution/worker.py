"""What runs in a worker: make the plug-in, load once, serve jobs.

A worker is a function of (configuration, params, seed). It knows neither Optuna nor MLflow.
`tuner.execution.keeper` calls `main` in a process that it has forked.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from datetime import datetime
from multiprocessing.connection import Connection
from typing import Any

from tuner.execution.jobs import CaseDone, Job, JobDone, PhaseBegun, Setup, now
from tuner.execution.runner import Bench
from tuner.execution.subprocesses import die_with_parent
from tuner.execution.text import described
from tuner.plugin import InputError
from tuner.records import CaseRecord

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "NUMBA_NUM_THREADS",
)
"""Set before NumPy is imported, these keep one trial to its share of the cores."""

CLOSED = (
    "the connection to the coordinator was closed in this process: a plug-in, or what it calls, "
    "closes file descriptors that it has not opened"
)


class _Line:
    """The worker's end of the connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._owner = os.getpid()

    def send(self, message: object) -> None:
        """Send a message; end the process where there is nobody to send it to.

        Raises
        ------
        Exception
            Where it cannot be pickled.
        """
        if os.getpid() != self._owner:  # a child that a trial forked came back from it as well
            os._exit(0)
        try:
            self._connection.send(message)
        except BrokenPipeError:
            os._exit(1)
        except OSError as error:
            print(f"{CLOSED} ({error})", file=sys.stderr, flush=True)
            os._exit(1)

    def receive(self) -> Any:
        """Return the next message; None once there are no more."""
        try:
            return self._connection.recv()
        except (EOFError, OSError):
            return None


def serve(connection: Connection) -> None:
    """Serve jobs from `connection` until it closes.

    Messages in: the `Setup` first; then jobs, and a bool in answer to each `CaseDone`. Messages
    out: ``("phase", name)`` for the limits, `PhaseBegun` for the user, `CaseDone` and `JobDone`.
    """
    line = _Line(connection)
    setup: Setup = line.receive()
    bench: Bench | None = None
    while (job := line.receive()) is not None:
        started = now()
        try:
            if bench is None:
                bench = Bench(setup, lambda phase: line.send(("phase", phase)))
            line.send(_run(bench, job, line))
        except InputError as error:
            line.send(_failed(job, started, str(error), bad_input=True))
        except BaseException as error:  # noqa: BLE001 - sys.exit in a plug-in is a failure of it
            line.send(_failed(job, started, described(error)))


def _run(bench: Bench, job: Job, line: _Line) -> JobDone:
    total = len(bench.names)

    def ask(cases: Sequence[CaseRecord]) -> bool:
        line.send(CaseDone(job.ticket, tuple(cases), total))
        return bool(line.receive())

    return bench.run(job, ask, lambda phase: line.send(PhaseBegun(job.ticket, phase)))


def _failed(job: Job, started: datetime, reason: str, bad_input: bool = False) -> JobDone:
    return JobDone(job.ticket, "failed", started, now(), (), reason, bad_input=bad_input)


def main(descriptor: int, parent: int) -> None:
    """Serve on an inherited descriptor for as long as process `parent` lives."""
    die_with_parent(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with Connection(descriptor) as connection:
        serve(connection)
