"""Plug-ins and simulators by name, from the entry points of installed packages."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from tuner.plugin import InputError, Plugin

PLUGINS = "tuner.plugins"
SIMULATORS = "tuner.simulators"

Simulator = Callable[..., Any]
"""``simulate(folder: Path, *, seed: int, **options)``: its options are its keyword arguments.

It raises ValueError, in one line, for an option that makes no sense.
"""


@dataclass(frozen=True)
class Entry:
    """An installed plug-in, not yet imported."""

    name: str
    package: str
    version: str
    target: str


def installed(group: str = PLUGINS) -> list[Entry]:
    """List what is installed in `group` by name, without importing any of it."""
    return [
        Entry(
            point.name,
            point.dist.name if point.dist else "?",
            point.dist.version if point.dist else "?",
            point.value,
        )
        for points in _points(group).values()
        for point in points
    ]


def plugin_class(name: str) -> type[Plugin[Any]]:
    """Import the plug-in called `name`.

    Raises
    ------
    InputError
        Where none is installed under that name or several are, where it cannot be imported, where a
        package that it needs is missing, or where the entry point is no whole `Plugin`. The message
        names plug-in, package and entry point.
    """
    point, loaded = _load(PLUGINS, "plug-in", name)
    where = f"plug-in '{name}' ({_origin(point)})"
    if not (isinstance(loaded, type) and issubclass(loaded, Plugin)):
        raise InputError(f"{where} is no subclass of tuner.plugin.Plugin")
    lacking = sorted(loaded.__abstractmethods__)
    lacking += [part for part in ("name", "Config", "metrics") if not hasattr(loaded, part)]
    if lacking:
        raise InputError(f"{where} lacks {', '.join(lacking)}; see tuner.plugin.Plugin")
    return loaded


def simulator(name: str) -> Simulator:
    """Import the simulator called `name`; errors as in `plugin_class`."""
    _, loaded = _load(SIMULATORS, "simulator", name)
    if not callable(loaded):
        raise InputError(f"simulator '{name}' is no function: {loaded!r:.60}")
    found: Simulator = loaded
    return found


def _points(group: str) -> Mapping[str, Sequence[EntryPoint]]:
    """Return the entry points by name; several under one name are of several packages."""
    found: dict[str, dict[str, EntryPoint]] = {}
    for point in sorted(entry_points(group=group), key=lambda point: point.name):
        found.setdefault(point.name, {}).setdefault(_origin(point), point)
    return {name: list(points.values()) for name, points in found.items()}


def _origin(point: EntryPoint) -> str:
    package = point.dist.name if point.dist else "an unknown package"
    return f"{package}, {point.value}"


def _load(group: str, kind: str, name: str) -> tuple[EntryPoint, Any]:
    points = _points(group)
    if name not in points:
        close = difflib.get_close_matches(name, points, n=1)
        hint = f"; did you mean '{close[0]}'?" if close else ""
        names = ", ".join(points) or "none"
        raise InputError(f"no {kind} called '{name}'; installed: {names}{hint}")
    point, *others = points[name]
    if others:
        origins = " and ".join(f"({_origin(each)})" for each in points[name])
        raise InputError(
            f"two packages offer a {kind} called '{name}': {origins}; uninstall all but one"
        )
    where = f"{kind} '{name}' ({_origin(point)})"
    try:
        return point, point.load()
    except ModuleNotFoundError as error:
        package = point.dist.name if point.dist else point.value
        raise InputError(
            f"{where} needs the package '{error.name}', which is not installed; "
            f'try: pip install "{package}[{name}]"'
        ) from error
    except Exception as error:  # noqa: BLE001 - whatever a module may raise when it is imported
        first = (str(error).splitlines() or [""])[0]
        raise InputError(
            f"{where} cannot be loaded: {type(error).__name__}: {first}; "
            f"to see where: python -c 'import {point.module}'"
        ) from error
