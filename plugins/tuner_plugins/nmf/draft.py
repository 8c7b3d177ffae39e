"""A configuration for a folder of tracks: which chromosome, which regions, which annotation."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from tuner.plugin import Draft, InputError
from tuner_plugins.nmf.io.annotation import AnnotationError, read_annotation
from tuner_plugins.nmf.io.bigwig import chromosomes
from tuner_plugins.nmf.io.bigwig_blocks import item_bounds
from tuner_plugins.nmf.io.bigwig_index import (
    BigWigError,
    Source,
    find_blocks,
    find_chromosome,
    read_header,
)
from tuner_plugins.nmf.io.folder import is_bigwig
from tuner_plugins.nmf.io.step_functions import Runs

WIDTH = 500_000
"""Bases of a region: the baseline takes about a second on it."""

LEAST = 0.02
"""Share of a region that genes cover, and share that they leave free, at least."""

K = 5
MOST_CHROMOSOMES = 30
"""Chromosomes that are looked at, those of most tracks first."""

MOST_OTHERS = 5
"""Further ones that are looked at for a region to hold out."""

NOWHERE = 1 << 40
"""Beyond every chromosome."""

Region = tuple[str, int, int]
"""Chromosome, start and end, 0-based and half-open."""

_TABLE = re.compile(r".*\.(bed|gtf|gff3?)(\.gz)?", re.I)
_NAMED_SO = re.compile(r"annot|gene|gencode|refseq", re.I)


def draft_for(folder: Path) -> Draft | None:
    """Return sections for the bigWig files in or just below a folder; None where there are none.

    Raises
    ------
    InputError
        Where there are tracks, but no annotation with genes where they have data.
    """
    if not folder.is_dir():
        return None
    places = [folder, *sorted(path for path in folder.iterdir() if path.is_dir())]
    found = {place: _bigwigs(place) for place in places}
    home = max(found, key=lambda place: len(found[place]))
    answers = [path for path in _answers(folder, home) if path.is_file()]
    tracks = [path for path in found[home] if path not in answers]
    if not tracks:
        return None
    chroms = _by_tracks(tracks)
    for place, chrom in enumerate(chroms):
        here = [path for path in tracks if chrom in chromosomes(path)]
        for answer in answers:
            if regions := _regions_on(chrom, here[:1], answer):
                taken = [path for path in found[home] if path != answer]
                others = chroms[place + 1 :][:MOST_OTHERS]
                far = (_regions_on(other, here, answer)[:1] for other in others)
                return _drafted(taken, answer, regions, next(filter(None, far), []))
    raise InputError(
        f"{home}: {len(tracks)} bigWig tracks, and no annotation beside them that has a gene where "
        "they have data; put one there: BED, GTF, or a bigWig named after genes or annotation"
    )


def _regions_on(chrom: str, tracks: Sequence[Path], answer: Path) -> list[Region]:
    """Return up to three regions of a chromosome where all of some tracks have data, and genes."""
    spans = [_span(path, chrom) if chrom in chromosomes(path) else None for path in tracks]
    start = max(span[0] if span else NOWHERE for span in spans)
    end = min(span[1] if span else 0 for span in spans)
    try:
        genes = read_annotation(answer, chrom, start, end) if start < end else None
    except (AnnotationError, BigWigError):
        return []
    return [] if genes is None else [(chrom, *ends) for ends in _regions(genes, start, end)]


def _drafted(
    tracks: Sequence[Path], answer: Path, regions: Sequence[Region], far: Sequence[Region]
) -> Draft:
    """Return the draft; a region of another chromosome is held out, else the last of this one."""
    chrom = regions[0][0]
    home, have = tracks[0].parent, sum(chrom in chromosomes(path) for path in tracks)
    tuned = regions[: max(1, len(regions) - 1)]
    cases, held_out = (
        [{"region": f"{name}:{start}-{end}", "k": min(K, have)} for name, start, end in each]
        for each in (tuned, far or regions[len(tuned) :])
    )
    data = {"bigwigs": home, "annotation": answer, "cases": cases}
    if held_out:
        data["held_out"] = held_out
    notes = [
        f"{have} of {len(tracks)} bigWig tracks have {chrom}; annotation: {answer.name}",
        f"regions of {WIDTH:,} bases at most, where genes cover about half; k is a guess: about "
        "as many as there are kinds of chromatin that you expect",
    ]
    notes += [f"held out: a region of {far[0][0]}, where nothing was tuned"] if far else []
    return Draft({"data": data, "objective": "score"}, notes)


def _bigwigs(place: Path) -> list[Path]:
    files = (path for path in sorted(place.iterdir()) if path.name[0] != "." and path.is_file())
    return [path for path in files if is_bigwig(str(path))]


def _answers(folder: Path, home: Path) -> Iterator[Path]:
    """Yield what may be an annotation: tables first, then bigWig files that are named so."""
    near = dict.fromkeys(p for place in (folder, home) for p in sorted(place.iterdir()))
    yield from (path for path in near if _TABLE.fullmatch(path.name))
    named = (path for path in near if path.is_file() and _NAMED_SO.search(path.name))
    yield from (path for path in named if is_bigwig(str(path)))


def _by_tracks(tracks: Sequence[Path]) -> list[str]:
    """Return chromosomes, those that most tracks have first."""
    counts = Counter(name for path in tracks for name in chromosomes(path))
    return [name for name, _ in counts.most_common(MOST_CHROMOSOMES)]


def _span(path: Path, chrom: str) -> tuple[int, int] | None:
    """Return where a track's data on a chromosome begin and end, by its index."""
    with Source(path) as source:
        header = read_header(source)
        number, length = find_chromosome(source, header, chrom)
        blocks = find_blocks(source, header, number, 0, length)
    if not len(blocks):
        return None
    first, last = item_bounds(blocks)
    base = number << 32
    start, end = max(0, int(first.min()) - base), min(length, int(last.max()) - base)
    return (start, end) if start < end else None


def _regions(genes: Runs, start: int, end: int) -> list[tuple[int, int]]:
    """Return up to three stretches of which genes cover a part, the most even first."""
    width = min(WIDTH, max(1, (end - start) // 3))
    edges = np.arange(start, end + 1, width)
    lengths = np.diff(genes.ends, prepend=start)
    covered = np.concatenate([[0.0], np.cumsum((genes.values > 0) * lengths)])
    at = np.interp(edges, np.concatenate([[start], genes.ends]), covered)
    share = np.diff(at) / width
    evenness = np.minimum(share, 1 - share)
    best = [int(i) for i in np.argsort(-evenness, kind="stable")[:3] if evenness[i] >= LEAST]
    return [(int(edges[i]), int(edges[i + 1])) for i in best]
