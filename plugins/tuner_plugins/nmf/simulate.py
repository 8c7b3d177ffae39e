"""Simulated genome tracks as bigWig files: genes, hidden factors, fragments piled up to integers.

Genes are laid out first; some are active. Hidden factors follow from them (marks of transcribed
gene bodies, of active starts, of repressed domains, sites far from genes, exons), tracks mix the
factors with a background of their own type, and fragments are drawn from that rate. The statistics
imitate ENCODE ChIP-seq and RNA-seq tracks of one cell type.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from scipy.ndimage import gaussian_filter1d

Kind = Literal["pileup", "smooth"]
Layout = Mapping[str, tuple[int, int, int]]
"""Chromosome name to its length, and the start and end of the part that is simulated."""

FRAGMENT = 200
CELL = 50
FACTORS = ("transcribed", "started", "repressed", "distal", "exon")
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
    TrackType("H3K4me3", 0.3, {"started": 75.0}, own=0.9),
    TrackType("H3K27me3", 0.9, {"repressed": 4.0}, clumping=0.5),
    TrackType("Input", 5.0, {}, clumping=0.35),
    TrackType("RNA", 0.03, {"exon": 15.0}, gaps=True),
    TrackType("Pol2", 0.35, {"started": 30.0, "transcribed": 0.3}),
    TrackType("CTCF", 0.25, {"distal": 60.0}, own=1.2),
    TrackType("H3K27ac", 0.4, {"started": 30.0, "distal": 20.0}, own=1.0),
    TrackType("H3K79me2", 0.9, {"transcribed": 1.0, "started": 8.0}, clumping=0.5),
    TrackType("DNase", 0.4, {"started": 20.0, "distal": 30.0}, own=1.0),
    TrackType("H3K4me1", 0.8, {"distal": 15.0, "transcribed": 0.2}, own=0.7),
    TrackType("GATA1", 0.3, {"distal": 50.0}, own=1.4, gaps=True),
    TrackType("H3K9me3", 1.2, {"repressed": 1.5}, clumping=0.5),
)


@dataclass(frozen=True)
class Gene:
    """A gene body, 0-based and half-open; ``level`` is 0 for a silent gene."""

    chrom: str
    start: int
    end: int
    strand: str
    level: float


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
        Integer pile-ups in runs of some 50 bp, or real-valued smooth signal in runs of some 2 bp.

    Raises
    ------
    ValueError
        Where a number makes no sense.
    """
    layout = {"chr1": (region_length, 0, region_length)} if layout is None else dict(layout)
    _check(layout, tracks, kind)
    folder = Path(folder)
    (folder / "tracks").mkdir(parents=True, exist_ok=True)
    types = _name_tracks(tracks)
    genes: list[Gene] = []
    fine: dict[str, np.ndarray] = {}
    sites: dict[str, np.ndarray] = {}
    for number, (chrom, (_, start, end)) in enumerate(layout.items()):
        rng = np.random.default_rng([seed, number])
        own = _lay_genes(rng, chrom, start, end)
        fine[chrom], sites[chrom] = _make_factors(rng, own, start, end)
        genes.extend(own)
    header = [(chrom, length) for chrom, (length, _, _) in layout.items()]
    for rank, (name, track_type) in enumerate(types.items()):
        signals = []
        for number, (chrom, (_, start, end)) in enumerate(layout.items()):
            rng = np.random.default_rng([seed, number, rank])
            rate = _make_rate(rng, track_type, fine[chrom], sites[chrom])
            draw = _pile_up if kind == "pileup" else _draw_smooth
            signals.append((chrom, *draw(rng, rate, start, end, track_type.gaps)))
        _write_bigwig(folder / "tracks" / f"{name}.bw", header, signals)
    settings = {"seed": seed, "tracks": tracks, "layout": layout, "kind": kind}
    factors = {chrom: _coarsen(values) for chrom, values in fine.items()}
    truth = SimulationTruth(folder, seed, settings, tuple(genes), types, factors)
    _write_truth(truth, header, layout)
    return truth


