"""Genes of one chromosome from the lines of BED, GTF and GFF3 files."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from tuner_plugins.genome_tables.lines import (
    AnnotationError,
    Row,
    bed_positions,
    gtf_positions,
    other_format,
    require_gtf,
)
from tuner_plugins.genome_tables.names import shown

_GENES = frozenset({"gene", "ncRNA_gene", "pseudogene"})
_TRANSCRIPTS = frozenset({"transcript", "mRNA"})
_PARENT = re.compile(r'(?:transcript_id\s+"([^"]*)"|Parent=([^;]*))')


class Interval(NamedTuple):
    """A gene or its like: 0-based and half-open, strand as written, line in the file."""

    start: int
    end: int
    strand: str
    line: int


def read_bed(name: str, rows: Iterator[Row]) -> list[Interval]:
    """Return the intervals of BED lines; raise `AnnotationError` for a line that is none."""
    intervals = []
    for row in rows:
        start, end = bed_positions(name, row)
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
        require_gtf(name, row)
        kind = row.columns[2]
        if kind not in _GENES and kind not in _TRANSCRIPTS and kind != "exon":
            others.setdefault(kind, row.columns[1:])
            continue
        item = Interval(*gtf_positions(name, row), row.columns[6], row.line)
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
            f"{other_format([row.chrom, *others[next(iter(others))]], bed=False)}"
        )
    return found


def _parent(row: Row) -> str:
    """Return the transcript that an exon belongs to; an exon without one stands for itself."""
    match = _PARENT.search(row.columns[8]) if len(row.columns) > 8 else None
    return (match[1] or match[2]) if match else f"line {row.line}"
