from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse
from tuner_plugins.perturbseq.inference.coefficients import permutation_p
from tuner_plugins.perturbseq.inference.statistic import entry_statistic
from tuner_plugins.perturbseq.model.resampling import (
    Model,
    entries,
    permuted_entries,
    residual_scale,
)


def _columns(design, seed=0):
    """Return Z, intercept and a covariate around a design, responses, and any coefficients."""
    rng = np.random.default_rng(seed)
    z = np.column_stack([np.ones(len(design)), design, rng.normal(size=len(design))])
    return z, rng.normal(size=(len(design), 3)), rng.normal(size=(z.shape[1], 3))


def _found(z, y, coef):
    return entry_statistic(z.T @ z, z.T @ y, coef, slice(1, z.shape[1] - 1))


def test_of_columns_without_a_cell_in_common_it_is_what_residuals_say():
    design = (np.arange(40)[:, None] % 4 == np.arange(3)).astype(float)
    z, y, coef = _columns(design)
    expected = design.T @ (y - z @ coef) + design.sum(axis=0)[:, None] * coef[1:4]
    np.testing.assert_allclose(_found(z, y, coef), expected.T)


def test_of_columns_that_share_cells_the_coefficients_of_the_others_do_not_matter():
    label = np.arange(120) % 5  # none, A, B, both, C
    a, b = np.isin(label, (1, 3)), np.isin(label, (2, 3))
    design = np.column_stack([a, b, a & b, label == 4]).astype(float)
    z, y, coef = _columns(design)
    found = _found(z, y, coef)
    others = coef.copy()
    others[[1, 2, 3, 5]] += 7.0  # A, B, the pair; the covariate is fitted without a penalty
    np.testing.assert_allclose(_found(z, y, others)[:, :3], found[:, :3], rtol=1e-4)
    for column in range(3):
        x = np.delete(z, [1 + column, 4], axis=1)  # C has a column, and no cell in common
        left = design[:, column] - x @ np.linalg.lstsq(x, design[:, column], rcond=None)[0]
        expected = left @ (y - np.outer(design[:, 3], coef[4]))
        np.testing.assert_allclose(found[:, column], expected, rtol=1e-4)


def test_columns_that_are_the_same_share_what_both_do():
    a, b = np.arange(60) % 3 == 0, np.arange(60) % 3 < 2
    z, y, coef = _columns(np.column_stack([a, a, b]).astype(float))
    coef[2] = coef[1]
    found = _found(z, y, coef)
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found[:, 0], found[:, 1], rtol=1e-4)
    once, *_ = np.linalg.lstsq(np.delete(z, 2, axis=1), y, rcond=None)
    assert (np.sign(found[:, 0]) == np.sign(once[1])).all()


def test_a_perturbation_that_does_nothing_does_not_answer_for_its_pair():
    p = []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        a, b = rng.random((2, 600)) < 0.4
        design = sparse.csr_matrix(np.column_stack([a, b, a & b]).astype(float))
        y = rng.normal(size=(600, 40)) + 0.8 * (a & b)[:, None]
        names = ["A", "B", "A,B"], [f"G{i}" for i in range(40)], np.zeros(600, dtype=np.int64)
        model = Model(design, np.empty((600, 0)), y, *names, alpha=0.05, l1_ratio=0.5)
        summed = model.summed()
        refit = model.fit(summed)
        tested = permutation_p(
            entries(model, summed, refit),
            permuted_entries(model, 30, seed),
            pooled_scale=residual_scale(model, summed, refit),
        )
        p.append(tested.p)
    p = np.concatenate(p)
    assert (p[:, 2] < 0.05).mean() > 0.9
    assert 0.01 < (p[:, :2] < 0.05).mean() < 0.09


def test_the_design_may_be_all_there_is():
    z = np.column_stack([np.ones(6), np.eye(6)[:, :2]])
    y = np.arange(6.0)[:, None]
    found = entry_statistic(z.T @ z, z.T @ y, np.zeros((3, 1)), slice(1, 3))
    assert found == pytest.approx(np.array([[0.0, 1.0]]))
