"""Open C sources as a library: compiled at first use, then kept in the user's cache folder.

A library is named by a hash over everything that shapes it: sources, flags, compiler, processor.
Later processes only open it. Where there is no compiler, or it fails, there is no library, and the
caller does without.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from tuner_plugins.kernel_folder import is_ours, kernel_folders
from tuner_plugins.native.compile import Parts, compile_library, compile_private

NATIVE_FLAG = "-march=native"


def c_files(folder: Path) -> dict[str, str]:
    """Return the C sources and headers below a folder as text, by their names relative to it."""
    paths = sorted(path for path in folder.rglob("*.[ch]"))
    return {path.relative_to(folder).as_posix(): path.read_text("utf-8") for path in paths}


def open_library(
    stem: str, files: Mapping[str, str], parts: Parts, flags: tuple[str, ...]
) -> ctypes.CDLL | None:
    """Return the library of some C sources, or None where it cannot be had.

    Parameters
    ----------
    stem : str
        What its file's name begins with.
    files : mapping of str to str
        Sources and headers, by name.
    parts : sequence of sequences of str
        Names of sources that go through one compiler together; the parts do so side by side.
    flags : tuple of str
        For the compiler; code for this very processor is asked for beside them.
    """
    compiler = None if os.environ.get("TUNER_NATIVE", "1") == "0" else find_compiler()
    if compiler is None:
        return None
    command = [*compiler, *flags]
    name = f"{stem}-{digest(files, parts, command)}.so"
    paths = [os.path.join(folder, name) for folder in kernel_folders()]
    for path in paths:
        library = _open_trusted(path)
        if library is not None:
            return library
    targets = [[NATIVE_FLAG], []] if processor() else [[]]
    for path in paths[-1:]:
        library = compile_library(files, parts, command, targets, path)
        if library is not None:
            return library
    return compile_private(files, parts, command, targets, name)


def find_compiler() -> list[str] | None:
    """Return the command of the C compiler, ``$CC`` first, or None."""
    for command in (os.environ.get("CC", ""), "cc", "gcc", "clang"):
        words = command.split()
        program = shutil.which(words[0]) if words else None
        if program is not None:
            return [program, *words[1:]]
    return None


def _open_trusted(path: str) -> ctypes.CDLL | None:
    try:
        return ctypes.CDLL(path) if is_ours(os.stat(path)) else None
    except OSError:  # absent, not executable here, or not a library
        return None


def digest(files: Mapping[str, str], parts: Parts, command: list[str]) -> str:
    """Return 32 hexadecimal digits that differ where a library would."""
    status = os.stat(command[0])
    shaping = (
        *(word for file in sorted(files.items()) for word in file),
        repr((parts, NATIVE_FLAG, command, status.st_size, status.st_mtime_ns)),
        repr((sys.platform, sys.maxsize, os.uname().machine, processor())),
    )
    return hashlib.blake2b("\0".join(shaping).encode(), digest_size=16).hexdigest()


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
