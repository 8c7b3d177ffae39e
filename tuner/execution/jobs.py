"""What an executor takes and gives: jobs in, events out, nothing of Optuna or MLflow.

The executor itself: `tuner.execution.executor`.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from enum import IntEnum
from pathlib import Path
from typing import Any, ClassVar

from tuner.execution.text import clean
from tuner.measure.stopwatch import machine
from tuner.plugin import Params, Provenance
from tuner.records import CaseRecord, Null, State, Trial


def now() -> datetime:
    """Return the time that jobs are stamped with: UTC, for machines may differ."""
    return datetime.now(timezone.utc)


@dataclass(frozen=True)
class Setup:
    """All that a worker needs to make its plug-in, sent once, pickled.

    Attributes
    ----------
    plugin : str
        Entry-point name.
    sections : mapping
        The plug-in's validated sections, paths absolute: its `Config` takes them again.
    threads : int
        Threads that BLAS, OpenMP and Numba may use in one worker.
    locks : str or None
        Folder in which workers of one machine lock the cores that they time on.
    machine : str or None
        Kind of machine on which all must run for times to be comparable: empty for that of the
        first worker; None where it does not matter.
    phase_seconds : float or None
        Time that whatever is no trial's ``run`` may take, as far as the executor has limits; None
        leaves it to the executor.
    """

    plugin: str
    sections: Mapping[str, Any]
    threads: int = 1
    locks: str | None = None
    machine: str | None = None
    phase_seconds: float | None = None


class Ticket(IntEnum):
    """Tickets of jobs that are no trial, one at a time each; a trial's ticket is its number."""

    PRESENT = -1
    START_UP = -2
    TIME = -3
    FREEZE = -4
    CLOCK = -5  # and below: what is measured on a host, a ticket each


@dataclass(frozen=True)
class TrialJob:
    """Run the tuned cases with a trial's params.

    Attributes
    ----------
    trial : Trial
        Its number is the job's ticket. A baseline, which has a script of its own, may take longer
        than the others.
    stepwise : bool
        Send a `CaseDone` after each case but the last and wait for `Executor.proceed`.
    process : bool
        Time the frozen script as a whole process in place of ``run``.
    scored : bool
        Whether to score what `run` gives; a repeat is timed alone.
    timed : bool
        Whether its time counts: ``run`` is then called again where others disturbed the timing.
    host : str
        The only host on which it may run; empty for any.
    """

    trial: Trial
    seed: int
    stepwise: bool = False
    process: bool = False
    scored: bool = True
    timed: bool = True
    host: str = ""

    @property
    def ticket(self) -> int:
        """Return what identifies the job."""
        return self.trial.number

    @property
    def limited(self) -> bool:
        """Whether the time limit of a trial's ``run`` applies."""
        return not self.trial.is_baseline


@dataclass(frozen=True)
class PresentJob:
    """Run the chosen params on every case, held-out ones too, and draw figures and tables.

    Attributes
    ----------
    folder : Path
        Where figures (PNG) and tables (CSV) go.
    baseline : mapping or None
        Reference params to run on the held-out cases beside the chosen ones.
    nulls : int
        Draws of the null of the primary metric.
    """

    params: Params
    seed: int
    folder: Path
    baseline: Params | None = None
    nulls: int = 0
    ticket: ClassVar[int] = Ticket.PRESENT
    host: ClassVar[str] = ""
    limited: ClassVar[bool] = False


@dataclass(frozen=True)
class TimeJob:
    """Time the frozen script of some params on the tuned cases, scoring nothing.

    Attributes
    ----------
    baseline : bool
        Time the baseline's own script.
    held_out : bool
        Time it on the held-out cases instead.
    """

    params: Params
    seed: int
    baseline: bool = False
    held_out: bool = False
    ticket: ClassVar[int] = Ticket.TIME
    host: ClassVar[str] = ""
    limited: ClassVar[bool] = False


@dataclass(frozen=True)
class FixedCostJob:
    """Time what a whole process takes beside ``run``, on the tuned or the held-out cases.

    Attributes
    ----------
    params : mapping
        The params to freeze, standing for all of their kind.
    repeats : int
        Pairs of process and ``run`` for each case.
    held_out : bool
        Time them on the held-out cases instead.
    host : str
        As of `TrialJob`.
    kind : str
        What whoever asks keeps the answer under.
    """

    params: Params
    seed: int
    repeats: int
    held_out: bool = False
    ticket: int = Ticket.START_UP
    host: str = ""
    kind: str = ""
    limited: ClassVar[bool] = False


@dataclass(frozen=True)
class FreezeJob:
    """Freeze some params into a script at `path`."""

    params: Params
    path: Path
    provenance: Provenance
    ticket: ClassVar[int] = Ticket.FREEZE
    host: ClassVar[str] = ""
    limited: ClassVar[bool] = False


@dataclass(frozen=True)
class CaseDone:
    """A case of a stepwise job is done; the worker waits to hear whether to proceed.

    Attributes
    ----------
    total : int
        Number of cases that the job has.
    host, machine : str
        As of `JobDone`.
    """

    ticket: int
    cases: Sequence[CaseRecord]
    total: int = 0
    host: str = field(default_factory=socket.gethostname)
    machine: str = field(default_factory=machine)


@dataclass(frozen=True)
class PhaseBegun:
    """A long job tells what it does now, in words for the user."""

    ticket: int
    phase: str

    def __post_init__(self) -> None:  # noqa: D105 - of a dataclass
        object.__setattr__(self, "phase", clean(self.phase))


@dataclass(frozen=True)
class JobDone:
    """A job has ended.

    Attributes
    ----------
    state : str
        ``complete``, ``pruned`` (told not to proceed), ``infeasible`` or ``failed``.
    cases : sequence of CaseRecord
        Tuned cases that were finished, without baseline ratios.
    reason : str or None
        One line and, for a failure, the last lines of the worker's stderr; made `clean` here.
    bad_input : bool
        The plug-in raised `InputError`: the user's input is at fault, not a trial.
    died : bool
        The worker died, which may have been somebody else's doing: worth another attempt.
    losses : int
        How often the job began again since a worker or a host was lost with all that ran there.
    host, machine : str
        Name of the host where it ran, which is where this is made, and its kind of machine.
    held_out, held_out_baseline : sequence of CaseRecord
        Only of a `PresentJob`.
    nulls : sequence of Null
    findings : sequence of str
        Only of a `PresentJob`.
    fixed_costs : mapping
        Only of a `FixedCostJob`: seconds by case; empty where the plug-in gives no command.
    """

    ticket: int
    state: State
    started: datetime
    finished: datetime
    cases: Sequence[CaseRecord] = ()
    reason: str | None = None
    bad_input: bool = False
    held_out: Sequence[CaseRecord] = ()
    held_out_baseline: Sequence[CaseRecord] = field(default_factory=tuple)
    fixed_costs: Mapping[str, float] = field(default_factory=dict)
    nulls: Sequence[Null] = ()
    findings: Sequence[str] = ()
    died: bool = False
    losses: int = 0
    host: str = field(default_factory=socket.gethostname)
    machine: str = field(default_factory=machine)

    def __post_init__(self) -> None:  # noqa: D105 - of a dataclass
        if self.reason is not None:
            object.__setattr__(self, "reason", clean(self.reason))
        object.__setattr__(self, "findings", tuple(map(clean, self.findings)))

    @property
    def outcome(self) -> str:
        """Return the reason's first line."""
        return (self.reason or "").partition("\n")[0]


Job = TrialJob | PresentJob | FixedCostJob | TimeJob | FreezeJob
Event = CaseDone | PhaseBegun | JobDone
