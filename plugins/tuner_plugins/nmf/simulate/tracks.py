"""Simulated genome tracks as bigWig files: genes, hidden factors, fragments piled up to integers.

Genes are laid out first; some are active. Hidden factors follow from them (marks of transcribed
gene bodies, of active starts, of repressed domains, sites far from genes, exons), tracks mix the
factors with a background of their own type, and fragments are drawn from that rate. The statistics
imitate ENCODE ChIP-seq and RNA-seq tracks of one cell type.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from scipy.ndimage import gaussian_filter1d

from tuner.plugin import InputError
from tuner_plugins.nmf.simulate.genome import (
    CELL,
    FACTORS,
    Gene,
    Genome,
    make_genome,
    slow_variation,
)

Kind = Literal["pileup", "smooth"]
Layout = Mapping[str, tuple[int, int, int]]
"""Chromosome name to its length, and the start and end of the part that is simulated."""

FRAGMENT = 200
_LUMP = 5
_FACTOR_GRID = 1000


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


@dataclass(frozen=True)
class SimulationTruth:
    """What the simulated tracks were made from.

    Attributes
    ----------
    folder : Path
        Holds ``tracks/*.bw``, ``Annotation.Gene.bw``, ``genes.bed``, ``truth.json`` and
        ``factors.npz``.
    seed : int
    settings : mapping
        Arguments of `simulate_tracks`.
    genes : tuple of Gene
    tracks : mapping
        Track name to its type.
    factors : mapping
        Chromosome to the factors, float32 of shape (1 kb stretches, len(FACTORS)): means over
        stretches that begin at the start of the simulated part.
    """

    folder: Path
    seed: int
    settings: Mapping[str, Any]
    genes: tuple[Gene, ...]
    tracks: Mapping[str, TrackType]
    factors: Mapping[str, np.ndarray] = field(repr=False)


def simulate_tracks(
    folder: str | os.PathLike[str],
    *,
    seed: int,
    region_length: int = 1_000_000,
    tracks: int = 13,
    layout: Layout | None = None,
    kind: Kind = "pileup",
) -> SimulationTruth:
    """Write simulated tracks, their gene annotation and the truth into a folder.

    The same arguments give the same values, on any machine with the same NumPy and SciPy.

    Parameters
    ----------
    folder : path
        Made if missing; files of the same names are replaced.
    seed : int
    region_length : int
        Length of the simulated part of ``chr1``, from 0, where no `layout` is given.
    tracks : int
        Number of tracks; the types of `TRACK_TYPES` in turn, as replicates when they repeat.
    layout : mapping, optional
        Chromosomes to write: ``{name: (length, start, end)}``, simulated from start to end.
    kind : {"pileup", "smooth"}
        Integer pile-ups in runs of 20 to 300 bp, or real-valued smooth signal in runs of 2 bp.

    Raises
    ------
    InputError
        Where a number makes no sense, or the folder holds other tracks.
    """
    layout = {"chr1": (region_length, 0, region_length)} if layout is None else dict(layout)
    _check(layout, seed, tracks, kind)
    folder = Path(folder)
    types = _name_tracks(tracks)
    _make_folder(folder / "tracks", types)
    genomes = {
        chrom: make_genome(np.random.default_rng([seed, number]), chrom, start, end)
        for number, (chrom, (_, start, end)) in enumerate(layout.items())
    }
    header = [(chrom, length) for chrom, (length, _, _) in layout.items()]
    for rank, (name, track_type) in enumerate(types.items()):
        signals = []
        for number, (chrom, genome) in enumerate(genomes.items()):
            shared = np.random.default_rng([seed, number, 0, rank % len(TRACK_TYPES)])
            heights = _site_heights(shared, track_type, genome.sites.max() + 1)
            rng = np.random.default_rng([seed, number, 1, rank])
            rate = _make_rate(rng, track_type, genome, heights)
            _, start, end = layout[chrom]
            if kind == "smooth":
                signals.append((chrom, *_draw_smooth(rng, rate, start, end)))
            else:
                signals.append((chrom, *_pile_up(rng, rate, start, end, track_type.gaps)))
        _write_bigwig(folder / "tracks" / f"{name}.bw", header, signals)
    settings = {"seed": seed, "tracks": tracks, "layout": layout, "kind": kind}
    factors = {chrom: _coarsen(genome.factors) for chrom, genome in genomes.items()}
    genes = tuple(gene for genome in genomes.values() for gene in genome.genes)
    truth = SimulationTruth(folder, seed, settings, genes, types, factors)
    _write_truth(truth, header, layout)
    return truth


def _check(layout: Layout, seed: int, tracks: int, kind: str) -> None:
    if seed < 0:
        raise InputError(f"a seed is 0 or more; got {seed}")
    if tracks < 1:
        raise InputError(f"at least one track is simulated; got {tracks}")
    if kind not in ("pileup", "smooth"):
        raise InputError(f"kind is 'pileup' or 'smooth'; got {kind!r}")
    for chrom, (length, start, end) in layout.items():
        if not 0 <= start < end <= length:
            raise InputError(
                f"{chrom}: need 0 <= start < end <= length; got {start}, {end}, {length}"
            )
        if end - start < 20 * _FACTOR_GRID:
            raise InputError(f"{chrom}: at least 20,000 bases are simulated; got {end - start}")


def _make_folder(folder: Path, names: Iterable[str]) -> None:
    """Make the folder of tracks; refuse one whose other tracks would be read along."""
    folder.mkdir(parents=True, exist_ok=True)
    others = sorted({path.stem for path in folder.glob("*.bw")} - set(names))
    if others:
        raise InputError(
            f"{folder} holds {len(others)} other tracks ({others[0]}.bw, ...); "
            "give a new folder, or empty this one"
        )


def _name_tracks(tracks: int) -> dict[str, TrackType]:
    kinds = len(TRACK_TYPES)
    return {
        f"{TRACK_TYPES[i % kinds].name}.rep{i // kinds + 1}": TRACK_TYPES[i % kinds]
        for i in range(tracks)
    }


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
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw fragments from a rate and count them over each base: starts, ends, values of runs."""
    counts = rng.poisson(rate * (CELL / FRAGMENT))
    begins = np.repeat(np.arange(len(rate)) * CELL, counts) + start - FRAGMENT // 2
    begins += rng.integers(0, CELL, len(begins))
    places = np.concatenate(
        [[start], np.maximum(begins, start), np.minimum(begins + FRAGMENT, end)]
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


def _draw_smooth(
    rng: np.random.Generator, rate: np.ndarray, start: int, end: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return a smooth, real-valued signal around a rate, in runs of 2 bases on one of two grids."""
    noisy = gaussian_filter1d(rng.gamma(np.maximum(rate, 1e-3)), 1.5)
    starts = np.arange(start + rng.integers(2), end - 1, 2)
    values = np.interp(starts, start + (np.arange(len(rate)) + 0.5) * CELL, noisy)
    return starts, starts + 2, values


def _coarsen(factors: np.ndarray) -> np.ndarray:
    edges = np.arange(0, len(factors), _FACTOR_GRID // CELL)
    counts = np.diff(edges, append=len(factors))
    return (np.add.reduceat(factors, edges) / counts[:, None]).astype(np.float32)


def _write_bigwig(
    path: Path,
    header: list[tuple[str, int]],
    signals: list[tuple[str, np.ndarray, np.ndarray, np.ndarray]],
) -> None:
    import pyBigWig  # type: ignore[import-not-found]  # has no stubs

    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with pyBigWig.open(str(temporary), "w") as file:
        file.addHeader(header)
        for chrom, starts, ends, values in signals:
            if not len(starts):
                continue
            span, steps = ends - starts, np.diff(starts)
            if len(steps) and (span == span[0]).all() and (steps == steps[0]).all():
                regular = {"span": int(span[0]), "step": int(steps[0])}
                file.addEntries(chrom, int(starts[0]), values=values, **regular)
            else:
                names = np.full(len(starts), chrom)
                file.addEntries(names, starts, ends=ends, values=values)
    os.replace(temporary, path)


def _write_truth(truth: SimulationTruth, header: list[tuple[str, int]], layout: Layout) -> None:
    signals = []
    for chrom, (_, start, end) in layout.items():
        own = [gene for gene in truth.genes if gene.chrom == chrom]
        edges = np.array([start, *(edge for gene in own for edge in (gene.start, gene.end)), end])
        values = np.arange(len(edges) - 1) % 2.0
        real = np.diff(edges) > 0
        signals.append((chrom, edges[:-1][real], edges[1:][real], values[real]))
    _write_bigwig(truth.folder / "Annotation.Gene.bw", header, signals)
    lines = [
        f"{gene.chrom}\t{gene.start}\t{gene.end}\tgene{i + 1}\t0\t{gene.strand}\n"
        for i, gene in enumerate(truth.genes)
    ]
    _write_text(truth.folder / "genes.bed", "".join(lines))
    known = {
        "seed": truth.seed,
        "settings": truth.settings,
        "factors": FACTORS,
        "tracks": {name: asdict(kind) for name, kind in truth.tracks.items()},
        "genes": [asdict(gene) for gene in truth.genes],
    }
    _write_text(truth.folder / "truth.json", json.dumps(known, indent=1) + "\n")
    temporary = truth.folder / f".factors.{os.getpid()}.npz"
    arrays: dict[str, Any] = dict(truth.factors)
    np.savez_compressed(temporary, **arrays)
    os.replace(temporary, truth.folder / "factors.npz")


def _write_text(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)
