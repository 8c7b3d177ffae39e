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

from tuner_plugins.code_cache import load_code
from tuner_plugins.kernel_folder import digest_of
from tuner_plugins.nmf.kernels.carried import CARRIED, open_carried
from tuner_plugins.nmf.kernels.sources import BUILD, KERNEL_FILES, PLAIN

TYPE_CHECKING = False  # no functools, no typing: each costs a script as much as opening the kernels
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    Parts = tuple[tuple[str, ...], ...]

FLAGS = ("-std=gnu11", "-O2", "-ffp-contract=off", "-fPIC")
"""-O3 takes half as long again to compile; functions that gain by it ask for it themselves."""

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


def load_kernels(quick: bool = False, make: bool = True) -> ctypes.CDLL | None:
    """Return the compiled kernels, or None where they cannot be had: use the Numba ones then.

    `make`: whether to compile them where none are kept.
    """
    if quick not in _OPENED:
        library = _find_kernels(quick, make)
        if library is None and not make:
            return None
        _OPENED[quick] = library
    return _OPENED[quick]


def use_kernels(library: Any) -> None:
    """Let `load_kernels` return this quick library from now on."""
    _OPENED[True] = library


def _find_kernels(quick: bool, make: bool = True) -> ctypes.CDLL | None:
    if os.environ.get("TUNER_NATIVE", "1") == "0":
        return None
    library = open_carried(CARRIED, source_digest()) if quick and CARRIED else None
    return library or compile_kernels(quick, make)


def compile_kernels(quick: bool, make: bool = True) -> ctypes.CDLL | None:
    """Return the library made of the sources, which may be in the cache; None where none can be."""
    if not KERNEL_FILES:
        return None
    library: ctypes.CDLL | None = _scope("build.py", BUILD)["open_library"](
        "kernels", KERNEL_FILES, *kernel_parts(quick), make
    )
    return library


def compile_soon() -> ctypes.CDLL | None:
    """Return the quick library without optimisation, for this process alone; None where none is.

    It gives the same bytes, and is compiled in a third of the time.
    """
    scope = _scope("build.py", BUILD)
    compiler = scope["find_compiler"]()
    if compiler is None or not KERNEL_FILES or os.environ.get("TUNER_NATIVE", "1") == "0":
        return None
    parts, flags = kernel_parts(quick=True)
    command = [*compiler, *flags, "-O0"]  # the last -O counts
    library: ctypes.CDLL | None = scope["compile_private"](
        KERNEL_FILES, parts, command, [[]], "kernels.so"
    )
    return library


def plain_kernels() -> Mapping[str, Any]:
    """Return what `plain.py` and its parts define: Python that does what the kernels do, slowly."""
    if not _PLAIN:
        _PLAIN.update(_scope("plain.py", PLAIN))
    return _PLAIN


_PLAIN: dict[str, Any] = {}


def _scope(name: str, text: str) -> dict[str, Any]:
    """Return what a text defines that few runs need: a script compiles it where it does."""
    scope: dict[str, Any] = {"__name__": name.partition(".")[0]}
    exec(load_code(text, name), scope)
    return scope


def source_digest() -> str:
    """Return a digest of all that shapes a carried library but its compiler; empty without any."""
    words = (word for file in sorted(KERNEL_FILES.items()) for word in file)
    shaping = (*words, repr(kernel_parts(quick=True)))
    return digest_of("\0".join(shaping).encode()) if KERNEL_FILES else ""
