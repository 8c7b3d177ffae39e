"""From X and Y to their statistics, in one pass over blocks of cells."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import ArrayLike

from tuner_plugins.enet.accumulate import Design, Sums, add_cells
from tuner_plugins.enet.arrays import Floats, Ints
from tuner_plugins.enet.sparse_rows import count_nonzero, pattern_keys, to_csr
from tuner_plugins.enet.statistics import Statistics
from tuner_plugins.enet.validation import (
    SPARSE_BELOW,
    DataError,
    fold_labels,
    matrix_of,
    x_shift_of,
    y_shift_of,
)

_BLOCK = 65_536


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
    _add_cells(summed, matrix, responses, labels, threads)
    return summed


def summarise_weighted(
    X: ArrayLike | sp.spmatrix | sp.sparray,
    Y: ArrayLike | sp.spmatrix | sp.sparray,
    weights: ArrayLike,
    *,
    threads: int = 1,
) -> Statistics:
    """Sum the statistics of weighted cells, as one fold: a weight of 2 is a cell that comes twice.

    The rows of Z = [1, X] and Y are multiplied by the roots of `weights`, (cells,), all >= 0.

    Examples
    --------
    >>> import numpy as np
    >>> summarise_weighted([[1.0], [3.0]], [[2.0], [4.0]], [1.0, 2.0]).cells
    array([3.])
    """
    matrix, responses = matrix_of(X, "X"), matrix_of(Y, "Y")
    roots = np.sqrt(np.asarray(weights, dtype=np.float64))[:, None]
    x_shift = np.zeros(matrix.shape[1]) if sp.issparse(matrix) else x_shift_of(matrix)
    y_shift = y_shift_of(responses)
    columns, genes = matrix.shape[1], responses.shape[1]
    unshifted = Statistics(
        np.zeros((1, columns + 2, columns + 2)),
        np.zeros((1, columns + 2, genes)),
        np.zeros((1, genes)),
        np.zeros(columns + 1),
        np.zeros(genes),
    )
    join = sp.hstack if sp.issparse(matrix) else np.hstack
    joined = join([roots, _times(roots, matrix, x_shift)])
    summed = summarise(joined, _times(roots, responses, y_shift), like=unshifted, threads=threads)
    # the first column counts rows; the next one, of roots, is that of the intercept
    gram, cross = summed.gram[:, 1:, 1:], summed.cross[:, 1:]
    return Statistics(gram, cross, summed.squares, x_shift, y_shift)


def _times(roots: Floats, values: Any, shift: Floats) -> Any:
    """Return the rows of values - shift times `roots`; what is sparse has no shift."""
    return sp.csr_array(values.multiply(roots)) if sp.issparse(values) else roots * (values - shift)


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
    _add_cells(summed, matrix, responses, labels, threads)


def _add_cells(summed: Statistics, matrix: Any, responses: Any, labels: Ints, threads: int) -> None:
    """Add checked cells to `summed`, in place."""
    for start in range(0, labels.size, _BLOCK):
        rows = slice(start, start + _BLOCK)
        _add_block(summed, matrix[rows], responses[rows], labels[rows], threads)
    _check_finite(summed)


def _add_block(summed: Statistics, matrix: Any, responses: Any, labels: Ints, threads: int) -> None:
    """Add a block of rows to `summed`, in place."""
    dense, dense_at, sparse = _split(matrix, summed)
    rows = np.lexsort((pattern_keys(sparse), labels))
    bounds = np.searchsorted(labels[rows], np.arange(summed.n_folds + 1)).astype(np.int64)
    for fold in range(summed.n_folds):
        _add_gram(summed.gram[fold], dense, dense_at, sparse, rows[bounds[fold] : bounds[fold + 1]])
    sums = Sums(summed.cross, summed.squares, summed.y_shift)
    add_cells(Design(dense, dense_at, sparse, rows, bounds), responses, sums, threads)


def _split(matrix: Any, summed: Statistics) -> tuple[Floats, Ints, sp.csr_array]:
    """Return the shifted dense columns, where they stand in Z, and the unshifted rest as CSR."""
    cells = max(1, matrix.shape[0])
    if sp.issparse(matrix):
        filled = np.bincount(matrix.indices, minlength=matrix.shape[1])
    else:
        filled = count_nonzero(matrix)
    is_dense = (summed.x_shift != 0) | (filled >= SPARSE_BELOW * cells)
    index, others = np.flatnonzero(is_dense), np.flatnonzero(~is_dense)
    chosen = matrix[:, index]
    chosen = chosen.toarray() if sp.issparse(chosen) else chosen
    dense = np.ones((matrix.shape[0], index.size + 1))
    dense[:, 1:] = chosen - summed.x_shift[index]
    if sp.issparse(matrix):
        rest = sp.csr_array(matrix, dtype=np.float64, copy=True)
        rest.data[is_dense[rest.indices]] = 0.0
        rest.sum_duplicates()
        rest.eliminate_zeros()
    else:
        rest = to_csr(matrix, others, int(filled[others].sum()))
    return dense, np.concatenate(([0], index + 1)).astype(np.int64), rest


def _add_gram(
    gram: Floats, dense: Floats, dense_at: Ints, sparse: sp.csr_array, rows: Ints
) -> None:
    """Add Z'Z of some rows to `gram`, in place; what overflows is refused once all is summed."""
    here, there = dense[rows], sparse[rows]
    with np.errstate(over="ignore", invalid="ignore"):
        gram[np.ix_(dense_at, dense_at)] += here.T @ here
    mixed = there.T @ here
    gram[1:, dense_at] += mixed
    gram[dense_at, 1:] += mixed.T
    product = (there.T @ there).tocoo()
    gram[product.coords[0] + 1, product.coords[1] + 1] += product.data


def _check_finite(summed: Statistics) -> None:
    """Raise where a NaN or an infinity has reached a sum, naming the columns."""
    diagonal = summed.gram.diagonal(axis1=1, axis2=2).sum(axis=0)[1:]
    for name, sums in (("X", diagonal), ("Y", summed.squares.sum(axis=0))):
        bad = np.flatnonzero(~np.isfinite(sums))
        if bad.size:
            shown = ", ".join(map(str, bad[:5])) + (", ..." if bad.size > 5 else "")
            raise DataError(
                f"{name} holds NaN, infinity or values whose squares overflow (beyond 1e150) in "
                f"{bad.size} column(s) ({shown}): remove, impute or rescale these values"
            )
