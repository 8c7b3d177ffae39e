"""Averages over bins to loadings in Python alone: fast/factorize.c and prox/, step by step.

Part of `plain.py`.
"""

from __future__ import annotations

import ctypes
import math
import sys
from collections.abc import Sequence
from operator import mul
from typing import Any

from tuner_plugins.nmf.kernels.plain_read import Unusual, bin_lengths

_EPS = sys.float_info.epsilon
_TRANSFORMS = (None, math.log1p, math.sqrt, math.asinh)
_MAX, _STD = 1, 3

Matrix = list[list[float]]
"""Rows."""

_Hull = tuple[list[float], list[float], list[int]]


class Signal:
    """Rows of tracks over bins, and the bases in each bin."""

    def __init__(self, level: Any) -> None:
        self.bins, self.size = level.bins, level.size
        whole = (ctypes.c_double * (level.tracks * level.bins)).from_address(level.signal)
        self.rows: Matrix = [
            whole[t * level.bins : (t + 1) * level.bins] for t in range(level.tracks)
        ]
        self.lengths = bin_lengths(level.bins, level.width, level.size)

    def transform(self, kind: int) -> None:
        """Apply a transform by its number in fast/factorize.c."""
        function: Any = _TRANSFORMS[kind]
        for t, row in enumerate(self.rows):
            self.rows[t] = [math.copysign(function(abs(value)), value) for value in row]

    def weighted(self, rows: Matrix) -> Matrix:
        """Return rows times lengths."""
        return [list(map(mul, row, self.lengths)) for row in rows]


def scale_factor(signal: Signal, track: int, scaling: int) -> float:
    """Return what a track is divided by: see scale_factors in signal.py."""
    row, lengths, size = signal.rows[track], signal.lengths, float(signal.size)
    largest = max(map(abs, row))
    centre = _dot(row, lengths) / size if scaling == _STD else 0.0
    squares = sum((v - centre) * (v - centre) * n for v, n in zip(row, lengths, strict=True))
    factor = largest if scaling == _MAX else math.sqrt(squares / size)
    return factor if factor > _EPS * largest else 1.0


def _dot(left: Sequence[float], right: Sequence[float]) -> float:
    return sum(map(mul, left, right), 0.0)


def _products(left: Matrix, right: Matrix) -> Matrix:
    return [[_dot(a, b) for b in right] for a in left]


def factorize(signals: list[Signal], setting: Any) -> tuple[Matrix, Matrix]:
    """Return weights and, for the last signal, loadings."""
    first = signals[0]
    heavy = first.weighted(first.rows)
    weights = _start(_products(heavy, first.rows), setting.k, setting.plain_rest)
    change = math.inf
    loadings: Matrix = []
    for _ in range(setting.num_iter):
        if change <= setting.tolerance:
            break
        loadings = _solve_loadings(first, setting, weights)
        before, weights = weights, _solve_weights(loadings, first.weighted(loadings), heavy)
        moved = max(
            abs(new - old)
            for a, b in zip(weights, before, strict=True)
            for new, old in zip(a, b, strict=True)
        )
        largest = max(map(max, weights))
        change = moved / largest if largest > 0 else math.inf if moved > 0 else 0.0
    if len(signals) > 1:
        loadings = _solve_loadings(signals[1], setting, weights)
    return weights, loadings


def _start(gram: Matrix, k: int, plain_rest: int) -> Matrix:
    """Return the start from singular vectors: see start_weights in start.py."""
    tracks = len(gram)
    values, vectors = _eigen(gram)
    if not 0 < values[0] < math.inf or (k > tracks and plain_rest):
        raise Unusual
    for i in range(min(k, tracks, tracks - 1)):
        if values[i] - values[i + 1] < 1e-7 * values[0]:
            raise Unusual
    weights = []
    for i in range(k):
        vector = vectors[i % tracks]
        above = sum(v * v for v in vector if v > 0)
        below = sum(v * v for v in vector if v < 0)
        sign = -1.0 if (below > above) != (i >= tracks) else 1.0
        row = [max(sign * v, 0.0) for v in vector]
        weights.append([float(t == i % tracks) for t in range(tracks)] if i >= 2 * tracks else row)
    return weights


def _solve_loadings(signal: Signal, setting: Any, weights: Matrix) -> Matrix:
    """Return max(0, (W W' + l2penalty I)^+ W Y), each row smoothed by the fused lasso."""
    gram = _products(weights, weights)
    for i, row in enumerate(gram):
        row[i] += setting.l2penalty
    found = []
    for factors in _pseudo_solve(gram, weights):
        row = [0.0] * signal.bins
        for factor, track in zip(factors, signal.rows, strict=True):
            row = [value + factor * y for value, y in zip(row, track, strict=True)]
        row = [value if value > 0 else 0.0 for value in row]
        found.append(taut_string(row, signal.lengths, setting.fl_lambda))
    return found


