"""Averages of a bigWig track over bins in Python alone: fast/read.c and fast/bins.c, step by step.

What the standard library does in C at once (array, map, accumulate) stands in place of loops over
records. Part of `plain.py`.
"""

from __future__ import annotations

import math
import os
import struct
import sys
import zlib
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from operator import le, lt, mul, sub
from typing import Any

_HEAD = 24
_LARGEST_BLOCK = _HEAD + 12 * 0xFFFF
_LARGEST_PACKED = _LARGEST_BLOCK + (_LARGEST_BLOCK >> 6)
_MOST_KEY_BYTES = 256

Records = list[tuple[Sequence[int], Sequence[int], Sequence[float]]]
"""By block: starts, ends and values; in order, none empty."""


class Unusual(Exception):  # noqa: N818 - no error: the careful path decides
    """Left to the careful path."""


class File:
    """A bigWig file that is open."""

    def __init__(self, handle: int, size: int) -> None:
        self._handle, self.size = handle, size
        self.order = next((o for o in "<>" if self.take(o + "I", 0)[0] == 0x888FFC26), "")
        if not self.order:
            raise Unusual

    def read(self, offset: int, size: int) -> bytes:
        """Return bytes, all of them."""
        data = os.pread(self._handle, size, offset) if offset + size <= self.size else b""
        if len(data) < size:
            raise Unusual
        return data

    def take(self, layout: str, offset: int) -> tuple[Any, ...]:
        """Return what stands at `offset`, in the file's byte order where none is given."""
        layout = layout if layout[0] in "<>" else self.order + layout
        return struct.unpack(layout, self.read(offset, struct.calcsize(layout)))

    def walk(self, root: int, leaf: str, node: str, choose: Callable[..., Any]) -> Iterator[Any]:
        """Return the items of a tree's leaves in order; `choose` says which lead on."""
        waiting: list[tuple[int, Any]] = [(root, None)]
        spent = 0
        while waiting:
            offset, parent = waiting.pop()
            is_leaf, _, count = self.take("BBH", offset)
            layout = self.order + (leaf if is_leaf else node)
            size = count * struct.calcsize(layout)
            spent += 4 + size
            if is_leaf > 1 or spent > self.size:  # honest nodes share no bytes
                raise Unusual
            items = choose(list(struct.iter_unpack(layout, self.read(offset + 4, size))), parent)
            if is_leaf:
                yield from items
            else:
                waiting.extend((item[-1], item) for item in reversed(items))


def _find_chromosome(file: File, root: int, name: bytes) -> tuple[int, int] | None:
    """Return id and length of a chromosome; None where a sound list lacks it."""
    magic, _, key, _, count = file.take("IIIIQ", root)
    if magic != 0x78CA8C91 or not 1 <= key <= _MOST_KEY_BYTES:
        raise Unusual
    items = list(file.walk(root + 32, f"{key}sII", f"{key}sQ", lambda items, _: items))
    known = {item[0]: (item[1], item[2]) for item in items}
    if not len(items) == len(known) == count or {item[1] for item in items} != set(range(count)):
        raise Unusual
    return known.get(name.ljust(key, b"\0"))


def _find_blocks(file: File, root: int, low: int, high: int) -> list[tuple[int, int, int, int]]:
    """Return first and last position, offset and size of the blocks that touch [low, high)."""

    def bounds(item: Sequence[int]) -> tuple[int, int]:
        return item[0] << 32 | item[1], item[2] << 32 | item[3]

    def choose(items: list[Any], parent: Any) -> list[Any]:
        before, end = bounds(parent) if parent else (0, 1 << 64)
        kept = []
        for item in items:
            first, last = bounds(item)
            if not before <= first <= last <= end:
                raise Unusual
            before = first
            if first < high and last > low:
                kept.append(item)
        return kept

    items = file.walk(root, "IIIIQQ", "IIIIQ", choose)
    found = [(*bounds(item), item[4], item[5]) for item in items]
    sizes = [item[3] for item in found]
    if sum(sizes) > file.size or max(sizes, default=0) > _LARGEST_PACKED:
        raise Unusual
    return found


def read_records(file: File, want: Any) -> Records | None:
    """Return the records of a ``quick_request``; None where the file lacks the chromosome."""
    version, _, names, _, index = file.take("HHQQQ", 4)
    if not 1 <= version <= 4:
        raise Unusual
    entry = _find_chromosome(file, names, want.chrom)
    if entry is None:
        return None
    chrom, length = entry
    if not 0 <= want.start < want.end <= length:
        raise Unusual
    if not index:  # no data
        return []
    if file.take("I", index)[0] != 0x2468ACE0:
        raise Unusual
    packed = file.take("I", 52)[0] > 0
    found: Records = []
    low, high = chrom << 32 | want.start, chrom << 32 | want.end
    for first, last, offset, size in _find_blocks(file, index + 48, low, high):
        raw = _inflate(file.read(offset, size)) if packed else file.read(offset, size)
        records = _clip(_decode(raw, file.order, chrom, (first, last)), want.start, want.end)
        if len(records[0]):
            if found and records[0][0] < found[-1][1][-1]:
                raise Unusual
            found.append(records)
    return found


