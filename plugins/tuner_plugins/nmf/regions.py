"""Regions of a genome as people write them: ``chr21:33746350-35442400``."""

from __future__ import annotations

import re
from dataclasses import dataclass

_PATTERN = re.compile(r"(?P<chrom>[^\s:]+)(?::(?P<start>[\d,]+)-(?P<end>[\d,]*))?", re.ASCII)


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

    chrom: str
    start: int = 0
    end: int | None = None

    def __str__(self) -> str:
        """Write the region the way `parse_region` reads it."""
        if self.end is None:
            return self.chrom if self.start == 0 else f"{self.chrom}:{self.start}-"
        return f"{self.chrom}:{self.start}-{self.end}"


def parse_region(text: str) -> Region:
    """Read ``chrom:start-end``, ``chrom:start-`` (to the end) or ``chrom`` (all of it).

    Parameters
    ----------
    text : str
        Positions are 0-based and half-open; commas between digits are allowed.

    Raises
    ------
    RegionError
        Where the text has another form, or holds no position.
    """
    match = _PATTERN.fullmatch(text.strip())
    if match is None:
        raise RegionError(
            f"region {text!r} is not understood: write chrom:start-end (0-based, end not "
            "included), as in chr21:33746350-35442400, or chrom for the whole chromosome"
        )
    if match["start"] is None:
        return Region(match["chrom"])
    start = _position(match["start"], text)
    end = _position(match["end"], text) if match["end"] else None
    if end is not None and start >= end:
        raise RegionError(f"region {text!r} holds no position: its end must lie beyond its start")
    return Region(match["chrom"], start, end)


def _position(digits: str, text: str) -> int:
    plain = digits.replace(",", "")
    if not plain or len(plain) > 15:
        raise RegionError(f"region {text!r}: {digits!r} is not a position on a chromosome")
    return int(plain)
