"""What runs in a Dask worker: one slot, a local executor that is driven from event to event.

A Dask worker is a process of its own. A setting runs one process below it, in a worker of a
`LocalExecutor`, so that limits, stderr and deaths are as on one machine, and no setting takes the
Dask worker with it. Every function here is called as a Dask task.
"""

from __future__ import annotations

import math
import os
import socket
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from distributed import Worker, get_worker
from distributed.system import MEMORY_LIMIT

from tuner.execution.jobs import Event, FreezeJob, Job, JobDone, PresentJob, Setup
from tuner.execution.local import LocalExecutor
from tuner.execution.versions import difference as other_versions
from tuner.execution.versions import versions
from tuner.measure.stopwatch import machine

TICK = 0.5
FORGOTTEN = 60.0
"""Seconds after which nobody will answer a `CaseDone` any more."""

TOKEN = uuid.uuid4().hex
"""Distinguishes this process from the one that takes its place, at the same address perhaps."""

OF_DASK = ("MALLOC_TRIM_THRESHOLD_", "PYTHONHASHSEED")
"""Variables that a nanny sets for arrays of Dask; a trial's process is not to be slowed by them."""


@dataclass(frozen=True)
class Recipe:
    """What makes an executor in a Dask worker.

    Attributes
    ----------
    study : str
        Tells coordinators apart.
    packages : tuple of str
        Packages whose versions must be those of the coordinator.
    """

    study: str
    setup: Setup
    case_seconds: float
    packages: tuple[str, ...]

    @property
    def paths(self) -> Iterator[Path]:
        """Input files and folders of the configuration."""
        return _paths(self.setup.sections)


@dataclass(frozen=True)
class Facts:
    """What a Dask worker tells of itself.

    Attributes
    ----------
    token : str
        See `TOKEN`.
    host, machine : str
    versions : mapping
        Of Python and of a recipe's packages; empty for what is not there.
    memory : int
        Bytes that all workers of the host have together.
    limit : int or None
        Bytes that Dask allows this worker.
    absent : str or None
        A path of the configuration that is not there.
    """

    token: str
    host: str
    machine: str
    versions: Mapping[str, str]
    memory: int
    limit: int | None
    absent: str | None


@dataclass(frozen=True)
class Step:
    """What a Dask worker is asked to do.

    Attributes
    ----------
    study, token : str
        Of the recipe, and of the process that said `hello`.
    ticket : int
        Of the job.
    order : Job, bool or None
        The job to begin, the answer to its `CaseDone`, or nothing: go on.
    memory : int
        Bytes that the worker may hold from now on.
    """

    study: str
    token: str
    ticket: int
    order: Job | bool | None
    memory: int


@dataclass
class _Slot:
    """A study's executor in this process, and the folder whose files are to be sent back."""

    recipe: Recipe
    executor: LocalExecutor | None = None
    folder: Path | None = None
    in_job: bool = False
    left: float = math.inf

    def take(self, step: Step) -> LocalExecutor | None:
        """Begin a job, or go on with it; None where it is not here any more."""
        order, recipe = step.order, self.recipe
        begins = order is not None and not isinstance(order, bool)
        if self.executor is None and begins:
            self.executor = LocalExecutor(recipe.setup, 1, recipe.case_seconds)
        if self.executor is None:
            return None
        self.executor.memory, self.left = step.memory, math.inf
        if isinstance(order, bool):
            self.executor.proceed(step.ticket, order)
        elif order is not None:
            self.executor.submit(self._at_home(order))
            self.in_job = True
        return self.executor

    @property
    def is_left(self) -> bool:
        """Whether nobody works here: between two jobs, or nobody has answered for long."""
        return not self.in_job or time.monotonic() > self.left + FORGOTTEN

    def _at_home(self, job: Job) -> Job:
        """Return `job` with its paths, which are of the coordinator's machine, in a folder here."""
        if not isinstance(job, PresentJob | FreezeJob):
            return job
        self.folder = Path(tempfile.mkdtemp(dir=get_worker().local_directory))
        if isinstance(job, PresentJob):
            return replace(job, folder=self.folder)
        return replace(job, path=self.folder / job.path.name)

    def files(self) -> dict[str, bytes]:
        """Return what was written for the coordinator, by name."""
        if self.folder is None:
            return {}
        folder, self.folder = self.folder, None
        found = [path for path in sorted(folder.rglob("*")) if path.is_file()]
        return {str(path.relative_to(folder)): path.read_bytes() for path in found}

    def close(self) -> None:
        """End the executor; the next job makes another."""
        if self.executor is not None:
            self.executor.close()
        self.executor, self.in_job = None, False


@dataclass(frozen=True)
class Message:
    """An event of a job and, once it has ended, the files that it wrote, by name."""

    event: Event
    files: Mapping[str, bytes] = field(default_factory=dict)


_slots: dict[str, _Slot] = {}


def hello(recipe: Recipe) -> Facts:
    """Make ready for a study, and end what idles for others; return what there is."""
    for name in OF_DASK:
        os.environ.pop(name, None)
    for slot in _slots.values():
        if slot.is_left:
            slot.close()
    _slots[recipe.study] = _Slot(recipe)
    absent = next((str(path) for path in recipe.paths if not path.exists()), None)
    manager = get_worker().memory_manager
    return Facts(
        TOKEN,
        socket.gethostname(),
        machine(),
        versions(recipe.packages),
        MEMORY_LIMIT,
        manager.memory_limit if manager is not None else None,
        absent,
    )


def advance(step: Step) -> Message | None:
    """Drive a job to its next event.

    Returns
    -------
    Message or None
        None where the job is not here: another process has taken the place of that one, or nobody
        seemed to wait any more.
    """
    if step.token != TOKEN:
        return None
    worker, slot = get_worker(), _slots[step.study]
    key = worker.get_current_task()
    executor = slot.take(step)
    if executor is None:
        return None
    while (event := executor.wait(TICK)) is None:
        if _is_unwanted(worker, key):
            slot.close()
            return None
    slot.left, slot.in_job = time.monotonic(), not isinstance(event, JobDone)
    return Message(event, {} if slot.in_job else slot.files())


def _is_unwanted(worker: Worker, key: Any) -> bool:
    """Return whether a task was cancelled, its client is gone, or the worker is closing."""
    task = worker.state.tasks.get(key)
    return task is None or task.state == "cancelled" or worker.status.name != "running"


def close(study: str) -> None:
    """End a study's executor, as far as there is one."""
    if (slot := _slots.pop(study, None)) is not None:
        slot.close()


def difference(own: Mapping[str, str], facts: Facts) -> str | None:
    """Return why a worker cannot stand in for a process with `own` versions; None if it can."""
    if (why := other_versions(own, facts.versions, "the coordinator")) is not None:
        return why
    return f"there is no {facts.absent} there" if facts.absent else None


def _paths(sections: Any) -> Iterator[Path]:
    if isinstance(sections, Path):
        yield sections
    elif isinstance(sections, Mapping):
        for value in sections.values():
            yield from _paths(value)
    elif isinstance(sections, list | tuple):
        for value in sections:
            yield from _paths(value)
