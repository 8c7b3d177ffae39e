"""The stop-watch: wall and CPU time of one call."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Timed:
    """What a call gave and took.

    Attributes
    ----------
    output : object
        Its result.
    seconds, cpu_seconds : float
        Wall time; CPU time of all threads of this process.
    """

    output: Any
    seconds: float
    cpu_seconds: float


def timed(call: Callable[[], Any]) -> Timed:
    """Run `call` on the clock, with garbage collected before it and not during it."""
    gc.collect()
    enabled = gc.isenabled()
    gc.disable()
    try:
        cpu = time.process_time()
        wall = time.perf_counter()
        output = call()
        seconds = time.perf_counter() - wall
        cpu_seconds = time.process_time() - cpu
    finally:
        if enabled:
            gc.enable()
    return Timed(output, max(seconds, 1e-9), cpu_seconds)