def _check(layout: Layout, tracks: int, kind: str) -> None:
    if tracks < 1:
        raise ValueError(f"at least one track is simulated; got {tracks}")
    if kind not in ("pileup", "smooth"):
        raise ValueError(f"kind is 'pileup' or 'smooth'; got {kind!r}")
    for chrom, (length, start, end) in layout.items():
        if not 0 <= start < end <= length:
            raise ValueError(
                f"{chrom}: need 0 <= start < end <= length; got {start}, {end}, {length}"
            )
        if end - start < 20 * _FACTOR_GRID:
            raise ValueError(f"{chrom}: at least 20,000 bases are simulated; got {end - start}")


def _name_tracks(tracks: int) -> dict[str, TrackType]:
    kinds = len(TRACK_TYPES)
    return {
        f"{TRACK_TYPES[i % kinds].name}.rep{i // kinds + 1}": TRACK_TYPES[i % kinds]
        for i in range(tracks)
    }


def _lay_genes(rng: np.random.Generator, chrom: str, start: int, end: int) -> list[Gene]:
    """Alternate gaps and genes of log-normal lengths; try again until genes are a fair share."""
    while True:
        count = 20 + (end - start) // 20_000
        gaps = rng.lognormal(np.log(38_000), 1.5, count).astype(np.int64) + 500
        lengths = rng.lognormal(np.log(28_000), 1.19, count).astype(np.int64) + 500
        starts = start + np.cumsum(gaps) + np.cumsum(lengths) - lengths - int(rng.integers(38_000))
        ends = np.minimum(starts + lengths, end)
        starts = np.maximum(starts, start)
        keep = ends - starts >= 200
        share = (ends - starts)[keep].sum() / (end - start)
        if 0.25 <= share <= 0.4:
            break
    strands = rng.choice(["+", "-"], count)
    active = rng.random(count) < 0.45
    levels = np.where(active, rng.lognormal(-0.5, 1.0, count), 0.0)
    columns = (column[keep].tolist() for column in (starts, ends, strands, levels))
    return [Gene(chrom, *row) for row in zip(*columns, strict=True)]


