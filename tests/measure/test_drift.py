"""One model of a machine that drifts: planted speeds, for the race and for trials as they come."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone

import numpy as np
import pytest

from tuner.measure.drift import KERNEL_NOISE, WANDER, Drift, Fit, Measurement
from tuner.records import CaseRecord

# -- the race: all that was timed ----------------------------------------------------------------


def drifting(rng: np.random.Generator, repeats: int, crowded: bool = False) -> list[Measurement]:
    """Four settings in turns while the machine's speed wanders by far more than they differ."""
    levels, found, slow = np.log([1.0, 1.02, 0.5, 2.0]), [], 0.0
    for at in range(repeats * 4):
        slow += rng.normal(0, 0.03)
        beside = at % 12 < 4 and crowded
        extra = rng.uniform(0, 0.2) if beside else 0.0
        seconds = math.exp(levels[at % 4] + slow + extra + rng.normal(0, 0.01))
        kernel = math.exp(slow + rng.normal(0, 0.02))
        found.append(Measurement(at, seconds, 1.0, kernel, 0.3 if beside else 0.0, at % 4))
    return found


@pytest.mark.parametrize("crowded", [False, True])
def test_levels_come_out_of_a_drift_with_honest_errors(crowded: bool) -> None:
    scores = []
    for seed in range(60):
        fit = Fit(drifting(np.random.default_rng(seed), 9, crowded))
        contrast = np.array([1.0, -1.0, 0.0, 0.0])
        error = math.sqrt(contrast @ fit.covariance @ contrast)
        scores.append((contrast @ fit.level - math.log(1 / 1.02)) / error)
        assert error < 0.03
    assert 0.5 < np.std(scores) < 1.4
    assert abs(np.mean(scores)) < 0.5


def test_what_waits_for_a_disk_does_not_drift() -> None:
    rng = np.random.default_rng(0)
    found = []
    for at in range(40):
        slow = math.exp(0.5 * math.sin(at / 6))
        kernel = slow * math.exp(rng.normal(0, 0.02))
        found.append(
            Measurement(at, 1.0 if at % 2 else slow, float(at % 2 == 0), kernel, 0, at % 2)
        )
    assert Fit(found).level == pytest.approx([0.0, 0.0], abs=0.02)


# -- the search: trials as they come -------------------------------------------------------------

START = datetime(2026, 11, 20, 12, 0, tzinfo=timezone.utc)
KERNEL = 0.001


def since_baseline() -> Drift:
    case = CaseRecord("a", {}, 30.0, 30.0, anchor=KERNEL)
    return Drift([case])


def correct(drift: Drift, after: float, slowness: float, **changes: float) -> CaseRecord:
    """Correct a case of 3 s, 2 of them computing, on a machine that many times slower."""
    plain = {"name": "a", "seconds": 3.0, "cpu_seconds": 2.0, "run_seconds": 3.0}
    case = CaseRecord(metrics={}, anchor=KERNEL * slowness, **{**plain, **changes})
    (found,) = drift.correct([case], START + timedelta(seconds=after))
    return found


def test_drift_is_taken_out_of_the_computing_and_not_of_the_waiting() -> None:
    drift = since_baseline()
    for second in range(5):
        found = correct(drift, second, 2.0)
    assert found.run_seconds == pytest.approx(1.0 + 2.0 / 2, rel=0.01)
    assert found.seconds == found.run_seconds
    other = correct(drift, 6.0, 4.0, name="another case than the baseline's")
    assert other.seconds == 3.0
    without_a_baseline = correct(Drift(), 0.0, 2.0)
    assert without_a_baseline.seconds == 3.0


def factor(slowness: Sequence[float]) -> float:
    """Return how slow the machine is taken to be after these kernels, a second apart."""
    drift = since_baseline()
    for second, value in enumerate(slowness):
        found = correct(drift, float(second), value, seconds=1e-3, cpu_seconds=1e-3)
    return 1e-3 / found.seconds


def test_the_noise_of_the_kernel_is_not_passed_on() -> None:
    assert factor([1.01]) == pytest.approx(1.0, abs=0.002)
    assert factor([1.5]) == pytest.approx(1.5, rel=0.005)
    assert factor([1.0] * 20 + [9.0]) == pytest.approx(1.0, abs=0.01)


def last_five(kernels: Sequence[float]) -> list[float]:
    """Return the slowness by the median of five kernels, shrunk where it may be their noise."""
    medians = [statistics.median(kernels[max(0, i - 4) : i + 1]) for i in range(len(kernels))]
    return [m**3 / (m**2 + KERNEL_NOISE**2) for m in medians]


def walk(rng: np.random.Generator, gaps: np.ndarray) -> np.ndarray:
    return np.cumsum(rng.normal(0, np.sqrt(WANDER * gaps)))


def warmth(rng: np.random.Generator, gaps: np.ndarray) -> np.ndarray:
    """Return a speed that comes back: 12 %, forgotten after a minute."""
    slow = [0.0]
    for keep in np.exp(-gaps / 60):
        slow.append(slow[-1] * keep + rng.normal(0, 0.12 * math.sqrt(1 - keep**2)))
    return np.array(slow[1:])


def neighbour(rng: np.random.Generator, gaps: np.ndarray) -> np.ndarray:
    """Return a speed that jumps: a core's other half is busy or not."""
    level = 0.0
    return np.array(
        [level := rng.choice([0.0, 0.1, 0.4]) if rng.random() < 0.05 else level for _ in gaps]
    )


@pytest.mark.parametrize("pace", [0.3, 2.0, 15.0])
@pytest.mark.parametrize("machine", [walk, warmth, neighbour])
def test_a_planted_drift_is_followed_better_than_by_the_last_kernels(machine, pace: float) -> None:
    ours, theirs = [], []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        gaps = rng.exponential(pace, 100)
        slow = machine(rng, gaps)
        kernels = slow + rng.normal(0, KERNEL_NOISE, len(slow))
        drift, share = since_baseline(), {"seconds": 1e-3, "cpu_seconds": 1e-3}
        found = [
            correct(drift, float(at), math.exp(kernel), **share).seconds
            for at, kernel in zip(np.cumsum(gaps), kernels, strict=True)
        ]
        ours += list(np.log(1e-3 / np.array(found)) - slow)
        theirs += list(last_five(kernels) - slow)
    error, before = np.sqrt(np.mean(np.square([ours, theirs]), axis=1))
    assert error < before
    if pace > 10:
        assert error < 0.7 * before


def test_a_machine_that_does_not_drift_is_left_alone() -> None:
    rng = np.random.default_rng(0)
    errors = [math.log(factor(np.exp(rng.normal(0, KERNEL_NOISE, 20)))) for _ in range(40)]
    assert np.std(errors) < KERNEL_NOISE / 3


def test_zz():
    pass
