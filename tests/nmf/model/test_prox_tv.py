"""The proximal operator against a quadratic solver, its optimality conditions and its limits."""

from __future__ import annotations

import ctypes
import itertools
from time import process_time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tuner_plugins.nmf.kernels.build import load_kernels
from tuner_plugins.nmf.model.prox_tv import ProxError, prox_tv1d, prox_tv1d_columns
from tuner_plugins.nmf.model.prox_tv_numba import numba_prox

from benchmarks.prox import kkt_residual

KERNELS = ["c", "numba"]


@pytest.fixture(params=KERNELS)
def solve(request, monkeypatch):
    """Return the operator on each of the two kernels."""
    if request.param == "c":
        if load_kernels() is None:
            pytest.skip("no C compiler here: the Numba kernel alone is tested")
    else:
        monkeypatch.setattr("tuner_plugins.nmf.model.prox_tv._c_prox", lambda: None)
        monkeypatch.setattr("tuner_plugins.nmf.model.prox_tv_numba.MOST_PLAIN", 0)
    return prox_tv1d


def brute_force(y, lam, weights):
    """Try every way to cut at most nine positions into level pieces, each cut a step up or down.

    The solution is the one whose steps go where they should and whose dual stays within +-lam.
    """
    n = len(y)
    assert n <= 9
    ways = list(itertools.product((0, 1, -1), repeat=n - 1))
    steps = np.array(ways, dtype=int).reshape(len(ways), n - 1)
    piece = np.cumsum(np.pad(steps != 0, ((0, 0), (1, 0))), axis=1)
    is_in = piece[:, :, np.newaxis] == np.arange(n)
    steps = np.pad(steps, ((0, 0), (1, 1)))
    pulled = weights * y + lam * np.diff(steps, axis=1)
    levels = np.einsum("wi,wip->wp", pulled, is_in)
    levels /= np.maximum(np.einsum("i,wip->wp", weights, is_in), np.finfo(float).tiny)
    x = np.take_along_axis(levels, piece, axis=1)
    dual = np.cumsum(weights * (x - y), axis=1)[:, :-1]
    amiss = np.maximum(np.abs(dual) - lam, -steps[:, 1:-1] * np.diff(x, axis=1))
    return x[np.argmin(amiss.max(axis=1, initial=0))]


def signals(kind, n, rng):  # noqa: C901 - a line for each shape
    """Simulate the shapes that break taut strings: rough, runs, smooth, monotone, spikes."""
    if kind == "rough":
        return rng.normal(size=n)
    if kind == "runs":
        return np.repeat(rng.poisson(1.0, n), rng.integers(1, 60, n))[:n].astype(float)
    if kind == "smooth":
        return 10 + np.cumsum(np.cumsum(rng.normal(size=n)) * 0.01) * 0.01
    if kind == "up":
        return np.sort(rng.exponential(size=n))
    if kind == "down":
        return -np.sort(rng.exponential(size=n))
    if kind == "valley":
        return np.abs(np.linspace(-50, 70, n)) ** 1.5
    if kind == "walk":
        return np.maximum(np.cumsum(rng.normal(size=n)) * 0.3, 0)
    if kind == "drift":  # rough from near, but only what drifts far makes a step
        return np.cumsum(rng.normal(size=n))
    if kind == "jagged":  # turns everywhere, but what matters is smooth
        return 30 * np.sin(np.arange(n) / 400) + 1e-3 * (-1.0) ** np.arange(n)
    if kind == "gaps":  # rough, with stretches that no knot falls into
        return rng.normal(size=n) * (np.arange(n) // 9_000 % 3 > 0)
    return rng.normal(size=n) + 1e4 * (rng.random(n) < 0.01)


SHAPES = [
    *("rough", "runs", "smooth", "up", "down", "valley"),
    *("walk", "drift", "jagged", "gaps", "spikes"),
]
VALUES = st.one_of(st.integers(-4, 4).map(float), st.floats(-100, 100))


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    pairs=st.lists(st.tuples(VALUES, st.floats(0.1, 10)), min_size=2, max_size=8),
    lam=st.floats(0.01, 50),
)
def test_equals_the_best_of_all_cuts(pairs, lam):
    y, weights = np.array(pairs).T
    expected = brute_force(y, lam, weights)
    np.testing.assert_allclose(prox_tv1d(y, lam, weights), expected, rtol=1e-9, atol=1e-9)


