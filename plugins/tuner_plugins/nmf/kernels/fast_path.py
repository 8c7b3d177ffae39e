"""The binned factorisation without NumPy: what a run of milliseconds can afford.

Importing NumPy takes longer than factorising ten megabases in bins of a kilobase. This module does
the usual case with the C kernels and a few built-in modules. It mends and explains nothing: what is
unusual (a damaged file, an odd argument, a rank that hangs on rounding, no compiler) it leaves
alone, and says so, for the careful path to begin again. Both give the same answer.
"""

from __future__ import annotations

import ctypes
import os
import sys

from tuner_plugins.nmf.kernels.build import load_kernels
from tuner_plugins.nmf.kernels.parallel import run_each

TYPE_CHECKING = False  # importing typing for it would take milliseconds
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    Region = tuple[str, int, int]
    """Chromosome, start and end, 0-based and half-open."""

_MOST_VALUES = 1 << 22
_MOST_BINS = 1 << 17
_MOST_ROWS = 64
MOST_LOADINGS = 1000
"""Loadings that can be asked for: beyond the number of tracks they add little, and memory grows
with their square."""
LONGEST_CHROMOSOME = 2**32 - 1
"""Bases that a bigWig file can state."""
_ABSENT = 2
PROGRESS_BASES = 5e8
_QUICK_TRANSFORMS = ("none", "log1p", "sqrt", "asinh", "rank")
_QUICK_SCALINGS = ("none", "max", "l2", "std")
_QUICK_STARTS = ("eigh", "contrast", "randomized_svd")


class _Request(ctypes.Structure):
    """The kernels' ``quick_request``."""

    _fields_ = (
        ("chrom", ctypes.c_char_p),
        ("start", ctypes.c_int64),
        ("end", ctypes.c_int64),
        ("levels", ctypes.c_int64),
        ("widths", ctypes.POINTER(ctypes.c_int64)),
        ("means", ctypes.POINTER(ctypes.c_void_p)),
        ("fill_mean", ctypes.c_int),
    )


class _Level(ctypes.Structure):
    """The kernels' ``quick_signal``."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("tracks", "bins", "width", "size")),
        ("signal", ctypes.c_void_p),
        ("lengths", ctypes.c_void_p),
    )


class _Setting(ctypes.Structure):
    """The kernels' ``quick_setting``."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("k", "num_iter")),
        *((name, ctypes.c_int32) for name in ("transform", "scaling", "start")),
        *((name, ctypes.c_double) for name in ("l2penalty", "tolerance")),
        ("lambdas", ctypes.POINTER(ctypes.c_double)),
    )


class QuickLoadings:
    """Loadings over bins, in memory that ctypes holds.

    Attributes
    ----------
    values : ctypes array of double
        k rows of bins.
    weights : ctypes array of double
        k rows of tracks.
    k, tracks, bins, width, size : int
        Loadings, tracks, bins, bases a bin, bases in all.
    absent : dict of str to str
        Paths that were left out, sound files without the chromosome, to the name that they have in
        its place, or "".
    """

    def __init__(self, k: int, level: _Level, values: Any, weights: Any) -> None:
        self.values, self.weights, self.k = values, weights, k
        self.absent: dict[str, str] = {}
        self.tracks, self.bins = level.tracks, level.bins
        self.width, self.size = level.width, level.size


