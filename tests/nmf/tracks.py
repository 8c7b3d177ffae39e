"""Small bigWig tracks with known structure, for the tests of this folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyBigWig
from tuner_plugins.nmf.io.bigwig import read_runs
from tuner_plugins.nmf.io.step_functions import Runs, bin_runs
from tuner_plugins.nmf.model.signal import fill_gaps

CHROM = "chr7"
LENGTH = 40_000


def expand_runs(runs: Runs, start: int) -> np.ndarray:
    """Return the value of a step function that begins at ``start`` at each of its bases."""
    return np.repeat(runs.values, np.diff(runs.ends, prepend=start))


def read_values(path: Path, chrom: str, start: int = 0, end: int | None = None) -> np.ndarray:
    """Read a region base by base, NaN where there is no data."""
    return expand_runs(read_runs(path, chrom, start, end), start)


def bin_carefully(
    path: Path | str, region: tuple[str, int, int], widths: list[int], policy: str = "zero"
) -> list[np.ndarray]:
    """Average a track over bins by way of its step function."""
    chrom, start, end = region
    runs = fill_gaps(read_runs(path, chrom, start, end), start, policy)
    return [bin_runs(runs, start, end, width) for width in widths]


def random_runs(rng: np.random.Generator, size: int, mean: float) -> tuple[np.ndarray, np.ndarray]:
    """Return ends and values of a step function over ``size`` bases, runs of ``mean`` bases."""
    count = max(1, int(size / mean))
    ends = np.unique(np.append(rng.integers(1, size, count), size))
    values = rng.negative_binomial(1, 0.3, ends.size).astype(np.float32)
    return ends, values


def write_bigwig(path: Path, ends: np.ndarray, values: np.ndarray, *, gaps: bool = False) -> None:
    """Write a step function from 0; with ``gaps``, zeros are left without data."""
    starts = np.concatenate([[0], ends[:-1]])
    keep = values != 0 if gaps else np.ones(len(values), bool)
    with pyBigWig.open(str(path), "w") as file:
        file.addHeader([("chr1", 1000), (CHROM, LENGTH)])
        file.addEntries(
            [CHROM] * int(keep.sum()),
            starts[keep].tolist(),
            ends=ends[keep].tolist(),
            values=values[keep].tolist(),
        )


def make_tracks(folder: Path, seed: int, tracks: int = 5, mean: float = 40) -> list[str]:
    """Write tracks that share two hidden step functions, half of them with gaps; return paths."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    position = np.arange(LENGTH)
    hidden = np.stack([(position // 7000) % 2, (position // 3000) % 3 == 1]).astype(float)
    paths = []
    for number in range(tracks):
        ends, noise = random_runs(rng, LENGTH, mean)
        middle = (np.concatenate([[0], ends[:-1]]) + ends) // 2
        signal = rng.uniform(0, 20, 2) @ hidden[:, middle]
        values = np.round(signal + noise).astype(np.float32)
        path = folder / f"track{number}.bw"
        write_bigwig(path, ends, values, gaps=number % 2 == 0)
        paths.append(str(path))
    return paths


def make_annotation(path: Path) -> None:
    """Write the first hidden step function of `make_tracks` as a 0/1 annotation."""
    ends = np.append(np.arange(7000, LENGTH, 7000), LENGTH)
    values = ((ends - 1) // 7000 % 2).astype(np.float32)
    write_bigwig(path, ends, values, gaps=True)