def test_each_column_has_its_own_penalty(solve):
    rng = np.random.default_rng(12)
    columns, weights = rng.normal(size=(4, 9)), rng.uniform(0.5, 5, 9)
    lams = np.array([0.0, 0.1, 0.7, 40.0])
    found = prox_tv1d_columns(columns, lams, weights, np.empty_like(columns), threads=2)
    for row, column, lam in zip(found, columns, lams, strict=True):
        expected = brute_force(column, lam, weights) if lam else column
        np.testing.assert_allclose(row, expected, rtol=1e-9, atol=1e-9)
        np.testing.assert_array_equal(row, solve(column, lam, weights))  # as one by one
    with pytest.raises(ProxError, match="expected one lam, or 4 of them"):
        prox_tv1d_columns(columns, lams[:3])
    with pytest.raises(ProxError, match="lam must be a finite number of at least 0, not -1"):
        prox_tv1d_columns(columns, [1.0, 1.0, -1.0, 1.0])


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("lam", [0.01, 1.0, 30.0, 1000.0])
def test_is_optimal_on_every_shape(solve, shape, lam):
    rng = np.random.default_rng(3)
    y = signals(shape, 90_000, rng)
    weights = rng.uniform(0.1, 50, y.size)
    assert kkt_residual(y, solve(y, lam), lam) <= 1e-9
    assert kkt_residual(y, solve(y, lam, weights), lam, weights) <= 1e-9


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_stack_is_exact_on_every_shape(shape, weighted):
    """The quick library has no other algorithm; in the other one the signal's shape chooses."""
    library = load_kernels(quick=True)
    if library is None:
        pytest.skip("no C compiler here: the Numba kernel alone is tested")
    rng = np.random.default_rng(6)
    double, size = ctypes.POINTER(ctypes.c_double), 70_000
    for y in (signals(shape, size, rng), np.round(signals(shape, size, rng))):
        weights = rng.uniform(0.1, 50, size) if weighted else None
        heavy = weights.ctypes.data_as(double) if weighted else None
        for lam in (0.01, 1.0, 30.0, 1000.0, 1e12, 1e300):
            x, scale = y.copy(), np.abs(y).max()
            place = x.ctypes.data_as(double)  # in place
            status = library.tuner_prox_tv1d(
                place, heavy, place, ctypes.c_int64(size), ctypes.c_double(lam), None
            )
            assert status == 0
            assert kkt_residual(y, x, lam, weights) <= 1e-9
            np.testing.assert_allclose(x, prox_tv1d(y, lam, weights), rtol=0, atol=1e-11 * scale)


def test_the_residual_sees_a_wrong_answer():
    y = np.random.default_rng(0).normal(size=100)
    x = prox_tv1d(y, 1.0)
    for wrong in (y, x * 1.001, prox_tv1d(y, 1.01), np.full(100, y.mean())):
        assert kkt_residual(y, wrong, 1.0) > 1e-3


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("weighted", [False, True])
def test_both_kernels_agree(monkeypatch, shape, dtype, weighted):
    if load_kernels() is None:
        pytest.skip("no C compiler here: there is one kernel only")
    monkeypatch.setattr("tuner_plugins.nmf.model.prox_tv_numba.MOST_PLAIN", 0)
    rng = np.random.default_rng(4)
    y = signals(shape, 150_000, rng).astype(dtype)  # twice what the sixteen lanes take at once
    weights = rng.uniform(0.5, 40, y.size).astype(dtype) if weighted else None
    other = np.empty_like(y)
    tolerance = 1e-12 if dtype == np.float64 else 1e-6
    for lam in (0.0, 0.3, 20.0, 700.0, 1e12):
        assert numba_prox()(y, weights, other, lam) == 0
        difference = np.abs(prox_tv1d(y, lam, weights) - other).max()
        assert difference <= tolerance * np.abs(y).max()


def test_weighted_equals_repeated(solve):
    rng = np.random.default_rng(5)
    lengths = rng.integers(1, 40, 3_000)
    y = rng.gamma(0.5, 4, lengths.size)
    for lam in (0.5, 20.0):
        whole = solve(np.repeat(y, lengths), lam)
        runs = solve(y, lam, lengths)
        np.testing.assert_allclose(np.repeat(runs, lengths), whole, rtol=0, atol=1e-10)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    y=st.lists(VALUES, min_size=1, max_size=60).map(np.array),
    lam=st.floats(1e-3, 1e3),
    scale=st.sampled_from([0.25, 8.0]),
)
def test_scales_mirrors_and_reverses(y, lam, scale):
    x = prox_tv1d(y, lam)
    near = {"rtol": 0, "atol": 1e-10 * max(1.0, np.abs(y).max())}
    np.testing.assert_allclose(prox_tv1d(scale * y, scale * lam), scale * x, **near)
    np.testing.assert_allclose(prox_tv1d(-y, lam), -x, **near)
    np.testing.assert_allclose(prox_tv1d(y[::-1], lam)[::-1], x, **near)
    assert x.min() >= y.min()
    assert x.max() <= y.max()


