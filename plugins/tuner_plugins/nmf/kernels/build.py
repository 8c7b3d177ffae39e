"""C kernels, compiled at first use and kept: what numba would do at a tenth of the start-up.

The source is compiled once by the machine's own compiler into a shared library in the user's cache
folder, or a private one where that can't be written, named by a hash over everything that shapes
it: source, flags, compiler, processor. Later processes only open it. Where there is no compiler, or
it fails, there are no C kernels and the caller uses its Numba kernel. Standard library only, so
that a stand-alone script can carry it.
"""

from __future__ import annotations

import ctypes
import os
import sys

from tuner_plugins.kernel_folder import is_ours, kernel_folders
from tuner_plugins.nmf.kernels.sources import BUILD, KERNEL_FILES

# No functools, no typing: each costs a stand-alone script as much as opening the kernels.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

FLAGS = ("-std=gnu11", "-O3", "-ffp-contract=off", "-fPIC")
QUICK_FLAG = "-O2"  # half as long to compile; functions that gain by more ask for it
NATIVE_FLAG = "-march=native"
QUICK_PARTS = (
    ("quick.c", "bins.c", "quick_inflate.c", "quick_read.c", "quick_write.c"),
    (
        *("quick.c", "prox.c", "prox_blocks.c", "prox_enqueue.c", "prox_follow.c"),
        *("prox_solve.c", "quick_solve.c"),
    ),
)


def kernel_sources(quick: bool = False) -> list[str]:
    """Return the source of all kernels, or in parts what a quick factorisation needs (`quick`).

    That is compiled by itself, its parts side by side, and without wide registers where signals
    are short: the first run of a stand-alone script waits for the compiler.
    """
    if not quick:
        files = KERNEL_FILES.items()
        return ["\n".join(text for name, text in files if not name.startswith("quick"))]
    return [
        "\n".join(["#define PROX_PLAIN", *(KERNEL_FILES[n] for n in part)]) for part in QUICK_PARTS
    ]


def load_kernels(quick: bool = False) -> ctypes.CDLL | None:
    """Return the compiled kernels, or None where they cannot be had: use the Numba ones then."""
    return _open_kernels(quick)[0]


def describe_kernels() -> str:
    """Describe in one line which kernels this process uses, and why."""
    return _open_kernels(False)[1]


_OPENED: dict[bool, tuple[ctypes.CDLL | None, str]] = {}


def _open_kernels(quick: bool) -> tuple[ctypes.CDLL | None, str]:
    if quick not in _OPENED:
        _OPENED[quick] = _find_kernels(quick)
    return _OPENED[quick]


def _find_kernels(quick: bool) -> tuple[ctypes.CDLL | None, str]:
    if os.environ.get("TUNER_NATIVE", "1") == "0":
        return None, "C kernels are switched off (TUNER_NATIVE=0); the Numba kernels are used"
    compiler = find_compiler()
    if compiler is None:
        return None, "no C compiler found (tried $CC, cc, gcc, clang); the Numba kernels are used"
    sources = kernel_sources(quick)
    name = f"kernels-{_digest(sources, compiler)}.so"
    compiler = [*compiler, *FLAGS, *([QUICK_FLAG] if quick else [])]
    targets = [[NATIVE_FLAG], []] if _processor() else [[]]
    paths = [os.path.join(folder, name) for folder in kernel_folders()]
    for path in paths:
        library = _open_trusted(path)
        if library is not None:
            return library, f"C kernels from {path}"
    for path in paths[-1:]:
        library = _builder("compile_library")(sources, compiler, targets, path)
        if library is not None:
            return library, f"C kernels compiled by {compiler[0]} into {path}"
    library = _builder("compile_private")(sources, compiler, targets, name)
    if library is None:
        return None, f"{compiler[0]} did not compile the kernels; the Numba kernels are used"
    return library, f"C kernels compiled by {compiler[0]} for this process (no cache folder)"


def _builder(name: str) -> Callable[..., ctypes.CDLL | None]:
    """Return a function of `build`: only the first run of a script has to compile that module."""
    scope: dict[str, Any] = {"__name__": "build"}
    exec(compile(BUILD, "build.py", "exec"), scope)
    return scope[name]


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


def _open_trusted(path: str) -> ctypes.CDLL | None:
    try:
        return ctypes.CDLL(path) if is_ours(os.stat(path)) else None
    except OSError:  # absent, not executable here, or not a library
        return None


def _digest(sources: list[str], compiler: list[str]) -> str:
    status = os.stat(compiler[0])
    parts = (
        *sources,
        repr((FLAGS, QUICK_FLAG, NATIVE_FLAG, compiler, status.st_size, status.st_mtime_ns)),
        repr((sys.platform, sys.maxsize, os.uname().machine, _processor())),
    )
    return digest_of("\0".join(parts).encode())


def digest_of(content: bytes) -> str:
    """Return a digest of 16 bytes, in hexadecimal digits."""
    try:  # hashlib loads OpenSSL: milliseconds of a script that runs for a tenth of a second
        from _blake2 import blake2b
    except ImportError:
        from hashlib import blake2b
    return str(blake2b(content, digest_size=16).hexdigest())


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
