"""Errors of a configuration: one line with the file, the line, the key and a remedy."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar, get_origin

from pydantic import BaseModel, ValidationError

from tuner.config.addresses import masked
from tuner.config.yaml import Document, Key
from tuner.plugin import InputError
from tuner.plugin.switches import misread
from tuner.plugin.words import did_you_mean, in_words, shown

T = TypeVar("T")

_ONE_SET = "is gone, it gained too little: a script has one set of params; remove it"
GONE: Mapping[Key, str] = {
    ("choice",): "is now export.select: best or one_standard_error; rename it",
    ("export", "choice"): "is now export.select: best, or smoothed for neighbours; rename it",
    ("timing", "per_case"): _ONE_SET,
}
"""Keys of earlier versions, and what to do about them."""


_LENGTHS = {
    "too_short": ("at least", "min_length"),
    "string_too_short": ("at least", "min_length"),
    "too_long": ("at most", "max_length"),
    "string_too_long": ("at most", "max_length"),
}
"""Kinds of pydantic's errors about a length, in words and where the bound stands."""


def validated(
    model: type[Any],
    data: Mapping[str, Any],
    document: Document,
    folder: Path | None = None,
    also: type[BaseModel] | None = None,
    absent: bool = False,
) -> Any:
    """Return sections as a model; `also` has further keys, and files may be `absent`."""
    found = dict(misread(model, data))
    try:
        made = model.model_validate(data, context={"folder": folder, "absent": absent})
        if not found:
            return made
    except ValidationError as error:
        for each in error.errors():
            key, message = _described(model, tuple(each["loc"]), each, document, also)
            # What one value could be, each kind with its own complaint, is told once.
            if not any(_is_part(key, told) or _is_part(told, key) for told in found):
                found[key] = message
    raise InputError("\n".join(str(error_at(document, *item)) for item in found.items()))


def _is_part(key: Key, whole: Key) -> bool:
    return key[: len(whole)] == whole


def _described(
    model: type[BaseModel],
    key: Key,
    detail: Mapping[str, Any],
    document: Document,
    also: type[BaseModel] | None,
) -> tuple[Key, str]:
    """Turn a pydantic error into the key of the file it is about and a sentence."""
    kind, got = detail["type"], detail.get("input")
    given, key = key, ()
    for part in given[:-1]:  # pydantic's names of what a value could be stand nowhere
        key = (*key, part) if _stands(document.data, (*key, part)) else key
    if not key or kind == "missing" or _stands(document.data, (*key, *given[-1:])):
        key = (*key, *given[-1:])
    if kind == "extra_forbidden":
        return unknown_key(model, key, also)
    if kind == "missing":
        return key, f"'{'.'.join(map(str, key))}' is missing; it is required"
    message = str(detail["msg"]).removeprefix("Value error, ")
    if kind == "value_error":
        return (*key, *getattr(detail["ctx"]["error"], "key", ())), message
    if kind in _LENGTHS:
        return key, _length_problem(key, detail)
    came = "nothing: fill it in, or remove the key" if got is None else masked(shown(got))
    return key, f"{in_words(message)}, got {came:.80}"


def _length_problem(key: Key, detail: Mapping[str, Any]) -> str:
    """Return what is wrong with the length of a list or a text; its key names what it holds."""
    side, limit = _LENGTHS[detail["type"]]
    got, bound = detail["input"], detail["ctx"][limit]
    what = "characters" if isinstance(got, str) else str(key[-1])
    what = what if what.endswith("s") else "items"
    number = "one" if bound == 1 else f"{bound:,}"
    named = what.removesuffix("s") if bound == 1 else what
    return f"expected {side} {number} {named}, got {len(got) or 'none'}"


def _stands(data: Any, key: Key) -> bool:
    for part in key:
        try:
            data = data[part]
        except (KeyError, IndexError, TypeError):
            return False
    return True


def unknown_key(
    model: type[BaseModel], key: Key, also: type[BaseModel] | None = None
) -> tuple[Key, str]:
    """Return a key that neither model knows, and what to do about it."""
    if key in GONE:
        return key, GONE[key]
    names = [name for part in (also, model) if part for name in _names_beside(part, key)]
    if not names:
        return key, f"unknown key '{key[-1]}'; remove it"
    hint = did_you_mean(str(key[-1]), names)
    expected = ", ".join(dict.fromkeys(names))
    return key, f"unknown key '{key[-1]}'; expected one of: {expected}{hint}"


def _names_beside(model: type[BaseModel], key: Key) -> list[str]:
    """Return the names that the parent of `key` has in a model; none where it has no such part."""
    at: Any = model
    under_names = False  # of the user's own, as a mapping's
    for part in key[:-1]:
        if isinstance(part, int) or under_names:
            under_names = False
            continue
        if at is None or part not in at.model_fields:
            return []
        annotation = at.model_fields[part].annotation
        at, under_names = _inner_model(annotation), get_origin(annotation) in (dict, Mapping)
    return [field.alias or name for name, field in at.model_fields.items()] if at else []


def _inner_model(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        if (found := _inner_model(argument)) is not None:
            return found
    return None


class Mistakes:
    """What parts that stand apart find wrong, to be told as one error, in the file's order."""

    def __init__(self, document: Document) -> None:
        self.document, self.lines = document, list[str]()
        self._last: InputError | None = None

    def of(self, call: Callable[..., T], *args: Any) -> T | None:
        """Return what a function returns; None, and keep what it says, where it finds mistakes."""
        try:
            return call(*args)
        except InputError as error:
            self._last = error
            self.lines += str(error).splitlines()
            return None

    def add(self, key: Key, message: str) -> None:
        """Keep what is wrong with the value at `key`."""
        self.lines.append(str(error_at(self.document, key, message)))

    def tell(self) -> None:
        """Raise `InputError` where there are any; a single one as it came, for it has a class."""
        if self._last is not None and self.lines == str(self._last).splitlines():
            raise self._last
        if self.lines:
            raise InputError("\n".join(sorted(dict.fromkeys(self.lines), key=self._line)))

    def _line(self, told: str) -> int:
        place = re.match(r", line (\d+): ", told.removeprefix(str(self.document.path)))
        return int(place[1]) if place else 0


def at_key(document: Document, key: Key, call: Any, *args: Any) -> Any:
    """Call a function; what it finds wrong is an error of the value at `key`, or at its own."""
    try:
        return call(*args)
    except InputError as error:
        raise error_at(document, error.key or key, str(error)) from error.__cause__


def error_at(document: Document, key: Key, message: str) -> InputError:
    """Return an error of the value at `key`, with the place where it stands.

    The key is not said twice: of "executor 'dask', option ..." at ``executor`` its name is left.
    """
    dotted = ".".join(map(str, key))
    message = message.removeprefix(f"{dotted}: ")
    if key and message.startswith(f"{key[-1]} '"):
        message = message.removeprefix(f"{key[-1]} ")
    return InputError(f"{document.where(key)}: {dotted}: {message}")
