from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from tuner_plugins.elasticnet import DataError, Statistics, summarise, summarise_onto
from tuner_plugins.enet.accumulate import TILE
from tuner_plugins.enet.sparse_rows import count_nonzero, pattern_keys, to_csr

from tests.enet.designs import simulate


def brute_force(summed: Statistics, X, Y, folds) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    Z = np.hstack([np.ones((X.shape[0], 1)), X - summed.x_shift])
    Yc = Y - summed.y_shift
    parts = [(Z[folds == f], Yc[folds == f]) for f in range(summed.n_folds)]
    return (
        np.stack([z.T @ z for z, _ in parts]),
        np.stack([z.T @ y for z, y in parts]),
        np.stack([(y**2).sum(axis=0) for _, y in parts]),
    )


def assert_same(summed: Statistics, X, Y, folds) -> None:
    for got, want in zip(
        (summed.gram, summed.cross, summed.squares), brute_force(summed, X, Y, folds), strict=True
    ):
        np.testing.assert_allclose(got, want, rtol=1e-11, atol=1e-10)


@given(
    seed=st.integers(0, 10_000),
    cells=st.integers(1, 60),
    perturbations=st.integers(1, 6),
    covariates=st.integers(0, 4),
    genes=st.integers(1, 9),
    multiplicity=st.integers(1, 3),
    sparse_x=st.booleans(),
    sparse_y=st.booleans(),
)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_sums_equal_brute_force(
    seed, cells, perturbations, covariates, genes, multiplicity, sparse_x, sparse_y
):
    p = simulate(seed, cells, perturbations, covariates, genes, 3, 0.3, multiplicity)
    Y = np.where(p.Y > 0.5, p.Y, 0.0) if sparse_y else p.Y
    summed = summarise(
        sp.csr_array(p.X) if sparse_x else p.X, sp.csr_array(Y) if sparse_y else Y, p.folds, 3
    )
    assert_same(summed, p.X, Y, p.folds)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64, np.uint8, bool])
def test_any_number_type_of_y(dtype):
    p = simulate(1, genes=300)
    Y = (np.abs(p.Y) * 3).astype(dtype)
    assert_same(summarise(p.X, Y, p.folds), p.X, Y.astype(float), p.folds)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_several_tiles_of_genes_and_blocks_of_alike_rows(dtype):
    """Runs of rows with the same entries that are longer than a block, and genes left over."""
    p = simulate(5, cells=400, perturbations=2, genes=TILE + 19)
    Y = p.Y.astype(dtype)
    assert np.bincount(p.X[:, :2] @ [1, 2] > 0).max() > 96
    assert_same(summarise(p.X, Y, p.folds), p.X, Y.astype(float), p.folds)


def test_rows_with_the_same_entries_have_the_same_key_and_others_another():
    """Same columns with other values, and the first entries of a longer row, are not the same."""
    X = np.zeros((6, 40))
    X[:, 4] = [1.0, 1.0, 2.0, 1.0, 0.0, 0.0]
    X[3, 7] = 1.0
    keys = pattern_keys(sp.csr_array(X))
    assert (keys[1:] == keys[:-1]).tolist() == [True, False, False, False, True]
    assert keys[4] == -1 < keys[:4].min()
    assert pattern_keys(sp.csr_array(np.zeros((2, 3)))).tolist() == [-1, -1]


def test_rows_that_share_a_key_by_chance_are_told_apart(monkeypatch):
    """Sorting by keys only brings equal rows together: what is summed is compared itself."""
    monkeypatch.setattr("tuner_plugins.enet.blocks.pattern_keys", lambda X: np.zeros(X.shape[0]))
    p = simulate(3, multiplicity=2)
    assert_same(summarise(p.X, p.Y, p.folds), p.X, p.Y, p.folds)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_columns_are_counted_and_picked(dtype):
    X = np.random.default_rng(0).integers(-1, 2, (50, 30)).astype(dtype)
    chosen = np.array([0, 3, 4, 29])
    counts = count_nonzero(X)
    assert counts.tolist() == (X != 0).sum(axis=0).tolist()
    picked = to_csr(X, chosen, int(counts[chosen].sum())).toarray()
    np.testing.assert_array_equal(picked[:, chosen], X[:, chosen])
    assert not np.delete(picked, chosen, axis=1).any()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("index", [np.int32, np.int64])
def test_any_index_of_a_sparse_y(dtype, index):
    p = simulate(3)
    Y = sp.csr_array(np.where(p.Y > 0.5, p.Y, 0.0).astype(dtype))
    Y.indptr, Y.indices = Y.indptr.astype(index), Y.indices.astype(index)
    assert_same(summarise(p.X, Y, p.folds), p.X, Y.toarray().astype(float), p.folds)


def test_fortran_order_and_csc():
    p = simulate(2)
    got = summarise(sp.csc_matrix(p.X), np.asfortranarray(p.Y), p.folds)
    assert_same(got, p.X, p.Y, p.folds)
    duplicated = sp.csr_array(
        (np.ones(4), np.array([1, 1, 0, 2]), np.array([0, 2, 3, 4])), shape=(3, 3)
    )
    got = summarise(duplicated, np.eye(3))
    assert_same(got, duplicated.toarray(), np.eye(3), np.zeros(3, int))


def test_threads_change_no_bit():
    p = simulate(3, genes=1100)
    one, two = (summarise(p.X, p.Y, p.folds, threads=t) for t in (1, 2))
    assert np.array_equal(one.cross, two.cross)
    assert np.array_equal(one.squares, two.squares)
    sparse = sp.csr_array(np.where(p.Y > 1, p.Y, 0))
    one, two = (summarise(p.X, sparse, p.folds, threads=t) for t in (1, 2))
    assert np.array_equal(one.cross, two.cross)


