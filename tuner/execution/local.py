"""Worker processes on this machine, watched for death, time and memory."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import time
import uuid
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from multiprocessing.connection import Connection, wait
from pathlib import Path

import psutil

from tuner.execution.folders import WorkersFolder, sweep
from tuner.execution.jobs import CaseDone, Event, Job, JobDone, PhaseBegun, Setup, now
from tuner.execution.keeper import PATIENCE
from tuner.execution.limits import Limits
from tuner.execution.memory import resident_in_all
from tuner.execution.subprocesses import end_kept, how_it_ended, spawn
from tuner.execution.text import last_lines
from tuner.execution.worker import THREAD_VARIABLES
from tuner.measure.cores import lock_folder
from tuner.measure.stopwatch import machine
from tuner.plugin import InputError
from tuner.records import CaseRecord, State

TICK = 0.2
GRACE = 1.0
STALLED = 10.0
"""Seconds after which half a message is no message: the coordinator would wait for the rest."""

MARK = "TUNER_WORKER"
"""Environment variable by which what a worker has started is known."""


@dataclass
class _Worker:
    """A process, by its keeper, and what it is doing."""

    process: subprocess.Popen[bytes]
    connection: Connection
    log: Path
    mark: str
    job: Job | None = None
    started: datetime = field(default_factory=now)
    phase: str = "start"
    allowed: float | None = None
    deadline: float | None = None
    cases: Sequence[CaseRecord] = ()

    def take(self, job: Job, limits: Limits) -> bool:
        """Send a job; return whether there is a process to send it to."""
        self.job, self.started, self.cases = job, now(), ()
        self.begin("start", limits)
        self.log.write_bytes(b"")
        try:
            self.connection.send(job)
        except OSError:
            return False
        return self.process.poll() is None

    def begin(self, phase: str, limits: Limits) -> None:
        """Take note of the phase that begins, and of when it must be over."""
        self.phase = phase
        self.allowed = limits.seconds(phase, self.is_limited)
        self.deadline = time.monotonic() + self.allowed + GRACE if self.allowed else None

    @property
    def is_limited(self) -> bool:
        """Whether a trial's limit holds for what it runs."""
        return self.job is not None and self.job.limited

    def tail(self) -> str:
        """Return the last lines that the worker wrote."""
        return last_lines(self.log.read_bytes())

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
        self.connection.close()
        end_kept(self.process, self.mark)


