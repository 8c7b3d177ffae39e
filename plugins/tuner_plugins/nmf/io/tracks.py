"""Which files are tracks: the bigWig files of a folder, or those that are named."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence

from tuner_plugins.genome_tables.names import same_names, suggest_names
from tuner_plugins.kernel_folder import digest_of
from tuner_plugins.nmf.io.bigwig import BigWigError, chromosomes
from tuner_plugins.nmf.io.bigwig_index import Source
from tuner_plugins.nmf.io.folder import (
    base_name,
    describe_taken,
    is_answer,
    is_bigwig,
    list_folder,
)
from tuner_plugins.nmf.io.remote import is_remote


def list_tracks(
    paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    left_out: Mapping[str, tuple[int, str]] | None = None,
) -> tuple[list[str], list[str], list[str], list[str]]:
    """List the bigWig files of folders by name, and files as they are given.

    Returns and arguments are those of `list_folder`: paths of the tracks, names of files that are
    the answer, of files that are no bigWig files, and of links to files that are not there.

    Raises
    ------
    BigWigError
        A path that does not exist, a file that is named and is no bigWig file, or no track at all.
    """
    found: tuple[list[str], list[str], list[str], list[str]] = [], [], [], []
    tracks, answers, others, dead = found
    names = []
    for path in [paths] if isinstance(paths, (str, os.PathLike)) else paths:
        name = os.fspath(path)
        names.append(name)
        try:
            if os.path.isdir(name):
                for whole, part in zip(
                    found, list_folder(name, left_out or {}, _holds_bigwig), strict=True
                ):
                    whole += part
            elif _is_named_answer(name, left_out or {}):
                answers.append(base_name(name))
            else:
                tracks.append(name)
        except OSError as error:
            culprit = error.filename or name
            raise BigWigError(f"{culprit}: cannot be read ({error.strerror})") from error
    twice = [name for number, name in enumerate(tracks) if name in tracks[:number]]
    if twice:
        raise BigWigError(f"{twice[0]}: named twice, it would count as two tracks; leave one out")
    if tracks:
        return found
    if not names:
        raise BigWigError("no tracks given: name a folder of bigWig files, or the files themselves")
    nothing = f"{', '.join(names)}: no bigWig files to take as tracks"
    raise BigWigError(
        f"{nothing}; {describe_taken(found, {}, '')}" if answers or others or dead else nothing
    )


def _holds_bigwig(path: str) -> bool:
    """Return whether a file is a bigWig file; raise where one named so cannot be read."""
    try:
        return is_bigwig(path)
    except OSError:
        if path.lower().endswith((".bw", ".bigwig")):
            raise
        return False


def _is_named_answer(name: str, left_out: Mapping[str, tuple[int, str]]) -> bool:
    """Return what `is_answer` does of what somebody named as a track, a file or an address.

    Behind an address, only a file as large as one of `left_out` is read whole.
    """
    if not is_remote(name):
        return is_answer(_named_bigwig(name), left_out)
    chromosomes(name)  # says what is wrong with it
    if base_name(name) in left_out:
        return True
    with Source(name) as source:
        size = source.size
    return size in [known for known, _ in left_out.values()] and (
        remote_digest(name) in left_out.values()
    )


def remote_digest(url: str) -> tuple[int, str]:
    """Return what `file_digest` does of an address.

    Raises
    ------
    BigWigError
        Where the server fails.
    """
    with Source(url) as source:
        return source.size, digest_of(source.read(0, source.size, "the file"))


def _named_bigwig(name: str) -> str:
    """Return the path of a file that somebody named as a track."""
    if not os.path.exists(name):
        what = "no such file or folder"
        if os.path.islink(name):
            what += f" at {os.path.realpath(name)}, which it links to"
        raise BigWigError(f"{name}: {what}")
    if not os.path.isfile(name):
        raise BigWigError(f"{name}: neither a file nor a folder; name a bigWig file")
    if not is_bigwig(name):
        chromosomes(name)  # says what it is instead
        raise BigWigError(f"{name}: not a bigWig file")
    return name


def with_chromosome(paths: Sequence[str], chrom: str) -> tuple[list[str], dict[str, str]]:
    """Part bigWig files into those that have a chromosome and those that lack it.

    The latter with what it is called there, if that can be told, or else "".

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
    lack = [path for path in paths if chrom not in known[path]]
    return have, {path: next(iter(same_names(chrom, known[path])), "") for path in lack}
