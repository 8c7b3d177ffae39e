"""The statistics of the same cells under other labels, from sums by label."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from tuner_plugins.enet import Statistics
from tuner_plugins.perturbseq.inference.kernels import permuted_cross

COLUMNS_AT_ONCE = 8
"""Columns that a thread sums before it takes the next ones."""


def sums_by_label(
    blocks: Iterable[tuple[slice, sparse.csc_matrix]],
    labels: NDArray[np.int32],
    n_groups: int,
    n_columns: int,
    threads: int,
) -> NDArray[np.float64]:
    """Sum rows by permuted labels, (permutations, groups, columns); columns among threads.

    The matrix, of so many columns, comes in blocks of them.
    """
    out = np.zeros((len(labels), n_groups, n_columns))
    turned = np.ascontiguousarray(labels.T)
    if n_groups < 2**16:
        turned = turned.astype(np.uint16)

    def piece(columns: sparse.csc_matrix, first: int, sums: NDArray[np.float64]) -> None:
        last = min(first + COLUMNS_AT_ONCE, columns.shape[1])
        indptr = columns.indptr[first : last + 1]
        permuted_cross(indptr, columns.indices, columns.data, turned, sums[:, :, first:last])

    with ThreadPoolExecutor(max(1, threads)) as pool:
        for here, columns in blocks:
            firsts = range(0, columns.shape[1], COLUMNS_AT_ONCE)
            list(pool.map(partial(piece, columns, sums=out[:, :, here]), firsts))
    return out


def with_unit_labels(
    sums: Statistics,
    design: np.ndarray,
    cells: np.ndarray,
    of_columns: np.ndarray,
    of_genes: np.ndarray,
) -> Statistics:
    """Return the statistics where units have other labels.

    Parameters
    ----------
    sums : Statistics
        Of the labels as they are.
    design : array, shape (units, perturbations)
        Row of the design that all cells of a unit get.
    cells : array, shape (folds, units)
        Number of cells.
    of_columns, of_genes : array, shape (folds, units, covariates), (folds, units, genes)
        Sums of covariates and of responses, not shifted.
    """
    k = design.shape[1]
    shift, gram = sums.x_shift[:k], sums.gram.copy()
    totals = cells @ design
    gram[:, 0, 1 : k + 1] = totals - sums.cells[:, None] * shift
    gram[:, 1 : k + 1, 0] = gram[:, 0, 1 : k + 1]
    crossed = totals[:, :, None] * shift
    gram[:, 1 : k + 1, 1 : k + 1] = (
        design.T @ (cells[:, :, None] * design)
        - crossed
        - crossed.transpose(0, 2, 1)
        + sums.cells[:, None, None] * np.outer(shift, shift)
    )
    return with_cross_sums(replace(sums, gram=gram), design.T @ of_columns, design.T @ of_genes)


def with_cross_sums(
    sums: Statistics, with_columns: np.ndarray, with_genes: np.ndarray
) -> Statistics:
    """Return the statistics where cells have other labels, as often and within their folds.

    Parameters
    ----------
    sums : Statistics
        Of the labels as they are.
    with_columns, with_genes : array, shape (folds, perturbations, covariates or genes)
        D'C and D'Y for the new design D, not shifted.
    """
    k = with_genes.shape[1]
    gram, cross = sums.gram.copy(), sums.cross.copy()
    cells = sums.cells
    # Z holds X - x_shift: D'1 is unchanged by a shuffle, and so is D'D
    shifts, column_shift = sums.x_shift[:k], sums.x_shift[k:]
    totals = gram[:, 0, 1 : k + 1] + cells[:, None] * shifts
    column_totals = gram[:, 0, k + 1 :]
    mixed = with_columns - totals[:, :, None] * column_shift
    mixed -= shifts[:, None] * column_totals[:, None, :]
    gram[:, 1 : k + 1, k + 1 :] = mixed
    gram[:, k + 1 :, 1 : k + 1] = mixed.transpose(0, 2, 1)
    cross[:, 1 : k + 1] = (
        with_genes - totals[:, :, None] * sums.y_shift - shifts[:, None] * cross[:, :1]
    )
    return replace(sums, gram=gram, cross=cross)
