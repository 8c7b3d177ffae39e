"""The part `messages` of `scaling`: what the Dask executor takes for those of many workers."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from typing import Any

FAKES = (1, 1000)


class Done:
    """A future that is done."""

    status = "finished"

    def __init__(self, key: str, value: object) -> None:
        self.key, self._value = key, value

    def add_done_callback(self, call: Callable[[Any], object]) -> None:
        """Call."""
        call(self)

    def result(self, timeout: float) -> object:
        """Return it."""
        return self._value

    def cancel(self) -> None:
        """Nothing to cancel."""


class Simulated:
    """In place of Dask's client: workers that do at once what they are asked to."""

    status = "running"

    def __init__(self, workers: int) -> None:
        self._workers = {f"tcp://10.0.0.1:{port}": 1 for port in range(workers)}

    def nthreads(self) -> Mapping[str, int]:
        """Return the workers."""
        return self._workers

    def submit(self, task: Any, given: Any, *, key: str, workers: list[str], **_: object) -> Done:
        """Do what `hello` or `advance` would."""
        from tuner.execution.dask import slot
        from tuner.execution.jobs import JobDone, now
        from tuner.execution.versions import versions

        if task is slot.hello:
            host = f"host {workers[0].rpartition(':')[2]:.2}"
            there = versions(given.packages)
            return Done(key, slot.Facts("", host, "machine", there, 1 << 40, None, None))
        if task is slot.close:
            return Done(key, None)
        return Done(key, slot.Message(JobDone(given.ticket, "complete", now(), now())))

    def cancel(self, futures: object) -> None:
        """Nothing to cancel."""

    def close(self, timeout: float) -> None:
        """Nothing to close."""


def messages(jobs: int) -> None:
    """Print what the executor takes for the messages of many workers."""
    took = [handled(jobs, workers) for workers in FAKES]
    for workers, each in zip(FAKES, took, strict=True):
        print(f"{workers:>5,} workers {each:6.3f} ms of CPU a job, in the executor alone")
    print(f"              {took[1] / took[0]:6.1f} times as much", flush=True)


def handled(jobs: int, workers: int) -> float:
    """Return the milliseconds that the executor takes for a job."""
    from unittest.mock import patch

    from tuner.execution.dask import roster
    from tuner.execution.dask.executor import DaskExecutor, DaskOptions
    from tuner.execution.jobs import JobDone, Setup, TrialJob
    from tuner.records import Trial

    def job(number: int) -> TrialJob:
        return TrialJob(Trial(number=number, params={}, searched={}), 0)

    with (
        patch.object(roster, "connect", lambda cluster: Simulated(workers)),
        patch.object(roster, "wait", lambda futures, timeout: None),
        patch.object(Simulated, "as_current", contextlib.nullcontext, create=True),
    ):
        options = DaskOptions(address="tcp://10.0.0.1:1")
        executor = DaskExecutor(Setup("nothing", {}), 1, 60.0, options=options)
        for number in range(workers):
            executor.submit(job(number))
        used, ended = time.process_time(), 0
        while ended < jobs:
            event = executor.wait(60.0)
            assert isinstance(event, JobDone)
            assert event.state == "complete"
            executor.submit(job(workers + ended))
            ended += 1
        used = time.process_time() - used
        executor.close()
    return 1000 * used / jobs
