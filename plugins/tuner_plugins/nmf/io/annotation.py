"""Where the genes are: a step function from a bigWig, BED, GTF or GFF3 file.

Formats: BED (UCSC, 3 to 12 columns, 0-based, half-open), GTF 2.2 and GFF3 (9 columns, 1-based, end
included). Text files may be compressed with gzip.
"""

from __future__ import annotations

import gzip
import os
import re
import zlib
from collections.abc import Iterator
from io import BufferedReader, TextIOWrapper
from typing import Literal, NamedTuple, cast

import numpy as np

from tuner_plugins.nmf.io.bigwig import read_runs
from tuner_plugins.nmf.io.folder import open_regular
from tuner_plugins.nmf.io.names import shown, suggest_names
from tuner_plugins.nmf.io.step_functions import Runs, join_sorted, zero_gaps

Feature = Literal["gene_body", "tss"]

_TABLES = {".bed": "BED", ".gtf": "GTF", ".gff": "GTF", ".gff2": "GTF", ".gff3": "GTF"}
_BIGWIG_MAGICS = frozenset(
    magic.to_bytes(4, order)  # bigBed too: its reader says what is wrong
    for magic in (0x888FFC26, 0x8789F2EB)
    for order in ("little", "big")
)
_GENES = frozenset({"gene", "ncRNA_gene", "pseudogene"})
_TRANSCRIPTS = frozenset({"transcript", "mRNA"})
_LAST = 1 << 40
_LONGEST_LINE = 1 << 20
_FREE_TEXT = 1 << 28
_MOST_TIMES = 100
"""Characters that a packed file may unpack to for each of its bytes, `_FREE_TEXT` in any case."""
_PARENT = re.compile(r'(?:transcript_id\s+"([^"]*)"|Parent=([^;]*))')


class AnnotationError(ValueError):
    """An annotation that cannot be used; the message is one line that says what to do."""


class _Interval(NamedTuple):
    start: int
    end: int
    strand: str
    line: int


class _Row(NamedTuple):
    line: int
    chrom: str
    columns: list[str]


def read_annotation(
    path: str | os.PathLike[str],
    chrom: str,
    start: int,
    end: int,
    feature: Feature = "gene_body",
    tss_window: int = 1000,
) -> Runs:
    """Read an annotation of a region as a step function without NaN.

    A bigWig file gives its values as they are, and 0 where it has none. Any other file gives 1
    where at least one gene lies, else 0: lines of type ``gene`` in GTF and GFF3, or transcripts
    where there are none (from their exons where those alone are given).

    Parameters
    ----------
    path : path
        ``.bw``, or ``.bed``, ``.gtf``, ``.gff``, ``.gff3`` with or without ``.gz``.
    chrom : str
        Chromosome name as the file spells it.
    start, end : int
        Region, 0-based and half-open.
    feature : {"gene_body", "tss"}
        Whole genes, or the surroundings of their starts, which needs a file with strands.
    tss_window : int
        Bases on either side of a start.

    Raises
    ------
    AnnotationError, BigWigError
        Where the file is missing or malformed, or has nothing on that chromosome.
    """
    name = os.fspath(path)
    if feature not in ("gene_body", "tss"):
        raise AnnotationError(f"feature is 'gene_body' or 'tss'; got {feature!r}")
    if feature == "tss" and tss_window < 0:
        raise AnnotationError(f"tss_window is a number of bases, 0 or more; got {tss_window}")
    if not 0 <= start < end:
        raise AnnotationError(f"{name}: {chrom}:{start}-{end} holds no position")
    if _is_bigwig(name):
        if feature == "tss":
            raise AnnotationError(
                f"{name}: a bigWig file has no strands, so no gene starts; "
                "give a BED file with 6 columns, GTF or GFF3"
            )
        return zero_gaps(read_runs(name, chrom, start, end))
    intervals = _read_intervals(name, chrom)
    if feature == "tss":
        bounds = _tss_bounds(name, intervals, tss_window)
    else:
        bounds = np.array([(item.start, item.end) for item in intervals], np.int64)
    return _union(bounds, start, end)


def _is_bigwig(name: str) -> bool:
    """Return the format by content, so that a file is not misread for its name."""
    try:
        with open(open_regular(name), "rb") as file:
            return file.read(4) in _BIGWIG_MAGICS
    except OSError as error:
        raise AnnotationError(f"{name}: cannot be read ({error.strerror})") from error


def _union(bounds: np.ndarray, start: int, end: int) -> Runs:
    """Return 1 where at least one interval lies, else 0."""
    bounds = np.clip(bounds, start, end)
    bounds = bounds[bounds[:, 0] < bounds[:, 1]]
    bounds = bounds[np.argsort(bounds[:, 0], kind="stable")]
    reach = np.maximum.accumulate(bounds[:, 1])
    first = np.flatnonzero(np.append(True, bounds[1:, 0] > reach[:-1])[: len(bounds)])
    last = np.append(first[1:], len(bounds))[: len(first)] - 1
    records = bounds[first, 0], reach[last], np.ones(len(first), np.float32)
    runs = join_sorted([records], start, end)
    assert runs is not None, "a union is sorted"
    return zero_gaps(runs)


def _tss_bounds(name: str, intervals: list[_Interval], window: int) -> np.ndarray:
    bounds, window = [], min(window, _LAST)
    for item in intervals:
        if item.strand not in ("+", "-"):
            raise AnnotationError(
                f"{name}, line {item.line}: no strand (+ or -), so no gene start; "
                "give a file with strands, or use gene_body"
            )
        base = item.start if item.strand == "+" else item.end - 1
        bounds.append((base - window, base + window + 1))
    return np.array(bounds, np.int64)


