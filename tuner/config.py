"""The configuration: YAML to frozen models, every error with its key, its line and a remedy."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator

from tuner.plugin import InputError, Plugin
from tuner.provenance import fingerprint
from tuner.registry import plugin_class
from tuner.samplers import PRUNERS, SAMPLERS, Choice
from tuner.space import Space, SpaceError, build_space
from tuner.yamlfile import Document, Key, read_yaml

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_BYTES = {"mb": 10**6, "gb": 10**9, "mib": 2**20, "gib": 2**30}


def _seconds(value: Any) -> Any:
    if isinstance(value, str):
        match = re.fullmatch(r"\s*([\d.]+)\s*([a-z]+)\s*", value.lower())
        if not match or match[2] not in _UNITS:
            raise ValueError(f"expected a time such as 90s, 30m or 2h, got '{value}'")
        return float(match[1]) * _UNITS[match[2]]
    return value


def _bytes(value: Any) -> Any:
    if isinstance(value, str):
        match = re.fullmatch(r"\s*([\d.]+)\s*([a-z]+)\s*", value.lower())
        if not match or match[2] not in _BYTES:
            raise ValueError(f"expected a size such as 4GB or 500MB, got '{value}'")
        return int(float(match[1]) * _BYTES[match[2]])
    return value


Seconds = Annotated[float, BeforeValidator(_seconds), Field(gt=0)]
Bytes = Annotated[int, BeforeValidator(_bytes), Field(gt=0)]


class Section(BaseModel):
    """A section of the file: frozen, no unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class StudySection(Section):
    """How the search goes. `trials` counts completed trials, the baseline among them."""

    name: str | None = Field(default=None, pattern=r"^[\w.-]+$")
    trials: int = Field(default=50, ge=1)
    timeout: Seconds | None = None
    seed: int = Field(default=0, ge=0, lt=2**32)
    sampler: Choice = Choice(name="tpe")
    pruner: Choice = Choice(name="nop")
    storage: str = Field(default="sqlite:///tuner.db", pattern=r"^[\w+]+://")
    max_failures: int = Field(default=10, ge=1)

    @field_validator("sampler")
    @classmethod
    def _sampler(cls, choice: Choice) -> Choice:
        return choice.checked(SAMPLERS, "sampler")

    @field_validator("pruner")
    @classmethod
    def _pruner(cls, choice: Choice) -> Choice:
        return choice.checked(PRUNERS, "pruner")


class LimitsSection(Section):
    """What one case may take; over it a trial is infeasible. The baseline may take its time."""

    case_time: Seconds = 600.0
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
    finalists: int = Field(default=6, ge=0)
    final_time: Seconds = 60.0
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    indifference: float = Field(default=0.01, ge=0, lt=1)
    baseline_repeats: int = Field(default=1, ge=0)
    nulls: int = Field(default=1000, ge=0)


class TrackingSection(Section):
    """Where MLflow's store is. ``uri: null`` leaves it to MLFLOW_TRACKING_URI or the default."""

    enabled: bool = True
    uri: str | None = None
    experiment: str | None = None


class ExportSection(Section):
    """Where the frozen script goes, relative to the current folder."""

    path: Path | None = None


class SimulateSection(BaseModel):
    """Data that the project makes itself where `folder` does not exist yet; see `tuner simulate`.

    Every further key is an option of the simulator.
    """

    model_config = ConfigDict(frozen=True, extra="allow")
    simulator: str | None = None
    folder: Path
    seed: int = Field(default=0, ge=0)


class EngineSections(Section):
    """The engine's own sections; all others belong to the plug-in."""

    plugin: str
    study: StudySection = StudySection()
    simulate: SimulateSection | None = None
    search_space: dict[str, Any] | None = None
    objective: str | list[str] = "score"
    workers: int = Field(default=1, ge=1)
    limits: LimitsSection = LimitsSection()
    timing: TimingSection = TimingSection()
    tracking: TrackingSection = TrackingSection()
    export: ExportSection = ExportSection()


