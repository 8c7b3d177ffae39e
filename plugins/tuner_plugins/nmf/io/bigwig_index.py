"""What leads to the data of a bigWig file: its header, its chromosome list and its index.

Both are trees (Kent et al. 2010, doi:10.1093/bioinformatics/btq351). A file is not trusted: every
offset, count and size is held against the file's own length before anything is allocated.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from tuner_plugins.genome_tables.names import suggest_names
from tuner_plugins.nmf.io.bigwig_blocks import LARGEST_BLOCK, item_bounds, item_kind
from tuner_plugins.nmf.io.folder import open_regular
from tuner_plugins.nmf.io.remote import RemoteError, RemoteFile, is_remote, open_remote

_BIGWIG_MAGIC = 0x888FFC26
_BIGBED_MAGIC = 0x8789F2EB
_CHROM_TREE_MAGIC = 0x78CA8C91
_INDEX_MAGIC = 0x2468ACE0
_KEY_BYTES = 4096


class BigWigError(ValueError):
    """A file or a request that cannot be served; the message is one line that says what to do."""


class Header(NamedTuple):
    """What a bigWig file's header says: byte order, where its trees are, compressed or not."""

    order: str
    chrom_tree_at: int
    index_at: int
    compressed: bool


class Source:
    """An open file, local or remote, that refuses to read past its end."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.name = os.fspath(path)
        self._remote: RemoteFile | None = None
        if is_remote(self.name):
            try:
                self._remote = open_remote(self.name)
            except (RemoteError, OSError) as error:
                raise BigWigError(str(error)) from error
            self.name, self.size = self._remote.name, self._remote.size
            return
        if "://" in self.name:
            raise BigWigError(
                f"{self.name}: only local files, http and https are read; download it first"
            )
        try:
            self._file = open(open_regular(self.name), "rb", buffering=0)
        except OSError as error:
            raise BigWigError(f"{self.name}: cannot be read ({error.strerror})") from error
        self.size = os.fstat(self._file.fileno()).st_size

    def __enter__(self) -> Source:
        """Return it, open."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file; a remote one stays, for the next to read it."""
        if self._remote is None:
            self._file.close()

    def error(self, problem: str) -> BigWigError:
        """Return the error of a damaged file."""
        return BigWigError(
            f"{self.name}: {problem}; the file is truncated or damaged: copy or make it again"
        )

    def read(self, offset: int, size: int, what: str) -> bytes:
        """Return `size` bytes from `offset`; `what` they are is for the error."""
        if offset + size > self.size:
            raise self.error(f"{what} at byte {offset} reaches past its {self.size} bytes")
        try:
            if self._remote is not None:
                data = self._remote.read(offset, size)
            else:
                data = os.pread(self._file.fileno(), size, offset)
        except RemoteError as error:
            raise BigWigError(str(error)) from error
        except OSError as error:
            raise BigWigError(f"{self.name}: cannot be read ({error.strerror})") from error
        if len(data) != size:
            raise self.error(f"{what} at byte {offset} could not be read whole")
        return data


def read_header(source: Source) -> Header:
    """Read the header; refuse what is no bigWig file."""
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
    return Header(order, chrom_tree, index, buffer_size > 0)


def read_chromosomes(source: Source, header: Header) -> list[tuple[str, int, int]]:
    """Return name, id and length of each chromosome: the leaves of a B+ tree."""
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
    if not len(found) == len(names) == count or ids != set(range(len(found))):
        raise source.error("its chromosome list contradicts itself")
    return found


def _walk_leaves(
    source: Source,
    order: str,
    root: int,
    kinds: tuple[np.dtype, np.dtype],
    what: str,
    choose: Callable[[np.ndarray, np.void | None], np.ndarray] | None = None,
) -> Iterator[np.ndarray]:
    """Return the items of a tree's leaves, depth first and in order.

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


def find_chromosome(source: Source, header: Header, chrom: str) -> tuple[int, int]:
    """Return id and length of a chromosome; refuse one that the file does not name."""
    known = read_chromosomes(source, header)
    for name, chrom_id, length in known:
        if name == chrom:
            return chrom_id, length
    hint = suggest_names(chrom, [name for name, _, _ in known])
    raise BigWigError(f"{source.name}: no chromosome called {chrom!r}; {hint}")


def check_region(name: str, chrom: str, start: int, end: int, length: int) -> None:
    """Refuse a region that does not lie on a chromosome of this length."""
    if end > length:
        raise BigWigError(
            f"{name}: {chrom}:{start}-{end} ends past the chromosome, which has {length:,} bases; "
            "choose an end of at most that, or leave this file out if others have more (it may be "
            "of another assembly)"
        )
    if not 0 <= start < end:
        raise BigWigError(
            f"{name}: {chrom}:{start}-{end} holds no position; give 0 <= start < end "
            f"(0-based, end not included) on the chromosome's {length:,} bases"
        )


def find_blocks(source: Source, header: Header, chrom_id: int, start: int, end: int) -> np.ndarray:
    """Return the index items of the blocks that touch a region, in order."""
    order = header.order
    if header.index_at == 0:  # pyBigWig writes no index where there are no data
        return np.zeros(0, item_kind(order))
    (magic,) = struct.unpack_from(order + "I", source.read(header.index_at, 48, "the index"))
    if magic != _INDEX_MAGIC:
        raise source.error("its index has no valid head")
    low, high = (np.uint64(chrom_id << 32 | base) for base in (start, end))

    def choose(items: np.ndarray, parent: np.void | None) -> np.ndarray:
        first, last = item_bounds(items)
        # A search relies on this; what breaks it could hide blocks that hold the region. Blocks of
        # records without length are as long, and blocks may come in any order.
        sound = (first <= last).all()
        if parent is not None and len(items):
            outer_first, outer_last = item_bounds(parent.reshape(1))
            sound &= first.min() >= outer_first[0] and last.max() <= outer_last[0]
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
