"""Sufficient statistics of a linear model per fold: all that any fit or held-out score needs.

With Z = [1, X] the statistics are Z'Z, Z'Y and diag(Y'Y) for every fold. A training set is the
total minus its fold, so that the cost of a fit does not depend on the number of cells. X and Y are
shifted by provisional means before they are summed: without that the variance of a column is lost
in the square of its mean (Chan, Golub and LeVeque 1983, doi:10.1080/00031305.1983.10483115).
Statistics of blocks of cells, of files or of machines add up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import ArrayLike, NDArray

from tuner_plugins.enet.accumulate import Floats
from tuner_plugins.enet.blocks import add_cells
from tuner_plugins.enet.errors import DataError
from tuner_plugins.enet.validation import (
    fold_labels,
    matrix_of,
    x_shift_of,
    y_shift_of,
)


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
        return replace(
            self, gram=self.gram[keep], cross=self.cross[keep], squares=self.squares[keep]
        )

    def without_cells(self) -> Statistics:
        """Return the statistics of no cells at all."""
        return replace(
            self,
            gram=np.zeros_like(self.gram),
            cross=np.zeros_like(self.cross),
            squares=np.zeros_like(self.squares),
        )

    def total(self) -> Statistics:
        """Return the statistics of all cells, as one fold."""
        return replace(
            self,
            gram=self.gram.sum(axis=0, keepdims=True),
            cross=self.cross.sum(axis=0, keepdims=True),
            squares=self.squares.sum(axis=0, keepdims=True),
        )

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


def summarise(
    X: ArrayLike | sp.spmatrix | sp.sparray,
    Y: ArrayLike | sp.spmatrix | sp.sparray,
    folds: ArrayLike | None = None,
    n_folds: int | None = None,
    *,
    like: Statistics | None = None,
    threads: int = 1,
) -> Statistics:
    """Sum the statistics of a block of cells in one pass.

    Parameters
    ----------
    X : (cells, columns), dense or sparse
        Design and covariates, without an intercept column.
    Y : (cells, genes), dense or sparse
        Responses; a sparse Y is never densified.
    folds : (cells,), optional
        Fold of every cell, 0 to ``n_folds - 1``. One fold if not given.
    n_folds : int, optional
        Needed where a block may lack cells of the last fold.
    like : Statistics, optional
        Statistics of an earlier block, whose shifts are used: adding up is then exact.
    threads : int
        Threads to sum with; the result does not depend on it.

    Raises
    ------
    DataError
        Shapes that do not match, NaN, infinity or squares that overflow (beyond about 1e150),
        folds that are not 0 to ``n_folds - 1``.

    Examples
    --------
    >>> import numpy as np
    >>> from tuner_plugins.enet import summarise
    >>> X = np.repeat([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]], 4, axis=0)
    >>> Y = X @ [[1.0], [-2.0]]
    >>> summed = summarise(X, Y, folds=np.arange(12) % 2)
    >>> summed.cells, summed.gram.shape, summed.cross.shape
    (array([6., 6.]), (2, 3, 3), (2, 3, 1))
    """
    matrix, responses = matrix_of(X, "X"), matrix_of(Y, "Y")
    cells, columns = matrix.shape
    if responses.shape[0] != cells:
        raise DataError(
            f"X and Y must have one row a cell; X has {cells}, Y has {responses.shape[0]}"
        )
    labels = fold_labels(folds, cells, n_folds)
    count = int(n_folds or (labels.max(initial=0) + 1))
    if like is None:
        x_shift, y_shift = x_shift_of(matrix), y_shift_of(responses)
    else:
        x_shift, y_shift = like.x_shift, like.y_shift
        if sp.issparse(responses):
            y_shift = np.zeros_like(y_shift)
    genes = responses.shape[1]
    summed = Statistics(
        np.zeros((count, columns + 1, columns + 1)),
        np.zeros((count, columns + 1, genes)),
        np.zeros((count, genes)),
        x_shift,
        y_shift,
    )
    add_cells(summed, matrix, responses, labels, threads)
    return summed


def summarise_onto(
    summed: Statistics,
    X: ArrayLike | sp.spmatrix | sp.sparray,
    Y: ArrayLike | sp.spmatrix | sp.sparray,
    folds: ArrayLike | None = None,
    *,
    threads: int = 1,
) -> None:
    """Add a further block of cells to `summed`, in place: no second copy of the sums is made.

    Parameters are those of `summarise`; the shifts are those of `summed`, so that Y must be dense
    or sparse as it was there.

    Raises
    ------
    DataError
        As `summarise`, and where the block has other columns, genes or folds; what `summed` holds
        after values that are not finite is of no use.

    Examples
    --------
    >>> import numpy as np
    >>> from tuner_plugins.enet import summarise, summarise_onto
    >>> X = np.repeat([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]], 4, axis=0)
    >>> Y = X @ [[1.0], [-2.0]]
    >>> summed = summarise(X[:5], Y[:5])
    >>> summarise_onto(summed, X[5:], Y[5:])
    >>> summed.cells
    array([12.])
    """
    matrix, responses = matrix_of(X, "X"), matrix_of(Y, "Y")
    labels = fold_labels(folds, matrix.shape[0], summed.n_folds)
    shape = (matrix.shape[1], *responses.shape)
    if shape != (summed.n_columns, matrix.shape[0], summed.n_genes):
        raise DataError(
            f"a further block must have {summed.n_columns} columns, {summed.n_genes} genes and as "
            f"many rows in X as in Y; got X {matrix.shape}, Y {responses.shape}"
        )
    if sp.issparse(responses) and summed.y_shift.any():
        raise DataError("the first block of Y was dense, a further one is sparse; convert either")
    add_cells(summed, matrix, responses, labels, threads)


def _indices(keep: Sequence[int] | NDArray[Any], size: int) -> NDArray[np.intp]:
    chosen = np.asarray(keep)
    return np.arange(size)[chosen] if chosen.size else np.zeros(0, dtype=np.intp)


def _shape(summed: Statistics) -> str:
    return f"{summed.n_folds} folds x {summed.n_columns} columns x {summed.n_genes} genes"
