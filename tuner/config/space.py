"""The search space: from the plug-in's own and the YAML section to Optuna distributions."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from tuner.config.own_space import check_keys
from tuner.plugin import InputError, Params, Plugin, Value
from tuner.plugin.words import did_you_mean

LARGEST = 1e300
"""Numbers beyond it overflow where a range is measured."""


class SpaceError(InputError):
    """A wrong entry of the search space; `key` is its path below ``search_space``."""

    def __init__(self, key: tuple[str | int, ...], message: str) -> None:
        super().__init__(message, key)


class _NoLogScale(SpaceError):
    """A range on a log scale that begins at `low`, 0 or less."""

    def __init__(self, name: str, low: float) -> None:
        message = f"expected low > 0 on a log scale, got {low}; set log: false"
        super().__init__((name,), message)
        self.low = low


@dataclass(frozen=True)
class Space:
    """What the sampler draws, and what stays as it is.

    Attributes
    ----------
    searched : mapping
        Parameter name to Optuna distribution.
    fixed : mapping
        Every other parameter of the plug-in, with its value.
    remarks : mapping
        Parameter name to what a user should know of its range.
    """

    searched: Mapping[str, BaseDistribution]
    fixed: Params
    remarks: Mapping[str, str] = field(default_factory=dict)

    def complete(self, drawn: Params) -> dict[str, Value]:
        """Return every parameter: the drawn ones on top of the fixed ones."""
        return {**self.fixed, **drawn}

    def nearest(self, params: Params) -> dict[str, Value]:
        """Return what would be drawn for `params`, or for what the space has nearest to them."""
        return {name: nearest(params[name], dist) for name, dist in self.searched.items()}

    def express(self, params: Params) -> dict[str, Value]:
        """Return the same with numbers as they are, in range or not, where Optuna can hold them."""
        drawn = self.nearest(params)
        for name, dist in self.searched.items():
            value = params[name]
            if isinstance(dist, FloatDistribution | IntDistribution) and (
                isinstance(value, int | float) and (value > 0 or not dist.log)
            ):
                drawn[name] = value
        return drawn

    def defaults_of(self, plugin: Plugin[Any]) -> dict[str, Value] | None:
        """Return the plug-in's defaults as drawn; None if they equal its baseline or lack some."""
        defaults = plugin.defaults()
        if not self.searched.keys() <= defaults.keys():
            return None
        drawn = self.nearest(defaults)
        return None if self.complete(drawn) == plugin.baseline() else drawn

    def describe(self) -> dict[str, dict[str, Any]]:
        """Return the searched part as plain data."""
        return {name: _describe(dist) for name, dist in self.searched.items()}


def build_space(plugin: Plugin[Any], section: Mapping[str, Any] | None) -> Space:
    """Combine the plug-in's search space with the YAML section.

    Without a section the plug-in's whole space is searched. With one, exactly what it lists: a
    mapping gives a range (what it leaves out is the plug-in's), a list gives choices, a value fixes
    the parameter, ``{}`` takes the plug-in's own range. Everything else stays at its default.

    Raises
    ------
    SpaceError
        For an unknown name, a wrong type, an empty range, or a space with nothing to search.
    InputError
        Where the plug-in refuses a value.
    """
    known = dict(plugin.search_space())
    defaults = dict(plugin.defaults())
    searched: dict[str, BaseDistribution] = {}
    fixed: dict[str, Value] = {}
    if section is None:
        searched = known
    else:
        for name, entry in section.items():
            if name not in known and name not in defaults:
                raise SpaceError((name,), unknown_param(name, [*known, *defaults]))
            if entry is None:
                continue
            if isinstance(entry, dict | list):
                try:
                    searched[name] = _ranged(name, entry, known.get(name))
                except _NoLogScale as error:
                    _check_low(plugin, name, error.low)
                    raise
            else:
                fixed[name] = _fixed(name, entry, known.get(name))
    if not searched:
        raise SpaceError(
            (),
            "the search space is empty: expected at least one range, as in "
            f"'{next(iter(known), 'name')}: {{low: 1, high: 10}}'"
            + ("; leave the section out to search the plug-in's whole space" if known else ""),
        )
    rest = {name: value for name, value in {**defaults, **fixed}.items() if name not in searched}
    space = Space(searched, rest, _remarks(section or {}, searched, known))
    for corner in _corners(space):
        plugin.check(corner)
    return space


