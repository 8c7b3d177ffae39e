"""What counts per 10k owe to the other genes: a shift of all genes where some of them moved.

Counts are divided by the depth of the cell. Where a perturbation raises many genes, the shares of
all others fall, though nothing happened to them; tests of coefficients find these genes rightly,
as the response has it, and wrongly, as a biologist reads it. As for bulk RNA (Robinson & Oshlack
2010, doi:10.1186/gb-2010-11-3-r25) most genes are taken for unmoved: the shift of a perturbation
is where the most genes agree on the log ratio of its mean and that of the controls, and the size
factors of its cells make good for it. Covariates that are shares of the same counts follow: the
mitochondrial share, and cell-cycle scores, whose reference genes must not be moved themselves.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse
from scipy.stats import norm

from tuner_plugins.perturbseq.data.cell_cycle import score_weights
from tuner_plugins.perturbseq.data.covariates import MITO, row_sums
from tuner_plugins.perturbseq.data.response import PER_10K, log1p_10k, per_10k
from tuner_plugins.perturbseq.data.screen import LOG, Screen, count_blocks
from tuner_plugins.perturbseq.data.transform import Transform
from tuner_plugins.perturbseq.data.values import LOG1P
from tuner_plugins.perturbseq.inference.program_tests import adjust, stratum_codes

FEWEST_GENES = 50
"""Genes that must have a say in a shift."""

KERNEL = 1.5
"""Standard errors within which genes agree: those farther off have little weight."""

NOISE = 0.05
"""Log ratios of unmoved genes differ by so much even with any number of cells."""

ROUNDS = 3
"""Of leaving out genes that moved anywhere: a gene that moves little here may move much there."""


@dataclass(frozen=True)
class Composition:
    """The shift of every perturbation.

    Attributes
    ----------
    table : DataFrame
        One row a label: ``perturbation``, ``n_cells``, ``n_compared`` (in batches that
        have controls), ``shift`` (natural logarithm, of an unmoved gene's share against
        controls), ``n_genes`` that had a say; 0 where too few had.
    per_cell : array, shape (cells,)
        The shift of each cell's label; 0 for controls.
    moved : array of bool, shape (genes,)
        Genes that some perturbation moved beyond its shift.
    """

    table: pd.DataFrame
    per_cell: NDArray[np.float64]
    moved: NDArray[np.bool_]


def applies(screen: Screen, transform: Transform) -> bool:
    """Return whether counts are divided by their own sum, so that genes share what there is."""
    if screen.recipe.response != LOG:
        return False
    sums = np.concatenate([row_sums(block) for _, block in count_blocks(screen, checked=False)])
    # log-normalised values were divided so that all cells have one sum, whichever it is
    unit = np.median(sums) / PER_10K if screen.recipe.values == LOG1P else 1.0
    return bool(np.allclose(sums, unit * transform.sizes, rtol=1e-3))


def compose(screen: Screen, transform: Transform) -> Composition:
    """Estimate the shift of every perturbation in one pass over the counts."""
    labels, names = pd.factorize(np.asarray(screen.design.groups), sort=True)
    strata = stratum_codes(screen.batches, len(labels))
    control = np.asarray(screen.design.matrix.sum(axis=1)).reshape(-1) == 0
    ratio, error, used = _log_ratios(screen, transform, labels, strata, control)
    shift, voters, moved = shifts(ratio, error)
    per_cell = np.where(control, 0.0, shift[labels])
    others = np.flatnonzero(np.bincount(labels, weights=~control) > 0)
    table = pd.DataFrame(
        {
            "perturbation": np.asarray(names, dtype=str)[others],
            "n_cells": np.bincount(labels, weights=~control)[others].astype(np.int64),
            "n_compared": used[others].astype(np.int64),
            "shift": shift[others],
            "n_genes": voters[others],
        }
    )
    return Composition(table, per_cell, moved)


def _log_ratios(
    screen: Screen,
    transform: Transform,
    labels: NDArray[np.int64],
    strata: NDArray[np.int64],
    control: NDArray[np.bool_],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return log ratios to the controls of the same batches and their errors, (labels, genes)."""
    n_labels, n_strata = int(labels.max()) + 1, int(strata.max()) + 1
    controls = np.bincount(strata[control], minlength=n_strata)
    shared = controls[strata] > 0
    member = np.where(shared & ~control, labels, -1)
    counted = np.zeros((n_labels, n_strata))
    np.add.at(counted, (labels[member >= 0], strata[member >= 0]), 1.0)
    own = _moments(screen, transform, member, n_labels)
    base = _moments(screen, transform, np.where(control, strata, -1), n_strata)
    used = counted.sum(axis=1)
    weight = counted / np.maximum(used, 1.0)[:, None]
    mean, variance = own
    reference, spread = weight @ base[0], weight**2 @ base[1]
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.log(mean / reference)
        error = np.sqrt(variance / mean**2 + spread / reference**2)
    # The logarithm of a mean with an error like that is no number to lean on.
    unknown = ~np.isfinite(ratio) | ~(error < 0.5) | (error == 0)
    ratio[unknown], error[unknown] = np.nan, np.nan
    return ratio, error, used


