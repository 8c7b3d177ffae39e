"""The proximal operator's kernel where there is no C compiler: the same algorithm in Python.

Numba compiles it for long signals. It is imported only then: to start it takes seconds.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np

from tuner_plugins.nmf.kernels.build import plain_kernels

if TYPE_CHECKING:
    from collections.abc import Callable


MOST_PLAIN = 1_000_000
"""Positions that a process solves in Python before it compiles: that takes as long as those."""


@functools.lru_cache(maxsize=1)
def numba_prox() -> Callable[..., int]:
    """Return ``kernel(y, weights, out, lam, steps)``, with the statuses of the C kernel.

    `steps` are left alone. Few positions are solved in Python, and all where there is no Numba.
    """
    spent = 0

    def kernel(y: Any, weights: Any, out: Any, lam: float, steps: Any = None) -> int:
        nonlocal spent
        if y.size == 0:
            return 0
        total = float(y.size) if weights is None else float(weights.sum(dtype=np.float64))
        if weights is not None and not (weights.min() > 0 and np.isfinite(total)):
            return 3
        low, high = float(y.min()), float(y.max())
        weighted = y if weights is None else np.multiply(y, weights, dtype=np.float64)
        whole = float(weighted.sum(dtype=np.float64))
        if not (np.isfinite(low) and np.isfinite(high) and np.isfinite(whole)):
            return 2
        if lam == 0:
            out[:] = y
            return 0
        if lam >= whole - low * total:  # no running sum leaves the tube
            out[:] = min(max(whole / total, low), high)
            return 0
        spent += y.size
        compiled = _compile_taut_string() if spent > MOST_PLAIN else None
        if compiled is not None:
            compiled(y, y[:0] if weights is None else weights, out, lam, low, high)
        else:
            heavy = [1.0] * y.size if weights is None else weights.tolist()
            out[:] = plain_kernels()["taut_string"](y.tolist(), heavy, lam)
        return 0

    return kernel


@functools.lru_cache(maxsize=1)
def _compile_taut_string() -> Callable[..., None] | None:
    """Return the kernel, compiled; None where there is no Numba."""
    try:
        import numba
    except ImportError:
        return None
    try:
        return numba.njit(nogil=True, cache=True)(_taut_string)
    except RuntimeError:  # no folder to cache in: compile for this process alone
        return numba.njit(nogil=True)(_taut_string)


def _taut_string(  # noqa: C901 - Numba compiles one function, in the steps of stack.h
    y: Any, weights: Any, x: Any, lam: float, low: float, high: float
) -> None:
    """Pull the string tight: see ``kernels/prox/stack.h``, which this follows step by step.

    ``hull[side]`` holds segments (sum, weight, end) of the ceiling's minorant (0) and of the
    floor's majorant (1), in ``front[side]:back[side]``.
    """
    n = y.size
    hull = np.empty((2, min(n, 1023) + 1, 3))
    front = np.zeros(2, np.int64)
    back = np.zeros(2, np.int64)
    start, i = 0, 0
    while i < n:
        value, run, end = float(y[i]), 0.0, i
        while end < n and y[end] == y[i]:
            run += weights[end] if weights.size else 1.0
            end += 1
        offset = lam * ((1 if i == 0 else 0) - (1 if end == n else 0))  # the tube opens, closes
        if max(back[0], back[1]) == hull.shape[1]:
            used = max(back[0] - front[0], back[1] - front[1])
            larger = np.empty((2, max(2 * used, hull.shape[1]), 3))
            for side in range(2):
                kept = hull[side, front[side] : back[side]]
                larger[side, : len(kept)] = kept
                front[side], back[side] = 0, len(kept)
            hull = larger
        for side in range(2):  # push, merging what falls out of order
            sign = 1.0 - 2.0 * side
            total = value * run + sign * offset
            weight, top = run, back[side]
            while top > front[side]:
                last = hull[side, top - 1]
                if sign * (last[0] * weight - total * last[1]) < 0:
                    break
                total += last[0]
                weight += last[1]
                top -= 1
            hull[side, top, 0], hull[side, top, 1], hull[side, top, 2] = total, weight, end
            back[side] = top + 1
        for side in range(2):  # emit what the string must follow, where the hulls have crossed
            if back[side] - front[side] > 1:
                continue
            sign, other = 1.0 - 2.0 * side, 1 - side
            chord, before = hull[side, front[side]], front[other]
            while back[other] - front[other] > 1:
                first = hull[other, front[other]]
                if sign * (chord[0] * first[1] - first[0] * chord[1]) >= 0:
                    break
                x[start : int(first[2])] = min(max(first[0] / first[1], low), high)
                start = int(first[2])
                chord[0] -= first[0]
                chord[1] -= first[1]
                front[other] += 1
            emitted = front[other] - before
            if emitted and back[other] - 1 - front[other] <= 8 * emitted:
                chord[0], chord[1] = (0.0 if end == n else 2.0 * sign * lam), 0.0
                for j in range(front[other], back[other]):
                    chord[0] += hull[other, j, 0]
                    chord[1] += hull[other, j, 1]
        i = end
    for j in range(front[0], back[0]):
        x[start : int(hull[0, j, 2])] = min(max(hull[0, j, 0] / hull[0, j, 1], low), high)
        start = int(hull[0, j, 2])
