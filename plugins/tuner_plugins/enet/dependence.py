"""Which columns depend on others, in plain NumPy: a stand-alone script carries this module."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

DEPENDENT = 1e-11
"""Share of a column's square that is rounding where others explain it."""


def independent(gram: NDArray[np.float64]) -> NDArray[np.intp]:
    """Return the columns that don't depend on the columns before them, from their Gram matrix."""
    units = np.sqrt(np.maximum(gram.diagonal(), 0.0))
    keep: list[int] = []
    rows = np.zeros((0, gram.shape[0]))
    for column in range(gram.shape[0]):
        if units[column] == 0.0:
            continue
        scaled = gram[column] / units[column]
        scaled = np.divide(scaled, units, out=np.zeros_like(scaled), where=units > 0)
        row = scaled - rows[:, column] @ rows
        if row[column] > DEPENDENT:
            keep.append(column)
            rows = np.vstack((rows, row / np.sqrt(row[column])))
    return np.asarray(keep, dtype=np.intp)
