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
    for chrom in _by_tracks(tracks):
        span = _span(next(path for path in tracks if chrom in chromosomes(path)), chrom)
        for answer in answers if span is not None else ():
            assert span is not None
            try:
                genes = read_annotation(answer, chrom, *span)
            except (AnnotationError, BigWigError):
                continue
            if regions := _regions(genes, *span):
                return _drafted([p for p in found[home] if p != answer], answer, chrom, regions)
    raise InputError(
        f"{home}: {len(tracks)} bigWig tracks, and no annotation beside them that has a gene where "
        "they have data; put one there: BED, GTF, or a bigWig named after genes or annotation"
    )


def _drafted(
    tracks: Sequence[Path], answer: Path, chrom: str, regions: Sequence[tuple[int, int]]
) -> Draft:
    home, have = tracks[0].parent, sum(chrom in chromosomes(path) for path in tracks)
    cases = [{"region": f"{chrom}:{start}-{end}", "k": min(K, have)} for start, end in regions]
    data = {"bigwigs": home, "annotation": answer, "cases": cases[: max(1, len(cases) - 1)]}
    if len(cases) > 1:
        data["held_out"] = cases[-1:]
    notes = [
        f"{have} of {len(tracks)} bigWig tracks have {chrom}; annotation: {answer.name}",
        f"regions of {WIDTH:,} bases at most, where genes cover about half; k is a guess: about "
        "as many as there are kinds of chromatin that you expect",
    ]
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
