"""Folds of cells: stratified, or leaving guides or batches out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import sparse

from tuner_plugins.perturbseq.data.labels import Design
from tuner_plugins.perturbseq.data.stored import CellsError, listed


def stratified_folds(
    groups: np.ndarray, batches: np.ndarray, n_folds: int, seed: int
) -> np.ndarray:
    """Deal the cells of each perturbation x batch to the folds in turn.

    A random split may leave a small group out of the training cells altogether; dealing keeps the
    sizes of each perturbation, of each stratum and of the folds within one cell of each other as
    far as they can be.

    Parameters
    ----------
    groups, batches : array, shape (cells,)
        Perturbation label and batch of each cell.
    n_folds : int
        At least two.
    seed : int
        Which cell of a stratum comes to which fold.

    Returns
    -------
    array of int, shape (cells,)
        Fold labels 0 .. n_folds - 1.

    Examples
    --------
    >>> groups, batches = np.repeat(["A", "B"], 4), np.repeat("b1", 8)
    >>> folds = stratified_folds(groups, batches, n_folds=2, seed=0)
    >>> pd.crosstab(groups, folds).to_numpy().tolist()
    [[2, 2], [2, 2]]
    """
    _require_folds(n_folds, len(groups))
    return deal((_codes(batches), _codes(groups)), n_folds, seed)


def deal(keys: Sequence[np.ndarray], n_folds: int, seed: int) -> np.ndarray:
    """Deal cells to folds in turn, sorted by the last of `keys` first and shuffled where alike."""
    n = len(keys[0])
    order = np.lexsort((np.random.default_rng(seed).permutation(n), *keys))
    folds = np.empty(n, dtype=np.int64)
    folds[order] = np.arange(n) % n_folds
    return folds


def unit_folds(units: np.ndarray, batches: np.ndarray, n_folds: int, seed: int) -> np.ndarray:
    """Deal the cells of each unit x batch to the folds in turn, the units in random order.

    The labels have no part in it, so that exchanging those of whole units changes no fold: what a
    permutation test of units needs to be exact. A unit has one perturbation, whose cells are
    balanced as well, within a cell for each of its units.

    Parameters
    ----------
    units : array of int, shape (cells,)
        0 .. units - 1.
    batches, n_folds, seed
        As in `stratified_folds`.

    Examples
    --------
    >>> folds = unit_folds(np.repeat([0, 1], 4), np.repeat("b1", 8), n_folds=2, seed=0)
    >>> np.bincount(folds[:4]).tolist(), np.bincount(folds[4:]).tolist()
    ([2, 2], [2, 2])
    """
    order = np.random.default_rng(seed).permutation(int(units.max()) + 1)
    return stratified_folds(order[units], batches, n_folds, seed)


def leave_guide_out_folds(
    groups: np.ndarray, guides: np.ndarray, n_folds: int, seed: int
) -> np.ndarray:
    """Hold out whole guides: the guides of each perturbation are dealt to the folds.

    What is predicted then is a guide never seen, from the other guides of its perturbation. A
    perturbation with one guide only is predicted by the covariates alone.

    Parameters
    ----------
    groups, guides : array, shape (cells,)
        Perturbation label and guide of each cell; control cells are dealt by guide as well.
    n_folds, seed : int
        As in `stratified_folds`.

    Examples
    --------
    >>> guides = np.array(["g1", "g1", "g2", "g2"])
    >>> folds = leave_guide_out_folds(np.repeat("A", 4), guides, n_folds=2, seed=0)
    >>> bool(folds[0] == folds[1] != folds[2] == folds[3])
    True
    """
    _require_folds(n_folds, len(groups))
    rng = np.random.default_rng(seed)
    pairs = pd.MultiIndex.from_arrays([_codes(groups), _codes(guides)])
    codes, uniques = pd.factorize(pairs, sort=True)
    shuffled = rng.permutation(len(uniques))
    order = np.lexsort((shuffled, uniques.get_level_values(0)))
    fold_of = np.empty(len(uniques), dtype=np.int64)
    fold_of[order] = np.arange(len(uniques)) % n_folds
    return _require_used(fold_of[codes], n_folds, "guides")


def leave_batch_out_folds(batches: np.ndarray, n_folds: int) -> np.ndarray:
    """Hold out whole batches: the largest remaining batch goes to the smallest fold.

    Parameters
    ----------
    batches : array, shape (cells,)
        Batch of each cell.
    n_folds : int
        Made smaller if there are fewer batches.

    Examples
    --------
    >>> leave_batch_out_folds(np.array(["b1", "b1", "b1", "b2", "b3", "b3"]), n_folds=2).tolist()
    [0, 0, 0, 1, 1, 1]
    """
    codes = _codes(batches)
    sizes = np.bincount(codes)
    if len(sizes) < 2:
        raise CellsError(
            "split leave_batch_out needs two batches or more, there is one; use stratified"
        )
    filled = np.zeros(min(n_folds, len(sizes)), dtype=np.int64)
    fold_of = np.empty(len(sizes), dtype=np.int64)
    for batch in np.argsort(-sizes, kind="stable"):
        fold_of[batch] = np.argmin(filled)
        filled[fold_of[batch]] += sizes[batch]
    return np.asarray(fold_of[codes])


def small_groups(design: Design, folds: np.ndarray) -> list[str]:
    """Flag columns that are missing from the training or held-out cells of some fold.

    Parameters
    ----------
    design : Design
        Its columns are judged: an additive one has cells of a perturbation in many groups.
    folds : array of int, shape (cells,)
        Fold of each cell, 0 .. n - 1.

    Returns
    -------
    list of str
        At most one line for each kind.

    Examples
    --------
    >>> from tuner_plugins.perturbseq.data.labels import Labels, read_design
    >>> obs = pd.DataFrame({"perturbation": ["A", "A", "B", "B", "control"]})
    >>> [note] = small_groups(read_design(obs, Labels()), np.array([0, 0, 0, 1, 1]))
    >>> print(note)
    these perturbations have cells in one fold only, which is predicted without them: 'A' (2 cells)
    """
    n_folds = int(folds.max()) + 1
    dealt = sparse.csr_matrix((np.ones(len(folds)), (np.arange(len(folds)), folds)))
    counts = (design.matrix.T @ dealt).toarray().astype(np.int64)
    empty, total = (counts == 0).sum(axis=1), counts.sum(axis=1)
    alone = empty == n_folds - 1
    few = (empty > 0) & ~alone
    cells = [f"{n} cell{'s' * (n != 1)}" for n in total.tolist()]
    notes = []
    if alone.any():
        shown = [f"'{design.names[at]}' ({cells[at]})" for at in np.flatnonzero(alone)]
        notes.append(
            "these perturbations have cells in one fold only, which is predicted without them: "
            f"{listed(shown, '')}"
        )
    if few.any():
        shown = [
            f"'{design.names[at]}' ({cells[at]}, none in {empty[at]} of {n_folds} folds)"
            for at in np.flatnonzero(few)
        ]
        notes.append(f"these perturbations have folds without a held-out cell: {listed(shown, '')}")
    return notes


def _codes(values: np.ndarray) -> np.ndarray:
    codes: np.ndarray = pd.factorize(pd.Series(values).astype(str), sort=True)[0]
    return codes


def _require_folds(n_folds: int, cells: int) -> None:
    if not 2 <= n_folds <= cells:
        raise CellsError(f"folds is {n_folds}; expected 2 to the number of cells ({cells})")


def _require_used(folds: np.ndarray, n_folds: int, what: str) -> np.ndarray:
    if len(np.unique(folds)) < n_folds:
        raise CellsError(
            f"there are fewer {what} than folds ({n_folds}); use fewer folds or stratified"
        )
    return folds
