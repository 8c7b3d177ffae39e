"""YAML that remembers its lines, so that an error can name the one to mend."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tuner.plugin import InputError

Key = tuple[str | int, ...]


class _Loader(yaml.SafeLoader):
    """SafeLoader that reads ``1e-5`` as a number, as YAML 1.2 does."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+$"),
    list("-+0123456789."),
)


@dataclass(frozen=True)
class Document:
    """A YAML mapping, the text it came from, and the line of every key.

    Attributes
    ----------
    path : Path
        The file.
    text : str
        Its content.
    data : dict
        The mapping.
    lines : mapping
        Path of keys and indices to line number, counted from 1.
    overrides : sequence of str
        The ``a.b=c`` settings applied on top.
    """

    path: Path
    text: str
    data: dict[str, Any]
    lines: Mapping[Key, int]
    overrides: Sequence[str] = field(default_factory=tuple)

    def where(self, key: Key) -> str:
        """Give "file, line n" of the key, or of the closest parent that stands in the file."""
        dotted = ".".join(map(str, key))
        for override in self.overrides:
            name = override.split("=", 1)[0]
            if dotted == name or dotted.startswith(name + "."):
                return f"--set {override}"
        for length in range(len(key), 0, -1):
            if key[:length] in self.lines:
                return f"{self.path}, line {self.lines[key[:length]]}"
        return str(self.path)


def read_yaml(path: Path, overrides: Sequence[str] = ()) -> Document:
    """Read a YAML mapping with the lines of its keys and apply ``a.b=c`` overrides.

    Raises
    ------
    InputError
        Where the file is missing, is not YAML, is not a mapping, or has a key twice.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"no such configuration: {path}; give the path of a YAML file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {path}: {error}; give a YAML file in UTF-8") from None
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        lines: dict[Key, int] = {}
        if node is not None:
            _walk(node, (), lines, path)
        data = loader.construct_document(node) if node is not None else None
    except yaml.YAMLError as error:
        raise InputError(_explain(path, error)) from None
    finally:
        loader.dispose()
    if not isinstance(data, dict):
        raise InputError(
            f"{path}: expected a mapping with 'plugin:' and 'data:', "
            f"got {'nothing' if data is None else type(data).__name__}"
        )
    for override in overrides:
        _apply(data, override)
    return Document(path, text, data, lines, tuple(overrides))


def _walk(node: yaml.Node, key: Key, lines: dict[Key, int], path: Path) -> None:
    if isinstance(node, yaml.MappingNode):
        for name, value in node.value:
            child = (*key, str(name.value))
            if child in lines:
                raise InputError(
                    f"{path}, line {name.start_mark.line + 1}: "
                    f"'{'.'.join(map(str, child))}' is given twice (first on line {lines[child]}); "
                    "keep one"
                )
            lines[child] = name.start_mark.line + 1
            _walk(value, child, lines, path)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            lines[(*key, index)] = value.start_mark.line + 1
            _walk(value, (*key, index), lines, path)


def _explain(path: Path, error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    line = f", line {mark.line + 1}" if mark is not None else ""
    problem = getattr(error, "problem", None) or str(error).splitlines()[0]
    return f"{path}{line}: not valid YAML: {problem}"


def _apply(data: dict[str, Any], override: str) -> None:
    name, equals, text = override.partition("=")
    keys = name.split(".")
    if not equals or not all(keys):
        raise InputError(f"--set {override}: expected KEY.KEY=VALUE, as in study.trials=20")
    try:
        value = yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader
    except yaml.YAMLError:
        raise InputError(f"--set {override}: '{text}' is not a YAML value") from None
    for depth, key in enumerate(keys[:-1]):
        inner = data.setdefault(key, {})
        if not isinstance(inner, dict):
            raise InputError(f"--set {override}: '{'.'.join(keys[: depth + 1])}' is not a mapping")
        data = inner
    data[keys[-1]] = value
