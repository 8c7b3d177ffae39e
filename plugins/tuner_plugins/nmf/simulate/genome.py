"""A simulated stretch of a genome: genes, some of them active, and the factors that follow."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from tuner.plugin import InputError

CELL = 50
_MOST_DRAWS = 5000
FACTORS = ("transcribed", "started", "repressed", "distal", "exon")


@dataclass(frozen=True)
class Gene:
    """A gene body, 0-based and half-open; ``level`` is 0 for a silent gene."""

    chrom: str
    start: int
    end: int
    strand: str
    level: float


@dataclass(frozen=True)
class Genome:
    """What tracks of one chromosome have in common, on cells of `CELL` bases.

    Attributes
    ----------
    start, end : int
        The simulated part of its chromosome, 0-based and half-open.
    genes : tuple of Gene
        The annotated genes, apart from each other and in order.
    factors : ndarray, shape (cells, len(FACTORS))
        Marks of transcribed bodies, of active starts, of repressed domains, of sites anywhere, and
        of exons; around 1 where strong, 0 where absent.
    sites : ndarray of int, shape (cells,)
        Nearest site of each cell.
    background : ndarray, shape (cells,)
        What all experiments see more or less of (around 1).
    mappable : ndarray of bool, shape (cells,)
        Where reads can be placed at all.
    """

    start: int
    end: int
    genes: tuple[Gene, ...]
    factors: np.ndarray
    sites: np.ndarray
    background: np.ndarray
    mappable: np.ndarray


def make_genome(rng: np.random.Generator, chrom: str, start: int, end: int) -> Genome:
    """Lay out genes, active units, domains and sites over ``[start, end)``."""
    genes = _lay_genes(rng, chrom, start, end)
    cells = -(-(end - start) // CELL)
    centre = (np.arange(cells) + 0.5) * CELL + start
    factors = np.zeros((cells, len(FACTORS)))
    for unit in [*genes, *_lay_unknown(rng, genes, start, end)]:
        if unit.level:
            _transcribe(rng, unit, centre, factors)
        # Many starts of silent genes are marked as well; few of the unknown units' are.
        if rng.random() < (0.3 if not unit.chrom else 1.0 if unit.level else 0.5):
            _mark_starts(rng, unit, centre, factors[:, 1])
    factors[:, 2] = _lay_domains(rng, centre, factors[:, 0] > 0)
    peaks = np.sort(rng.uniform(start, end, max(2, (end - start) // 18_000)))
    sites = np.searchsorted((peaks[1:] + peaks[:-1]) / 2, centre)
    factors[:, 3] = np.exp(-(((centre - peaks[sites]) / 250) ** 2))
    background = slow_variation(rng, cells, 0.25)
    mappable = _lay_mappable(rng, cells)
    return Genome(start, end, tuple(genes), factors, sites, background, mappable)


def slow_variation(rng: np.random.Generator, cells: int, spread: float) -> np.ndarray:
    """Return a log-normal factor that varies over some 20 kb."""
    knots = gaussian_filter1d(rng.standard_normal(cells // 100 + 8), 2.0)
    knots *= spread / 0.375  # the filter leaves that much of a standard deviation of 1
    logs: NDArray[np.float64] = np.interp(np.arange(cells), np.arange(len(knots)) * 100, knots)
    return np.exp(logs)


def _lay_mappable(rng: np.random.Generator, cells: int) -> np.ndarray:
    """Leave out some 2 % of the cells, as repeats do, in stretches of some 1 kb."""
    count = rng.poisson(cells * CELL * 0.02 / 1000)
    lengths = rng.exponential(1000 / CELL, count).astype(np.int64) + 1
    begins = rng.integers(0, cells, count)
    edges = np.zeros(cells + 1)
    np.add.at(edges, begins, 1)
    np.add.at(edges, np.minimum(begins + lengths, cells), -1)
    mappable: NDArray[np.bool_] = np.cumsum(edges)[:-1] == 0
    return mappable


def _lay_genes(rng: np.random.Generator, chrom: str, start: int, end: int) -> list[Gene]:
    """Alternate gaps and genes of log-normal lengths; try again until genes are a fair share."""
    for _ in range(_MOST_DRAWS):
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
    else:
        raise InputError(
            f"{chrom}: no layout of genes was found for {end - start} bases with this seed; "
            "take another seed or a longer region"
        )
    starts, ends = starts[keep], ends[keep]
    strands, levels = rng.choice(["+", "-"], len(starts)), _draw_levels(rng, ends - starts)
    columns = (column.tolist() for column in (starts, ends, strands, levels))
    return [Gene(chrom, *row) for row in zip(*columns, strict=True)]


def _draw_levels(rng: np.random.Generator, lengths: np.ndarray) -> np.ndarray:
    """Make some genes active; try again until they are a fair share of all bases of genes.

    Where one gene is most of them no draw is fair: the nearest of `_MOST_DRAWS` is taken.
    """
    nearest, off = np.ones(len(lengths), bool), np.inf
    for _ in range(_MOST_DRAWS):
        active = rng.random(len(lengths)) < 0.5
        share = lengths[active].sum() / lengths.sum()
        if 0.4 <= share <= 0.7 or (len(lengths) < 4 and active.any()):
            nearest = active
            break
        if active.any() and abs(share - 0.55) < off:
            nearest, off = active, abs(share - 0.55)
    return np.where(nearest, rng.lognormal(-0.4, 0.8, len(lengths)), 0.0)


def _lay_unknown(rng: np.random.Generator, genes: list[Gene], start: int, end: int) -> list[Gene]:
    """Lay transcribed units that the annotation does not know: nearly as many as genes."""
    count = 1 + (3 * len(genes)) // 4
    starts = rng.integers(start, end, count)
    ends = np.minimum(starts + rng.lognormal(np.log(20_000), 0.8, count).astype(np.int64), end)
    strands, levels = rng.choice(["+", "-"], count), rng.lognormal(-0.5, 0.9, count)
    columns = (column.tolist() for column in (starts, ends, strands, levels))
    return [Gene("", *row) for row in zip(*columns, strict=True)]


def _transcribe(
    rng: np.random.Generator, unit: Gene, centre: np.ndarray, factors: np.ndarray
) -> None:
    """Add what an active gene does: a mark along its body, and exons."""
    part = slice(*np.searchsorted(centre, [unit.start, unit.end]))
    along = (centre[part] - unit.start) / (unit.end - unit.start)
    along = along if unit.strand == "+" else 1 - along
    factors[part, 0] = unit.level * (0.3 + 0.7 * np.minimum(1, 3 * along))
    exons = 2 + len(along) * CELL // 3500 if len(along) else 0
    for exon in rng.integers(0, max(1, len(along)), exons):
        factors[part, 4][exon : exon + 4] = unit.level


def _mark_starts(
    rng: np.random.Generator, unit: Gene, centre: np.ndarray, started: np.ndarray
) -> None:
    first = unit.start if unit.strand == "+" else unit.end
    for tss in [first, *rng.integers(unit.start, unit.end, rng.poisson(0.35))]:
        near = slice(*np.searchsorted(centre, [tss - 4000, tss + 4000]))
        shape = np.exp(-(((centre[near] - tss) / rng.uniform(500, 1200)) ** 2))
        started[near] += np.sqrt(unit.level or 0.1) * rng.lognormal(-0.2, 0.6) * shape


def _lay_domains(rng: np.random.Generator, centre: np.ndarray, taken: np.ndarray) -> np.ndarray:
    """Lay repressed domains of some 60 kb where no transcribed gene is."""
    span = centre[-1] - centre[0]
    edges = centre[0] + np.cumsum(rng.lognormal(np.log(40_000), 0.9, 20 + int(span // 10_000)))
    levels = np.where(rng.random(len(edges) + 1) < 0.35, rng.lognormal(0, 0.5, len(edges) + 1), 0)
    return np.where(taken, 0.0, levels[np.searchsorted(edges, centre)])