@pytest.mark.parametrize("sparse", [False, True])
def test_chunks_add_up(sparse):
    p = simulate(4)
    Y = sp.csr_array(np.where(p.Y > 1, p.Y, 0)) if sparse else p.Y
    whole = summarise(p.X, Y, p.folds, 4)
    own = summarise(p.X[:100], Y[:100], p.folds[:100], 4)
    own += summarise(p.X[100:], Y[100:], p.folds[100:], 4)
    shared = summarise(p.X[:100], Y[:100], p.folds[:100], 4, like=whole)
    shared += summarise(p.X[100:], Y[100:], p.folds[100:], 4, like=whole)
    for got in (own.shifted(whole.x_shift, whole.y_shift), shared):
        np.testing.assert_allclose(got.gram, whole.gram, rtol=1e-11, atol=1e-10)
        np.testing.assert_allclose(got.cross, whole.cross, rtol=1e-11, atol=1e-10)
        np.testing.assert_allclose(got.squares, whole.squares, rtol=1e-11, atol=1e-10)


@pytest.mark.parametrize("sparse", [False, True])
def test_a_block_is_added_in_place(sparse):
    p = simulate(4)
    Y = sp.csr_array(np.where(p.Y > 1, p.Y, 0)) if sparse else p.Y
    summed = summarise(p.X[:100], Y[:100], p.folds[:100], 4)
    cross = summed.cross
    summarise_onto(summed, p.X[100:], Y[100:], p.folds[100:])
    assert summed.cross is cross
    assert_same(summed, p.X, Y.toarray() if sparse else Y, p.folds)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda X, Y, f: (X[:, 1:], Y, f), "must have 12 columns, 11 genes"),
        (lambda X, Y, f: (X, Y[:, 1:], f), "must have 12 columns, 11 genes"),
        (lambda X, Y, f: (X, Y[1:], f), "as many rows in X as in Y"),
        (lambda X, Y, f: (X, Y, f + 1), "numbered from 0"),
        (lambda X, Y, f: (X, sp.csr_array(Y), f), "is sparse"),
        (lambda X, Y, f: (X, Y * np.nan, f), "Y holds NaN"),
    ],
)
def test_a_block_that_does_not_fit_is_named(change, message):
    p = simulate(9)
    summed = summarise(p.X, p.Y, p.folds, 4)
    with pytest.raises(DataError, match=message):
        summarise_onto(summed, *change(p.X, p.Y, p.folds))


def test_row_blocks_add_up(monkeypatch):
    monkeypatch.setattr("tuner_plugins.enet.blocks._BLOCK", 37)
    p = simulate(5)
    assert_same(summarise(p.X, p.Y, p.folds), p.X, p.Y, p.folds)


@pytest.mark.parametrize("level", [1e2, 1e4, 1e6])
def test_means_far_from_zero_cost_no_digits(level):
    p = simulate(6)
    near = summarise(p.X, p.Y, p.folds)
    far = summarise(p.X, p.Y + level, p.folds)
    # The inputs themselves are rounded to eps * level.
    np.testing.assert_allclose(
        far.total_sum_of_squares(), near.total_sum_of_squares(), rtol=1e-15 * level + 1e-13
    )


def test_total_sum_of_squares_is_about_the_training_mean():
    p = simulate(7)
    got = summarise(p.X, p.Y, p.folds).total_sum_of_squares()
    for fold in range(4):
        held = p.folds == fold
        want = ((p.Y[held] - p.Y[~held].mean(axis=0)) ** 2).sum(axis=0)
        np.testing.assert_allclose(got[fold], want, rtol=1e-11)


def test_subsets_and_training():
    p = simulate(8)
    whole = summarise(p.X, p.Y, p.folds)
    columns, genes = [0, 10, 4], np.arange(11) % 3 == 0
    assert_same(whole.columns(columns).genes(genes), p.X[:, columns], p.Y[:, genes], p.folds)
    train = whole.training()
    for fold in range(4):
        rest = p.folds != fold
        one = summarise(p.X[rest], p.Y[rest], like=whole)
        np.testing.assert_allclose(train.gram[fold], one.gram[0], rtol=1e-11, atol=1e-10)
        np.testing.assert_allclose(train.cross[fold], one.cross[0], rtol=1e-11, atol=1e-10)


def test_constant_columns_are_exactly_zero():
    X, Y = np.full((50, 2), 0.1), np.full((50, 3), 1 / 3)
    summed = summarise(X, Y)
    assert not summed.squares.any()
    assert not summed.gram[0, 1:].any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda X, Y, f: (X[:-1], Y, f), "one row a cell"),
        (lambda X, Y, f: (X, Y[:, 0], f), "two dimensions"),
        (lambda X, Y, f: (X, np.where(Y == Y[3, 2], np.nan, Y), f), r"Y holds NaN.*\(2\)"),
        (lambda X, Y, f: (np.where(X == X[3, 10], np.inf, X), Y, f), r"X holds NaN.*\(10\)"),
        (lambda X, Y, f: (X, Y.astype(str), f), "real numbers"),
        (lambda X, Y, f: (X, Y, f - 1), "numbered from 0"),
        (lambda X, Y, f: (X, Y, f * 0.5), "integers"),
    ],
)
def test_bad_input_is_named(change, message):
    p = simulate(9)
    with pytest.raises(DataError, match=message):
        summarise(*change(p.X, p.Y, p.folds), 4)


def test_adding_other_shapes_is_refused():
    p = simulate(10)
    with pytest.raises(DataError, match="same folds"):
        summarise(p.X, p.Y, p.folds) + summarise(p.X, p.Y)
