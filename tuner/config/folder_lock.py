"""One process at a time in a folder: while the tables of a database are made."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

LOCK_SECONDS = 120.0
"""Seconds to wait for another process that makes tables: it takes a few."""


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the kernel's lock of a folder: no file of ours that a stranger could make or link.

    Raises
    ------
    TimeoutError
        Where another process holds it for `LOCK_SECONDS`.
    """
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:  # what is wrong with it, the database says
        yield
        return
    until = time.monotonic() + LOCK_SECONDS
    try:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > until:
                    raise TimeoutError(
                        f"another process has held the lock of {folder} for {LOCK_SECONDS:g} s; "
                        f"end it (fuser {folder} names it)"
                    ) from None
                time.sleep(0.05)
                continue
            except OSError:  # a file system without locks
                pass
            break
        yield
    finally:
        os.close(handle)
