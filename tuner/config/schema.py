"""The engine's own sections of a configuration, as frozen models."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    field_validator,
)

from tuner.config.addresses import masked
from tuner.config.amounts import Bytes, Seconds
from tuner.config.bounds import checked_selector
from tuner.config.paths import NO_FILE as NO_FILE
from tuner.config.paths import InputPath as InputPath
from tuner.config.paths import InputPaths as InputPaths
from tuner.config.samplers import PRUNERS, SAMPLERS, Choice
from tuner.config.section import Section
from tuner.plugin.registry import LOCAL

LONGEST_NAME = 100
"""Bytes of a study's name: a file system takes 255, and endings come to it."""


def wrong_name(name: str) -> str | None:
    """Return what keeps `name` from naming a study, its folder and its script; None if nothing."""
    if not re.fullmatch(r"[\w. ()+,=@~-]+", name):
        return f"expected letters, digits, '_', '-' and '.', got {name[:40]!r}"
    if name[0] in ". " or name[-1] in ". ":
        return f"expected a name that neither begins nor ends with a dot or a blank, got {name!r}"
    if len(name.encode()) > LONGEST_NAME:
        return f"expected at most {LONGEST_NAME} bytes, got {len(name.encode())}"
    return f"'{name}' is a folder of the program's own" if name == "unsent" else None


class StudySection(Section):
    """How the search goes.

    Attributes
    ----------
    name : str, optional
        Of the study, of its folder and script; by default the file's name.
    trials : int
        Completed trials, the baseline among them.
    timeout : float, optional
        Stop after this time.
    seed : int
        Of the sampler and of the method.
    sampler : str or mapping
        A sampler of Optuna or OptunaHub, or one of your own; with options, a mapping with ``name``.
    pruner : str or mapping
        A pruner of Optuna, or ``catch-up``: prunes between cases.
    storage : str
        Optuna storage: an SQLAlchemy address, or ``journal:///FILE``.
    max_failures : int
        Trials in a row that may fail.
    """

    name: str | None = None
    trials: int = Field(default=50, ge=1)
    timeout: Seconds | None = None
    seed: int = Field(default=0, ge=0, lt=2**32)
    sampler: Choice = Choice(name="tpe")
    pruner: Choice = Choice(name="nop")
    storage: str = "sqlite:///tuner.db"
    max_failures: int = Field(default=10, ge=1)

    @field_validator("name")
    @classmethod
    def _name(cls, name: str | None) -> str | None:
        if name is not None and (wrong := wrong_name(name)):
            raise ValueError(wrong)
        return name

    @field_validator("storage")
    @classmethod
    def _storage(cls, url: str) -> str:
        if not re.match(r"[\w+]+://", url):
            raise ValueError(f"expected an address such as sqlite:///tuner.db, got '{masked(url)}'")
        if url in ("sqlite://", "sqlite:///") or ":memory:" in url:
            raise ValueError("a study in memory is gone when the program ends; name a file")
        return url

    @field_validator("sampler")
    @classmethod
    def _sampler(cls, choice: Choice) -> Choice:
        return choice.checked(SAMPLERS, "sampler")

    @field_validator("pruner")
    @classmethod
    def _pruner(cls, choice: Choice) -> Choice:
        return choice.checked(PRUNERS, "pruner")


class LimitsSection(Section):
    """What a worker may take; over it a trial is infeasible.

    Attributes
    ----------
    case_time : float
        Seconds of one case's ``run``.
    phase_time : float, optional
        Seconds of whatever else a worker does: loading the data, scoring a case, freezing, figures.
        `case_time` if not given, but at least 20, and 60 for loading; what runs the baseline, times
        scripts or draws a null may take ten times `case_time` if that is more. Decides no trial
        that has completed.
    memory : int, optional
        Bytes of a worker and all that it has started.
    threads : int
        Of BLAS, OpenMP and Numba.
    """

    case_time: Seconds = 600.0
    phase_time: Seconds | None = None
    memory: Bytes | None = None
    threads: int = Field(default=1, ge=1)