def test_limits(solve):
    rng = np.random.default_rng(6)
    y = rng.normal(5, 2, 500)
    weights = rng.uniform(1, 9, 500)
    assert np.array_equal(solve(y, 0.0, weights), y)
    np.testing.assert_allclose(solve(y, 1e-9), y, atol=3e-9)
    mean = np.average(y, weights=weights)
    largest = np.abs(np.cumsum(weights * (y - mean))).max()
    for lam in (largest * (1 + 1e-9), 1e6, 1e300):
        np.testing.assert_allclose(solve(y, lam, weights), mean, rtol=1e-12)
    assert np.ptp(solve(y, largest * 0.99, weights)) > 1e-6


def test_smallest_inputs(solve):
    assert solve([], 1.0).shape == (0,)
    assert solve([3.0], 1.0).tolist() == [3.0]
    assert solve([0.0, 6.0], 1.0).tolist() == [1.0, 5.0]
    assert solve([0.0, 6.0], 9.0).tolist() == [3.0, 3.0]
    assert solve([0.1, 0.1, 0.1], 2.0).tolist() == [0.1, 0.1, 0.1]


def test_what_is_not_negative_stays_so(solve):
    rng = np.random.default_rng(7)
    for seed in range(20):
        y = np.maximum(signals("runs", 2_000, rng) - 1, 0) * 0.1 * (seed + 1)
        assert solve(y, 0.7).min() >= 0.0


def test_float32_stays_float32_with_the_accuracy_of_its_type(solve):
    y = signals("runs", 50_000, np.random.default_rng(8)) + 3
    single = solve(y.astype(np.float32), 5.0)
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, solve(y, 5.0), rtol=2e-7)


def test_input_is_left_alone_and_other_types_are_taken(solve):
    y = np.arange(12)[::2]
    assert solve(y, 1.0).dtype == np.float64
    assert y.tolist() == [0, 2, 4, 6, 8, 10]
    np.testing.assert_array_equal(solve(y, 1.0), solve(list(map(float, y)), 1.0))


@pytest.mark.parametrize("shape", ["rough", "walk", "jagged", "runs", "smooth"])
def test_in_place_is_the_same_as_apart(shape):
    y = signals(shape, 150_000, np.random.default_rng(12))
    for lam in (0.5, 50.0):
        expected, columns = prox_tv1d(y, lam), y[None].copy()
        assert np.array_equal(prox_tv1d_columns(columns, lam)[0], expected)


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_columns_in_place_and_apart(solve, threads):
    rng = np.random.default_rng(9)
    columns = rng.normal(size=(4, 3_000))
    weights = rng.uniform(1, 5, 3_000)
    expected = np.array([solve(c, 2.0, weights) for c in columns])
    before, out = columns.copy(), np.empty_like(columns)
    assert prox_tv1d_columns(columns, 2.0, weights, out=out, threads=threads) is out
    assert np.array_equal(columns, before)
    assert np.array_equal(out, expected)
    assert prox_tv1d_columns(columns, 2.0, weights, threads=threads) is columns
    assert np.array_equal(columns, expected)


def test_rows_may_lie_apart():
    padded = np.random.default_rng(10).normal(size=(3, 50))
    expected = np.array([prox_tv1d(row, 1.0) for row in padded[:, :40]])
    rest = padded[:, 40:].copy()
    prox_tv1d_columns(padded[:, :40], 1.0)
    assert np.array_equal(padded[:, :40], expected)
    assert np.array_equal(padded[:, 40:], rest)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lam": -1.0}, "lam must be a finite number of at least 0, not -1.0"),
        ({"lam": np.nan}, "lam must be a finite number"),
        ({"lam": np.inf}, "lam must be a finite number"),
        ({"y": [0.0, np.nan, 1.0]}, "y must be finite"),
        ({"y": [0.0, -np.inf, 1.0]}, "y must be finite"),
        ({"y": np.zeros((3, 3))}, "one dimension, not shape"),
        ({"weights": [1.0, 0.0, 1.0]}, "weights must be finite and above 0"),
        ({"weights": [1.0, -2.0, 1.0]}, "weights must be finite and above 0"),
        ({"weights": [1.0, np.nan, 1.0]}, "weights must be finite and above 0"),
        ({"weights": [1.0, np.inf, 1.0]}, "weights must be finite and above 0"),
        ({"weights": [1.0, 1.0]}, "expected 3 weights"),
    ],
)
def test_bad_input_is_answered_in_one_line(solve, change, message):
    call = {"y": [1.0, 2.0, 3.0], "lam": 1.0, "weights": None} | change
    with pytest.raises(ProxError, match=message) as caught:
        solve(**call)
    assert "\n" not in str(caught.value)


