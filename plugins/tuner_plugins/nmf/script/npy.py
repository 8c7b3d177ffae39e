"""Loadings to a ``.npy`` file, block by block: the full array is never in memory."""

from __future__ import annotations

import os
import sys
import time
from io import FileIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tuner_plugins.nmf.io.folder import is_bigwig
from tuner_plugins.nmf.io.step_functions import run_lengths
from tuner_plugins.nmf.model.factorize import Loadings
from tuner_plugins.nmf.script.placing import is_script, is_special, npy_head, write_whole

_BLOCK_BYTES = 1 << 20
_PROGRESS_SECONDS = 1.0


def output_problem(path: str, over_bigwig: bool = False) -> str | None:
    """Describe in one line why nothing can be put at `path`; None where something can.

    `over_bigwig`: a bigWig file may be replaced.
    """
    if path in ("", "-"):
        got = "- (/dev/stdout is standard output)" if path else "nothing"
        return f"expected the name of a file, got {got}"
    if os.path.isdir(path):
        return f"{path} is a folder; give the name of a file"
    place = os.path.realpath(path)
    folder = os.path.dirname(place)
    if os.path.islink(place):
        return f"{path} is a circle of links; name a file"
    if is_special(path):  # written to as it is, whatever its folder
        return None if os.access(path, os.W_OK) else f"{path} is read-only; give another name"
    if not os.path.isdir(folder):
        return f"no such folder: {folder}; make it first"
    if not os.access(folder, os.W_OK):
        return f"the folder {folder} is read-only; give another"
    return _loss(path, over_bigwig) if os.path.exists(path) else None


def _loss(path: str, over_bigwig: bool) -> str | None:
    """Describe in one line why a file must stay; None where it may be replaced."""
    if not os.access(path, os.W_OK):
        return f"{path} is read-only; give another name"
    if is_script(path):
        return f"{path} is this script, which would be lost; give another name"
    if not over_bigwig and os.access(path, os.R_OK) and is_bigwig(path):
        return f"{path} is a bigWig file, which would be lost; give another name"
    return None


def save_loadings(path: str, loadings: Loadings, dtype: str = "float64") -> None:
    """Write loadings per base as an array of shape (positions, k), for `numpy.load`.

    Every value is written, none left as a hole in the file, which appears when it is whole. Links
    are followed; a device or a pipe is written to as it is.

    Parameters
    ----------
    path : str
        File to write, in an existing folder.
    loadings : Loadings
    dtype : {"float64", "float32"}
        Of the values in the file.

    Raises
    ------
    OSError
        The file cannot be written.
    """

    def write(handle: int) -> None:
        with open(handle, "wb", buffering=0, closefd=False) as file:
            file.write(npy_head(dtype, loadings.size, len(loadings.values)))
            _write(file, loadings, np.dtype(dtype))

    write_whole(path, write)


def _write(file: FileIO, loadings: Loadings, dtype: np.dtype[Any]) -> None:
    k, runs = loadings.values.shape
    lengths = run_lengths(loadings.ends)
    report_at = time.monotonic() + _PROGRESS_SECONDS if sys.stderr.isatty() else float("inf")
    positions = max(1, _BLOCK_BYTES // (k * dtype.itemsize))
    begin = 0
    while begin < runs:
        done = loadings.ends[begin] - lengths[begin]
        stop = int(np.searchsorted(loadings.ends, done + positions, side="right"))
        stop = max(stop, begin + 1)
        rows = np.ascontiguousarray(loadings.values[:, begin:stop].T, dtype=dtype)
        _write_repeated(file, rows, lengths[begin:stop], positions)
        begin = stop
        if time.monotonic() > report_at:
            report_at += _PROGRESS_SECONDS
            share = loadings.ends[stop - 1] / loadings.size
            print(f"\rwriting: {share:.0%}", end="", file=sys.stderr, flush=True)
    if report_at < float("inf"):
        print("\r\033[K", end="", file=sys.stderr, flush=True)


def _write_repeated(
    file: FileIO, rows: NDArray[Any], lengths: NDArray[np.int64], positions: int
) -> None:
    """Write each row as often as its run is long; a single run may be longer than a block."""
    if len(rows) > 1:
        _write_all(file, np.repeat(rows, lengths, axis=0))
        return
    remaining = int(lengths[0])
    block = np.repeat(rows, min(remaining, positions), axis=0)
    while remaining > 0:
        _write_all(file, block[:remaining])
        remaining -= len(block)


def _write_all(file: FileIO, block: NDArray[Any]) -> None:
    data = block.data.cast("B") if block.size else b""
    while len(data):
        data = data[file.write(data) :]
