"""Averages of a bigWig track over bins: in C without its records, or from its step function."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tuner_plugins.nmf.io.bigwig import read_runs
from tuner_plugins.nmf.io.step_functions import bin_runs
from tuner_plugins.nmf.kernels.fast_path import LONGEST_CHROMOSOME, quick_bins
from tuner_plugins.nmf.model.signal import fill_gaps


def read_bins(
    path: str | os.PathLike[str],
    chrom: str,
    start: int,
    end: int,
    widths: Sequence[int],
    policy: str = "zero",
) -> list[NDArray[np.float64]]:
    """Average a track over bins of each of these widths.

    Parameters
    ----------
    path : path
        A bigWig file.
    chrom, start, end
        Region, 0-based and half-open.
    widths : sequence of int
        Bases a bin; the last bin may be shorter. C does up to two at once.
    policy : {"zero", "mean"}
        What positions without data count as: see `fill_gaps`.

    Returns
    -------
    list of ndarray of shape (bins,)
        One for each width.

    Raises
    ------
    BigWigError
        Where the file is missing or damaged, or has no such region.
    SignalError
        Where it holds infinite values.
    """
    if end > LONGEST_CHROMOSOME:
        read_runs(path, chrom, start, end)  # says what is wrong before anything is as long
    rows = [np.zeros(-(-(end - start) // width)) for width in widths]
    addresses = [row.ctypes.data for row in rows]
    if quick_bins(os.fspath(path), (chrom, start, end), widths, policy, addresses):
        return rows
    runs = fill_gaps(read_runs(path, chrom, start, end), start, policy)
    return [bin_runs(runs, start, end, width) for width in widths]