def _moments(
    screen: Screen, transform: Transform, member: NDArray[np.int64], n: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return means of counts per 10k and the variances of these means, (groups, genes)."""
    genes = len(screen.counts.genes)
    total, squares = np.zeros((n, genes)), np.zeros((n, genes))
    for where, linear in _linear(screen, transform):
        inside = member[where] >= 0
        rows = np.flatnonzero(inside)
        pick = sparse.csr_matrix(
            (np.ones(len(rows)), (member[where][inside], rows)), shape=(n, linear.shape[0])
        )
        total += (pick @ linear).toarray()
        squares += (pick @ linear.multiply(linear)).toarray()
    cells = np.maximum(np.bincount(member[member >= 0], minlength=n), 1)[:, None]
    mean = total / cells
    return mean, np.maximum(squares / cells - mean**2, 0.0) / np.maximum(cells - 1, 1)


def _linear(screen: Screen, transform: Transform) -> Iterator[tuple[slice, sparse.csr_matrix]]:
    for where, counts in count_blocks(screen, checked=False):
        yield where, sparse.csr_matrix(per_10k(counts, transform.sizes[where]))


def shifts(
    ratio: NDArray[np.float64], error: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.bool_]]:
    """Find the log ratio that most genes of a label agree on.

    Parameters
    ----------
    ratio, error : ndarray, (labels, genes)
        Log ratios to the controls and their standard errors; NaN for what is not known.

    Returns
    -------
    shift : ndarray, (labels,)
        0 where fewer than `FEWEST_GENES` are known.
    voters : ndarray of int, (labels,)
    moved : ndarray of bool, (genes,)
        Genes that differ from the shift of some label, at a false discovery rate of 5 %.

    Examples
    --------
    >>> ratio = np.full((1, 60), -0.2)  # the shares of most genes fell by 18 %
    >>> ratio[0, :5] = 2.0  # where five rose
    >>> shift, voters, moved = shifts(ratio, np.full((1, 60), 0.02))
    >>> shift.round(2).tolist(), voters.tolist(), int(moved.sum())
    ([-0.2], [55], 5)
    """
    known = np.isfinite(ratio)
    moved = np.zeros(ratio.shape[1], dtype=bool)
    shift = np.zeros(len(ratio))
    voters = np.zeros(len(ratio), dtype=np.int64)
    for _ in range(ROUNDS):
        for label in range(len(ratio)):
            asked = known[label] & ~moved
            if asked.sum() < FEWEST_GENES:  # all of them then, or none
                asked = known[label]
            voters[label] = asked.sum()
            enough = voters[label] >= FEWEST_GENES
            shift[label] = _mode(ratio[label, asked], error[label, asked]) if enough else 0.0
        with np.errstate(invalid="ignore"):
            off = np.abs(ratio - shift[:, None]) / np.hypot(error, NOISE)
        found = np.nan_to_num(adjust(2 * norm.sf(off)), nan=1.0) < 0.05
        before, moved = moved, np.asarray(found.any(axis=0))
        if (before == moved).all():
            break
    return shift, voters, moved


def _mode(ratio: NDArray[np.float64], error: NDArray[np.float64]) -> float:
    """Return the value that the most genes agree with, each within its error."""
    width = KERNEL * np.hypot(error, NOISE)
    low, high = np.quantile(ratio, [0.02, 0.98])
    grid = np.linspace(low, high, 200)
    agree = np.exp(-0.5 * ((ratio - grid[:, None]) / width) ** 2).sum(axis=1)
    value = float(grid[np.argmax(agree)])
    for _ in range(100):
        weight = np.exp(-0.5 * ((ratio - value) / width) ** 2) / width**2
        before, value = value, float((weight * ratio).sum() / weight.sum())
        if abs(value - before) < 1e-9:
            break
    return value


def balance(screen: Screen, transform: Transform, found: Composition) -> tuple[Screen, Transform]:
    """Make good for the shifts: size factors, mitochondrial share, cell-cycle scores.

    `transform` is of one version, the fit to all cells; what is returned goes to `blocks`.
    """
    factor = np.exp(found.per_cell)
    covariates = screen.covariates
    if MITO in covariates.names:
        values = covariates.values.copy()
        values[:, covariates.names.index(MITO)] /= factor
        covariates = replace(covariates, values=values)
    balanced = replace(transform, sizes=transform.sizes * factor)
    if covariates.scored:
        mean = np.zeros(len(screen.counts.genes))
        for _, linear in _linear(screen, balanced):
            mean += np.asarray(log1p_10k(linear).sum(axis=0)).reshape(-1)
        weights = [
            score_weights(mean / len(screen.obs), positions, found.moved)
            for positions in (covariates.phases[name] for name in covariates.scored)
        ]
        balanced = replace(balanced, scores=np.column_stack(weights))
    return replace(screen, covariates=covariates), balanced
