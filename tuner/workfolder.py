"""Folders for an hour's work in the current folder, and those that a crash left behind.

They lie in the current folder, not in the system's temporary one: what is written there is timed,
and is to go to the disk that the user's own output goes to.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil


def _prefix() -> str:
    host = re.sub(r"\W", "_", socket.gethostname())
    return f".tuner-{host}-"


@contextmanager
def working_folder() -> Iterator[Path]:
    """Give an empty folder that is gone afterwards; its name says whose it is."""
    prefix = f"{_prefix()}{os.getpid()}-"
    with tempfile.TemporaryDirectory(prefix=prefix, dir=".") as name:
        yield Path(name).resolve()


def sweep(where: Path) -> None:
    """Remove the working folders in `where` whose processes, on this machine, are gone."""
    for folder in where.glob(f"{_prefix()}*"):
        owner = folder.name.removeprefix(_prefix()).partition("-")[0]
        if owner.isdigit() and not psutil.pid_exists(int(owner)):
            shutil.rmtree(folder, ignore_errors=True)
