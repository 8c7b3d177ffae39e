"""The command line of the stand-alone script where the quick path does: files in, file out."""

from __future__ import annotations

import ctypes
import math
import os
import sys

from tuner_plugins.nmf.native import load_kernels
from tuner_plugins.nmf.placing import put_in_place
from tuner_plugins.nmf.quick import QuickLoadings, available_threads, quick_loadings

TYPE_CHECKING = False  # as in quick.py
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

SETTINGS: Sequence[tuple[Mapping[str, float], Mapping[str, Any]]] = ()
"""The frozen settings, each after the size of problem that it is for; put here when the script is
made."""


def choose_setting(positions: int, k: int) -> Mapping[str, Any]:
    """Give the setting for the nearest size, as ratios of length and number of loadings."""
    sizes = {"positions": positions, "k": k}

    def distance(entry: tuple[Mapping[str, float], Mapping[str, Any]]) -> float:
        return sum(math.log(sizes[name] / value) ** 2 for name, value in entry[0].items())

    return min(SETTINGS, key=distance)[1]


def run_quick(words: Sequence[str]) -> bool:
    """Do what a command line asks for; False where nothing was done."""
    given = dict(zip(words[::2], words[1::2], strict=False))
    if len(words) != 12 or sorted(given) != ["-b", "-c", "-e", "-k", "-o", "-s"]:
        return False
    try:
        start, end, k = (int(given[name]) for name in ("-s", "-e", "-k"))
        names = sorted(name for name in os.listdir(given["-b"]) if name.endswith(".bw"))
        paths = [os.path.join(given["-b"], name) for name in names if name[0] != "."]
        if not 0 <= start < end or k < 1 or os.path.isdir(given["-o"]):
            return False
        setting = choose_setting(end - start, k)
        found = quick_loadings(paths, given["-c"], start, end, k, setting, available_threads())
        return found is not None and _save_quick(given["-o"], found, setting["dtype"])
    except (ValueError, OSError):
        return False


def run_quick_and_leave(words: Sequence[str]) -> bool:
    """End the process where `run_quick` did it: taking Python apart takes milliseconds too."""
    if run_quick(words):
        os._exit(0)
    return False


def _save_quick(path: str, loadings: QuickLoadings, dtype: str) -> bool:
    """Write what `save_loadings` writes; False, and nothing left behind, where that fails."""
    library = load_kernels(quick=True)
    assert library is not None
    single = dtype == "float32"
    descr = ("<" if sys.byteorder == "little" else ">") + ("f4" if single else "f8")
    shape = (loadings.size, loadings.k)
    head = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}"
    room = -(10 + len(head) + 1) % 64  # the format wants the data to begin at a multiple of 64
    length = len(head) + room + 1
    prefix = b"\x93NUMPY\x01\x00" + length.to_bytes(2, "little")
    temporary = f"{path}.{os.getpid()}.part"
    handle = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    try:
        try:
            os.write(handle, prefix + head.encode() + b" " * room + b"\n")
            sizes = (loadings.k, loadings.bins, loadings.width, loadings.size)
            whole = map(ctypes.c_int64, sizes)
            failed = library.tuner_quick_write(handle, loadings.values, *whole, single)
        finally:
            os.close(handle)
        if not failed:
            put_in_place(temporary, path)
        return not failed
    finally:
        if os.path.exists(temporary):
            os.unlink(temporary)
