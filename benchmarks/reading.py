"""Readers of bigWig files side by side: ``python -m benchmarks.reading [--json FILE]``.

Simulated pile-up tracks are read over one region by pyBigWig (base by base, and as intervals), by
pybigtools where it is installed, and by this project's reader with one and two threads. Rounds are
interleaved, so that a busy machine slows all readers alike; ratios are taken within a round.
Processor time is given beside wall time, because a busy machine disturbs it less.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyBigWig
from tuner_plugins.nmf.io.bigwig import read_runs
from tuner_plugins.nmf.io.step_functions import Runs, bin_runs
from tuner_plugins.nmf.io.tracks import list_tracks
from tuner_plugins.nmf.kernels.build import load_kernels
from tuner_plugins.nmf.kernels.fast_path import quick_bins
from tuner_plugins.nmf.kernels.parallel import run_threads
from tuner_plugins.nmf.model.signal import fill_gaps
from tuner_plugins.nmf.simulate.tracks import simulate_tracks

try:
    import pybigtools
except ImportError:
    pybigtools = None

CHROM, LENGTH, START = "chr10", 135_374_737, 1_000_000
BIN = 1000
Reader = Callable[[list[Path], int], object]


def _pybigwig_values(paths: list[Path], end: int) -> list[np.ndarray]:
    found = []
    for path in paths:
        with pyBigWig.open(str(path)) as file:
            found.append(file.values(CHROM, START, end, numpy=True))
    return found


def _pybigwig_intervals(paths: list[Path], end: int) -> list[tuple[tuple[int, int, float], ...]]:
    found = []
    for path in paths:
        with pyBigWig.open(str(path)) as file:
            found.append(file.intervals(CHROM, START, end))
    return found


def _pybigtools_values(paths: list[Path], end: int) -> list[np.ndarray]:
    return [pybigtools.open(str(path)).values(CHROM, START, end, fillna=None) for path in paths]


def _pybigtools_intervals(paths: list[Path], end: int) -> list[list[tuple[int, int, float]]]:
    return [list(pybigtools.open(str(path)).records(CHROM, START, end)) for path in paths]


def _own_values(paths: list[Path], end: int) -> list[np.ndarray]:
    found = []
    for runs in _own_runs(paths, end):
        found.append(np.repeat(runs.values, np.diff(runs.ends, prepend=START)))
    return found


def _own_runs(paths: list[Path], end: int, threads: int = 1) -> list[Runs]:
    found: dict[int, Runs] = {}

    def read(number: int) -> None:
        found[number] = read_runs(paths[number], CHROM, START, end)

    run_threads(read, len(paths), threads)
    return [found[number] for number in range(len(paths))]


def _own_runs_threaded(paths: list[Path], end: int) -> list[Runs]:
    return _own_runs(paths, end, threads=2)


def _own_bins(paths: list[Path], end: int) -> list[np.ndarray]:
    return [
        np.log1p(bin_runs(fill_gaps(runs, START), START, end, BIN))
        for runs in _own_runs(paths, end)
    ]


def _quick_bins(paths: list[Path], end: int) -> list[np.ndarray]:
    rows = [np.zeros(-(-(end - START) // BIN)) for _ in paths]
    for path, row in zip(paths, rows, strict=True):
        if not quick_bins(str(path), (CHROM, START, end), [BIN], "zero", [row.ctypes.data]):
            raise AssertionError(f"{path}: left to the careful reader")
    return rows


def _readers() -> dict[str, Reader]:
    readers: dict[str, Reader] = {
        "pyBigWig, every base": _pybigwig_values,
        "pyBigWig, intervals": _pybigwig_intervals,
    }
    if pybigtools is None:
        print("pybigtools is not installed (pip install pybigtools): left out")
    else:
        readers["pybigtools, every base"] = _pybigtools_values
        readers["pybigtools, intervals"] = _pybigtools_intervals
    readers["own, every base"] = _own_values
    readers["own, runs"] = _own_runs
    readers["own, runs, two threads"] = _own_runs_threaded
    readers[f"own, log1p of means of {BIN} bases"] = _own_bins
    if load_kernels(quick=True) is not None:
        readers[f"quick path, means of {BIN} bases"] = _quick_bins
    return readers


def _check_agreement(paths: list[Path], end: int) -> None:
    """Refuse to time readers that read different things."""
    expected, own = _pybigwig_values(paths, end), _own_values(paths, end)
    for path, theirs, ours in zip(paths, expected, own, strict=True):
        if not np.array_equal(theirs, ours, equal_nan=True):
            raise AssertionError(f"{path}: readers disagree")


def measure(length: int, tracks: int, rounds: int, folder: Path) -> list[dict[str, object]]:
    """Time every reader `rounds` times in turn; return its median and its ratio to the first."""
    end = START + length
    simulate_tracks(folder, seed=1, tracks=tracks, layout={CHROM: (LENGTH, START, end)})
    paths = list_tracks(folder / "tracks")[0]
    _check_agreement(paths, end)
    readers = _readers()
    seconds: dict[str, list[float]] = {name: [] for name in readers}
    cpu: dict[str, list[float]] = {name: [] for name in readers}
    for _ in range(rounds):
        for name, read in readers.items():
            begin, begin_cpu = time.perf_counter(), time.process_time()
            read(paths, end)
            seconds[name].append(time.perf_counter() - begin)
            cpu[name].append(time.process_time() - begin_cpu)
    reference = next(iter(readers))
    return [
        {
            "reader": name,
            "seconds": statistics.median(seconds[name]),
            "cpu_seconds": statistics.median(cpu[name]),
            "times_faster": _median_ratio(seconds[reference], seconds[name]),
            "times_less_cpu": _median_ratio(cpu[reference], cpu[name]),
        }
        for name in readers
    ]


def _median_ratio(ours: list[float], theirs: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))


def main() -> None:
    """Simulate, measure, print a table, write it as JSON if asked."""
    parser = argparse.ArgumentParser(description="readers of bigWig files side by side")
    parser.add_argument("--length", type=int, default=10_000_000, help="bases to read")
    parser.add_argument("--tracks", type=int, default=13)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(options.length, options.tracks, options.rounds, Path(folder))
    print(f"{options.tracks} tracks, {options.length:,} bases, median of {options.rounds} rounds")
    print(f"{'reader':32}{'seconds':>10}{'cpu':>10}{'x faster':>10}{'x less cpu':>12}")
    for row in rows:
        print(
            f"{row['reader']:32}{row['seconds']:10.3f}{row['cpu_seconds']:10.3f}"
            f"{row['times_faster']:10.1f}{row['times_less_cpu']:12.1f}"
        )
    if options.json:
        temporary = options.json.with_name(f".{options.json.name}.{os.getpid()}")
        temporary.write_text(json.dumps({**_settings(options), "rows": rows}, indent=1) + "\n")
        os.replace(temporary, options.json)


def _settings(options: argparse.Namespace) -> dict[str, object]:
    return {key: getattr(options, key) for key in ("length", "tracks", "rounds")}


if __name__ == "__main__":
    main()
