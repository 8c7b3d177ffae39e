"""The ``.npy`` file of a script: how it begins, and how it appears under its name at once."""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import sys

TYPE_CHECKING = False  # as in fast_path.py
if TYPE_CHECKING:
    from collections.abc import Callable


BIGWIG_ENDINGS = (".bw", ".bigwig")
BROWSER_ENDINGS = (*BIGWIG_ENDINGS, ".bedgraph", ".bg")
"""Names, in small letters, of what is written for genome browsers."""


def npy_head(dtype: str, rows: int, columns: int) -> bytes:
    """Return what a ``.npy`` file begins with (version 1.0): its type, shape and padding.

    `dtype` is ``"float64"`` or ``"float32"``.
    """
    descr = ("<" if sys.byteorder == "little" else ">") + ("f4" if dtype == "float32" else "f8")
    text = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': ({rows}, {columns}), }}"
    text += " " * (-(10 + len(text) + 1) % 64) + "\n"  # data begin at a multiple of 64
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


def is_special(path: str) -> bool:
    """Return whether a path leads to what is neither a regular file nor a folder."""
    return os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path)


def is_script(path: str) -> bool:
    """Return whether a path leads to the script that runs."""
    return os.path.isfile(sys.argv[0]) and os.path.samefile(path, sys.argv[0])


def write_whole(path: str, write: Callable[[int], None]) -> None:
    """Let `write` fill a new file, which it is given open; then put that where `path` leads.

    Until then the file has a temporary name beside its place, which is removed on failure. A link
    stays: the file that it names is replaced. A device or a pipe is written to as it is.

    Raises
    ------
    OSError
        In one line with the path and the reason.
    """
    try:
        _write_special(path, write) if is_special(path) else _write_regular(path, write)
    except OSError as error:
        unread = error.errno == errno.ENXIO and stat.S_ISFIFO(os.stat(path).st_mode)
        reason = "nobody reads the pipe" if unread else error.strerror or error
        raise OSError(f"{path}: cannot be written ({reason})") from error


def _write_special(path: str, write: Callable[[int], None]) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_NONBLOCK)  # a pipe that nobody reads would block
    try:
        os.set_blocking(handle, True)
        write(handle)
    finally:
        os.close(handle)


def _write_regular(path: str, write: Callable[[int], None]) -> None:
    place = os.path.realpath(path)
    for number, wrong in (errno.ELOOP, os.path.islink), (errno.EISDIR, os.path.isdir):
        if wrong(place):  # a file can trade names with a folder too
            raise OSError(number, os.strerror(number))
    temporary = f"{place}.{os.getpid()}.part"
    handle = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    try:
        try:
            write(handle)
        finally:
            os.close(handle)
        put_in_place(temporary, place)
    finally:
        if os.path.exists(temporary):
            os.unlink(temporary)


def put_in_place(temporary: str, path: str) -> None:
    """Rename a file over another, or to a new name, at once.

    File systems wait for the disk where a new file replaces an old one. Two that trade names do
    not; the old one goes then.
    """
    if os.path.exists(path):
        try:
            exchange = ctypes.CDLL(None).renameat2
        except (OSError, AttributeError):  # not Linux
            exchange = None
        here, trade = -100, 2
        names = (os.fsencode(os.path.abspath(name)) for name in (temporary, path))
        old, new = names
        if exchange is not None and not exchange(here, old, here, new, trade):
            os.unlink(temporary)
            return
    os.replace(temporary, path)