def _inflate(block: bytes) -> bytes:
    machine = zlib.decompressobj()
    raw = machine.decompress(block, _LARGEST_BLOCK)
    if not machine.eof:
        raise Unusual
    return raw


def _decode(raw: bytes, order: str, chrom: int, bounds: tuple[int, int]) -> Any:
    """Return starts, ends and values of a block: nothing where it is another chromosome's."""
    here, starts, ends, values = _unpack(raw, order)
    if not all(map(lt, starts, ends)):  # records without length count for nothing
        if not all(map(le, starts, ends)):
            raise Unusual
        starts, ends, values = _keep(list(map(lt, starts, ends)), starts, ends, values)
    if not len(starts):
        return [], [], []
    if here << 32 | min(starts) < bounds[0] or here << 32 | max(ends) > bounds[1]:
        raise Unusual
    if here != chrom:
        return [], [], []
    if not all(map(le, ends[:-1], starts[1:])):
        raise Unusual
    return starts, ends, values


def _unpack(raw: bytes, order: str) -> tuple[int, Any, Any, Any]:
    """Return a block's chromosome, and starts, ends and values of its records, as arrays."""
    if len(raw) < _HEAD:
        raise Unusual
    here, place, _, step, span, kind, _, count = struct.unpack_from(order + "IIIIIBBH", raw)
    words = {1: 3, 2: 2, 3: 1}.get(kind, 0)  # bedGraph, variable and fixed step
    if not words or _HEAD + 4 * words * count > len(raw):
        raise Unusual
    whole = array("I", raw[_HEAD : _HEAD + 4 * words * count])
    if (order == "<") != (sys.byteorder == "little"):
        whole.byteswap()
    values: Any = array("f", whole[words - 1 :: words].tobytes())
    starts: Any = whole[::words]
    if kind == 3:
        starts = array("q", range(place, place + count * step, step) if step else [place] * count)
    ends: Any = whole[1::words] if kind == 1 else array("q", [start + span for start in starts])
    return here, starts, ends, values


def _keep(marks: Sequence[bool], *parts: Any) -> list[list[Any]]:
    return [[value for value, mark in zip(part, marks, strict=True) if mark] for part in parts]


def _clip(records: Any, start: int, end: int) -> Any:
    """Keep what lies in the region and has a value."""
    starts, ends, values = records
    inside = slice(bisect_right(ends, start), bisect_left(starts, end))
    starts, ends, values = starts[inside], ends[inside], values[inside]
    if len(starts):
        starts[0], ends[-1] = max(starts[0], start), min(ends[-1], end)
    if not math.isfinite(sum(values)):
        if any(map(math.isinf, values)):
            raise Unusual
        starts, ends, values = _keep([v == v for v in values], starts, ends, values)
    return starts, ends, values


def average(records: Records, region: tuple[int, int], width: int, fill_mean: bool) -> list[float]:
    """Return averages over bins: (sum + (length - covered) * fill) / length."""
    start, end = region
    bins = -(-(end - start) // width)
    sums, fill, covered = [0.0] * bins, 0.0, [0.0] * bins
    for starts, ends, values in records:
        _add(sums, (start, width), starts, ends, values)
        if fill_mean:
            _add(covered, (start, width), starts, ends, [1.0] * len(starts))
    if fill_mean and sum(covered) > 0:
        fill = sum(sums) / sum(covered)
    lengths = bin_lengths(bins, width, end - start)
    return [(s + (n - c) * fill) / n for s, c, n in zip(sums, covered, lengths, strict=True)]


def bin_lengths(bins: int, width: int, size: int) -> list[float]:
    """Return the bases in each bin."""
    return [float(width)] * (bins - 1) + [float(size - (bins - 1) * width)]


def _add(
    sums: list[float],
    grid: tuple[int, int],
    starts: Sequence[int],
    ends: Sequence[int],
    values: Sequence[float],
) -> None:
    """Add records to the bins: differences of their running integral between the bins' edges."""
    start, width = grid
    areas = list(accumulate(map(mul, values, map(sub, ends, starts)), initial=0.0))
    first, last = (starts[0] - start) // width, (ends[-1] - 1 - start) // width
    before, at = 0.0, 0
    for number in range(first, last):
        edge = start + (number + 1) * width
        at = bisect_right(ends, edge, at)  # the first record that ends behind the edge
        area = areas[at]
        if starts[at] < edge:
            area += values[at] * (edge - starts[at])
        sums[number] += area - before
        before = area
    sums[last] += areas[-1] - before
