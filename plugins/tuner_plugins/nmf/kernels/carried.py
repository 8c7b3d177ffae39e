"""The quick library that a script carries, compiled where it was exported (`carry.py`).

It runs on any x86-64 processor, and is opened from memory: a first run neither compiles nor writes
anything. What does not fit the machine or the script's C source, or is damaged, is left alone: the
source is compiled then. Standard library only: a script carries this module.
"""

from __future__ import annotations

import ctypes
import os
import sys

from tuner_plugins.kernel_folder import digest_of, kernel_folders

TYPE_CHECKING = False  # as in fast_path.py
if TYPE_CHECKING:
    from collections.abc import Mapping

CARRIED: Mapping[str, str] = {}
"""Written into a script that carries a library.

machine, compiler, flags: what it is for, and what made it; source: the digest of its C source
(`source_digest`); digest: its own; library: itself, as base64 of zlib.
"""


def machine_name() -> str:
    """Return system, processor and C library; empty where they are none that a library is for."""
    try:
        libc = os.confstr("CS_GNU_LIBC_VERSION") or ""
    except (AttributeError, ValueError, OSError):  # another C library, or none
        return ""
    here = os.uname()
    wide = sys.maxsize > 1 << 32  # a 32-bit Python on a 64-bit kernel
    return f"{here.sysname} {here.machine} {libc.split()[0]}" if libc and wide else ""


def open_carried(carried: Mapping[str, str], source: str) -> ctypes.CDLL | None:
    """Return the library, opened; None where it is not for this machine or does not open here.

    `source`: the digest that its C source must have; empty where there is no source.
    """
    try:
        if carried["machine"] != machine_name() or source not in ("", carried["source"]):
            return None
        content = unpack(carried["library"])
        if digest_of(content) != carried["digest"]:
            return None
    except (KeyError, ValueError, ImportError):  # a damaged script, or a Python without zlib
        return None
    return _open_in_memory(content) or _open_as_file(content)


def unpack(text: str) -> bytes:
    """Return the bytes of a library; raise ValueError where the text is damaged."""
    import zlib
    from binascii import a2b_base64

    try:
        return zlib.decompress(a2b_base64(text))
    except zlib.error as error:
        raise ValueError(str(error)) from error


def _open_in_memory(content: bytes) -> ctypes.CDLL | None:
    """Open a file that has no name; it stays open, for the loader knows libraries by this path."""
    try:
        handle = os.memfd_create("kernels")
        if os.write(handle, content) == len(content):
            return ctypes.CDLL(f"/proc/self/fd/{handle}")
    except (AttributeError, OSError):  # not in this Python, or forbidden
        pass
    return None


def _open_as_file(content: bytes) -> ctypes.CDLL | None:
    """Open a file in the cache folder, whose name is taken away again at once."""
    for folder in kernel_folders()[-1:]:
        path = os.path.join(folder, f"carried-{os.urandom(8).hex()}.so")
        try:
            handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o700)
            try:
                if os.write(handle, content) == len(content):
                    return ctypes.CDLL(path)
            finally:
                os.close(handle)
                os.unlink(path)
        except OSError:  # read-only, full, or nothing may be executed there
            continue
    return None
