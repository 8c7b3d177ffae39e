"""An executor whose slots are Dask workers, which may come and go while a study runs."""

from __future__ import annotations

import logging
import time
import uuid
from collections import deque
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Annotated, Any

from distributed import Future
from pydantic import BaseModel, ConfigDict, Field

from tuner.execution.dask import slot
from tuner.execution.dask.cluster import Cluster, OwnCluster, RunningCluster
from tuner.execution.dask.roster import LOOK, DaskWorker, Lost, Roster, connect, result
from tuner.execution.dask.slot import Message, Recipe
from tuner.execution.jobs import (
    Event,
    FreezeJob,
    Job,
    JobDone,
    PhaseBegun,
    PresentJob,
    Setup,
    TrialJob,
    now,
)
from tuner.execution.versions import packages_of
from tuner.export.bundle import write_script
from tuner.plugin import InputError
from tuner.records import MOST_LOSSES

_logger = logging.getLogger("tuner")  # without a handler, Python's last one: standard error


@dataclass(eq=False)
class _Flight:
    """A job under way on a worker, or waiting for one."""

    job: Job
    started: datetime = field(default_factory=now)
    worker: DaskWorker | None = None
    future: Future[Any] | None = None
    losses: int = 0


class ClusterExecutor:
    """Runs each job on a Dask worker: one worker is one slot, however many threads it has.

    A job whose worker is lost runs again on another; after three losses it fails. Paths that a job
    writes to are the coordinator's: what was written comes back with its end.

    Parameters
    ----------
    setup, case_seconds, memory
        As of `tuner.execution.local.LocalExecutor`; None for `memory` is an even share of nine
        tenths of a host's memory, or what Dask allows the worker if that is less.
    cluster : Cluster
        Where workers come from; closed with this.

    Raises
    ------
    InputError
        Where no scheduler answers, or a worker that is there cannot run the study.
    """

    def __init__(
        self, setup: Setup, case_seconds: float, memory: int | None, cluster: Cluster
    ) -> None:
        names = tuple(sorted({"distributed", *packages_of(setup.plugin)}))
        recipe = Recipe(uuid.uuid4().hex, setup, case_seconds, names)
        self._study, self._memory = recipe.study, memory
        self._flights: dict[int, _Flight] = {}
        self._busy: dict[DaskWorker, _Flight] = {}
        self._waiting: deque[_Flight] = deque()
        self._events: deque[Event] = deque()
        self._cluster = cluster
        self._home: str | None = None
        self._roster: Roster | None = None
        try:
            self._roster = Roster(cluster, recipe)
            self._roster.await_facts()
        except BaseException:
            self.close()
            raise

    @property
    def slots(self) -> int:
        """Workers that are ready now."""
        return len(self._known.ready)

    def submit(self, job: Job) -> None:
        """Start `job` on an idle worker, or as soon as there is one."""
        flight = self._flights[job.ticket] = _Flight(job)
        self._waiting.append(flight)
        self._assign()

    def wait(self, timeout: float) -> Event | None:
        """Return the next event, looking after lost and new workers meanwhile."""
        until = time.monotonic() + timeout
        while not self._events:
            self._look()
            self._assign()
            left = until - time.monotonic()
            if left <= 0:
                return None
            if (arrived := self._known.receive(min(left, LOOK))) is not None:
                self._land(*arrived)
        return self._events.popleft()

    def proceed(self, ticket: int, onward: bool) -> None:
        """Answer the `CaseDone` of job `ticket`; one that begins again meanwhile asks again."""
        flight = self._flights[ticket]
        if flight.worker is not None and flight.future is None:
            self._order(flight, onward)

    def close(self) -> None:
        """End all jobs at once, and the workers that are our own."""
        roster, self._roster = self._roster, None
        try:
            if roster is not None:
                futures = [flight.future for flight in self._flights.values()]
                roster.close([future for future in futures if future is not None])
        finally:
            self._cluster.close()

    @property
    def _known(self) -> Roster:
        assert self._roster is not None, "the executor is closed"
        return self._roster

    def _look(self) -> None:
        lost = self._known.look()
        for worker in lost:
            self._lose(worker)
        if not self.slots and (why := self._cluster.why_gone()) is not None:
            raise InputError(f"no Dask worker is left, and none can be started: {why}")

    def _assign(self) -> None:
        if not self._waiting:
            return
        idle = [worker for worker in self._known.ready if worker not in self._busy]
        for flight in list(self._waiting):
            host = flight.job.host
            if host and all(worker.host != host for worker in self._known.ready):
                self._waiting.remove(flight)
                self._fail(flight, f"no worker is left on {host}", host)
            elif idle and (worker := self._choose(flight.job, idle)) is not None:
                flight.worker = worker
                self._busy[worker] = flight
                self._waiting.remove(flight)
                idle.remove(worker)
                self._order(flight, flight.job)

    def _choose(self, job: Job, idle: list[DaskWorker]) -> DaskWorker | None:
        """Return a worker; on one host, as long as it is there, for all that is no trial.

        What the baseline and a script take, and the finalists, are compared with each other. None
        where the job is for a host that has no idle worker.
        """
        if job.host:
            return next((each for each in idle if each.host == job.host), None)
        if isinstance(job, TrialJob) and not job.trial.is_baseline:
            return idle[0]
        chosen = next((each for each in idle if each.host == self._home), idle[0])
        self._home = chosen.host
        return chosen

    def _order(self, flight: _Flight, order: Job | bool | None) -> None:
        worker = flight.worker
        assert worker is not None
        assert worker.facts is not None
        memory = self._memory or self._known.share(worker)
        step = slot.Step(self._study, worker.facts.token, flight.job.ticket, order, memory)
        flight.future = self._known.send(worker, slot.advance, step)

    def _land(self, worker: DaskWorker, future: Future[Any]) -> None:
        """Take in what a task has given."""
        flight = self._busy.get(worker)
        if flight is None or flight.future is not future:
            return
        try:
            message = result(future)
        except Lost as lost:
            self._lose(worker, str(lost))
            return
        if message is None:
            self._lose(worker)
            return
        flight.future = None
        self._take(flight, message)

    def _take(self, flight: _Flight, message: Message) -> None:
        event, job = message.event, flight.job
        if isinstance(event, PhaseBegun):
            self._order(flight, None)
        if isinstance(event, JobDone):
            assert flight.worker is not None
            event = replace(event, losses=flight.losses)
            del self._flights[job.ticket], self._busy[flight.worker]
            _bring(job, event, message)
        self._events.append(event)

    def _lose(self, worker: DaskWorker, why: str = "") -> None:
        """Forget a worker; what it was doing begins again elsewhere."""
        flight = self._busy.pop(worker, None)
        self._known.forget(worker, flight.future if flight else None)
        if flight is None:
            return
        flight.worker = flight.future = None
        flight.losses += 1
        cause = f" ({why})" if why else ""
        if flight.losses < MOST_LOSSES:
            self._waiting.appendleft(flight)
            what = _name_of(flight.job)
            _logger.warning("Dask worker %s is lost%s: %s begins again", worker, cause, what)
            return
        reason = (
            f"{flight.losses} workers were lost under it, the last one {worker}{cause}: "
            "the machine's fault and not the setting's, unless it takes its host with it"
        )
        self._fail(flight, reason, worker.host, worker.machine)

    def _fail(self, flight: _Flight, reason: str, host: str, machine: str = "") -> None:
        """End a job that no worker will ever do."""
        del self._flights[flight.job.ticket]
        lost = JobDone(flight.job.ticket, "failed", flight.started, now(), (), reason)
        self._events.append(replace(lost, losses=MOST_LOSSES, host=host, machine=machine))


