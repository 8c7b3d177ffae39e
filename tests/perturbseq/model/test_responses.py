from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import sparse
from tuner_plugins.perturbseq.model.resampling import (
    Model,
    bootstrap_coefficients,
    permuted_entries,
    select_halves,
)
from tuner_plugins.perturbseq.model.responses import LogCounts, matrix_of


def _models(multiple=False):
    """Return a model of counts, and the same of a matrix."""
    rng = np.random.default_rng(0)
    cells = 1500  # more than a block
    counts = sparse.csr_matrix(rng.poisson(0.7, (cells, 150)).astype(np.float32))
    design = np.arange(cells)[:, None] % 4 == np.arange(3)
    if multiple:
        design[::5, 0] = True
    genes = np.delete(np.arange(150), [3, 140])
    lazy = LogCounts(counts, rng.uniform(50.0, 200.0, cells), genes, np.arange(cells))
    names = ["A", "B", "C"], [f"G{i}" for i in genes], rng.integers(0, 2, cells)
    covariates = rng.normal(size=(cells, 2))
    model = Model(
        sparse.csr_matrix(design.astype(float)), covariates, lazy, *names, alpha=0.02, l1_ratio=0.5
    )
    return model, replace(model, responses=matrix_of(lazy))


def test_they_are_log_counts():
    model, held = _models()
    lazy = model.responses
    scaled = lazy.counts.toarray()[:, lazy.genes] * (1e4 / lazy.sizes)[:, None]
    np.testing.assert_array_equal(held.responses.toarray(), np.log1p(scaled))
    np.testing.assert_array_equal(lazy.toarray(), np.log1p(scaled))


@pytest.mark.parametrize("multiple", [False, True])
def test_a_model_of_them_is_that_of_a_matrix(multiple):
    lazy, held = _models(multiple)
    some = np.random.default_rng(1).random(1500) < 0.8

    def found(model):
        part = model.rows(some).rows(np.arange(0, 1000, 2))
        return [
            model.coefficients(),
            part.coefficients(),
            *permuted_entries(part, 2, 0),
            *bootstrap_coefficients(part, 2, 0),
            select_halves(model, np.arange(1500) % 2).astype(float),
        ]

    for one, other in zip(found(lazy), found(held), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-9)
