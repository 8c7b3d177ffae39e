"""What the files of a study come to: the tracks of each case, without the answer, and its genes."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np

from tuner_plugins.nmf import pipeline
from tuner_plugins.nmf.cases import CaseInput
from tuner_plugins.nmf.checks import assembly_notes, case_notes, check_annotation
from tuner_plugins.nmf.config import CaseSection, DataSection
from tuner_plugins.nmf.genome import choose_chromosomes, describe_skipped
from tuner_plugins.nmf.io.annotation import read_annotations
from tuner_plugins.nmf.io.bigwig import BigWigError
from tuner_plugins.nmf.io.folder import base_name, describe_taken, file_digest, is_bigwig
from tuner_plugins.nmf.io.regions import Place, parse_region
from tuner_plugins.nmf.io.tracks import list_tracks, remote_digest, with_chromosome
from tuner_plugins.nmf.leaks import FOLLOWS, Likeness, annotation_correlation, equals_annotation


class Inputs:
    """The input files of a study, read once; errors are those of the readers."""

    def __init__(self, data: DataSection) -> None:
        self._data = data

    @cached_property
    def tuned(self) -> Sequence[CaseInput]:
        """The cases that are tuned on."""
        return self._all[: len(self._data.cases)]

    @cached_property
    def held_out(self) -> Sequence[CaseInput]:
        """The cases that only the frozen setting is scored on."""
        return self._all[len(self._data.cases) :]

    @cached_property
    def _all(self) -> Sequence[CaseInput]:
        cases = [self._look(section) for section in [*self._data.cases, *self._data.held_out]]
        equal = {
            os.path.realpath(path): None
            for case in cases
            for path in case.tracks
            if _equals_annotation(path, case)
        }
        return [_without(case, equal) for case in cases] if equal else cases

    def _look(self, section: CaseSection) -> CaseInput:
        annotation = section.annotation or self._data.annotation
        assert annotation is not None  # DataSection sees to it
        region, data = parse_region(section.region), self._data
        known = {str(annotation): _digest(annotation)}
        found = list_tracks(section.bigwigs or data.bigwigs or (), known)
        places: Sequence[Place]
        skipped: Sequence[str] = ()
        if region.several is None:
            tracks, absent = with_chromosome(found[0], region.chrom)
            bounds = pipeline.whole_region(tracks, region.chrom, region.start, region.end)
            places = [(region.chrom, *bounds)]
        else:
            tracks, absent, places, skipped = choose_chromosomes(found[0], region.several)
        genes = read_annotations(annotation, places, data.feature, data.tss_window)
        case = CaseInput(section, found, tracks, absent, places, annotation, genes, skipped)
        check_annotation(section.label, f"{case.where} in {annotation}", case.genes)
        return case

    def left_out(self) -> Mapping[str, tuple[int, str]]:
        """Return the bigWig files that are the answer: name to size and digest.

        A name that a track has as well is written as ``./NAME``, which no file is found by.
        """
        tracks = {base_name(path) for case in self._all for path in case.tracks}
        found: dict[str, tuple[int, str]] = {}
        for case in self._all:
            named = case.section.bigwigs or self._data.bigwigs or ()
            given = [at for at in named if isinstance(at, Path)]
            far = [at for at in named if not isinstance(at, Path) and at not in case.found[0]]
            copies = [str(at) for at in given if at.name in case.found[1]]
            copies += [str(at / name) for at in given for name in case.found[1]]
            for path in [str(case.annotation_path), *copies]:
                name = os.path.basename(path)
                if os.path.isfile(path) and is_bigwig(path):
                    found[f"./{name}" if name in tracks else name] = file_digest(path)
            for url in far:
                name, content = base_name(url), remote_digest(url)
                if content not in found.values():
                    found[f"./{name}" if name in tracks else name] = content
        return found

    def bin_problem(self, params: Mapping[str, object]) -> str | None:
        """Describe in one line which bins are wider than a region; None where none are."""
        shortest = min(self._all, key=lambda case: case.longest[0][2] - case.longest[0][1])
        _, start, end = shortest.longest[0]
        size = end - start
        for name in ("resolution", "loadings_resolution"):
            width = params.get(name) or 0
            if isinstance(width, int) and width > 1 and width >= size:
                return (
                    f"{name}: bins of {width} bases leave one value of the {size:,} bases of case "
                    f"'{shortest.section.label}'; search or fix '{name}' below {size}"
                )
        return None

    def notes(self) -> list[str]:
        """Return what is taken, what is left out and what looks wrong, one line each."""
        what = "gene starts" if self._data.feature == "tss" else "genes"
        counts = sorted({len(case.tracks) for case in self._all})
        tracks = " to ".join(map(str, sorted({counts[0], counts[-1]})))
        taken = f"{tracks} {'track' if counts[-1] == 1 else 'tracks'}"
        lines = [f"{taken}, {_describe_regions(self.tuned, what)}"]
        if self.held_out:
            lines.append(f"held out: {_describe_regions(self.held_out, what)}")
        for case in self._all:
            if len(case.tracks) < sum(map(len, case.found)):
                lines.append(describe_taken(case.found, case.absent, _chroms(case)))
            if case.skipped:
                lines.append(f"case '{case.section.label}': {describe_skipped(case.skipped)}")
        lines += case_notes(self.tuned, self.held_out)
        lines += assembly_notes(self._all)
        return list(dict.fromkeys([*lines, *self._warnings()]))

    def _warnings(self) -> list[str]:
        found: dict[str, dict[tuple[object, ...], tuple[Likeness, str]]] = {}
        for case in self._all:
            for path in case.tracks:
                known = found.setdefault(path, {})
                place, genes = case.longest  # of a genome, one chromosome tells
                key = (*place, case.annotation_path)
                if key not in known:
                    like = annotation_correlation(path, *place, genes)
                    known[key] = like, case.section.label
        lines = []
        for path, known in found.items():
            near = [(like, label) for like, label in known.values() if abs(like.r) > FOLLOWS]
            if near:
                like, label = max(near, key=lambda item: abs(item[0].r))
                turned = ", upside down," if like.r < 0 else ""
                lines.append(
                    f"{path} follows the annotation{turned} in {len(near)} of {len(known)} regions "
                    f"({like}, in case '{label}'): if it was derived from the annotation, take it "
                    "out; if it was measured, one track holds the answer already, and R says "
                    "little about the method"
                )
            elif "annot" in base_name(path).lower():
                lines.append(
                    f"{path} is taken as a track, though it is called an annotation; "
                    "if it is one, take it out of the tracks"
                )
        return lines


def _chroms(case: CaseInput) -> str:
    return " or ".join(chrom for chrom, _, _ in case.places)


def _equals_annotation(path: str, case: CaseInput) -> bool:
    """Return whether a track equals the annotation wherever that tells."""
    telling = [
        (place, genes)
        for place, genes in zip(case.places, case.annotations, strict=True)
        if len(genes.ends) > 1
    ]
    return bool(telling) and all(equals_annotation(path, *place, genes) for place, genes in telling)


def _digest(annotation: Path) -> tuple[int, str]:
    try:
        return file_digest(str(annotation))
    except OSError as error:
        raise BigWigError(f"{annotation}: cannot be read ({error.strerror})") from error


def _without(case: CaseInput, equal: Mapping[str, None]) -> CaseInput:
    """Return a case without the tracks that equal an annotation."""
    bigwigs, answers, others, dead = case.found
    here = [path for path in bigwigs if os.path.realpath(path) in equal]
    rest = [path for path in bigwigs if path not in here]
    tracks = [path for path in case.tracks if path not in here]
    if not tracks:
        raise BigWigError(
            f"case '{case.section.label}': every track equals the annotation ({', '.join(here)}); "
            "give measured tracks"
        )
    absent = {path: name for path, name in case.absent.items() if path not in here}
    found = rest, [*answers, *map(base_name, here)], others, dead
    return replace(case, found=found, tracks=tracks, absent=absent)


def _describe_regions(cases: Sequence[CaseInput], what: str) -> str:
    """Return the number of regions, of genes in them, and the part of the bases that they are."""
    regions = {(*case.places, case.annotation_path): case for case in cases}
    genes, inside, bases = 0, 0.0, 0
    for case in regions.values():
        runs = case.genes
        marked = np.concatenate([[False], runs.values != 0])
        genes += int(np.count_nonzero(marked[1:] & ~marked[:-1]))
        inside += float(np.diff(runs.ends, prepend=0)[marked[1:]].sum())
        bases += case.size
    share = f"{inside / bases:.2f}".removeprefix("0")
    plural = "region" if len(regions) == 1 else "regions"
    return f"{len(regions)} {plural}, {genes} {what}, {share} of it {what}"
