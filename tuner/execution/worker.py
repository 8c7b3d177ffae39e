"""What runs in a worker: make the plug-in, load once, serve jobs.

A worker is a function of (configuration, params, seed). It knows neither Optuna nor MLflow. Run as
``python -m tuner.execution.worker FD PARENT`` it serves jobs that come over the connection on
descriptor FD and ends when process PARENT is gone.
"""

from __future__ import annotations

import gc
import signal
import sys
from collections.abc import Sequence
from multiprocessing.connection import Connection

from tuner.execution.jobs import CaseDone, Job, JobDone, PhaseBegun, Setup, now
from tuner.execution.runner import Bench
from tuner.execution.subprocesses import die_with_parent
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


def serve(connection: Connection) -> None:
    """Serve jobs from `connection` until it closes.

    Messages in: the `Setup` first; then jobs, and a bool in answer to each `CaseDone`. Messages
    out: ``("phase", name)`` for the limits, `PhaseBegun` for the user, `CaseDone` and `JobDone`.
    """

    def notify(phase: str) -> None:
        connection.send(("phase", phase))

    setup: Setup = connection.recv()
    bench: Bench | None = None
    while True:
        try:
            job: Job = connection.recv()
        except EOFError:
            return
        started = now()
        try:
            if bench is None:
                bench = Bench(setup, notify)
                gc.collect()
                gc.freeze()  # what is loaded by now stays: collecting before each run is then cheap
        except InputError as error:
            done = JobDone(job.ticket, "failed", started, now(), (), str(error), bad_input=True)
        else:
            total = len(bench.names)

            def ask(
                cases: Sequence[CaseRecord], ticket: int = job.ticket, total: int = total
            ) -> bool:
                connection.send(CaseDone(ticket, tuple(cases), total))
                return bool(connection.recv())

            def tell(phase: str, ticket: int = job.ticket) -> None:
                connection.send(PhaseBegun(ticket, phase))

            done = bench.run(job, ask, tell)
        connection.send(done)


def main(descriptor: int, parent: int) -> None:
    """Serve on an inherited descriptor; the command line of this module."""
    die_with_parent(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with Connection(descriptor) as connection:
        serve(connection)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