def _check_low(plugin: Plugin[Any], name: str, low: float) -> None:
    """Refuse, in its own words, an end that the plug-in takes on no scale: no advice is in vain."""
    try:
        plugin.check({**plugin.defaults(), name: low})
    except InputError as error:
        message = str(error).removeprefix(f"{name}: ")
        raise SpaceError((name,), f"{message}; on a log scale more than 0, too") from None


def nearest(value: Value, dist: BaseDistribution) -> Value:
    """Return the value of `dist` that is nearest to `value`: for a baseline outside of a range."""
    if isinstance(dist, CategoricalDistribution):
        return value if value in dist.choices else dist.choices[0]
    if isinstance(dist, FloatDistribution | IntDistribution) and isinstance(value, int | float):
        clipped = min(max(value, dist.low), dist.high)
        if dist.step is not None and not dist.log:
            clipped = dist.low + round((clipped - dist.low) / dist.step) * dist.step
        return int(clipped) if isinstance(dist, IntDistribution) else float(clipped)
    raise TypeError(f"cannot place {value!r} in {dist}")


def unknown_param(name: str, names: list[str]) -> str:
    """Return in a line that there is no such parameter, and which there are."""
    hint = did_you_mean(name, names)
    return f"unknown parameter '{name}'; the plug-in has: {', '.join(dict.fromkeys(names))}{hint}"


def _fixed(name: str, value: Any, own: BaseDistribution | None) -> Value:
    if isinstance(own, CategoricalDistribution):
        if value not in own.choices:
            raise SpaceError((name,), f"expected one of {list(own.choices)}, got {value!r}")
    elif isinstance(own, FloatDistribution | IntDistribution):
        return _number(name, value, own)
    if isinstance(value, float) and not math.isfinite(value):
        raise SpaceError((name,), f"expected a finite number, got {value!r}")
    if value is not None and not isinstance(value, str | int | float):
        raise SpaceError((name,), f"expected a number, a text, true or false, got {value!r}")
    checked: Value = value
    return checked


def _number(name: str, value: Any, own: BaseDistribution, key: tuple[str, ...] = ()) -> int | float:
    whole = isinstance(own, IntDistribution)
    if isinstance(value, bool) or not isinstance(value, int | float):
        expected = "a whole number" if whole else "a number"
        raise SpaceError((name, *key), f"expected {expected}, got {value!r}")
    if not abs(value) <= LARGEST:
        raise SpaceError((name, *key), f"expected a finite number, got {str(value)[:20]}")
    if whole and value != int(value):
        raise SpaceError((name, *key), f"expected a whole number, got {value!r}")
    return int(value) if whole else float(value)


def _ranged(name: str, entry: Any, own: BaseDistribution | None) -> BaseDistribution:
    if isinstance(entry, list):
        entry = {"choices": entry}
    if entry == {}:
        if own is None:
            raise SpaceError((name,), "has no range of its own; give a value or a list of choices")
        return own
    try:
        check_keys(name, entry)
    except InputError as error:
        raise SpaceError(error.key[1:], str(error)) from None
    if "choices" in entry:
        return _choices(name, entry, own)
    if isinstance(own, CategoricalDistribution) or own is None:
        offered = f" of {list(own.choices)}" if own is not None else ""
        raise SpaceError((name,), f"expected a value or a list{offered}, got a range")
    assert isinstance(own, FloatDistribution | IntDistribution)
    return _range(name, entry, own)


