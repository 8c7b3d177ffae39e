"""Step functions read from bigWig files, as runs of equal value.

The blocks of a file (Kent et al. 2010, doi:10.1093/bioinformatics/btq351) are found through its
R-tree index, read in long stretches and decoded as arrays: nothing is done base by base or record
by record. A file is not trusted: every offset, count and size is held against the file's own length
before anything is allocated, and the index is held against the blocks that it leads to.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np

from tuner_plugins.nmf.io.bigwig_blocks import BlockError, decode_blocks, inflate
from tuner_plugins.nmf.io.bigwig_index import (
    BigWigError,
    Header,
    Source,
    check_region,
    find_blocks,
    find_chromosome,
    read_chromosomes,
    read_header,
)
from tuner_plugins.nmf.io.step_functions import Records, Runs, join_any, join_sorted

__all__ = [
    "BigWigError",
    "chromosomes",
    "read_runs",
]

_LONGEST_READ = 1 << 22


def read_runs(
    path: str | os.PathLike[str], chrom: str, start: int = 0, end: int | None = None
) -> Runs:
    """Read a region of a bigWig file as a step function.

    Where records overlap, the last one in the file counts, as in pyBigWig.

    Parameters
    ----------
    path : path
        A local file or an address (http, https): any version up to 4, either byte order,
        compressed or not.
    chrom : str
        Chromosome name as the file spells it.
    start, end : int, optional
        Region, 0-based and half-open; the whole chromosome by default.

    Raises
    ------
    BigWigError
        Where the file is missing or damaged, or has no such region.
    """
    with Source(path) as source:
        header = read_header(source)
        chrom_id, length = find_chromosome(source, header, chrom)
        end = length if end is None else end
        check_region(source.name, chrom, start, end, length)
        blocks = find_blocks(source, header, chrom_id, start, end)
        region = (chrom_id, start, end)
        runs = join_sorted(_read_records(source, header, blocks, region), start, end)
        if runs is None:
            runs = join_any(_read_records(source, header, blocks, region), start, end)
    return runs


def chromosomes(path: str | os.PathLike[str]) -> dict[str, int]:
    """Return the length of each chromosome that a bigWig file names, in the file's order."""
    with Source(path) as source:
        return {name: size for name, _, size in read_chromosomes(source, read_header(source))}


def _read_records(
    source: Source, header: Header, blocks: np.ndarray, region: tuple[int, int, int]
) -> Iterator[Records]:
    """Return the records of a region, a stretch of blocks at a time."""
    for stretch in _stretches(blocks):
        raw = list(_read_stretch(source, header, stretch))
        try:
            yield from decode_blocks(raw, stretch, header.order, region)
        except BlockError as error:
            raise source.error(str(error)) from error


def _read_stretch(
    source: Source, header: Header, stretch: np.ndarray
) -> Iterator[bytes | memoryview]:
    """Read blocks that lie side by side at once; return them decompressed."""
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