def _read_intervals(name: str, chrom: str) -> list[_Interval]:
    stem = name[:-3] if name.endswith(".gz") else name
    table = _TABLES.get(os.path.splitext(stem)[1].lower())
    if table is None:
        raise AnnotationError(
            f"{name}: not a known kind of annotation; give .bw, .bed, .gtf, .gff or .gff3 "
            "(text files also as .gz)"
        )
    seen: dict[str, None] = {}
    read = _read_bed if table == "BED" else _read_gtf
    try:
        intervals = read(name, _rows(name, chrom, seen))
    except OSError as error:
        raise AnnotationError(f"{name}: cannot be read ({error.strerror or error})") from error
    except (EOFError, zlib.error, UnicodeDecodeError) as error:
        raise AnnotationError(f"{name}: not a whole {table} text file ({error})") from error
    if not intervals:
        hint = suggest_names(chrom, seen)
        raise AnnotationError(f"{name}: nothing on chromosome {chrom!r}; {hint}")
    return intervals


def _rows(name: str, chrom: str, seen: dict[str, None]) -> Iterator[_Row]:
    """Return the rows of one chromosome; note the names of all."""
    with open(open_regular(name), "rb") as file:
        for number, line in enumerate(_lines(name, file), 1):
            if line.startswith("##FASTA"):
                return
            if not line.strip() or line.startswith(("#", "track ", "track\t", "browser ")):
                continue
            columns = line.split("\t") if "\t" in line else line.split()
            seen[columns[0]] = None
            if columns[0] == chrom:
                yield _Row(number, chrom, columns)


def _lines(name: str, file: BufferedReader) -> Iterator[str]:
    """Return the lines of a text file, unpacked; refuse what unpacks to far more than text does."""
    size, read = os.fstat(file.fileno()).st_size, 0
    packed = file.peek(2)[:2] == b"\x1f\x8b"
    source = cast("BufferedReader", gzip.GzipFile(fileobj=file)) if packed else file
    with TextIOWrapper(source, encoding="utf-8") as text:
        while line := text.readline(_LONGEST_LINE):
            read += len(line)
            if len(line) == _LONGEST_LINE:
                raise AnnotationError(
                    f"{name}: no table, a line has {_LONGEST_LINE:,} characters or more"
                )
            if read > max(_FREE_TEXT, _MOST_TIMES * size):
                raise AnnotationError(
                    f"{name}: its {size:,} bytes unpack to over {read:,}, as no table does; "
                    "give it unpacked"
                )
            yield line.rstrip("\r\n")


def _read_bed(name: str, rows: Iterator[_Row]) -> list[_Interval]:
    intervals = []
    for row in rows:
        if len(row.columns) < 3:
            raise AnnotationError(
                f"{name}, line {row.line}: a BED line has 3 columns or more, this one has "
                f"{len(row.columns)}"
            )
        start, end = _positions(name, row, row.columns[1:3])
        strand = row.columns[5] if len(row.columns) > 5 else "."
        intervals.append(_Interval(start, end, strand, row.line))
    if intervals and all(item.start == item.end for item in intervals):
        raise AnnotationError(
            f"{name}: no interval on {row.chrom!r} has any length; BED is 0-based with the end not "
            "included: subtract 1 from the starts of a 1-based file"
        )
    return intervals


def _read_gtf(name: str, rows: Iterator[_Row]) -> list[_Interval]:
    genes: list[_Interval] = []
    transcripts: list[_Interval] = []
    exons: dict[str, _Interval] = {}
    others: dict[str, None] = {}
    for row in rows:
        if len(row.columns) < 8:
            raise AnnotationError(
                f"{name}, line {row.line}: a GTF or GFF3 line has 9 columns, separated by tabs; "
                f"this one has {len(row.columns)}"
            )
        kind = row.columns[2]
        if kind not in _GENES and kind not in _TRANSCRIPTS and kind != "exon":
            others[kind] = None
            continue
        start, end = _positions(name, row, row.columns[3:5], first=1)
        item = _Interval(start - 1, end, row.columns[6], row.line)
        if kind in _GENES:
            genes.append(item)
        elif kind in _TRANSCRIPTS:
            transcripts.append(item)
        else:
            parent = _parent(row)
            known = exons.get(parent, item)
            exons[parent] = item._replace(
                start=min(known.start, item.start), end=max(known.end, item.end)
            )
    found = genes or transcripts or list(exons.values())
    if others and not found:
        raise AnnotationError(
            f"{name}: no genes, transcripts or exons on {row.chrom!r}, only lines of type "
            f"{', '.join(map(shown, list(others)[:5]))}; give a file with lines of type gene"
        )
    return found


def _parent(row: _Row) -> str:
    """Return the transcript that an exon belongs to; an exon without one stands for itself."""
    match = _PARENT.search(row.columns[8]) if len(row.columns) > 8 else None
    return (match[1] or match[2]) if match else f"line {row.line}"


def _positions(name: str, row: _Row, texts: list[str], first: int = 0) -> tuple[int, int]:
    try:
        start, end = (int(text) for text in texts)
    except ValueError:
        start, end = -1, -1
    if not first <= start <= end < _LAST:
        raise AnnotationError(
            f"{name}, line {row.line}: {shown(' to '.join(texts))} is no interval; "
            f"need whole numbers, {first} <= start <= end"
        )
    return start, end
