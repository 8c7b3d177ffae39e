"""Processes of our own: started with a connection to us, and gone when we are.

Run as ``python -m tuner.execution.subprocesses PARENT COMMAND...`` it runs a foreign program that
knows nothing of this, and ends it, with whatever that has started, once process PARENT is gone.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import IO, Any

from tuner.execution.keeper import LOOK, PATIENCE, end_as

KEEPER = "tuner.execution.keeper"
GRACE = 3.0


def spawn(
    module: str,
    output: IO[Any] | int | None,
    environment: Mapping[str, str] | None = None,
    *,
    kept: bool = False,
) -> tuple[subprocess.Popen[bytes], Connection]:
    """Start ``python -m MODULE FD PARENT``, in a process group of its own.

    Parameters
    ----------
    output
        Where its stdout and stderr go.
    environment : mapping, optional
        Default: ours.
    kept : bool
        Under a keeper, `tuner.execution.keeper`: `output` is then open for reading as well.

    Returns
    -------
    process
        The process, or its keeper.
    connection
        Our end; the other one is on descriptor FD. It closes when the process ends.
    """
    modules = [KEEPER, module] if kept else [module]
    ours, theirs = multiprocessing.Pipe()
    process = subprocess.Popen(
        [sys.executable, "-m", *modules, str(theirs.fileno()), str(os.getpid())],
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        pass_fds=[theirs.fileno()],
        env=environment,
        start_new_session=True,
    )
    theirs.close()
    return process, ours


def how_it_ended(process: subprocess.Popen[bytes], patience: float | None = None) -> str:
    """Wait for a process; return which signal ended it, or its exit code.

    Raises
    ------
    subprocess.TimeoutExpired
        Where it lives on for `patience` seconds.
    """
    code = process.wait(patience)
    if code >= 0:
        return f"exited with code {code}"
    known = {number.value: f" ({number.name})" for number in signal.Signals}
    return f"killed by signal {-code}{known.get(-code, '')}"


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """End a process that leads a group, and whatever it started."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()


def end_kept(process: subprocess.Popen[bytes], mark: str) -> None:
    """End a process that was spawned under a keeper, and whatever it started.

    Parameters
    ----------
    process
        The keeper, which sees to it. Where it was killed itself, or cannot act, its group is ended
        here, and all that have `mark` in their environment.
    mark : str
        ``NAME=value``, as it was given to `spawn`.
    """
    process.terminate()
    try:
        code = process.wait(PATIENCE + GRACE)
    except subprocess.TimeoutExpired:
        kill_group(process)
        code = process.returncode
    if code != -signal.SIGKILL:
        return
    for name in filter(str.isdigit, os.listdir("/proc") if sys.platform == "linux" else ()):
        with suppress(OSError):
            if mark.encode() in Path(f"/proc/{name}/environ").read_bytes().split(b"\0"):
                os.kill(int(name), signal.SIGKILL)


def die_with_parent(parent: int) -> None:
    """End this process when `parent`, whose first thread made it, is gone, whatever it computes.

    On Linux the kernel sees to it; elsewhere a thread looks now and then.
    """
    set_parent_death_signal = 1
    if sys.platform != "linux" or ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL):
        end_with_parent(parent)
    elif os.getppid() != parent:  # it died before the request
        os._exit(1)


def end_with_parent(parent: int) -> None:
    """End this process soon after `parent` is gone; of use where a thread of it made this process.

    The kernel's signal comes with the end of that thread, not of the process.
    """
    _watch(parent, lambda: os._exit(1))


def _watch(parent: int, act: Callable[[], object]) -> None:
    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(LOOK)
        act()

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()


def guarded(command: list[str]) -> list[str]:
    """Return the command that runs `command` for as long as this process lives.

    To be started as the leader of a process group: the whole group is ended.
    """
    return [sys.executable, "-m", "tuner.execution.subprocesses", str(os.getpid()), *command]


def _end_group() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.killpg(0, signal.SIGTERM)
    time.sleep(GRACE)
    os.killpg(0, signal.SIGKILL)


def guard(parent: int, command: list[str]) -> int:
    """Run `command`; end the process group when `parent` is gone. Give the exit code."""
    orphaned = threading.Event()
    _watch(parent, orphaned.set)
    process = subprocess.Popen(command)
    while process.poll() is None:
        if orphaned.wait(LOOK):
            _end_group()
    return process.returncode


if __name__ == "__main__":
    end_as(guard(int(sys.argv[1]), sys.argv[2:]))
