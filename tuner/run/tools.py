"""What is told of a plug-in without a configuration, and files that commands write."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from tuner.config.json_schema import params_of
from tuner.export.outputs import OutputError, write_output
from tuner.plugin import About, InputError, Plugin


def describe_params(cls: type[Plugin[Any]]) -> list[dict[str, Any]]:
    """Return a row for each parameter; none where each configuration lists its own."""
    space, defaults = params_of(cls)
    baseline = (cls.__new__(cls).baseline() or {}) if space else {}
    rows = []
    for name in dict.fromkeys([*space, *defaults]):
        meaning, unit = cls.about.get(name, About(""))
        searched = describe_range(space[name]) if name in space else "fixed unless listed"
        row = {"parameter": name, "meaning": meaning, "unit": unit, "range": searched}
        rows.append({**row, "default": defaults.get(name), "baseline": baseline.get(name)})
    return rows


def describe_range(dist: BaseDistribution) -> str:
    """Return what a distribution ranges over, in words.

    Examples
    --------
    >>> describe_range(FloatDistribution(0.1, 10, log=True))
    '0.1 to 10, log'
    """
    if isinstance(dist, CategoricalDistribution):
        return "one of " + ", ".join(map(str, dist.choices))
    assert isinstance(dist, FloatDistribution | IntDistribution)
    return f"{dist.low:g} to {dist.high:g}{', log' if dist.log else ''}"


def write_text(path: Path, text: str) -> None:
    """Write a text whole; `InputError` where it cannot be."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_output(path, lambda part: part.write_text(text, encoding="utf-8"))
    except (OutputError, OSError) as error:
        raise InputError(str(error)) from None
