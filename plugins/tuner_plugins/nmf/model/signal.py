"""Tracks as one signal: joint runs or bins of all tracks, transformed and scaled."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tuner_plugins.nmf.io.step_functions import Runs, bin_ends, run_lengths
from tuner_plugins.nmf.kernels.parallel import run_threads
from tuner_plugins.nmf.model.factorize import Signal, make_signal

TRANSFORMS = ("none", "log1p", "sqrt", "asinh", "rank")
SCALINGS = ("none", "max", "l2", "std")
NAN_POLICIES = ("zero", "mean")
_WORTH_COMPRESSING = 0.8


class SignalError(ValueError):
    """Tracks that cannot be factorised; the message is one line that says what to do."""


def fill_gaps(runs: Runs, start: int, policy: str | float = "zero") -> Runs:
    """Return a value to positions without data: 0, or the mean of the positions that have data.

    Parameters
    ----------
    runs : Runs
        Begins at `start`; NaN where there are no data.
    policy : {"zero", "mean"} or float
        A number is that value.

    Raises
    ------
    SignalError
        Where a value is infinite.
    """
    values = runs.values
    missing = np.isnan(values)
    if np.isinf(values).any():
        raise SignalError("holds infinite values; leave this track out or mend it")
    if not missing.any():
        return runs
    fill = policy if isinstance(policy, float) else 0.0
    if policy == "mean" and not missing.all():
        lengths = np.diff(runs.ends, prepend=start)[~missing]
        fill = np.dot(values[~missing].astype(float), lengths) / np.sum(lengths)
    filled = values.astype(float) if fill else values.copy()
    filled[missing] = fill
    return Runs(runs.ends, filled)


def transform_values(
    values: NDArray[Any], transform: str, lengths: NDArray[Any] | None = None
) -> NDArray[np.float64]:
    """Apply a variance-stabilising transform, odd in the signal, f(-x) = -f(x); or take ranks.

    Parameters
    ----------
    values : ndarray of shape (..., runs)
    transform : one of TRANSFORMS
        ``rank``: the fraction of a track's bases that have a lower value, in [0, 1). Values are
        compared in single precision, that of the files: averages that differ by rounding are equal.
    lengths : ndarray of shape (runs,), optional
        Bases in each run, for ``rank``; one each by default.

    Examples
    --------
    >>> transform_values(np.array([5.0, 0.0, 9.0, 5.0]), "rank", np.array([1, 7, 1, 1])).tolist()
    [0.7, 0.0, 0.9, 0.7]
    """
    if transform == "rank":
        lengths = np.ones(values.shape[-1]) if lengths is None else lengths
        return np.apply_along_axis(_rank, -1, values, lengths)
    values = np.asarray(values, dtype=float)
    if transform == "none":
        return values
    functions: Mapping[str, Callable[..., NDArray[np.float64]]]
    functions = {"log1p": np.log1p, "sqrt": np.sqrt, "asinh": np.arcsinh}
    transformed: NDArray[np.float64] = np.copysign(functions[transform](np.abs(values)), values)
    return transformed


def _rank(values: NDArray[Any], lengths: NDArray[Any]) -> NDArray[np.float64]:
    single = values.astype(np.float32)
    order = np.argsort(single)
    below = np.concatenate([[0.0], np.cumsum(lengths[order], dtype=float)])
    ranks: NDArray[np.float64] = below[np.searchsorted(single[order], single)] / below[-1]
    return ranks


def bin_signal(
    means: NDArray[Any], size: int, width: int, transform: str = "none", dtype: Any = np.float64
) -> Signal:
    """Make a signal of averages over bins; the transform applies to the averages.

    Parameters
    ----------
    means : ndarray of shape (tracks, bins)
        Average of each track over each bin, from `bin_runs`.
    size : int
        Bases in the region: the last bin may be shorter than the others.
    width : int
        Bases a bin.
    transform : one of TRANSFORMS
    dtype : {float64, float32}
        Of the signal, and of all that is computed from it.
    """
    ends = bin_ends(size, width)
    values = transform_values(means, transform, run_lengths(ends)).astype(dtype, copy=False)
    return make_signal(values, ends)


def join_runs(
    tracks: Sequence[Runs],
    start: int,
    end: int,
    transform: str = "none",
    dtype: Any = np.float64,
    threads: int = 1,
) -> Signal:
    """Cut the region wherever a track changes: what is between two cuts is constant in all.

    Where that leaves nearly as many runs as there are positions, every position is a run.

    Parameters
    ----------
    tracks : sequence of Runs
        Each over ``[start, end)``, without NaN.
    transform : one of TRANSFORMS
    dtype : {float64, float32}
        Of all that is computed from the signal.
    threads : int
        How many to use.
    """
    changes = np.zeros(end - start, dtype=bool)
    for runs in tracks:
        changes[runs.ends - (start + 1)] = True
    rank = None
    if np.count_nonzero(changes) <= _WORTH_COMPRESSING * changes.size:
        ends = np.flatnonzero(changes) + 1
        rank = np.cumsum(changes, dtype=np.int32)
    else:
        ends = np.arange(1, changes.size + 1)
    stored = transform == "none" and all(runs.values.dtype == np.float32 for runs in tracks)
    values = np.empty((len(tracks), ends.size), np.float32 if stored else dtype)

    def fill(row: int) -> None:
        runs = tracks[row]
        stops = runs.ends - start
        counts = np.diff(stops if rank is None else rank[stops - 1], prepend=0)
        level = runs.values
        if not stored:
            level = transform_values(level, transform, run_lengths(stops))
        values[row] = np.repeat(level, counts)

    run_threads(fill, len(tracks), threads)
    return make_signal(values, ends, dtype)


def scale_factors(parts: Iterable[Signal], scaling: str) -> NDArray[np.float64]:
    """Return what each track is divided by, of shape (tracks,), over all parts.

    `parts` are gone through twice.

    ``max``: its largest absolute value; ``l2``: its root mean square, so that the unit does not
    depend on the region's length; ``std``: its standard deviation. 1 for a track that is constant
    at 0, or under ``std`` at any value.
    """
    sums: list[tuple[NDArray[Any], ...]] = []
    for part in parts:
        means = part.values @ run_lengths(part.ends) if scaling == "std" else np.zeros(1)
        sums.append((np.max(np.abs(part.values), axis=1), means, part.ends[-1]))
    most, means, size = map(np.array, zip(*sums, strict=True))
    largest = np.max(most, axis=0)
    if scaling in ("none", "max"):
        factors = np.ones(len(largest)) if scaling == "none" else largest
    else:
        centre = np.broadcast_to(means.sum(axis=0) / size.sum(), len(largest))
        factors = np.sqrt(sum(_squares(part, centre) for part in parts) / size.sum())
    return np.where(factors > np.finfo(float).eps * largest, factors, 1.0)


def _squares(signal: Signal, centre: NDArray[Any]) -> NDArray[Any]:
    lengths, rows = run_lengths(signal.ends), zip(signal.values, centre, strict=True)
    return np.array([((row - mean) ** 2) @ lengths for row, mean in rows])
