"""Which files are tracks: the bigWig files of a folder, or those that are named."""

from __future__ import annotations

import os
from collections.abc import Iterable

from tuner_plugins.nmf.bigwig import BigWigError


def list_tracks(
    paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
) -> list[str]:
    """List bigWig files: the ``*.bw`` of a folder by name, and files as they are given.

    A folder without ``*.bw`` is searched for ``*.bigWig`` and ``*.bigwig`` instead.

    Raises
    ------
    BigWigError
        Where a path does not exist or a folder holds no bigWig file.
    """
    found: list[str] = []
    for path in [paths] if isinstance(paths, (str, os.PathLike)) else paths:
        name = os.fspath(path)
        if os.path.isdir(name):
            found.extend(_list_folder(name))
        elif os.path.exists(name):
            found.append(name)
        else:
            raise BigWigError(f"{name}: no such file or folder")
    if not found:
        raise BigWigError("no tracks given: name a folder of *.bw files, or the files themselves")
    return found


def _list_folder(folder: str) -> list[str]:
    try:
        names = sorted(name for name in os.listdir(folder) if name[0] != ".")
    except OSError as error:
        raise BigWigError(f"{folder}: cannot be read ({error.strerror})") from error
    for endings in (".bw",), (".bigWig", ".bigwig"):
        tracks = [os.path.join(folder, name) for name in names if name.endswith(endings)]
        if tracks:
            return tracks
    raise BigWigError(f"{folder}: no .bw files in this folder; name a folder of bigWig tracks")
