"""What would make every answer in a region meaningless, or doubtful: found before any trial."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from itertools import combinations, product

import numpy as np

from tuner_plugins.nmf.cases import CaseInput
from tuner_plugins.nmf.io.annotation import AbsentError, AnnotationError, interval_ends
from tuner_plugins.nmf.io.bigwig import chromosomes, read_runs
from tuner_plugins.nmf.io.regions import Place
from tuner_plugins.nmf.io.step_functions import Runs
from tuner_plugins.nmf.kernels.fast_path import describe_rank
from tuner_plugins.nmf.kernels.parallel import available_threads, run_threads
from tuner_plugins.nmf.model.binning import read_bins
from tuner_plugins.nmf.model.signal import SignalError, fill_gaps

_BIN = 1000
_LOOKS = {
    "empty": "have no data there (zero, missing, negative or one value all over)",
    "negative": "have negative values there, which factors of 0 and more cannot follow (give fold "
    "changes or counts, not their logarithms)",
    "double": "hold there what an earlier track holds: it counts twice (a copy?)",
}


def check_annotation(label: str, where: str, annotation: Runs) -> None:
    """Refuse an annotation that is constant over a region: it correlates with nothing.

    Parameters
    ----------
    label, where : str
        The case; its region and the annotation's file, for the message.
    annotation : Runs
        Without NaN.

    Raises
    ------
    AnnotationError
        Where it has one value, or infinite ones.
    """
    values = np.unique(annotation.values)
    if not np.isfinite(values).all():
        raise AnnotationError(
            f"case '{label}': the annotation has infinite values over {where}; mend the file"
        )
    if len(values) == 1:
        what = {0.0: ": no gene lies there", 1.0: ": all of it is gene"}.get(float(values[0]), "")
        raise AnnotationError(
            f"case '{label}': the annotation is constant over {where} ({values[0]:g}{what}), so "
            "that no correlation can be made; choose a region with genes and with space between"
        )


def case_notes(cases: Sequence[CaseInput], held_out: Sequence[CaseInput]) -> Iterator[str]:
    """Yield what a user should know of the regions, one line each; read their tracks.

    Raises
    ------
    BigWigError, SignalError
        Where a track is damaged or holds infinite values, or no track of a case has data.
    """
    everything = [*cases, *held_out]
    for case in everything:
        yield f"case '{case.section.label}': {_describe(case)}"
        if len(np.unique(case.genes.values)) > 2:
            yield (
                f"case '{case.section.label}': the annotation has more than two values there: it "
                "looks like a signal; expected 0 and 1, where the genes are"
            )
    yield from _track_notes(everything)
    yield from _pair_notes(cases, held_out)


def _track_notes(cases: Sequence[CaseInput]) -> Iterator[str]:
    """Yield what is odd about the tracks of each case."""
    looks = _look_at_tracks(cases)
    for case in cases:
        start = f"case '{case.section.label}':"
        for look, meaning in _LOOKS.items():
            often = any if look == "negative" else all
            names = [
                path
                for path in case.tracks
                if often(look in looks[(path, *place)] for place in case.places)
            ]
            if look == "empty" and len(names) == len(case.tracks):
                raise SignalError(
                    f"{start} no track has data in {case.where} (zero, "
                    "missing, negative or one value all over); choose another region or tracks"
                )
            if names:
                count = f"{len(names)} of {len(case.tracks)} tracks"
                yield f"{start} {count} {meaning}: {_some(names)}"
        if few := describe_rank(case.k, len(case.tracks)):
            yield f"{start} {few}"


def _pair_notes(cases: Sequence[CaseInput], held_out: Sequence[CaseInput]) -> Iterator[str]:
    """Yield which cases are the same, and which held-out ones overlap those that are tuned on."""
    for one, other in combinations(cases, 2):
        if _problem(one) == _problem(other):
            labels = f"'{one.section.label}' and '{other.section.label}'"
            yield f"cases {labels} are the same: what is best there counts twice; leave one out"
    for one, other in product(held_out, cases):
        shared = sum(map(_shared, *zip(*product(one.places, other.places), strict=True)))
        same_tracks = not set(one.tracks).isdisjoint(other.tracks)
        if shared > 0 and same_tracks:
            yield (
                f"held-out case '{one.section.label}' shares {shared:,} bases with case "
                f"'{other.section.label}', which is tuned on: it does not show how new data would "
                "do; choose regions that do not overlap"
            )


def assembly_notes(cases: Sequence[CaseInput]) -> Iterator[str]:
    """Yield the signs that an annotation is of another assembly than the tracks."""
    sign = "a sign of another assembly: take both from one"
    for case, chrom in [(each, place[0]) for each in cases for place in each.places]:
        path = case.annotation_path
        lengths = [chromosomes(track)[chrom] for track in case.tracks]
        longest = max(lengths)
        spread = f"{min(lengths):,} to {longest:,} bases"
        if min(lengths) < longest:
            yield f"{chrom} has {spread} in the tracks of case '{case.section.label}': {sign}"
        try:
            ends = interval_ends(path, chrom)
        except AbsentError:
            continue  # one of several chromosomes, without genes
        past = sum(end > longest for end in ends)
        if past:
            yield (
                f"{path}: {past} of {len(ends)} intervals on {chrom} end past its {longest:,} "
                f"bases in the tracks: {sign}"
            )
        elif not ends and (own := chromosomes(path).get(chrom, longest)) != longest:
            yield f"{path}: {chrom} has {own:,} bases, {longest:,} in the tracks: {sign}"


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def _describe(case: CaseInput) -> str:
    """Return a region with what its numbers mean and how many bases it has."""
    form = " (0-based, end not included)" if len(case.places) == 1 else ""
    return f"{case.where}{form}, {case.size:,} bases"


def _shared(one: Place, other: Place) -> int:
    """Return the number of bases that two places share."""
    return max(0, min(one[2], other[2]) - max(one[1], other[1])) * (one[0] == other[0])


def _problem(case: CaseInput) -> tuple[object, ...]:
    return tuple(case.places), case.section.k, tuple(case.tracks), case.annotation_path


def _look_at_tracks(cases: Sequence[CaseInput]) -> dict[tuple[object, ...], set[str]]:
    """Return by track and region which of `_LOOKS` it has."""
    asked = list(
        dict.fromkeys(
            (path, *place) for case in cases for place in case.places for path in case.tracks
        )
    )
    looks: dict[tuple[object, ...], set[str]] = {}
    contents: dict[tuple[object, ...], bytes] = {}

    def read(number: int) -> None:
        path, chrom, start, end = asked[number]
        try:
            (means,) = read_bins(path, chrom, start, end, [min(_BIN, end - start)])
            flat = np.ptp(means) == 0 or means.max() <= 0
            empty = flat and _is_empty(path, chrom, start, end)
        except SignalError as error:
            raise SignalError(f"{path}: {chrom}:{start}-{end} {error}") from None
        found = {"empty": empty, "negative": means.min() < 0}
        looks[asked[number]] = {look for look, has in found.items() if has}
        if not flat:
            contents[asked[number]] = hashlib.sha256(means.tobytes()).digest()

    run_threads(read, len(asked), available_threads())
    first: dict[tuple[object, ...], object] = {}
    for track in asked:
        if track in contents and first.setdefault((*track[1:], contents[track]), track) != track:
            looks[track].add("double")
    return looks


def _is_empty(path: str, chrom: str, start: int, end: int) -> bool:
    values = fill_gaps(read_runs(path, chrom, start, end), start).values
    return bool(np.ptp(values) == 0 or values.max() <= 0)
