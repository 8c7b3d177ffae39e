"""The proximal operator of the one-dimensional total variation, exact, in linear time.

The fused lasso's smoothing step: neighbours are pulled together until only steps worth their
height remain. Public on its own: ``from tuner_plugins.nmf.model.prox_tv import prox_tv1d``.

Python calls the operator here and nowhere else, C through the same function, ``tuner_prox_tv1d`` of
``kernels/prox/prox.h``: another algorithm replaces ``PROX_UNITS`` in ``kernels/build.py``, and
`numba_prox` for machines without a C compiler.
"""

from __future__ import annotations

import ctypes
import functools
from typing import TYPE_CHECKING, Any

import numpy as np

from tuner_plugins.nmf.kernels.build import load_kernels
from tuner_plugins.nmf.kernels.parallel import run_threads
from tuner_plugins.nmf.model.prox_tv_numba import numba_prox

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike

    Array = np.ndarray[Any, Any]
    ProxKernel = Callable[[Array, Array | None, Array, float, Array | None], int]

PROX_STATUS = {
    1: "not enough memory",
    2: "y must be finite, and so must its weighted sum",
    3: "weights must be finite and above 0",
}


class ProxError(ValueError):
    """The input of a proximal operator cannot be used."""


def prox_tv1d(y: ArrayLike, lam: float, weights: ArrayLike | None = None) -> Array:
    """Return the exact proximal operator of the one-dimensional total variation.

    Solves ``argmin_x 1/2 sum_i weights_i (x_i - y_i)**2 + lam sum_i |x_{i+1} - x_i|`` with the
    taut string of Davies & Kovac (2001, doi:10.1214/aos/996986501), hulls kept as merged segments:
    linear time and memory on every signal. Sums are kept in float64 whatever the type of `y`: where
    ``sum weights |y|`` is 1e15 `lam` or more, the penalty is lost in their rounding.

    Parameters
    ----------
    y : array_like, shape (n,)
        The signal, in any unit. float32 stays float32; everything else becomes float64.
    lam : float
        The penalty on a step of height 1, at least 0, in units of `y` times `weights`.
    weights : array_like, shape (n,), optional
        Weight of each position, above 0; a run of m equal positions is one of weight m. All 1 by
        default.

    Returns
    -------
    ndarray, shape (n,)
        The minimiser, of the type of `y`, within ``[min(y), max(y)]``.

    Raises
    ------
    ProxError
        If shapes do not match, `lam` is negative or not finite, a weight is not above 0, or a
        value is not finite.

    Examples
    --------
    >>> prox_tv1d([0.0, 0.0, 6.0, 6.0], 1.0)
    array([0.5, 0.5, 5.5, 5.5])
    """
    y = np.asarray(y)
    y = np.ascontiguousarray(y, dtype=np.float32 if y.dtype == np.float32 else np.float64)
    if y.ndim != 1:
        raise ProxError(f"y must have one dimension, not shape {y.shape}; loop over the columns")
    out: Array = np.empty_like(y)
    prox_tv1d_columns(y[None], lam, weights, out[None])
    return out


