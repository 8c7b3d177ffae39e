"""Times and sizes as people write them: ``90s``, ``30m``, ``4GB``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from tuner.plugin.words import shown

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_BYTES = {"mb": 10**6, "gb": 10**9, "mib": 2**20, "gib": 2**30}


def _amount(value: Any, units: Mapping[str, float], expected: str) -> Any:
    """Return a text such as 1.5h in its base unit; a number, or nothing, as it is."""
    if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
        return value
    pattern = r"\s*(\d+\.?\d*|\.\d+)\s*([a-z]+)\s*"
    match = re.fullmatch(pattern, value.lower()) if isinstance(value, str) else None
    if not match or match[2] not in units:
        raise ValueError(f"expected {expected}, got {shown(value):.80}")
    return float(match[1]) * units[match[2]]


def _seconds(value: Any) -> Any:
    return _amount(value, _UNITS, "a time such as 90s, 30m or 2h")


def _bytes(value: Any) -> Any:
    amount = _amount(value, _BYTES, "a size such as 4GB or 500MB")
    return int(amount) if isinstance(value, str) else amount


def _or_text(units: Mapping[str, float]) -> Any:
    """Return what may stand in a file for an amount: for its JSON Schema."""
    names = "|".join("".join(f"[{c}{c.upper()}]" for c in unit) for unit in units)
    pattern = rf"^\s*(\d+\.?\d*|\.\d+)\s*({names})\s*$"
    return Annotated[float, Field(gt=0)] | Annotated[str, Field(pattern=pattern)]


Seconds = Annotated[
    float,
    BeforeValidator(_seconds, json_schema_input_type=_or_text(_UNITS)),
    Field(gt=0, allow_inf_nan=False),
]
Bytes = Annotated[
    int, BeforeValidator(_bytes, json_schema_input_type=_or_text(_BYTES)), Field(gt=0)
]
