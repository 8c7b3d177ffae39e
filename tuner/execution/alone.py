"""One job on an idle executor, from its start to its end."""

from __future__ import annotations

from collections.abc import Callable

from tuner.execution.executor import Executor
from tuner.execution.jobs import Job, JobDone, PhaseBegun

TICK = 0.5
"""Seconds that the coordinator waits for an event before it looks elsewhere."""


def run_alone(
    executor: Executor,
    job: Job,
    beat: Callable[[], None],
    phase: Callable[[str], None] = lambda text: None,
) -> JobDone:
    """Run a job on an idle executor to its end; once more where its worker dies.

    `beat` is called at least twice a second, `phase` with what the job says that it does.
    """
    executor.submit(job)
    is_first = True
    while True:
        event = executor.wait(TICK)
        beat()
        if isinstance(event, PhaseBegun):
            phase(event.phase)
        if isinstance(event, JobDone) and not (event.died and is_first):
            return event
        if isinstance(event, JobDone):
            is_first = False
            executor.submit(job)
