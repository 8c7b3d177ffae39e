"""Regions of a genome as people write them: ``chr21:33746350-35442400``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Coordinates = Literal["0-based", "1-based"]
"""How positions are written: 0-based and half-open, or as samtools and IGV write them."""

_PATTERN = re.compile(r"(?P<chrom>[^\s:]+)(?::(?P<start>[\d,]+)-(?P<end>[\d,]*))?", re.ASCII)


Place = tuple[str, int, int]
"""Chromosome, start and end, 0-based and half-open."""

GENOME = "genome"
"""The region of all chromosomes that every track has."""


class RegionError(ValueError):
    """A region that cannot be understood; the message is one line that says what to do."""


@dataclass(frozen=True)
class Region:
    """A stretch of one chromosome, 0-based and half-open.

    Attributes
    ----------
    chrom : str
        Chromosome name as the files spell it.
    start : int
        First position.
    end : int or None
        Position after the last one; None for the end of the chromosome.
    """

    @property
    def several(self) -> Sequence[str] | None:
        """Names of the chromosomes, where they are several: whole ones; empty for all there are."""
        if self.chrom == GENOME and self.end is None:
            return ()
        return self.chrom.split(",") if "," in self.chrom else None

    chrom: str
    start: int = 0
    end: int | None = None

    def __str__(self) -> str:
        """Write the region the way `parse_region` reads it."""
        if self.end is None:
            return self.chrom if self.start == 0 else f"{self.chrom}:{self.start}-"
        return f"{self.chrom}:{self.start}-{self.end}"


def parse_region(text: str, coordinates: Coordinates = "0-based") -> Region:
    """Read ``chrom:start-end``, ``chrom:start-`` (to the end) or ``chrom`` (all of it).

    Or several whole chromosomes: ``chr1,chr2``, or ``genome`` for all that every track has.

    Parameters
    ----------
    text : str
    coordinates : {"0-based", "1-based"}
        ``0-based``: the first base is 0 and the end is not included. ``1-based``: the first base
        is 1, the end is included, and commas may group the digits: ``chr1:1,001-2,000`` has 1,000
        bases, as in samtools and IGV.

    Raises
    ------
    RegionError
        Where the text has another form, or holds no position.

    Examples
    --------
    >>> parse_region("chr1:1,001-2,000", "1-based")
    Region(chrom='chr1', start=1000, end=2000)
    """
    match = _PATTERN.fullmatch(text.strip())
    if match is None:
        raise RegionError(
            f"region {text!r} is not understood: write chrom:start-end (0-based, end not "
            "included), as in chr21:33746350-35442400, or chrom for the whole chromosome"
        )
    names = match["chrom"].split(",")
    if not all(names) or len(set(names)) < len(names) or (match["start"] and len(names) > 1):
        raise RegionError(
            f"region {text!r} is not understood: several chromosomes are named once each and taken "
            "whole, as in chr1,chr2"
        )
    if match["start"] is None:
        return Region(match["chrom"])
    if "," in match["start"] + match["end"] and coordinates == "0-based":
        raise RegionError(
            f"region {text!r}: positions with commas are mostly 1-based with the end included, as "
            "samtools and IGV write them: set 'coordinates: 1-based' in 'data' if these are, or "
            "leave the commas out if they are 0-based with the end not included"
        )
    start = _position(match["start"], text) - (coordinates == "1-based")
    end = _position(match["end"], text) if match["end"] else None
    if start < 0:
        raise RegionError(f"region {text!r}: the first base is 1 where coordinates are 1-based")
    if end is not None and start >= end:
        rule = "beyond its start" if coordinates == "0-based" else "at its start or beyond"
        raise RegionError(
            f"region {text!r} holds no position: its end must lie {rule} ({coordinates})"
        )
    return Region(match["chrom"], start, end)


def _position(digits: str, text: str) -> int:
    plain = digits.replace(",", "")
    if not plain or len(plain) > 15:
        raise RegionError(f"region {text!r}: {digits!r} is not a position on a chromosome")
    return int(plain)
