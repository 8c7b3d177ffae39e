"""Step functions read from bigWig files, as runs of equal value.

The blocks of a file (Kent et al. 2010, doi:10.1093/bioinformatics/btq351) are found through its
R-tree index, read in long stretches and decoded as arrays: nothing is done base by base or record
by record. A file is not trusted: every offset, count and size is held against the file's own length
before anything is allocated, and the index is held against the blocks that it leads to.
"""

from __future__ import annotations

import os
import struct
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np

from tuner_plugins.nmf.blocks import (
    LARGEST_BLOCK,
    BlockError,
    decode_blocks,
    inflate,
    item_bounds,
    item_kind,
)
from tuner_plugins.nmf.runs import Records, Runs, expand_runs, join_any, join_sorted

_BIGWIG_MAGIC = 0x888FFC26
_BIGBED_MAGIC = 0x8789F2EB
_CHROM_TREE_MAGIC = 0x78CA8C91
_INDEX_MAGIC = 0x2468ACE0
_LONGEST_READ = 1 << 22
_KEY_BYTES = 4096


class BigWigError(ValueError):
    """A file or a request that cannot be served; the message is one line that says what to do."""


class _Header(NamedTuple):
    order: str
    chrom_tree_at: int
    index_at: int
    compressed: bool


class _Source:
    """An open file that refuses to read past its end."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.name = os.fspath(path)
        if "://" in self.name:
            raise BigWigError(f"{self.name}: only local files are read; download it first")
        try:
            self._file = open(self.name, "rb", buffering=0)
        except OSError as error:
            raise BigWigError(f"{self.name}: cannot be read ({error.strerror})") from error
        self.size = os.fstat(self._file.fileno()).st_size

    def __enter__(self) -> _Source:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def error(self, problem: str) -> BigWigError:
        return BigWigError(
            f"{self.name}: {problem}; the file is truncated or damaged: copy or make it again"
        )

    def read(self, offset: int, size: int, what: str) -> bytes:
        if offset + size > self.size:
            raise self.error(f"{what} at byte {offset} reaches past its {self.size} bytes")
        try:
            data = os.pread(self._file.fileno(), size, offset)
        except OSError as error:
            raise BigWigError(f"{self.name}: cannot be read ({error.strerror})") from error
        if len(data) != size:
            raise self.error(f"{what} at byte {offset} could not be read whole")
        return data


def read_runs(
    path: str | os.PathLike[str], chrom: str, start: int = 0, end: int | None = None
) -> Runs:
    """Read a region of a bigWig file as a step function.

    Where records overlap, the last one in the file counts, as in pyBigWig.

    Parameters
    ----------
    path : path
        A local file: any version up to 4, either byte order, compressed or not.
    chrom : str
        Chromosome name as the file spells it.
    start, end : int, optional
        Region, 0-based and half-open; the whole chromosome by default.

    Raises
    ------
    BigWigError
        Where the file is missing or damaged, or has no such region.
    """
    with _Source(path) as source:
        header = _read_header(source)
        chrom_id, length = _find_chromosome(source, header, chrom)
        end = length if end is None else end
        _check_region(source.name, chrom, start, end, length)
        blocks = _find_blocks(source, header, chrom_id, start, end)
        region = (chrom_id, start, end)
        runs = join_sorted(_read_records(source, header, blocks, region), start, end)
        if runs is None:
            runs = join_any(_read_records(source, header, blocks, region), start, end)
    return runs


def read_blocks(
    path: str | os.PathLike[str], chrom: str, start: int, end: int
) -> Iterator[tuple[bool, int, int, int, bytes]]:
    """Give the decompressed blocks that touch a region, in the order of the file.

    Errors are those of `read_runs`; what is in a block is not looked at.

    Yields
    ------
    swapped : bool
        Whether the file's byte order is not the machine's.
    chrom_id : int
        Of the region's chromosome.
    first, last : int
        Bounds that the index gives the block, as chromosome id << 32 | base.
    block : bytes
    """
    with _Source(path) as source:
        header = _read_header(source)
        chrom_id, length = _find_chromosome(source, header, chrom)
        _check_region(source.name, chrom, start, end, length)
        swapped = (header.order == "<") != (sys.byteorder == "little")
        for stretch in _stretches(_find_blocks(source, header, chrom_id, start, end)):
            first, last = (bound.tolist() for bound in item_bounds(stretch))
            blocks = _read_stretch(source, header, stretch)
            for low, high, block in zip(first, last, blocks, strict=True):
                yield swapped, chrom_id, low, high, bytes(block)


def read_tracks(
    paths: Iterable[str | os.PathLike[str]],
    chrom: str,
    start: int = 0,
    end: int | None = None,
    threads: int = 1,
) -> list[Runs]:
    """Read the same region of several files, `threads` of them at a time (see `read_runs`)."""
    if threads <= 1:
        return [read_runs(path, chrom, start, end) for path in paths]
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(lambda path: read_runs(path, chrom, start, end), paths))


def read_values(
    path: str | os.PathLike[str], chrom: str, start: int = 0, end: int | None = None
) -> np.ndarray:
    """Read a region base by base: float32 of shape (end - start,), NaN where there is no data."""
    return expand_runs(read_runs(path, chrom, start, end), start)


def chromosomes(path: str | os.PathLike[str]) -> dict[str, int]:
    """Give the length of each chromosome that a bigWig file names, in the file's order."""
    with _Source(path) as source:
        return {name: size for name, _, size in _read_chromosomes(source, _read_header(source))}


