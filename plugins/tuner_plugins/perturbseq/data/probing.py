"""The first reading of a file of HDF5: in a process of its own, which may die of it.

HDF5 follows what a damaged file says. It may crash, allocate without limit or never return, and
no exception tells of it; a process that has read the same before us does.
"""

from __future__ import annotations

import contextlib
import inspect
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import h5py

from tuner_plugins.perturbseq.data.stored import CellsError, require_hdf5, unreadable

BUDGET = 64 << 20
"""Bytes of a matrix that are read at opening; of a larger one, only where its chunks are."""

LONGEST_WAIT = 600
"""Seconds that a file system may take beyond what the limit of processor time allows."""

REFUSED = 3
"""Exit code where the reader itself says what is wrong and what to do."""


def limit_process(size: int) -> None:
    """Limit this process to the memory and processor time that a file of `size` bytes needs."""
    with contextlib.suppress(ImportError, OSError, ValueError):  # as far as the system has limits
        import resource

        limits = {
            resource.RLIMIT_CORE: 0,
            resource.RLIMIT_CPU: 10 + size // 10**6,
            resource.RLIMIT_AS: (4 << 30) + 16 * size,
        }
        for kind, most in limits.items():
            hard = resource.getrlimit(kind)[1]
            soft = most if hard == resource.RLIM_INFINITY else min(most, hard)
            resource.setrlimit(kind, (soft, hard))


def refuse(item: Any, problem: str) -> None:
    """End this process: the part of the file is not what it says, or not in the file."""
    sys.stderr.write(f"{item.name} {problem}")
    raise SystemExit(3)


def entry_of(group: Any, name: str) -> Any:
    """Return what a name stands for; other files are never opened, wherever a link points."""
    away = "is a link to another file, which is not followed; copy what it holds into this one"
    if isinstance(group.get(name, getlink=True), h5py.ExternalLink):
        refuse(group, f"has '{name}', which {away}")
    item = group[name]
    if item.file.filename != group.file.filename:
        refuse(item, away)
    return item


def read_values(item: Any, size: int, most: float) -> None:
    """Read a dataset of at most `most` bytes; of a larger one, look where its chunks are."""
    if item.is_virtual or item.external:
        refuse(item, "keeps its values in other files, which are not read; write the file again")
    if not item.size:
        return
    claimed = item.size * item.dtype.itemsize
    if claimed > (1 << 30) + 5000 * size:
        refuse(item, f"claims {claimed} bytes in a file of {size}; copy the file again")
    if item.chunks is not None and hasattr(item.id, "chunk_iter"):
        ends: list[int] = []
        item.id.chunk_iter(lambda chunk: ends.append(chunk.byte_offset + chunk.size))
        if max(ends, default=0) > size:
            refuse(item, "has values behind the end of the file; copy the file again")
        if len(item.shape) == 1 and len(ends) < -(-item.shape[0] // item.chunks[0]):
            refuse(item, "lacks a part of its values; copy the file again")
    if claimed > most:
        return
    step = max(1, (1 << 20) * item.shape[0] // item.size) if item.shape else 1
    for start in range(0, item.shape[0] if item.shape else 0, step):
        item[start : start + step]
    if not item.shape:
        item[()]


def read_item(item: Any, size: int, most: float, seen: set[Any]) -> None:
    """Read a group or a dataset with its attributes, each once: links may lead in a circle."""
    if item.id in seen:
        return
    seen.add(item.id)
    for name in item.attrs:
        with contextlib.suppress(OSError, RuntimeError, TypeError, ValueError):
            item.attrs[name]  # whoever needs it will hear of it
    if isinstance(item, h5py.Group):
        for name in item:
            read_item(entry_of(item, name), size, most, seen)
    elif isinstance(item, h5py.Dataset):
        read_values(item, size, most)


def read_parts(path: str, most: str, *parts: str) -> None:
    """Read parts of a file, tables as a whole; a file of anndata before 0.7 entirely."""
    size = os.path.getsize(path)
    limit_process(size)
    seen: set[Any] = set()
    with h5py.File(path, "r") as file:
        tables = [entry_of(file, name) for name in ("obs", "var") if name in file]
        list(file)
        list(file["layers"] if "layers" in file and entry_of(file, "layers") else ())
        if any(isinstance(table, h5py.Dataset) for table in tables):
            read_item(file, size, float("inf"), seen)
        for part in parts:
            item: Any = file
            for name in part.split("/"):
                is_there = isinstance(item, h5py.Group) and name in item
                item = entry_of(item, name) if is_there else None
            if item is not None:
                read_item(item, size, float("inf" if name in ("obs", "var") else most), seen)


IN_CHILD = (limit_process, refuse, entry_of, read_values, read_item, read_parts)

READER = "\n".join(inspect.getsource(part) for part in IN_CHILD)
"""The reader's program but its imports, taken when this is loaded: the file may change later."""


def probe(path: Path, parts: Sequence[str], *, whole: bool = False) -> None:
    """Read parts of a file in another process, once for each part and state of the file.

    Parameters
    ----------
    path : Path
        The file.
    parts : sequence of str
        Names in it, such as ``obs`` or ``layers/counts``; those that it has not are passed by.
    whole : bool
        Read matrices of more than `BUDGET` bytes as well.

    Raises
    ------
    CellsError
        The process did not survive it, or the file leads out of itself: external links, external
        and virtual datasets are refused.
    """
    require_hdf5(path)
    try:
        state = os.stat(path)
    except OSError as error:
        raise unreadable(path, error) from error
    known = _read_before(state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns)
    left = [part for part in parts if part not in known]
    if left:
        _read_in_child(path, state.st_size, "inf" if whole else str(BUDGET), left)
        known.update(left)


@lru_cache(maxsize=64)
def _read_before(device: int, inode: int, size: int, changed: int) -> set[str]:
    """Return the parts that a file in this state is known to have survived."""
    return set()


def _read_in_child(path: Path, size: int, most: str, parts: Sequence[str]) -> None:
    head = "from __future__ import annotations\nimport contextlib, os, sys\nimport h5py\n"
    program = f"{head}{READER}\nread_parts(*sys.argv[1:])\n"
    # the folder that the user stands in holds no module of the reader's
    places = os.pathsep.join(filter(None, sys.path))
    try:
        found = subprocess.run(
            [sys.executable, "-c", program, os.path.abspath(path), most, *parts],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": places, "OPENBLAS_NUM_THREADS": "1"},
            timeout=LONGEST_WAIT + size / 1e6,
        )
    except subprocess.TimeoutExpired as error:
        raise unreadable(path, f"not read within {error.timeout:.0f} s") from error
    lines = found.stderr.decode("utf-8", "backslashreplace").strip().splitlines()
    if found.returncode == REFUSED and lines:
        raise CellsError(f"{path}: {lines[-1]}")
    if found.returncode:
        died = f"reading it ended a process by signal {-found.returncode}"
        if found.returncode == -getattr(signal, "SIGXCPU", 0):
            died = "reading it takes more processor time than a file of its size can need"
        raise unreadable(path, lines[-1] if found.returncode > 0 and lines else died)
