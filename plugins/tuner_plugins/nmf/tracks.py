"""Which files are tracks: the bigWig files of a folder, or those that are named."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence

from tuner_plugins.nmf.bigwig import BigWigError, chromosomes
from tuner_plugins.nmf.folder import Folder, is_answer, is_bigwig, list_folder, some_names
from tuner_plugins.nmf.names import suggest_names


def list_tracks(
    paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    left_out: Mapping[str, tuple[int, str]] | None = None,
) -> Folder:
    """List the bigWig files of folders by name, and files as they are given.

    What is a bigWig file is told by content. `left_out`: as in `list_folder`.

    Raises
    ------
    BigWigError
        A path that does not exist, a file that is named and is no bigWig file, or no track at all.
    """
    found, names = Folder([], [], []), []
    for path in [paths] if isinstance(paths, (str, os.PathLike)) else paths:
        name = os.fspath(path)
        names.append(name)
        try:
            if os.path.isdir(name):
                part = list_folder(name, left_out)
                found.tracks += part.tracks
                found.answers += part.answers
                found.others += part.others
            elif is_answer(_named_bigwig(name), left_out or {}):
                found.answers.append(os.path.basename(name))
            else:
                found.tracks.append(name)
        except OSError as error:
            culprit = error.filename or name
            raise BigWigError(f"{culprit}: cannot be read ({error.strerror})") from error
    if found.tracks:
        return found
    if not names:
        raise BigWigError("no tracks given: name a folder of bigWig files, or the files themselves")
    there = [f"the annotation ({', '.join(found.answers)})"] if found.answers else []
    there += [f"no bigWig files ({some_names(found.others)})"] if found.others else []
    only = f", only {' and '.join(there)}" if there else ""
    raise BigWigError(f"{', '.join(names)}: no bigWig files to take as tracks{only}")


def _named_bigwig(name: str) -> str:
    """Return the path of a file that somebody named as a track."""
    if not os.path.exists(name):
        raise BigWigError(f"{name}: no such file or folder")
    if not os.path.isfile(name):
        raise BigWigError(f"{name}: neither a file nor a folder; name a bigWig file")
    if not is_bigwig(name):
        chromosomes(name)  # says what it is instead
        raise BigWigError(f"{name}: not a bigWig file")
    return name


def with_chromosome(paths: Sequence[str], chrom: str) -> tuple[list[str], list[str]]:
    """Part bigWig files into those that have a chromosome and those that lack it.

    Raises
    ------
    BigWigError
        Where none has it, or one cannot be read.
    """
    known = {path: chromosomes(path) for path in paths}
    have = [path for path in paths if chrom in known[path]]
    if not have:
        names = list(dict.fromkeys(name for found in known.values() for name in found))
        who = f"none of {len(paths)} bigWig files has a" if len(paths) > 1 else f"{paths[0]}: no"
        raise BigWigError(f"{who} chromosome called {chrom!r}; {suggest_names(chrom, names)}")
    return have, [path for path in paths if chrom not in known[path]]
