from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.utils.extmath import randomized_svd
from tuner_plugins.nmf.io.bigwig import read_runs
from tuner_plugins.nmf.model import reference
from tuner_plugins.nmf.model.factorize import (
    Signal,
    factorize,
    gram_matrix,
    make_signal,
    solve_loadings,
    solve_weights,
)
from tuner_plugins.nmf.model.signal import bin_signal, fill_gaps, join_runs
from tuner_plugins.nmf.model.start import coarse_covariance, start_weights

from tests.nmf.tracks import CHROM, LENGTH, make_tracks


@pytest.fixture(scope="module")
def tracks(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return make_tracks(tmp_path_factory.mktemp("tracks"), seed=3)


@pytest.fixture(scope="module")
def per_base(tracks: list[str]) -> np.ndarray:
    return reference.read_per_base([Path(path) for path in tracks], CHROM, 0, LENGTH)


@pytest.fixture(scope="module")
def joined(tracks: list[str]) -> Signal:
    runs = [fill_gaps(read_runs(path, CHROM, 0, LENGTH), 0) for path in tracks]
    return join_runs(runs, 0, LENGTH)


@pytest.mark.parametrize("k", [1, 2, 4])
def test_fifty_rounds_on_runs_give_what_the_baseline_gives(
    per_base: np.ndarray, joined: Signal, k: int
) -> None:
    assert joined.values.shape[1] < 0.5 * LENGTH
    first = reference.start_weights(per_base, k, "randomized_svd", 0)
    expected, expected_weights = reference.factorize_per_base(per_base, first, 50, 1.0, 1.0)
    found = factorize(joined, k, 50, 1.0, 1.0, start="randomized_svd")
    np.testing.assert_allclose(found.expand(), expected, rtol=0, atol=1e-9)
    # Weights reach 77 here, and the baseline's own move by 2e-9 with one rounding of its start.
    unit = expected_weights.max()
    np.testing.assert_allclose(found.weights / unit, expected_weights / unit, rtol=0, atol=1e-9)


def test_per_base_signal_gives_what_runs_give(per_base: np.ndarray, joined: Signal) -> None:
    dense = make_signal(np.ascontiguousarray(per_base.T), np.arange(1, LENGTH + 1))
    assert dense.lengths is None
    apart = factorize(dense, 3, 5, 0.5, 20.0).expand()
    np.testing.assert_allclose(factorize(joined, 3, 5, 0.5, 20.0).expand(), apart, atol=1e-9)


def test_what_rounds_remember_changes_nothing(
    joined: Signal, monkeypatch: pytest.MonkeyPatch
) -> None:
    remembered = factorize(joined, 3, 30, 1.0, 5.0)
    monkeypatch.setattr("tuner_plugins.nmf.model.factorize.has_warm_start", lambda dtype: False)
    forgotten = factorize(joined, 3, 30, 1.0, 5.0)
    np.testing.assert_allclose(remembered.values, forgotten.values, rtol=0, atol=1e-10)


def test_float32_that_holds_the_signal_is_as_good(joined: Signal) -> None:
    assert joined.values.dtype == np.float32
    assert joined.dtype == np.float64
    wide = joined._replace(values=joined.values.astype(float))
    expected = factorize(wide, 2, 5, 1.0, 5.0)
    found = factorize(joined, 2, 5, 1.0, 5.0)
    assert found.values.dtype == np.float64
    np.testing.assert_allclose(found.values, expected.values, rtol=0, atol=1e-12)


def test_threads_change_nothing(joined: Signal) -> None:
    one, two = (factorize(joined, 4, 3, 1.0, 5.0, threads=n).values for n in (1, 2))
    np.testing.assert_array_equal(one, two)


def test_float32_is_close(joined: Signal) -> None:
    single = make_signal(joined.values.astype(np.float32), joined.ends)
    found = factorize(single, 2, 5, 1.0, 5.0)
    assert found.values.dtype == np.float32
    expected = factorize(joined, 2, 5, 1.0, 5.0).values
    np.testing.assert_allclose(found.values, expected, atol=2e-4 * expected.max())


@pytest.mark.parametrize(("k", "tracks"), [(3, 40), (5, 30), (4, 6)])
def test_randomized_start_is_what_scikit_learn_finds(k: int, tracks: int) -> None:
    rng = np.random.default_rng(k)
    spectrum = np.geomspace(1, 0.05, tracks)
    signal = rng.normal(size=(3000, tracks)) * spectrum @ rng.normal(size=(tracks, tracks))
    for seed in (0, 7):
        vectors = randomized_svd(signal, k, random_state=seed)[2]
        first = start_weights(signal.T @ signal, k, "randomized_svd", seed)
        for row, vector in zip(first, vectors, strict=True):
            positive, negative = np.maximum(vector, 0), np.maximum(-vector, 0)
            better = positive if positive @ positive >= negative @ negative else negative
            np.testing.assert_allclose(row, better, atol=1e-8)


def test_randomized_start_differs_from_exact_vectors() -> None:
    rng = np.random.default_rng(0)
    gram = np.cov(rng.normal(size=(60, 200)))
    apart = start_weights(gram, 4, "randomized_svd") - start_weights(gram, 4, "eigh")
    assert np.abs(apart).max() > 1e-6  # 4 + 10 random directions of 60 cannot be exact


@pytest.mark.parametrize(("size", "width"), [(40_000, 1666), (200_000, 5000), (11, 1)])
def test_the_coarse_covariance_is_that_of_wide_bins(size: int, width: int) -> None:
    rng = np.random.default_rng(size)
    cuts = np.append(np.flatnonzero(rng.random(size - 1) < 0.02) + 1, size)
    values = rng.gamma(0.5, 3, size=(6, cuts.size))
    dense = np.repeat(values, np.diff(cuts, prepend=0), axis=1)
    edges = range(0, size, width)
    means = np.concatenate(
        [
            np.broadcast_to(part.mean(1, keepdims=True), part.shape)
            for part in (dense[:, edge : edge + width] for edge in edges)
        ],
        axis=1,
    )
    expected = np.cov(means, bias=True) * size
    np.testing.assert_allclose(
        coarse_covariance([(values, cuts)], size), expected, rtol=1e-9, atol=1e-9
    )


def test_contrasts_are_groups_that_rise_and_fall_together() -> None:
    """Two groups of tracks, one where the other is not, and one that follows neither."""
    rng = np.random.default_rng(5)
    on = np.repeat(rng.random(200) < 0.5, 1000)
    rest = np.repeat(rng.random(200) * 0.3, 1000)
    tracks = np.array([on * 2.0, on * 2.0, on * 1.0, ~on * 2.0, ~on * 1.0, rest]) + 5
    first = start_weights(
        coarse_covariance([(tracks, np.arange(1, 200_001))], 200_000), 4, "contrast"
    )
    np.testing.assert_allclose(first[0], np.full(6, 6**-0.5))
    np.testing.assert_allclose(first[1], np.array([2, 2, 1, 0, 0, 0]) / 14**0.5, atol=2e-2)
    np.testing.assert_allclose(first[2], np.array([0, 0, 0, 2, 1, 0]) / 14**0.5, atol=2e-2)
    np.testing.assert_allclose(first[3], np.eye(6)[5], atol=2e-2)


def test_a_ladder_of_penalties_smooths_each_loading_by_its_own(per_base: np.ndarray) -> None:
    """Against a plain implementation, with another algorithm for each column."""
    lams, weights = [0.5, 5.0, 50.0], reference.start_weights(per_base, 3, "randomized_svd", 0)
    prox = reference._compiled_prox()
    for _ in range(3):
        inverse = np.linalg.inv(weights @ weights.T + np.eye(3))
        loadings = np.maximum(per_base @ weights.T @ inverse, 0)
        rows = loadings.T.copy()
        loadings = np.stack([prox(rows[c], lam) for c, lam in enumerate(lams)], axis=1)
        weights = np.maximum(np.linalg.lstsq(loadings, per_base, rcond=None)[0], 0)
    dense = make_signal(np.ascontiguousarray(per_base.T), np.arange(1, LENGTH + 1))
    found = factorize(dense, 3, 3, 1.0, lams, start="randomized_svd")
    np.testing.assert_allclose(found.values.T, loadings, rtol=0, atol=1e-9)
    assert np.all(np.diff([np.count_nonzero(np.diff(row)) for row in found.values]) < 0)


@pytest.mark.parametrize("start", ["eigh", "contrast", "randomized_svd", "random"])
def test_more_loadings_than_tracks(joined: Signal, start: str) -> None:
    found = factorize(joined, 8, 4, 1.0, 5.0, start=start, seed=5)
    assert found.values.shape == (8, joined.values.shape[1])
    assert found.weights.shape == (8, 5)
    assert np.isfinite(found.values).all()
    assert found.values.min() >= 0
    assert found.weights.min() >= 0
    again = factorize(joined, 8, 4, 1.0, 5.0, start=start, seed=5)
    np.testing.assert_array_equal(found.values, again.values)
    other = factorize(joined, 8, 4, 1.0, 5.0, start=start, seed=6)
    assert np.array_equal(found.values, other.values) == (start in ("eigh", "contrast"))


def test_exact_start_uses_both_sides_of_every_vector() -> None:
    gram = np.array([[3.0, 1.0, -0.5], [1.0, 2.0, 0.0], [-0.5, 0.0, 1.0]])
    first = start_weights(gram, 8)
    vectors = np.linalg.eigh(gram)[1].T[::-1]
    np.testing.assert_allclose(np.abs(first[:3] - first[3:6]), np.abs(vectors), atol=1e-15)
    np.testing.assert_array_equal(first[:3] * first[3:6], 0)
    np.testing.assert_array_equal(first[6:], np.eye(3)[:2])


def test_planted_factors_come_back() -> None:
    rng = np.random.default_rng(1)
    truth = np.zeros((2, 600))
    truth[0, 100:250], truth[1, 300:500] = 4.0, 3.0
    weights = np.array([[1.0, 0.5, 0.0, 0.2], [0.0, 0.1, 1.0, 0.7]])
    values = weights.T @ truth + rng.normal(scale=0.2, size=(4, 600))
    found = factorize(make_signal(values, np.arange(1, 601) * 100), 2, 30, 1e-3, 50.0)
    match = np.corrcoef(np.vstack([truth, found.values]))[:2, 2:].max(axis=1)
    assert match.min() > 0.99


def test_huge_penalty_makes_every_loading_its_mean(joined: Signal) -> None:
    found = factorize(joined, 2, 1, 1.0, 1e9)
    np.testing.assert_allclose(np.ptp(found.values, axis=1), 0, atol=1e-9)
    flat = solve_loadings(joined, start_weights(gram_matrix(joined), 2), 1.0, 0.0)
    lengths = np.diff(joined.ends, prepend=0)
    np.testing.assert_allclose(found.values[:, 0], flat @ lengths / LENGTH, rtol=1e-9)


def test_without_penalties_loadings_solve_least_squares() -> None:
    rng = np.random.default_rng(2)
    weights = rng.uniform(size=(2, 5))
    truth = rng.uniform(size=(2, 50))
    signal = make_signal(weights.T @ truth, np.arange(1, 51))
    np.testing.assert_allclose(solve_loadings(signal, weights, 0.0, 0.0), truth, atol=1e-9)
    np.testing.assert_allclose(
        solve_weights(truth @ truth.T, truth @ signal.values.T), weights, atol=1e-9
    )


def test_dead_loadings_stay_zero_and_finite() -> None:
    values = np.zeros((3, 40))
    values[0, :20] = 2.0
    found = factorize(make_signal(values, np.arange(1, 41) * 10), 3, 5, 0.0, 1.0)
    assert np.isfinite(found.values).all()
    assert np.isfinite(found.weights).all()


def test_all_zero_signal() -> None:
    found = factorize(make_signal(np.zeros((3, 10)), np.arange(1, 11) * 7), 2, 5, 1.0, 1.0)
    np.testing.assert_array_equal(found.values, 0)


def test_tolerance_stops_early(joined: Signal) -> None:
    stopped = factorize(joined, 2, 50, 1.0, 5.0, tolerance=0.05)
    rounds = next(
        n
        for n in range(1, 50)
        if np.array_equal(factorize(joined, 2, n, 1.0, 5.0).weights, stopped.weights)
    )
    assert 1 < rounds < 20


def test_penalty_means_the_same_on_bins(tracks: list[str]) -> None:
    """On a signal that is constant over 100 bases, bins of 1, 10 and 100 bases agree."""
    rng = np.random.default_rng(4)
    means = rng.uniform(0, 10, size=(4, 60))
    coarse = factorize(bin_signal(means, 6000, 100), 3, 5, 1.0, 40.0).expand()
    for width in (1, 10):
        repeated = np.repeat(means, 100 // width, axis=1)
        fine = factorize(bin_signal(repeated, 6000, width), 3, 5, 1.0, 40.0).expand()
        np.testing.assert_allclose(fine, coarse, atol=1e-9)
