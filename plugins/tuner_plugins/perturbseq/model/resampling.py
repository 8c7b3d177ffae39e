"""Elastic-net fits of a screen and its resamples: where the biology meets the mathematics."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse
from threadpoolctl import threadpool_limits

from tuner_plugins.enet import Statistics, summarise
from tuner_plugins.enet.path import Refit, alpha_max, fit_grid
from tuner_plugins.perturbseq.inference.program_tests import permute_within
from tuner_plugins.perturbseq.inference.relabelling import sums_by_label, with_cross_sums
from tuner_plugins.perturbseq.inference.statistic import entry_statistic
from tuner_plugins.perturbseq.model.responses import column_blocks, matrix_of, rows_of, summed

AT_ONCE = 200_000_000
"""Bytes of sums that are held while permutations share a pass over the responses."""

STEP = 10.0
"""Ratio of the alphas that a fit passes on its way: a cold start costs more than the whole way."""


@dataclass(frozen=True)
class Model:
    """A screen and the setting it is fitted with.

    Attributes
    ----------
    design : csr_matrix, (cells, perturbations)
        Zeros and ones, or weights between; rows of zeros are control cells.
    covariates : ndarray, (cells, covariates)
    responses : ndarray, sparse array or LogCounts, (cells, genes)
    targets, genes : list of str
        Names of perturbations and genes.
    strata : ndarray of int, (cells,)
        Batches: labels are only ever permuted within them.
    alpha, l1_ratio : float
        The setting, as scikit-learn's ``ElasticNet`` has them.
    penalise_covariates : bool
        Or leave them free.
    doubt : ndarray, (perturbations,), optional
        Of a weighted design, see `efficacy.Efficacy`.
    composition : DataFrame, optional
        Shifts that the responses were freed of, see `composition.Composition`.
    threads : int
    covariate_names : list of str
    covariate_scale : ndarray, (covariates,), optional
        What the covariates were divided by.
    sizes : ndarray, (cells,), optional
        Size factors, that shifts are made good for in.

    Examples
    --------
    >>> design = sparse.csr_matrix(np.repeat([[1.0], [0.0]], 20, axis=0))
    >>> responses = np.repeat([[2.0, 1.0], [0.5, 1.0]], 20, axis=0)
    >>> names, strata = (["STAT1"], ["IRF1", "ACTB"]), np.zeros(40, dtype=np.int64)
    >>> model = Model(design, np.empty((40, 0)), responses, *names, strata, 0.01, 0.5)
    >>> model.coefficients().round(2)
          STAT1
    IRF1   1.45
    ACTB   0.00
    """

    design: sparse.csr_matrix
    covariates: NDArray[np.float64]
    responses: Any
    targets: list[str]
    genes: list[str]
    strata: NDArray[np.int64]
    alpha: float
    l1_ratio: float
    penalise_covariates: bool = False
    doubt: NDArray[np.float64] | None = None
    composition: pd.DataFrame | None = None
    threads: int = 1
    covariate_names: Sequence[str] = ()
    covariate_scale: NDArray[np.float64] | None = None
    sizes: NDArray[np.float64] | None = None

    @property
    def control(self) -> NDArray[np.bool_]:
        """Cells without a perturbation, (cells,)."""
        return np.asarray(np.diff(self.design.indptr) == 0)

    @property
    def penalty_factor(self) -> NDArray[np.float64]:
        """One for perturbations; for covariates as asked, (columns,)."""
        covariates = np.full(self.covariates.shape[1], float(self.penalise_covariates))
        return np.concatenate([np.ones(self.design.shape[1]), covariates])

    def rows(self, rows: NDArray[Any]) -> Model:
        """Return the model of some cells, by number or mask."""
        return replace(
            self,
            design=self.design[rows],
            covariates=self.covariates[rows],
            responses=rows_of(self.responses, rows),
            strata=self.strata[rows],
            sizes=None if self.sizes is None else self.sizes[rows],
        )

    def columns(self) -> sparse.csr_matrix:
        """Return design and covariates side by side, (cells, columns)."""
        return sparse.csr_matrix(sparse.hstack([self.design, self.covariates]))

    def summed(self, folds: NDArray[np.int64] | None = None) -> Statistics:
        """Sum the statistics, of all cells or by fold."""
        found = summed(self.columns(), self.responses, folds, self.threads)
        return found if self.doubt is None else with_diagonal(found, self.doubt)

    def fit(
        self, summed: Statistics | None = None, path: NDArray[np.float64] | None = None
    ) -> Refit:
        """Fit all cells, down a `warm_path`: exact Newton steps need a start that is near."""
        whole = (self.summed() if summed is None else summed).total()
        return fit_grid(
            whole,
            self.warm_path(whole) if path is None else path,
            self.l1_ratio,
            self.penalty_factor,
            threads=self.threads,
            coefficients=True,
        ).refit()

    def warm_path(self, whole: Statistics) -> NDArray[np.float64]:
        """Return alphas from near the largest that matters down to `alpha`, the last one."""
        if self.l1_ratio == 0 or self.alpha == 0:
            return np.array([self.alpha])
        largest = alpha_max(whole, self.l1_ratio, self.penalty_factor)
        steps = int(np.clip(np.ceil(np.log(largest / self.alpha) / np.log(STEP)), 0, 12))
        return np.append(self.alpha * STEP ** np.arange(steps, 0, -1.0), self.alpha)

    def coefficients(self) -> pd.DataFrame:
        """Fit all cells; return the coefficients of the perturbations, (genes, perturbations)."""
        return self.framed(self.fit().coef)

    def framed(self, values: NDArray[Any]) -> pd.DataFrame:
        """Name the rows and columns of (genes, perturbations, ...) values."""
        return pd.DataFrame(values[:, : len(self.targets)], index=self.genes, columns=self.targets)


def with_diagonal(summed: Statistics, added: NDArray[np.float64]) -> Statistics:
    """Add to the diagonal of X'X, for the first columns of X: shared among folds by their cells."""
    gram = summed.gram.copy()
    at = np.arange(len(added)) + 1
    share = summed.cells / summed.cells.sum()
    gram[:, at, at] += share[:, None] * added
    return replace(summed, gram=gram)