def prox_tv1d_columns(
    columns: Array,
    lam: ArrayLike,
    weights: Any = None,
    out: Array | None = None,
    threads: int = 1,
    steps: Array | None = None,
) -> Array:
    """Apply `prox_tv1d` to every column of a matrix that is stored column after column.

    Parameters
    ----------
    columns : ndarray, shape (k, n), float64 or float32
        ``columns[j]`` is column j along the genome, contiguous: the transpose of the loadings.
    lam : float or array_like, shape (k,)
        The penalty: the same for every column, or one for each.
    weights : array_like, shape (n,), optional
        Weight of each position, the same for every column.
    out : ndarray, shape (k, n), optional
        Where to write; may be `columns` itself, and is by default. Undefined after an error.
    threads : int
        How many columns are worked on at once.
    steps : ndarray of int8, shape (k, n), optional
        For a series of similar columns: in, the sign of the step before each position in the
        answer to columns like these, or 0; out, those of this answer (a kernel that makes no use
        of them leaves them alone). Any values give the same answer; good ones give it sooner.

    Returns
    -------
    ndarray, shape (k, n)
        `out`. What was not negative is not negative.

    Raises
    ------
    ProxError
        As `prox_tv1d`, and if a row is not contiguous, the types differ, or `steps` come without
        an `out` of its own.

    Examples
    --------
    >>> prox_tv1d_columns(np.array([[0.0, 0.0, 6.0, 6.0], [1.0, 3.0, 1.0, 1.0]]), 1.0)
    array([[0.5, 0.5, 5.5, 5.5],
           [1.5, 1.5, 1.5, 1.5]])
    """
    out = columns if out is None else out
    _check_columns(columns, out)
    lams = _column_penalties(lam, len(columns))
    if weights is not None:
        weights = np.ascontiguousarray(weights, dtype=columns.dtype)
        if weights.shape != columns.shape[1:]:
            raise ProxError(f"expected {columns.shape[1]} weights, not shape {weights.shape}")
    if steps is not None:
        if steps.shape != columns.shape or steps.dtype != np.int8 or not steps.flags.c_contiguous:
            raise ProxError(f"expected steps as contiguous int8 of shape {columns.shape}")
        if np.may_share_memory(columns, out):
            raise ProxError("with steps, pass an `out` that is not the columns")
    kernel = _c_prox() or numba_prox()
    statuses = [0] * len(columns)

    def solve(j: int) -> None:
        remembered = None if steps is None else steps[j]
        statuses[j] = kernel(columns[j], weights, out[j], lams[j], remembered)

    run_threads(solve, len(columns), threads)
    for status in filter(None, statuses):
        raise MemoryError(PROX_STATUS[1]) if status == 1 else ProxError(PROX_STATUS[status])
    return out


def _column_penalties(lam: ArrayLike, k: int) -> list[float]:
    given = np.asarray(lam, dtype=float)
    if given.shape not in ((), (k,)):
        raise ProxError(f"expected one lam, or {k} of them, not an array of shape {given.shape}")
    for each in given.flat:
        if not (np.isfinite(each) and each >= 0):
            raise ProxError(f"lam must be a finite number of at least 0, not {each}")
    lams: list[float] = np.broadcast_to(given, k).tolist()
    return lams


def _check_columns(columns: Array, out: Array) -> None:
    if columns.ndim != 2 or out.shape != columns.shape:
        raise ProxError(f"expected two arrays of shape (k, n), not {columns.shape} and {out.shape}")
    if columns.dtype not in (np.float64, np.float32) or out.dtype != columns.dtype:
        raise ProxError(f"expected float64 or float32 twice, not {columns.dtype} and {out.dtype}")
    if not out.flags.writeable:
        raise ProxError("the output is read-only: pass `out`")
    if not all(a.strides[1] == a.itemsize or a.shape[1] < 2 for a in (columns, out)):
        raise ProxError("each column must be contiguous: pass the loadings transposed, (k, n)")


def has_warm_start(dtype: Any) -> bool:
    """Return whether `prox_tv1d_columns` makes use of steps, for columns of this type.

    Examples
    --------
    >>> has_warm_start(np.float32)
    False
    """
    return np.dtype(dtype) == np.float64 and load_kernels() is not None


@functools.lru_cache(maxsize=1)
def _c_prox() -> ProxKernel | None:
    """Return ``kernel(y, weights, out, lam, steps)``: contiguous rows in, a status out.

    float32 goes through a copy in float64: sums of float32 would lose whole positions.
    """
    library = load_kernels()
    if library is None:
        return None
    function = library.tuner_prox_tv1d
    address = ctypes.c_void_p
    function.argtypes = [address, address, address, ctypes.c_int64, ctypes.c_double, address]
    function.restype = ctypes.c_int

    def kernel(y: Array, weights: Array | None, out: Array, lam: float, steps: Array | None) -> int:
        wide = y.astype(np.float64, copy=False)
        heavy = None if weights is None else weights.astype(np.float64, copy=False)
        answer = out
        if out.dtype != np.float64:
            answer = wide if steps is None else np.empty(out.shape)
        addresses = [None if a is None else a.ctypes.data for a in (wide, heavy, answer, steps)]
        status = int(function(*addresses[:3], y.size, lam, addresses[3]))
        if answer is not out:
            out[:] = answer
        return status

    return kernel
