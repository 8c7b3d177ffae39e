"""The plug-in's part of a configuration file."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    model_validator,
)

from tuner.config.paths import InputPath, may_lack
from tuner.plugin import Direction, InputError, Value
from tuner_plugins.command.template import TemplateError, names

BUILT_IN = ("output", "seed", "threads", "python")
"""Placeholders that the plug-in fills in itself."""

TAKEN = ("score", "time", "speedup", "memory")
"""Metrics that every study has."""

_OPERATORS = frozenset({"|", "||", "&&", ";", "<", ">", ">>"})
_FILE_NAME = re.compile(r".*\.[A-Za-z]\w{0,9}")


def _words(value: object) -> object:
    """Return a command as a list of texts: numbers may stand in it, and a text is split."""
    if isinstance(value, str):
        return _split(value)
    if not isinstance(value, list):
        return value
    return [str(w) if isinstance(w, int | float) and not isinstance(w, bool) else w for w in value]


def _split(text: str) -> list[str]:
    quoted = shlex.shlex(text)  # keeps the quotes
    quoted.whitespace_split, quoted.commenters = True, ""
    try:
        words, bare = shlex.split(text), _OPERATORS.intersection(quoted)
    except ValueError as error:
        raise ValueError(
            f"expected words as a shell splits them, got {text!r:.60}: {str(error).lower()}"
        ) from None
    if bare:
        raise ValueError(
            f"no shell runs this: '{min(bare)}' would be a plain word; quote it if it is one, "
            "or set data.shell: true"
        )
    return words


def _template(text: str) -> str:
    try:
        names(text)
    except TemplateError as error:
        raise ValueError(str(error)) from None
    return text


def _known_file(text: str, info: ValidationInfo) -> str:
    """Return a word that names a file beside the configuration as an absolute path."""
    folder = (info.context or {}).get("folder")
    is_name = "/" in text or _FILE_NAME.fullmatch(text)
    if folder is None or text.startswith("-") or names(text) or not is_name:
        return text
    path = Path(folder) / Path(text).expanduser()
    return os.path.abspath(path) if path.exists() else text


Template = Annotated[str, AfterValidator(_template)]
Words = Annotated[
    list[Annotated[Template, AfterValidator(_known_file)]],
    BeforeValidator(_words, json_schema_input_type=str | list[str | int | float]),
    Field(min_length=1),
]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class MetricSection(_Section):
    """Where a metric is read from: one of `command`, `file`, `stdout` and `stderr`.

    Attributes
    ----------
    direction : {"maximize", "minimize"}
    command : list of str
        Its standard output is read; off the clock.
    file : str
        A file that the tuned command writes.
    stdout, stderr : bool
        What the tuned command writes there.
    json : str
        The number's path in a JSON text: ``scores.recall``, ``0.value``.
    regex : str
        A pattern with one group; the first match counts. Without both the text is the number.
    """

    direction: Direction = "maximize"
    command: Words | None = None
    file: Template | None = None
    stdout: bool = False
    stderr: bool = False
    json_path: str | None = Field(default=None, alias="json")
    regex: str | None = None

    @model_validator(mode="after")
    def _one_source(self) -> MetricSection:
        given = [bool(self.command), bool(self.file), self.stdout, self.stderr]
        if sum(given) != 1:
            raise ValueError("expected one of command, file, stdout: true and stderr: true")
        if self.json_path is not None and self.regex is not None:
            raise ValueError("expected json or regex, got both")
        try:
            groups = re.compile(self.regex or "()").groups
        except re.error as error:
            raise InputError(f"not a pattern: {error}", ("regex",)) from None
        if groups != 1:
            raise InputError(f"expected a pattern with one group, got {groups}", ("regex",))
        return self


Case = dict[str, Value]


class DataSection(_Section):
    """The program, and what it is run on.

    Attributes
    ----------
    command : list of str, or str
        The command line, with placeholders: keys of the case, parameters, ``{output}``,
        ``{seed}``, ``{threads}`` and ``{python}``.
    shell : bool
        Whether `command` is a text for ``/bin/sh``; every value is quoted.
    stdout : str, optional
        The file that standard output goes to.
    cases, held_out : list of mapping
        ``name`` and any keys. A text that names a file or a folder, relative to the configuration,
        is one.
    texts : list of str
        Keys whose values are never files.
    metrics : mapping
        See `MetricSection`; the first is the one that the score is made from.
    baseline : mapping, optional
        The reference params.
    flags : mapping
        Parameter to the words that it stands for, unless it is false or null.
    env : mapping
        Environment variables beside those that there are.
    workdir : Path, optional
        The command's working folder; one of its own by default.
    ok_exit_codes : list of int
    success_file : str, optional
        A file that is there after a run that succeeded.
    """

    command: Words
    shell: bool = False
    stdout: Template | None = None
    cases: list[Case] = Field(min_length=1)
    held_out: list[Case] = []
    texts: list[str] = []
    metrics: dict[str, MetricSection] = {}
    baseline: dict[str, Value] | None = None
    flags: dict[str, Words] = {}
    env: dict[Annotated[str, Field(pattern=r"^[A-Za-z_]\w*$")], Template] = {}
    workdir: InputPath | None = None
    ok_exit_codes: list[int] = [0]
    success_file: Template | None = None

    @model_validator(mode="before")
    @classmethod
    def _read(cls, data: Any, info: ValidationInfo) -> Any:
        """Keep a shell's text in one piece; find the files that cases name."""
        if not isinstance(data, dict):
            return data
        found, command = dict(data), data.get("command")
        if data.get("shell") is True:
            found["command"] = [command] if isinstance(command, str) else command
        folder = (info.context or {}).get("folder")
        for key in ("cases", "held_out"):
            if folder is not None and isinstance(data.get(key), list):
                texts = data.get("texts") or ()
                found[key] = [
                    _resolved(case, texts, Path(folder), (key, place), may_lack(info))
                    for place, case in enumerate(data[key])
                ]
        return found

    @model_validator(mode="after")
    def _consistent(self) -> DataSection:
        if self.shell and len(self.command) > 1:
            raise InputError("with shell: true expected one text, got a list", ("command",))
        for name, metric in self.metrics.items():
            if metric.stdout and self.stdout:
                message = f"standard output goes to a file; use file: {self.stdout!r}"
                raise InputError(message, ("metrics", name, "stdout"))
            if name in TAKEN:
                raise InputError(
                    f"'{name}' is measured anyway; call it otherwise", ("metrics", name)
                )
        return self

    @property
    def program(self) -> str:
        """The program's name, for messages."""
        first = self.command[0].split()[0] if self.shell else self.command[0]
        return os.path.basename(first).strip("{}")

    @property
    def is_python(self) -> bool:
        """Whether the interpreter itself runs: ``{python} program.py``."""
        return self.command[0] == "{python}" and not self.shell

    def is_file(self, key: str, value: Value) -> bool:
        """Whether a value of a case is the path of a file or a folder."""
        plain = key == "name" or key in self.texts
        return not plain and isinstance(value, str) and os.path.isabs(value)


def _resolved(
    case: Any, texts: Sequence[str], folder: Path, key: tuple[str | int, ...], may_lack: bool
) -> Any:
    """Return a case with absolute paths where its values name files."""
    if not isinstance(case, dict):
        return case
    found = dict(case)
    for name, value in case.items():
        if not isinstance(value, str) or not value or name == "name" or name in texts:
            continue
        path = folder / Path(value).expanduser()
        if path.exists():
            found[name] = os.path.abspath(path)
        elif not may_lack and ("/" in value or _FILE_NAME.fullmatch(value)):
            raise InputError(
                f"no such file or folder: {path}; for a text that is none: data.texts: [{name}]",
                (*key, name),
            )
    return found
