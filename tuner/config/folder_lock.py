"""One process at a time in a folder, while a database is made in it: whole or not at all."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tuner.export.outputs import resolved

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


def make_whole(path: Path, make: Callable[[str], object]) -> None:
    """Let `make`, given a URL, make an SQLite file beside `path`; move it there once it is whole.

    A crash between a table and its index leaves a database that takes two studies of one name. A
    link stays: what it leads to is made. Call within `locked`.
    """
    path = resolved(path)
    beside = path.with_name(f".{path.name}.new")
    beside.unlink(missing_ok=True)
    try:
        make(f"sqlite:///{beside}")
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
