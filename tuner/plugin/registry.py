"""Plug-ins, simulators, samplers and executors by name, from installed packages."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import Distribution, EntryPoint, distribution, entry_points
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tuner.plugin import InputError, Plugin
from tuner.plugin.options import checked_options, options_of, validated_options
from tuner.plugin.words import did_you_mean

PLUGINS = "tuner.plugins"
SIMULATORS = "tuner.simulators"
SAMPLERS = "tuner.samplers"
EXECUTORS = "tuner.executors"

LOCAL = "local"
BUILT_IN = {EXECUTORS: {LOCAL: "tuner.execution.local:LocalExecutor"}}
"""The engine's own, by group, name and place: there whatever is installed."""

Simulator = Callable[..., Any]
"""``simulate(folder: Path, *, seed: int, **options)``: its options are its keyword arguments.

It raises ValueError, in one line, for an option that makes no sense.
"""


@dataclass(frozen=True)
class Entry:
    """An installed plug-in, not yet imported.

    Attributes
    ----------
    name, package, version, target : str
    missing : tuple of str
        Packages that it needs and that are not installed.
    remedy : str
        The command that installs them; empty where nothing is missing.
    """

    name: str
    package: str
    version: str
    target: str
    missing: tuple[str, ...]
    remedy: str


def installed(group: str = PLUGINS) -> list[Entry]:
    """List what is installed in `group` by name, without importing any of it."""
    return [_entry(point) for points in _points(group).values() for point in points]


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


def executor(kind: str, options: Mapping[str, Any]) -> Callable[..., Any]:
    """Return what makes an executor of that kind; errors as in `plugin_class`.

    It is called as `tuner.execution.local.LocalExecutor` is: with the setup, the number of slots,
    the seconds that a case may take and the bytes that a worker may hold. Its options are its other
    arguments, keyword-only, or those of its pydantic model `Options`; its `probe` may refuse them.
    """
    found, what = load(EXECUTORS, "executor", kind), f"executor '{kind}'"
    if not callable(found):
        raise InputError(f"{what} is no class: {found!r:.60}")
    if model := getattr(found, "Options", None):
        return partial(found, options=validated_options(what, model, options))
    return partial(found, **checked_options(what, options_of(found), options))


def load(group: str, kind: str, name: str) -> Any:
    """Import what `name` stands for in `group`: an entry point, or ``package.module:Class``."""
    target = BUILT_IN.get(group, {}).get(name) or (name if ":" in name else None)
    if target is None:
        return _load(group, kind, name)[1]
    if not all(part.isidentifier() for part in target.replace(":", ".").split(".")):
        raise InputError(f"{kind} '{name}': expected package.module:Class")
    return _import(EntryPoint(name, target, group), f"{kind} '{name}'")


def names(group: str) -> list[str]:
    """Return what `group` has by name: the engine's own, then what is installed."""
    return [*BUILT_IN.get(group, {}), *_points(group)]


def _points(group: str) -> Mapping[str, Sequence[EntryPoint]]:
    """Return the entry points by name; several under one name name different objects."""
    found: dict[str, dict[str, EntryPoint]] = {}
    for point in sorted(entry_points(group=group), key=lambda point: point.name):
        found.setdefault(point.name, {}).setdefault(_target(point), point)
    return {name: list(points.values()) for name, points in found.items()}


def _origin(point: EntryPoint) -> str:
    package = point.dist.name if point.dist else "an unknown package"
    return f"{package}, {_target(point)}"


def _target(point: EntryPoint) -> str:
    return point.value.partition("[")[0].strip()


def _entry(point: EntryPoint) -> Entry:
    target = _target(point)
    if point.dist is None:
        return Entry(point.name, "?", "?", target, (), "")
    package = point.dist.name
    missing = tuple(
        name for extra in point.extras for name in _needs(point.dist, extra) if _is_absent(name)
    )
    remedy = f'pip install "{package}[{",".join(point.extras)}]"' if missing else ""
    return Entry(point.name, package, point.dist.version, target, missing, remedy)


