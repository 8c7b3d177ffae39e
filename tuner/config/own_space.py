"""What ``search_space`` lists, for plug-ins whose params the configuration itself decides."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from tuner.plugin import InputError, Value
from tuner.plugin.words import did_you_mean

KEYS = ("choices", "low", "high", "log", "step")
"""What an entry may have."""


def listed_ranges(section: Mapping[str, Any]) -> dict[str, BaseDistribution]:
    """Return the kind and the widest meaning of each range; whole numbers where both ends are.

    What else makes no sense in an entry `tuner.config.space` says, with its line.

    Raises
    ------
    InputError
        For an entry that is neither a value nor choices nor a range; it names the key.
    """
    return {
        name: _distribution(name, entry)
        for name, entry in section.items()
        if isinstance(entry, Mapping | list)
    }


def listed_defaults(section: Mapping[str, Any]) -> dict[str, Value]:
    """Return the middle of every range, the first of choices, and the values that are fixed."""
    ranges = listed_ranges(section)
    return {
        name: _middle(ranges[name]) if name in ranges else entry
        for name, entry in section.items()
        if entry is not None
    }


def check_keys(name: str, entry: Mapping[Any, Any]) -> None:
    """Raise `InputError` for a key that no entry of ``search_space`` has."""
    for key in entry:
        if key not in KEYS:
            message = f"unknown key '{key}'; a range has: {', '.join(KEYS[1:])}"
            hint = did_you_mean(str(key), KEYS)
            raise InputError(f"{message}{hint}", ("search_space", name, str(key)))


def _distribution(name: str, entry: Any) -> BaseDistribution:
    if isinstance(entry, Mapping):
        check_keys(name, entry)
    choices = entry if isinstance(entry, list) else entry.get("choices")
    if isinstance(choices, list) and choices:
        if wrong := [choice for choice in choices if not isinstance(choice, Value)]:
            raise InputError(
                f"expected numbers, texts, true, false or null, got {wrong[0]!r:.40}",
                ("search_space", name),
            )
        return CategoricalDistribution(choices)
    ends = [] if isinstance(entry, list) else [entry.get("low"), entry.get("high")]
    if not ends or not all(_is_number(end) for end in ends):
        raise InputError(
            "expected a value, a list of choices or a range such as {low: 1, high: 10}, "
            f"got {entry!r:.60}",
            ("search_space", name),
        )
    low, high = sorted(ends)
    log = entry.get("log") is True and low > 0
    whole = all(isinstance(end, int) for end in (low, high, entry.get("step", 1)))
    return (IntDistribution if whole else FloatDistribution)(low, high, log=log)


def _is_number(end: Any) -> bool:
    return isinstance(end, int | float) and not isinstance(end, bool) and math.isfinite(end)


def _middle(dist: BaseDistribution) -> Value:
    if isinstance(dist, CategoricalDistribution):
        first: Value = dist.choices[0]
        return first
    assert isinstance(dist, FloatDistribution | IntDistribution)
    low, high = dist.low, dist.high
    middle = math.exp((math.log(low) + math.log(high)) / 2) if dist.log else low / 2 + high / 2
    return round(middle) if isinstance(dist, IntDistribution) else middle