def _make_factors(
    rng: np.random.Generator, genes: list[Gene], start: int, end: int
) -> tuple[np.ndarray, np.ndarray]:
    """Give the factors on cells of 50 bp, and which site each cell belongs to (-1: none)."""
    cells = -(-(end - start) // CELL)
    factors = np.zeros((cells, len(FACTORS)))
    centre = (np.arange(cells) + 0.5) * CELL + start
    for unit in [*genes, *_lay_unknown(rng, genes, start, end)]:
        if unit.level:
            _transcribe(rng, unit, centre, factors)
    factors[:, 2] = _lay_domains(rng, centre, factors[:, 0] > 0)
    peaks = np.sort(rng.uniform(start, end, max(2, (end - start) // 18_000)))
    nearest = np.abs(centre[:, None] - peaks[_nearest(peaks, centre)][:, None])[:, 0]
    factors[:, 3] = np.exp(-((nearest / 250) ** 2))
    return factors, _nearest(peaks, centre)


def _lay_unknown(rng: np.random.Generator, genes: list[Gene], start: int, end: int) -> list[Gene]:
    """Lay transcribed units that the annotation does not know: as many as genes."""
    count = len(genes) + 1
    starts = rng.integers(start, end, count)
    ends = np.minimum(starts + rng.lognormal(np.log(20_000), 0.8, count).astype(np.int64), end)
    strands, levels = rng.choice(["+", "-"], count), rng.lognormal(-0.4, 1.0, count)
    columns = (column.tolist() for column in (starts, ends, strands, levels))
    return [Gene("", *row) for row in zip(*columns, strict=True)]


def _transcribe(
    rng: np.random.Generator, unit: Gene, centre: np.ndarray, factors: np.ndarray
) -> None:
    """Add what an active gene does: a mark along its body, marks at its starts, exons."""
    part = slice(*np.searchsorted(centre, [unit.start, unit.end]))
    along = (centre[part] - unit.start) / (unit.end - unit.start)
    along = along if unit.strand == "+" else 1 - along
    factors[part, 0] = unit.level * (0.3 + 0.7 * np.minimum(1, 3 * along))
    first = unit.start if unit.strand == "+" else unit.end
    for tss in [first, *rng.integers(unit.start, unit.end, rng.poisson(0.7))]:
        near = slice(*np.searchsorted(centre, [tss - 4000, tss + 4000]))
        shape = np.exp(-(((centre[near] - tss) / rng.uniform(500, 1200)) ** 2))
        factors[near, 1] += np.sqrt(unit.level) * rng.lognormal(-0.2, 0.6) * shape
    exons = 2 + len(along) * CELL // 3500 if len(along) else 0
    for exon in rng.integers(0, max(1, len(along)), exons):
        factors[part, 4][exon : exon + 4] = unit.level


def _nearest(points: np.ndarray, places: np.ndarray) -> np.ndarray:
    return np.searchsorted((points[1:] + points[:-1]) / 2, places)


def _lay_domains(rng: np.random.Generator, centre: np.ndarray, taken: np.ndarray) -> np.ndarray:
    """Lay repressed domains of some 60 kb where no transcribed gene is."""
    span = centre[-1] - centre[0]
    edges = centre[0] + np.cumsum(rng.lognormal(np.log(40_000), 0.9, 20 + int(span // 10_000)))
    levels = np.where(rng.random(len(edges) + 1) < 0.35, rng.lognormal(0, 0.5, len(edges) + 1), 0)
    return np.where(taken, 0.0, levels[np.searchsorted(edges, centre)])


def _make_rate(
    rng: np.random.Generator, track: TrackType, factors: np.ndarray, sites: np.ndarray
) -> np.ndarray:
    """Give the expected number of fragments over a base, for each cell."""
    cells = len(factors)
    rate = np.full(cells, track.background)
    slow = gaussian_filter1d(rng.standard_normal(cells // 100 + 8), 2.0) * 0.6
    rate *= np.exp(np.interp(np.arange(cells), np.arange(len(slow)) * 100, slow))
    heights = rng.lognormal(-(track.own**2) / 2, track.own, sites.max() + 1)
    heights *= rng.random(len(heights)) < 0.5
    for name, height in track.heights.items():
        factor = factors[:, FACTORS.index(name)]
        rate += height * (factor * heights[sites] if name == "distal" else factor)
    lumps = rng.gamma(1 / track.clumping, track.clumping, cells // 5 + 1)
    return rate * np.repeat(lumps, 5)[:cells]


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
    starts, values = places[last], height[last].astype(np.float64)
    changed = np.append(True, values[1:] != values[:-1])
    starts, values = starts[changed], values[changed]
    ends = np.append(starts[1:], end)
    return _without_zeros(starts, ends, values) if gaps else (starts, ends, values)


def _without_zeros(
    starts: np.ndarray, ends: np.ndarray, values: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    filled = values != 0
    return starts[filled], ends[filled], values[filled]


def _draw_smooth(
    rng: np.random.Generator, rate: np.ndarray, start: int, end: int, gaps: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Give a smooth, real-valued signal around a rate, in runs of 1 to 3 bases."""
    noisy = gaussian_filter1d(rng.gamma(np.maximum(rate, 1e-3)), 1.5)
    ends = start + np.cumsum(rng.integers(1, 4, end - start, dtype=np.int8), dtype=np.int64)
    ends = np.append(ends[ends < end], end)
    starts = np.concatenate([[start], ends[:-1]])
    values = np.interp(starts, start + (np.arange(len(rate)) + 0.5) * CELL, noisy)
    if gaps:
        values[values < 0.05] = 0
        return _without_zeros(starts, ends, values)
    return starts, ends, values


def _coarsen(factors: np.ndarray) -> np.ndarray:
    edges = np.arange(0, len(factors), _FACTOR_GRID // CELL)
    counts = np.diff(edges, append=len(factors))
    return (np.add.reduceat(factors, edges) / counts[:, None]).astype(np.float32)


def _write_bigwig(
    path: Path,
    header: list[tuple[str, int]],
    signals: list[tuple[str, np.ndarray, np.ndarray, np.ndarray]],
) -> None:
    import pyBigWig

    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with pyBigWig.open(str(temporary), "w") as file:
        file.addHeader(header)
        for chrom, starts, ends, values in signals:
            if len(starts):
                names = np.full(len(starts), chrom)
                file.addEntries(names, starts, ends=ends, values=values.astype(np.float64))
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
    np.savez_compressed(temporary, **truth.factors)
    os.replace(temporary, truth.folder / "factors.npz")


def _write_text(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)
