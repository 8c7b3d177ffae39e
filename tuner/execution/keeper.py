"""Keeps a worker: whatever the worker leaves behind ends with it, and what it writes is bounded.

Run as ``python -m tuner.execution.keeper MODULE FD PARENT`` this process forks before it has
imported anything: the child becomes the worker, ``MODULE.main(FD, ...)``, and this one its keeper.
On Linux every descendant of a worker whose own parent is gone becomes the keeper's child, one in a
session of its own too, so that none outlives the keeper. It ends as the worker does, by the same
signal or with the same exit code, after it has ended all of them; and it ends them when process
PARENT is gone, or on SIGTERM. Elsewhere it ends the worker's process group alone.

It imports the standard library alone, for it is there beside every measurement.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import os
import resource
import select
import signal
import sys
import time
from collections.abc import Iterator

KEPT_BYTES = 64 << 10
"""What is kept of a worker's output at least; its file has twice as much at most."""

LOOK = 0.5
PATIENCE = 3.0
"""Seconds for which processes that were killed are waited for: the kernel may hold some."""

_LINUX = sys.platform == "linux"
_CHILD_SUBREAPER = 36
_OUTPUT = 1


class Tail:
    """A file open for reading and appending that keeps the end of what is written to it."""

    def __init__(self, descriptor: int) -> None:
        self._file = descriptor

    def write(self, data: bytes) -> None:
        """Append `data`; drop the beginning where that is too much. A full disk is no trouble."""
        with contextlib.suppress(OSError):
            os.write(self._file, data[-KEPT_BYTES:])
            size = os.fstat(self._file).st_size
            if size > 2 * KEPT_BYTES:
                kept = os.pread(self._file, KEPT_BYTES, size - KEPT_BYTES)
                os.ftruncate(self._file, 0)
                os.write(self._file, kept)


class Keeper:
    """Waits for the worker's end, for its own and for its parent's.

    Parameters
    ----------
    worker, parent : int
        Process ids.
    pipe : int
        What the worker writes comes here.
    """

    def __init__(self, worker: int, parent: int, pipe: int) -> None:
        self._worker, self._parent, self._pipe = worker, parent, pipe
        self._tail = Tail(_OUTPUT)
        self._status: int | None = None
        self._told = False
        self._wakeup, wakeup = os.pipe()
        for end in (self._wakeup, wakeup, pipe):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(wakeup, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, self._stop)

    def _stop(self, *_: object) -> None:
        self._told = True

    def keep(self) -> int:
        """Wait until it is time to end, and end all descendants; return the worker's status."""
        watched = [self._pipe, self._wakeup]
        self._reap()
        while self._status is None and not self._told and os.getppid() == self._parent:
            ready = select.select(watched, (), (), LOOK)[0]
            if self._pipe in ready and not self._drain():
                watched.remove(self._pipe)
            if self._wakeup in ready:
                os.read(self._wakeup, 512)
            self._reap()
        until = time.monotonic() + PATIENCE
        while self._kill() and time.monotonic() < until:
            time.sleep(0.005)
        while self._drain() and time.monotonic() < until:
            pass
        return signal.SIGKILL if self._status is None else self._status

    def _drain(self) -> bool:
        """Take what there is to read; return whether there was any."""
        try:
            data = os.read(self._pipe, KEPT_BYTES)
        except BlockingIOError:
            return False
        self._tail.write(data)
        return bool(data)

    def _reap(self) -> bool:
        """Take note of children that have ended; return whether any is left."""
        with contextlib.suppress(ChildProcessError):
            while True:
                child, status = os.waitpid(-1, os.WNOHANG)
                if child == self._worker:
                    self._status = status
                if child == 0:
                    return True
        return False

    def _kill(self) -> bool:
        """End the children; those of theirs become ours then. Return whether any is left."""
        if not _LINUX:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._worker, signal.SIGKILL)
        for child in children(os.getpid()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        return self._reap()


def children(parent: int) -> Iterator[int]:
    """Yield the ids of a process's children; none where there is no ``/proc``."""
    with contextlib.suppress(FileNotFoundError):
        for name in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError), open(f"/proc/{name}/stat", "rb") as file:
                if int(file.read().rpartition(b")")[2].split()[1]) == parent:
                    yield int(name)


def become_subreaper() -> None:
    """Let descendants of this process whose own parent is gone become its children, on Linux."""
    if _LINUX:
        ctypes.CDLL(None).prctl(_CHILD_SUBREAPER, 1, 0, 0, 0)


def _become_worker(module: str, connection: int, keeper: int, pipe: int) -> None:
    os.setpgid(0, 0)  # a worker that signals its own group does not reach the keeper
    os.dup2(pipe, 1)
    os.dup2(pipe, 2)
    os.close(pipe)
    importlib.import_module(module).main(connection, keeper)


def main(module: str, connection: int, parent: int) -> None:
    """Fork the worker and keep it; the command line of this module."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    become_subreaper()
    reading, writing = os.pipe()
    keeper = os.getpid()
    worker = os.fork()
    if worker == 0:
        os.close(reading)
        _become_worker(module, connection, keeper, writing)
        return
    os.close(writing)
    os.close(connection)
    status = Keeper(worker, parent, reading).keep()
    end_as(os.waitstatus_to_exitcode(status))


def end_as(code: int) -> None:
    """End this process as a child did: with its exit code, or by the signal of a negative one.

    The system keeps eight bits of an exit code, and -9 would become 247.
    """
    if code < 0:  # nobody needs a core of this process
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        with contextlib.suppress(OSError, ValueError):  # SIGKILL cannot be set
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
