"""The quick library's functions in Python alone: where there is neither compiler nor NumPy.

`PlainKernels` has the functions of fast/fast.h, with their arguments and statuses; answers are
equal to rounding. Standard library only. A script carries it as text, compiled only where it is
needed.
"""

from __future__ import annotations

import ctypes
import os
import struct
import zlib
from typing import Any

from tuner_plugins.nmf.kernels.plain_factorize import Signal, factorize, scale_factor
from tuner_plugins.nmf.kernels.plain_read import File, Unusual, average, read_records

_OK, _UNUSUAL, _ABSENT = 0, 1, 2
_MOST_ROWS = 64


class PlainKernels:
    """What `load_kernels` returns, for callers of the quick library."""

    def tuner_quick_read(self, handle: int, size: Any, wanted: Any, covered: Any) -> int:
        """Average a track over bins; see fast/fast.h."""
        want = wanted[0]
        try:
            file = File(handle, size.value)
            found = read_records(file, want)
            if found is None:
                return _ABSENT
            for level in range(want.levels):
                width = want.widths[level]
                means = average(found, (want.start, want.end), width, want.fill_mean)
                row: Any = (ctypes.c_double * len(means)).from_address(want.means[level])
                row[0 : len(means)] = means
        except (Unusual, struct.error, zlib.error, OSError):
            return _UNUSUAL
        return _OK

    def tuner_quick_factorize(
        self, levels: Any, count: Any, asked: Any, weights: Any, loadings: Any
    ) -> int:
        """Factorise; see fast/fast.h."""
        setting = asked[0]
        if max(setting.k, levels[0].tracks) > _MOST_ROWS:
            return _UNUSUAL
        try:
            signals = [Signal(levels[i]) for i in range(count.value)]
            if setting.transform:
                for signal in signals:
                    signal.transform(setting.transform)
            for t in range(levels[0].tracks if setting.scaling else 0):
                factor = scale_factor(signals[0], t, setting.scaling)
                for signal in signals:
                    signal.rows[t] = [value / factor for value in signal.rows[t]]
            found, rows = factorize(signals, setting)
        except Unusual:
            return _UNUSUAL
        last = count.value - 1
        flat = [value for row in found for value in row]
        weights[0 : len(flat)] = flat
        out = (ctypes.c_double * (setting.k * levels[last].bins)).from_address(loadings[last])
        out[0 : len(out)] = [value for row in rows for value in row]
        return _OK

    def tuner_quick_write(  # noqa: PLR0913 - those of the C function
        self, handle: int, values: Any, k: Any, bins: Any, width: Any, size: Any, single: bool
    ) -> int:
        """Write loadings per base; see fast/fast.h."""
        rows = [values[at : at + bins.value] for at in range(0, len(values), bins.value)]
        pack = struct.Struct(f"{k.value}{'f' if single else 'd'}").pack
        left = size.value
        for column in zip(*rows):  # noqa: B905 - zip had no strict before Python 3.10
            block = pack(*column) * min(width.value, left)
            left -= width.value
            while block:
                block = block[os.write(handle, block) :]
        return _OK
