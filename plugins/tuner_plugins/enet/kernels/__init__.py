"""The C kernels of the pass and of the fits: compiled at first use, or None without a compiler."""

from __future__ import annotations

import ctypes
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tuner_plugins.native.build import c_files, open_library

FILES = c_files(Path(__file__).parent)
PARTS = (("newton.c",), ("sums.c",), ("descent.c", "tile.c", "polish.c"))
FLAGS = ("-std=gnu11", "-O3", "-fno-math-errno", "-fno-trapping-math", "-fPIC")

Words = ctypes.Array[ctypes.c_int64]


@cache
def load() -> ctypes.CDLL | None:
    """Return the kernels; None where there is no compiler, and NumPy is to be used."""
    return open_library("enet", FILES, PARTS, FLAGS)


def words(*fields: int | NDArray[np.generic] | None) -> Words:
    """Return numbers and addresses of arrays as a C structure; the arrays must outlive it."""
    return (ctypes.c_int64 * len(fields))(*map(_word, fields))


def _word(field: int | NDArray[np.generic] | None) -> int:
    if not isinstance(field, np.ndarray):
        return field or 0
    assert field.flags.c_contiguous
    return field.ctypes.data


def call(name: str, problem: Words, begin: int, end: int, *more: NDArray[np.int64]) -> None:
    """Call a kernel for a range of genes or folds; other threads run meanwhile.

    Raises
    ------
    MemoryError
        There is not the memory that the kernel works in.
    """
    library = load()
    assert library is not None
    places = (ctypes.c_void_p(array.ctypes.data) for array in more)
    if library[name](problem, ctypes.c_int64(begin), ctypes.c_int64(end), *places):
        raise MemoryError(f"{name}: no memory to work in")
