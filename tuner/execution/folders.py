"""Folders of this process: gone with their work, and swept up where a crash kept them."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import socket
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from tuner.execution.keeper import LOOK

WORKERS = "tuner-workers-"
"""How the names of the temporary folders of local executors begin."""

_OWNER = "owner.lock"


class WorkersFolder:
    """A temporary folder for as long as this process lives, or until it is closed.

    It holds a locked file. A folder whose file can be locked is of a process that is gone, on this
    machine or in a container that shares the folder: such are removed first.
    """

    def __init__(self) -> None:
        where = Path(tempfile.gettempdir())
        for folder in where.glob(f"{WORKERS}*"):
            _sweep_if_left(folder)
        self.path = Path(tempfile.mkdtemp(prefix=WORKERS, dir=where))
        self._lock = os.open(self.path / _OWNER, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)

    def close(self) -> None:
        """Remove the folder; a second time does nothing."""
        if self._lock >= 0:
            shutil.rmtree(self.path, ignore_errors=True)
            os.close(self._lock)
            self._lock = -1


def _sweep_if_left(folder: Path) -> None:
    """Remove a folder that is ours and that no living process has locked."""
    with suppress(OSError):  # another sweeps it as well, or made it just now
        found = folder.lstat()
        if found.st_uid != os.getuid() or not stat.S_ISDIR(found.st_mode):
            return
        lock = os.open(folder / _OWNER, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(lock)


def _prefix() -> str:
    host = re.sub(r"\W", "_", socket.gethostname())
    return f".tuner-{host}-"


@contextmanager
def working_folder() -> Iterator[Path]:
    """Return an empty folder that is gone afterwards; its name says whose it is."""
    prefix = f"{_prefix()}{os.getpid()}-"
    with tempfile.TemporaryDirectory(prefix=prefix, dir=".") as name:
        yield Path(name).resolve()


def sweep(where: Path, patience: float = 0.0) -> None:
    """Remove the working folders in `where` whose processes, on this machine, are gone.

    Others' processes that live are given `patience` seconds to end, as those of a worker that was
    killed do once they see it.
    """
    until = time.monotonic() + patience
    while list(_swept(where)) and time.monotonic() < until:
        time.sleep(LOOK / 10)


def _swept(where: Path) -> Iterator[Path]:
    """Sweep once; yield the folders of other processes that live."""
    for folder in where.glob(f"{_prefix()}*"):
        owner = folder.name.removeprefix(_prefix()).partition("-")[0]
        if not owner.isdigit() or int(owner) == os.getpid():
            continue
        if psutil.pid_exists(int(owner)):
            yield folder
        else:
            shutil.rmtree(folder, ignore_errors=True)
