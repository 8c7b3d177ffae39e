"""The stop-watch: wall and CPU time of a call or of a whole process."""

from __future__ import annotations

import gc
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

STDERR_LINES = 12


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


def timed_process(command: Sequence[str]) -> Timed:
    """Run a command to its end on the clock, from its start-up to its exit; no output is kept.

    Raises
    ------
    RuntimeError
        Where it fails; with the last lines of its stderr.
    """
    with tempfile.TemporaryFile() as errors:
        wall = time.perf_counter()
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors
        )
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - wall
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            errors.seek(0)
            lines = errors.read().decode(errors="replace").splitlines()
            raise RuntimeError(
                f"{' '.join(command)} ended with exit code {process.returncode}: "
                + "\n".join(lines[-STDERR_LINES:])
            )
    return Timed(None, seconds, usage.ru_utime + usage.ru_stime)


def machine() -> str:
    """Name the kind of machine this is: times from another kind are not comparable."""
    model = platform.processor() or platform.machine()
    if sys.platform == "linux":
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    return f"{model}, {os.cpu_count()} cores"
