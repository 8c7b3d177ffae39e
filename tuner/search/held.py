"""Trials that are measured and not yet scored: their host's baseline is being measured."""

from __future__ import annotations

from collections.abc import Iterator

from tuner.execution.executor import Executor
from tuner.execution.jobs import FixedCostJob, JobDone, TrialJob
from tuner.records import MOST_LOSSES, Trial
from tuner.search.clocks import Clocks
from tuner.search.observer import Observer

SEARCHING = "searching"

Measurement = FixedCostJob | TrialJob


class Held:
    """Holds trials until a job has measured what they are compared with, one job for each host.

    Parameters
    ----------
    clocks : Clocks
        What the jobs have measured goes there.
    observer : Observer
        Told what begins.
    """

    def __init__(self, clocks: Clocks, observer: Observer) -> None:
        self._clocks, self._observer = clocks, observer
        self._held: dict[int, tuple[Measurement, list[tuple[Trial, JobDone]]]] = {}

    def __len__(self) -> int:
        """Jobs that are under way."""
        return len(self._held)

    def __contains__(self, ticket: int) -> bool:
        """Whether a job is one of these."""
        return ticket in self._held

    @property
    def trials(self) -> int:
        """How many trials are held."""
        return sum(len(trials) for _, trials in self._held.values())

    def hold(self, trial: Trial, done: JobDone, job: Measurement, executor: Executor) -> None:
        """Hold a trial until `job` has ended, which begins now where it is not under way."""
        if job.ticket not in self._held:
            what = "the baseline" if isinstance(job, TrialJob) else "what a script costs"
            self._observer.phase(SEARCHING, f"measuring {what} on {done.host}")
            self._held[job.ticket] = job, []
            executor.submit(job)
        self._held[job.ticket][1].append((trial, done))

    def release(self, done: JobDone) -> Iterator[tuple[Trial, JobDone | None]]:
        """Yield the trials that were held for a job, None for an end where their host is gone.

        Errors as of `Clocks.take`.
        """
        job, held = self._held.pop(done.ticket)
        is_gone = done.losses >= MOST_LOSSES
        if not is_gone:
            self._clocks.take(job, done)
        self._observer.phase(SEARCHING)
        for trial, its in held:
            yield trial, None if is_gone else its
