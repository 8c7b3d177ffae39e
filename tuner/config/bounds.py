"""Bounds on metrics, by which a trial is chosen: ``export.select: {r: ">= 0.5"}``."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from typing import Any

from tuner.plugin.words import shown

_OPERATORS: Mapping[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}
_BOUND = re.compile(r"\s*([<>]=?)\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*")

SELECTORS = ("best", "smoothed", "one_standard_error")


def holds(bound: str, value: float) -> bool:
    """Return whether a value keeps a bound such as ``>= 0.5``.

    Raises
    ------
    ValueError
        Where it is no bound.

    Examples
    --------
    >>> holds(">= 0.5", 0.5), holds("<1e-3", 0.5)
    (True, False)
    """
    if (found := _BOUND.fullmatch(bound)) is None:
        raise ValueError(f"expected a bound such as '>= 0.5', got '{bound}'")
    return _OPERATORS[found[1]](value, float(found[2]))


def checked_selector(value: Any) -> Any:
    """Return what `export.select` may be as it is; ValueError with what was expected otherwise."""
    if isinstance(value, Mapping) and value:
        for bound in value.values():
            holds(str(bound), 0.0)
        return {str(name): str(bound) for name, bound in value.items()}
    is_number = isinstance(value, int) and not isinstance(value, bool) and value >= 0
    if value in SELECTORS or is_number:
        return value
    raise ValueError(
        f"expected {', '.join(SELECTORS)}, a trial's number, or bounds on metrics such as "
        f"{{r: '>= 0.5'}}, got {shown(value)}"
    )
