"""Averages of a bigWig track over bins, in one pass over its blocks and without its records."""

from __future__ import annotations

import ctypes
import functools
import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tuner_plugins.nmf.io.bigwig import read_blocks, read_runs
from tuner_plugins.nmf.io.step_functions import bin_ends, bin_runs, run_lengths
from tuner_plugins.nmf.kernels.build import load_kernels
from tuner_plugins.nmf.model.signal import fill_gaps


class _BinsTrack(ctypes.Structure):
    """The C kernel's ``bins_track``."""

    _fields_ = (
        ("start", ctypes.c_int64),
        ("end", ctypes.c_int64),
        ("width", ctypes.c_int64),
        ("last", ctypes.c_int64),
        ("chrom", ctypes.c_int64),
        ("sums", ctypes.c_void_p),
        ("covered", ctypes.c_void_p),
    )


def read_bins(
    path: str | os.PathLike[str],
    chrom: str,
    start: int,
    end: int,
    widths: Sequence[int],
    policy: str = "zero",
) -> list[NDArray[np.float64]]:
    """Average a track over bins of each of these widths.

    Parameters
    ----------
    path : path
        A bigWig file.
    chrom, start, end
        Region, 0-based and half-open.
    widths : sequence of int
        Bases a bin; the last bin may be shorter.
    policy : {"zero", "mean"}
        What positions without data count as: see `fill_gaps`.

    Returns
    -------
    list of ndarray of shape (bins,)
        One for each width.

    Raises
    ------
    BigWigError
        Where the file is missing or damaged, or has no such region.
    SignalError
        Where it holds infinite values.
    """
    found = _bin_blocks(path, chrom, start, end, widths, policy)
    if found is not None:
        return found
    runs = fill_gaps(read_runs(path, chrom, start, end), start, policy)
    return [bin_runs(runs, start, end, width) for width in widths]


def _bin_blocks(
    path: str | os.PathLike[str],
    chrom: str,
    start: int,
    end: int,
    widths: Sequence[int],
    policy: str,
) -> list[NDArray[np.float64]] | None:
    """Do it in C; None where there is no C kernel or the track needs a careful reader."""
    kernel = _c_bin_block()
    if kernel is None:
        return None
    sums = [np.zeros(-(-(end - start) // width)) for width in widths]
    covered = [np.zeros(len(row)) for row in sums]
    tracks: list[_BinsTrack] = []
    for swapped, chrom_id, first, last, block in read_blocks(path, chrom, start, end):
        tracks = tracks or [
            _BinsTrack(start, end, width, 0, chrom_id, row.ctypes.data, bases.ctypes.data)
            for width, row, bases in zip(widths, sums, covered, strict=True)
        ]
        for track in tracks:
            if kernel(block, len(block), swapped, first, last, ctypes.byref(track)):
                return None
    for width, row, bases in zip(widths, sums, covered, strict=True):
        lengths = run_lengths(bin_ends(end - start, width))
        if policy == "mean" and bases.any():
            row += (lengths - bases) * (row.sum() / bases.sum())
        row /= lengths
    return sums


@functools.lru_cache(maxsize=1)
def _c_bin_block() -> Callable[..., Any] | None:
    library = load_kernels()
    if library is None:
        return None
    function = library.tuner_bin_block
    word = ctypes.c_uint64
    function.argtypes = [ctypes.c_char_p, ctypes.c_int64, ctypes.c_int, word, word]
    function.argtypes = [*function.argtypes, ctypes.POINTER(_BinsTrack)]
    function.restype = ctypes.c_int
    return function
