from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from tuner_plugins.elasticnet import DataError, fit, summarise
from tuner_plugins.enet.permutation import Shuffles, permutation_test, permutations_within

from tests.enet.designs import simulate


def shuffled(X: np.ndarray, design: int, order: np.ndarray) -> np.ndarray:
    return np.hstack([X[order, :design], X[:, design:]])


@pytest.mark.parametrize("sparse", [False, True])
def test_statistics_equal_those_of_shuffled_rows(sparse):
    p = simulate(1, cells=200, genes=19)
    Y = np.where(p.Y > 0.5, p.Y, 0.0)
    columns = np.arange(p.design)
    orders = permutations_within(p.folds, 20, seed=0)
    X_in, Y_in = (sp.csr_array(p.X), sp.csr_array(Y)) if sparse else (p.X, Y)
    shuffles = Shuffles(X_in, Y_in, columns, p.folds, threads=2)
    count = 0
    for order, got in zip(orders, shuffles.statistics(orders), strict=True):
        want = summarise(shuffled(p.X, p.design, order), Y, p.folds, like=shuffles.summed)
        np.testing.assert_allclose(got.gram, want.gram, atol=1e-10)
        np.testing.assert_allclose(got.cross, want.cross, atol=1e-10)
        np.testing.assert_allclose(got.squares, want.squares, atol=1e-10)
        count += 1
    assert count == 20


def test_counts_equal_refits_from_the_cells():
    p = simulate(2, cells=150, genes=5)
    orders = permutations_within(np.zeros(150), 9, seed=1)
    factor = np.r_[np.ones(p.design), np.zeros(3)]
    got = permutation_test(Shuffles(p.X, p.Y, np.arange(p.design)), orders, 0.01, 0.5, factor)
    observed = fit(summarise(p.X, p.Y), 0.01, 0.5, factor).coef[:, : p.design]
    exceeded = np.zeros(observed.shape)
    for order in orders:
        null = fit(summarise(shuffled(p.X, p.design, order), p.Y), 0.01, 0.5, factor).coef
        exceeded += np.abs(null[:, : p.design]) >= np.abs(observed)
    np.testing.assert_array_equal(got.exceeded, exceeded)
    np.testing.assert_allclose(got.p_values, (exceeded + 1) / 10)


def test_planted_effects_are_found_and_no_others():
    rng = np.random.default_rng(3)
    label = rng.integers(0, 6, 400)
    X = (label[:, None] == np.arange(5)) * 1.0
    Y = rng.normal(size=(400, 30))
    Y[:, :3] += 1.5 * X[:, [0]]
    orders = permutations_within(rng.integers(0, 2, 400), 199, seed=4)
    p_values = permutation_test(Shuffles(X, Y, np.arange(5)), orders, 1e-3, 0.5).p_values
    assert (p_values[:3, 0] == 1 / 200).all()
    others = p_values[3:].ravel()
    # 135 tests: the share below 0.05 has a standard error of 0.019.
    assert (others <= 0.05).mean() < 0.05 + 3 * 0.019
    assert others.min() > 0


def test_permutations_stay_within_their_stratum():
    strata = np.array(["b", "a", "b", "a", "a"])
    orders = permutations_within(strata, 50, seed=5)
    assert (np.sort(orders, axis=1) == np.arange(5)).all()
    assert (strata[orders] == strata).all()
    assert len(np.unique(orders, axis=0)) > 5
    assert np.array_equal(orders, permutations_within(strata, 50, seed=5))


def test_several_perturbations_in_a_cell_are_refused():
    p = simulate(6, multiplicity=2)
    with pytest.raises(DataError, match="one-hot"):
        Shuffles(p.X, p.Y, np.arange(p.design))
