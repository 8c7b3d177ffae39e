"""Write an output whole, wherever its path leads. Standard library only: a script carries it."""

from __future__ import annotations

import errno
import glob
import hashlib
import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class OutputError(ValueError):
    """An output that cannot be written; the message is one line with path and reason."""


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
    OutputError
        Where it cannot be written, with the reason.
    """
    if path.is_dir():
        raise OutputError(f"cannot write {path}: it is a folder; name a file")
    special = path.exists() and not path.is_file()
    try:
        temporary = _beside(path, special)
    except (OSError, ValueError) as error:
        raise _cannot(path, error) from None
    try:
        write(temporary)
        if special:
            _pour(temporary, path)
            return
        if mode is not None:
            temporary.chmod(mode)
        temporary.replace(resolved(path))
    except OSError as error:
        if error.errno in _FULL or error.filename2 is not None:  # else it is of `write`
            raise _cannot(path, error) from None
        raise
    finally:
        temporary.unlink(missing_ok=True)


def _beside(path: Path, special: bool) -> Path:
    """Make an empty file under a new name, beside where `path` leads if it is to go there.

    Its name says whose it is, and keeps the suffix of the final one: those of processes of this
    machine that are gone are removed.
    """
    target = resolved(path)
    folder = Path(tempfile.gettempdir()) if special else target.parent
    if not folder.is_dir():
        raise OutputError(f"cannot write {path}: no folder {folder}; make it first")
    host = hashlib.sha256(os.uname().nodename.encode()).hexdigest()[:6]
    prefix = f".{target.name}.{host}-"
    for left in folder.glob(f"{glob.escape(prefix)}*.tmp*"):
        owner = left.name.removeprefix(prefix).partition("-")[0]
        if owner.isdigit() and not _lives(int(owner)):
            left.unlink(missing_ok=True)
    temporary = folder / f"{prefix}{os.getpid()}-{secrets.token_hex(4)}.tmp{target.suffix}"
    mode = 0o600 if special else 0o666
    os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode))
    return temporary


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # another user's
        pass
    return True


def _cannot(path: Path, error: Exception) -> OutputError:
    if isinstance(error, OutputError):
        return error
    return OutputError(f"cannot write {path}: {getattr(error, 'strerror', None) or error}")


def _pour(source: Path, path: Path) -> None:
    """Write the content of `source` into a device or a pipe, which is opened by its own path.

    Where /dev/stdout leads has no other name.
    """
    try:
        handle = os.open(path, os.O_WRONLY | os.O_NONBLOCK)  # a pipe without a reader would block
        os.set_blocking(handle, True)
        with open(handle, "wb") as stream, source.open("rb") as content:
            shutil.copyfileobj(content, stream)
    except OSError as error:
        nobody = error.errno == errno.ENXIO and stat.S_ISFIFO(path.stat().st_mode)
        reason = "nobody reads the pipe" if nobody else error.strerror
        raise OutputError(f"cannot write {path}: {reason}") from None
