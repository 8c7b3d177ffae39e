"""A small process that runs programs on the clock: ``python -m tuner_plugins.command.host``.

It stands between a worker and the programs for what a worker cannot do: it is small, and so is the
memory that a program seems to begin with; every process that a program leaves behind becomes its
child, is counted and is ended; and it ends, with all of them, when the worker is gone. Requests and
answers are JSON, one a line. It imports the standard library alone.
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import signal
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from tuner.execution.keeper import PATIENCE, become_subreaper, children
from tuner.execution.memory import descendants, resident, threads

KEPT_BYTES = 1 << 20
"""Of what a program writes to stdout or stderr the last so many bytes are kept."""

SAMPLE = 0.05
"""Seconds between two looks at the memory of a program's processes."""

_STDIN = 0
_RSS_UNIT = 1 if sys.platform == "darwin" else 1024
_DEFAULT_SIGNALS = (signal.SIGINT, signal.SIGPIPE, signal.SIGXFSZ, signal.SIGCHLD)


class _Stream:
    """The reading end of a pipe: keeps the end of what comes."""

    def __init__(self) -> None:
        self.reading, self.writing = os.pipe()
        os.set_blocking(self.reading, False)
        self.kept, self.total, self.is_open = bytearray(), 0, True

    def drain(self) -> None:
        """Take what there is."""
        while self.is_open:
            try:
                data = os.read(self.reading, KEPT_BYTES)
            except BlockingIOError:
                return
            self.is_open = bool(data)
            if data and not self.total and sys.platform == "linux":  # fewer turns if more comes
                with suppress(OSError):
                    fcntl.fcntl(self.reading, fcntl.F_SETPIPE_SZ, KEPT_BYTES)
            self.total += len(data)
            self.kept += data
            if len(self.kept) > 2 * KEPT_BYTES:
                del self.kept[:-KEPT_BYTES]

    def close(self) -> str:
        """Close it; return what was kept."""
        self.drain()
        os.close(self.reading)
        return self.kept[-KEPT_BYTES:].decode("utf-8", "replace")


class _Watch:
    """What is seen of all processes of a program, where the kernel tells of one at its end alone.

    Attributes
    ----------
    memory : int
        Bytes that they held together, at most.
    waited : float
        Seconds that they waited for a core: between two looks, of the thread that waited longest,
        which others will have waited for.
    ours : float
        Seconds that this process had waited when it last lay down to wait for the program.
    """

    def __init__(self) -> None:
        self.memory, self.waited, self.ours = 0, 0.0, 0.0
        self._known: dict[str, float] = {}

    def look(self) -> None:
        """Look at them now."""
        family = list(descendants(os.getpid()))
        self.memory = max(self.memory, sum(map(resident, family)))
        found = {thread: _waited(thread) for process in family for thread in threads(process)}
        grown = (seconds - self._known.get(name, 0.0) for name, seconds in found.items())
        self.waited += max(grown, default=0.0)
        self._known = found


