"""What is no regular file: nodes and pipes for tests of what reads and writes."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest


def null_device(path: Path) -> Path:
    """Make a node of its own that swallows what it is given; the real one is never put at risk."""
    try:
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 3))
        with path.open("wb"):
            pass
    except OSError as error:
        pytest.skip(f"device nodes cannot be made or used here: {error.strerror}")
    return path


def identity(path: Path) -> tuple[int, int, int]:
    """Return what changes where a node is replaced: its place, kind and device."""
    status = path.lstat()
    return status.st_ino, status.st_mode, status.st_rdev


def pipe_content(pipe: Path, write: Callable[[], object]) -> bytes:
    """Return what `write` puts into the pipe, which is read from before it begins."""
    handle = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    os.set_blocking(handle, True)
    parts: list[bytes] = []

    def read() -> None:
        while part := os.read(handle, 1 << 16):
            parts.append(part)

    # open for writing until `write` is done: a reader takes no writer for the end
    held = os.open(pipe, os.O_WRONLY)
    reader = threading.Thread(target=read)
    reader.start()
    try:
        write()
    finally:
        os.close(held)
        reader.join(60)
        os.close(handle)
    return b"".join(parts)