def _read_header(source: _Source) -> _Header:
    if source.size < 64:
        raise BigWigError(
            f"{source.name}: not a bigWig file ({source.size} bytes, a header has 64)"
        )
    head = source.read(0, 64, "the header")
    for order in "<>":
        magic, version, _, chrom_tree, _, index = struct.unpack_from(order + "IHHQQQ", head)
        if magic == _BIGBED_MAGIC:
            raise BigWigError(f"{source.name}: a bigBed file; give a bigWig file instead")
        if magic == _BIGWIG_MAGIC:
            break
    else:
        raise BigWigError(f"{source.name}: not a bigWig file (it begins with {head[:4]!r})")
    if not 1 <= version <= 4:
        raise BigWigError(f"{source.name}: bigWig version {version}; versions 1 to 4 are read")
    (buffer_size,) = struct.unpack_from(order + "I", head, 52)
    return _Header(order, chrom_tree, index, buffer_size > 0)


def _read_chromosomes(source: _Source, header: _Header) -> list[tuple[str, int, int]]:
    """Give name, id and length of each chromosome: the leaves of a B+ tree."""
    order, root = header.order, header.chrom_tree_at
    magic, _, key_size, _, count = struct.unpack_from(
        order + "IIIIQ", source.read(root, 32, "the chromosome list")
    )
    if magic != _CHROM_TREE_MAGIC or not 1 <= key_size <= _KEY_BYTES:
        raise source.error("its chromosome list has no valid head")
    leaf = np.dtype([("name", f"S{key_size}"), ("id", order + "u4"), ("size", order + "u4")])
    node = np.dtype([("name", f"S{key_size}"), ("offset", order + "u8")])
    found: list[tuple[str, int, int]] = []
    for items in _walk_leaves(source, order, root + 32, (leaf, node), "the chromosome list"):
        spelled = (name.decode("utf-8", "replace") for name in items["name"].tolist())
        found.extend(zip(spelled, items["id"].tolist(), items["size"].tolist(), strict=True))
    names, ids = ({entry[place] for entry in found} for place in (0, 1))
    lengths = {length for _, _, length in found}
    if not len(found) == len(names) == count or ids != set(range(len(found))) or 0 in lengths:
        raise source.error("its chromosome list contradicts itself")
    return found


def _walk_leaves(
    source: _Source,
    order: str,
    root: int,
    kinds: tuple[np.dtype, np.dtype],
    what: str,
    choose: Callable[[np.ndarray, np.void | None], np.ndarray] | None = None,
) -> Iterator[np.ndarray]:
    """Give the items of a tree's leaves, depth first and in order.

    `kinds` are the items of a leaf and of a node; `choose` picks those to follow or to give from
    the items and the item that led to them.
    """
    stack: list[tuple[int, np.void | None]] = [(root, None)]
    spent = 0
    while stack:
        offset, parent = stack.pop()
        is_leaf, _, count = struct.unpack(order + "BBH", source.read(offset, 4, what))
        kind = kinds[0] if is_leaf else kinds[1]
        # Honest nodes share no bytes: more of them than the file has room for is a cycle.
        spent += 4 + count * kind.itemsize
        if is_leaf > 1 or spent > source.size:
            raise source.error(f"{what} contradicts itself at byte {offset}")
        items = np.frombuffer(source.read(offset + 4, count * kind.itemsize, what), kind)
        if choose is not None:
            items = choose(items, parent)
        if is_leaf:
            yield items
        else:
            stack.extend((int(item["offset"]), item) for item in items[::-1])


