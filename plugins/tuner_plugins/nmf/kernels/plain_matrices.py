"""Small matrices in Python alone, as fast/factorize.c takes them apart. Part of `plain.py`."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from operator import mul

from tuner_plugins.nmf.kernels.plain_read import Unusual

EPS = sys.float_info.epsilon

Matrix = list[list[float]]
"""Rows."""


def dot(left: Sequence[float], right: Sequence[float]) -> float:
    """Return the sum of products."""
    return sum(map(mul, left, right), 0.0)


def products(left: Matrix, right: Matrix) -> Matrix:
    """Return the products of each row of one with each of the other."""
    return [[dot(a, b) for b in right] for a in left]


def pseudo_solve(a: Matrix, right: Matrix) -> Matrix:
    """Return the pseudo-inverse of a symmetric matrix, times `right`."""
    k = len(a)
    values, vectors = eigen(a)
    rounding = EPS * k * values[0]
    if not math.isfinite(values[0]) or any(20 < v / rounding < 100 for v in values if rounding > 0):
        raise Unusual  # a rank in doubt
    out = [[0.0] * len(right[0]) for _ in range(k)]
    columns = list(zip(*right, strict=True))
    for value, vector in zip(values, vectors, strict=True):
        if value <= 20 * rounding:
            break
        turned = [dot(vector, column) / value for column in columns]
        for i, factor in enumerate(vector):
            out[i] = [o + factor * t for o, t in zip(out[i], turned, strict=True)]
    return out


def eigen(a: Matrix) -> tuple[list[float], Matrix]:
    """Return eigenvalues, descending, and vectors of a symmetric matrix by Jacobi's rotations."""
    n = len(a)
    a = [list(row) for row in a]
    vectors = [[float(i == j) for j in range(n)] for i in range(n)]
    whole = sum(dot(row, row) for row in a)
    for _ in range(60):
        off = sum(a[p][q] * a[p][q] for p in range(n) for q in range(p + 1, n))
        if not off > 1e-40 * whole:
            break
        for p in range(n):
            for q in range(p + 1, n):
                if a[p][q] != 0:
                    _rotate(a, vectors, p, q)
    order = sorted(range(n), key=lambda i: -a[i][i])
    return [a[i][i] for i in order], [vectors[i] for i in order]


def _rotate(a: Matrix, vectors: Matrix, p: int, q: int) -> None:
    """Make a[p][q] zero."""
    theta = (a[q][q] - a[p][p]) / (2 * a[p][q])
    t = (1 if theta >= 0 else -1) / (abs(theta) + math.sqrt(theta * theta + 1))
    c = 1 / math.sqrt(t * t + 1)
    s = t * c
    for row in a:
        x, y = row[p], row[q]
        row[p], row[q] = c * x - s * y, s * x + c * y
    for rows in (a, vectors):
        first, second = rows[p], rows[q]
        rows[p] = [c * x - s * y for x, y in zip(first, second, strict=True)]
        rows[q] = [s * x + c * y for x, y in zip(first, second, strict=True)]
    a[p][q] = a[q][p] = 0.0