@dataclass(frozen=True)
class Config:
    """A validated configuration.

    Attributes
    ----------
    document : Document
        The file it came from.
    engine : EngineSections
        The engine's own sections.
    plugin : Plugin
        An instance of the plug-in; nothing is loaded yet.
    sections : mapping
        The plug-in's sections as plain data, paths resolved: enough to make it again elsewhere.
    space : Space
        The search space.
    objectives : mapping
        Tuned quantity to direction, in order.
    """

    document: Document
    engine: EngineSections
    plugin: Plugin[Any]
    sections: Mapping[str, Any]
    space: Space
    objectives: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Name of the study: the configured one, or the file's stem."""
        return self.engine.study.name or self.document.path.stem

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over the plug-in's input files; read once."""
        return fingerprint(self.plugin.inputs())

    def deciding(self) -> dict[str, Any]:
        """Give what decides a trial's outcome, as plain data: the study is resumed by it."""
        study = self.engine.study
        return {
            "plugin": self.engine.plugin,
            **{name: section for name, section in self.sections.items()},
            "search_space": {**self.space.describe(), "fixed": dict(self.space.fixed)},
            "objective": list(self.objectives),
            "seed": study.seed,
            "sampler": study.sampler.model_dump(mode="json"),
            "pruner": study.pruner.model_dump(mode="json"),
            "limits": self.engine.limits.model_dump(mode="json"),
            "timing": {
                "mode": self.engine.timing.mode,
                "fixed_cost": self.engine.timing.fixed_cost_repeats > 0,
            },
            "data_fingerprint": self.fingerprint,
        }

    def signature(self) -> str:
        """Give the hash of `deciding`."""
        text = json.dumps(self.deciding(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def plain(self) -> dict[str, Any]:
        """Give the whole configuration as plain data."""
        return {**self.engine.model_dump(mode="json"), **self.sections}


def load_config(path: Path, overrides: Sequence[str] = ()) -> Config:
    """Read and validate the configuration at `path`.

    Raises
    ------
    InputError
        One line: the key, where it stands, what was expected and what came.
    """
    document = read_yaml(path, overrides)
    own = {
        name: value for name, value in document.data.items() if name in EngineSections.model_fields
    }
    rest = {name: value for name, value in document.data.items() if name not in own}
    engine = _validated(EngineSections, own, document)
    cls = _at(document, ("plugin",), plugin_class, engine.plugin)
    folder = path.resolve().parent
    model = _validated(cls.Config, rest, document, folder, also=EngineSections)
    plugin = cls(model)
    _at(document, ("data",), plugin.inputs)
    try:
        space = build_space(plugin, engine.search_space)
    except SpaceError as error:
        raise _error(document, ("search_space", *error.key), str(error)) from None
    except InputError as error:
        raise _error(document, ("search_space",), str(error)) from None
    objectives = _objectives(document, plugin, engine.objective)
    if engine.timing.mode == "process" and cls.command is Plugin.command:
        message = f"plug-in '{cls.name}' gives no command to time; expected 'run'"
        raise _error(document, ("timing", "mode"), message)
    sections = model.model_dump(mode="json")
    return Config(document, engine, plugin, sections, space, objectives)


def read_engine_sections(
    path: Path, overrides: Sequence[str] = ()
) -> tuple[Document, EngineSections]:
    """Read the file and validate the engine's own sections alone; errors as in `load_config`."""
    document = read_yaml(path, overrides)
    ours = EngineSections.model_fields
    own = {name: value for name, value in document.data.items() if name in ours}
    return document, _validated(EngineSections, own, document)


def _objectives(document: Document, plugin: Plugin[Any], chosen: str | list[str]) -> dict[str, str]:
    names = [chosen] if isinstance(chosen, str) else chosen
    known = {"score": "maximize", **plugin.metrics, "time": "minimize"}
    for name in names:
        if name not in known:
            raise _error(
                document, ("objective",), f"expected one of {', '.join(known)}, got '{name}'"
            )
    if not names or len(set(names)) != len(names):
        raise _error(document, ("objective",), f"expected different objectives, got {names}")
    if "score" in names and plugin.baseline() is None:
        raise _error(
            document,
            ("objective",),
            f"'score' needs a baseline and plug-in '{plugin.name}' has none; "
            f"expected one of {', '.join(plugin.metrics)}",
        )
    return {name: known[name] for name in names}


def _validated(
    model: type[Any],
    data: Mapping[str, Any],
    document: Document,
    folder: Path | None = None,
    also: type[BaseModel] | None = None,
) -> Any:
    try:
        return model.model_validate(data, context={"folder": folder})
    except ValidationError as error:
        first = error.errors()[0]
        key: Key = tuple(first["loc"])
        raise _error(document, *_described(model, key, first, document, also)) from None


def _described(
    model: type[BaseModel],
    key: Key,
    detail: Mapping[str, Any],
    document: Document,
    also: type[BaseModel] | None,
) -> tuple[Key, str]:
    """Turn a pydantic error into the key of the file it is about and a sentence."""
    while len(key) > 1 and not _stands(document.data, key) and _stands(document.data, key[:-1]):
        if detail["type"] == "missing":
            break
        key = key[:-1]
    kind, got = detail["type"], detail.get("input")
    if kind == "extra_forbidden":
        names = _siblings(model, key, also)
        return key, f"unknown key '{key[-1]}'; expected one of: {', '.join(names)}"
    if kind == "missing":
        return key, f"'{'.'.join(map(str, key))}' is missing; it is required"
    message = str(detail["msg"]).removeprefix("Value error, ")
    if kind == "value_error":
        return key, message
    message = message.replace("Input should be", "expected").replace("valid ", "")
    return key, f"{message}, got {got!r}"


def _stands(data: Any, key: Key) -> bool:
    for part in key:
        try:
            data = data[part]
        except (KeyError, IndexError, TypeError):
            return False
    return True


def _siblings(model: type[BaseModel], key: Key, also: type[BaseModel] | None) -> list[str]:
    """Give the names that the parent of `key` knows."""
    at: Any = model
    for part in key[:-1]:
        if isinstance(part, int):
            continue
        at = _inner_model(at.model_fields[part].annotation) if part in at.model_fields else None
        if at is None:
            return ["(see the documentation)"]
    names = list(at.model_fields)
    if len(key) == 1 and also is not None:
        names = [*also.model_fields, *names]
    return names


def _inner_model(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        if (found := _inner_model(argument)) is not None:
            return found
    return None


def _at(document: Document, key: Key, call: Any, *args: Any) -> Any:
    try:
        return call(*args)
    except InputError as error:
        raise _error(document, key, str(error)) from error.__cause__


def _error(document: Document, key: Key, message: str) -> InputError:
    dotted = ".".join(map(str, key))
    return InputError(f"{document.where(key)}: {dotted}: {message}")
