"""How blocks of counts become X and Y: everything that is learnt, is learnt from training cells.

A cell-cycle score is a weighted sum of genes whose weights are learnt: every fold has its own
version of that column, and one more stands for the fit to all cells.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from tuner_plugins.perturbseq.data.cell_cycle import score_weights
from tuner_plugins.perturbseq.data.covariates import TOTAL, count_covariate, numbers_of, row_sums
from tuner_plugins.perturbseq.data.labels import column_of
from tuner_plugins.perturbseq.data.response import (
    PER_10K,
    Moments,
    choose_genes,
    log1p_10k,
    per_10k,
    require_sizes,
)
from tuner_plugins.perturbseq.data.screen import LOG, Screen, count_blocks, paired_blocks
from tuner_plugins.perturbseq.data.stored import CellsError
from tuner_plugins.perturbseq.data.values import LOG1P

ROUNDING = 1e-3
"""Share of a cell's counts that its size factor may lack: half precision has 11 bits."""


@dataclass(frozen=True)
class Transform:
    """What the first pass over the cells has learnt.

    A *version* is what one fit may know: one for each fold, the fit that does not see it, and the
    last for the fit to all cells; only this one where there is one fold.

    Attributes
    ----------
    sizes : array, shape (cells,)
        Size factors; ones where none are needed.
    totals : array, shape (cells,)
        Counts of the cells in the matrix; empty where counts are not needed.
    prints : array, shape (cells,)
        A number that cells share where all their counts are the same; empty where counts are not
        needed.
    scores : array, shape (genes, versions * scores)
        Weights of the cell-cycle scores, all scores of the first version first.
    kept : array of int
        Genes that any version fits.
    responses : Index
        Names of these, and of the further responses.
    columns : list of arrays of int
        Columns of X of each version: perturbations, then covariates in order of their names.
    chosen : list of arrays of bool
        Responses of each version.
    """

    sizes: np.ndarray
    totals: np.ndarray
    prints: np.ndarray
    scores: np.ndarray
    kept: np.ndarray
    responses: pd.Index
    columns: list[np.ndarray]
    chosen: list[np.ndarray]


def learn(screen: Screen, folds: np.ndarray) -> tuple[Screen, Transform]:
    """Pass over the cells once: size factors, covariates from counts, choice of genes, scores.

    Parameters
    ----------
    screen : Screen
        From `open_screen`.
    folds : array of int, shape (cells,)
        Fold of each cell, 0 .. n - 1; all zero for the fit to all cells alone.

    Returns
    -------
    Screen
        The same with complete covariates.
    Transform
        What was learnt.

    Raises
    ------
    CellsError
        Counts that are none, empty cells, no gene left.
    """
    moments, screen, sizes, (totals, prints) = _first_pass(screen, folds, int(folds.max()) + 1)
    training = _training(moments)
    genes = screen.counts.genes
    masks = [
        choose_genes(part, genes, screen.recipe.genes, screen.counts.symbols) for part in training
    ]
    kept = np.flatnonzero(np.any(masks, axis=0))
    further = list(screen.recipe.y_obs)
    return screen, Transform(
        sizes,
        totals,
        prints,
        _score_versions(screen, training),
        kept,
        genes[kept].append(pd.Index(further, dtype=object)),
        [_columns_of(screen, version) for version in range(len(training))],
        [np.concatenate([mask[kept], np.ones(len(further), dtype=bool)]) for mask in masks],
    )


def blocks(
    screen: Screen, transform: Transform
) -> Iterator[tuple[slice, sparse.csr_matrix, sparse.csr_matrix | np.ndarray]]:
    """Return X and Y in blocks of cells, X with the columns of all versions.

    Yields
    ------
    slice
        Which cells.
    X : csr_matrix, shape (cells, columns)
        Perturbations, covariates, all versions of the scores.
    Y : csr_matrix or ndarray, shape (cells, responses)
        Responses.
    """
    scored = list(screen.covariates.scored.values())
    fixed = np.delete(screen.covariates.values, scored, axis=1)
    for where, counts, layer in paired_blocks(screen):
        logged = None
        if counts is not None and (scored or screen.recipe.response == LOG):
            logged = log1p_10k(per_10k(counts, transform.sizes[where]))
        parts = [screen.design.matrix[where], sparse.csr_matrix(fixed[where])]
        if logged is not None and scored:
            parts.append(sparse.csr_matrix(logged @ transform.scores))
        values: Any = layer
        if values is None:
            values = logged if screen.recipe.response == LOG else counts
        Y = _joined(values[:, transform.kept], screen.extra[where])
        yield where, sparse.csr_matrix(sparse.hstack(parts, format="csr")), Y


