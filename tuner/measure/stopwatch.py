"""The stop-watch: what a call or a whole process takes, and what the machine made it wait.

On a shared machine wall time is mostly other people's load. What enters the score is therefore
`Timed.own_seconds`: the wall time without the time in which the code was ready to run and another
process had the core. Linux keeps that figure for every thread (``schedstat``); elsewhere, and in
containers that hide it, the number of involuntary switches stands in for it. Waiting for a disk is
the code's own time and stays in.
"""

from __future__ import annotations

import functools
import gc
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tuner.plugin import Clocked
from tuner.plugin.words import how_ended

STDERR_LINES = 12
SLICE = 0.004
"""Seconds that an involuntary switch is taken to cost where the kernel does not say."""

DISTURBED = 0.5
"""Share of the wall time lost to others from which caches were cold too: worth a repeat."""

ERRORS_BYTES = 64 << 10
"""Of what a process writes to stderr so much is read, at its end."""

_SELF = "/proc/thread-self/schedstat"
_ANCHOR_REPEATS = 3
_ANCHOR_DATA = np.random.default_rng(0).random(200_000)


@dataclass(frozen=True)
class Timed:
    """What a call gave and took.

    Attributes
    ----------
    output : object
        Its result.
    seconds, cpu_seconds : float
        Wall time; CPU time of all threads of this process.
    waited : float
        Part of the wall time in which it was ready to run and others had the core. The kernel's
        figures are read before the clock starts and after it stops: what may have been waited
        there is taken off.
    """

    output: Any
    seconds: float
    cpu_seconds: float
    waited: float = 0.0

    @property
    def own_seconds(self) -> float:
        """Wall time without what others took; never less than the CPU time of one core."""
        busy = min(self.cpu_seconds, self.seconds)
        return max(busy + max(0.0, self.seconds - busy - self.waited), 1e-9)

    @property
    def crowded(self) -> float:
        """Share of the wall time in which others had the core."""
        return 1.0 - self.own_seconds / max(self.seconds, self.own_seconds)

    @property
    def disturbed(self) -> bool:
        """Whether wall time and own time disagree by so much that it should be measured again."""
        return self.crowded > DISTURBED


def spare_imports(known: int) -> int:
    """Hide what is loaded from the garbage collector, where there are more than `known` modules.

    `timed` collects before each run, which takes .1 s once Numba is imported, and 0 s after this.
    Only after imports, for a cycle that is hidden is never freed.

    Returns
    -------
    int
        The number of modules now.
    """
    if len(sys.modules) > known:
        gc.collect()
        gc.freeze()
    return len(sys.modules)


def timed(call: Callable[[], Any]) -> Timed:
    """Run `call` on the clock, with garbage collected before it and not during it.

    What is `Clocked` already is taken as it is.
    """
    gc.collect()
    enabled = gc.isenabled()
    gc.disable()
    try:
        before = time.perf_counter()
        waited = _waited(_SELF)
        cpu = time.process_time()
        wall = time.perf_counter()
        output = call()
        seconds = time.perf_counter() - wall
        cpu_seconds = time.process_time() - cpu
        waited = _waited(_SELF) - waited
        around = time.perf_counter() - before - seconds
    finally:
        if enabled:
            gc.enable()
    if isinstance(output, Clocked):
        seconds, cpu_seconds, waited = output.seconds, output.cpu_seconds, output.waited
        return Timed(output.output, max(seconds, 1e-9), cpu_seconds, waited)
    return Timed(output, max(seconds, 1e-9), cpu_seconds, max(0.0, waited - around))


def timed_process(command: Sequence[str]) -> Timed:
    """Run a command to its end on the clock, from its start-up to its exit; no output is kept.

    Raises
    ------
    RuntimeError
        Where it fails; with the last lines of its stderr.
    """
    with tempfile.TemporaryFile() as errors:
        before = time.perf_counter()
        ours = _waited(_SELF)
        wall = time.perf_counter()
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors
        )
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        seconds = time.perf_counter() - wall
        ours = _waited(_SELF) - ours
        ours = max(0.0, ours - (time.perf_counter() - before - seconds))
        waited = _waited(f"/proc/{process.pid}/schedstat") if tells_waiting() else 0.0
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            errors.seek(max(0, errors.seek(0, os.SEEK_END) - ERRORS_BYTES))
            lines = errors.read().decode(errors="replace").splitlines()
            raise RuntimeError(
                f"{' '.join(command)} ended with {how_ended(process.returncode)}: "
                + "\n".join(lines[-STDERR_LINES:])
            )
    if not tells_waiting():
        ours, waited = 0.0, SLICE * usage.ru_nivcsw
    return Timed(None, seconds, usage.ru_utime + usage.ru_stime, ours + waited)


@functools.cache
def tells_waiting() -> bool:
    """Whether the kernel says how long a thread has been ready to run and did not."""
    try:
        return len(Path(_SELF).read_text(encoding="ascii").split()) >= 2
    except OSError:
        return False


def _waited(path: str) -> float:
    """Return the seconds that a thread has been ready to run and did not."""
    if tells_waiting():
        with open(path, encoding="ascii") as file:
            return int(file.read().split()[1]) / 1e9
    return SLICE * resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw


def anchor() -> float:
    """Return the CPU seconds of a short kernel: how fast this core is right now.

    The least of a few repeats; about 3 ms in all. It counts, copies, sorts and adds up, so that a
    lower clock, a busy sibling of the core and a contended cache all show.
    """
    return min(_anchor_once() for _ in range(_ANCHOR_REPEATS))


def _anchor_once() -> float:
    begin = time.thread_time()
    total = 0
    for number in range(4000):
        total += number * number
    np.sort(_ANCHOR_DATA[:16384])
    np.cumsum(_ANCHOR_DATA)
    return max(time.thread_time() - begin, 1e-9)


@functools.cache
def machine() -> str:
    """Name the kind of machine this is: times from another kind are not comparable."""
    model = platform.processor() or platform.machine()
    if sys.platform == "linux":
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    return f"{model}, {os.cpu_count()} cores"
