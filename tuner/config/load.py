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
from tuner.config.errors import Mistakes, at_key, error_at
from tuner.config.objective import Objective
from tuner.config.parts import (
    WITH_PLUGIN,
    ask,
    engine_sections,
    own_sections,
    space_of,
    tell_all,
)
from tuner.config.schema import EngineSections
from tuner.config.space import Space
from tuner.config.task import Task
from tuner.config.text import cleaned_data
from tuner.config.yaml import Document, read_yaml
from tuner.export.provenance import file_digests, fingerprint, named_digests
from tuner.plugin import Plugin
from tuner.plugin.registry import plugin_class


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

    def leading(self) -> dict[str, Any]:
        """Return what decides how a study ends and what it leaves, beside what `deciding` has."""
        plain = self.plain()
        ours = ("study", "timing", "tracking", "export", "out")
        found = {name: plain[name] for name in (*ours, *self.plugin.afterwards) if name in plain}
        return {**found, "study": _without(plain, ["study.storage"])["study"]}

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
    found, name = Mistakes(document), document.data.get("plugin")
    engine = found.of(engine_sections, document)
    cls = model = None
    if isinstance(name, str):
        cls = found.of(at_key, document, ("plugin",), plugin_class, name)
    if cls is not None:
        model = found.of(own_sections, document, cls.Config)
    if engine is None or cls is None or model is None:
        tell_all(found, engine, cls, model)
    plugin = cls(model)
    found.of(at_key, document, ("data",), ask, plugin)
    found.tell()
    space = found.of(space_of, document, plugin, engine.search_space)
    objectives, *_ = [found.of(check, document, plugin, engine) for check in WITH_PLUGIN]
    if space is None or objectives is None or found.lines:
        tell_all(found, engine, cls, model)
    sections = model.model_dump(mode="json")
    return Config(document, engine, plugin, sections, space, objectives)


def read_engine_sections(
    path: Path, overrides: Sequence[str] = ()
) -> tuple[Document, EngineSections]:
    """Read the file and validate the engine's own sections alone; errors as in `load_config`."""
    document = read_yaml(path, overrides)
    return document, engine_sections(document)
