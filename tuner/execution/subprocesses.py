"""Processes of our own: started with a connection to us, and gone when we are.

Run as ``python -m tuner.execution.subprocesses PARENT COMMAND...`` it runs a foreign program that
knows nothing of this, and ends it, with whatever that has started, once process PARENT is gone.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import IO, Any

import psutil

LOOK = 0.5
GRACE = 3.0


def spawn(
    module: str, output: IO[Any] | int | None, environment: Mapping[str, str] | None = None
) -> tuple[subprocess.Popen[bytes], Connection]:
    """Start ``python -m MODULE FD PARENT``, in a process group of its own.

    Parameters
    ----------
    output
        Where its stdout and stderr go.
    environment : mapping, optional
        Default: ours.

    Returns
    -------
    process
        The process.
    connection
        Our end; the other one is on descriptor FD. It closes when the process ends.
    """
    ours, theirs = multiprocessing.Pipe()
    process = subprocess.Popen(
        [sys.executable, "-m", module, str(theirs.fileno()), str(os.getpid())],
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        pass_fds=[theirs.fileno()],
        env=environment,
        start_new_session=True,
    )
    theirs.close()
    return process, ours


def how_it_ended(process: subprocess.Popen[bytes]) -> str:
    """Wait for a process; return the name of the signal that ended it, or its exit code."""
    code = process.wait()
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """End a process that leads a group, and whatever it started."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()


def die_with_parent(parent: int) -> None:
    """End this process when `parent` is gone, even in the middle of a long computation.

    On Linux the kernel sees to it; elsewhere, and should the parent have died before the request,
    a thread looks now and then.
    """
    if sys.platform == "linux":
        set_parent_death_signal = 1
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL)
    end_with_parent(parent)


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
    sys.exit(guard(int(sys.argv[1]), sys.argv[2:]))


def _prefix() -> str:
    host = re.sub(r"\W", "_", socket.gethostname())
    return f".tuner-{host}-"


@contextmanager
def working_folder() -> Iterator[Path]:
    """Return an empty folder that is gone afterwards; its name says whose it is."""
    prefix = f"{_prefix()}{os.getpid()}-"
    with tempfile.TemporaryDirectory(prefix=prefix, dir=".") as name:
        yield Path(name).resolve()


def sweep(where: Path) -> None:
    """Remove the working folders in `where` whose processes, on this machine, are gone."""
    for folder in where.glob(f"{_prefix()}*"):
        owner = folder.name.removeprefix(_prefix()).partition("-")[0]
        if owner.isdigit() and not psutil.pid_exists(int(owner)):
            shutil.rmtree(folder, ignore_errors=True)
