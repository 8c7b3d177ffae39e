"""The signals of chromosomes, one at a time, with what has to be known of all of them to use one.

Ranks, scaling and the mean that fills gaps are those of all bases of all chromosomes.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tuner_plugins.nmf.io.bigwig import read_runs
from tuner_plugins.nmf.io.regions import Place
from tuner_plugins.nmf.io.step_functions import run_lengths
from tuner_plugins.nmf.kernels.parallel import run_threads
from tuner_plugins.nmf.model.factorize import Signal
from tuner_plugins.nmf.model.signal import fill_gaps, scale_factors
from tuner_plugins.nmf.pipeline import check_range, read_signals

KEPT_BYTES = 1 << 30
"""Signals that are larger than this in all are read anew each time that they are gone through."""

_BATCH = 1 << 22
_REPORT_SECONDS = 10.0


class _Parts(Iterable[Signal]):
    """The signals of chromosomes, which may be gone through often: kept, or read anew."""

    def __init__(
        self,
        count: int,
        read: Callable[[int], Signal],
        keep: bool,
        watch: Callable[[int], None],
    ) -> None:
        self._count, self._read, self._keep, self._watch = count, read, keep, watch
        self._kept: dict[int, Signal] = {}

    def __iter__(self) -> Iterator[Signal]:
        for number in range(self._count):
            self._watch(number)
            signal = self._kept.get(number) or self._read(number)
            if self._keep:
                self._kept[number] = signal
            yield signal

    def change(self, how: Callable[[Signal], Signal]) -> _Parts:
        """Return the signals after a change; what was kept of those before it is let go."""
        changed = lambda number: how(self._take(number))  # noqa: E731
        return _Parts(self._count, changed, self._keep, self._watch)

    def _take(self, number: int) -> Signal:
        return self._kept.pop(number, None) or self._read(number)


class TrackReader:
    """Tracks over chromosomes, with what has to be known of all chromosomes to use one."""

    def __init__(
        self,
        paths: Sequence[str],
        places: Sequence[Place],
        setting: Mapping[str, Any],
        threads: int,
    ) -> None:
        self._paths, self._places, self._setting = paths, places, setting
        self._threads = threads
        self.size = sum(end - start for _, start, end in places)
        self.report = _Progress(places)
        self._fills = self._means() if setting["nan"] == "mean" else None

    def prepare(
        self, width: int, factors: NDArray[Any] | None
    ) -> tuple[_Parts, NDArray[Any] | None]:
        """Return the signals at a resolution, transformed and scaled; and what they are divided by.

        That is `factors`, or made from these signals where there are none.
        """
        setting = self._setting
        parts = _Parts(
            len(self._places), self._reader(width), self._may_keep(width), self.report.tell
        )
        if setting["transform"] == "rank":
            parts = self._ranked(parts)
        if setting["scaling"] != "none":
            factors = scale_factors(parts, setting["scaling"]) if factors is None else factors
            divisors = factors[:, None]
            parts = parts.change(lambda signal: signal.divide(divisors))
        if setting["dtype"] == "float32":
            for part in parts:
                check_range([part], setting["dtype"])
        return parts, factors

    def _may_keep(self, width: int) -> bool:
        bins = sum(-(-(end - start) // width) for _, start, end in self._places)
        return 8 * bins * len(self._paths) <= KEPT_BYTES

    def _reader(self, width: int) -> Callable[[int], Signal]:
        changed = {"resolution": width, "loadings_resolution": 0}
        if self._setting["transform"] == "rank":
            changed["transform"] = "none"  # type: ignore[assignment]
        setting = {**self._setting, **changed}

        def read(number: int) -> Signal:
            place = self._places[number]
            (signal,) = read_signals(self._paths, place, setting, self._threads, self._fills)
            return signal

        return read

    def _ranked(self, parts: _Parts) -> _Parts:
        """Return the signals as ranks among the bases of all chromosomes."""
        known = [_Distribution() for _ in self._paths]

        def add(part: Signal) -> None:
            lengths = run_lengths(part.ends)
            rows = part.values
            run_threads(lambda row: known[row].add(rows[row], lengths), len(rows), self._threads)

        def rank(part: Signal) -> Signal:
            values = np.empty(part.values.shape, part.dtype)

            def fill(row: int) -> None:
                values[row] = known[row].ranks(part.values[row])

            run_threads(fill, len(values), self._threads)
            return part._replace(values=values)

        for part in parts:
            add(part)
        return parts.change(rank)

    def _means(self) -> list[float]:
        """Return the mean of each track over the positions that have data."""
        sums = np.zeros((len(self._paths), 2))

        def add(number: int) -> None:
            for place in self._places:
                runs = read_runs(self._paths[number], *place)
                known = ~np.isnan(fill_gaps(runs, place[1]).values) & ~np.isnan(runs.values)
                lengths = np.diff(runs.ends, prepend=place[1])[known]
                total = runs.values[known].astype(float) @ lengths
                sums[number] += total, lengths.sum()

        run_threads(add, len(self._paths), self._threads)
        means: list[float] = (sums[:, 0] / np.maximum(sums[:, 1], 1)).tolist()
        return means


class _Distribution:
    """How many bases of a track lie below a value, in single precision: see `transform_values`."""

    def __init__(self) -> None:
        self._values: list[NDArray[Any]] = [np.empty(0, np.float32)]
        self._lengths: list[NDArray[Any]] = [np.empty(0)]
        self._below: NDArray[np.float64] = np.empty(0)

    def add(self, values: NDArray[Any], lengths: NDArray[np.int64]) -> None:
        """Count runs of these values and lengths."""
        self._values.append(values.astype(np.float32))
        self._lengths.append(lengths.astype(float))
        if sum(map(len, self._values[1:])) > max(_BATCH, len(self._values[0])):
            self._merge()

    def ranks(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """Return the fraction of all bases that have a lower value."""
        if len(self._values) > 1:
            self._merge()
        if not len(self._below):
            counts = np.cumsum(self._lengths[0])
            self._below = np.concatenate([[0.0], counts[:-1]]) / counts[-1]
        ranks: NDArray[np.float64] = self._below[
            np.searchsorted(self._values[0], values.astype(np.float32))
        ]
        return ranks

    def _merge(self) -> None:
        values, lengths = np.concatenate(self._values), np.concatenate(self._lengths)
        distinct, place = np.unique(values, return_inverse=True)
        self._values, self._lengths = [distinct], [np.bincount(place, lengths)]


class _Progress:
    """Reports on standard error where a pass is: at once to a person, else now and then."""

    def __init__(self, places: Sequence[Place]) -> None:
        self._places, self._passes, self._said = places, 0, time.monotonic()
        self._person = sys.stderr is not None and sys.stderr.isatty()

    def tell(self, number: int) -> None:
        """Report that a chromosome is begun."""
        self._passes += number == 0
        now = time.monotonic()
        if self._person or (sys.stderr is not None and now > self._said + _REPORT_SECONDS):
            self._said = now
            chrom, count = self._places[number][0], len(self._places)
            line = f"pass {self._passes}: {chrom} ({number + 1} of {count} chromosomes)"
            start, end = ("\r", "\033[K") if self._person else ("", "\n")
            print(start + line, end=end, file=sys.stderr, flush=True)

    def close(self) -> None:
        """Leave a terminal's line empty."""
        if self._person:
            print("\r\033[K", end="", file=sys.stderr, flush=True)