class LocalExecutor:
    """Runs each job in one of a few long-lived processes.

    A worker that dies, or that is killed for going over a limit, ends its job as failed or
    infeasible, with the reason; the next job gets a fresh process. With a worker everything ends
    that it has started (`tuner.execution.keeper`).

    Parameters
    ----------
    setup : Setup
        The plug-in and its configuration.
    slots : int
        Number of processes.
    case_seconds : float
        Time that one case's ``run`` may take; other phases as `Limits` has it.
    memory : int or None
        Bytes that one worker and its children may hold resident; None for nine tenths of the
        machine's memory, shared evenly.

    Raises
    ------
    InputError
        Where times of this machine cannot be compared with those of the study.
    """

    def __init__(
        self, setup: Setup, slots: int, case_seconds: float, memory: int | None = None
    ) -> None:
        if setup.machine and setup.machine != machine():
            raise InputError(
                f"the study was timed on another machine ({setup.machine}; this is {machine()}) "
                "and has no baseline that could be timed on both: its times are not comparable; "
                "resume there, or start anew with --new"
            )
        self.slots = slots
        self._setup = setup
        self._limits = Limits(case_seconds, setup.phase_seconds)
        self.memory = memory or int(0.9 * psutil.virtual_memory().total / slots)
        self._workers: list[_Worker] = []
        self._events: deque[Event] = deque()
        self._folder = WorkersFolder()
        self._spawned = 0
        self._looked = 0.0

    def submit(self, job: Job) -> None:
        """Start `job` on an idle worker, or on a new one."""
        for worker in [worker for worker in self._workers if worker.job is None]:
            if worker.take(job, self._limits):
                return
            worker.job = None  # it died after its last job, which is no fault of this one
            self._lost(worker)
        if len(self._workers) >= self.slots:
            raise RuntimeError("submit: all workers are busy")
        worker = self._spawn()
        if not worker.take(job, self._limits):
            self._lost(worker)

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
                except OSError:
                    self._lost(worker)
                return

    def close(self) -> None:
        """End all workers, busy ones at once; remove their logs, and what those killed left."""
        for worker in self._workers:
            worker.dismiss()
        self._workers.clear()
        self._folder.close()
        sweep(Path.cwd())

    def _spawn(self) -> _Worker:
        log = self._folder.path / f"worker-{self._spawned}.log"
        self._spawned += 1
        token = uuid.uuid4().hex
        environment = {**_environment(self._setup.threads), MARK: token}
        with log.open("a+b") as output:
            process, ours = spawn("tuner.execution.worker", output, environment, kept=True)
        _never_wait_long(ours)
        worker = _Worker(process, ours, log, f"{MARK}={token}")
        self._workers.append(worker)
        try:
            ours.send(replace(self._setup, locks=str(lock_folder() or self._folder.path)))
        except OSError:
            pass  # its death shows on the next receive
        return worker

    def _receive(self, worker: _Worker) -> None:
        try:
            message = worker.connection.recv()
        except (EOFError, ConnectionResetError):
            self._lost(worker)
            return
        except Exception as error:  # noqa: BLE001 - bytes of a plug-in's, or half a message
            why = f"what it sent is no message ({type(error).__name__})"
            self._end(worker, "failed", f"the worker is lost: {why}", died=True)
            return
        job = worker.job
        if isinstance(message, CaseDone):
            worker.cases, worker.deadline = message.cases, None
            self._events.append(message)
        elif isinstance(message, JobDone):
            worker.job, worker.deadline = None, None
            if job is not None and message.ticket == job.ticket:
                self._events.append(message)
        elif isinstance(message, PhaseBegun):
            self._events.append(message)
        elif job is not None:
            worker.begin(message[1], self._limits)

    def _enforce(self) -> None:
        if time.monotonic() < self._looked + TICK:
            return  # looking costs a scan of the process table: not after every message
        self._looked = time.monotonic()
        for worker in list(self._workers):
            if worker.process.poll() is not None:
                # The connection tells as much, but for a child that has it open as well.
                while worker in self._workers and worker.connection.poll():
                    self._receive(worker)
                self._lost(worker)
            elif worker.job is None:
                continue
            elif worker.deadline is not None and time.monotonic() > worker.deadline:
                key = self._limits.key(worker.phase, worker.is_limited)
                limit = f"{worker.allowed:g} s in {worker.phase} ({key})"
                self._end(worker, "infeasible", f"over the time limit of {limit}")
            elif (held := resident_in_all(worker.process.pid)) > self.memory:
                self._end(
                    worker,
                    "infeasible",
                    f"over the memory limit: {held / 1e9:.2f} GB held, "
                    f"{self.memory / 1e9:.2f} GB allowed",
                )

    def _lost(self, worker: _Worker) -> None:
        if worker not in self._workers:
            return
        try:
            why = f"died: {how_it_ended(worker.process, PATIENCE + GRACE)}"
        except subprocess.TimeoutExpired:
            why = "is lost: it lives and has closed its connection, or the plug-in has"
        self._end(worker, "failed", f"the worker {why}", died=True)

    def _end(self, worker: _Worker, state: State, reason: str, died: bool = False) -> None:
        worker.kill()
        self._workers.remove(worker)
        if worker.job is None:
            return
        if tail := worker.tail():
            reason = f"{reason}\n{tail}"
        ticket, cases = worker.job.ticket, tuple(worker.cases)
        done = JobDone(ticket, state, worker.started, now(), cases, reason, died=died)
        self._events.append(done)


def _never_wait_long(connection: Connection) -> None:
    """Let a send or receive on a connection fail that is stuck in the middle of a message."""
    with socket.socket(fileno=os.dup(connection.fileno())) as ours:
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            ours.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", int(STALLED), 0))


def _environment(threads: int) -> Mapping[str, str]:
    return {**os.environ, **{name: str(threads) for name in THREAD_VARIABLES}}
