"""The command line of the stand-alone script where the quick path does: files in, file out."""

from __future__ import annotations

import ctypes
import os
import sys

from tuner_plugins.kernel_folder import digest_of
from tuner_plugins.nmf.io.folder import LEFT_OUT, describe_taken, is_bigwig, list_folder
from tuner_plugins.nmf.kernels.build import (
    compile_kernels,
    compile_soon,
    load_kernels,
    plain_kernels,
    source_digest,
    use_kernels,
)
from tuner_plugins.nmf.kernels.carried import CARRIED, open_carried
from tuner_plugins.nmf.kernels.fast_path import QuickLoadings, describe_doubts, quick_loadings
from tuner_plugins.nmf.kernels.parallel import available_threads
from tuner_plugins.nmf.script.placing import BROWSER_ENDINGS, is_script, npy_head, write_whole

TYPE_CHECKING = False  # as in fast_path.py
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


def run_quick(words: Sequence[str], quiet: bool = False) -> bool:
    """Do what a command line asks for, and say so; False where nothing was done."""
    given = read_words(words)
    if given is None:
        return False
    chrom, out = given["chromosome_number"], given["output_file"]
    try:
        start, end, k = (int(given[name]) for name in ("start_pos", "end_pos", "k"))
        if not 0 <= start < end or k < 1:
            return False
        if out.lower().endswith(BROWSER_ENDINGS) or (os.path.exists(out) and not _may_replace(out)):
            return False
        found = list_folder(given["bw_dir"], LEFT_OUT)
        region = chrom, start, end
        loadings = quick_loadings(found[0], region, k, PARAMS, available_threads())
        if loadings is None:
            return False
        _save_quick(out, loadings, PARAMS["dtype"])
    except (ValueError, OSError):
        return False
    if quiet:
        return True
    tell(describe_taken(found, loadings.absent, chrom, f", {chrom}:{start}-{end}, k {k}"))
    tracks = [path for path in found[0] if path not in loadings.absent]
    for line in describe_doubts(k, tracks, loadings.weights):
        tell(line)
    if _are_constant(loadings):
        tell(CONSTANT)
    return True


def _may_replace(out: str) -> bool:
    """Return whether a file is nothing but loadings of before: see `output_problem`."""
    regular = os.path.isfile(out) and os.access(out, os.W_OK)
    return regular and not is_bigwig(out) and not is_script(out)


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
    if "--rebuild" in words:
        os._exit(rebuild([word for word in words if word != "--rebuild"]))
    if load_kernels(quick=True, make=False) is None and is_short(words):
        use_kernels(compile_soon() or plain_kernels()["PlainKernels"]())
        done = run_quick(words)
        use_kernels(None)  # the careful path has its own
        if done:
            _compile_for_later_runs()
    else:
        done = run_quick(words)
        if not done and load_kernels(quick=True) is None and not has_numpy():
            use_kernels(plain_kernels()["PlainKernels"]())
            done = run_quick(words)
    if done:
        os._exit(0)
    return False


SHORT_BASES = 3e7
"""Bases of all tracks up to which code that is not optimised, or Python alone where there is no
compiler, is done before optimised code would be compiled, or NumPy imported."""


def is_short(words: Sequence[str]) -> bool:
    """Return whether a command line asks for at most `SHORT_BASES`."""
    given = read_words(words)
    if given is None:
        return False
    try:
        bases = int(given["end_pos"]) - int(given["start_pos"])
        return bases * len(list_folder(given["bw_dir"], LEFT_OUT)[0]) <= SHORT_BASES
    except (ValueError, OSError):
        return False


def _compile_for_later_runs() -> None:
    """Compile the C source in a process that nobody waits for: it takes longer than a short run."""
    if not hasattr(os, "fork") or os.fork():
        return
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in range(3):  # whoever reads this run's output is not to wait for the compiler
        os.dup2(nothing, stream)
    compile_kernels(quick=True)
    os._exit(0)


def has_numpy() -> bool:
    """Return whether there is a NumPy, without importing it."""
    from importlib.util import find_spec

    return find_spec("numpy") is not None


def rebuild(words: Sequence[str]) -> int:
    """Run with the library that is carried, and with its C source compiled here; compare files.

    Return the exit code: 0 where they are the same, 1 where they are not, or the library is not for
    this machine or damaged, 2 where there is nothing to compare. The second file stays.
    """
    given = read_words(words)
    if given is None:
        tell("--rebuild: expected it beside -b, -c, -s, -e and -o")
        return 2
    compiled = compile_kernels(quick=True)
    if not CARRIED or compiled is None:
        lacks = "a C compiler, and the C source" if CARRIED else "a script that carries a library"
        tell(f"--rebuild: nothing to compare; expected {lacks}")
        return 2
    written = []
    for library in (open_carried(CARRIED, source_digest()), compiled):
        if library is None:
            tell("--rebuild: the library carried is for another machine or source, or damaged")
            return 1
        use_kernels(library)
        if not run_quick(words, quiet=True):
            tell("--rebuild: the kernels are not used for this; try the same without --rebuild")
            return 2
        with open(given["output_file"], "rb") as file:
            written.append(digest_of(file.read()))
    same = written[0] == written[1]
    tell("--rebuild: " + ("the same bytes" if same else "different bytes: do not use this script"))
    return 0 if same else 1


def _save_quick(path: str, loadings: QuickLoadings, dtype: str) -> None:
    """Write what `save_loadings` writes."""
    library = load_kernels(quick=True)
    assert library is not None

    def write(handle: int) -> None:
        os.write(handle, npy_head(dtype, loadings.size, loadings.k))
        sizes = (loadings.k, loadings.bins, loadings.width, loadings.size)
        whole = map(ctypes.c_int64, sizes)
        if library.tuner_quick_write(handle, loadings.values, *whole, dtype == "float32"):
            raise OSError(f"{path} cannot be written")

    write_whole(path, write)
