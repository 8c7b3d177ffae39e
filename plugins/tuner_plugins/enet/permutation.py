"""Statistics of shuffled perturbation labels, and full refits of them: a null for coefficients.

A shuffle changes D alone. The sums that hold no D (covariates, Y'Y) stay, and those that do are
group sums, which many shuffles share one reading of Y for.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy.sparse as sp
from numba import njit
from numpy.typing import ArrayLike, NDArray

from tuner_plugins.enet.accumulate import Floats, Ints
from tuner_plugins.enet.errors import DataError
from tuner_plugins.enet.path import fit
from tuner_plugins.enet.simd.lanes import add_labelled
from tuner_plugins.enet.simd.vector import LANES
from tuner_plugins.enet.statistics import Statistics, summarise

_TOGETHER = 16
"""Shuffles that share one reading of Y: their sums of a tile of genes should stay in cache."""


@njit(cache=True, nogil=True)
def _sum_labelled(sums: Floats, labels: Ints, values: Floats) -> None:
    """Overwrite `sums` (rows, LANES) by the sums of `values` (cells, LANES) by label."""
    for row in range(sums.shape[0]):
        for lane in range(LANES):
            sums[row, lane] = 0.0
    add_labelled(sums, labels, values, values.shape[0])


class Shuffles:
    """Statistics of the same cells with the rows of a one-hot design permuted.

    Parameters
    ----------
    X, Y : (cells, columns), (cells, genes)
        As they went into `summed`, dense or sparse.
    columns : (perturbations,)
        Which columns of X are the design whose rows are permuted: at most one 1 in a row.
    folds : (cells,), optional
        As they went into `summed`.
    summed : Statistics, optional
        Of the cells unshuffled; computed if not given.
    threads : int
        Threads over genes; the result does not depend on it.
    """

    def __init__(
        self,
        X: Any,
        Y: Any,
        columns: ArrayLike,
        folds: ArrayLike | None = None,
        *,
        summed: Statistics | None = None,
        threads: int = 1,
    ) -> None:
        self.summed = summarise(X, Y, folds, threads=threads) if summed is None else summed
        self.threads = threads
        self.columns = np.asarray(columns, dtype=np.int64)
        self._labels = _one_hot_labels(X, self.columns)
        cells = self._labels.size
        self._folds = np.zeros(cells, np.int64) if folds is None else np.asarray(folds, np.int64)
        others = np.setdiff1d(np.arange(self.summed.n_columns), self.columns)
        kept = X.tocsc()[:, others].toarray() if sp.issparse(X) else np.asarray(X)[:, others]
        # The other columns of Z are summed by label just as Y is.
        self._other_at = np.concatenate(([0], others + 1))
        fixed = np.column_stack((np.ones(cells), kept - self.summed.x_shift[others]))
        if self.summed.x_shift[self.columns].any():
            self.summed = self.summed.shifted(
                np.where(
                    np.isin(np.arange(self.summed.n_columns), self.columns),
                    0.0,
                    self.summed.x_shift,
                ),
                self.summed.y_shift,
            )
        self._tiles = _tiles(fixed, np.zeros(fixed.shape[1]))
        self._fixed_tiles = len(self._tiles)
        self._tiles += _tiles(Y, self.summed.y_shift)

    def statistics(self, orders: NDArray[np.integer[Any]]) -> Iterator[Statistics]:
        """Return the statistics with row i of the design taken from ``orders[b, i]``, for all b.

        Parameters
        ----------
        orders : (shuffles, cells)
            Permutations of the rows.
        """
        for start in range(0, len(orders), _TOGETHER):
            yield from self._some(np.asarray(orders[start : start + _TOGETHER]))

    def _some(self, orders: Ints) -> Iterator[Statistics]:
        k, n_folds = self.columns.size, self.summed.n_folds
        # One row of sums for each shuffle, fold and label; unlabelled cells go to the last label.
        rows = (k + 1) * n_folds
        labels = (
            self._labels[orders] + (k + 1) * self._folds + rows * np.arange(len(orders))[:, None]
        )
        labels = np.ascontiguousarray(labels.T)

        def work(tile: Floats) -> Floats:
            sums = np.empty((rows * len(orders), LANES))
            _sum_labelled(sums, labels, tile)
            return sums.reshape(len(orders), n_folds, k + 1, LANES)[:, :, :k]

        with ThreadPoolExecutor(self.threads) as pool:
            sums = list(pool.map(work, self._tiles))
        fixed = np.concatenate(sums[: self._fixed_tiles], axis=3)[..., : self._other_at.size]
        genes = sums[self._fixed_tiles :]
        for at in range(len(orders)):
            cross = np.concatenate([part[at] for part in genes], axis=2)
            yield self._replaced(fixed[at], cross[..., : self.summed.n_genes])

    def _replaced(self, mixed: Floats, cross: Floats) -> Statistics:
        """Put D'[1, C] (folds, k, others) and D'Y (folds, k, genes) in the place of the old."""
        own = self.columns + 1
        gram, all_cross = self.summed.gram.copy(), self.summed.cross.copy()
        gram[:, own[:, None], own] = 0.0
        gram[:, own, own] = mixed[:, :, 0]
        gram[:, own[:, None], self._other_at] = mixed
        gram[:, self._other_at[:, None], own] = mixed.transpose(0, 2, 1)
        all_cross[:, own] = cross
        return replace(self.summed, gram=gram, cross=all_cross)


@dataclass(frozen=True)
class PermutationTest:
    """How often shuffled labels gave a coefficient at least as large.

    Attributes
    ----------
    coef : (genes, perturbations)
        Observed coefficients.
    exceeded : (genes, perturbations)
        Shuffles whose coefficient was at least as far from zero.
    shuffles : int
        How many there were.
    """

    coef: Floats
    exceeded: NDArray[np.int64]
    shuffles: int

    @property
    def p_values(self) -> Floats:
        """Two-sided, (exceeded + 1) / (shuffles + 1): never zero (Phipson and Smyth 2010).

        doi:10.2202/1544-6115.1585; (genes, perturbations). 1 where the coefficient is 0.
        """
        return np.asarray((self.exceeded + 1.0) / (self.shuffles + 1.0))


def permutation_test(
    shuffles: Shuffles,
    orders: NDArray[np.integer[Any]],
    alpha: float,
    l1_ratio: float,
    penalty_factor: ArrayLike | None = None,
) -> PermutationTest:
    """Refit every shuffle in full, and count how often it beats the observed coefficients.

    Parameters
    ----------
    shuffles
        The cells.
    orders : (shuffles, cells)
        Permutations of the rows of the design, see `permutations_within`.
    alpha, l1_ratio, penalty_factor
        As in `fit`.
    """
    columns, threads = shuffles.columns, shuffles.threads
    observed = fit(shuffles.summed, alpha, l1_ratio, penalty_factor, threads=threads).coef
    observed = observed[:, columns]
    exceeded = np.zeros(observed.shape, dtype=np.int64)
    for summed in shuffles.statistics(orders):
        null = fit(summed, alpha, l1_ratio, penalty_factor, threads=threads).coef[:, columns]
        exceeded += np.abs(null) >= np.abs(observed)
    return PermutationTest(observed, exceeded, len(orders))


def permutations_within(strata: ArrayLike, count: int, seed: int) -> Ints:
    """Draw permutations that only exchange cells of one stratum (a batch), (count, cells)."""
    _, groups = np.unique(np.asarray(strata), return_inverse=True)
    members = [np.flatnonzero(groups == group) for group in range(groups.max(initial=-1) + 1)]
    rng = np.random.default_rng(seed)
    orders = np.empty((count, groups.size), dtype=np.int64)
    for order in orders:
        for cells in members:
            order[cells] = rng.permutation(cells)
    return orders


def _one_hot_labels(X: Any, columns: Ints) -> Ints:
    """Return the column that is 1 in every row; the number of columns where there is none."""
    design = sp.csr_array(X.tocsc()[:, columns] if sp.issparse(X) else np.asarray(X)[:, columns])
    design.eliminate_zeros()
    filled = np.diff(design.indptr)
    if (filled > 1).any() or (design.data != 1).any():
        raise DataError(
            "the columns to shuffle must be one-hot (at most a single 1 in a row); "
            f"{int((filled > 1).sum())} row(s) have several non-zeros: for other designs permute "
            "the rows of X and summarise it again"
        )
    labels = np.full(design.shape[0], columns.size, dtype=np.int64)
    labels[filled == 1] = design.indices
    return labels


def _tiles(values: Any, shift: Floats) -> list[Floats]:
    """Split columns into shifted blocks of (cells, LANES), padded by zeros."""
    columns = values.tocsc() if sp.issparse(values) else values
    blocks = []
    for low in range(0, values.shape[1], LANES):
        part = columns[:, low : low + LANES]
        part = part.toarray() if sp.issparse(part) else np.asarray(part)
        block = np.zeros((part.shape[0], LANES))
        block[:, : part.shape[1]] = part - shift[low : low + LANES]
        blocks.append(block)
    return blocks
