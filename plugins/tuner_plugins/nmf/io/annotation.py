"""Where the genes are: a step function from a bigWig, BED, GTF or GFF3 file.

Formats: BED (UCSC, 3 to 12 columns, 0-based, half-open), GTF 2.2 and GFF3 (9 columns, 1-based, end
included). Text files may be compressed with gzip.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Literal

import numpy as np

from tuner_plugins.genome_tables.lines import LAST, AnnotationError, Row, rows_of
from tuner_plugins.genome_tables.names import suggest_names
from tuner_plugins.nmf.io.bigwig import chromosomes, read_runs
from tuner_plugins.nmf.io.folder import open_regular
from tuner_plugins.nmf.io.gene_tables import Interval, read_bed, read_gtf
from tuner_plugins.nmf.io.regions import Place
from tuner_plugins.nmf.io.step_functions import Runs, join_sorted, zero_gaps

__all__ = ["AnnotationError", "Feature", "interval_ends", "read_annotation", "read_annotations"]

Feature = Literal["gene_body", "tss"]


class AbsentError(AnnotationError):
    """An annotation that has nothing on a chromosome."""


_TABLES = {".bed": "BED", ".gtf": "GTF", ".gff": "GTF", ".gff2": "GTF", ".gff3": "GTF"}
_BIGWIG_MAGICS = frozenset(
    magic.to_bytes(4, order)  # bigBed too: its reader says what is wrong
    for magic in (0x888FFC26, 0x8789F2EB)
    for order in ("little", "big")
)


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
    intervals = _kept_intervals(name, chrom)
    if feature == "tss":
        bounds = _tss_bounds(name, intervals, tss_window)
    else:
        bounds = np.array([(item.start, item.end) for item in intervals], np.int64)
    return _union(bounds, start, end)


def read_annotations(
    path: str | os.PathLike[str], places: Sequence[Place], feature: Feature, tss_window: int
) -> list[Runs]:
    """Read an annotation of several places, each as `read_annotation` does.

    Of several, those on chromosomes that the file does not name have no genes, unless none is
    named.
    """
    name, found, errors = os.fspath(path), [], []
    for chrom, start, end in places:
        try:
            if len(places) > 1 and _is_bigwig(name) and chrom not in chromosomes(name):
                raise AbsentError(f"{name}: no chromosome called {chrom!r}")
            found.append(read_annotation(name, chrom, start, end, feature, tss_window))
        except AbsentError as error:
            errors.append(error)
            found.append(Runs(np.array([end], np.int64), np.zeros(1, np.float32)))
    if len(errors) == len(places):
        raise errors[0]
    return found


def interval_ends(path: str | os.PathLike[str], chrom: str) -> list[int]:
    """Return where the intervals of a text annotation end on a chromosome; none of a bigWig file.

    Errors are those of `read_annotation`.
    """
    name = os.fspath(path)
    return [] if _is_bigwig(name) else [item.end for item in _kept_intervals(name, chrom)]


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


def _tss_bounds(name: str, intervals: Sequence[Interval], window: int) -> np.ndarray:
    bounds, window = [], min(window, LAST)
    for item in intervals:
        if item.strand not in ("+", "-"):
            raise AnnotationError(
                f"{name}, line {item.line}: no strand (+ or -), so no gene start; "
                "give a file with strands, or use gene_body"
            )
        base = item.start if item.strand == "+" else item.end - 1
        bounds.append((base - window, base + window + 1))
    return np.array(bounds, np.int64)


def _kept_intervals(name: str, chrom: str) -> Sequence[Interval]:
    """Return `_read_intervals`, once for all regions of a chromosome while the file stays as is."""
    try:
        status = os.stat(name)
    except OSError as error:
        raise AnnotationError(f"{name}: cannot be read ({error.strerror})") from error
    return _read_once(name, chrom, (status.st_mtime_ns, status.st_size, status.st_ino))


@lru_cache(maxsize=32)
def _read_once(name: str, chrom: str, _: tuple[int, ...]) -> Sequence[Interval]:
    return tuple(_read_intervals(name, chrom))


def _read_intervals(name: str, chrom: str) -> list[Interval]:
    stem = name[:-3] if name.endswith(".gz") else name
    table = _TABLES.get(os.path.splitext(stem)[1].lower())
    if table is None:
        raise AnnotationError(
            f"{name}: not a known kind of annotation; give .bw, .bed, .gtf, .gff or .gff3 "
            "(text files also as .gz)"
        )
    seen: dict[str, None] = {}
    read = read_bed if table == "BED" else read_gtf
    try:
        intervals = read(name, _rows(name, chrom, seen))
    except OSError as error:
        raise AnnotationError(f"{name}: cannot be read ({error.strerror or error})") from error
    except (EOFError, zlib.error, UnicodeDecodeError) as error:
        raise AnnotationError(f"{name}: not a whole {table} text file ({error})") from error
    if not intervals:
        hint = suggest_names(chrom, seen)
        raise AbsentError(f"{name}: nothing on chromosome {chrom!r}; {hint}")
    return intervals


def _rows(name: str, chrom: str, seen: dict[str, None]) -> Iterator[Row]:
    """Return the rows of one chromosome; note the names of all."""
    with open(open_regular(name), "rb") as file:
        for row in rows_of(name, file):
            seen[row.chrom] = None
            if row.chrom == chrom:
                yield row
