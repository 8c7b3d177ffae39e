"""The stand-alone script from outside: its command line, and the loadings that it writes."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tuner_plugins.nmf.cases import CaseInput
from tuner_plugins.nmf.config import DataSection
from tuner_plugins.nmf.io.regions import Region, parse_region
from tuner_plugins.nmf.io.remote import is_remote
from tuner_plugins.nmf.model.factorize import Loadings


def command(data: CaseInput, script: Path, output: Path) -> list[str]:
    """Return the script's command line; its folder of tracks, beside `output`, is made of links."""
    folder = output.parent / "tracks"
    folder.mkdir(exist_ok=True)
    addresses = [track for track in data.tracks if is_remote(track)]
    for number, track in enumerate(data.tracks):
        if track in addresses:
            continue
        link = folder / f"{number:04}.bw"
        link.unlink(missing_ok=True)
        link.symlink_to(Path(track).resolve())
    local = [str(folder)] * (len(addresses) < len(data.tracks))
    tracks = ",".join([*local, *addresses])
    words = [sys.executable, str(script), "-b", tracks, "-k", str(data.k)]
    if len(data.places) > 1:  # arrays of a genome would fill the disk
        chroms = ",".join(chrom for chrom, _, _ in data.places)
        return [*words, "--chroms", chroms, "-o", f"{output}.bw"]
    chrom, start, end = data.region
    return [*words, "-c", chrom, "-s", str(start), "-e", str(end), "-o", str(output)]


def read_output(output: Path) -> Loadings:
    """Return the loadings of a script's ``.npy`` file as runs; it holds no weights."""
    array = np.load(output, mmap_mode="r", allow_pickle=False)
    changes = np.flatnonzero((array[1:] != array[:-1]).any(axis=1)) + 1
    ends = np.append(changes, len(array))
    return Loadings(np.ascontiguousarray(array[ends - 1].T), ends, np.empty((array.shape[1], 0)))


def usage(data: DataSection, path: Path) -> tuple[Sequence[str], str]:
    """Return the command line of the script at `path` for the first case, and what it needs.

    The folder of tracks has a name to be filled in where the tracks lie in several.
    """
    case = data.cases[0]
    region, tracks = parse_region(case.region), case.bigwigs or data.bigwigs or ()
    addresses = [track for track in tracks if isinstance(track, str)]
    local = [track for track in tracks if isinstance(track, Path)]
    folders = {str(track if track.is_dir() else track.parent) for track in local}
    folder = folders.pop() if len(folders) == 1 else "FOLDER_OF_TRACKS" if folders else ""
    folder = ",".join(filter(None, [folder, *addresses]))
    ends = ["-s", str(region.start)] if region.end is not None or region.start else []
    ends += ["-e", str(region.end)] if region.end is not None else []
    where = ["-b", folder, *chosen_words(region, ends), "-k", str(case.k)]
    out = "loadings.npy" if region.several is None else "loadings.bw"
    needs = "Python 3.10 or newer; NumPy for what is not binned; not tuner"
    return [str(path), *where, "-o", out], needs


def chosen_words(region: Region, ends: Sequence[str] = ()) -> list[str]:
    """Return the script's options for a region; `ends` for one chromosome."""
    if region.several is None:
        return ["-c", region.chrom, *ends]
    return ["--chroms", region.chrom] if region.several else ["--genome"]
