"""The parts of a configuration, each validated for itself; what is wrong with several together."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, NoReturn

from tuner.config.errors import Mistakes, at_key, error_at, unknown_key, validated
from tuner.config.schema import NO_FILE, EngineSections, ExportSection, wrong_name
from tuner.config.space import Space, SpaceError, build_space
from tuner.config.yaml import Document
from tuner.plugin import InputError, Plugin
from tuner.plugin.registry import executor
from tuner.plugin.words import did_you_mean


def engine_sections(document: Document) -> EngineSections:
    """Validate the engine's own sections."""
    ours, path = EngineSections.model_fields, document.path
    own = {name: value for name, value in document.data.items() if name in ours}
    sections: EngineSections = validated(EngineSections, own, document)
    if sections.study.name is None and (wrong := wrong_name(path.stem)):
        raise InputError(f"{path}: the file's name is no name of a study: {wrong}; set study.name")
    return sections


def own_sections(document: Document, model: type[Any], absent: bool = False) -> Any:
    """Validate the plug-in's sections; its files may be `absent`, else `source` is told."""
    data, found, folder = document.data, Mistakes(document), document.path.resolve().parent
    own = {name: value for name, value in data.items() if name not in EngineSections.model_fields}
    if data.get("search_space") is not None and "search_space" in model.model_fields:
        own["search_space"] = data["search_space"]  # it has no params but those
    export = data["export"] if isinstance(data.get("export"), Mapping) else {}
    if options := {key: export[key] for key in export if key not in ExportSection.model_fields}:
        if "export" in model.model_fields:
            own["export"] = options
        else:
            found.add(*unknown_key(EngineSections, ("export", next(iter(options)))))
    made = found.of(validated, model, own, document, folder, EngineSections, absent)
    if isinstance(source := data.get("source"), str):
        found.lines = [f"{each}; {source}" if NO_FILE in each else each for each in found.lines]
    found.tell()
    return made


def ask(plugin: Plugin[Any]) -> None:
    """Ask a plug-in what several parts need of it, for it to tell a mistake once."""
    plugin.inputs()  # by which it may check params
    plugin.baseline()


def space_of(document: Document, plugin: Plugin[Any], wanted: Mapping[str, Any] | None) -> Space:
    """Return what is searched."""
    try:
        return build_space(plugin, wanted)
    except SpaceError as error:
        raise error_at(document, ("search_space", *error.key), str(error)) from None
    except InputError as error:
        raise error_at(document, error.key or ("search_space",), str(error)) from None


def objectives_of(
    document: Document, plugin: Plugin[Any], engine: EngineSections
) -> dict[str, str]:
    """Return what is tuned, with directions."""
    chosen = engine.objective
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


def check_mode(document: Document, plugin: Plugin[Any], engine: EngineSections) -> None:
    """Raise `InputError` where a plug-in cannot be timed in this way."""
    if engine.timing.mode == "process" and type(plugin).command is Plugin.command:
        message = f"plug-in '{plugin.name}' gives no command to time; expected 'run'"
        raise error_at(document, ("timing", "mode"), message)


def check_select(document: Document, plugin: Plugin[Any], engine: EngineSections) -> None:
    """Raise `InputError` where the plug-in cannot choose by `export.select`."""
    select = engine.export.select
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


def made_executor(document: Document, engine: EngineSections) -> Any:
    """Return what makes the executor."""
    section = engine.executor
    return at_key(document, ("executor",), executor, section.kind, section.options)


WITH_PLUGIN = (objectives_of, check_mode, check_select)


def tell_all(
    found: Mistakes, engine: EngineSections | None, cls: type[Plugin[Any]] | None, model: Any
) -> NoReturn:
    """Raise what was found wrong with sections, and what else is, as far as it can be told.

    Of a plug-in some of whose files are absent only what the engine itself finds is told.
    """
    document = found.document
    if cls is not None and model is None:
        model = Mistakes(document).of(own_sections, document, cls.Config, True)
    with suppress(Exception):  # whatever a plug-in raises that lacks its files
        if cls is not None and model is not None:
            plugin = cls(model)
            plugin.baseline()  # where it refuses that, it refuses all
            for check in WITH_PLUGIN if engine is not None else ():
                found.of(check, document, plugin, engine)
            try:
                build_space(plugin, document.data.get("search_space"))
            except SpaceError as error:
                found.add(("search_space", *error.key), str(error))
    if engine is not None:
        found.of(made_executor, document, engine)
    found.tell()
    raise AssertionError("nothing is wrong")
