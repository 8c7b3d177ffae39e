"""From bigWig files to loadings: what the plug-in runs and what the frozen script runs."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tuner_plugins.nmf.io.bigwig import chromosomes, read_runs
from tuner_plugins.nmf.io.bigwig_index import check_region
from tuner_plugins.nmf.io.step_functions import Runs, bin_ends, bin_runs
from tuner_plugins.nmf.kernels.fast_path import (
    PROGRESS_BASES,
    QuickLoadings,
    bin_widths,
    column_lambdas,
    quick_loadings,
)
from tuner_plugins.nmf.kernels.parallel import available_threads, run_threads
from tuner_plugins.nmf.model.binning import read_bins
from tuner_plugins.nmf.model.factorize import Loadings, Signal, factorize, solve_loadings
from tuner_plugins.nmf.model.signal import (
    SignalError,
    bin_signal,
    fill_gaps,
    join_runs,
    scale_factors,
)

_LARGEST_SINGLE = 1e14


def compute_loadings(
    paths: Sequence[str],
    chrom: str,
    start: int,
    end: int,
    k: int,
    setting: Mapping[str, Any],
) -> Loadings:
    """Read tracks and factorise them.

    Parameters
    ----------
    paths : sequence of str
        bigWig files, one a track.
    chrom, start, end
        Region, 0-based and half-open.
    k : int
        Number of loadings.
    setting : mapping
        Every key of `settings.DEFAULTS`, and ``nan``.

    Returns
    -------
    Loadings

    Raises
    ------
    BigWigError
        A file that cannot be read, or that lacks the region.
    SignalError
        A track that cannot be factorised.
    """
    region, threads = (chrom, start, end), available_threads()
    quick = quick_loadings(paths, region, k, setting, threads)
    if quick is not None and not quick.absent:
        return _from_quick(quick)
    return factorize_signals(read_signals(paths, region, setting, threads), k, setting, threads)


def factorize_signals(
    signals: Sequence[Signal], k: int, setting: Mapping[str, Any], threads: int = 1
) -> Loadings:
    """Scale and factorise what `read_signals` gives: weights on the first, loadings on the last.

    Raises
    ------
    SignalError
        Where values are too large for the setting's ``dtype``.
    """
    if setting["scaling"] != "none":
        factors = scale_factors(signals[:1], setting["scaling"])[:, None]
        signals = [signal.divide(factors) for signal in signals]
    check_range(signals, setting["dtype"])
    penalties = float(setting["l2penalty"]), column_lambdas(setting, k)
    loadings = factorize(
        signals[0],
        k,
        int(setting["num_iter"]),
        *penalties,
        start=setting["start"],
        seed=int(setting["seed"]),
        tolerance=float(setting["tolerance"]),
        threads=threads,
    )
    if len(signals) == 1:
        return loadings
    fine = solve_loadings(signals[1], loadings.weights, *penalties, threads=threads)
    return Loadings(fine, signals[1].ends, loadings.weights)


def check_range(signals: Sequence[Signal], dtype: str) -> None:
    """Refuse values whose squares, added up along the genome, overflow float32."""
    if dtype == "float32" and any(np.abs(item.values).max() > _LARGEST_SINGLE for item in signals):
        raise SignalError(
            f"values beyond {_LARGEST_SINGLE:g} overflow in float32; use dtype float64 or a scaling"
        )


def _from_quick(quick: QuickLoadings) -> Loadings:
    ends = bin_ends(quick.size, quick.width)
    values = np.frombuffer(quick.values).reshape(quick.k, quick.bins)
    return Loadings(values, ends, np.frombuffer(quick.weights).reshape(quick.k, quick.tracks))


def read_signals(
    paths: Sequence[str],
    region: tuple[str, int, int],
    setting: Mapping[str, Any],
    threads: int,
    fills: Sequence[float] | None = None,
) -> list[Signal]:
    """Read tracks once, and return their signal at each resolution of a setting.

    `fills`: what positions without data count as, by track, in place of ``setting["nan"]``.

    Tracks that are only binned are never held: a whole chromosome stays small in memory.
    """
    chrom, start, end = region
    widths = bin_widths(setting)
    coarse = [width for width in widths if width > 1]
    report = sys.stderr.isatty() and len(paths) * (end - start) > PROGRESS_BASES
    binned: list[list[np.ndarray]] = [[] for _ in paths]
    kept: dict[int, Runs] = {}

    def read(number: int) -> None:
        try:
            if 1 in widths or fills is not None:
                runs = read_runs(paths[number], chrom, start, end)
                policy = setting["nan"] if fills is None else fills[number]
                filled = fill_gaps(runs, start, policy)
                if 1 in widths:
                    kept[number] = filled
                binned[number] = [bin_runs(filled, start, end, width) for width in coarse]
            else:
                binned[number] = read_bins(paths[number], chrom, start, end, coarse, setting["nan"])
        except SignalError as error:
            raise SignalError(f"{paths[number]}: {chrom}:{start}-{end} {error}") from None
        if report:
            print(f"\rreading: {number + 1} of {len(paths)} tracks", end="", file=sys.stderr)

    run_threads(read, len(paths), threads)
    if report:
        print("\r\033[K", end="", file=sys.stderr, flush=True)
    dtype, transform = np.dtype(setting["dtype"]), setting["transform"]
    signals = []
    for width in widths:
        if width > 1:
            means = np.stack([rows[coarse.index(width)] for rows in binned])
            signals.append(bin_signal(means, end - start, width, transform, dtype))
        else:
            runs = [kept[i] for i in range(len(paths))]
            signals.append(join_runs(runs, start, end, transform, dtype, threads))
    return signals


def whole_region(
    paths: Sequence[str], chrom: str, start: int | None, end: int | None
) -> tuple[int, int]:
    """Fill in what is missing of a region: its chromosome's bounds in the tracks, which have it.

    Raises
    ------
    BigWigError
        A region that does not lie on the chromosome of every track.
    """
    lengths = [chromosomes(path)[chrom] for path in paths]
    start, end = start or 0, lengths[0] if end is None else end
    for path, length in zip(paths, lengths, strict=True):
        check_region(path, chrom, start, end, length)
    return start, end
