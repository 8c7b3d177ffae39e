"""What a case is run on: its tracks, its region and the genes there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tuner_plugins.nmf.config import CaseSection
from tuner_plugins.nmf.io.step_functions import Runs


@dataclass(frozen=True)
class CaseInput:
    """What a case is run on.

    Attributes
    ----------
    section : CaseSection
    found : tuple of lists
        All files that were looked at: see `tracks.list_tracks`.
    tracks : sequence of str
        Its tracks, read by `NmfPlugin.run` (reading is on the clock).
    absent : mapping
        bigWig files that lack the chromosome, to the name that they have in its place, or "".
    chrom, start, end
        Region, 0-based and half-open.
    annotation_path : Path
    annotation : Runs
        The annotation of the region.
    """

    section: CaseSection
    found: tuple[list[str], list[str], list[str], list[str]]
    tracks: Sequence[str]
    absent: Mapping[str, str]
    chrom: str
    start: int
    end: int
    annotation_path: Path
    annotation: Runs = field(repr=False)

    @property
    def k(self) -> int:
        """Number of loadings."""
        return self.section.k

    @property
    def region(self) -> tuple[str, int, int]:
        """Chromosome, start and end."""
        return self.chrom, self.start, self.end

    @property
    def genes(self) -> Runs:
        """The annotation, its ends counted from the region's start."""
        return Runs(self.annotation.ends - self.start, self.annotation.values)
