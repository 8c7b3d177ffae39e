"""A function of this Python session, pickled for the workers, which could not import it.

cloudpickle takes lambdas, closures and what a notebook or ``__main__`` defines by value. (A fork
would not do: the kernel of a notebook has threads, and whatever they lock would stay locked.) The
bytes go through the pipe to a worker and nowhere else: no file is ever unpickled.
"""

from __future__ import annotations

import dis
import hashlib
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Set
from contextlib import suppress
from functools import partial
from types import CodeType, FunctionType, MethodType
from typing import Any

import cloudpickle

from tuner.plugin import InputError

_PLAIN = (str, bytes, int, float, complex, type(None), type(Ellipsis))


class PickledFunction:
    """A function of this session: called here as it is, by its bytes in a worker.

    Attributes
    ----------
    name : str
        ``module:name@VERSION-DIGEST``: what the study knows it by. The digest is that of
        `digest`, VERSION that of Python, whose compiled code it is of.
    function : callable or None
        The function, in the process that it comes from.
    """

    def __init__(
        self, name: str, pickled: bytes, path: tuple[str, ...], function: Any = None
    ) -> None:
        self.name, self.function = name, function
        self._pickled, self._path = pickled, path

    @classmethod
    def of(cls, function: Callable[..., Any]) -> PickledFunction:
        """Pickle a function; raise ValueError, in one line, where it holds what cannot be sent."""
        try:
            pickled = cloudpickle.dumps(function)
        except Exception as error:  # noqa: BLE001 - whatever an object in it raises
            why = (str(error).splitlines() or [type(error).__name__])[0]
            raise ValueError(
                f"the function cannot be sent to a worker process: {why}; make that inside of the "
                "function, or tune an importable one: plugin: function"
            ) from None
        inner = function.func if isinstance(function, partial) else function
        module = getattr(inner, "__module__", None) or "builtins"
        called = getattr(inner, "__qualname__", type(inner).__qualname__)
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        name = f"{module}:{called}@{version}-{digest(function)}"
        return cls(name, pickled, tuple(map(os.path.abspath, sys.path)), function)

    def __reduce__(self) -> tuple[Any, ...]:
        """Leave the function itself behind."""
        return type(self), (self.name, self._pickled, self._path)

    def __str__(self) -> str:
        """Return the name."""
        return self.name

    def load(self) -> Callable[..., Any]:
        """Return the function; raise `InputError` where it cannot be made again here."""
        if self.function is None:
            sys.path += [folder for folder in self._path if folder not in sys.path]
            try:
                self.function = cloudpickle.loads(self._pickled)
            except Exception as error:  # noqa: BLE001 - what it imports may raise anything
                why = f"{type(error).__name__}: {error}"
                raise InputError(
                    f"data.function: {self.name} cannot be made in a worker: {why}"
                ) from error
        found: Callable[..., Any] = self.function
        return found


def digest(function: Any) -> str:
    """Return the hash of what a function does, equal in every session that defines it alike.

    It covers the compiled code, so neither comments nor places; default arguments; and of what the
    code refers to, numbers, texts, collections of these, and functions, classes and objects of the
    same module. Other data (arrays, tables) is known by its type alone.

    Examples
    --------
    >>> digest(lambda x: x + 1) == digest(lambda x:  x + 1)
    True
    >>> digest(lambda x: x + 1) == digest(lambda x: x + 2)
    False
    """
    inner = function.func if isinstance(function, partial) else function
    text = "\n".join(_parts(function, getattr(inner, "__module__", None), set(), frozenset()))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _parts(value: Any, own: str | None, seen: set[int], above: frozenset[int]) -> Iterator[str]:
    """Yield texts that a value is told by.

    Parameters
    ----------
    value
        Anything.
    own : str or None
        The module whose functions, classes and objects are looked into.
    seen : set of int
        Those that were looked into, by their ids: they live on.
    above : frozenset of int
        Collections that the value is in: others may be gone, and their ids given away.
    """
    if isinstance(value, _PLAIN):
        yield repr(value)
    elif id(value) in seen or id(value) in above:
        yield "again"
    elif isinstance(value, Mapping | list | tuple | set | frozenset):
        each, within = value.items() if isinstance(value, Mapping) else value, above | {id(value)}
        told = ["\n".join(_parts(one, own, seen, within)) for one in each]
        yield f"{type(value).__name__} {sorted(told) if isinstance(value, Set) else told}"
    else:
        named = value if hasattr(value, "__qualname__") else type(value)
        yield f"{getattr(named, '__module__', '')}.{named.__qualname__}"
        if inside := _inside(value, own):
            seen.add(id(value))
            yield from _parts(inside, own, seen, above)


def _inside(value: Any, own: str | None) -> tuple[Any, ...]:
    """Return what decides what a value does; nothing where that is not looked at."""
    if isinstance(value, CodeType):
        count = value.co_argcount + value.co_kwonlyargcount
        return value.co_code, value.co_names, value.co_varnames[:count], value.co_consts
    if isinstance(value, partial):
        return value.func, value.args, value.keywords
    if isinstance(value, MethodType):
        return value.__func__, value.__self__
    if isinstance(value, FunctionType) and value.__module__ == own:
        used = {name: value.__globals__.get(name) for name in sorted(_globals(value.__code__))}
        cells = list(_contents(value))
        return value.__code__, value.__defaults__, value.__kwdefaults__, cells, used
    if isinstance(value, type) and value.__module__ == own:
        parts = vars(value).items()
        return ({k: v for k, v in parts if callable(v) or not k.startswith("__")}, value.__bases__)
    if type(value).__module__ == own:
        return type(value), getattr(value, "__dict__", {})
    return ()


def _globals(code: CodeType) -> set[str]:
    """Return the names of globals that code reads, that of functions inside of it as well."""
    found = {str(each.argval) for each in dis.get_instructions(code) if "GLOBAL" in each.opname}
    inner = (each for each in code.co_consts if isinstance(each, CodeType))
    return found.union(*map(_globals, inner))


def _contents(function: FunctionType) -> Iterator[Any]:
    """Yield what a closure holds, as far as that is set by now."""
    for cell in function.__closure__ or ():
        with suppress(ValueError):
            yield cell.cell_contents
