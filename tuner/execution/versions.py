"""Versions that must be the same wherever trials of one study run."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version

from tuner.export.provenance import DISTRIBUTION
from tuner.plugin.registry import installed


def packages_of(plugin: str) -> set[str]:
    """Return the packages that run trials of a plug-in: the engine and what has the plug-in."""
    return {DISTRIBUTION, *(entry.package for entry in installed() if entry.name == plugin)}


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Return the versions of Python and of some packages; empty where one is not installed."""
    found = {"Python": ".".join(platform.python_version_tuple()[:2])}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = ""
    return found


def difference(wanted: Mapping[str, str], there: Mapping[str, str], of: str) -> str | None:
    """Return in what `there` differs from what is `wanted`, the versions of `of`; None if in none.

    Examples
    --------
    >>> difference({"Python": "3.11", "toy": "1.0"}, {"Python": "3.11"}, "the coordinator")
    'it has no toy, and the coordinator 1.0'
    """
    for name, here in wanted.items():
        if (found := there.get(name)) != here:
            return f"it has {f'{name} {found}' if found else f'no {name}'}, and {of} {here}"
    return None
