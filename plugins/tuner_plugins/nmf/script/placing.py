"""Where a finished file goes: under its name, at once."""

from __future__ import annotations

import ctypes
import os


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
