"""A host at half speed, on this machine: a name of its own, and half of every moment.

What runs there is frozen for as long as it has computed, however busy the machine is, so that any
work takes twice its time. The kernel does not count that as waiting for a core: as on a slower
processor, nothing but the time itself tells of it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

QUANTUM = 0.005
"""Seconds of computing after which it is frozen."""

FREEZERS = (Path("/sys/fs/cgroup/unified"), Path("/sys/fs/cgroup"))


def why_impossible() -> str | None:
    """Return why there can be no such host here; None where there can."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return "needs root: a host name and a cgroup of its own"
    if _parent() is None:
        return "needs a cgroup2 file system that can be written to"
    done = subprocess.run(["unshare", "--uts", "hostname", "other"], capture_output=True)
    return None if done.returncode == 0 else "no UTS namespace can be made"


def _parent() -> Path | None:
    return next(
        (each for each in FREEZERS if os.access(each / "cgroup.subtree_control", os.W_OK)), None
    )


@contextmanager
def slow_host(name: str, command: Sequence[str]) -> Iterator[None]:
    """Run a command on a host called `name` for as long as the context lasts."""
    parent = _parent()
    assert parent is not None
    group = parent / f"tuner-{uuid.uuid4().hex[:8]}"
    group.mkdir()
    inside = f'echo $$ > {group}/cgroup.procs && hostname {name} && exec "$@"'
    with ExitStack() as stack:
        stack.callback(_remove, group)
        started = ["unshare", "--uts", "sh", "-c", inside, "sh", *command]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        stack.callback(subprocess.Popen(started, **quiet).wait)
        brake = subprocess.Popen([sys.executable, "-S", __file__, str(group)])
        stack.callback(brake.wait)
        stack.callback(_end, group)
        yield


def _end(group: Path) -> None:
    (group / "cgroup.kill").write_text("1")


def _remove(group: Path) -> None:
    while group.exists():
        with suppress(OSError):  # what was killed is not gone yet
            group.rmdir()
        time.sleep(0.01)


def _brake(group: Path) -> None:
    """Freeze what computes for as long as it has computed, until there is nothing left."""
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(10))
    seen = 0.0
    while "populated 1" in (events := (group / "cgroup.events").read_text()) or not seen:
        used = int((group / "cpu.stat").read_text().split()[1]) / 1e6
        if used - seen >= QUANTUM:
            (group / "cgroup.freeze").write_text("1")
            while "frozen 0" in events and "populated 1" in events:
                time.sleep(QUANTUM / 10)
                events = (group / "cgroup.events").read_text()
            used = int((group / "cpu.stat").read_text().split()[1]) / 1e6
            time.sleep(used - seen)
            (group / "cgroup.freeze").write_text("0")
            seen = used
        time.sleep(QUANTUM / 5)


if __name__ == "__main__":
    _brake(Path(sys.argv[1]))
