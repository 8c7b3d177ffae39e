"""What is in a folder of tracks, told by content: without NumPy, so that the quick path can ask."""

from __future__ import annotations

import os

TYPE_CHECKING = False  # as in quick.py
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

BIGWIG_MAGICS = (b"\x26\xfc\x8f\x88", b"\x88\x8f\xfc\x26")
BIGWIG_ENDINGS = (".bw", ".bigwig")

LEFT_OUT: Mapping[str, tuple[int, str]] = {}
"""Files that are the answer, not input: name to size and digest. Put here when the script is made:
what the study left out of the tracks."""


class Folder:
    """The files of a folder, in the order of their names; hidden ones and folders do not count.

    Attributes
    ----------
    tracks : list of str
        Paths of the bigWig files.
    answers : list of str
        Names of bigWig files that are never tracks.
    others : list of str
        Names of all other files.
    """

    def __init__(self, tracks: list[str], answers: list[str], others: list[str]) -> None:
        self.tracks, self.answers, self.others = tracks, answers, others


def list_folder(folder: str, left_out: Mapping[str, tuple[int, str]] | None = None) -> Folder:
    """List a folder. `left_out`: as `LEFT_OUT`; a file is known by its name or its content.

    Raises
    ------
    OSError
        The folder cannot be read, or a file that is called a bigWig file.
    """
    found = Folder([], [], [])
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            if entry.name[0] == "." or entry.is_dir():
                continue
            if not (entry.is_file() and _holds_bigwig(entry.path)):
                found.others.append(entry.name)
            elif left_out and is_answer(entry.path, left_out):
                found.answers.append(entry.name)
            else:
                found.tracks.append(entry.path)
    return found


def _holds_bigwig(path: str) -> bool:
    try:
        return is_bigwig(path)
    except OSError:
        if path.lower().endswith(BIGWIG_ENDINGS):
            raise
        return False


def is_bigwig(path: str) -> bool:
    """Say whether a regular file begins as a bigWig file does."""
    handle = os.open(path, os.O_RDONLY)
    try:
        return os.read(handle, 4) in BIGWIG_MAGICS
    finally:
        os.close(handle)


def is_answer(path: str, left_out: Mapping[str, tuple[int, str]]) -> bool:
    """Say whether a file is one of `left_out`: by its name, or else by its size and content."""
    if os.path.basename(path) in left_out:
        return True
    known = left_out.values()
    return os.stat(path).st_size in [size for size, _ in known] and file_digest(path) in known


def file_digest(path: str) -> tuple[int, str]:
    """Give the size of a file and a digest of its content."""
    try:  # hashlib loads OpenSSL: see native.py
        from _blake2 import blake2b
    except ImportError:
        from hashlib import blake2b
    digest, size = blake2b(digest_size=16), 0
    handle = os.open(path, os.O_RDONLY)
    try:
        while block := os.read(handle, 1 << 20):
            digest.update(block)
            size += len(block)
    finally:
        os.close(handle)
    return size, digest.hexdigest()


def describe_taken(found: Folder, absent: Sequence[str], chrom: str, rest: str = "") -> str:
    """Return in one line how many files are tracks, and what is left out and why.

    Parameters
    ----------
    found : Folder
    absent : sequence of str
        Those of its tracks that lack the chromosome.
    chrom : str
        Its name.
    rest : str
        What else is taken, put before what is left out.
    """
    taken = len(found.tracks) - len(absent)
    bigwigs = len(found.tracks) + len(found.answers)
    files = bigwigs + len(found.others)
    text = f"{taken} {'track' if taken == 1 else 'tracks'}"
    text += (f" of {files} files" if files != taken else "") + rest
    reasons = []
    if absent:
        reasons.append(f"{len(absent)} of {bigwigs} bigWig files have no {chrom}")
    if found.answers:
        reasons.append(f"{some_names(found.answers)}: the annotation")
    if found.others:
        reasons.append(f"{len(found.others)} no bigWig ({some_names(found.others)})")
    return text + (f"; left out: {'; '.join(reasons)}" if reasons else "")


def some_names(names: Sequence[str]) -> str:
    """Return the first few names, those that are called bigWig files first."""
    order = sorted(names, key=lambda name: not name.lower().endswith(BIGWIG_ENDINGS))
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(order[:3]) + more