def test_bad_columns_are_answered_in_one_line():
    good = np.zeros((2, 5))
    locked = np.zeros((2, 5))
    locked.flags.writeable = False
    for columns, out, message in [
        (np.zeros((5, 2)).T, None, "contiguous"),
        (np.zeros((2, 5), int), None, "float64 or float32"),
        (good, np.zeros((2, 5), np.float32), "float64 or float32"),
        (good, np.zeros((2, 4)), "shape"),
        (np.zeros(5), None, "shape"),
        (locked, None, "read-only"),
    ]:
        with pytest.raises(ProxError, match=message):
            prox_tv1d_columns(columns, 1.0, out=out)


def seconds_a_position(y, lam):
    times = []
    for _ in range(3):
        begin = process_time()
        prox_tv1d(y, lam)
        times.append((process_time() - begin) / y.size)
    return min(times)


@pytest.mark.parametrize("teeth", [0.0, 2.0])
@pytest.mark.parametrize("shape", [np.abs, np.square, np.sqrt])
def test_time_is_linear_where_knots_lie_far_behind(shape, teeth):
    """A method that starts again from each knot takes eight times as long a position here.

    The penalty grows with the signal, such that a knot is known only a tenth of the signal later;
    teeth make every second position a knot.
    """
    if load_kernels() is None:
        pytest.skip("no C compiler here: the clock would time Numba's compiler")

    def simulate(n):
        y = n * shape(np.linspace(0, 1, n)) + teeth * (-1.0) ** np.arange(n)
        return y, (n / 20) ** 2

    assert seconds_a_position(*simulate(320_000)) < 4 * seconds_a_position(*simulate(40_000))


def sign_of_steps(x):
    return np.sign(np.diff(x, prepend=x[:1])).astype(np.int8)


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(SHAPES),
    st.integers(1, 700),
    st.floats(-2, 2),
    st.sampled_from(["none", "similar", "nonsense"]),
    st.booleans(),
    st.integers(0, 2**32 - 1),
)
def test_steps_of_another_answer_change_nothing(shape, n, power, known, weighted, seed):
    rng = np.random.default_rng(seed)
    y, lam = signals(shape, n, rng), 10.0**power
    weights = rng.integers(1, 50, len(y)).astype(float) if weighted else None
    steps = np.zeros((1, len(y)), np.int8)
    if known == "similar":
        near = y + 10 ** rng.uniform(-5, 0) * np.abs(y).max() * rng.normal(size=len(y))
        steps[0] = sign_of_steps(prox_tv1d(near, lam, weights))
    elif known == "nonsense":
        steps[0] = rng.integers(-1, 2, len(y))
    expected = prox_tv1d(y, lam, weights)
    out = np.empty((1, len(y)))
    prox_tv1d_columns(y[None], lam, weights, out, steps=steps)
    unit = max(np.abs(y).max(), 1e-300)
    assert np.abs(out[0] - expected).max() <= 1e-12 * unit
    if load_kernels() is not None:  # what it leaves is the answer's own
        bends = np.abs(np.diff(out[0])) > 1e-12 * unit
        assert np.array_equal(sign_of_steps(out[0])[1:][bends], steps[0, 1:][bends])


def test_a_series_of_signals_is_solved_sooner_and_right():
    """Signals that drift, as those of a factorisation do: optimal in every round."""
    rng = np.random.default_rng(3)
    n, lam = 50_000, 2.0
    base, other = (np.abs(np.cumsum(rng.normal(size=n))) * 0.1 for _ in range(2))
    noise = rng.normal(size=n) * 0.05
    steps = np.zeros((1, n), np.int8)
    out = np.empty((1, n))
    for turn in range(8):
        y = np.maximum(base + 0.5**turn * other + noise, 0)
        weights = rng.integers(1, 9, n).astype(float)
        prox_tv1d_columns(y[None], lam, weights, out, steps=steps)
        assert kkt_residual(y, out[0], lam, weights) <= 1e-9


def test_steps_need_an_output_of_their_own():
    columns = np.zeros((2, 10))
    with pytest.raises(ProxError, match="not the columns"):
        prox_tv1d_columns(columns, 1.0, steps=np.zeros((2, 10), np.int8))
    with pytest.raises(ProxError, match="int8"):
        prox_tv1d_columns(columns, 1.0, out=columns + 0, steps=np.zeros((2, 10)))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_bad_values_are_seen_with_steps_too(bad):
    y = np.arange(100.0)
    y[50] = bad
    steps = np.ones((1, 100), np.int8)
    with pytest.raises(ProxError, match="finite"):
        prox_tv1d_columns(y[None], 1.0, out=np.empty((1, 100)), steps=steps)
