"""Step functions over a stretch of a genome: made from records, averaged over bins."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Records = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Starts, ends (int64) and values (float32) of records, in the order of the file."""


class Runs(NamedTuple):
    """A step function over ``[start, end)``: run i covers ``[ends[i - 1], ends[i])``.

    The first run begins at ``start`` and the last one ends at ``end``. Neighbours differ, where NaN
    equals NaN.

    Attributes
    ----------
    ends : ndarray of int64, shape (runs,)
        Position after the last one of each run, increasing.
    values : ndarray of float32, shape (runs,)
        Value of each run, NaN where the file has no data.
    """

    ends: np.ndarray
    values: np.ndarray


def bin_runs(runs: Runs, start: int, end: int, width: int) -> NDArray[np.float64]:
    """Average a step function over bins of equal width.

    The work is proportional to the number of runs and bins, not of bases. Nothing is subtracted, so
    that no digits are lost: the result agrees with averages of the bases to rounding.

    Parameters
    ----------
    runs : Runs
        A step function over ``[start, end)``, without NaN.
    start, end : int
        Region, 0-based and half-open.
    width : int
        Bases a bin; the last bin may be shorter.

    Returns
    -------
    ndarray of float64, shape (ceil((end - start) / width),)

    Examples
    --------
    >>> bin_runs(Runs(np.array([4, 7]), np.array([1.0, 5.0])), 0, 7, 3)
    array([1.        , 3.66666667, 5.        ])
    """
    if width < 1:
        raise ValueError(f"bins are 1 base wide or more; got {width}")
    values = runs.values.astype(np.float64)
    stops = runs.ends - start
    begins = np.concatenate([np.zeros(1, stops.dtype), stops[:-1]])
    bins = -(-(end - start) // width)
    first, last = begins // width, (stops - 1) // width
    head = np.minimum(stops, (first + 1) * width) - begins
    sums = np.bincount(first, values * head, minlength=bins)
    wide = np.flatnonzero(last > first)
    first, last, values = first[wide], last[wide], values[wide]
    sums += np.bincount(last, values * (stops[wide] - last * width), minlength=bins)
    inner = last - first - 1
    total = int(inner.sum())
    if total:
        offset = np.repeat(first + 1 - (np.cumsum(inner) - inner), inner)
        sums[offset + np.arange(total)] = np.repeat(values * width, inner)
    return sums / run_lengths(bin_ends(end - start, width))


def bin_ends(size: int, width: int) -> NDArray[np.int64]:
    """Return where each bin of a region of `size` bases ends; the last may be below `width`."""
    return np.minimum(np.arange(1, -(-size // width) + 1) * width, size)


def run_lengths(ends: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the bases in each run, from where each ends, the first one beginning at 0."""
    return np.diff(ends, prepend=0)


def join_sorted(batches: Iterable[Records], start: int, end: int) -> Runs | None:
    """Join records that neither overlap nor step back, from ``[start, end)``; None if some do."""
    parts, cursor = [], start
    for starts, ends, values in batches:
        if not len(starts):
            continue
        before = np.concatenate([[cursor], ends[:-1]])
        gaps = starts > before
        if (starts < before).any():
            return None
        parts.append(merge_runs(_fill_gaps(starts, ends, values, gaps)))
        cursor = int(ends[-1])
    if cursor < end:
        parts.append(Runs(np.array([end], np.int64), np.array([np.nan], np.float32)))
    if len(parts) == 1:
        return parts[0]
    return merge_runs(Runs(*(np.concatenate(column) for column in zip(*parts, strict=True))))


def join_any(batches: Iterable[Records], start: int, end: int) -> Runs:
    """Join records of any order, clipped to ``[start, end)``; the last one to cover a base counts.

    Each record is laid over the stretches between record boundaries as two spans of a power of two
    in length, which are then halved level by level: the work is independent of how much overlaps.
    """
    starts, ends, values = (np.concatenate(column) for column in zip(*batches, strict=True))
    edges = np.unique(np.concatenate([starts, ends, [start, end]]))
    lower, upper = np.searchsorted(edges, starts), np.searchsorted(edges, ends)
    level = np.frexp(upper - lower)[1] - 1
    owner = np.full(len(edges), -1)
    for power in range(int(level.max()), -1, -1):
        half = 1 << power
        # From spans twice as long: an owner at i owns i and i + half.
        if power < level.max():
            owner[half:] = np.maximum(owner[half:], owner[:-half])
        chosen = np.flatnonzero(level == power)
        laid = np.full(len(edges), -1)
        laid[lower[chosen]] = chosen
        np.maximum.at(laid, upper[chosen] - half, chosen)
        np.maximum(owner, laid, out=owner)
    owner = owner[:-1]
    covered = np.where(owner >= 0, values[owner], np.float32(np.nan))
    return merge_runs(Runs(edges[1:], covered))


def _fill_gaps(starts: np.ndarray, ends: np.ndarray, values: np.ndarray, gaps: np.ndarray) -> Runs:
    """Put a run of NaN before each record that has a gap before it."""
    if not gaps.any():
        return Runs(ends, values)
    shift = np.cumsum(gaps)
    place = np.arange(len(ends)) + shift
    filled = Runs(
        np.empty(len(ends) + shift[-1], np.int64),
        np.full(len(ends) + shift[-1], np.nan, np.float32),
    )
    filled.ends[place], filled.values[place] = ends, values
    filled.ends[place[gaps] - 1] = starts[gaps]
    return filled


def zero_gaps(runs: Runs) -> Runs:
    """Return a step function with 0 in place of NaN."""
    return merge_runs(Runs(runs.ends, np.nan_to_num(runs.values, posinf=np.inf, neginf=-np.inf)))


def merge_runs(runs: Runs) -> Runs:
    """Merge neighbouring runs of equal value, where NaN equals NaN."""
    values, empty = runs.values, np.isnan(runs.values)
    differ = (values[1:] != values[:-1]) & ~(empty[1:] & empty[:-1])
    if differ.all():
        return runs
    keep = np.append(differ, True)
    return Runs(runs.ends[keep], values[keep])
