"""The dense products of a round: loadings from the signal, and sums of loadings times signal.

Both wait for memory more than for arithmetic. So the signal is read as it is stored, float32 where
that holds it exactly, and no array of its size is made. C kernels where there are some and the
loadings are float64, else NumPy on blocks that stay in the cache.
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tuner_plugins.nmf.kernels.build import load_kernels
from tuner_plugins.nmf.kernels.parallel import run_threads

_BLOCK_VALUES = 1 << 16
_SPAN = 1 << 17


def project(
    signal: NDArray[Any], projection: NDArray[Any], out: NDArray[Any], threads: int = 1
) -> None:
    """Write ``max(0, projection @ signal)``.

    Parameters
    ----------
    signal : ndarray of shape (tracks, runs), float64 or float32
    projection : ndarray of float64 of shape (k, tracks)
    out : ndarray of shape (k, runs), float64 or float32
        The arithmetic is done in its type.
    threads : int
    """
    library = _library(signal, out)
    spans = _spans(out.shape[1])
    step = _block(len(out) + len(signal))
    projection = np.ascontiguousarray(projection, dtype=out.dtype)

    def work(number: int) -> None:
        if library is not None:
            factors = projection.ctypes.data
            library.tuner_project(*_signal(signal), factors, *_loadings(out), *spans[number])
            return
        for begin in range(*spans[number], step):
            part = out[:, begin : min(begin + step, spans[number][1])]
            block = signal[:, begin : begin + part.shape[1]].astype(out.dtype, copy=False)
            np.matmul(projection, block, out=part)
            np.maximum(part, 0, out=part)

    run_threads(work, len(spans), threads)


def weighted_products(
    loadings: NDArray[Any], signal: NDArray[Any], lengths: NDArray[Any] | None, threads: int = 1
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return ``loadings D loadings'`` and ``loadings D signal'`` with D = diag(lengths).

    Sums are added up span by span, so that the number of threads changes no digit.

    Parameters
    ----------
    loadings : ndarray of shape (k, runs), float64 or float32
        The arithmetic is done in its type; sums of blocks are added in float64.
    signal : ndarray of shape (tracks, runs), float64 or float32
    lengths : ndarray of shape (runs,), of the loadings' type, or None
        None stands for 1 everywhere.
    threads : int

    Returns
    -------
    ndarray of shape (k, k), ndarray of shape (k, tracks)
    """
    k = len(loadings)
    library = _library(signal, loadings)
    spans = _spans(loadings.shape[1])
    products = np.zeros((len(spans), k, k + len(signal)))
    step = _block(2 * k + len(signal))

    def work(number: int) -> None:
        if library is not None:
            weights = None if lengths is None else lengths.ctypes.data
            sums = products[number].ctypes.data
            arrays = (*_loadings(loadings), *_signal(signal), weights, sums)
            library.tuner_products(*arrays, *spans[number])
            return
        gram, cross = products[number, :, :k], products[number, :, k:]
        for begin in range(*spans[number], step):
            inside = slice(begin, min(begin + step, spans[number][1]))
            part = loadings[:, inside]
            weighted = part if lengths is None else part * lengths[inside]
            gram += weighted @ part.T
            cross += weighted @ signal[:, inside].T.astype(part.dtype, copy=False)

    run_threads(work, len(spans), threads)
    total = products.sum(axis=0)
    return total[:, :k], total[:, k:]


def _library(signal: NDArray[Any], loadings: NDArray[Any]) -> ctypes.CDLL | None:
    """Return the C kernels where they can work on these arrays."""
    usable = loadings.dtype == np.float64 and loadings.flags.c_contiguous and loadings.size
    if not (usable and signal.dtype in (np.float64, np.float32) and len(signal)):
        return None
    if signal.strides[1] != signal.itemsize and signal.shape[1] > 1:
        return None
    library = load_kernels()
    if library is not None and library.tuner_project.argtypes is None:
        pointer, count = ctypes.c_void_p, ctypes.c_int64
        rows = [pointer, ctypes.c_int, count, count]
        columns = [count, pointer, count]
        library.tuner_products.argtypes = [*columns, *rows, pointer, pointer, count, count]
        library.tuner_products.restype = None
        library.tuner_project.restype = None
        library.tuner_project.argtypes = [*rows, pointer, *columns, count, count]
    return library


def _signal(signal: NDArray[Any]) -> tuple[int, bool, int, int]:
    """Return the signal as the kernels take it: address, whether single, bytes a row, rows."""
    return signal.ctypes.data, signal.dtype == np.float32, signal.strides[0], len(signal)


def _loadings(loadings: NDArray[Any]) -> tuple[int, int, int]:
    """Return the loadings as the kernels take them: rows, address, values a row."""
    return len(loadings), loadings.ctypes.data, loadings.shape[1]


def _spans(runs: int) -> list[tuple[int, int]]:
    """Cut the runs into spans that are worth a thread each."""
    return [(begin, min(begin + _SPAN, runs)) for begin in range(0, runs, _SPAN)]


def _block(rows: int) -> int:
    """Return the number of runs whose `rows` values fit the second-level cache."""
    return max(1024, _BLOCK_VALUES // rows)
