"""Whole processes on the clock: wall time, CPU time, peak memory."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

TUNED_MALLOC = {
    "MALLOC_TOP_PAD_": "1073741824",
    "MALLOC_TRIM_THRESHOLD_": "68719476736",
    "MALLOC_MMAP_THRESHOLD_": "68719476736",
}
"""Keeps glibc from giving large arrays back to the system and faulting them in again."""


class Cost(NamedTuple):
    """What a process took: wall and CPU seconds, peak resident bytes."""

    wall: float
    cpu: float
    memory: int


_LAUNCHER = """
import json, os, sys, time
begin = time.perf_counter()
pid = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ)
_, status, usage = os.wait4(pid, 0)
wall = time.perf_counter() - begin
cpu = usage.ru_utime + usage.ru_stime
print(json.dumps([os.waitstatus_to_exitcode(status), wall, cpu, usage.ru_maxrss * 1024]))
"""


def run_process(
    command: Sequence[str],
    environment: Mapping[str, str] | None = None,
    output: Path | None = None,
) -> Cost:
    """Run a command to its end; raise `RuntimeError` with its stderr where it fails.

    A small process starts it: a child's peak memory begins with what its parent holds. An `output`
    of an earlier run is removed first, off the clock: to free it costs as much as half a new one.
    """
    if output is not None:
        output.unlink(missing_ok=True)
    done = subprocess.run(
        [sys.executable, "-S", "-c", _LAUNCHER, *command],
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        check=True,
    )
    code, *figures = json.loads(done.stdout.splitlines()[-1])
    if code:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr}")
    return Cost(*figures)


def median_cost(costs: Sequence[Cost]) -> Cost:
    """Return the medians."""
    return Cost(*(statistics.median(column) for column in zip(*costs, strict=True)))


def write_floor(path: str, positions: int, k: int) -> Sequence[str]:
    """Return a command that does no more than any script must: NumPy, and writing the array."""
    program = (
        "import sys, numpy as np\n"
        "path, n, k = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])\n"
        "block = np.ones((max(1, (1 << 20) // (8 * k)), k))\n"
        "head = {'descr': '<f8', 'fortran_order': False, 'shape': (n, k)}\n"
        "with open(path, 'wb', buffering=0) as file:\n"
        "    np.lib.format.write_array_header_1_0(file, head)\n"
        "    for i in range(0, n, len(block)):\n"
        "        file.write(block[: n - i])\n"
    )
    return [sys.executable, "-c", program, path, str(positions), str(k)]
