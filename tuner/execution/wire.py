"""Jobs and events as text, for what lies between a coordinator and an executor elsewhere."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from datetime import datetime
from typing import Any

from tuner.execution.jobs import CaseDone, Event, FixedCostJob, JobDone, PhaseBegun, TrialJob


@dataclass(frozen=True)
class Proceed:
    """The answer to the `CaseDone` of a job: `Executor.proceed`."""

    ticket: int
    onward: bool


@dataclass(frozen=True)
class Returned:
    """A job is given back that was not begun, or that this host cannot do."""

    ticket: int


Order = TrialJob | FixedCostJob | Proceed
Answer = Event | Returned

_KINDS = {
    kind.__name__: kind
    for kind in (TrialJob, FixedCostJob, Proceed, CaseDone, PhaseBegun, JobDone, Returned)
}


def packed(message: Order | Answer) -> str:
    """Return a message as JSON."""
    return json.dumps([type(message).__name__, message], default=_plain)


def unpacked(text: str) -> Any:
    """Return the message that `packed` made a text of; pydantic's ValidationError for others."""
    kind, data = json.loads(text)
    return _adapter(kind).validate_python(data)


def _plain(part: Any) -> Any:
    """Return what JSON has no word for as what it has one for; pydantic turns NaN into nothing."""
    if is_dataclass(part):
        return {entry.name: getattr(part, entry.name) for entry in fields(part)}
    if isinstance(part, datetime):
        return part.isoformat()
    return dict(part) if isinstance(part, Mapping) else part.item()  # a number of NumPy's


@functools.cache
def _adapter(kind: str) -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(_KINDS[kind])
