"""The plug-in's part of a configuration."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    SerializationInfo,
    ValidationInfo,
    field_validator,
    model_validator,
)

from tuner.plugin import Direction, Value
from tuner_plugins.function.pickled import PickledFunction

TAKEN = ("score", "time", "speedup")
"""Names that the engine has for what it measures itself."""


def _function(value: Any) -> Any:
    if isinstance(value, PickledFunction):
        return value
    if callable(value):
        return PickledFunction.of(value)
    if not isinstance(value, str) or not re.fullmatch(r"[\w.]+:[\w.<>]+(@\S+)?", value):
        raise ValueError(f"expected a function, or module:name of one, got {value!r:.60}")
    return value


def _sent(value: Any, info: SerializationInfo) -> Any:
    return str(value) if info.mode == "json" else value


Function = Annotated[Any, PlainValidator(_function), PlainSerializer(_sent)]
"""``module:name``, or a function; what is stored of the latter is its name."""


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Data(_Section):
    """What is tuned.

    Attributes
    ----------
    function
        ``module:name``. It is called with the params as keyword arguments and returns a number, or
        a mapping of metrics.
    path : Path
        Folder that the module is looked for in, before Python's path: that of the YAML file, or
        relative to it.
    metrics : mapping
        Names and directions of what the function returns; a number is the first.
    baseline : mapping, optional
        Params to compare with, trial 0.
    """

    function: Function
    path: Path | None = None
    metrics: dict[str, Direction] = Field(default={"value": "minimize"}, min_length=1)
    baseline: dict[str, Value] | None = None

    @field_validator("metrics")
    @classmethod
    def _metrics(cls, metrics: dict[str, Direction]) -> dict[str, Direction]:
        if taken := sorted(metrics.keys() & set(TAKEN)):
            raise ValueError(f"'{taken[0]}' is the engine's own; give the metric another name")
        return metrics

    @model_validator(mode="after")
    def _folder(self, info: ValidationInfo) -> Data:
        if isinstance(self.function, PickledFunction):
            return self
        folder = Path((info.context or {}).get("folder") or ".").resolve()
        return self.model_copy(update={"path": folder / (self.path or Path()).expanduser()})


class FunctionConfig(_Section):
    """The sections; `search_space` is the engine's, which defines the params here."""

    data: Data
    search_space: dict[str, Any]
