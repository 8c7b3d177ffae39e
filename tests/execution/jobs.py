"""Jobs of the toy plug-in, and how they end."""

from __future__ import annotations

from tuner.execution.executor import Executor
from tuner.execution.jobs import JobDone, PhaseBegun, TrialJob
from tuner.records import Trial


def job(
    ticket: int = 0, mode: str = "fine", x: float = 1.0, is_baseline: bool = False, **options: bool
) -> TrialJob:
    params = {"x": x, "size": 1, "mode": mode}
    trial = Trial(number=ticket, params=params, searched={}, is_baseline=is_baseline)
    return TrialJob(trial, 0, **options)


def outcome(executor: Executor, timeout: float = 60.0) -> JobDone:
    while isinstance(event := executor.wait(timeout), PhaseBegun):
        pass
    assert isinstance(event, JobDone)
    return event