def _joined(
    values: sparse.csr_matrix | np.ndarray, extra: np.ndarray
) -> sparse.csr_matrix | np.ndarray:
    if not extra.shape[1]:
        return values
    if sparse.issparse(values):
        return sparse.csr_matrix(sparse.hstack([values, sparse.csr_matrix(extra)], format="csr"))
    return np.hstack([values, extra])


def _first_pass(
    screen: Screen, folds: np.ndarray, n_folds: int
) -> tuple[list[Moments], Screen, np.ndarray, np.ndarray]:
    """Sum moments by fold; fill the covariates from counts; return size factors too.

    The last of what is returned has the totals and the prints of the cells, shape (2, cells).
    """
    genes = len(screen.counts.genes)
    moments = [Moments(genes) for _ in range(n_folds)]
    sizes = np.ones(len(screen.obs))
    if not screen.needs_counts:
        for fold, part in enumerate(moments):
            part.cells = int((folds == fold).sum())
        return moments, screen, sizes, np.empty((2, 0))
    name, given = screen.recipe.size_factor, _given_sizes(screen)
    sizes = sizes if given is None else given
    covariates = screen.covariates
    values = covariates.values.copy()
    totals, prints = sums = np.empty((2, len(sizes)))
    weights = np.random.default_rng(0).random(genes)  # rows that differ have other sums
    for where, counts in count_blocks(screen, checked=True):
        totals[where], prints[where] = row_sums(counts), counts @ weights
        if given is None:
            sizes[where] = totals[where]
        require_sizes(sizes[where], screen.obs.index[where], name)
        for column, number in covariates.counted.items():
            values[where, number] = count_covariate(column, counts, covariates.mitochondrial)
        linear = per_10k(counts, sizes[where])
        for fold, part in enumerate(moments):
            part.add(linear[folds[where] == fold])
    _require_totals(screen, sizes, totals)
    return moments, replace(screen, covariates=replace(covariates, values=values)), sizes, sums


def _given_sizes(screen: Screen) -> np.ndarray | None:
    """Return the size factors of the cells, or None where their counts are to be summed."""
    name = screen.recipe.size_factor
    if screen.recipe.values == LOG1P:  # which leave the normalised counts as they are
        return np.full(len(screen.obs), PER_10K)
    if name == TOTAL and name not in screen.obs.columns:
        return None
    return numbers_of(column_of(screen.obs, name, "size_factor"), name).copy()


def _require_totals(screen: Screen, sizes: np.ndarray, totals: np.ndarray) -> None:
    """Raise `CellsError` where a cell has more counts than its size factor, rounding aside.

    More in the size factor than in the matrix is a panel: totals of all genes, and some of them.
    """
    if screen.recipe.values == LOG1P:
        return
    low = sizes < totals * (1 - ROUNDING)
    if low.any():
        at, name = int(np.argmax(low)), screen.recipe.size_factor
        other = "remove the column: total_counts is summed where obs has none"
        raise CellsError(
            f"size factor {name} of cell '{screen.obs.index[at]}' is {sizes[at]:g}, but its counts "
            f"in {screen.counts.matrix.where} add up to {totals[at]:g} ({int(low.sum())} of "
            f"{len(low)} cells are such); expected raw totals of the same cells: correct them, or "
            f"{other if name == TOTAL else 'set size_factor: total_counts'}"
        )


def _training(moments: Sequence[Moments]) -> list[Moments]:
    """Add up the folds that each fit sees; the last fit sees all."""
    empty = Moments(moments[0].genes)
    if len(moments) == 1:
        return [moments[0]]
    seen = [[part for k, part in enumerate(moments) if k != fold] for fold in range(len(moments))]
    return [sum(parts, empty) for parts in [*seen, list(moments)]]


def _score_versions(screen: Screen, training: Sequence[Moments]) -> np.ndarray:
    """Return the weights of all scores, a version after the other."""
    phases = [screen.covariates.phases[name] for name in screen.covariates.scored]
    weights = [
        score_weights(part.log_sum / part.cells, positions)
        for part in training
        for positions in phases
    ]
    return np.column_stack(weights) if weights else np.empty((len(screen.counts.genes), 0))


def _columns_of(screen: Screen, version: int) -> np.ndarray:
    """Return the columns of a version in the order of names: perturbations, then covariates."""
    covariates = screen.covariates
    position = {name: number for number, name in enumerate(covariates.scored)}
    perturbations = len(screen.design.names)
    scores = perturbations + len(covariates.names) - len(position)
    fixed = iter(range(perturbations, scores))
    first_score = scores + version * len(position)
    after = [
        first_score + position[name] if name in position else next(fixed)
        for name in covariates.names
    ]
    return np.array([*range(perturbations), *after], dtype=np.int64)