def quick_loadings(
    paths: Sequence[str], region: Region, k: int, setting: Mapping[str, Any], threads: int
) -> QuickLoadings | None:
    """Read tracks and factorise those that have the chromosome; None where the careful path has to.

    Arguments are those of `compute_loadings`. The loadings are those of ``setting["dtype"]``
    float64; float32 only shapes the file.
    """
    _, start, end = region
    widths = quick_levels(setting)
    if widths is None or not 0 <= start < end <= LONGEST_CHROMOSOME or not 1 <= k <= _MOST_ROWS:
        return None
    bins = [-(-(end - start) // width) for width in widths]
    if max(bins) > _MOST_BINS or max(bins) * (len(paths) + k) > _MOST_VALUES:
        return None
    if len(paths) * (end - start) > PROGRESS_BASES and sys.stderr.isatty():
        return None  # long enough to want to see progress
    library = load_kernels(quick=True)
    if library is None:
        return None
    signals = [(ctypes.c_double * (len(paths) * count))() for count in bins]

    def read(number: int) -> bool | None:
        rows = [ctypes.addressof(s) + 8 * number * n for s, n in zip(signals, bins, strict=True)]
        return quick_bins(paths[number], region, widths, setting["nan"], rows)

    # The largest first: no thread is left alone with one at the end.
    order = sorted(range(len(paths)), key=lambda number: -_file_size(paths[number]))
    read_well = run_each(read, order, threads)
    kept = [number for number, well in enumerate(read_well) if well]
    if False in read_well or not 0 < len(kept) <= _MOST_ROWS:
        return None
    levels = (_Level * len(widths))()
    for i, (signal, count) in enumerate(zip(signals, bins, strict=True)):
        _close_ranks(signal, 8 * count, kept)
        levels[i] = _Level(len(kept), count, widths[i], end - start, ctypes.addressof(signal))
    found = _factorize(library, levels, k, setting)
    if found is not None:
        lack = [paths[number] for number, well in enumerate(read_well) if well is None]
        found.absent = {path: _other_name(path, region[0]) for path in lack}
    return found


def _other_name(path: str, chrom: str) -> str:
    """Return the name that a file has in place of one with or without ``chr``, or ""."""
    other = chrom[3:] if chrom[:3] == "chr" else f"chr{chrom}"
    mean = ctypes.c_double()
    found = quick_bins(path, (other, 0, 1), [1], "zero", [ctypes.addressof(mean)])
    return other if found else ""


def describe_doubts(k: int, paths: Sequence[str], weights: Any) -> list[str]:
    """Return what is odd about loadings, one line each.

    `weights` are those of `QuickLoadings`. A track without data above 0 has weight 0 in every
    loading.
    """
    few = describe_rank(k, len(paths))
    lines = [few] if few else []
    idle = [path for at, path in enumerate(paths) if not any(weights[at :: len(paths)])]
    if idle and len(idle) < len(paths):
        some = ", ".join(map(os.path.basename, idle[:3])) + ", ..." * (len(idle) > 3)
        lines.append(
            f"weight 0 in every loading, of {len(idle)} of {len(paths)} tracks ({some}): they have "
            "no data above 0 in the region, or nothing in common with the others"
        )
    return lines


def describe_rank(k: int, tracks: int) -> str:
    """Return in one line that more loadings are asked for than can differ; empty if they can."""
    if k <= tracks:
        return ""
    return f"k {k} is more than its number of tracks: at most {tracks} loadings can differ"


def _close_ranks(signal: Any, row_bytes: int, kept: Sequence[int]) -> None:
    """Move the rows that are kept to the front."""
    base = ctypes.addressof(signal)
    for place, number in enumerate(kept):
        if place != number:
            ctypes.memmove(base + row_bytes * place, base + row_bytes * number, row_bytes)


def quick_bins(
    path: str, region: Region, widths: Sequence[int], policy: str, rows: Sequence[int]
) -> bool | None:
    """Average a track over bins, as `read_bins` does; None where it has no such chromosome.

    Arguments are those of `read_bins`, and `rows`: for each width, the address of one double a bin,
    0 all over. False where nothing was done: `read_bins` has to do it, or to say what is wrong.
    """
    library = load_kernels(quick=True)
    if library is None:
        return False
    chrom, start, end = region
    if end > LONGEST_CHROMOSOME:
        return False
    levels = len(widths)
    asked, means = (ctypes.c_int64 * levels)(*widths), (ctypes.c_void_p * levels)(*rows)
    want = (_Request * 1)(
        _Request(chrom.encode(), start, end, levels, asked, means, policy == "mean")
    )
    covered = (ctypes.c_double * sum(-(-(end - start) // width) for width in widths))()
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # a pipe would wait
    except OSError:
        return False
    try:
        size = ctypes.c_int64(os.fstat(handle).st_size)
        code = library.tuner_quick_read(handle, size, want, covered)
        return None if code == _ABSENT else not code
    finally:
        os.close(handle)


def _file_size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:  # whoever opens it says so
        return 0


def quick_levels(setting: Mapping[str, Any]) -> list[int] | None:
    """Return `bin_widths`; None where no problem of a setting can be done here."""
    widths = bin_widths(setting)
    return None if setting["start"] == "random" or 1 in widths else widths


def bin_widths(setting: Mapping[str, Any]) -> list[int]:
    """Return the bases a bin of each level: the first is for weights, the last for loadings."""
    widths = [int(setting["resolution"]), int(setting["loadings_resolution"])]
    return widths if widths[1] and widths[1] != widths[0] else widths[:1]


def column_lambdas(setting: Mapping[str, Any], k: int) -> list[float]:
    """Return the fused lasso's penalty for each of k loadings, per base.

    A ladder: from ``fl_lambda / lambda_ladder`` for the first to ``fl_lambda * lambda_ladder`` for
    the last, by equal factors; ``fl_lambda`` for all where ``lambda_ladder`` is 1, and for one.
    """
    middle, ladder = float(setting["fl_lambda"]), float(setting["lambda_ladder"])
    places = [(2 * c - k + 1) / max(k - 1, 1) for c in range(k)]  # from -1 to 1
    return [min(middle * ladder**place, sys.float_info.max) for place in places]


def _factorize(
    library: Any, levels: Any, k: int, setting: Mapping[str, Any]
) -> QuickLoadings | None:
    """Factorise the signals of an array of `_Level`."""
    tracks = levels[0].tracks
    if setting["start"] == "randomized_svd" and min(k, tracks) + 10 < tracks:
        return None  # there it is random indeed
    lengths = [(ctypes.c_double * level.bins)() for level in levels]
    for level, row in zip(levels, lengths, strict=True):
        level.lengths = ctypes.addressof(row)
    weights = (ctypes.c_double * (k * tracks))()
    values = [(ctypes.c_double * (k * level.bins))() for level in levels]
    addresses = (ctypes.c_void_p * len(levels))(*map(ctypes.addressof, values))
    asked = _Setting(
        *(k, int(setting["num_iter"]), _QUICK_TRANSFORMS.index(setting["transform"])),
        *(_QUICK_SCALINGS.index(setting["scaling"]), _QUICK_STARTS.index(setting["start"])),
        *(float(setting[name]) for name in ("l2penalty", "tolerance")),
        (ctypes.c_double * k)(*column_lambdas(setting, k)),
    )
    count = ctypes.c_int64(len(levels))
    code = library.tuner_quick_factorize(levels, count, (_Setting * 1)(asked), weights, addresses)
    return None if code else QuickLoadings(k, levels[-1], values[-1], weights)
