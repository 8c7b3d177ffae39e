"""The workers of a Dask scheduler: who is there, and who may work."""

from __future__ import annotations

import itertools
import logging
import math
import queue
import socket
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import CancelledError
from dataclasses import dataclass
from typing import Any

from distributed import Client, Future, KilledWorker, wait
from distributed.comm.addressing import get_address_host_port

from tuner.execution.dask import slot
from tuner.execution.dask.cluster import Cluster
from tuner.execution.dask.slot import Facts, Recipe
from tuner.execution.versions import versions
from tuner.plugin import InputError

CONNECT = 10.0
"""Seconds in which a scheduler must answer."""

LOOK = 1.0
"""Seconds after which the scheduler is asked again who is there."""

PATIENCE = 60.0
GATHER = 5.0
"""Seconds that a worker has to tell what it is, and to hand over what it has done."""

SILENT = 10.0
"""Seconds without a worker after which the user is told."""

SHARE = 0.9
"""Of a machine's memory, all workers together."""

_logger = logging.getLogger("tuner")  # without a handler, Python's last one: standard error

Task = Callable[..., Any]


class Lost(Exception):
    """A task will never give anything: its worker is gone, or cannot work."""


@dataclass(eq=False)
class DaskWorker:
    """A Dask worker; `facts` are None until it has told them and been let in."""

    address: str
    facts: Facts | None = None
    has_told: bool = False

    @property
    def host(self) -> str:
        """Name of its host."""
        return self.facts.host if self.facts else ""

    @property
    def machine(self) -> str:
        """What kind of machine that is."""
        return self.facts.machine if self.facts else ""

    def __str__(self) -> str:  # noqa: D105 - as messages name it
        return f"{self.address} on {self.host}" if self.host else self.address


def connect(cluster: Cluster) -> Client:
    """Return a client of a scheduler; `InputError` where none answers."""
    address, security = cluster.address, cluster.security
    # They log what they make of lost workers; the executor says what it means for the study.
    for name in ("asyncio", *logging.root.manager.loggerDict):
        if name.partition(".")[0] in ("asyncio", "distributed"):  # some have levels of their own
            logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        if address.partition("://")[0] in ("tcp", "tls"):  # a client tries for long
            socket.create_connection(get_address_host_port(address), CONNECT).close()
        return Client(address, timeout=CONNECT, set_as_default=False, security=security)
    except (OSError, TimeoutError, ValueError) as error:
        why = str(error).partition("\n")[0]
        raise InputError(
            f"no Dask scheduler answers at '{address}' ({why:.200}); start one (dask scheduler), "
            "or give the address that it has shown"
        ) from error