def residual_scale(model: Model, summed: Statistics, refit: Refit) -> NDArray[np.float64]:
    """Return the standard deviation of every gene's residuals, (genes,)."""
    whole = summed.total()
    coef = _of_z(whole, refit)
    fitted = 2 * (coef * whole.cross[0]).sum(axis=0)
    fitted -= (coef * (whole.gram[0] @ coef)).sum(axis=0)
    left = np.maximum(whole.squares[0] - fitted, 0.0)
    scale = np.sqrt(left / whole.cells[0])
    scale[left <= 1e-12 * whole.squares[0]] = 0.0  # a constant gene
    return np.asarray(scale)


def _of_z(summed: Statistics, refit: Refit) -> NDArray[np.float64]:
    """Return the coefficients of Z = [1, X - x_shift], (columns + 1, genes)."""
    intercept = refit.intercept - summed.y_shift + refit.coef @ summed.x_shift
    return np.vstack([intercept, refit.coef.T])


def entries(model: Model, summed: Statistics, refit: Refit) -> NDArray[np.float64]:
    """Return the entry statistics of the perturbations, (genes, perturbations)."""
    whole = summed.total()
    at = slice(1, 1 + len(model.targets))
    return entry_statistic(whole.gram[0], whole.cross[0], _of_z(whole, refit), at)


