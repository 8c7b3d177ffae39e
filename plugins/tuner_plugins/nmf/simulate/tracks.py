"""Simulated genome tracks as bigWig files: genes, hidden factors, fragments piled up to integers.

Genes are laid out first; some are active. Hidden factors follow from them (marks of transcribed
gene bodies, of active starts, of repressed domains, sites far from genes, exons), tracks mix the
factors with a background of their own type, and fragments are drawn from that rate. The statistics
imitate ENCODE ChIP-seq and RNA-seq tracks of one cell type.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tuner.plugin import InputError
from tuner_plugins.nmf.simulate.experiments import (
    TRACK_TYPES,
    Kind,
    Signal,
    TrackType,
    draw_signal,
)
from tuner_plugins.nmf.simulate.genome import CELL, FACTORS, Gene, make_genome

Layout = Mapping[str, tuple[int, int, int]]
"""Chromosome name to its length, and the start and end of the part that is simulated."""

_FACTOR_GRID = 1000


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
            rng = np.random.default_rng([seed, number, 1, rank])
            signals.append((chrom, draw_signal(track_type, genome, kind, shared, rng)))
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


def _coarsen(factors: np.ndarray) -> np.ndarray:
    edges = np.arange(0, len(factors), _FACTOR_GRID // CELL)
    counts = np.diff(edges, append=len(factors))
    return (np.add.reduceat(factors, edges) / counts[:, None]).astype(np.float32)


def _write_bigwig(
    path: Path, header: list[tuple[str, int]], signals: list[tuple[str, Signal]]
) -> None:
    import pyBigWig

    def write(temporary: Path) -> None:
        with pyBigWig.open(str(temporary), "w") as file:
            file.addHeader(header)
            for chrom, (starts, ends, values) in signals:
                if not len(starts):
                    continue
                span, steps = ends - starts, np.diff(starts)
                if len(steps) and (span == span[0]).all() and (steps == steps[0]).all():
                    regular = {"span": int(span[0]), "step": int(steps[0])}
                    file.addEntries(chrom, int(starts[0]), values=values, **regular)
                else:
                    names = np.full(len(starts), chrom)
                    file.addEntries(names, starts, ends=ends, values=values)

    _replace(path, write)


def _write_truth(truth: SimulationTruth, header: list[tuple[str, int]], layout: Layout) -> None:
    signals = []
    for chrom, (_, start, end) in layout.items():
        own = [gene for gene in truth.genes if gene.chrom == chrom]
        edges = np.array([start, *(edge for gene in own for edge in (gene.start, gene.end)), end])
        values = np.arange(len(edges) - 1) % 2.0
        real = np.diff(edges) > 0
        signals.append((chrom, (edges[:-1][real], edges[1:][real], values[real])))
    _write_bigwig(truth.folder / "Annotation.Gene.bw", header, signals)
    lines = [
        f"{gene.chrom}\t{gene.start}\t{gene.end}\tgene{i + 1}\t0\t{gene.strand}\n"
        for i, gene in enumerate(truth.genes)
    ]
    known = {
        "seed": truth.seed,
        "settings": truth.settings,
        "factors": FACTORS,
        "tracks": {name: asdict(kind) for name, kind in truth.tracks.items()},
        "genes": [asdict(gene) for gene in truth.genes],
    }
    text = json.dumps(known, indent=1) + "\n"
    arrays: dict[str, Any] = dict(truth.factors)
    _replace(truth.folder / "genes.bed", lambda to: to.write_text("".join(lines)))
    _replace(truth.folder / "truth.json", lambda to: to.write_text(text))
    _replace(truth.folder / "factors.npz", lambda to: np.savez_compressed(to, **arrays))


def _replace(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` make a file under a temporary name, then put it at `path`."""
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    write(temporary)
    os.replace(temporary, path)
