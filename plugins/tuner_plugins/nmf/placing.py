"""Where a finished file goes: whether it can, and then under its name, at once."""

from __future__ import annotations

import ctypes
import os

from tuner_plugins.nmf.folder import is_bigwig


def output_problem(path: str) -> str | None:
    """Say in one line why nothing can be put at `path`; None where nothing is known to be wrong."""
    folder = os.path.dirname(os.path.abspath(path))
    if not path:
        return "expected the name of a file, got nothing"
    if os.path.isdir(path):
        return f"{path} is a folder; give the name of a file"
    if not os.path.isdir(folder):
        return f"no such folder: {folder}; make it first"
    if not os.access(folder, os.W_OK):
        return f"the folder {folder} is read-only; give another"
    if not os.path.exists(path):
        return None
    if not os.path.isfile(path):
        return f"{path} is a device or a pipe; give the name of a file"
    if not os.access(path, os.W_OK):
        return f"{path} is read-only; give another name"
    if os.access(path, os.R_OK) and is_bigwig(path):
        return f"{path} is a bigWig file, which would be lost; give another name"
    return None


def put_in_place(temporary: str, path: str) -> None:
    """Rename a file over another, or to a new name, at once.

    File systems wait for the disk where a new file replaces an old one. Two that trade names do
    not; the old one goes then.
    """
    if os.path.exists(path):
        try:
            exchange = ctypes.CDLL(None).renameat2
        except (OSError, AttributeError):  # not Linux
            exchange = None
        here, trade = -100, 2
        names = (os.fsencode(os.path.abspath(name)) for name in (temporary, path))
        old, new = names
        if exchange is not None and not exchange(here, old, here, new, trade):
            os.unlink(temporary)
            return
    os.replace(temporary, path)
