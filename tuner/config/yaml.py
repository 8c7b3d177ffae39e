"""YAML that remembers its lines, so that an error can name the one to mend."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from tuner.config.addresses import UnsetVariable, expanded, masked
from tuner.config.text import one_line
from tuner.plugin import InputError

Key = tuple[str | int, ...]


LARGEST_FILE, DEEPEST, MOST_VALUES = 2**20, 32, 50_000
"""Bytes, levels and values, aliases written out: far more than any configuration has."""


class _Loader(yaml.SafeLoader):
    """SafeLoader of numbers, texts, lists and mappings.

    It reads ``1e-5`` as a number, as YAML 1.2 does, and a date as the text that it is. What a
    constructor raises is an error of YAML, with its line.
    """

    yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith(":timestamp")]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def fetch_more_tokens(self) -> None:
        try:
            super().fetch_more_tokens()
        except (ValueError, OverflowError) as error:  # "\U00110000", %YAML 999...9
            problem = f"cannot read what stands here: {error}"
            raise yaml.scanner.ScannerError(None, None, problem, self.get_mark()) from None

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        if node.tag.rpartition(":")[2] not in _KINDS:
            problem = f"expected a text, a number, a list or a mapping, got '{node.tag}'"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
        if node.tag.endswith((":int", ":float")) and ":" in node.value:
            return node.value  # 1:30 is 90 in YAML 1.1: nobody who writes it can be sure of that
        try:
            return super().construct_object(node, deep)
        except (ValueError, OverflowError, LookupError) as error:
            reason = str(error).partition(";")[0].partition(":")[0]
            problem = f"cannot read the value '{str(node.value)[:20]}': {reason}"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark) from None


_KINDS = ("str", "int", "float", "bool", "null", "seq", "map", "merge")

_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+$"),
    list("-+0123456789."),
)


@dataclass(frozen=True)
class Document:
    """A YAML mapping and the line of every key.

    Attributes
    ----------
    path : Path
        The file.
    data : dict
        The mapping, environment variables filled in.
    raw : dict
        The mapping as it is written.
    lines : mapping
        Path of keys and indices to line number, counted from 1.
    overrides : sequence of str
        The ``a.b=c`` settings applied on top.
    """

    path: Path
    data: dict[str, Any]
    raw: dict[str, Any]
    lines: Mapping[Key, int]
    overrides: Sequence[str] = field(default_factory=tuple)

    def where(self, key: Key) -> str:
        """Return "file, line n" of the key, or of the closest parent that stands in the file."""
        dotted = ".".join(map(str, key))
        for override in self.overrides:
            name = override.split("=", 1)[0]
            if dotted == name or dotted.startswith(name + "."):
                return f"--set {masked(override)}"
        for length in range(len(key), 0, -1):
            if key[:length] in self.lines:
                return f"{self.path}, line {self.lines[key[:length]]}"
        return str(self.path)


def read_yaml(path: Path, overrides: Sequence[str] = ()) -> Document:
    """Read a YAML mapping with the lines of its keys and apply ``a.b=c`` overrides.

    Raises
    ------
    InputError
        Where the file is missing, is not YAML, is not a mapping, or has a key twice: one line.
    """
    try:
        return _read(path, overrides)
    except InputError as error:  # it may quote a key or a value that has line ends
        raise InputError(one_line(str(error))) from None


def _read(path: Path, overrides: Sequence[str]) -> Document:
    text = _read_text(path)
    lines: dict[Key, int] = {}
    try:
        data = _loaded(text, lambda node: _walk(node, (), lines, path))
    except yaml.YAMLError as error:
        raise InputError(_explain(path, error)) from None
    if not isinstance(data, dict):
        raise InputError(
            f"{path}: expected a mapping with 'plugin:' and 'data:', "
            f"got {'nothing' if data is None else type(data).__name__}"
        )
    for key in data:
        if not isinstance(key, str):
            line = lines.get((str(key),), 1)
            raise InputError(f"{path}, line {line}: expected the name of a section, got {key!r}")
    for override in overrides:
        _apply(data, override)
    document = Document(path, data, data, lines, tuple(overrides))
    try:
        return replace(document, data=expanded(data))
    except UnsetVariable as error:
        dotted = ".".join(map(str, error.key))
        raise InputError(f"{document.where(error.key)}: {dotted}: {error}") from None


def _read_text(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            raw = stream.read(LARGEST_FILE + 1)  # bounded: it may be no regular file
        text = raw[:LARGEST_FILE].decode("utf-8-sig").replace("\r\n", "\n")
    except FileNotFoundError:
        raise InputError(f"no such configuration: {path}; give the path of a YAML file") from None
    except IsADirectoryError:
        raise InputError(f"{path} is a folder; give the path of a YAML file") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error  # without number and path
        raise InputError(f"cannot read {path}: {reason}; give a YAML file in UTF-8") from None
    if len(raw) > LARGEST_FILE:
        raise InputError(
            f"{path}: expected a configuration of at most 1 MB; keep data in files of their own"
        )
    if unusable := re.search(r"[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\U0010ffff]", text):
        line = text.count("\n", 0, unusable.start()) + 1
        raise InputError(
            f"{path}, line {line}: the character U+{ord(unusable[0]):04X} is none that a "
            "configuration may hold; remove it"
        )
    return text


def _loaded(text: str, look: Callable[[yaml.Node], None] = lambda node: None) -> Any:
    """Return the value of one YAML document, within bounds; show its nodes to `look` before."""
    _check_size(text)
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        look(node)
        return loader.construct_document(node)
    finally:
        loader.dispose()


_HALF = "half a character (a surrogate); write the character itself"


def _check_size(text: str) -> None:
    """Raise `yaml.YAMLError` where a document is too deep, too large, or contains itself.

    Counted are events, aliases with what they stand for: a few lines of aliases of aliases stand
    for billions of values, and the composer recurses once a level.
    """
    sizes: dict[str, int] = {}
    open_nodes: list[tuple[str | None, int]] = []
    count = 0
    for event in yaml.parse(text, Loader=_Loader):
        problem = None
        if isinstance(event, yaml.CollectionStartEvent):
            open_nodes.append((event.anchor, count))
            count += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = open_nodes.pop()
            sizes[anchor or ""] = count - before
        elif isinstance(event, yaml.ScalarEvent):
            count += 1
            sizes[event.anchor or ""] = 1
            problem = _HALF if re.search("[\ud800-\udfff]", event.value) else None
        elif isinstance(event, yaml.AliasEvent):
            count += sizes.get(event.anchor or "", 1)
            if event.anchor in (anchor for anchor, _ in open_nodes):
                problem = f"'*{event.anchor}' stands within itself"
        if len(open_nodes) > DEEPEST:
            problem = f"more than {DEEPEST} levels"
        elif count > MOST_VALUES:
            problem = f"more than {MOST_VALUES} values, aliases written out"
        if problem:
            mark: Any = event.start_mark
            raise yaml.composer.ComposerError(None, None, problem, mark)


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


def read_value(text: str, where: str) -> Any:
    """Return a value that was given on the command line; `InputError`, after `where`, for none."""
    try:
        return _loaded(text)
    except yaml.YAMLError as error:
        problem = getattr(error, "problem", None) or "not a YAML value"
        raise InputError(f"{where}: '{masked(text)[:40]}' is no YAML value: {problem}") from None


def _apply(data: dict[str, Any], override: str) -> None:
    name, equals, text = override.partition("=")
    keys = name.split(".")
    if not equals or not all(keys):
        raise InputError(f"--set {override}: expected KEY.KEY=VALUE, as in study.trials=20")
    value = read_value(text, f"--set {override}")
    for depth, key in enumerate(keys[:-1]):
        inner = data.setdefault(key, {})
        if not isinstance(inner, dict):
            raise InputError(f"--set {override}: '{'.'.join(keys[: depth + 1])}' is not a mapping")
        data = inner
    data[keys[-1]] = value
