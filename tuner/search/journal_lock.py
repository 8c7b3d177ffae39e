"""The lock of a journal of trials, and where its whole lines end."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from typing import Any

from optuna.storages.journal import JournalFileSymlinkLock
from optuna.storages.journal._file import BaseJournalFileLock

from tuner.plugin import InputError

LOCK_SECONDS = 60.0
"""Seconds to wait for the lock of a journal: it is held for one write."""


def end_of_lines(stream: Any) -> int:
    """Return the size of a file up to its last end of line."""
    end = stream.seek(0, os.SEEK_END)
    while end:
        start = max(0, end - 65536)
        stream.seek(start)
        block = stream.read(end - start)
        if (found := block.rfind(b"\n")) >= 0:
            return int(start + found + 1)
        end = start
    return 0


class FileLock(BaseJournalFileLock):
    """The kernel's lock of the journal itself, in place of Optuna's, a link beside it.

    A process that dies lets go of it at once, and one that is stopped keeps it: nobody takes it
    away while its holder is about to write.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._handle = -1
        self._link: JournalFileSymlinkLock | None = None  # where the file system has no locks

    def acquire(self) -> bool:
        """Wait for the lock."""
        handle = os.open(self._path, os.O_RDWR)
        until = time.monotonic() + LOCK_SECONDS
        while self._link is None:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() < until:
                    time.sleep(0.002)
                    continue
                os.close(handle)
                raise InputError(
                    f"study.storage: another process has held the lock of {self._path} for "
                    f"{LOCK_SECONDS:g} s; end it (fuser {self._path} names it), then run again"
                ) from None
            except OSError as error:
                if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
                    os.close(handle)
                    raise
                self._link = JournalFileSymlinkLock(self._path)
            else:
                self._handle = handle
                return True
        os.close(handle)
        return self._link.acquire()

    def release(self) -> None:
        """Let go of the lock."""
        if self._link is not None:
            self._link.release()
        else:
            os.close(self._handle)
