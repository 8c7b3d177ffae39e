"""What is in a folder of tracks, told by content. As little as the quick path needs."""

from __future__ import annotations

import errno
import os
import stat

from tuner_plugins.kernel_folder import digest_of

TYPE_CHECKING = False  # as in fast_path.py
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Answers = Mapping[str, tuple[int, str]]
    Found = tuple[list[str], list[str], list[str], list[str]]

LEFT_OUT: Answers = {}
"""Files that are the answer, not input: name to size and digest. Put here when the script is made:
what the study left out of the tracks."""


def open_regular(path: str) -> int:
    """Open a regular file for reading; return its descriptor.

    Raises
    ------
    OSError
        It cannot be opened, or is a folder, a pipe or a device: those may have no end, or wait.
    """
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    mode = os.fstat(handle).st_mode
    if stat.S_ISREG(mode):
        return handle
    os.close(handle)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    raise OSError(errno.EINVAL, "a pipe or a device, no regular file", path)


def is_bigwig(path: str) -> bool:
    """Return whether a regular file begins as a bigWig file does, in either byte order."""
    handle = open_regular(path)
    try:
        return os.read(handle, 4) in (b"\x26\xfc\x8f\x88", b"\x88\x8f\xfc\x26")
    finally:
        os.close(handle)


def base_name(path: str) -> str:
    """Return the name of a file, or of what an address leads to, without a key that follows it."""
    if "://" in path:
        from urllib.parse import unquote

        path = unquote(path.partition("?")[0].partition("#")[0])
    return os.path.basename(path)


def is_answer(path: str, left_out: Answers) -> bool:
    """Return whether a file is one of `left_out`: by its name, or else by its size and content."""
    if os.path.basename(path) in left_out:
        return True
    size = os.stat(path).st_size
    return size in [known for known, _ in left_out.values()] and (
        file_digest(path) in left_out.values()
    )


def file_digest(path: str) -> tuple[int, str]:
    """Return the size of a file and a digest of its content."""
    with open(open_regular(path), "rb") as file:
        content = file.read()
    return len(content), digest_of(content)


def list_folder(folder: str, left_out: Answers, holds: Callable[[str], bool] = is_bigwig) -> Found:
    """List a folder by name: paths of tracks, names of `left_out`, of other files, of dead links.

    A dead link leads to no file. Hidden files and folders do not count. `holds`: whether a regular
    file is a bigWig file.
    """
    found: Found = [], [], [], []
    tracks, answers, others, dead = found
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        if entry.name[0] == "." or entry.is_dir():
            continue
        if entry.is_symlink() and not os.path.exists(entry.path):
            dead.append(entry.name)
        elif not (entry.is_file() and holds(entry.path)):
            others.append(entry.name)
        elif left_out and is_answer(entry.path, left_out):
            answers.append(entry.name)
        else:
            tracks.append(entry.path)
    return found


def describe_taken(found: Found, absent: Mapping[str, str], chrom: str, rest: str = "") -> str:
    """Return in one line how many files are tracks, and what is left out and why.

    `absent`: those of the tracks that lack the chromosome, to the name that they have in its place,
    if any. `rest`: what else is taken.
    """
    tracks, answers, others, dead = found
    lack = [
        base_name(path) + (f": it has {absent[path]!r}" if absent[path] else "")
        for path in sorted(absent, key=lambda path: not absent[path])  # what can be mended first
    ]
    taken, files, left = len(tracks) - len(absent), sum(map(len, found)), ""
    text = f"{taken} track{'s' * (taken != 1)}{f' of {files} files' * (taken < files)}{rest}"
    for what, names in (
        (f"without {chrom}", lack),
        ("annotation", answers),
        ("no bigWig", others),
        (f"link{'s' * (len(dead) != 1)} to a file that is not there", dead),
    ):
        if names:
            some = ", ".join(names[:3]) + ", ..." * (len(names) > 3)
            left += f"{', ' if left else '; left out: '}{len(names)} {what} ({some})"
    return text + left
