from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tuner_plugins.nmf.io.step_functions import Runs
from tuner_plugins.nmf.model.factorize import make_signal
from tuner_plugins.nmf.model.signal import (
    SignalError,
    bin_signal,
    fill_gaps,
    join_runs,
    scale_factors,
    transform_values,
)


@st.composite
def step_functions(draw: st.DrawFn) -> tuple[int, int, list[Runs]]:
    start = draw(st.integers(0, 10**9))
    size = draw(st.integers(1, 60))
    tracks = []
    for _ in range(draw(st.integers(1, 4))):
        inner = draw(st.sets(st.integers(1, size), max_size=8)) | {size}
        ends = np.array(sorted(inner)) + start
        values = draw(st.lists(st.floats(0, 100, width=32), min_size=len(ends), max_size=len(ends)))
        tracks.append(Runs(ends.astype(np.int64), np.array(values, np.float32)))
    return start, size, tracks


def expand(runs: Runs, start: int) -> np.ndarray:
    return np.repeat(runs.values.astype(float), np.diff(runs.ends, prepend=start))


@given(step_functions())
def test_joined_runs_expand_to_the_tracks(case: tuple[int, int, list[Runs]]) -> None:
    start, size, tracks = case
    signal = join_runs(tracks, start, start + size)
    assert signal.ends[-1] == size
    found = np.repeat(signal.values, np.diff(signal.ends, prepend=0), axis=1)
    np.testing.assert_array_equal(found, [expand(runs, start) for runs in tracks])
    assert signal.lengths is None or signal.lengths.sum() == size


def test_joined_runs_are_as_few_as_changes() -> None:
    tracks = [
        Runs(np.array([30, 100]), np.array([1, 2], np.float32)),
        Runs(np.array([70, 100]), np.array([3, 4], np.float32)),
    ]
    np.testing.assert_array_equal(join_runs(tracks, 0, 100).ends, [30, 70, 100])


def test_nearly_every_position_a_change_gives_positions() -> None:
    ends = np.delete(np.arange(1, 101), 50)
    signal = join_runs([Runs(ends, np.arange(99, dtype=np.float32))], 0, 100)
    assert signal.lengths is None
    assert signal.values.shape == (1, 100)


def test_gaps_are_zero_or_the_mean() -> None:
    runs = Runs(np.array([110, 130, 140]), np.array([4, np.nan, 1], np.float32))
    np.testing.assert_array_equal(fill_gaps(runs, 100, "zero").values, [4, 0, 1])
    np.testing.assert_array_equal(fill_gaps(runs, 100, "mean").values, [4, 2.5, 1])
    nothing = Runs(np.array([110]), np.array([np.nan], np.float32))
    np.testing.assert_array_equal(fill_gaps(nothing, 100, "mean").values, [0])


def test_infinite_values_are_refused() -> None:
    with pytest.raises(SignalError, match="infinite"):
        fill_gaps(Runs(np.array([10]), np.array([np.inf], np.float32)), 0)


@pytest.mark.parametrize(
    ("transform", "inverse"),
    [("none", lambda y: y), ("log1p", np.expm1), ("sqrt", np.square), ("asinh", np.sinh)],
)
def test_transforms_are_odd_and_invertible(transform: str, inverse: object) -> None:
    values = np.array([0.0, 0.5, 7.0, 1e4], np.float32)
    found = transform_values(values, transform)
    np.testing.assert_allclose(inverse(found), values, rtol=1e-12)
    np.testing.assert_array_equal(transform_values(-values, transform), -found)


@given(
    pairs=st.lists(
        st.tuples(st.integers(-3, 3).map(lambda value: value / 3), st.integers(1, 9)), min_size=1
    )
)
def test_a_rank_is_the_fraction_of_bases_below(pairs: list[tuple[float, int]]) -> None:
    values, lengths = (np.array(column) for column in zip(*pairs, strict=True))
    dense = np.repeat(values, lengths)
    expected = [np.mean(dense < value) for value in values]
    found = transform_values(values, "rank", lengths)
    np.testing.assert_allclose(found, expected, rtol=1e-14)
    nearly = values * (1 + 1e-15)  # what rounding leaves of equal averages is equal
    np.testing.assert_array_equal(transform_values(nearly, "rank", lengths), found)
    joined = join_runs([Runs(np.cumsum(lengths) + 50, values)], 50, 50 + len(dense), "rank")
    apart = np.repeat(joined.values[0], np.diff(joined.ends, prepend=0))
    np.testing.assert_array_equal(apart, np.repeat(found, lengths))


def test_bins_end_with_the_region() -> None:
    signal = bin_signal(np.ones((2, 4)), 35, 10)
    np.testing.assert_array_equal(signal.ends, [10, 20, 30, 35])
    np.testing.assert_array_equal(signal.lengths, [10, 10, 10, 5])


def test_scale_factors_are_those_of_the_positions() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(3, 2, size=(3, 20))
    ends = np.cumsum(rng.integers(1, 9, 20))
    full = np.repeat(values, np.diff(ends, prepend=0), axis=1)
    signal = make_signal(values, ends)
    np.testing.assert_allclose(scale_factors([signal], "max"), np.abs(full).max(axis=1))
    np.testing.assert_allclose(scale_factors([signal], "l2"), np.sqrt((full**2).mean(axis=1)))
    np.testing.assert_allclose(scale_factors([signal], "std"), full.std(axis=1))
    np.testing.assert_array_equal(scale_factors([signal], "none"), 1)
    first, rest = (
        make_signal(values[:, :7], ends[:7]),
        make_signal(values[:, 7:], ends[7:] - ends[6]),
    )
    for scaling in ("none", "max", "l2", "std"):
        whole = scale_factors([signal], scaling)
        np.testing.assert_allclose(scale_factors([first, rest], scaling), whole)


@pytest.mark.parametrize("scaling", ["none", "max", "l2", "std"])
def test_constant_tracks_do_not_divide_by_zero(scaling: str) -> None:
    values = np.array([[0.0, 0.0], [0.1, 0.1], [0.0, 1.0]])
    factors = scale_factors([make_signal(values, np.array([3, 1000]))], scaling)
    assert factors[0] == 1
    assert (values / factors[:, None]).max() < 1000