def _name_of(job: Job) -> str:
    return f"trial {job.ticket}" if job.ticket >= 0 else "what it did"


def _bring(job: Job, done: JobDone, message: Message) -> None:
    """Write what a worker has written for the coordinator."""
    if isinstance(job, PresentJob):
        for name, data in message.files.items():
            path = job.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
    elif isinstance(job, FreezeJob) and done.state == "complete":
        (data,) = message.files.values()
        write_script(job.path, lambda part: part.write_bytes(data))


class DaskOptions(BaseModel):
    """Where the workers are; by default as many processes on this machine as there are slots.

    Attributes
    ----------
    address : str, optional
        Of a scheduler that runs: ``tcp://host:8786``.
    workers : int, optional
        Processes to start on this machine, with a scheduler of their own.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    address: str | None = None
    workers: Annotated[int, Field(ge=1)] | None = None


class DaskExecutor(ClusterExecutor):
    """Runs jobs on Dask workers, of a scheduler that runs or on this machine.

    Parameters
    ----------
    setup, slots, case_seconds, memory
        As of `tuner.execution.local.LocalExecutor`.
    options : DaskOptions
    """

    Options = DaskOptions

    def __init__(
        self,
        setup: Setup,
        slots: int,
        case_seconds: float,
        memory: int | None = None,
        *,
        options: DaskOptions,
    ) -> None:
        address = options.address
        cluster = RunningCluster(address) if address else OwnCluster(options.workers or slots)
        super().__init__(setup, case_seconds, memory, cluster)

    @staticmethod
    def probe(options: DaskOptions) -> None:
        """Raise `InputError` where the options contradict each other or no scheduler answers."""
        if options.address is not None and options.workers is not None:
            raise InputError("expected 'address' or 'workers', got both; remove one")
        if options.address is not None:
            connect(RunningCluster(options.address)).close()
