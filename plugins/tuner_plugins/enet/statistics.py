"""Sufficient statistics of a linear model per fold: all that any fit or held-out score needs.

With Z = [1, X] the statistics are Z'Z, Z'Y and diag(Y'Y) for every fold. A training set is the
total minus its fold, so that the cost of a fit does not depend on the number of cells. X and Y are
shifted by provisional means before they are summed: without that the variance of a column is lost
in the square of its mean (Chan, Golub and LeVeque 1983, doi:10.1080/00031305.1983.10483115).
Statistics of blocks of cells, of files or of machines add up.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tuner_plugins.enet.arrays import Floats
from tuner_plugins.enet.validation import DataError


@dataclass(frozen=True)
class Statistics:
    """Z'Z, Z'Y and diag(Y'Y) of every fold, Z = [1, X - x_shift] and Y - y_shift.

    Attributes
    ----------
    gram : (folds, columns + 1, columns + 1)
        Z'Z; the first column is the intercept.
    cross : (folds, columns + 1, genes)
        Z'Y.
    squares : (folds, genes)
        Sums of squares of Y.
    x_shift, y_shift : (columns,), (genes,)
        What was subtracted; zero for columns that are mostly zero and for all of a sparse Y.
    """

    gram: Floats
    cross: Floats
    squares: Floats
    x_shift: Floats
    y_shift: Floats

    @property
    def n_folds(self) -> int:
        """Number of folds."""
        return int(self.gram.shape[0])

    @property
    def n_columns(self) -> int:
        """Number of columns of X."""
        return int(self.x_shift.size)

    @property
    def n_genes(self) -> int:
        """Number of columns of Y."""
        return int(self.y_shift.size)

    @property
    def cells(self) -> Floats:
        """Cells in each fold, (folds,)."""
        return self.gram[:, 0, 0]

    def __add__(self, other: Statistics) -> Statistics:
        """Return the statistics of both blocks of cells together, with this block's shifts."""
        if self.gram.shape != other.gram.shape or self.squares.shape != other.squares.shape:
            raise DataError(
                "statistics to add must have the same folds, columns and genes; got "
                f"{_shape(self)} and {_shape(other)}: accumulate both with the same n_folds"
            )
        moved = other.shifted(self.x_shift, self.y_shift)
        return replace(
            self,
            gram=self.gram + moved.gram,
            cross=self.cross + moved.cross,
            squares=self.squares + moved.squares,
        )

    def shifted(self, x_shift: Floats, y_shift: Floats) -> Statistics:
        """Return the same statistics about other shifts of X (columns,) and Y (genes,)."""
        by_x, by_y = x_shift - self.x_shift, y_shift - self.y_shift
        if not by_x.any() and not by_y.any():
            return self
        change = np.eye(self.n_columns + 1)
        change[0, 1:] = -by_x
        gram = change.T @ self.gram @ change
        squares = self.squares - 2 * by_y * self.cross[:, 0] + self.cells[:, None] * by_y**2
        cross = change.T @ self.cross - gram[:, :, :1] * by_y
        return Statistics(gram, cross, squares, x_shift, y_shift)

    def columns(self, keep: Sequence[int] | NDArray[Any]) -> Statistics:
        """Return the statistics of some columns of X, as indices or a mask."""
        index = _indices(keep, self.n_columns)
        if np.array_equal(index, np.arange(self.n_columns)):
            return self
        at = np.concatenate(([0], index + 1))
        return Statistics(
            np.ascontiguousarray(self.gram[:, at][:, :, at]),
            np.ascontiguousarray(self.cross[:, at]),
            self.squares,
            self.x_shift[index],
            self.y_shift,
        )

    def genes(self, keep: Sequence[int] | NDArray[Any]) -> Statistics:
        """Return the statistics of some genes, as indices or a mask."""
        index = _indices(keep, self.n_genes)
        return replace(
            self,
            cross=np.ascontiguousarray(self.cross[:, :, index]),
            squares=np.ascontiguousarray(self.squares[:, index]),
            y_shift=self.y_shift[index],
        )

    def folds(self, keep: slice | NDArray[Any]) -> Statistics:
        """Return the statistics of some folds."""
        return self._with_sums(lambda sums: sums[keep])

    def without_cells(self) -> Statistics:
        """Return the statistics of no cells at all."""
        return self._with_sums(np.zeros_like)

    def total(self) -> Statistics:
        """Return the statistics of all cells, as one fold."""
        return self._with_sums(lambda sums: sums.sum(axis=0, keepdims=True))

    def _with_sums(self, change: Callable[[Floats], Floats]) -> Statistics:
        gram, cross, squares = (change(sums) for sums in (self.gram, self.cross, self.squares))
        return replace(self, gram=gram, cross=cross, squares=squares)

    def training(self, keep: slice = slice(None)) -> Statistics:
        """Return the statistics of training sets: all cells but the fold's, of folds `keep`."""
        total, held = self.total(), self.folds(keep)
        return replace(
            self,
            gram=total.gram - held.gram,
            cross=total.cross - held.cross,
            squares=np.maximum(total.squares - held.squares, 0.0),
        )

    def total_sum_of_squares(self) -> Floats:
        """Return the held-out sums of squares about the training mean, (folds, genes)."""
        total = self.total()
        train = total.cells - self.cells
        return self.squares_about((total.cross[:, 0] - self.cross[:, 0]) / train[:, None])

    def squares_about(self, mean: Floats) -> Floats:
        """Return the sums of squares of Y - y_shift about `mean`; both (folds, genes)."""
        squares = self.squares - 2 * mean * self.cross[:, 0] + self.cells[:, None] * mean**2
        return np.asarray(np.maximum(squares, 0.0))

    def rescaled(self, x_scale: Floats, y_scale: Floats) -> Statistics:
        """Return the statistics of X / x_scale and Y / y_scale."""
        if (x_scale == 1.0).all() and (y_scale == 1.0).all():
            return self
        by_column = np.concatenate(([1.0], x_scale))
        return Statistics(
            self.gram / np.outer(by_column, by_column),
            self.cross / np.outer(by_column, y_scale),
            self.squares / y_scale**2,
            self.x_shift / x_scale,
            self.y_shift / y_scale,
        )

    def variances(self) -> tuple[Floats, Floats]:
        """Return those of X (columns,) and Y (genes,), of one fold; 0 if only rounding is left."""
        n, x = self.gram[0, 0, 0], self.gram[0].diagonal()[1:]
        of_x = _variance(x / n, self.gram[0, 0, 1:] / n)
        return of_x, _variance(self.squares[0] / n, self.cross[0, 0] / n)


def _variance(square: Floats, mean: Floats) -> Floats:
    variance = square - mean**2
    return np.where(variance > 1e-12 * square, variance, 0.0)


def _indices(keep: Sequence[int] | NDArray[Any], size: int) -> NDArray[np.intp]:
    chosen = np.asarray(keep)
    return np.arange(size)[chosen] if chosen.size else np.zeros(0, dtype=np.intp)


def _shape(summed: Statistics) -> str:
    return f"{summed.n_folds} folds x {summed.n_columns} columns x {summed.n_genes} genes"
