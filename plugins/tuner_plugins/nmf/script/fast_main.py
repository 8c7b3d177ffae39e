"""The command line of the stand-alone script where the quick path does: files in, file out."""

from __future__ import annotations

import ctypes
import os
import sys

from tuner_plugins.nmf.io.folder import LEFT_OUT, describe_taken, is_bigwig, list_folder
from tuner_plugins.nmf.kernels.build import load_kernels
from tuner_plugins.nmf.kernels.fast_path import QuickLoadings, available_threads, quick_loadings
from tuner_plugins.nmf.script.placing import put_in_place

TYPE_CHECKING = False  # as in quick.py
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

OPTIONS = {
    "-b": "bw_dir",
    "-c": "chromosome_number",
    "-s": "start_pos",
    "-e": "end_pos",
    "-o": "output_file",
}
"""The scaffold's options beside ``-k``: short name to long one."""

DEFAULT_K = "10"

CONSTANT = (
    "every loading is constant over the region: its tracks have no data, or the smoothing "
    "(fl_lambda) is too strong for so short a region"
)

PARAMS: Mapping[str, Any] = {}
"""What the script runs with; put here when it is made."""


def read_words(words: Sequence[str]) -> dict[str, str] | None:
    """Read a command line of names, each before its value; None where argparse has to read it."""
    known = {**OPTIONS, "-k": "k", **{f"--{name}": name for name in OPTIONS.values()}}
    given: dict[str, str] = {"k": DEFAULT_K}
    for word, value in zip(words[::2], words[1::2], strict=False):
        if word not in known or value[:1] == "-":
            return None
        given[known[word]] = value
    return given if len(given) == 6 and len(words) % 2 == 0 else None


def run_quick(words: Sequence[str]) -> bool:
    """Do what a command line asks for; False where nothing was done."""
    given = read_words(words)
    if given is None:
        return False
    chrom, out = given["chromosome_number"], given["output_file"]
    try:
        start, end, k = (int(given[name]) for name in ("start_pos", "end_pos", "k"))
        if not 0 <= start < end or k < 1:
            return False
        if os.path.exists(out):  # of nothing but loadings of before: see output_problem
            if not (os.path.isfile(out) and os.access(out, os.W_OK)) or is_bigwig(out):
                return False
        found = list_folder(given["bw_dir"], LEFT_OUT)
        threads = available_threads()
        loadings = quick_loadings(found[0], chrom, start, end, k, PARAMS, threads)
        if loadings is None or not _save_quick(out, loadings, PARAMS["dtype"]):
            return False
    except (ValueError, OSError):
        return False
    tell(describe_taken(found, loadings.absent, chrom, f", {chrom}:{start}-{end}, k {k}"))
    if _are_constant(loadings):
        tell(CONSTANT)
    return True


def _are_constant(loadings: QuickLoadings) -> bool:
    """Return whether no loading changes along the region; compares bytes, for speed."""
    raw, row = bytes(loadings.values), 8 * loadings.bins
    rows = (raw[at : at + row] for at in range(0, loadings.k * row, row))
    return all(each == each[:8] * loadings.bins for each in rows)


def tell(line: str) -> None:
    """Write a line on standard error, where there is one."""
    try:
        if sys.stderr is not None:
            sys.stderr.write(f"{os.path.basename(sys.argv[0])}: {line}\n")
            sys.stderr.flush()
    except OSError:  # nobody listens
        pass


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
