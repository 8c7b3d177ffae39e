"""A plain writer of bigWig files: what pyBigWig cannot write (byte orders, versions, disorder)."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import NamedTuple

SIZES = {1: 12, 2: 8, 3: 4}


class Section(NamedTuple):
    """A block of data; records are (start, end, value) whatever the type."""

    chrom: int
    kind: int
    records: list[tuple[int, int, float]]

    def pack(self, order: str) -> bytes:
        span = self.records[0][1] - self.records[0][0]
        step = self.records[1][0] - self.records[0][0] if len(self.records) > 1 else span
        low, high = self.bounds()
        shared = (step, span) if self.kind == 3 else (0, span if self.kind == 2 else 0)
        head = (self.chrom, low, high, *shared, self.kind, 0, len(self.records))
        rows = {1: lambda r: r, 2: lambda r: (r[0], r[2]), 3: lambda r: (r[2],)}[self.kind]
        form = order + {1: "IIf", 2: "If", 3: "f"}[self.kind]
        body = b"".join(struct.pack(form, *rows(record)) for record in self.records)
        return struct.pack(order + "IIIIIBBH", *head) + body

    def bounds(self) -> tuple[int, int]:
        return min(r[0] for r in self.records), max(r[1] for r in self.records)


def write_bigwig(  # noqa: PLR0913 - what a file may be, each by name
    path: Path,
    chroms: dict[str, int],
    sections: list[Section],
    *,
    order: str = "<",
    compress: bool = True,
    version: int = 4,
    fan: int = 2,
    padding: int = 0,
) -> Path:
    """Write a bigWig file without summaries, its index `fan` items a node."""
    data, items = b"", []
    tree_at = 64
    tree = _chrom_tree(chroms, order, tree_at)
    data_at = tree_at + len(tree)
    data = struct.pack(order + "Q", len(sections))
    for section in sections:
        raw = section.pack(order)
        block = zlib.compress(raw) if compress else raw
        low, high = section.bounds()
        bounds = (section.chrom, low, section.chrom, high)
        items.append((bounds, data_at + len(data), len(block)))
        data += block + b"\0" * padding
    index_at = data_at + len(data)
    index = _index(items, order, index_at, fan)
    buffer = 1 << 16 if compress else 0
    head = struct.pack(
        order + "IHHQQQHHQQIQ",
        *(0x888FFC26, version, 0, tree_at, data_at, index_at, 0, 0, 0, 0, buffer, 0),
    )
    path.write_bytes(head + tree + data + index)
    return path


def _chrom_tree(chroms: dict[str, int], order: str, at: int) -> bytes:
    width = max(map(len, chroms))
    names = list(chroms.items())
    rows = [
        name.encode().ljust(width, b"\0") + struct.pack(order + "II", number, size)
        for number, (name, size) in enumerate(names)
    ]
    head = struct.pack(order + "IIIIQQ", 0x78CA8C91, 2, width, 8, len(rows), 0)
    leaves = [rows[i : i + 2] for i in range(0, len(rows), 2)]
    if len(leaves) == 1:
        return head + struct.pack(order + "BBH", 1, 0, len(rows)) + b"".join(rows)
    root = struct.pack(order + "BBH", 0, 0, len(leaves))
    offset = at + len(head) + len(root) + len(leaves) * (width + 8)
    body = b""
    for leaf in leaves:
        root += leaf[0][:width] + struct.pack(order + "Q", offset + len(body))
        body += struct.pack(order + "BBH", 1, 0, len(leaf)) + b"".join(leaf)
    return head + root + body


def _cover(bounds: list[tuple[int, int, int, int]]) -> tuple[int, int, int, int]:
    first = min((b[0], b[1]) for b in bounds)
    return (*first, *max((b[2], b[3]) for b in bounds))


def _index(items: list, order: str, at: int, fan: int) -> bytes:
    """Write the levels of the tree from the root down; children lie at known offsets."""
    levels = [[items[i : i + fan] for i in range(0, max(len(items), 1), fan)]]
    while len(levels[0]) > 1:
        bounds = [(_cover([child[0] for child in node]), node) for node in levels[0]]
        levels.insert(0, [bounds[i : i + fan] for i in range(0, len(bounds), fan)])
    whole = _cover([item[0] for item in items]) if items else (0, 0, 0, 0)
    head = struct.pack(order + "IIQIIIIQII", 0x2468ACE0, fan, len(items), *whole, at, 1, 0)
    out, offset = b"", at + len(head)
    for depth, level in enumerate(levels):
        is_leaf = depth == len(levels) - 1
        size = 32 if is_leaf else 24
        child = offset + sum(4 + size * len(node) for node in level)
        grand = 32 if depth == len(levels) - 2 else 24
        for node in level:
            out += struct.pack(order + "BBH", is_leaf, 0, len(node))
            for entry in node:
                out += struct.pack(order + "IIII", *entry[0])
                if is_leaf:
                    out += struct.pack(order + "QQ", *entry[1:])
                else:
                    out += struct.pack(order + "Q", child)
                    child += 4 + grand * len(entry[1])
        offset = at + len(head) + len(out)
    return head + out
