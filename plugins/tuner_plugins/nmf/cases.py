"""What a case is run on: its tracks, its region and the genes there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tuner_plugins.nmf.config import CaseSection
from tuner_plugins.nmf.io.regions import Place
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
    places : sequence of Place
        The region; or several whole chromosomes, which are one case.
    annotation_path : Path
    annotations : sequence of Runs
        The annotation of each place.
    skipped : sequence of str
        Chromosomes that only some of the tracks have.
    """

    section: CaseSection
    found: tuple[list[str], list[str], list[str], list[str]]
    tracks: Sequence[str]
    absent: Mapping[str, str]
    places: Sequence[Place]
    annotation_path: Path
    annotations: Sequence[Runs] = field(repr=False)
    skipped: Sequence[str] = ()

    @property
    def k(self) -> int:
        """Number of loadings."""
        return self.section.k

    @property
    def region(self) -> Place:
        """The one place of a case that is no more."""
        (place,) = self.places
        return place

    @property
    def size(self) -> int:
        """Number of bases."""
        return sum(end - start for _, start, end in self.places)

    @property
    def longest(self) -> tuple[Place, Runs]:
        """The longest place, and its annotation."""
        parts = zip(self.places, self.annotations, strict=True)
        return max(parts, key=lambda part: part[0][2] - part[0][1])

    @property
    def where(self) -> str:
        """The region in words."""
        if len(self.places) == 1:
            chrom, start, end = self.places[0]
            return f"{chrom}:{start}-{end}"
        return f"{len(self.places)} chromosomes"

    @property
    def genes(self) -> Runs:
        """The annotation of all places end to end, its ends counted from the first one's start."""
        ends, done = [], 0
        for (_, start, end), runs in zip(self.places, self.annotations, strict=True):
            ends.append(runs.ends - start + done)
            done += end - start
        values = np.concatenate([runs.values for runs in self.annotations])
        return Runs(np.concatenate(ends), values)
