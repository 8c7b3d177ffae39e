"""C kernels, compiled at first use and kept: what Numba would do at a tenth of the start-up.

The files of this folder are compiled once by the machine's own compiler into a shared library in
the user's cache folder, or a private one where that can't be written, named by a hash over
everything that shapes it: sources, flags, compiler, processor. Later processes only open it. A
script may carry its quick library compiled already (`carried.py`): it is opened first. Where there
is no compiler, or it fails, there are no C kernels and the caller uses its own in Numba or Python.
Standard library only, so that a stand-alone script can carry it.
"""

from __future__ import annotations

import ctypes
import os
import sys

from tuner_plugins.kernel_folder import digest_of, is_ours, kernel_folders
from tuner_plugins.nmf.kernels.carried import CARRIED, open_carried
from tuner_plugins.nmf.kernels.sources import BUILD, KERNEL_FILES, PLAIN

TYPE_CHECKING = False  # no functools, no typing: each costs a script as much as opening the kernels
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Any

    Parts = tuple[tuple[str, ...], ...]

FLAGS = ("-std=gnu11", "-O2", "-ffp-contract=off", "-fPIC")
"""-O3 takes half as long again to compile; functions that gain by it ask for it themselves."""

NATIVE_FLAG = "-march=native"

PROX_UNITS = ("prox/taut_string.c", "prox/pull.c")
"""What defines ``tuner_prox_tv1d`` (prox/prox.h) in both libraries: the fused lasso's algorithm."""

PROX_LONG_UNITS = ("prox/lanes.c", "prox/warm.c")
"""What makes it faster for long signals; left out of the quick library, with -DPROX_PLAIN."""

PARTS = (("products.c",), PROX_UNITS, PROX_LONG_UNITS)
QUICK_PARTS = (
    ("fast/inflate.c", "fast/read.c", "fast/write.c", "fast/bins.c"),
    (*PROX_UNITS, "fast/factorize.c"),
)
"""The quick library is all that a quick factorisation needs: a script's first run waits for it.

The files of a part go through one compiler (to start one takes as long as to compile a hundred
lines), the parts side by side.
"""


def kernel_parts(quick: bool = False) -> tuple[Parts, tuple[str, ...]]:
    """Return the parts that a library is compiled from, and the compiler's flags."""
    return (QUICK_PARTS, (*FLAGS, "-DPROX_PLAIN")) if quick else (PARTS, FLAGS)


_OPENED: dict[bool, ctypes.CDLL | None] = {}


def load_kernels(quick: bool = False) -> ctypes.CDLL | None:
    """Return the compiled kernels, or None where they cannot be had: use the Numba ones then."""
    if quick not in _OPENED:
        _OPENED[quick] = _find_kernels(quick)
    return _OPENED[quick]


def use_kernels(library: Any) -> None:
    """Let `load_kernels` return this quick library from now on."""
    _OPENED[True] = library


def _find_kernels(quick: bool) -> ctypes.CDLL | None:
    if os.environ.get("TUNER_NATIVE", "1") == "0":
        return None
    library = open_carried(CARRIED, source_digest()) if quick and CARRIED else None
    return library or compile_kernels(quick)


def compile_kernels(quick: bool) -> ctypes.CDLL | None:
    """Return the library made of the sources, which may be in the cache; None where none can be."""
    compiler = find_compiler()
    if compiler is None or not KERNEL_FILES:
        return None
    parts, flags = kernel_parts(quick)
    command = [*compiler, *flags]
    name = f"kernels-{compiled_digest(KERNEL_FILES, parts, command)}.so"
    paths = [os.path.join(folder, name) for folder in kernel_folders()]
    for path in paths:
        library = open_trusted(path)
        if library is not None:
            return library
    targets = [[NATIVE_FLAG], []] if _processor() else [[]]
    for path in paths[-1:]:
        library = _builder("compile_library")(KERNEL_FILES, parts, command, targets, path)
        if library is not None:
            return library
    return _builder("compile_private")(KERNEL_FILES, parts, command, targets, name)


def _builder(name: str) -> Callable[..., ctypes.CDLL | None]:
    """Return a function of `compile.py`: only a script's first run has to compile that module."""
    function: Callable[..., ctypes.CDLL | None] = _scope("compile.py", BUILD)[name]
    return function


def plain_kernels() -> Mapping[str, Any]:
    """Return what `plain.py` and its parts define: Python that does what the kernels do, slowly."""
    if not _PLAIN:
        _PLAIN.update(_scope("plain.py", PLAIN))
    return _PLAIN


_PLAIN: dict[str, Any] = {}


def _scope(name: str, text: str) -> dict[str, Any]:
    scope: dict[str, Any] = {"__name__": name.partition(".")[0]}
    exec(compile(text, name, "exec"), scope)
    return scope


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


def source_digest() -> str:
    """Return a digest of all that shapes a carried library but its compiler; empty without any."""
    shaping = (*_words(KERNEL_FILES), repr(kernel_parts(quick=True)))
    return digest_of("\0".join(shaping).encode()) if KERNEL_FILES else ""


def _words(files: Mapping[str, str]) -> Iterator[str]:
    return (word for file in sorted(files.items()) for word in file)


def compiled_digest(files: Mapping[str, str], parts: Parts, command: list[str]) -> str:
    """Return a digest of all that shapes a library made here."""
    status = os.stat(command[0])
    shaping = (
        *_words(files),
        repr((parts, NATIVE_FLAG, command, status.st_size, status.st_mtime_ns)),
        repr((sys.platform, sys.maxsize, os.uname().machine, _processor())),
    )
    return digest_of("\0".join(shaping).encode())


def _processor() -> str:
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
