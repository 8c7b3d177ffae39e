from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tuner_plugins.nmf.io.step_functions import Runs, bin_runs, join_any, join_sorted

from tests.nmf.tracks import expand_runs


def brute_force(records, start, end):
    bases = np.full(end - start, np.nan, np.float32)
    for first, last, value in records:
        bases[max(first - start, 0) : max(last - start, 0)] = value
    return bases


def as_columns(records):
    starts, ends, values = zip(*records, strict=True) if records else ((), (), ())
    return np.array(starts, int), np.array(ends, int), np.array(values, np.float32)


records = st.lists(
    st.tuples(st.integers(5, 60), st.integers(1, 30), st.sampled_from([0.0, 1.0, np.nan])).map(
        lambda r: (r[0], min(r[0] + r[1], 61), r[2])
    ),
    min_size=1,
    max_size=40,
)


@settings(deadline=None, derandomize=True)
@given(records, st.integers(1, 4))
def test_joining_any_records_equals_painting_them_one_by_one(found, parts):
    batches = [as_columns(found[i::parts]) for i in range(parts)]
    found = [record for i in range(parts) for record in found[i::parts]]
    runs = join_any(batches, 5, 61)
    np.testing.assert_array_equal(expand_runs(runs, 5), brute_force(found, 5, 61))
    filled = np.nan_to_num(runs.values, nan=7e7)
    assert (filled[1:] != filled[:-1]).all()


@settings(deadline=None, derandomize=True)
@given(st.lists(st.integers(5, 61), min_size=2, unique=True), st.integers(1, 4), st.data())
def test_joining_sorted_records_equals_painting_them(cuts, parts, data):
    cuts = sorted(cuts)
    found = [
        (a, b, data.draw(st.sampled_from([0.0, np.nan])))
        for a, b in zip(cuts[:-1], cuts[1:], strict=True)
        if data.draw(st.booleans())
    ]
    bounds = np.linspace(0, len(found), parts + 1).astype(int)
    pairs = zip(bounds[:-1], bounds[1:], strict=True)
    batches = [as_columns(found[lower:upper]) for lower, upper in pairs]
    runs = join_sorted(batches, 5, 61)
    np.testing.assert_array_equal(expand_runs(runs, 5), brute_force(found, 5, 61))
    filled = np.nan_to_num(runs.values, nan=7e7)
    assert (filled[1:] != filled[:-1]).all()
    if len(found) > 1:
        assert join_sorted([as_columns(found[::-1])], 5, 61) is None


@settings(deadline=None, derandomize=True)
@given(
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=30),
    width=st.integers(1, 300),
    start=st.integers(0, 1000),
    low=st.sampled_from([0.0, -2.5]),
    seed=st.integers(0, 10),
)
def test_binning_runs_equals_averaging_bases(lengths, width, start, low, seed):
    rng = np.random.default_rng(seed)
    values = rng.choice([low, 0, 1e-3, 1e6], len(lengths)).astype(np.float32)
    runs = Runs(start + np.cumsum(lengths), values)
    end = int(runs.ends[-1])
    bases = expand_runs(runs, start).astype(np.float64)
    means = [bases[i : i + width].mean() for i in range(0, end - start, width)]
    binned = bin_runs(runs, start, end, width)
    assert binned.dtype == np.float64
    np.testing.assert_allclose(binned, means, rtol=1e-12, atol=1e-9 if low else 0)


def test_no_digits_are_lost_far_along_a_chromosome():
    ends = np.cumsum(np.random.default_rng(0).integers(1, 100, 100_000))
    values = np.where(np.arange(100_000) % 1000 < 500, 1e6, 1e-6).astype(np.float32)
    runs, end = Runs(ends, values), int(ends[-1])
    exact = np.add.reduceat(expand_runs(runs, 0).astype(np.longdouble), np.arange(0, end, 50))
    exact /= np.diff(np.arange(0, end, 50), append=end)
    np.testing.assert_allclose(bin_runs(runs, 0, end, 50), exact.astype(float), rtol=1e-12)


def test_bins_are_at_least_one_base_wide():
    with pytest.raises(ValueError, match="1 base wide or more; got 0"):
        bin_runs(Runs(np.array([3]), np.zeros(1, np.float32)), 0, 3, 0)