def _find_chromosome(source: _Source, header: _Header, chrom: str) -> tuple[int, int]:
    known = _read_chromosomes(source, header)
    for name, chrom_id, length in known:
        if name == chrom:
            return chrom_id, length
    import difflib  # costs milliseconds that a run without errors need not pay

    names = [name for name, _, _ in known]
    near = difflib.get_close_matches(chrom, names, n=3) or names[:5]
    more = ", ..." if len(names) > len(near) else ""
    raise BigWigError(
        f"{source.name}: no chromosome called {chrom!r}; it has {', '.join(near)}{more}"
    )


def _check_region(name: str, chrom: str, start: int, end: int, length: int) -> None:
    if not 0 <= start < end:
        raise BigWigError(f"{name}: {chrom}:{start}-{end} holds no position; give 0 <= start < end")
    if end > length:
        raise BigWigError(
            f"{name}: {chrom}:{start}-{end} ends past the chromosome, which has {length} bases"
        )


def _find_blocks(
    source: _Source, header: _Header, chrom_id: int, start: int, end: int
) -> np.ndarray:
    """Give the index items of the blocks that touch a region, in order."""
    order = header.order
    if header.index_at == 0:  # pyBigWig writes no index where there are no data
        return np.zeros(0, item_kind(order))
    (magic,) = struct.unpack_from(order + "I", source.read(header.index_at, 48, "the index"))
    if magic != _INDEX_MAGIC:
        raise source.error("its index has no valid head")
    low, high = (np.uint64(chrom_id << 32 | base) for base in (start, end))

    def choose(items: np.ndarray, parent: np.void | None) -> np.ndarray:
        first, last = item_bounds(items)
        # A search relies on this; what breaks it could hide blocks that hold the region.
        sound = (first < last).all() and (first[1:] >= first[:-1]).all()
        if parent is not None and len(items):
            outer_first, outer_last = item_bounds(parent.reshape(1))
            sound &= first[0] >= outer_first[0] and last.max() <= outer_last[0]
        if not sound:
            raise source.error("its index contradicts itself")
        return items[(first < high) & (last > low)]

    leaf = item_kind(order)
    node = np.dtype(leaf.descr[:-1])
    leaves = list(
        _walk_leaves(source, order, header.index_at + 48, (leaf, node), "the index", choose)
    )
    blocks = np.concatenate(leaves) if leaves else np.zeros(0, leaf)
    limit = LARGEST_BLOCK + (LARGEST_BLOCK >> 6)  # what deflate adds where it cannot compress
    if blocks["size"].max(initial=0) > limit or blocks["size"].sum() > source.size:
        raise source.error("its index gives impossible block sizes")
    if blocks["offset"].max(initial=0) > source.size:
        raise source.error("its index leads past its end")
    return blocks


def _read_records(
    source: _Source, header: _Header, blocks: np.ndarray, region: tuple[int, int, int]
) -> Iterator[Records]:
    """Give the records of a region, a stretch of blocks at a time."""
    for stretch in _stretches(blocks):
        raw = list(_read_stretch(source, header, stretch))
        try:
            yield from decode_blocks(raw, stretch, header.order, region)
        except BlockError as error:
            raise source.error(str(error)) from error


def _read_stretch(
    source: _Source, header: _Header, stretch: np.ndarray
) -> Iterator[bytes | memoryview]:
    """Read blocks that lie side by side at once; give them decompressed."""
    offsets, sizes = (stretch[key].tolist() for key in ("offset", "size"))
    whole = source.read(offsets[0], offsets[-1] + sizes[-1] - offsets[0], "a block of data")
    data = memoryview(whole)
    for at, size in zip(offsets, sizes, strict=True):
        packed = data[at - offsets[0] :][:size]
        try:
            yield inflate(packed) if header.compressed else packed
        except BlockError as error:
            raise source.error(str(error)) from error


def _stretches(blocks: np.ndarray) -> Iterator[np.ndarray]:
    """Cut index items into stretches that lie side by side in the file, worth one read each."""
    offsets, sizes = blocks["offset"].astype(np.int64), blocks["size"].astype(np.int64)
    apart = np.flatnonzero(offsets[1:] != offsets[:-1] + sizes[:-1]) + 1
    for lower, upper in zip([0, *apart], [*apart, len(blocks)], strict=True):
        read = np.cumsum(sizes[lower:upper]) // _LONGEST_READ
        cuts = np.flatnonzero(np.diff(read)) + 1
        yield from (part for part in np.split(blocks[lower:upper], cuts) if len(part))
