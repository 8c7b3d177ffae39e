"""A trial as plain data: what was asked for, and how it ended in each case."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from tuner.plugin import Params

State = Literal["complete", "pruned", "infeasible", "failed"]
"""How a trial ended. Infeasible: over its time or memory limit, or refused by the plug-in."""

Fault = Literal["setting", "machine"]

MOST_LOSSES = 3
"""So many workers may be lost under a trial, by no fault of its own, before it fails."""


@dataclass(frozen=True)
class CaseRecord:
    """One case of one trial.

    Attributes
    ----------
    name : str
        The case's name.
    metrics : mapping
        The plug-in's metrics, plus ``speedup`` (baseline's time / time) and ``score`` where there
        is a baseline.
    seconds : float
        The time that enters the score: of ``run``, and what a whole process takes beside it.
    cpu_seconds : float
        CPU time of ``run``, all threads of the worker.
    run_seconds : float or None
        Wall time of ``run`` less what other processes took; None where a whole process was timed.
    anchor : float or None
        CPU seconds of a short fixed kernel beside it: how fast the core was just then.
    crowded : float
        Share of the wall time in which others had the core; not part of `seconds`.
    repeats : int
        How often it was timed.
    spread : float
        Standard deviation of the logarithms of these times; 0 for one.
    """

    name: str
    metrics: Mapping[str, float]
    seconds: float
    cpu_seconds: float = 0.0
    run_seconds: float | None = None
    anchor: float | None = None
    crowded: float = 0.0
    repeats: int = 1
    spread: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One trial, from the moment it is asked for.

    Attributes
    ----------
    number : int
        Optuna's trial number.
    params, searched : mapping
        Every parameter of the plug-in, and those of them that the sampler drew.
    is_baseline : bool
        Whether it is the reference params: slow, unlimited, with a script of their own.
    """

    number: int
    params: Params
    searched: Params
    is_baseline: bool = False


@dataclass(frozen=True, kw_only=True)
class TrialRecord(Trial):
    """A trial and how it ended.

    Attributes
    ----------
    state : str
        See `State`.
    cases : tuple of CaseRecord
        In the study's order; fewer than the study has where the trial ended early.
    metrics : mapping
        Means over the cases: the plug-in's metrics, ``time`` (seconds), and where there is a
        baseline ``speedup`` and ``score``, each with its 95 % interval: ``score_low``, ... .
        Empty unless complete.
    values : tuple of float
        What the sampler was told, one for each objective. Empty unless complete.
    reason : str or None
        Why the trial is not complete: one line, then the last lines of the worker's stderr.
    started, finished : datetime
        Timezone-aware, UTC; of the trial itself, not of its logging.
    estimate : mapping
        Where `metrics` are those of the final measurement: the search's own ``time``, ``speedup``
        and ``score``, which the sampler saw. Empty otherwise.
    losses : int
        How many workers or hosts were lost under it; it began again after each.
    host, machine : str
        Name of the host where it ran; its CPU model and number of cores. Empty where an earlier
        version made the record.
    """

    state: State
    cases: tuple[CaseRecord, ...]
    metrics: Mapping[str, float]
    values: tuple[float, ...]
    started: datetime
    finished: datetime
    reason: str | None = None
    estimate: Mapping[str, float] = field(default_factory=dict)
    losses: int = 0
    host: str = ""
    machine: str = ""

    @property
    def fault(self) -> Fault | None:
        """Whose fault it is that the trial did not run to its end; None where it did."""
        if self.state in ("complete", "pruned"):
            return None
        return "machine" if self.losses >= MOST_LOSSES else "setting"


def baseline_of(records: Sequence[TrialRecord]) -> TrialRecord | None:
    """Return the baseline, as it was measured last; None where it never completed."""
    done = (r for r in reversed(records) if r.is_baseline and r.state == "complete")
    return next(done, None)


def plain(record: TrialRecord) -> dict[str, Any]:
    """Return a record as data fit for JSON."""
    return dict(_adapter().dump_python(record, mode="json"))


def record_of(data: Mapping[str, Any]) -> TrialRecord:
    """Return the record that `plain` made `data` of; pydantic's ValidationError for other data."""
    record: TrialRecord = _adapter().validate_python(data)
    return record


@functools.cache
def _adapter() -> Any:
    from pydantic import TypeAdapter  # most commands read no record

    return TypeAdapter(TrialRecord)
