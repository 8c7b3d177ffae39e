"""One timed measurement at a time on a core: workers that are more than the cores take turns."""

from __future__ import annotations

import fcntl
import os
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

LOCKS = "TUNER_LOCKS"
"""Environment variable: a folder in place of the machine's, for containers that share one."""

_PAUSE = 0.005
_MEMORY = Path("/dev/shm")


def lock_folder() -> Path | None:
    """Return the folder in which every study of this user on this machine locks cores.

    In memory where there is such a folder, which no job scheduler renames as it does ``TMPDIR``;
    else below the temporary directory. It is ours alone, and no link: others could name files to
    be opened otherwise. None where there is no such folder.
    """
    own = os.environ.get(LOCKS)
    for parent in [Path(own)] if own else [_MEMORY, Path(tempfile.gettempdir())]:
        folder = parent / f"tuner-{os.getuid()}"
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            found = folder.lstat()
        except OSError:
            continue
        private = found.st_uid == os.getuid() and not found.st_mode & 0o077
        if private and stat.S_ISDIR(found.st_mode):
            return folder
    return None


class Cores:
    """The cores that this process may use, and who times on which.

    A core is taken by locking a file in a folder that all workers share, those of other studies
    too; the lock goes with the process that holds it, however that ends. Who waits holds a lock
    that the others wait for, so that one who needs many cores gets them.

    Parameters
    ----------
    folder : Path or None
        Where the lock files are; None where there is nobody to share with.
    count : int
        Cores that one measurement takes; never more than there are.
    """

    def __init__(self, folder: Path | None, count: int) -> None:
        can_pin = hasattr(os, "sched_getaffinity")
        self._cores = sorted(os.sched_getaffinity(0)) if can_pin else range(os.cpu_count() or 1)
        self._can_pin = can_pin
        self._folder = folder
        self._count = min(count, len(self._cores))

    @contextmanager
    def reserve(self) -> Iterator[None]:
        """Hold the cores for as long as the context lasts, and keep this thread on them."""
        if self._folder is None:
            yield
            return
        with ExitStack() as stack:
            with ExitStack() as turn:
                _lock(self._folder / "turn.lock", turn, wait=True)
                while (taken := self._try(self._folder, stack)) is None:
                    time.sleep(_PAUSE)
            if self._can_pin:
                os.sched_setaffinity(0, taken)
                stack.callback(os.sched_setaffinity, 0, self._cores)
            yield

    def _try(self, folder: Path, stack: ExitStack) -> list[int] | None:
        """Lock as many free cores as it takes; none where there are too few."""
        with ExitStack() as attempt:
            taken = []
            for core in self._cores:
                if not _lock(folder / f"core-{core}.lock", attempt):
                    continue
                taken.append(core)
                if len(taken) == self._count:
                    stack.push(attempt.pop_all())
                    return taken
        return None


def _lock(path: Path, stack: ExitStack, wait: bool = False) -> bool:
    """Lock a file for as long as `stack` lasts; return whether it was free."""
    file: IO[str] = stack.enter_context(open_lock(path))
    try:
        fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    # Closing is not enough: a child that was forked meanwhile has the file open as well.
    stack.callback(fcntl.flock, file, fcntl.LOCK_UN)
    return os.fstat(file.fileno()).st_nlink > 0  # one that was removed holds off nobody


def open_lock(path: Path) -> IO[str]:
    """Open a file to lock it, and make it where there is none; no link is followed."""
    return open(path, "a", encoding="utf-8", opener=_no_link)


def _no_link(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o600)
