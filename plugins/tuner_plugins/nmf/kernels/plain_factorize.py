"""Averages over bins to loadings in Python alone: fast/factorize.c and prox/, step by step.

Part of `plain.py`.
"""

from __future__ import annotations

import ctypes
import math
from array import array
from collections.abc import Sequence
from itertools import accumulate
from operator import mul
from typing import Any

from tuner_plugins.nmf.kernels.plain_matrices import EPS, Matrix, dot, eigen, products, pseudo_solve
from tuner_plugins.nmf.kernels.plain_read import Unusual, bin_lengths

_TRANSFORMS = (None, math.log1p, math.sqrt, math.asinh)
_RANK = 4
_MAX, _STD = 1, 3
_CONTRAST, _SVD = 1, 2
_APART, _LEAST_HALF = 1e-7, 1e-3
_CONTRAST_BIN, _BINS_A_TRACK = 5000, 4

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
        if kind == _RANK:
            self.rows = [self._ranked(row) for row in self.rows]
            return
        function: Any = _TRANSFORMS[kind]
        for t, row in enumerate(self.rows):
            self.rows[t] = [math.copysign(function(abs(value)), value) for value in row]

    def _ranked(self, row: Sequence[float]) -> list[float]:
        """Return the fraction of bases with a lower value, compared in single precision."""
        single = array("f", row)
        ranked, passed, below, last = [0.0] * self.bins, 0.0, 0.0, math.nan
        for at in sorted(range(self.bins), key=single.__getitem__):
            if single[at] != last:
                below, last = passed, single[at]
            ranked[at] = below / self.size
            passed += self.lengths[at]
        return ranked

    def weighted(self, rows: Matrix) -> Matrix:
        """Return rows times lengths."""
        return [list(map(mul, row, self.lengths)) for row in rows]


def scale_factor(signal: Signal, track: int, scaling: int) -> float:
    """Return what a track is divided by: see scale_factors in signal.py."""
    row, lengths, size = signal.rows[track], signal.lengths, float(signal.size)
    largest = max(map(abs, row))
    centre = dot(row, lengths) / size if scaling == _STD else 0.0
    squares = sum((v - centre) * (v - centre) * n for v, n in zip(row, lengths, strict=True))
    factor = largest if scaling == _MAX else math.sqrt(squares / size)
    return factor if factor > EPS * largest else 1.0


def factorize(signals: list[Signal], setting: Any) -> tuple[Matrix, Matrix]:
    """Return weights and, for the last signal, loadings."""
    first = signals[0]
    heavy = first.weighted(first.rows)
    if setting.start == _CONTRAST:
        weights = _halves(_coarse_covariance(first), setting.k)
    else:
        weights = _start(products(heavy, first.rows), setting.k, setting.start == _SVD)
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


def _start(gram: Matrix, k: int, plain_rest: bool) -> Matrix:
    """Return the start from singular vectors: see start_weights in start.py."""
    tracks = len(gram)
    values, vectors = eigen(gram)
    if not 0 < values[0] < math.inf or (k > tracks and plain_rest):
        raise Unusual
    for i in range(min(k, tracks, tracks - 1)):
        if values[i] - values[i + 1] < _APART * values[0]:
            raise Unusual
    weights = []
    for i in range(k):
        vector = vectors[i % tracks]
        above = sum(v * v for v in vector if v > 0)
        below = sum(v * v for v in vector if v < 0)
        if abs(below - above) < _APART:
            raise Unusual
        sign = -1.0 if (below > above) != (i >= tracks) else 1.0
        row = [max(sign * v, 0.0) for v in vector]
        weights.append([float(t == i % tracks) for t in range(tracks)] if i >= 2 * tracks else row)
    return weights


def _coarse_covariance(signal: Signal) -> Matrix:
    """Return the covariance of averages over wide bins: see coarse_covariance in start.py."""
    tracks, size = len(signal.rows), signal.size
    width = min(max(size // (_BINS_A_TRACK * tracks), 1), _CONTRAST_BIN)
    lengths = bin_lengths(-(-size // width), width, size)
    ends = list(accumulate(map(int, signal.lengths)))
    starts = [0, *ends[:-1]]
    means = []
    for row in signal.rows:
        sums = [0.0] * len(lengths)
        for start, end, value in zip(starts, ends, row, strict=True):
            for place in range(start // width, (end - 1) // width + 1):
                bases = min(end, (place + 1) * width) - max(start, place * width)
                sums[place] += value * bases
        centre = sum(sums) / size
        means.append([total / n - centre for total, n in zip(sums, lengths, strict=True)])
    return products([list(map(mul, row, lengths)) for row in means], means)


def _halves(covariance: Matrix, k: int) -> Matrix:
    """Return all tracks alike; both halves of each vector, the larger first; single tracks."""
    tracks = len(covariance)
    values, vectors = eigen(covariance)
    if not 0 < values[0] < math.inf:
        raise Unusual
    weights = [[1 / math.sqrt(tracks)] * tracks]
    for e, vector in enumerate(vectors):
        if len(weights) >= k:
            break
        above, below = (sum(v * v for v in vector if v * sign > 0) for sign in (1, -1))
        near = e + 1 < tracks and values[e] - values[e + 1] < _APART * values[0]
        if near or abs(below - above) < _APART:
            raise Unusual
        for sign in (-1.0, 1.0) if below > above else (1.0, -1.0):
            if (above if sign > 0 else below) > _LEAST_HALF:
                weights.append([max(sign * v, 0.0) for v in vector])
    rest = range(len(weights), k)
    weights += [[float(t == row % tracks) for t in range(tracks)] for row in rest]
    return weights[:k]


def _solve_loadings(signal: Signal, setting: Any, weights: Matrix) -> Matrix:
    """Return max(0, (W W' + l2penalty I)^+ W Y), each row smoothed by the fused lasso."""
    gram = products(weights, weights)
    for i, row in enumerate(gram):
        row[i] += setting.l2penalty
    found = []
    for c, factors in enumerate(pseudo_solve(gram, weights)):
        row = [0.0] * signal.bins
        for factor, track in zip(factors, signal.rows, strict=True):
            row = [value + factor * y for value, y in zip(row, track, strict=True)]
        row = [value if value > 0 else 0.0 for value in row]
        found.append(taut_string(row, signal.lengths, setting.lambdas[c]))
    return found


def _solve_weights(loadings: Matrix, weighted: Matrix, heavy: Matrix) -> Matrix:
    """Return max(0, (L D L')^+ L D Y')."""
    solved = pseudo_solve(products(weighted, loadings), products(loadings, heavy))
    return [[max(value, 0.0) for value in row] for row in solved]


def taut_string(  # noqa: C901 - in the steps of taut_string.h, without a call for each position
    y: Sequence[float], weights: Sequence[float], lam: float
) -> list[float]:
    """Return ``argmin_x 1/2 sum weights (x - y)**2 + lam sum |x[i+1] - x[i]|``.

    Sums, weights and ends of the segments of the ceiling's minorant (s, w, e), and of the floor's
    majorant (t, v, f).
    """
    n, low, high, whole, total = len(y), min(y), max(y), dot(y, weights), sum(weights)
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
