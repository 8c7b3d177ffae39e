"""Worker processes on this machine, watched for death, time and memory."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from multiprocessing.connection import Connection, wait
from pathlib import Path

import psutil

from tuner.execution.jobs import CaseDone, Event, Job, JobDone, PhaseBegun, Setup, now
from tuner.execution.subprocesses import how_it_ended, kill_group, spawn
from tuner.execution.worker import THREAD_VARIABLES
from tuner.measure.cores import lock_folder
from tuner.records import CaseRecord, State

TICK = 0.2
GRACE = 1.0
STDERR_LINES = 12


@dataclass
class _Worker:
    """A process and what it is doing."""

    process: subprocess.Popen[bytes]
    connection: Connection
    log: Path
    job: Job | None = None
    started: datetime = field(default_factory=now)
    deadline: float | None = None
    cases: Sequence[CaseRecord] = ()

    def tail(self) -> str:
        """Return the last lines that the worker wrote."""
        lines = self.log.read_text(errors="replace").splitlines()
        return "\n".join(lines[-STDERR_LINES:])

    def dismiss(self) -> None:
        """Let an idle worker end by itself, which it does when its connection closes; else kill."""
        self.connection.close()
        if self.job is None:
            try:
                self.process.wait(GRACE)
            except subprocess.TimeoutExpired:
                pass
        self.kill()

    def kill(self) -> None:
        """End the worker and whatever it started."""
        kill_group(self.process)
        self.connection.close()


class LocalExecutor:
    """Runs each job in one of a few long-lived processes.

    A worker that dies, or that is killed for going over a limit, ends its job as failed or
    infeasible, with the reason; the next job gets a fresh process.

    Parameters
    ----------
    setup : Setup
        The plug-in and its configuration.
    slots : int
        Number of processes.
    case_seconds : float
        Time that one case's ``run`` may take.
    memory : int or None
        Bytes that one worker and its children may hold resident; None for nine tenths of the
        machine's memory, shared evenly.
    """

    def __init__(
        self, setup: Setup, slots: int, case_seconds: float, memory: int | None = None
    ) -> None:
        self.slots = slots
        self._setup = setup
        self._case_seconds = case_seconds
        self._memory = memory or int(0.9 * psutil.virtual_memory().total / slots)
        self._workers: list[_Worker] = []
        self._events: deque[Event] = deque()
        self._folder = tempfile.TemporaryDirectory(prefix="tuner-workers-")
        self._spawned = 0
        self._looked = 0.0

    def submit(self, job: Job) -> None:
        """Start `job` on an idle worker, or on a new one."""
        idle = next((worker for worker in self._workers if worker.job is None), None)
        if idle is None:
            if len(self._workers) >= self.slots:
                raise RuntimeError("submit: all workers are busy")
            idle = self._spawn()
        idle.job, idle.started, idle.cases = job, now(), ()
        idle.deadline = None
        idle.log.write_bytes(b"")
        try:
            idle.connection.send(job)
        except (BrokenPipeError, ConnectionResetError):
            self._lost(idle)

    def wait(self, timeout: float) -> Event | None:
        """Return the next event, looking after limits and deaths meanwhile."""
        until = time.monotonic() + timeout
        while not self._events:
            left = until - time.monotonic()
            if left <= 0:
                return None
            by_connection = {worker.connection: worker for worker in self._workers}
            for ready in wait(list(by_connection), timeout=min(left, TICK)):
                assert isinstance(ready, Connection)
                self._receive(by_connection[ready])
            self._enforce()
        return self._events.popleft()

    def proceed(self, ticket: int, onward: bool) -> None:
        """Answer the `CaseDone` of job `ticket`."""
        for worker in self._workers:
            if worker.job is not None and worker.job.ticket == ticket:
                try:
                    worker.connection.send(onward)
                except (BrokenPipeError, ConnectionResetError):
                    self._lost(worker)
                return

    def close(self) -> None:
        """End all workers, busy ones at once, and remove their logs."""
        for worker in self._workers:
            worker.dismiss()
        self._workers.clear()
        self._folder.cleanup()

    def _spawn(self) -> _Worker:
        log = Path(self._folder.name) / f"worker-{self._spawned}.log"
        self._spawned += 1
        with log.open("ab") as output:
            process, ours = spawn(
                "tuner.execution.worker", output, _environment(self._setup.threads)
            )
        worker = _Worker(process, ours, log)
        self._workers.append(worker)
        try:
            ours.send(replace(self._setup, locks=str(lock_folder() or self._folder.name)))
        except (BrokenPipeError, ConnectionResetError):
            pass  # its death shows on the next receive
        return worker

    def _receive(self, worker: _Worker) -> None:
        try:
            message = worker.connection.recv()
        except (EOFError, ConnectionResetError):
            self._lost(worker)
            return
        if isinstance(message, CaseDone):
            worker.cases, worker.deadline = message.cases, None
            self._events.append(message)
        elif isinstance(message, JobDone):
            worker.job, worker.deadline = None, None
            self._events.append(message)
        elif isinstance(message, PhaseBegun):
            self._events.append(message)
        else:
            _, phase = message
            limited = phase == "run" and worker.job is not None and worker.job.limited
            worker.deadline = time.monotonic() + self._case_seconds + GRACE if limited else None

    def _enforce(self) -> None:
        if time.monotonic() < self._looked + TICK:
            return  # looking costs a scan of the process table: not after every message
        self._looked = time.monotonic()
        for worker in list(self._workers):
            if worker.job is None:
                continue
            if worker.deadline is not None and time.monotonic() > worker.deadline:
                self._end(worker, "infeasible", f"over the time limit of {self._case_seconds:g} s")
            elif (held := _resident(worker.process.pid)) > self._memory:
                self._end(
                    worker,
                    "infeasible",
                    f"over the memory limit: {held / 1e9:.2f} GB held, "
                    f"{self._memory / 1e9:.2f} GB allowed",
                )

    def _lost(self, worker: _Worker) -> None:
        if worker not in self._workers:
            return
        self._end(worker, "failed", f"the worker died: {how_it_ended(worker.process)}")

    def _end(self, worker: _Worker, state: State, reason: str) -> None:
        worker.kill()
        self._workers.remove(worker)
        if worker.job is None:
            return
        if tail := worker.tail():
            reason = f"{reason}\n{tail}"
        self._events.append(
            JobDone(
                worker.job.ticket,
                state,
                worker.started,
                now(),
                tuple(worker.cases),
                reason,
            )
        )


def _environment(threads: int) -> Mapping[str, str]:
    return {**os.environ, **{name: str(threads) for name in THREAD_VARIABLES}}


def _resident(pid: int) -> int:
    """Return the bytes that a process and its children hold resident; 0 once it is gone."""
    try:
        process = psutil.Process(pid)
        family = [process, *process.children(recursive=True)]
        return sum(member.memory_info().rss for member in family if member.is_running())
    except psutil.NoSuchProcess:
        return 0
