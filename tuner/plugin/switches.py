"""True and false where a number is expected: pydantic would take them for 1 and 0."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel, BeforeValidator, PlainValidator, WrapValidator

from tuner.plugin.words import shown

Key = tuple[str | int, ...]

_NUMBERS = {int: "a whole number", float: "a number"}
_OWN = (BeforeValidator, PlainValidator, WrapValidator)
"""What sees a value before pydantic does, and refuses it itself."""


def misread(kind: Any, value: Any) -> Iterator[tuple[Key, str]]:
    """Yield the place of each switch that is no number, and what was expected there.

    Parameters
    ----------
    kind : type or annotation
        What `value` will be validated as: a model, a data class, a list of numbers, ...
    value : object
        Plain data, as a file has it.

    Examples
    --------
    >>> list(misread(list[float], [1.5, True]))
    [((1,), 'expected a number, got true')]
    """
    kinds = list(_kinds(kind))
    if isinstance(value, bool):
        expected = next((word for number, word in _NUMBERS.items() if number in kinds), None)
        if expected and not {bool, Any, object} & set(kinds):
            yield (), f"expected {expected}, got {shown(value)}"
        return
    is_mapping, entries = isinstance(value, Mapping), list[tuple[Any, Any]]()
    if is_mapping or isinstance(value, list | tuple):
        entries = list(value.items() if is_mapping else enumerate(value))
    for each in kinds:
        inner = _fields(each) if is_mapping else {}
        for name, entry in entries:
            part = inner.get(name) if inner else _item(each, name, is_mapping)
            if part is not None:
                yield from (((name, *key), said) for key, said in misread(part, entry))


def _kinds(kind: Any) -> Iterator[Any]:
    """Yield what an annotation stands for, without `Annotated` and unions."""
    origin, args = get_origin(kind), get_args(kind)
    if origin is Annotated:
        is_own = any(isinstance(each, _OWN) for each in args[1:])
        yield from [Any] if is_own else _kinds(args[0])
    elif origin in (Union, UnionType):
        for each in args:
            yield from _kinds(each)
    else:
        yield kind


def _fields(kind: Any) -> Mapping[str, Any]:
    """Return the fields of a model or of a data class, by the names that a file has for them."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return {
            field.alias or name: Annotated[(field.annotation, None, *field.metadata)]
            for name, field in kind.model_fields.items()
        }
    return get_type_hints(kind, include_extras=True) if dataclasses.is_dataclass(kind) else {}


def _item(kind: Any, place: Any, is_mapping: bool) -> Any:
    """Return what a list or a mapping holds at a place; None where it is neither, or says not."""
    args, origin = get_args(kind), get_origin(kind)
    if not isinstance(origin, type) or issubclass(origin, Mapping) is not is_mapping:
        return None
    if is_mapping:
        return args[1]
    if origin is tuple and args[-1] is not Ellipsis:
        return args[place] if place < len(args) else None
    return args[0]
