"""Lines of BED, GTF and GFF3 files, gzipped or not, and the positions that they hold."""

from __future__ import annotations

import gzip
import os
from collections.abc import Iterator, Sequence
from io import BufferedReader, TextIOWrapper
from typing import NamedTuple, cast

from tuner_plugins.genome_tables.names import shown

LAST = 1 << 40
"""Beyond any position on a chromosome."""

_LONGEST_LINE = 1 << 20
_FREE_TEXT = 1 << 28
_MOST_TIMES = 100
"""Characters that a packed file may unpack to for each of its bytes, `_FREE_TEXT` in any case."""


class AnnotationError(ValueError):
    """An annotation that cannot be used; the message is one line that says what to do."""


class Row(NamedTuple):
    """A line of a table."""

    line: int
    chrom: str
    columns: list[str]


def rows_of(name: str, file: BufferedReader) -> Iterator[Row]:
    """Yield the rows of a table, without comments and what is for a browser.

    Raises
    ------
    AnnotationError
        A line without an end, or a packed file that unpacks to far more than text does.
    EOFError, zlib.error, UnicodeDecodeError, OSError
        A file that is not whole, or no text.
    """
    for number, line in enumerate(_lines(name, file), 1):
        if line.startswith("##FASTA"):
            return
        if not line.strip() or line.startswith(("#", "track ", "track\t", "browser ")):
            continue
        columns = line.split("\t") if "\t" in line else line.split()
        yield Row(number, columns[0], columns)


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


def bed_positions(name: str, row: Row) -> tuple[int, int]:
    """Return where a line of BED begins and ends; raise `AnnotationError` for one that is none."""
    if len(row.columns) < 3:
        raise AnnotationError(
            f"{name}, line {row.line}: a BED line has 3 columns or more, this one has "
            f"{len(row.columns)}"
        )
    return _positions(name, row, row.columns[1:3])


def gtf_positions(name: str, row: Row) -> tuple[int, int]:
    """Return the positions of a line of GTF or GFF3 as BED counts them: from 0, end not included.

    Raises
    ------
    AnnotationError
        For a line that is none, see `require_gtf`.
    """
    require_gtf(name, row)
    start, end = _positions(name, row, row.columns[3:5], first=1)
    return start - 1, end


def require_gtf(name: str, row: Row) -> None:
    """Raise `AnnotationError` for a line that has too few columns for GTF or GFF3."""
    if len(row.columns) < 8:
        raise AnnotationError(
            f"{name}, line {row.line}: a GTF or GFF3 line has 9 columns, separated by tabs; "
            f"this one has {len(row.columns)}{other_format(row.columns, bed=False)}"
        )


def _positions(name: str, row: Row, texts: list[str], first: int = 0) -> tuple[int, int]:
    try:
        start, end = (int(text) for text in texts)
    except ValueError:
        start, end = -1, -1
    if not first <= start <= end < LAST:
        raise AnnotationError(
            f"{name}, line {row.line}: {shown(' to '.join(texts))} is no interval; "
            f"need whole numbers, {first} <= start <= end"
            f"{other_format(row.columns, bed=first == 0)}"
        )
    return start, end


def other_format(columns: Sequence[str], bed: bool) -> str:
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
