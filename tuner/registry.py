"""Plug-ins and simulators by name, from the entry points of installed packages."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
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
        for point in _points(group).values()
    ]


def plugin_class(name: str) -> type[Plugin[Any]]:
    """Import the plug-in called `name`.

    Raises
    ------
    InputError
        Where none is installed under that name, where a package that it needs is missing, or where
        the entry point is not a `Plugin`.
    """
    loaded = _load(PLUGINS, "plug-in", name)
    if not (isinstance(loaded, type) and issubclass(loaded, Plugin)):
        target = _points(PLUGINS)[name].value
        raise InputError(f"plug-in '{name}': {target} is no subclass of tuner.plugin.Plugin")
    return loaded


def simulator(name: str) -> Simulator:
    """Import the simulator called `name`; errors as in `plugin_class`."""
    loaded: Simulator = _load(SIMULATORS, "simulator", name)
    return loaded


def _points(group: str) -> Mapping[str, EntryPoint]:
    return {point.name: point for point in sorted(entry_points(group=group), key=lambda p: p.name)}


def _load(group: str, kind: str, name: str) -> Any:
    points = _points(group)
    if name not in points:
        close = difflib.get_close_matches(name, points, n=1)
        hint = f"; did you mean '{close[0]}'?" if close else ""
        names = ", ".join(points) or "none"
        raise InputError(f"no {kind} called '{name}'; installed: {names}{hint}")
    point = points[name]
    try:
        return point.load()
    except ModuleNotFoundError as error:
        package = point.dist.name if point.dist else point.value
        raise InputError(
            f"{kind} '{name}' needs the package '{error.name}', which is not installed; "
            f'try: pip install "{package}[{name}]"'
        ) from error
