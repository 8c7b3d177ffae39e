"""Blocks of bigWig files: decompressed, decoded and held against the index, many at once."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence

import numpy as np

from tuner_plugins.nmf.io.step_functions import Records

_SECTION_BYTES = 24
_RECORD_BYTES = np.array([0, 12, 8, 4])  # by type: none, bedGraph, variable and fixed step
LARGEST_BLOCK = _SECTION_BYTES + 12 * 0xFFFF  # a section counts its records in 16 bits


class BlockError(ValueError):
    """A block that cannot be decoded; the message says what is wrong with it."""


def item_kind(order: str) -> np.dtype:
    """Return the layout of an index item: the bounds of a block, and where it lies in the file."""
    bounds = [(key, order + "u4") for key in ("chrom", "start", "last_chrom", "end")]
    return np.dtype([*bounds, ("offset", order + "u8"), ("size", order + "u8")])


def item_bounds(items: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the first and last position of index items as chromosome id << 32 | base."""
    wide = {key: items[key].astype(np.uint64) << np.uint64(32) for key in ("chrom", "last_chrom")}
    return wide["chrom"] | items["start"], wide["last_chrom"] | items["end"]


def inflate(block: memoryview) -> bytes:
    """Decompress a block, but no more of it than the largest block can hold."""
    machine = zlib.decompressobj()
    try:
        raw = machine.decompress(block, LARGEST_BLOCK)
    except zlib.error as error:
        raise BlockError(f"a block of data cannot be decompressed ({error})") from error
    if not machine.eof:
        raise BlockError("a block of data is longer or shorter than any block can be")
    return raw


def decode_blocks(
    raw: Sequence[bytes | memoryview],
    items: np.ndarray,
    order: str,
    region: tuple[int, int, int],
) -> Iterator[Records]:
    """Decode blocks, those of one type that follow each other at once.

    Parameters
    ----------
    raw : sequence of bytes
        The blocks, decompressed.
    items : ndarray of `item_kind`
        The index items that led to them.
    order : {"<", ">"}
        Byte order of the file.
    region : tuple
        Chromosome id, start and end; other records are dropped.

    Raises
    ------
    BlockError
        Where a block has another form, or holds records that its index item denies.
    """
    if min(map(len, raw)) < _SECTION_BYTES:
        raise BlockError("a block of data has no head")
    kinds = ["chrom", "start", "end", "step", "span"]
    head = np.dtype([(key, order + "u4") for key in kinds] + [("type", "u1"), ("_", "u1")])
    head = np.dtype([*head.descr, ("count", order + "u2")])
    heads = np.frombuffer(b"".join(block[:_SECTION_BYTES] for block in raw), head)
    types = heads["type"]
    if types.min() < 1 or types.max() > 3:
        raise BlockError(f"a block of data has type {int(types.max())}, which does not exist")
    sizes = _SECTION_BYTES + _RECORD_BYTES[types] * heads["count"].astype(np.int64)
    if (sizes > [len(block) for block in raw]).any():
        raise BlockError("a block of data holds fewer records than it says")
    changes = np.flatnonzero(types[1:] != types[:-1]) + 1
    for lower, upper in zip([0, *changes], [*changes, len(raw)], strict=True):
        part = slice(lower, upper)
        payload = b"".join(
            memoryview(block)[_SECTION_BYTES:size]
            for block, size in zip(raw[part], sizes[part].tolist(), strict=True)
        )
        records = _decode_payload(payload, heads[part], order)
        _check_index(records, heads[part], items[part])
        yield _clip(records, heads[part], region)


def _decode_payload(payload: bytes, heads: np.ndarray, order: str) -> Records:
    """Decode the records of sections that all have the type of the first."""
    words = np.frombuffer(payload, order + "u4").reshape(-1, _RECORD_BYTES[heads["type"][0]] // 4)
    counts = heads["count"].astype(np.int64)
    values = words[:, -1].view(order + "f4").astype(np.float32)
    if heads["type"][0] == 3:
        rank = np.arange(len(words)) - np.repeat(np.cumsum(counts) - counts, counts)
        starts = np.repeat(heads["start"].astype(np.int64), counts)
        starts += rank * np.repeat(heads["step"].astype(np.int64), counts)
    else:
        starts = words[:, 0].astype(np.int64)
    if heads["type"][0] == 1:
        ends = words[:, 1].astype(np.int64)
    else:
        ends = starts + np.repeat(heads["span"].astype(np.int64), counts)
    return starts, ends, values


def _check_index(records: Records, heads: np.ndarray, blocks: np.ndarray) -> None:
    """Refuse an index that would let a search miss records."""
    filled = np.flatnonzero(heads["count"])
    if not len(filled):
        return
    heads, blocks = heads[filled], blocks[filled]
    counts = heads["count"].astype(np.int64)
    firsts = np.cumsum(counts) - counts
    chrom = heads["chrom"].astype(np.int64) << 32
    first, last = (bound.astype(np.int64) for bound in item_bounds(blocks))
    some = records[0] < records[1]  # nothing is missed with a record without length
    lowest = chrom + np.minimum.reduceat(np.where(some, records[0], 1 << 32), firsts)
    highest = chrom + np.maximum.reduceat(np.where(some, records[1], 0), firsts)
    if (lowest < first).any() or (highest > np.maximum(last, chrom)).any():
        raise BlockError("its index does not match its data")


def _clip(records: Records, heads: np.ndarray, region: tuple[int, int, int]) -> Records:
    """Keep what lies in the region."""
    starts, ends, values = records
    chrom_id, start, end = region
    keep = (starts < end) & (ends > start) & (starts < ends)
    if (heads["chrom"] != chrom_id).any():
        keep &= np.repeat(heads["chrom"] == chrom_id, heads["count"])
    if not keep.all():
        starts, ends, values = starts[keep], ends[keep], values[keep]
    return np.maximum(starts, start), np.minimum(ends, end), values
