"""Is the best gain better than nothing? Labels are shuffled and the whole sweep repeated."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy import sparse

from tuner_plugins.enet import Statistics, summarise, summarise_onto
from tuner_plugins.enet.cross_validation import Problem, cross_validate
from tuner_plugins.perturbseq.data.dataset import Dataset
from tuner_plugins.perturbseq.data.transform import blocks
from tuner_plugins.perturbseq.inference.exchangeable_units import CELLS, Units
from tuner_plugins.perturbseq.inference.permutation_schemes import (
    exchangeable,
    shuffle_within,
    unit_orders,
    whole_folds,
)
from tuner_plugins.perturbseq.inference.relabelling import with_cross_sums, with_unit_labels

AT_ONCE_BYTES = 200_000_000
ROUNDING = 1e-12
"""Two gains this near are a tie: where every coefficient is zero, rounding is all that differs."""


@dataclass(frozen=True)
class Null:
    """The best gain of the labels as they are, and of shuffled ones.

    Attributes
    ----------
    observed : float
        Largest ``partial_r2`` over the grid.
    shuffled : array, shape (permutations,)
        The same for each permutation; fewer than were asked for where labels have fewer places
        to go.
    among : str
        What labels were shuffled among: ``cells``, or the name of the units, with ``moved along
        the plate`` where neighbours stay neighbours.
    """

    observed: float
    shuffled: np.ndarray
    among: str = CELLS

    @property
    def p(self) -> float:
        """(b + 1) / (B + 1), never 0 (Phipson and Smyth, 2010, 10.2202/1544-6115.1585).

        With all moves along a plate, the one that was added is the arrangement as it is.
        """
        b = int((self.shuffled >= self.observed - ROUNDING).sum())
        return (b + 1) / (len(self.shuffled) + 1)


def permutation_null(  # noqa: PLR0913  what is compared, how often, on how many threads
    dataset: Dataset,
    problem: Problem,
    alphas: Sequence[float] | np.ndarray,
    l1_ratios: Sequence[float] | np.ndarray,
    *,
    permutations: int,
    seed: int,
    units: Units | None = None,
    threads: int = 1,
) -> Null:
    """Compare the best gain with its distribution where labels mean nothing.

    Labels are exchanged among whole units of the same batches, freely or along their plate (see
    `tuner_plugins.perturbseq.inference.permutation_schemes`), or among the cells of a batch and
    fold: that keeps what the folds were balanced for, and is exact, since folds know nothing of the
    responses (nor, with units, of the labels: see `folds.unit_folds`; folds of whole guides, which
    do, are kept, or taken along the plate). The whole grid is fitted again for each shuffle and its
    best gain taken, so that the choice of the penalty is paid for.

    Parameters
    ----------
    dataset : Dataset
        With folds.
    problem : Problem
        Made from its statistics.
    alphas, l1_ratios : sequence of float
        The grid; a coarser one than that of the sweep will do, being the same for both sides.
    permutations : int
        How many, at most.
    seed : int
        For the shuffles.
    units : Units, optional
        What got its perturbation as one. None: single cells.
    threads : int
        For the fits; the result does not depend on it.

    Examples
    --------
    >>> from anndata import AnnData
    >>> from tuner_plugins.perturbseq.data.dataset import build
    >>> from tuner_plugins.perturbseq.data.labels import Labels
    >>> from tuner_plugins.perturbseq.data.screen import Recipe, open_screen
    >>> from tuner_plugins.perturbseq.model.problem import problem_of
    >>> counts = np.random.default_rng(0).poisson([[5.0, 9.0, 4.0]] * 40).astype(float)
    >>> counts[::2, 0] += 20  # in cells with perturbation A
    >>> adata = AnnData(counts)
    >>> adata.obs["perturbation"] = ["A", "control"] * 20
    >>> dataset = build(open_screen(adata, Recipe(Labels())), np.repeat([0, 1], 20))
    >>> grid = [0.01, 0.1], [0.5]
    >>> null = permutation_null(dataset, problem_of(dataset), *grid, permutations=19, seed=0)
    >>> null.p, null.among
    (0.05, 'cells')
    """

    def best(problem: Problem) -> float:
        found = cross_validate(problem, alphas, l1_ratios, threads=threads)
        return float(found.partial_r2.max())

    parts = (
        shuffled_statistics(dataset, permutations, seed)
        if units is None
        else unit_statistics(dataset, units, permutations, seed)
    )
    shuffled = np.array([best(replace(problem, statistics=part)) for part in parts])
    return Null(best(problem), shuffled, CELLS if units is None else units.among)


def shuffled_statistics(dataset: Dataset, count: int, seed: int) -> Iterator[Statistics]:
    """Return the statistics of the same cells with shuffled labels, one shuffle after the other.

    Within a batch and fold a shuffle moves whole rows of the design: of all sums only those of
    perturbations with covariates and with responses change.
    """
    n_perturbations = len(dataset.screen.design.names)
    sums = dataset.statistics
    one = 8 * sums.n_folds * n_perturbations * (sums.n_genes + sums.n_columns)
    size = max(1, AT_ONCE_BYTES // max(one, 1))
    strata = pd.factorize(pd.MultiIndex.from_arrays([dataset.screen.batches, dataset.folds]))[0]
    rng = np.random.default_rng(seed)
    for start in range(0, count, size):
        orders = [shuffle_within(strata, rng) for _ in range(min(size, count - start))]
        yield from _with_orders(dataset, orders)


def unit_statistics(dataset: Dataset, units: Units, count: int, seed: int) -> Iterator[Statistics]:
    """Return the statistics of the same cells with the labels of whole units exchanged.

    At most `count`: labels that are moved along a plate have so many places to go.

    All cells of a unit have one row of the design, so that the sums of each unit, which need one
    pass over the cells, give those of any arrangement of the labels.
    """
    strata = exchangeable(units, dataset.screen.batches, dataset.folds)
    held = whole_folds(units, dataset.folds)
    if units.places is not None and held is not None:
        yield from _with_folds(dataset, units, held, unit_orders(units, strata, count, seed))
        return
    sums = _unit_sums(dataset, units)
    for order in unit_orders(units, strata, count, seed):
        yield with_unit_labels(dataset.statistics, units.design[order], *sums)


def _with_folds(
    dataset: Dataset, units: Units, held: np.ndarray, orders: Iterable[np.ndarray]
) -> Iterator[Statistics]:
    """Return the statistics where the labels of whole units take their folds (units,) with them.

    What a fit has learnt of its training cells (genes, scores) stays what it was; that knows
    nothing of the labels.
    """
    sums, k = dataset.statistics, len(dataset.screen.design.names)
    covariates = np.arange(k, sums.n_columns)
    alone = sums.columns(covariates)
    by_unit: Statistics | None = None
    for where, X, Y in blocks(dataset.screen, dataset.transform):
        codes = units.codes[where]
        if by_unit is None:
            by_unit = summarise(X[:, k:], Y, codes, units.count, like=alone)
        else:
            summarise_onto(by_unit, X[:, k:], Y, codes)
    assert by_unit is not None, "a design has at least one cell"
    cells = by_unit.cells
    of_columns = by_unit.gram[:, 0, 1:] + cells[:, None] * by_unit.x_shift
    of_genes = by_unit.cross[:, 0] + cells[:, None] * by_unit.y_shift
    at = np.concatenate(([0], covariates + 1))
    for order in orders:
        inside = (np.arange(sums.n_folds)[:, None] == held[order]).astype(float)
        gram, cross = np.zeros_like(sums.gram), np.zeros_like(sums.cross)
        gram[:, at[:, None], at] = np.tensordot(inside, by_unit.gram, 1)
        cross[:, at] = np.tensordot(inside, by_unit.cross, 1)
        yield with_unit_labels(
            replace(sums, gram=gram, cross=cross, squares=inside @ by_unit.squares),
            units.design[order],
            inside * cells,
            inside[:, :, None] * of_columns,
            inside[:, :, None] * of_genes,
        )


def _unit_sums(dataset: Dataset, units: Units) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sum cells, covariates and responses by fold and unit, (folds, units[, columns])."""
    k, folds = len(dataset.screen.design.names), dataset.statistics.n_folds
    columns, genes = dataset.statistics.n_columns, dataset.statistics.n_genes
    rows = dataset.folds * units.count + units.codes
    size = folds * units.count
    cells = np.bincount(rows, minlength=size).astype(float)
    of_columns, of_genes = np.zeros((size, columns - k)), np.zeros((size, genes))
    for where, X, Y in blocks(dataset.screen, dataset.transform):
        width = X.shape[0]
        sums = sparse.csr_matrix((np.ones(width), (rows[where], np.arange(width))), (size, width))
        of_columns += (sums @ X[:, k:]).toarray()
        product = sums @ Y
        of_genes += product.toarray() if sparse.issparse(product) else product
    shape = (folds, units.count)
    return cells.reshape(shape), of_columns.reshape(*shape, -1), of_genes.reshape(*shape, -1)


