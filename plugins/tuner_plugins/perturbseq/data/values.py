"""What the values of a matrix of cells x genes must be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from tuner_plugins.perturbseq.data.cell_matrix import Block, CellMatrix
from tuner_plugins.perturbseq.data.matrix import open_cells
from tuner_plugins.perturbseq.data.stored import CellsError, listed

WHOLE, FRACTIONAL, LOG1P = "counts", "fractional", "log1p"
"""What a matrix may hold: raw counts, corrected ones, or log1p of normalised ones."""

LARGEST_COUNT = float(2**53)

LARGEST_LOG = 25.0
"""Of log1p of normalised counts: a cell with 10 to the 10 in one gene is none."""

LARGEST_VALUE = 1e150
"""Of responses and covariates: their squares are summed."""

PEEKED = 512
"""So many cells of another layer show whether it holds counts."""


def require_counts(
    block: Block,
    cells: pd.Index,
    genes: pd.Index,
    what: CellMatrix,
    layers: Sequence[str] = (),
    *,
    whole: bool = True,
) -> None:
    """Raise unless every value is a finite number that is not negative, and whole by default.

    Parameters
    ----------
    block : csr_matrix or ndarray, shape (cells, genes)
        Values.
    cells, genes : Index
        Names of the rows and columns, for the message.
    what : CellMatrix
        Where they come from, for the message.
    layers : sequence of str
        Names that ``layer`` could be asked for, for the remedy.
    whole : bool
        False for counts that were corrected.

    Raises
    ------
    CellsError
        Naming the first value that is none.
    """
    good = _whole(block) if whole else _positive(block)
    if not good.all():
        value, name = _first_bad(block, good, cells, genes)
        found = layers_with_counts(what, layers)
        remedy = (
            f"which {listed(found)} holds (layer: {found[0]})"
            if found
            else "name the layer that holds them (layer)"
        )
        if _positive(block).all():
            remedy += (
                f", or say what these are (data.values): {FRACTIONAL} for counts corrected by "
                f"CellBender, SoupX or alevin, {LOG1P} for log-normalised ones"
            )
        elif not found:
            remedy += f"; to fit values of any kind as they are: response: {what.where}"
        raise CellsError(
            f"{what.origin}: {what.where} does not hold counts: {name} is {value:g}; expected "
            f"{'whole ' * whole}numbers >= 0, {remedy}"
        )


def require_logged(block: Block, cells: pd.Index, genes: pd.Index, what: CellMatrix) -> None:
    """Raise `CellsError` unless values may be log1p of normalised counts.

    Parameters as in `require_counts`.
    """
    values = _stored_values(block)
    good = _positive(block) & (values <= LARGEST_LOG)
    if not good.all():
        value, name = _first_bad(block, good, cells, genes)
        raise CellsError(
            f"{what.origin}: {what.where} does not hold log-normalised values: {name} is "
            f"{value:g}; expected 0 to {LARGEST_LOG:g}, name another layer (layer), or say what it "
            "holds (data.values)"
        )
    if values.any() and _whole(block).all():
        raise CellsError(
            f"{what.origin}: {what.where} holds whole numbers; expected log-normalised values, "
            f"leave data.values out if they are counts"
        )


def layers_with_counts(what: CellMatrix, layers: Sequence[str]) -> list[str]:
    """Return the other layers of a file whose first cells have counts."""
    what = what.parts[0] if what.parts else what
    if what.path is None:
        return []
    found = []
    for name in layers:
        try:
            matrix = open_cells(what.path, name, None, what.modality).matrix
            first = next(matrix.blocks(np.arange(min(PEEKED, matrix.shape[0])), PEEKED))[1]
        except (CellsError, StopIteration):
            continue
        if matrix.where != what.where and _whole(first).all():
            found.append(name)
    return found


def _whole(block: Block) -> np.ndarray:
    """Return which stored values are finite whole numbers that are not negative."""
    values = _stored_values(block)
    with np.errstate(invalid="ignore"):
        return np.asarray(_positive(block) & (values == np.floor(values)))


def _positive(block: Block) -> np.ndarray:
    """Return which stored values are finite and not negative."""
    values = _stored_values(block)
    with np.errstate(invalid="ignore"):
        return np.asarray((values >= 0) & (values < LARGEST_COUNT))


def require_finite(block: Block, cells: pd.Index, genes: pd.Index, what: CellMatrix) -> None:
    """Raise `CellsError` unless all values are finite and at most `LARGEST_VALUE` in size.

    Parameters as in `require_counts`.
    """
    good = np.abs(_stored_values(block)) <= LARGEST_VALUE  # NaN is not
    if not good.all():
        value, name = _first_bad(block, good, cells, genes)
        raise CellsError(
            f"{what.origin}: {what.where} holds {value:g} at {name}; expected finite values "
            f"of at most {LARGEST_VALUE:g}, remove, impute or rescale them"
        )


def _stored_values(block: Any) -> np.ndarray:
    return np.asarray(block.data if sparse.issparse(block) else block).reshape(-1)


def _first_bad(block: Any, good: np.ndarray, cells: pd.Index, genes: pd.Index) -> tuple[float, str]:
    """Return the first of the stored values that is not good, and its cell and gene."""
    position = int(np.argmin(good))
    if sparse.issparse(block):
        row = int(np.searchsorted(block.indptr, position, side="right")) - 1
        column = int(block.indices[position])
    else:
        row, column = divmod(position, block.shape[1])
    return float(_stored_values(block)[position]), f"cell '{cells[row]}', gene '{genes[column]}'"
