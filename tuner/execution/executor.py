"""What runs jobs: the interface of local workers, of Dask, and of a leader with partners."""

from __future__ import annotations

from typing import Protocol

from tuner.execution.jobs import Event, Job


class Executor(Protocol):
    """Runs jobs somewhere. Not thread-safe: the coordinator alone calls it.

    A job that names its host, which is the name that a `JobDone` has given, ends as failed with
    `tuner.records.MOST_LOSSES` losses where that host is not there any more.
    """

    @property
    def slots(self) -> int:
        """Return how many jobs may be under way now."""

    def submit(self, job: Job) -> None:
        """Start `job`; at most `slots` are under way at a time."""

    def wait(self, timeout: float) -> Event | None:
        """Return the next event, or None after `timeout` seconds."""

    def proceed(self, ticket: int, onward: bool) -> None:
        """Answer a `CaseDone`: go on with the next case, or stop the job as pruned."""

    def close(self) -> None:
        """End all workers at once."""