class Host:
    """Runs one program at a time."""

    def __init__(self) -> None:
        self._wakeup: int | None = None
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # ignored, it would leave nothing to wait for
        if not _has_pidfd():
            self._wakeup, wakeup = os.pipe()
            for end in (self._wakeup, wakeup):
                os.set_blocking(end, False)
            signal.set_wakeup_fd(wakeup, warn_on_full_buffer=False)
            signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        become_subreaper()
        self._nothing = os.open(os.devnull, os.O_RDONLY)  # opened once, and not on the clock
        self._nowhere = os.open(os.devnull, os.O_WRONLY)
        self._defaults = _reset_signals()
        self._environment: dict[str, str] = {}
        self._schedstat: int | None = None
        with suppress(OSError):  # kept open: it is read while the clock runs
            self._schedstat = os.open("/proc/self/schedstat", os.O_RDONLY)

    def _own_wait(self) -> float:
        """Return the seconds that this process was ready to run and did not."""
        return 0.0 if self._schedstat is None else _waited_in(self._schedstat)

    def run(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Run a program to its end; return how it ended, what it took and what it wrote."""
        errors, output = _Stream(), _Stream() if asked["stdout"] is None else None
        streams = [stream for stream in (errors, output) if stream]
        try:
            os.chdir(asked["folder"])
            before = self._own_wait()
            begin, program = self._start(asked, errors, output)
            end = os.pidfd_open(program) if self._wakeup is None else self._wakeup
        except (OSError, ValueError) as error:
            for stream in streams:
                os.close(stream.reading)
            return {"trouble": getattr(error, "strerror", None) or str(error)}
        finally:
            for stream in streams:
                os.close(stream.writing)
        watch = _Watch()
        watch.ours = self._own_wait()
        ours = watch.ours - before
        self._wait(program, end, streams, watch)
        seconds = time.perf_counter() - begin
        ours += self._own_wait() - watch.ours  # as far as it was not beside the program's own
        if end != self._wakeup:
            os.close(end)
        waited = ours + max(_waited(program), watch.waited)
        _, status, usage = os.wait4(program, 0)
        cpu = usage.ru_utime + usage.ru_stime + end_children()
        code = os.waitstatus_to_exitcode(status)
        said = output.close() if output else ""  # with what is still in the pipe
        return {
            "code": code,
            "seconds": seconds,
            "cpu_seconds": cpu,
            "waited": min(waited, seconds),
            "memory": max(watch.memory, usage.ru_maxrss * _RSS_UNIT),
            "stdout": said,
            "stdout_bytes": output.total if output else 0,
            "stderr": errors.close(),
        }

    def _start(
        self, asked: Mapping[str, Any], errors: _Stream, output: _Stream | None
    ) -> tuple[float, int]:
        """Start the program on the cores that the worker has reserved; return when, and its id."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        actions: list[tuple[Any, ...]] = [
            (os.POSIX_SPAWN_DUP2, self._nothing, 0),
            (os.POSIX_SPAWN_DUP2, errors.writing, 2),
        ]
        if output is not None:
            actions.append((os.POSIX_SPAWN_DUP2, output.writing, 1))
        elif asked["stdout"] == os.devnull:
            actions.append((os.POSIX_SPAWN_DUP2, self._nowhere, 1))
        else:
            actions.append((os.POSIX_SPAWN_OPEN, 1, asked["stdout"], flags, 0o666))
        words = asked["words"]
        if asked["environment"] is not None:  # else it is that of the program before
            self._environment = asked["environment"]
        ours = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
        pin = asked["cores"] and set(asked["cores"]) != ours
        if pin:
            os.sched_setaffinity(0, asked["cores"])
        try:
            begin = time.perf_counter()
            program = os.posix_spawn(
                asked["program"],
                words,
                self._environment,
                file_actions=actions,
                setpgroup=0,  # one that signals its own group does not reach us
                setsigdef=self._defaults,
            )
        finally:
            if pin:
                os.sched_setaffinity(0, ours | set(asked["all_cores"]))
        return begin, program

    def _wait(self, program: int, end: int, streams: list[_Stream], watch: _Watch) -> None:
        """Wait for the program's end, told at `end`; meanwhile `watch` looks at its processes."""
        watched = {_STDIN, end, *(stream.reading for stream in streams)}
        looked = time.monotonic()
        while self._wakeup is None or not _has_ended(program):
            watch.ours = self._own_wait()
            ready = select.select(watched, (), (), SAMPLE)[0]
            if _STDIN in ready:  # whoever asked is gone
                end_children()
                os._exit(1)
            if self._wakeup is None and (end in ready or (not ready and _has_ended(program))):
                return  # the second should a sandbox have descriptors that tell nothing
            if end in ready:
                os.read(end, 512)
                continue
            for stream in streams:
                stream.drain()
                if not stream.is_open:
                    watched.discard(stream.reading)
            if time.monotonic() > looked + SAMPLE:
                looked = time.monotonic()
                watch.look()


def _has_pidfd() -> bool:
    """Whether the system gives a descriptor of a process that tells of its end."""
    try:
        os.close(os.pidfd_open(os.getpid()))
    except (AttributeError, OSError):  # Linux before 5.3, other systems, some sandboxes
        return False
    return True


def _reset_signals() -> list[int]:
    """Return the signals that a program begins without: `_DEFAULT_SIGNALS`, and all not ignored.

    Those are reset in any case: named, they are not asked for one by one, on the program's clock.
    """
    fixed = (signal.SIGKILL, signal.SIGSTOP)
    ignored = {each for each in signal.valid_signals() if signal.getsignal(each) == signal.SIG_IGN}
    kept = ignored - {*_DEFAULT_SIGNALS}
    return sorted(int(each) for each in signal.valid_signals() if each not in {*fixed, *kept})


def _has_ended(program: int) -> bool:
    return os.waitid(os.P_PID, program, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None


def end_children() -> float:
    """End what a program has left behind; return the CPU seconds that it took."""
    cpu, until = 0.0, time.monotonic() + PATIENCE
    with suppress(ChildProcessError):
        while time.monotonic() < until:
            child, _, usage = os.wait4(-1, os.WNOHANG)
            cpu += usage.ru_utime + usage.ru_stime
            if child:
                continue
            for left in children(os.getpid()):
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(left, signal.SIGKILL)
            time.sleep(0.002)
    return cpu


def _waited(process: int | str) -> float:
    """Return the seconds that a process was ready to run and did not, as the kernel tells them."""
    try:
        file = os.open(f"/proc/{process}/schedstat", os.O_RDONLY)  # open() takes twice as long
    except OSError:
        return 0.0
    try:
        return _waited_in(file)
    except (OSError, IndexError):
        return 0.0
    finally:
        os.close(file)


def _waited_in(file: int) -> float:
    return int(os.pread(file, 64, 0).split()[1]) / 1e9


def main() -> None:
    """Serve until standard input ends."""
    host = Host()
    for line in iter(sys.stdin.buffer.readline, b""):
        sys.stdout.write(json.dumps(host.run(json.loads(line))) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