class Roster:
    """Keeps the list of workers, and sends tasks to them.

    Parameters
    ----------
    cluster : Cluster
        The scheduler.
    recipe : Recipe
        What every worker gets first.

    Raises
    ------
    InputError
        Where no scheduler answers, or a worker that is there cannot run the study.
    """

    def __init__(self, cluster: Cluster, recipe: Recipe) -> None:
        self._cluster, self._recipe = cluster, recipe
        self._client = connect(cluster)
        self._machine = recipe.setup.machine
        self._workers: dict[str, DaskWorker] = {}
        self._ready: list[DaskWorker] | None = None  # all that is asked for at each job
        self._beside: Counter[str] = Counter()
        self._owners: dict[Any, DaskWorker] = {}
        self._arrived: queue.SimpleQueue[Future[Any]] = queue.SimpleQueue()
        self._numbers = itertools.count()
        self._looked = 0.0
        self._silent_until = time.monotonic() + SILENT

    @property
    def ready(self) -> list[DaskWorker]:
        """Workers that may be given work."""
        if self._ready is None:
            self._ready = [each for each in self._workers.values() if each.facts is not None]
            self._beside = Counter(each.host for each in self._ready)
        return self._ready

    def look(self) -> list[DaskWorker]:
        """See who has come, at most once a second; return who is gone."""
        if time.monotonic() < self._looked + LOOK:
            return []
        self._looked = time.monotonic()
        try:
            if self._client.status != "running":  # it would try for long to connect again
                raise OSError(self._client.status)
            present = set(self._client.nthreads())
        except (OSError, TimeoutError) as error:
            raise InputError(
                f"the Dask scheduler at '{self._cluster.address}' is gone; {self._cluster.remedy}"
            ) from error
        self._tell_of_none()
        for address in sorted(present - self._workers.keys()):
            worker = self._workers[address] = DaskWorker(address)
            self.send(worker, slot.hello, self._recipe)
        return [self._workers[address] for address in self._workers.keys() - present]

    def _tell_of_none(self) -> None:
        """Report once that there is no worker, if that lasts."""
        if self.ready:
            self._silent_until = self._looked + SILENT
        elif self._looked > self._silent_until:
            self._silent_until = math.inf
            _logger.warning("no Dask worker is there; the study waits for one")

    def await_facts(self) -> None:
        """Wait until the workers that are there have told what they are."""
        self.look()
        until = time.monotonic() + PATIENCE
        while not all(worker.has_told for worker in self._workers.values()):
            if time.monotonic() > until:
                raise InputError(
                    f"a Dask worker of '{self._cluster.address}' does not answer within "
                    f"{PATIENCE:g} s; end what it runs, or start another"
                )
            self.receive(LOOK)

    def send(self, worker: DaskWorker, task: Task, *arguments: object) -> Future[Any]:
        """Start a task on a worker, and on no other."""
        key = f"tuner-{self._recipe.study}-{next(self._numbers)}"
        future = self._client.submit(
            task, *arguments, key=key, workers=[worker.address], pure=False, retries=0
        )
        self._owners[key] = worker
        future.add_done_callback(self._arrived.put)
        return future

    def receive(self, timeout: float) -> tuple[DaskWorker, Future[Any]] | None:
        """Return a task that has ended and whose it is, or None after `timeout` seconds."""
        try:
            future = self._arrived.get(timeout=timeout)
        except queue.Empty:
            return None
        worker = self._owners.pop(future.key, None)
        if worker is None:
            return None
        if worker.facts is not None:
            return worker, future
        try:
            self._welcome(worker, result(future))
        except Lost:
            self._workers.pop(worker.address, None)  # where it is still there it is asked again
        return None

    def forget(self, worker: DaskWorker, future: Future[Any] | None) -> None:
        """Strike a worker off, with what it was doing."""
        self._workers.pop(worker.address, None)
        self._ready = None
        if future is not None:
            self._owners.pop(future.key, None)
            future.cancel()  # pinned to what is gone, it would wait for ever

    def share(self, worker: DaskWorker) -> int:
        """Return the bytes that a worker may hold: an even share of its host, or Dask's limit."""
        facts = worker.facts
        assert facts is not None
        beside = self._beside[worker.host] if self.ready else 0
        even = int(SHARE * facts.memory / max(1, beside))
        return even if facts.limit is None else min(even, int(SHARE * facts.limit))

    def close(self, busy: list[Future[Any]]) -> None:
        """Cancel what is under way, end the study's executors in all workers, disconnect."""
        if self._client.status == "running":
            self._client.cancel(busy)
            last = [self.send(each, slot.close, self._recipe.study) for each in self.ready]
            try:
                with self._client.as_current():
                    wait(last, timeout=GATHER)
            except (TimeoutError, CancelledError):
                pass  # a worker that hangs, or is gone: its executor ends with it
        self._owners.clear()
        self._workers.clear()
        self._ready = None
        self._client.close(timeout=GATHER)

    def _welcome(self, worker: DaskWorker, facts: Facts) -> None:
        """Let a worker in that is as this process is."""
        worker.has_told = True
        why = slot.difference(versions(self._recipe.packages), facts)
        if why is None and self._machine and self._machine != facts.machine:
            why = (
                f"it has {facts.machine}, and the study is timed on {self._machine}: without a "
                "baseline times are not comparable"
            )
        if why is None:
            worker.facts, self._ready = facts, None
            if self._machine == "":
                self._machine = facts.machine
            return
        message = (
            f"the Dask worker {worker.address} on {facts.host} cannot run the study: {why}; all "
            "hosts need the same environment, and the same files at the same paths"
        )
        if not self.ready:
            raise InputError(message)
        _logger.warning("%s; it is left out", message)


def result(future: Future[Any]) -> Any:
    """Return what a task has given.

    Raises
    ------
    Lost
        Where its worker is gone.
    Exception
        What the task has raised.
    """
    if future.status not in ("finished", "error"):
        raise Lost
    try:
        return future.result(timeout=GATHER)
    except KilledWorker as error:
        raise Lost from error
    except (OSError, TimeoutError) as error:
        raise Lost(f"{type(error).__name__}: {error}".partition("\n")[0]) from error
