"""Genes of one chromosome from the lines of BED, GTF and GFF3 files."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from tuner_plugins.nmf.io.names import shown

_GENES = frozenset({"gene", "ncRNA_gene", "pseudogene"})
_TRANSCRIPTS = frozenset({"transcript", "mRNA"})
_PARENT = re.compile(r'(?:transcript_id\s+"([^"]*)"|Parent=([^;]*))')
LAST = 1 << 40
"""Beyond any position on a chromosome."""


class AnnotationError(ValueError):
    """An annotation that cannot be used; the message is one line that says what to do."""


class Interval(NamedTuple):
    """A gene or its like: 0-based and half-open, strand as written, line in the file."""

    start: int
    end: int
    strand: str
    line: int


class Row(NamedTuple):
    """A line of a table."""

    line: int
    chrom: str
    columns: list[str]


def read_bed(name: str, rows: Iterator[Row]) -> list[Interval]:
    """Return the intervals of BED lines; raise `AnnotationError` for a line that is none."""
    intervals = []
    for row in rows:
        if len(row.columns) < 3:
            raise AnnotationError(
                f"{name}, line {row.line}: a BED line has 3 columns or more, this one has "
                f"{len(row.columns)}"
            )
        start, end = _positions(name, row, row.columns[1:3])
        strand = row.columns[5] if len(row.columns) > 5 else "."
        intervals.append(Interval(start, end, strand, row.line))
    if intervals and all(item.start == item.end for item in intervals):
        raise AnnotationError(
            f"{name}: no interval on {row.chrom!r} has any length; BED is 0-based with the end not "
            "included: subtract 1 from the starts of a 1-based file"
        )
    return intervals


def read_gtf(name: str, rows: Iterator[Row]) -> list[Interval]:
    """Return the genes of GTF or GFF3 lines, or the transcripts, or the exons joined to them."""
    genes: list[Interval] = []
    transcripts: list[Interval] = []
    exons: dict[str, Interval] = {}
    others: dict[str, list[str]] = {}
    for row in rows:
        if len(row.columns) < 8:
            raise AnnotationError(
                f"{name}, line {row.line}: a GTF or GFF3 line has 9 columns, separated by tabs; "
                f"this one has {len(row.columns)}{_other_format(row.columns, bed=False)}"
            )
        kind = row.columns[2]
        if kind not in _GENES and kind not in _TRANSCRIPTS and kind != "exon":
            others.setdefault(kind, row.columns[1:])
            continue
        start, end = _positions(name, row, row.columns[3:5], first=1)
        item = Interval(start - 1, end, row.columns[6], row.line)
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
            f"{_other_format([row.chrom, *others[next(iter(others))]], bed=False)}"
        )
    return found


def _parent(row: Row) -> str:
    """Return the transcript that an exon belongs to; an exon without one stands for itself."""
    match = _PARENT.search(row.columns[8]) if len(row.columns) > 8 else None
    return (match[1] or match[2]) if match else f"line {row.line}"


def _positions(name: str, row: Row, texts: list[str], first: int = 0) -> tuple[int, int]:
    try:
        start, end = (int(text) for text in texts)
    except ValueError:
        start, end = -1, -1
    if not first <= start <= end < LAST:
        raise AnnotationError(
            f"{name}, line {row.line}: {shown(' to '.join(texts))} is no interval; "
            f"need whole numbers, {first} <= start <= end"
            f"{_other_format(row.columns, bed=first == 0)}"
        )
    return start, end


def _other_format(columns: list[str], bed: bool) -> str:
    """Return that a line read as BED looks like GTF, or one read as GTF like BED; or ""."""
    pairs = columns[1:3], columns[3:5]
    numbers = [len(pair) == 2 and all(text.isdecimal() for text in pair) for pair in pairs]
    if numbers != [not bed, bed]:
        return ""
    kind, place, end = ("GTF or GFF3", "4 and 5", "gtf") if bed else ("BED", "2 and 3", "bed")
    return (
        f"; it looks like {kind}, where columns {place} are the numbers: if it is, give it a name "
        f"that ends in .{end}"
    )
