"""Responses of a model that follow from counts: log-normalised where they are used, not before.

They take as much memory as the counts again, and more in double precision; a resample of the cells
as much once more. Taking the logarithm takes less time than fitting.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from tuner_plugins.enet import Statistics, summarise, summarise_onto
from tuner_plugins.enet.validation import x_shift_of
from tuner_plugins.perturbseq.data.response import PER_10K

CELLS_AT_ONCE = 1024
"""Cells whose responses are held at once."""

GENES_AT_ONCE = 128
"""Genes whose responses are held at once."""


@dataclass(frozen=True)
class LogCounts:
    """log1p of counts per 10,000, of some cells and genes of a matrix of whole numbers.

    Attributes
    ----------
    counts : csr_matrix, (all cells, all genes)
        Not copied.
    sizes : ndarray, (all cells,)
    genes : ndarray of int, (genes,)
    cells : ndarray of int, (cells,)
        May come twice.

    Examples
    --------
    >>> counts = sparse.csr_matrix(np.array([[0.0, 1.0], [3.0, 0.0]]))
    >>> responses = LogCounts(counts, np.full(2, 1e4), np.arange(2), np.array([1, 1, 0]))
    >>> responses.shape, responses.toarray().round(2).tolist()
    ((3, 2), [[1.39, 0.0], [1.39, 0.0], [0.0, 0.69]])
    """

    counts: sparse.csr_matrix
    sizes: NDArray[np.float64]
    genes: NDArray[np.intp]
    cells: NDArray[np.intp]

    @property
    def shape(self) -> tuple[int, int]:
        """Cells and genes."""
        return len(self.cells), len(self.genes)

    def of_cells(self, rows: slice | NDArray[Any]) -> sparse.csr_matrix:
        """Return the responses of some cells, by number or mask."""
        cells = self.cells[rows]
        counts = self.counts[cells]
        if len(self.genes) < counts.shape[1]:
            counts = counts[:, self.genes]
        return self._logged(counts, cells)

    def of_genes(self, columns: slice) -> sparse.csr_matrix:
        """Return the responses of some genes."""
        counts = self.counts[:, self.genes[columns]][self.cells]
        return self._logged(counts, self.cells)

    def _logged(self, counts: sparse.csr_matrix, cells: NDArray[np.intp]) -> sparse.csr_matrix:
        data = counts.data * np.repeat(PER_10K / self.sizes[cells], np.diff(counts.indptr))
        np.log1p(data, out=data)
        return sparse.csr_matrix((data, counts.indices, counts.indptr), counts.shape)

    def toarray(self) -> NDArray[np.float64]:
        """Return all of them, (cells, genes)."""
        return np.asarray(self.of_cells(slice(None)).toarray())


def rows_of(responses: Any, rows: NDArray[Any]) -> Any:
    """Return the responses of some cells, by number or mask; those of counts stay as they are."""
    if isinstance(responses, LogCounts):
        return replace(responses, cells=responses.cells[rows])
    return responses[rows]


def matrix_of(responses: Any) -> Any:
    """Return responses as a matrix, (cells, genes)."""
    return responses.of_cells(slice(None)) if isinstance(responses, LogCounts) else responses


def column_blocks(responses: Any) -> Iterator[tuple[slice, sparse.csc_matrix]]:
    """Return responses, or covariates, in blocks of columns."""
    for start in range(0, responses.shape[1], GENES_AT_ONCE):
        here = slice(start, start + GENES_AT_ONCE)
        lazy = isinstance(responses, LogCounts)
        values = responses.of_genes(here) if lazy else responses[:, here]
        yield here, sparse.csc_matrix(values, dtype=np.float64)


def summed(
    columns: sparse.csr_matrix, responses: Any, folds: NDArray[np.int64] | None, threads: int
) -> Statistics:
    """Sum the statistics of cells, by fold or of all, see `tuner_plugins.enet.summarise`."""
    if not isinstance(responses, LogCounts):
        return summarise(columns, responses, folds, threads=threads)
    n_cells, n_genes = responses.shape
    labels = np.zeros(n_cells, dtype=np.int64) if folds is None else folds
    shape = int(labels.max(initial=0)) + 1, columns.shape[1] + 1
    found = Statistics(
        np.zeros((*shape, shape[1])),
        np.zeros((*shape, n_genes)),
        np.zeros((shape[0], n_genes)),
        x_shift_of(columns),
        np.zeros(n_genes),
    )
    for start in range(0, n_cells, CELLS_AT_ONCE):
        rows = slice(start, start + CELLS_AT_ONCE)
        block = responses.of_cells(rows)
        summarise_onto(found, columns[rows], block, labels[rows], threads=threads)
    return found
