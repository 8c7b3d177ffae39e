"""Memory that processes hold, and the processes below one. Standard library where Linux tells."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import suppress

TELLS_CHILDREN = os.path.exists("/proc/thread-self/children")
_PAGE = resource.getpagesize()


def threads(process: int) -> list[str]:
    """Return the threads of a process; none once it is gone, or where the kernel does not tell."""
    try:
        return os.listdir(f"/proc/{process}/task")
    except OSError:
        return []


def descendants(process: int) -> Iterator[int]:
    """Yield the processes below one; none where the kernel does not tell."""
    for thread in threads(process):
        with suppress(OSError), open(f"/proc/{process}/task/{thread}/children") as file:
            for child in map(int, file.read().split()):
                yield child
                yield from descendants(child)


def resident(process: int) -> int:
    """Return the bytes that a process holds resident; 0 once it is gone."""
    try:
        with open(f"/proc/{process}/statm") as file:
            return int(file.read().split()[1]) * _PAGE
    except (OSError, IndexError):
        return 0


def resident_in_all(process: int) -> int:
    """Return the bytes that a process and those below it hold resident; 0 once it is gone."""
    if TELLS_CHILDREN:
        return sum(map(resident, (process, *descendants(process))))
    import psutil  # which goes through all processes of the machine for it

    try:
        own = psutil.Process(process)
        family = [own, *own.children(recursive=True)]
        return sum(member.memory_info().rss for member in family if member.is_running())
    except psutil.NoSuchProcess:
        return 0