class TimingSection(Section):
    """What is timed, and how often.

    Attributes
    ----------
    mode : {"run", "process"}
        ``run``: the plug-in's ``run`` in a warm worker, plus the fixed cost of a whole process.
        ``process``: the frozen script of every setting as a whole process.
    fixed_cost_repeats : int
        Pairs of process and ``run`` that a case's fixed cost is the median of; 0 leaves it out.
    repeats : int
        How often a trial that may be the best is timed during the search, at most.
    finalists : int
        At most so many of the best settings are timed again, interleaved, before one is frozen; 0
        freezes what the search found best.
    final_time : float
        Seconds that this may take, beside the baseline.
    confidence, indifference : float
        It ends early once the leader is within ``indifference`` of the best score with probability
        ``confidence``.
    baseline_repeats : int
        How often the baseline is timed among the finalists; 0 takes its time from trial 0.
    nulls : int
        Draws of the null that the best metric is compared with, where the plug-in has one.
    """

    mode: Literal["run", "process"] = "run"
    fixed_cost_repeats: int = Field(default=5, ge=0)
    repeats: int = Field(default=3, ge=1)
    finalists: int = Field(default=8, ge=0)
    final_time: Seconds = 60.0
    confidence: float = Field(default=0.98, gt=0.5, lt=1)
    indifference: float = Field(default=0.01, ge=0, lt=1)
    baseline_repeats: int = Field(default=1, ge=0)
    nulls: int = Field(default=1000, ge=0)


class TrackingSection(Section):
    """Where MLflow's store is.

    Attributes
    ----------
    enabled : bool
        Track at all.
    uri : str, optional
        Address of the store; by default MLFLOW_TRACKING_URI, or else ``sqlite:///mlflow.db``.
    experiment : str, optional
        MLflow's experiment; by default the plug-in's name.
    """

    enabled: bool = True
    uri: str | None = None
    experiment: str | None = None


class ExportSection(Section):
    """What is frozen, and where the script goes, relative to the current folder.

    Every further key is the plug-in's: it gets them as its own section `export`.

    Attributes
    ----------
    path : Path, optional
        The script; below the study's folder if not given.
    select : {"best", "smoothed", "one_standard_error"}, int or mapping
        Which trial: the best as measured; the best by a Gaussian process fitted to all trials (see
        `tuner.selection.smoothing`); the simplest within one standard error of the best, where the
        plug-in can tell
        (`tuner.plugin.Plugin.one_standard_error`); the one with a number; or the best of those that
        keep bounds on metrics, such as ``{r: ">= 0.5"}`` (`tuner.selection.picking`).
    """

    model_config = ConfigDict(extra="allow")
    path: Path | None = None
    select: Annotated[
        Literal["best", "smoothed", "one_standard_error"] | int | dict[str, str],
        BeforeValidator(checked_selector),
    ] = "best"

    @property
    def options(self) -> Mapping[str, Any]:
        """The plug-in's keys as given."""
        return self.model_extra or {}


class ExecutorSection(BaseModel):
    """Where trials run: `kind` is registered under ``tuner.executors``.

    Every further key is an option of the executor.

    Attributes
    ----------
    kind : str
        ``local``, ``dask``, ``slurm``, ``pbs``, ``lsf``, ``sge``, or ``package.module:Class``.
    alike : bool
        Take hosts of one CPU model and number of cores to be equally fast: one of them measures
        the baseline for all.
    """

    model_config = ConfigDict(frozen=True, extra="allow")
    kind: str = LOCAL
    alike: bool = False

    @property
    def options(self) -> Mapping[str, Any]:
        """Options as given."""
        return self.model_extra or {}


class SimulateSection(BaseModel):
    """Data that the project makes itself where `folder` does not exist yet; see `tuner simulate`.

    Every further key is an option of the simulator.

    Attributes
    ----------
    simulator : str, optional
        Its name; by default the plug-in's.
    folder : Path
        Where the data go.
    seed : int
        Of the data.
    """

    model_config = ConfigDict(frozen=True, extra="allow")
    simulator: str | None = None
    folder: Path
    seed: int = Field(default=0, ge=0)


class EngineSections(Section):
    """The engine's own sections; all others belong to the plug-in.

    Attributes
    ----------
    plugin : str
        Name of the plug-in.
    workers : int
        Trials at a time, a process each.
    objective : str or list of str
        ``score``, a metric, ``time``, or several of these.
    source : str
        Where the input files come from: said where one is not there.
    out : Path
        Where results go, a folder for each study, relative to the current folder.
    """

    plugin: str
    source: str | None = None
    study: StudySection = StudySection()
    simulate: SimulateSection | None = None
    search_space: dict[str, Any] | None = None
    objective: str | list[str] = "score"
    workers: int = Field(default=1, ge=1)
    out: Path = Path("out")
    executor: ExecutorSection = ExecutorSection()
    limits: LimitsSection = LimitsSection()
    timing: TimingSection = TimingSection()
    tracking: TrackingSection = TrackingSection()
    export: ExportSection = ExportSection()
