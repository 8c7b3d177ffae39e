"""The configuration: YAML to frozen models, every error with its key, its line and a remedy."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import yaml

from tuner.config.addresses import as_written, masked_data
from tuner.config.errors import at_key, error_at, unknown_key, validated
from tuner.config.objective import Objective
from tuner.config.schema import NO_FILE, EngineSections, wrong_name
from tuner.config.space import Space, SpaceError, build_space
from tuner.config.task import Task
from tuner.config.text import cleaned_data
from tuner.config.yaml import Document, read_yaml
from tuner.export.provenance import file_digests, fingerprint, named_digests
from tuner.plugin import InputError, Plugin
from tuner.plugin.registry import plugin_class
from tuner.plugin.words import did_you_mean


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
    def objective(self) -> Objective:
        """How metrics and times become what is tuned."""
        return Objective(self.plugin.metrics, self.objectives, self.plugin.primary)

    @cached_property
    def task(self) -> Task:
        """What search and selection need of it."""
        return Task(
            self.plugin,
            self.space,
            self.objective,
            self.plugin.baseline(),
            self.engine.study,
            self.engine.timing,
            self.engine.limits.case_time,
            self.engine.export.select,
            self.engine.executor.alike,
        )

    @cached_property
    def _digests(self) -> Sequence[tuple[Path, bytes]]:
        return file_digests(self.plugin.inputs())

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the plug-in's input files; read once."""
        return fingerprint(self._digests)

    @property
    def input_files(self) -> Mapping[str, str]:
        """The plug-in's input files by name, each with the head of its own SHA-256."""
        return cast(Mapping[str, str], cleaned_data(named_digests(self._digests)))

    @cached_property
    def notes(self) -> Sequence[str]:
        """What there is to know of the search space and of the input, one line each."""
        found = [
            str(error_at(self.document, ("search_space", name), remark))
            for name, remark in self.space.remarks.items()
        ]
        return [*found, *at_key(self.document, ("data",), self.plugin.notes)]

    def deciding(self) -> dict[str, Any]:
        """Return what decides a trial's outcome, as plain data that may be stored."""
        shown: dict[str, Any] = masked_data(as_written(self._deciding(), self.document.raw))
        return shown

    def _deciding(self) -> dict[str, Any]:
        study = self.engine.study
        return {
            "plugin": self.engine.plugin,
            **_without(self.sections, self.plugin.afterwards),
            "search_space": {**self.space.describe(), "fixed": dict(self.space.fixed)},
            "objective": list(self.objectives),
            "seed": study.seed,
            "sampler": study.sampler.model_dump(mode="json"),
            "pruner": study.pruner.model_dump(mode="json"),
            "limits": self.engine.limits.model_dump(mode="json", exclude={"phase_time"}),
            "timing": {
                "mode": self.engine.timing.mode,
                "fixed_cost": self.engine.timing.fixed_cost_repeats > 0,
            },
            "data_fingerprint": self.fingerprint,
        }

    def signature(self) -> str:
        """Return the hash of what decides a trial's outcome: the study is resumed by it."""
        text = json.dumps(self._deciding(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def plain(self) -> dict[str, Any]:
        """Return the whole configuration as plain data that may be stored: no passwords."""
        ours = self.engine.model_dump(mode="json")
        whole = {**ours, **self.sections}
        whole["export"] = {**ours["export"], **self.sections.get("export", {})}
        shown: dict[str, Any] = masked_data(as_written(whole, self.document.raw))
        return shown

    @property
    def text(self) -> str:
        """A YAML file of the same meaning wherever it lies: paths absolute, no passwords."""
        whole = {key: value for key, value in self.plain().items() if value is not None}
        whole["study"] = {**whole["study"], "name": self.name}
        if (data := self.engine.simulate) is not None:
            folder = self.document.path.resolve().parent / data.folder
            whole["simulate"] = {**whole["simulate"], "folder": str(folder)}
        return yaml.safe_dump(whole, sort_keys=False, allow_unicode=True)


def _without(sections: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    """Leave out sections, and keys of sections (``section.key``)."""
    return {
        name: {key: value for key, value in section.items() if f"{name}.{key}" not in names}
        if isinstance(section, Mapping)
        else section
        for name, section in sections.items()
        if name not in names
    }


def _space(document: Document, plugin: Plugin[Any], wanted: Mapping[str, Any] | None) -> Space:
    at_key(document, ("data",), plugin.inputs)  # by which it may check params
    try:
        return build_space(plugin, wanted)
    except SpaceError as error:
        raise error_at(document, ("search_space", *error.key), str(error)) from None
    except InputError as error:
        raise error_at(document, error.key or ("search_space",), str(error)) from None


def _check_mode(document: Document, plugin: Plugin[Any], mode: str) -> None:
    """Raise `InputError` where a plug-in cannot be timed in this way."""
    if mode == "process" and type(plugin).command is Plugin.command:
        message = f"plug-in '{plugin.name}' gives no command to time; expected 'run'"
        raise error_at(document, ("timing", "mode"), message)


def _check_select(document: Document, plugin: Plugin[Any], select: object) -> None:
    """Raise `InputError` where the plug-in cannot choose by `export.select`."""
    offered = type(plugin).one_standard_error is not Plugin.one_standard_error
    if select == "one_standard_error" and not offered:
        message = (
            f"plug-in '{plugin.name}' has no 'one_standard_error'; expected 'best' or 'smoothed'"
        )
        raise error_at(document, ("export", "select"), message)
    beside = ["score", "speedup"] if plugin.baseline() is not None else []
    known = [*plugin.metrics, *beside, "time"]
    for name in select if isinstance(select, Mapping) else ():
        if name not in known:
            message = f"expected a bound on one of {', '.join(known)}, got '{name}'"
            raise error_at(document, ("export", "select"), message)


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> Config:
    """Read and validate the configuration at `path`.

    Parameters
    ----------
    path : str or Path
        The YAML file.
    overrides : sequence of str
        Keys to set on top of it, as in ``study.trials=20``.

    Raises
    ------
    InputError
        One line: the key, where it stands, what was expected and what came.
    """
    return config_of(read_yaml(Path(path), overrides))


def config_of(document: Document) -> Config:
    """Validate the configuration in `document`; errors as in `load_config`."""
    path, engine = document.path, _engine_sections(document)
    ours = EngineSections.model_fields
    rest = {name: value for name, value in document.data.items() if name not in ours}
    if engine.study.name is None and (wrong := wrong_name(path.stem)):
        raise InputError(f"{path}: the file's name is no name of a study: {wrong}; set study.name")
    cls = at_key(document, ("plugin",), plugin_class, engine.plugin)
    for key in engine.export.options if "export" not in cls.Config.model_fields else ():
        raise error_at(document, *unknown_key(EngineSections, ("export", key)))
    if engine.export.options:
        rest["export"] = engine.export.options
    if engine.search_space is not None and "search_space" in cls.Config.model_fields:
        rest["search_space"] = engine.search_space  # it has no params but those
    model = _own_sections(cls.Config, rest, document, engine.source)
    plugin = cls(model)
    space = _space(document, plugin, engine.search_space)
    objectives = _objectives(document, plugin, engine.objective)
    _check_mode(document, plugin, engine.timing.mode)
    _check_select(document, plugin, engine.export.select)
    sections = model.model_dump(mode="json")
    return Config(document, engine, plugin, sections, space, objectives)


def read_engine_sections(
    path: Path, overrides: Sequence[str] = ()
) -> tuple[Document, EngineSections]:
    """Read the file and validate the engine's own sections alone; errors as in `load_config`."""
    document = read_yaml(path, overrides)
    return document, _engine_sections(document)


def _engine_sections(document: Document) -> EngineSections:
    ours = EngineSections.model_fields
    own = {name: value for name, value in document.data.items() if name in ours}
    sections: EngineSections = validated(EngineSections, own, document)
    return sections


def _own_sections(
    model: type[Any], sections: Mapping[str, Any], document: Document, source: str | None
) -> Any:
    """Validate the plug-in's sections; where a file is not there say where it comes from."""
    folder = document.path.resolve().parent
    try:
        return validated(model, sections, document, folder, also=EngineSections)
    except InputError as error:
        if source is None or NO_FILE not in str(error):
            raise
        raise InputError(f"{error}; {source}", error.key) from None


def _objectives(document: Document, plugin: Plugin[Any], chosen: str | list[str]) -> dict[str, str]:
    names = [chosen] if isinstance(chosen, str) else chosen
    known = {"score": "maximize", **plugin.metrics, "time": "minimize"}
    for name in names:
        if name not in known:
            hint = did_you_mean(name, known)
            message = f"expected one of {', '.join(known)}, got '{name}'{hint}"
            raise error_at(document, ("objective",), message)
    if not names or len(set(names)) != len(names):
        raise error_at(document, ("objective",), f"expected different objectives, got {names}")
    if "score" in names and plugin.baseline() is None:
        raise error_at(
            document,
            ("objective",),
            f"'score' needs a baseline and plug-in '{plugin.name}' has none; "
            f"expected one of {', '.join(plugin.metrics)}",
        )
    return {name: known[name] for name in names}
