"""The machine that native code is built on: its compiler, its processor, what may be opened.

Standard library only, and nothing that is slow to import: a stand-alone script carries this module.
"""

from __future__ import annotations

import ctypes
import os
import sys

from tuner_plugins.kernel_folder import digest_of, is_ours

TYPE_CHECKING = False  # importing typing would take milliseconds of a script
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

NATIVE_FLAG = "-march=native"


def find_compiler() -> list[str] | None:
    """Return the command of the C compiler, ``$CC`` first, or None."""
    for command in (os.environ.get("CC", ""), "cc", "gcc", "clang"):
        words = command.split()
        program = _find_program(words[0]) if words else None
        if program is not None:
            return [program, *words[1:]]
    return None


def _find_program(name: str) -> str | None:
    """Do what `shutil.which` does: importing it takes as long as opening the kernels."""
    folders = [""] if os.path.dirname(name) else os.get_exec_path()
    for path in (os.path.join(folder, name) for folder in folders):
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    return None


def open_trusted(path: str) -> ctypes.CDLL | None:
    """Return a library that nobody else may have written, opened; None where there is none."""
    try:
        return ctypes.CDLL(path) if is_ours(os.stat(path)) else None
    except OSError:  # absent, not executable here, or not a library
        return None


def compiled_digest(
    files: Mapping[str, str], parts: Sequence[Sequence[str]], command: list[str]
) -> str:
    """Return a digest of all that shapes a library made here."""
    status = os.stat(command[0])
    shaping = (
        *words_of(files),
        repr((parts, NATIVE_FLAG, command, status.st_size, status.st_mtime_ns)),
        repr((sys.platform, sys.maxsize, os.uname().machine, processor())),
    )
    return digest_of("\0".join(shaping).encode())


def words_of(files: Mapping[str, str]) -> Iterator[str]:
    """Return names and texts of files, in an order of their own."""
    return (word for file in sorted(files.items()) for word in file)


def processor() -> str:
    """Name the processor and its instructions; empty where the system does not tell.

    Homes are shared by machines of a cluster: code for one processor must not run on another.
    """
    try:
        with open("/proc/cpuinfo", "rb") as file:
            head = file.read(8192)  # the first core's entry; the rest is slow on many cores
    except OSError:
        return ""
    keys = (b"vendor_id", b"model name", b"flags", b"Features", b"CPU part")
    lines = head.split(b"\n\n")[0].splitlines()
    return b"\n".join(line for line in lines if line.startswith(keys)).decode("latin-1")