def _with_orders(dataset: Dataset, orders: Sequence[np.ndarray]) -> Iterator[Statistics]:
    """Pass over the cells once for all `orders`."""
    design = dataset.screen.design.matrix
    k, folds = design.shape[1], dataset.statistics.n_folds
    columns, genes = dataset.statistics.n_columns, dataset.statistics.n_genes
    with_columns = np.zeros((len(orders), folds * k, columns - k))
    with_genes = np.zeros((len(orders), folds * k, genes))
    for where, X, Y in blocks(dataset.screen, dataset.transform):
        covariates = X[:, k:].toarray()
        for number, order in enumerate(orders):
            by_fold = _fold_rows(design[order[where]], dataset.folds[where], folds)
            with_columns[number] += by_fold @ covariates
            product = by_fold @ Y
            with_genes[number] += product.toarray() if sparse.issparse(product) else product
    for number in range(len(orders)):
        yield with_cross_sums(
            dataset.statistics,
            with_columns[number].reshape(folds, k, -1),
            with_genes[number].reshape(folds, k, -1),
        )


def _fold_rows(design: sparse.csr_matrix, folds: np.ndarray, n_folds: int) -> sparse.csr_matrix:
    """Return the transposed design with a row for each fold and perturbation."""
    k = design.shape[1]
    rows = design.indices + k * np.repeat(folds, np.diff(design.indptr))
    columns = np.repeat(np.arange(design.shape[0]), np.diff(design.indptr))
    return sparse.csr_matrix((design.data, (rows, columns)), shape=(n_folds * k, design.shape[0]))
