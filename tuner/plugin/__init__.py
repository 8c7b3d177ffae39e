"""The protocol between the engine and a method: what a plug-in is.

A plug-in is one class. The engine asks it for a search space, hands it cases to run, times
``run`` alone, turns the metrics of ``score`` into an objective, and asks it to ``freeze`` the best
setting. This package imports nothing heavy, so that listing plug-ins stays cheap.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from tuner.plugin.types import (
    About,
    Case,
    Cases,
    Clocked,
    Direction,
    Draft,
    InputError,
    Params,
    Provenance,
    Result,
    RunError,
    Tried,
    Value,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure
    from optuna.distributions import BaseDistribution
    from pydantic import BaseModel

__all__ = [
    "About",
    "Case",
    "Cases",
    "Clocked",
    "Direction",
    "Draft",
    "InputError",
    "Params",
    "Plugin",
    "Provenance",
    "Result",
    "RunError",
    "Tried",
    "Value",
]

ConfigT = TypeVar("ConfigT", bound="BaseModel")


class Plugin(ABC, Generic[ConfigT]):
    """A method with a few knobs, a score and a clock.

    Subclasses set the three class attributes, implement the abstract verbs, and register under the
    entry-point group ``tuner.plugins``. An instance lives in one worker process; the engine makes
    one from the validated configuration wherever it needs one.

    Attributes
    ----------
    name : str
        The entry-point name.
    Config : type of pydantic model
        The plug-in's own top-level sections of the YAML file (``data``, ...). Forbid extra keys in
        it: an unknown key is then reported with its line. Declare paths as
        `tuner.config.schema.InputPath`, so that they are relative to the YAML file. A section
        named ``export`` holds its keys of the engine's own section of that name; one named
        ``search_space`` that section itself, for a plug-in whose params are what it lists. An
        `InputError` of a validator may name the key that it is about.
    metrics : mapping
        Names of the metrics that `score` gives, and their directions. A plug-in whose
        configuration decides sets it on the instance.
    meanings : mapping
        What a metric is, in words for who reads the results; by name, where there is one.
    about : mapping
        What a parameter is, in words, and its unit: `About`, by name.
    noisy : collection of str
        Metrics that are measured, as memory is, and differ a little from run to run.
    primary : str
        The metric that the time-weighted score is made from: the first of `metrics`. A plug-in
        whose configuration decides overrides it.
    afterwards : collection of str
        Sections of `Config`, or keys of one (``section.key``), that only matter once the trials
        are over: a study is resumed, and exported again, where they have changed.
    """

    name: ClassVar[str]
    Config: ClassVar[type[BaseModel]]
    metrics: Mapping[str, Direction]
    meanings: ClassVar[Mapping[str, str]] = {}
    about: ClassVar[Mapping[str, About]] = {}
    noisy: ClassVar[Collection[str]] = ()
    afterwards: ClassVar[Collection[str]] = ()

    def __init__(self, config: ConfigT) -> None:
        self.config = config

    @property
    def primary(self) -> str:
        """Return the name of the metric that the time-weighted score is made from."""
        return next(iter(self.metrics))

    @abstractmethod
    def search_space(self) -> Mapping[str, BaseDistribution]:
        """Return every parameter that can be tuned, with the range worth searching."""

    @abstractmethod
    def load(self) -> Cases:
        """Read what the cases need. Called once in each worker process, off the clock."""

    @abstractmethod
    def run(self, case: Case, params: Params, seed: int) -> Any:
        """Run the method: the only part on the clock. Pure: no global state, no files written.

        A `Clocked` result has a clock of its own.
        """

    @abstractmethod
    def score(self, case: Case, output: Any) -> Mapping[str, float]:
        """Return the metrics of an output, all names of `metrics`, finite. Off the clock.

        Further ones are recorded beside them.
        """

    @abstractmethod
    def freeze(self, params: Params, path: Path, provenance: Provenance) -> None:
        """Write a stand-alone script with `params` frozen in; it imports no tuner.

        `path` is a temporary name with the suffix of the final one: the engine moves it into place
        once it is whole.
        """

    def command(self, case: Case, script: Path, output: Path) -> Sequence[str] | None:
        """Return the command line that runs a frozen script on `case` and writes `output`.

        The engine times it as a whole process: start-up, reading, `run` and writing. None where
        there is nothing to time so; trials are then timed by `run` alone. Files that the command
        needs may be made in the folder of `output`, which is the engine's and empty.
        """
        return None

    def read_output(self, case: Case, output: Path) -> Any:
        """Return what `run` would have returned, from what a frozen script wrote with `command`.

        For ``tuner verify``, which scores it; what `score` and `null_metrics` do not look at may be
        left out.
        """
        raise NotImplementedError

    def remeasure(self, case: Case, script: Path, params: Params, output: Path) -> Clocked | None:
        """Run a frozen script on `case`, and return what `run` would have, with its seconds.

        For ``tuner verify`` where trials are timed by `run` and not by `command`: seconds are those
        that the head of the script speaks of, or not a number where they cannot be told. `params`
        are those that the head claims, for reading metrics alone; what the script does is to be
        found by running it. `output` is in a folder of the engine's. None: `command` and
        `read_output` serve.

        Raises
        ------
        RunError
            Where the script does something else than it claims, or fails.
        """
        return None

    def usage(self, path: Path) -> tuple[Sequence[str], str]:
        """Return how a user runs a script on the study's data, and the software that it needs.

        The command line after the interpreter, `path` first; empty where there is none.
        """
        return (), ""

    def cost_params(self, params: Params) -> Params:
        """Return the parameters that affect a script's start-up and output time.

        The engine measures this overhead once for each distinct return value, with defaults for
        all other parameters. Values of the same overhead may be mapped to one of them. Empty: it
        is the same for all parameters.
        """
        return {}

    def freeze_baseline(self, path: Path) -> None:
        """Write the reference setting as a script with the same command line.

        Override it where `freeze` would write something faster than what `run` does with the
        reference setting.
        """
        self.freeze(self.baseline() or self.defaults(), path, Provenance("baseline"))

    @classmethod
    @abstractmethod
    def tiny(cls, folder: Path) -> Mapping[str, Any]:
        """Make a small instance below `folder`; return its YAML sections. For contract tests."""

    @classmethod
    def draft(cls, folder: Path) -> Draft | None:
        """Return sections of a configuration for a user's files; None where none is for this.

        `folder` may be a file. `InputError` where the files are for this plug-in and something that
        it needs is missing. For ``tuner init``.
        """
        return None

    def defaults(self) -> Params:
        """Return the value of every parameter that a configuration does not mention."""
        return self.baseline() or {}

    def baseline(self) -> Params | None:
        """Return the reference setting, measured as trial 0; None where there is none."""
        return None

    def check(self, params: Params) -> None:
        """Raise `InputError` where `params` cannot be run, naming the parameter."""

    def warm_up(self, params: Params) -> None:
        """Import and compile what `run` needs for `params`; called before the clock starts."""

    def inputs(self) -> Sequence[Path]:
        """Return the input files, to be fingerprinted; raise `InputError` if one is missing."""
        return ()

    def notes(self) -> Sequence[str]:
        """Return what a user should know of the input before any trial, one line each."""
        return ()

    def null_metrics(self, case: Case, output: Any, seed: int, count: int) -> Sequence[float]:
        """Return `count` draws of the primary metric of `output` as luck alone would have it.

        Whatever was chosen by the metric (the best of several columns, say) is chosen anew in every
        draw. Off the clock, and only for the best setting. Empty where there is no null.
        """
        return ()

    def one_standard_error(self, best: Tried, tried: Sequence[Tried]) -> tuple[Tried, str]:
        """Return the simplest trial within one standard error of the best, and why in a few words.

        What is simple, and over what the error is taken (the folds of a cross-validation), only
        the plug-in knows. Override it to offer ``export.select: one_standard_error``.

        Parameters
        ----------
        best : Tried
            The best by the objective.
        tried : sequence of Tried
            All completed trials, `best` and the baseline among them.
        """
        raise NotImplementedError

    def figures(self, results: Sequence[Result]) -> Mapping[str, Figure]:
        """Draw the best setting's results: file stem to figure."""
        return {}

    def tables(self, results: Sequence[Result]) -> Mapping[str, pd.DataFrame]:
        """Tabulate the best setting's results: file stem to table."""
        return {}

    def files(self, results: Sequence[Result], folder: Path) -> None:
        """Write further files of the best setting's results into `folder`, beside the figures."""

    def findings(self, results: Sequence[Result]) -> Sequence[str]:
        """Return what the best setting's results show, in words, for the verdict: a line each."""
        return ()

    def analyse(self, params: Params, folder: Path) -> None:
        """Do what comes after the best setting, into `folder` (``tuner analyse``)."""
        raise InputError(f"plug-in '{self.name}' has no analysis after the best setting")
