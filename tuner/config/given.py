"""Params that a user or another program gives, held against the search space."""

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

from tuner.config.space import Space, nearest, unknown_param
from tuner.plugin import InputError, Value


def holds(dist: BaseDistribution, value: Any) -> bool:
    """Return whether a distribution may draw `value`."""
    if isinstance(dist, CategoricalDistribution):
        return value in dist.choices
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    close = nearest(value, dist)
    return isinstance(close, int | float) and math.isclose(close, value, rel_tol=1e-9)


def drawn_params(space: Space, given: Mapping[str, Any]) -> dict[str, Value]:
    """Return `given` as the sampler would draw it.

    Raises
    ------
    InputError
        Where it is outside of the search space or leaves out a searched parameter; one line.
    """
    for name, value in given.items():
        if name in space.searched:
            continue
        if name not in space.fixed:
            raise InputError(unknown_param(name, [*space.searched, *space.fixed]))
        if value != space.fixed[name]:
            raise InputError(
                f"{name}: the search space fixes it at {space.fixed[name]!r}, got {value!r}"
            )
    for name, dist in space.searched.items():
        if name not in given:
            raise InputError(
                f"{name} is not given; expected a value of each searched parameter: "
                f"{', '.join(space.searched)}"
            )
        if not holds(dist, given[name]):
            raise InputError(f"{name}: expected {_range_of(dist)}, got {given[name]!r}")
    return space.nearest(given)


def _range_of(dist: BaseDistribution) -> str:
    """Return in words what a distribution draws."""
    if isinstance(dist, CategoricalDistribution):
        return f"one of {list(dist.choices)}"
    assert isinstance(dist, FloatDistribution | IntDistribution)
    step = f" in steps of {dist.step:g}" if dist.step and dist.step != 1 else ""
    kind = "a whole number" if isinstance(dist, IntDistribution) else "a number"
    return f"{kind} from {dist.low:g} to {dist.high:g}{step}"
