"""What experiments see of a simulated genome: rates of fragments, piled up to integers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from scipy.ndimage import gaussian_filter1d

from tuner_plugins.nmf.simulate.genome import CELL, FACTORS, Genome, slow_variation

Kind = Literal["pileup", "smooth"]
Signal = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Starts, ends and values of runs."""

_FRAGMENT = 200
_LUMP = 5


@dataclass(frozen=True)
class TrackType:
    """How a kind of experiment sees the hidden factors.

    Attributes
    ----------
    name : str
        Target of the experiment.
    background : float
        Mean number of fragments over a base that no factor touches.
    heights : mapping
        Mean number of fragments that each factor adds where it is 1.
    clumping : float
        Squared coefficient of variation of the rate between neighbouring stretches of 250 bp.
    own : float
        Spread (standard deviation of the logarithm) of a track's own heights of sites.
    gaps : bool
        Whether bases without fragments are left out of the file (read as NaN) or are zeros.
    """

    name: str
    background: float
    heights: Mapping[str, float] = field(default_factory=dict)
    clumping: float = 0.25
    own: float = 0.8
    gaps: bool = False


TRACK_TYPES = (
    TrackType("H3K36me3", 0.8, {"transcribed": 9.0}, clumping=0.4),
    TrackType("H3K4me3", 0.3, {"started": 160.0}, own=0.9),
    TrackType("H3K27me3", 0.9, {"repressed": 4.0}, clumping=0.5),
    TrackType("Input", 5.0, {}, clumping=0.35),
    TrackType("RNA", 0.05, {"exon": 15.0}, gaps=True),
    TrackType("Pol2", 0.35, {"started": 60.0, "transcribed": 0.3}),
    TrackType("CTCF", 0.25, {"distal": 50.0}, own=1.0),
    TrackType("H3K27ac", 0.4, {"started": 50.0, "distal": 20.0}, own=1.0),
    TrackType("H3K79me2", 0.9, {"transcribed": 1.0, "started": 8.0}, clumping=0.5),
    TrackType("DNase", 0.4, {"started": 35.0, "distal": 30.0}, own=1.0),
    TrackType("H3K4me1", 0.8, {"distal": 15.0, "transcribed": 0.2}, own=0.7),
    TrackType("GATA1", 0.3, {"distal": 50.0}, own=1.4, gaps=True),
    TrackType("H3K9me3", 1.2, {"repressed": 1.5}, clumping=0.5),
)


def draw_signal(
    track: TrackType,
    genome: Genome,
    kind: Kind,
    shared: np.random.Generator,
    rng: np.random.Generator,
) -> Signal:
    """Draw what a track shows of a genome.

    Parameters
    ----------
    track : TrackType
    genome : Genome
    kind : {"pileup", "smooth"}
        See `tracks.simulate_tracks`.
    shared, rng : Generator
        Of what replicates have in common (the heights of sites), and of all else.
    """
    heights = _site_heights(shared, track, genome.sites.max() + 1)
    rate = _make_rate(rng, track, genome, heights)
    if kind == "smooth":
        return _draw_smooth(rng, rate, genome.start, genome.end)
    return _pile_up(rng, rate, genome.start, genome.end, track.gaps)


def _make_rate(
    rng: np.random.Generator, track: TrackType, genome: Genome, heights: np.ndarray
) -> np.ndarray:
    """Return the expected number of fragments over a base, for each cell."""
    rate = track.background * genome.background * slow_variation(rng, len(genome.factors), 0.15)
    for name, height in track.heights.items():
        factor = genome.factors[:, FACTORS.index(name)]
        rate += height * (factor * heights[genome.sites] if name == "distal" else factor)
    lumps = rng.gamma(1 / track.clumping, track.clumping, len(rate) // _LUMP + 1)
    clumped: np.ndarray = rate * np.repeat(lumps, _LUMP)[: len(rate)] * genome.mappable
    return clumped


def _site_heights(rng: np.random.Generator, track: TrackType, count: int) -> np.ndarray:
    """Return the height of each site, 0 for those that a target does not bind."""
    heights = rng.lognormal(-(track.own**2) / 2, track.own, count)
    return heights * (rng.random(count) < 0.5)


def _pile_up(
    rng: np.random.Generator, rate: np.ndarray, start: int, end: int, gaps: bool
) -> Signal:
    """Draw fragments from a rate and count them over each base: starts, ends, values of runs."""
    counts = rng.poisson(rate * (CELL / _FRAGMENT))
    begins = np.repeat(np.arange(len(rate)) * CELL, counts) + start - _FRAGMENT // 2
    begins += rng.integers(0, CELL, len(begins))
    places = np.concatenate(
        [[start], np.maximum(begins, start), np.minimum(begins + _FRAGMENT, end)]
    )
    steps = np.repeat([0, 1, -1], [1, len(begins), len(begins)])
    keep = (places >= start) & (places < end)
    order = np.argsort(places[keep], kind="stable")
    places, height = places[keep][order], np.cumsum(steps[keep][order])
    last = np.append(places[1:] != places[:-1], True)
    starts, values = places[last], height[last].astype(np.float64)  # pyBigWig takes no other
    changed = np.append(True, values[1:] != values[:-1])
    starts, values = starts[changed], values[changed]
    ends = np.append(starts[1:], end)
    written = values != 0 if gaps else slice(None)
    return starts[written], ends[written], values[written]


def _draw_smooth(rng: np.random.Generator, rate: np.ndarray, start: int, end: int) -> Signal:
    """Return a smooth, real-valued signal around a rate, in runs of 2 bases on one of two grids."""
    noisy = gaussian_filter1d(rng.gamma(np.maximum(rate, 1e-3)), 1.5)
    starts = np.arange(start + rng.integers(2), end - 1, 2)
    values = np.interp(starts, start + (np.arange(len(rate)) + 0.5) * CELL, noisy)
    return starts, starts + 2, values