def _range(
    name: str, entry: Mapping[str, Any], own: FloatDistribution | IntDistribution
) -> BaseDistribution:
    low = _number(name, entry.get("low", own.low), own, ("low",))
    high = _number(name, entry.get("high", own.high), own, ("high",))
    if not low < high:
        raise SpaceError(
            (name,), f"expected low < high, got {low} and {high}; give one value to fix it"
        )
    step = entry.get("step", None if own.log or own.step == 1 else own.step)
    log = entry.get("log", own.log and step is None)
    if not isinstance(log, bool):
        raise SpaceError((name, "log"), f"expected true or false, got {log!r}")
    if log and low <= 0:
        raise _NoLogScale(name, low)
    if step is not None:
        step = _number(name, step, own, ("step",))
        if not 0 < step <= high - low:
            message = f"expected a step above 0 and at most {high - low:g}, got {step:g}"
            raise SpaceError((name, "step"), message)
        if log and (step != 1 or isinstance(own, FloatDistribution)):
            raise SpaceError((name, "step"), "a log scale has no step; drop one of the two")
        high = _last(low, high, step)
    if isinstance(own, IntDistribution):
        return IntDistribution(int(low), int(high), log=log, step=int(step or 1))
    return FloatDistribution(low, high, log=log, step=None if log else step)


def _last(low: float, high: float, step: float) -> float:
    """Return the largest value of a range with a step, in decimals, as they are written."""
    first, last, width = (Decimal(str(value)) for value in (low, high, step))
    return float(first + (last - first) // width * width)


def _remarks(
    section: Mapping[str, Any],
    searched: Mapping[str, BaseDistribution],
    known: Mapping[str, BaseDistribution],
) -> dict[str, str]:
    """Return, of each range that its step does not divide, the largest value tried."""
    found = {}
    for name, dist in searched.items():
        own, entry = known.get(name), section.get(name)
        if isinstance(dist, CategoricalDistribution) or not isinstance(entry, dict):
            continue
        assert isinstance(dist, FloatDistribution | IntDistribution)
        assert isinstance(own, FloatDistribution | IntDistribution)
        if dist.high != (high := entry.get("high", own.high)):
            found[name] = (
                f"{dist.step:g} does not divide {dist.low:g} to {high:g}; "
                f"the largest value tried is {dist.high:g}"
            )
    return found


def _choices(name: str, entry: Mapping[str, Any], own: BaseDistribution | None) -> BaseDistribution:
    choices = entry["choices"]
    if not isinstance(choices, list) or not choices or set(entry) != {"choices"}:
        raise SpaceError((name,), f"expected a list of at least one choice, got {entry!r}")
    values = [_fixed(name, choice, own) for choice in choices]
    if len(set(map(repr, values))) != len(values):
        raise SpaceError((name,), f"a choice is given twice in {choices!r}")
    return CategoricalDistribution(values)


def _corners(space: Space) -> Iterator[Params]:
    """Return the settings at the ends of every range, so that bad values show before the study."""
    for end in (0, -1):
        drawn: dict[str, Value] = {}
        for name, dist in space.searched.items():
            if isinstance(dist, CategoricalDistribution):
                drawn[name] = dist.choices[end]
            elif isinstance(dist, FloatDistribution | IntDistribution):
                drawn[name] = (dist.low, dist.high)[end]
        yield space.complete(drawn)


def _describe(dist: BaseDistribution) -> dict[str, Any]:
    if isinstance(dist, CategoricalDistribution):
        return {"type": "categorical", "choices": list(dist.choices)}
    assert isinstance(dist, FloatDistribution | IntDistribution)
    kind = "int" if isinstance(dist, IntDistribution) else "float"
    ends = {"low": dist.low, "high": dist.high}
    return {"type": kind, **ends, "log": dist.log, "step": dist.step}
