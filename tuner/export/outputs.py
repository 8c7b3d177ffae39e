"""Write an output whole, wherever its path leads."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path

from tuner.plugin import InputError


def resolved(path: Path) -> Path:
    """Return where `path` leads, links followed.

    Raises
    ------
    OSError
        Where links lead in a circle, on every Python (`Path.resolve` differs between releases).
    """
    target = Path(os.path.realpath(path))
    if target.is_symlink():
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
    return target


def write_output(path: Path, write: Callable[[Path], object], mode: int | None = None) -> None:
    """Let `write` make a file under a temporary name, then put it where `path` leads.

    A link is followed: the file that it names is replaced, the link stays. What is no regular file
    (a device, a pipe) is written to and never replaced.

    Parameters
    ----------
    path : Path
        Where the output goes; its folder is there.
    write : callable
        Makes the file.
    mode : int, optional
        Permissions of a regular file.

    Raises
    ------
    InputError
        Where it cannot be written, with the reason.
    """
    try:
        target = resolved(path)
        special = target.exists() and not target.is_file()
        if target.is_dir():
            raise InputError(f"cannot write {path}: it is a folder; name a file")
        if not target.parent.is_dir():
            raise InputError(f"cannot write {path}: no folder {target.parent}; make it first")
        folder = tempfile.gettempdir() if special else target.parent
        handle, name = tempfile.mkstemp(dir=folder, prefix=f".{target.name}.", suffix=".tmp")
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"cannot write {path}: {reason}") from None
    os.close(handle)
    temporary = Path(name)
    try:
        write(temporary)
        if special:
            _pour(temporary, target, path)
            return
        if mode is not None:
            temporary.chmod(mode)
        try:
            temporary.replace(target)
        except OSError as error:
            raise InputError(f"cannot write {path}: {error.strerror}") from None
    finally:
        temporary.unlink(missing_ok=True)


def _pour(source: Path, target: Path, path: Path) -> None:
    """Write the content of `source` into a device or a pipe."""
    try:
        handle = os.open(target, os.O_WRONLY | os.O_NONBLOCK)  # a pipe without a reader would block
    except OSError as error:
        nobody = error.errno == errno.ENXIO and stat.S_ISFIFO(target.stat().st_mode)
        reason = "nobody reads the pipe" if nobody else error.strerror
        raise InputError(f"cannot write {path}: {reason}") from None
    os.set_blocking(handle, True)
    with os.fdopen(handle, "wb") as stream, source.open("rb") as content:
        shutil.copyfileobj(content, stream)
