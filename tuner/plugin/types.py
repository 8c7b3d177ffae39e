"""What a plug-in and the engine hand each other, as plain data.

This module imports nothing heavy, as its package.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

Value = str | int | float | bool | None
"""What a parameter may hold."""

Params = Mapping[str, Value]
"""Parameter values by name: every parameter a plug-in knows, searched or not."""

Direction = Literal["maximize", "minimize"]


class About(NamedTuple):
    """What a parameter is, for who reads ``tuner params``: in words, and its unit."""

    meaning: str
    unit: str = ""


class Draft(NamedTuple):
    """What `Plugin.draft` makes of a user's files.

    Attributes
    ----------
    sections : mapping
        Of the configuration; a `Path` becomes relative to it.
    notes : sequence of str
        What was found and what was guessed, a line each.
    fit : float
        How sure it is that the files are for this plug-in, 0 to 1.
    """

    sections: Mapping[str, Any]
    notes: Sequence[str] = ()
    fit: float = 1.0


class InputError(ValueError):
    """Bad input from the user: the message is one line that says what to do.

    The command line prints it without a traceback and ends with exit code 2. Everything else that
    a plug-in raises is a bug and is shown as one.

    Attributes
    ----------
    key : tuple
        Where the mistake stands in the YAML file, such as ``("data", "cases", 0, "reads")``: its
        line is then part of the message.
    """

    def __init__(self, message: object = "", key: tuple[str | int, ...] = ()) -> None:
        super().__init__(message)
        self.key = key


class RunError(RuntimeError):
    """A run that failed for a reason outside of the plug-in, as a program that it started does.

    It is told by its message alone; of whatever else `run` raises the traceback is told as well.
    """


@dataclass(frozen=True)
class Case:
    """One problem that a trial is run on: a region of a genome, a data set.

    Attributes
    ----------
    name : str
        Unique among the cases of a study; appears in metrics and figures.
    data : object
        What ``run`` and ``score`` need. The engine never looks inside.
    """

    name: str
    data: Any = field(repr=False)


@dataclass(frozen=True)
class Cases:
    """The cases that trials are run on, and those that only the frozen setting ever sees."""

    tuned: Sequence[Case]
    held_out: Sequence[Case] = ()


@dataclass(frozen=True)
class Clocked:
    """What `Plugin.run` returns where it had a program run, with that program's own clock.

    The engine's clock tells nothing of other processes: their CPU time, what they waited.

    Attributes
    ----------
    output : object
        What ``score`` gets.
    seconds, cpu_seconds : float
        Wall time of the program; CPU time of all its processes.
    waited : float
        Part of the wall time in which it was ready to run and others had the core.
    """

    output: Any
    seconds: float
    cpu_seconds: float
    waited: float = 0.0


@dataclass(frozen=True)
class Result:
    """One case, run with one setting: what figures and tables are made from."""

    case: Case
    params: Params
    output: Any = field(repr=False)
    metrics: Mapping[str, float]
    seconds: float
    cpu_seconds: float = 0.0
    held_out: bool = False
    anchor: float | None = None
    crowded: float = 0.0


@dataclass(frozen=True)
class Tried:
    """A completed trial, as `Plugin.one_standard_error` sees it.

    Attributes
    ----------
    metrics : mapping
        By case: everything that `Plugin.score` gave.
    """

    number: int
    params: Params
    metrics: Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class Provenance:
    """Where a frozen setting comes from: written into the head of the script.

    Attributes
    ----------
    study, trial, choice : str, int or None, str
        Name of the study, number of the trial that is frozen, and why where it is not the best.
    metrics, versions : mapping
        Its metrics as the study measured them; package name to version, as used in the study.
    fingerprint, created : str
        SHA-256 over the input files; ISO 8601 time of the export, in UTC.
    cases : mapping
        By tuned case: the metrics of the trial.
    seed, threads : int
        ``study.seed`` and ``limits.threads``, which the trial was run with.
    """

    study: str
    trial: int | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    fingerprint: str = ""
    created: str = ""
    choice: str = ""
    cases: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    seed: int = 0
    threads: int = 1
