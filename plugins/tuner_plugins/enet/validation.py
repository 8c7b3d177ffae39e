"""Check and convert what users pass, and choose the provisional means that sums are taken about."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import ArrayLike

from tuner_plugins.enet.arrays import Floats, Ints

SPARSE_BELOW = 0.5
"""Columns of X with fewer non-zeros than this share are kept as sparse and never shifted."""

_SAMPLE = 512


class DataError(ValueError):
    """Input that cannot be fitted: one line that says what was expected, what came, what to do."""


def x_shift_of(matrix: Any) -> Floats:
    """Return the provisional means of the columns; 0 for those that are mostly zero."""
    cells = matrix.shape[0]
    sample = matrix[:: max(1, cells // _SAMPLE)]
    sample = sample.toarray() if sp.issparse(sample) else np.asarray(sample)
    sample = sample.astype(np.float64)
    filled = (sample != 0).mean(axis=0) if cells else np.zeros(matrix.shape[1])
    binary = np.isin(sample, (0.0, 1.0)).all(axis=0)
    shift = provisional_mean(sample)
    shift[(filled < SPARSE_BELOW) | (binary & (filled < 1.0))] = 0.0
    return shift


def y_shift_of(responses: Any) -> Floats:
    """Return the provisional means of Y: zero if it is sparse, which a shift would make dense."""
    cells, genes = responses.shape
    if sp.issparse(responses) or not cells:
        return np.zeros(genes)
    return provisional_mean(responses[:: max(1, cells // _SAMPLE)].astype(np.float64))


def provisional_mean(sample: Floats) -> Floats:
    """Return the column means; exactly the value where a column is constant; 0 if not finite."""
    if not sample.shape[0]:
        return np.zeros(sample.shape[1])
    low, high = sample.min(axis=0), sample.max(axis=0)
    with np.errstate(invalid="ignore", over="ignore"):
        mean = np.where(low == high, low, sample.mean(axis=0))
    return np.where(np.isfinite(mean), mean, 0.0)


def matrix_of(values: Any, name: str) -> Any:
    """Return a C-ordered real array or a canonical CSR matrix, or raise `DataError`."""
    if sp.issparse(values):
        matrix = values.tocsr()
        if not matrix.has_canonical_format:
            matrix = matrix.copy()
            matrix.sum_duplicates()
        return matrix if matrix.dtype.kind == "f" else matrix.astype(np.float64)
    array = np.asarray(values)
    if array.ndim != 2:
        raise DataError(f"{name} must have two dimensions (cells, columns), got {array.ndim}")
    if array.dtype.kind not in "fiub":
        raise DataError(f"{name} must hold real numbers, got dtype {array.dtype}")
    if array.dtype not in (np.float32, np.float64):
        array = array.astype(np.float64)
    return np.ascontiguousarray(array)


def fold_labels(folds: ArrayLike | None, cells: int, n_folds: int | None) -> Ints:
    """Return the fold of every cell as checked integers."""
    if folds is None:
        return np.zeros(cells, dtype=np.int64)
    labels = np.asarray(folds)
    if labels.shape != (cells,) or labels.dtype.kind not in "iub":
        raise DataError(
            f"folds must be {cells} integers, one a cell; got shape {labels.shape} of "
            f"{labels.dtype}"
        )
    labels = labels.astype(np.int64)
    if cells and (labels.min() < 0 or (n_folds is not None and labels.max() >= n_folds)):
        raise DataError(
            f"folds must be numbered from 0 to n_folds - 1; got {labels.min()} to {labels.max()}"
            f" with n_folds = {n_folds}"
        )
    return labels


def fold_numbers(folds: ArrayLike) -> Ints:
    """Return fold labels as numbers 0, 1, ... in sorted order; raise if they are not integers."""
    labels = np.asarray(folds)
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise DataError(
            f"folds must be one integer label a cell; got shape {labels.shape} of {labels.dtype}"
        )
    return np.unique(labels, return_inverse=True)[1].astype(np.int64)
