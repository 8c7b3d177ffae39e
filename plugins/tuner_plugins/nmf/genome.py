"""From bigWig files to one factorisation of several chromosomes, each in memory by itself.

As that of all chromosomes end to end (`pipeline`), but that no smoothing reaches over an end: there
is no penalty on the step from one chromosome to the next. Ranks, scaling and the mean that fills
gaps are those of all chromosomes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tuner_plugins.genome_tables.names import suggest_names
from tuner_plugins.nmf.io.bigwig import BigWigError, chromosomes
from tuner_plugins.nmf.io.regions import Place
from tuner_plugins.nmf.io.tracks import with_chromosome
from tuner_plugins.nmf.kernels.fast_path import bin_widths, column_lambdas
from tuner_plugins.nmf.kernels.parallel import available_threads
from tuner_plugins.nmf.model.factorize import (
    Loadings,
    Rounds,
    alternate,
    solve_loadings,
    start_gram,
)
from tuner_plugins.nmf.model.start import start_weights
from tuner_plugins.nmf.pipeline import whole_region
from tuner_plugins.nmf.streaming import TrackReader

Receive = Callable[[str, int, Loadings], None]
"""Takes a chromosome, where on it its loadings begin, and the loadings."""


def common_chromosomes(paths: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the chromosomes that every track has, in the order of the first, and those of some.

    Raises
    ------
    BigWigError
        Where no chromosome is in all tracks.
    """
    known = [chromosomes(path) for path in paths]
    shared = [name for name in known[0] if all(name in names for names in known)]
    if not shared:
        hint = suggest_names(next(iter(known[0]), ""), [n for names in known[1:] for n in names])
        raise BigWigError(f"no chromosome is in each of {len(paths)} tracks; {hint}")
    others = dict.fromkeys(name for names in known for name in names if name not in shared)
    return shared, list(others)


def whole_places(paths: Sequence[str], chroms: Sequence[str]) -> list[Place]:
    """Return the place of each of these chromosomes, which every track has."""
    return [(chrom, *whole_region(paths, chrom, None, None)) for chrom in chroms]


class Chosen(NamedTuple):
    """What a genome is factorised over.

    Attributes
    ----------
    tracks : list of str
        Those that have all of the chromosomes.
    absent : dict
        Those that lack one: see `describe_taken`.
    places : list of Place
    skipped : list of str
        Chromosomes that only some of the tracks have.
    """

    tracks: list[str]
    absent: dict[str, str]
    places: list[Place]
    skipped: list[str]


def choose_chromosomes(tracks: list[str], names: Sequence[str]) -> Chosen:
    """Find the chromosomes of these names in the tracks, or without names all that every track has.

    Raises
    ------
    BigWigError
        Where no track has one of them, or the tracks have none in common.
    """
    absent: dict[str, str] = {}
    if not names:
        chroms, skipped = common_chromosomes(tracks)
        return Chosen(tracks, absent, whole_places(tracks, chroms), skipped)
    for number, name in enumerate(names):
        if name in names[:number]:
            raise BigWigError(f"chromosome {name!r} is named twice; leave one out")
        tracks, lack = with_chromosome(tracks, name)
        absent |= lack
    return Chosen(tracks, absent, whole_places(tracks, names), [])


def describe_skipped(chroms: Sequence[str]) -> str:
    """Return in one line that chromosomes are left out."""
    some = ", ".join(chroms[:3]) + ", ..." * (len(chroms) > 3)
    what = f"{len(chroms)} chromosome{'s' * (len(chroms) != 1)}"
    return f"left out: {what} that some tracks lack ({some})"


def factorize_genome(
    paths: Sequence[str],
    places: Sequence[Place],
    k: int,
    setting: Mapping[str, Any],
    receive: Receive,
) -> NDArray[np.float64]:
    """Read and factorise tracks over several chromosomes, and hand on the loadings of each.

    Arguments and errors are those of `pipeline.compute_loadings`, but for `places`, in whose order
    `receive` is called.

    Returns
    -------
    ndarray of shape (k, tracks)
        The weights, as those of the `Loadings` that are handed on.
    """
    threads = available_threads()
    tracks = TrackReader(paths, places, setting, threads)
    signals, factors = tracks.prepare(bin_widths(setting)[0], None)
    penalties = float(setting["l2penalty"]), column_lambdas(setting, k)
    rounds = Rounds(int(setting["num_iter"]), *penalties, float(setting["tolerance"]))
    start, gram = setting["start"], np.empty((len(paths), len(paths)))
    if start != "random":
        gram = start_gram(signals, tracks.size, start, threads)
    first = start_weights(gram, k, start, int(setting["seed"]))
    used, weights = alternate(signals, first, rounds, threads)
    if len(bin_widths(setting)) > 1:
        signals, used = tracks.prepare(bin_widths(setting)[1], factors)[0], weights
    for (chrom, begin, _), signal in zip(places, signals, strict=True):
        values = solve_loadings(signal, used, *penalties, threads)
        receive(chrom, begin, Loadings(values, signal.ends, weights))
    tracks.report.close()
    return weights


def genome_loadings(
    paths: Sequence[str], places: Sequence[Place], k: int, setting: Mapping[str, Any]
) -> Loadings:
    """Return the loadings of several chromosomes end to end; see `factorize_genome`."""
    found: list[Loadings] = []
    weights = factorize_genome(paths, places, k, setting, lambda *part: found.append(part[2]))
    stops = np.cumsum([0, *(part.size for part in found)])
    ends = [part.ends + stop for part, stop in zip(found, stops[:-1], strict=True)]
    values = np.concatenate([part.values for part in found], axis=1)
    return Loadings(values, np.concatenate(ends), weights)


def split_loadings(loadings: Loadings, places: Sequence[Place]) -> Iterator[tuple[Place, Loadings]]:
    """Return the loadings of each place again, of those that lie end to end."""
    stop = 0
    for place in places:
        begin, stop = stop, stop + place[2] - place[1]
        first, last = np.searchsorted(loadings.ends, [begin, stop], side="right")
        part = slice(int(first), int(last))
        yield (
            place,
            Loadings(loadings.values[:, part], loadings.ends[part] - begin, loadings.weights),
        )
