"""Open C sources as a library: compiled at first use, then kept in the user's cache folder.

A library is named by a hash over everything that shapes it: sources, flags, compiler, processor.
Later processes only open it. Where there is no compiler, or it fails, there is no library, and the
caller does without.
"""

from __future__ import annotations

import ctypes
import os

from tuner_plugins.kernel_folder import kernel_folders
from tuner_plugins.native.compile import compile_library, compile_private
from tuner_plugins.native.machine import (
    NATIVE_FLAG,
    compiled_digest,
    find_compiler,
    open_trusted,
    processor,
)

TYPE_CHECKING = False  # as in machine.py
if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tuner_plugins.native.compile import Parts


def c_files(folder: Path) -> dict[str, str]:
    """Return the C sources and headers below a folder as text, by their names relative to it."""
    paths = sorted(path for path in folder.rglob("*.[ch]"))
    return {path.relative_to(folder).as_posix(): path.read_text("utf-8") for path in paths}


def open_library(
    stem: str,
    files: Mapping[str, str],
    parts: Parts,
    flags: tuple[str, ...],
    make: bool = True,
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
    make : bool
        Whether to compile it where none is kept.
    """
    compiler = None if os.environ.get("TUNER_NATIVE", "1") == "0" else find_compiler()
    if compiler is None:
        return None
    command = [*compiler, *flags]
    name = f"{stem}-{compiled_digest(files, parts, command)}.so"
    paths = [os.path.join(folder, name) for folder in kernel_folders()]
    for path in paths:
        library = open_trusted(path)
        if library is not None:
            return library
    if not make:
        return None
    targets = [[NATIVE_FLAG], []] if processor() else [[]]
    for path in paths[-1:]:
        library = compile_library(files, parts, command, targets, path)
        if library is not None:
            return library
    return compile_private(files, parts, command, targets, name)
