"""A JSON Schema (2020-12) of a plug-in's configuration files: editors complete and check by it.

It sees the form of a file: sections, keys, kinds, bounds, names. What takes the data, or several
keys at once, `tuner validate` sees.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from pydantic.json_schema import GenerateJsonSchema, models_json_schema

from tuner.config.samplers import PRUNERS, SAMPLERS
from tuner.config.schema import LONGEST_NAME, EngineSections
from tuner.plugin import Plugin, registry

Schema = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"
VARIABLE = r"\$\{[^}]+\}"
"""In any value an environment variable may stand."""

STUDY_NAME = r"""^(?!unsent$)(?![. ])[^\x00-\x1f!"#$%&'*/:;<>?\[\\\]^`{|}\x7f]+(?<![. ])$"""
STORAGE = r"^[\w+]+://(?!/?$)(?!.*:memory:)"
"""What `wrong_name` and the storage's validator say, in the words of ECMA 262."""

SCALAR: Schema = {"type": ["number", "string", "boolean"]}


def schema_of(cls: type[Plugin[Any]]) -> Schema:
    """Return the schema of the files whose ``plugin`` is `cls`.

    Examples
    --------
    >>> from tuner.plugin.registry import plugin_class
    >>> schema = schema_of(plugin_class("function"))
    >>> schema["required"], schema["properties"]["plugin"]["const"]
    (['plugin', 'data', 'search_space'], 'function')
    """
    both = [(EngineSections, "validation"), (cls.Config, "validation")]
    places, made = models_json_schema(
        both,  # type: ignore[arg-type]
        schema_generator=_Described,
    )
    defs = made["$defs"]
    engine, own = (_named(defs, places[one]["$ref"]) for one in both)  # type: ignore[index]
    properties = {
        **engine["properties"],
        **own.get("properties", {}),
        "plugin": {"const": cls.name},
    }
    properties["search_space"] = _space(cls)
    properties["objective"] = _objective(cls)
    for name in ("plugin", "objective"):
        properties[name]["description"] = engine["properties"][name]["description"]
    _refine_study(_named(defs, _reference(properties["study"])))
    export = _named(defs, _reference(engine["properties"]["export"]))
    if "export" in own.get("properties", {}):
        export["properties"] |= _named(defs, _reference(own["properties"]["export"]))["properties"]
        properties["export"] = engine["properties"]["export"]
    export["additionalProperties"] = False
    used = {place["$ref"].rpartition("/")[2] for place in places.values()}
    whole: Schema = {
        "$schema": DIALECT,
        "title": f"tuner: a study of the plug-in {cls.name}",
        "type": "object",
        "required": ["plugin", *own.get("required", ())],
        "additionalProperties": False,
        "properties": properties,
        "$defs": {name: part for name, part in defs.items() if name not in used},
    }
    for node in _nodes(whole):
        _allow_variables(node)
    return whole


class _Described(GenerateJsonSchema):
    """Describes every key by the docstring of its section."""

    def model_schema(self, schema: Any) -> Schema:
        return _described(super().model_schema(schema), schema["cls"])

    def dataclass_schema(self, schema: Any) -> Schema:
        return _described(super().dataclass_schema(schema), schema["cls"])


def _described(made: Schema, cls: type[Any]) -> Schema:
    text = cls.__doc__ or ""
    if "description" in made:
        made["description"] = " ".join(text.partition("\n\n")[0].split())
    for name, meaning in attributes(text).items():
        if name in made.get("properties", {}):
            made["properties"][name]["description"] = meaning
    return made


def attributes(text: str) -> dict[str, str]:
    """Return what a NumPy docstring says of each attribute.

    Examples
    --------
    >>> from tuner.config.schema import LimitsSection
    >>> attributes(LimitsSection.__doc__)["threads"]
    'Of BLAS, OpenMP and Numba.'
    """
    text = inspect.cleandoc(text)
    block = re.search(r"^Attributes\n-+\n(.*?)(?=\n\S+\n-+\n|\Z)", text, re.M | re.S)
    found = {}
    for names, lines in re.findall(
        r"^(\S.*)\n((?:(?:[ ]{4}.*)?\n?)+)", block[1] if block else "", re.M
    ):
        meaning = " ".join(lines.split()).replace("``", "'")
        kind = names.partition(" : ")
        for name in kind[0].split(", "):
            found[name] = meaning or kind[2]
    return found


def _named(defs: Mapping[str, Schema], reference: str) -> Schema:
    return defs[reference.rpartition("/")[2]]


def _reference(node: Schema) -> str:
    """Return what a property refers to, beside null or not."""
    options = [node, *node.get("anyOf", ()), *node.get("allOf", ())]
    return next(str(option["$ref"]) for option in options if "$ref" in option)


def _nodes(node: Any) -> Iterator[Schema]:
    if isinstance(node, dict):
        yield node
        for inner in list(node.values()):
            yield from _nodes(inner)
    elif isinstance(node, list):
        for inner in node:
            yield from _nodes(inner)


def _allow_variables(node: Schema) -> None:
    """Let ``${NAME}`` stand for a number, a switch or a text of a pattern."""
    if node.get("type") in ("integer", "number", "boolean"):
        node.update(type=[node["type"], "string"], pattern=VARIABLE)
    elif isinstance(node.get("pattern"), str) and node.get("type") in ("string", None):
        node["pattern"] = f"{node['pattern']}|{VARIABLE}"


def _refine_study(study: Schema) -> None:
    """Bound the name; let a sampler and a pruner be a name, or a name with options."""
    installed = registry.names(registry.SAMPLERS)
    study["properties"]["name"] |= {"pattern": STUDY_NAME, "maxLength": LONGEST_NAME}
    study["properties"]["storage"]["pattern"] = STORAGE
    for kind, names in (("sampler", {**SAMPLERS, **dict.fromkeys(installed)}), ("pruner", PRUNERS)):
        known = [*names, *filter(None, names.values())]
        name: Schema = {"enum": known}
        if kind == "sampler":  # package.module:Class, optunahub:PACKAGE
            name = {"anyOf": [name, {"type": "string", "pattern": ":"}]}
        options = {"type": "object", "required": ["name"], "properties": {"name": name}}
        study["properties"][kind] |= {"anyOf": [name, options], "default": next(iter(names))}
        study["properties"][kind].pop("$ref", None)


def has_own_space(cls: type[Plugin[Any]]) -> bool:
    """Return whether the params, and with them the metrics, are what each configuration lists."""
    return "search_space" in cls.Config.model_fields


def _objective(cls: type[Plugin[Any]]) -> Schema:
    names: Schema = {"type": "string"}
    if not has_own_space(cls):
        names = {"enum": ["score", *cls.metrics, "time"]}
    several = {"type": "array", "minItems": 1, "uniqueItems": True, "items": names}
    return {"anyOf": [names, several], "default": "score"}


def params_of(cls: type[Plugin[Any]]) -> tuple[Mapping[str, BaseDistribution], Mapping[str, Any]]:
    """Return the search space and the defaults of a plug-in, as far as they need no configuration.

    Both are empty where they do.
    """
    bare = cls.__new__(cls)
    try:
        return bare.search_space(), bare.defaults()
    except AttributeError:  # it looks into its configuration
        return {}, {}


def _space(cls: type[Plugin[Any]]) -> Schema:
    """Return what may stand in ``search_space``."""
    known, defaults = params_of(cls)
    text = "What is searched: a range, choices, or a value that is fixed; {}: the plug-in's range."
    whole: Schema = {"type": "object", "minProperties": 1, "description": text}
    if has_own_space(cls) or not known:
        return {**whole, "additionalProperties": _entry(None)}
    properties = {}
    for name in dict.fromkeys([*known, *defaults]):
        properties[name] = _entry(known.get(name))
        if name in cls.about:
            meaning, unit = cls.about[name]
            properties[name]["description"] = f"{meaning} ({unit})" if unit else meaning
    return {
        "anyOf": [
            {**whole, "properties": properties, "additionalProperties": False},
            {"type": "null"},
        ]
    }


def _entry(dist: BaseDistribution | None) -> Schema:
    """Return what may stand for a parameter of that kind; None for any."""
    value: Schema = SCALAR
    if isinstance(dist, CategoricalDistribution):
        value = {"enum": list(dist.choices)}
    elif dist is not None:
        value = {"type": "integer" if isinstance(dist, IntDistribution) else "number"}
    choices: Schema = {
        "type": "array",
        "minItems": 1,
        "items": {"anyOf": [value, {"type": "null"}]},
    }
    options = [value, choices, {"type": "null"}]
    if isinstance(dist, CategoricalDistribution):
        options.append(
            {"type": "object", "properties": {"choices": choices}, "additionalProperties": False}
        )
    else:
        end = value if dist is not None else {"type": "number"}
        ends = {"low": end, "high": end, "step": {**end, "exclusiveMinimum": 0}}
        range_ = {**ends, "log": {"type": "boolean"}, "choices": choices}
        options.append({"type": "object", "properties": range_, "additionalProperties": False})
    return {"anyOf": options}