def permuted_entries(model: Model, n_permutations: int, seed: int) -> Iterator[NDArray[np.float64]]:
    """Refit with perturbation labels permuted within batches; covariates stay with their cells.

    Yields the entry statistics of full refits, (genes, perturbations); permutation b is the same
    whatever the number of permutations and threads.
    """
    summed = model.summed()
    path = model.warm_path(summed.total())
    children = np.random.SeedSequence(seed).spawn(n_permutations)
    width = model.covariates.shape[1] + len(model.genes)
    size = max(1, AT_ONCE // (8 * len(model.targets) * width))
    for start in range(0, n_permutations, size):
        orders = [
            permute_within(model.strata, np.random.default_rng(child))
            for child in children[start : start + size]
        ]
        with threadpool_limits(1):  # of BLAS: small products, and the same bits on any machine
            found = [
                entries(model, permuted, model.fit(permuted, path))
                for permuted in permuted_statistics(model, summed, orders)
            ]
        yield from found


def permuted_statistics(
    model: Model, summed: Statistics, orders: Sequence[NDArray[np.int64]]
) -> Iterator[Statistics]:
    """Return the statistics of all cells with rows of the design reordered.

    Of all sums (`summed`, one fold), only those of perturbations with covariates and with responses
    change. An order, (cells,), is the row of the design that each cell gets.
    """
    single = np.diff(model.design.indptr).max(initial=0) <= 1
    if not single or (model.design.data != 1).any():
        held = replace(model, responses=matrix_of(model.responses))
        for order in orders:
            yield replace(held, design=model.design[order]).summed()
        return
    k = len(model.targets)
    group = np.full(model.design.shape[0], k, dtype=np.int32)
    group[np.repeat(np.arange(len(group)), np.diff(model.design.indptr))] = model.design.indices
    labels = np.ascontiguousarray(group[np.asarray(orders)])
    both = (
        sums_by_label(column_blocks(values), labels, k, values.shape[1], model.threads)
        for values in (model.covariates, model.responses)
    )
    for sums in zip(*both, strict=True):
        yield with_cross_sums(summed, *(one[None] for one in sums))


def bootstrap_coefficients(model: Model, n_resamples: int, seed: int) -> Iterator[pd.DataFrame]:
    """Refit on bootstrap samples of the cells, drawn within perturbation and batch.

    Yields
    ------
    pandas.DataFrame, (genes, perturbations)

    Examples
    --------
    >>> design = sparse.csr_matrix(np.repeat([[1.0], [0.0]], 20, axis=0))
    >>> responses = np.random.default_rng(0).normal(size=(40, 1)) + 3.0 * design.toarray()
    >>> rest = np.empty((40, 0)), responses, ["STAT1"], ["IRF1"], np.zeros(40, dtype=np.int64)
    >>> samples = bootstrap_coefficients(Model(design, *rest, 0.01, 0.5), n_resamples=3, seed=0)
    >>> [bool(sample.loc["IRF1", "STAT1"] > 2.0) for sample in samples]
    [True, True, True]
    """
    groups = cell_groups(model)
    order = np.argsort(groups, kind="stable")
    sizes = np.bincount(groups)
    starts = np.repeat(np.cumsum(sizes) - sizes, sizes)
    for child in np.random.SeedSequence(seed).spawn(n_resamples):
        draw = np.random.default_rng(child).random(len(order))
        picked = order[starts + (draw * np.repeat(sizes, sizes)).astype(np.int64)]
        yield model.rows(np.sort(picked)).coefficients()


def cell_groups(model: Model) -> NDArray[np.int64]:
    """Return the group of every cell, (cells,): the same perturbations and batch."""
    # Each set of perturbations has a sum of its own: weights of a design do not matter here.
    tags = np.random.default_rng(0).random(model.design.shape[1])
    ones = sparse.csr_matrix(model.design != 0, dtype=np.float64)
    ones.sort_indices()
    labels = pd.factorize(ones @ tags)[0]
    pairs = pd.MultiIndex.from_arrays([labels, model.strata])
    return np.asarray(pd.factorize(pairs)[0], dtype=np.int64)


def select_halves(model: Model, halves: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which coefficients are non-zero by half of the cells, (2, genes, perturbations)."""
    fits = fit_grid(
        model.summed(halves),
        model.alpha,
        model.l1_ratio,
        model.penalty_factor,
        threads=model.threads,
        coefficients=True,
    )
    assert fits.coef is not None
    return np.asarray(fits.coef[:, 0, 0, :, : len(model.targets)] != 0)


def efficacy_refit(model: Model) -> Any:
    """Return the function that `efficacy.efficacy_weights` fits with."""

    def refit(
        x: sparse.csr_matrix, y: Any, added: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        summed = with_diagonal(summarise(x, y, threads=model.threads), added)
        fitted = model.fit(summed)
        return fitted.coef, fitted.intercept

    return refit