def _solve_weights(loadings: Matrix, weighted: Matrix, heavy: Matrix) -> Matrix:
    """Return max(0, (L D L')^+ L D Y')."""
    solved = _pseudo_solve(_products(weighted, loadings), _products(loadings, heavy))
    return [[max(value, 0.0) for value in row] for row in solved]


def _pseudo_solve(a: Matrix, right: Matrix) -> Matrix:
    """Return the pseudo-inverse of a symmetric matrix, times `right`."""
    k = len(a)
    values, vectors = _eigen(a)
    rounding = _EPS * k * values[0]
    if not math.isfinite(values[0]) or any(20 < v / rounding < 100 for v in values if rounding > 0):
        raise Unusual  # a rank in doubt
    out = [[0.0] * len(right[0]) for _ in range(k)]
    columns = list(zip(*right, strict=True))
    for value, vector in zip(values, vectors, strict=True):
        if value <= 20 * rounding:
            break
        turned = [_dot(vector, column) / value for column in columns]
        for i, factor in enumerate(vector):
            out[i] = [o + factor * t for o, t in zip(out[i], turned, strict=True)]
    return out


def _eigen(a: Matrix) -> tuple[list[float], Matrix]:
    """Return eigenvalues, descending, and vectors of a symmetric matrix by Jacobi's rotations."""
    n = len(a)
    a = [list(row) for row in a]
    vectors = [[float(i == j) for j in range(n)] for i in range(n)]
    whole = sum(_dot(row, row) for row in a)
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


def taut_string(  # noqa: C901 - in the steps of taut_string.h, without a call for each position
    y: Sequence[float], weights: Sequence[float], lam: float
) -> list[float]:
    """Return ``argmin_x 1/2 sum weights (x - y)**2 + lam sum |x[i+1] - x[i]|``.

    Sums, weights and ends of the segments of the ceiling's minorant (s, w, e), and of the floor's
    majorant (t, v, f).
    """
    n, low, high, whole, total = len(y), min(y), max(y), _dot(y, weights), sum(weights)
    if lam == 0:
        return list(y)
    if lam >= whole - low * total:  # no running sum leaves the tube
        return [min(max(whole / total, low), high)] * n
    ceiling: _Hull = [], [], []
    floor: _Hull = [], [], []
    (s, w, e), (t, v, f) = ceiling, floor
    x: list[float] = []
    end = 0
    while end < n:
        value, run, offset = y[end], weights[end], 0.0 if end else lam  # the tube opens
        end += 1
        while end < n and y[end] == value:
            run += weights[end]
            end += 1
        if end == n:  # it closes
            offset -= lam
        area, weight = value * run + offset, run
        while s and s[-1] * weight >= area * w[-1]:  # push, merging what falls out of order
            area += s.pop()
            weight += w.pop()
            e.pop()
        s.append(area)
        w.append(weight)
        e.append(end)
        area, weight = value * run - offset, run
        while t and t[-1] * weight <= area * v[-1]:
            area += t.pop()
            weight += v.pop()
            f.pop()
        t.append(area)
        v.append(weight)
        f.append(end)
        width = 2 * lam if end < n else 0.0
        if len(s) == 1 and s[0] * v[0] < t[0] * w[0] and len(t) > 1:
            _follow(floor, ceiling, x, width, (low, high))
        if len(t) == 1 and t[0] * w[0] > s[0] * v[0] and len(s) > 1:
            _follow(ceiling, floor, x, -width, (low, high))
    for area, weight, end in zip(s, w, e, strict=True):
        x += [min(max(area / weight, low), high)] * (end - len(x))
    return x


def _follow(
    hull: _Hull, single: _Hull, x: list[float], width: float, bounds: tuple[float, float]
) -> None:
    """Append to `x` the segments of `hull` that the string follows, and take them off.

    `single`: the one segment of the hull that has crossed it. `width`: from the knot to there.
    """
    sums, weights, ends = hull
    area, weight = single[0][0], single[1][0]
    sign = 1.0 if hull[0][0] * weight > area * weights[0] else -1.0
    done = 0
    while done < len(sums) - 1 and sign * (sums[done] * weight - area * weights[done]) > 0:
        level = min(max(sums[done] / weights[done], bounds[0]), bounds[1])
        x += [level] * (ends[done] - len(x))
        area -= sums[done]
        weight -= weights[done]
        done += 1
    del sums[:done], weights[:done], ends[:done]
    if len(sums) - 1 <= 8 * done:  # sum anew: rounding piles up
        area, weight = sum(sums, width), sum(weights)
    single[0][0], single[1][0] = area, weight