def _needs(package: Distribution, extra: str) -> list[str]:
    """Return the names of the packages that `extra` adds to those that `package` needs anyway."""
    requirements = [Requirement(text) for text in package.requires or []]
    return [
        r.name
        for r in requirements
        if r.marker and r.marker.evaluate({"extra": extra}) and not r.marker.evaluate({"extra": ""})
    ]


def extras_lacking(package: str) -> dict[str, list[str]]:
    """Return every extra of an installed package with what it needs and is not installed."""
    found = distribution(package)
    extras = found.metadata.get_all("Provides-Extra") or []
    return {extra: [n for n in _needs(found, extra) if _is_absent(n)] for extra in extras}


def _is_absent(name: str) -> bool:
    return not any(True for _ in Distribution.discover(name=name))


def remedy_for(module: str) -> str | None:
    """Return the command that installs `module`; None where no package of plug-ins declares it.

    It names the smallest extra that has it.
    """
    name = canonicalize_name(module.partition(".")[0])
    points = [*entry_points(group=PLUGINS), *entry_points(group=SIMULATORS)]
    packages = {point.dist.name: point.dist for point in points if point.dist}
    offers = [
        (len(needs), f'pip install "{package.name}[{extra}]"')
        for package in packages.values()
        for extra in package.metadata.get_all("Provides-Extra") or []
        if name in map(canonicalize_name, needs := _needs(package, extra))
    ]
    return min(offers)[1] if offers else None


def _load(group: str, kind: str, name: str) -> tuple[EntryPoint, Any]:
    points = _points(group)
    if name not in points:
        known = names(group)
        hint = did_you_mean(name, known)
        raise InputError(
            f"no {kind} called '{name}'; installed: {', '.join(known) or 'none'}{hint}"
        )
    point, *others = points[name]
    if others:
        origins = " and ".join(f"({_origin(each)})" for each in points[name])
        raise InputError(
            f"two packages offer a {kind} called '{name}': {origins}; uninstall all but one"
        )
    where = f"{kind} '{name}' ({_origin(point)})"
    entry = _entry(point)
    if entry.missing:
        packages = f"package{'s' * (len(entry.missing) > 1)} {', '.join(entry.missing)}"
        raise InputError(f"{where} needs the {packages}, not installed: {entry.remedy}")
    return point, _import(point, where)


def _import(point: EntryPoint, where: str) -> Any:
    """Import an entry point; one line where that fails."""
    try:
        return point.load()
    except ModuleNotFoundError as error:
        raise InputError(
            f"{where} needs the package '{error.name}', which is not installed: "
            f"{remedy_for(error.name or '') or 'install it in the same environment'}"
        ) from error
    except Exception as error:  # noqa: BLE001 - whatever a module may raise when it is imported
        first = (str(error).splitlines() or [""])[0]
        raise InputError(
            f"{where} cannot be loaded: {type(error).__name__}: {first}; "
            f"to see where: python -c 'import {point.module}'"
        ) from error


def simulate(name: str, folder: Path, seed: int, options: Mapping[str, Any]) -> None:
    """Run simulator `name` into `folder`, which appears only once it is whole.

    Parameters
    ----------
    name : str
        As registered under ``tuner.simulators``.
    folder : Path
        Must not exist yet; its parents are made.
    options : mapping
        Keyword arguments; text is converted to what the signature asks for.

    Raises
    ------
    InputError
        For an unknown simulator or option, a wrong value, or a folder that exists.
    """
    call = simulator(name)
    checked = checked_options(f"simulator '{name}'", options_of(call), options)
    if folder.exists():
        raise InputError(f"{folder} exists; give another folder, or remove it first")
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        try:
            call(temporary, seed=seed, **checked)
        except ValueError as error:  # by contract about an option: see `registry.Simulator`
            raise InputError(f"simulator '{name}': {error}") from error
        temporary.chmod(0o755)
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
