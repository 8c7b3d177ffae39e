"""Settings' true times from measurements on a machine that drifts: one fit of all that was timed.

A measurement's logarithm is taken as its setting's level, plus the machine's slowness at that
moment, as far as the measurement computes, plus noise. The slowness wanders (a random walk in
time), and short kernels beside the measurements show it, with a noise of their own. Levels and
slowness are estimated together by least squares, which is the fixed-interval smoother (H. E. Rauch,
F. Tung and C. T. Striebel, 1965, doi:10.2514/3.3166) and for the levels their best linear unbiased
prediction: a kernel that was run after a measurement helps as much as one before, and so does
another setting's measurement. Bursts are kept from the levels by weights (P. J. Huber, 1964,
doi:10.1214/aoms/1177703732).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solveh_banded

from tuner.records import CaseRecord

Floats = NDArray[np.float64]

KERNEL_NOISE = 0.03
"""Standard deviation of the logarithm of a kernel's time on a quiet machine."""

NOISE = 0.03
NOISE_WEIGHT = 6
"""What a measurement's noise usually is, and how many measurements that knowledge is worth."""

WANDER = 1e-4
"""Variance by which the slowness usually wanders in a second."""

LAG = 4
TRUSTED = 8
"""Kernels that are compared, and how many make an estimate from them as good as what is usual."""

CROWD_NOISE = 0.07
CROWDED = 0.2
"""Standard deviation that others on the core add, in full from this share of the time on."""

HUBER = 1.345
ROUNDS = 6
FAR = 1e-3


@dataclass(frozen=True)
class Measurement:
    """One case of one setting, timed once.

    Attributes
    ----------
    at : float
        Seconds since some moment.
    seconds : float
        Its time.
    share : float
        Part of it spent computing, which slows with the machine; 0 to 1.
    slowness : float or None
        The kernel's time beside it over that beside the baseline; None where there was none.
    crowded : float
        Share of the wall time in which others had the core. That time is not in `seconds`, but
        they left cold caches behind, which is.
    level : int
        Which setting and case: an index.
    """

    at: float
    seconds: float
    share: float = 1.0
    slowness: float | None = None
    crowded: float = 0.0
    level: int = 0


def measurement(case: CaseRecord, at: float, reference: float | None) -> Measurement:
    """Read a measurement from a case as it was timed, uncorrected.

    Parameters
    ----------
    at : float
        When, in seconds since some moment.
    reference : float or None
        The kernel's time beside the baseline.
    """
    known = case.anchor is not None and reference is not None
    return Measurement(
        at,
        case.seconds,
        min(1.0, case.cpu_seconds / case.seconds),
        case.anchor / reference if known else None,  # type: ignore[operator]
        case.crowded,
    )


def fit_levels(measurements: Sequence[Measurement], count: int) -> tuple[Floats, Floats]:
    """Estimate the levels.

    Parameters
    ----------
    measurements : sequence of Measurement
        Of every level one at least.
    count : int
        Number of levels.

    Returns
    -------
    level : ndarray of shape (count,)
        Logarithms of seconds, at the machine's speed beside the baseline.
    covariance : ndarray of shape (count, count)
        Of their errors.
    """
    measurements = sorted(measurements, key=lambda m: m.at)
    rows = np.array([m.level for m in measurements])
    logs = np.log([m.seconds for m in measurements])
    share = np.array([m.share for m in measurements])
    seen = np.array([m.slowness is not None for m in measurements])
    kernel = np.log([m.slowness or 1.0 for m in measurements])
    gaps = np.maximum(np.diff([m.at for m in measurements]), FAR)
    wander, jitter = _wander(kernel[seen], np.array([m.at for m in measurements])[seen])
    if not seen.any():
        share = np.zeros_like(share)  # nothing tells the machine from the settings
    crowd = np.minimum(1.0, np.array([m.crowded for m in measurements]) / CROWDED) * CROWD_NOISE
    kernel_noise = np.hypot(jitter, crowd)
    noise, weights, kernel_weights = np.hypot(NOISE, crowd), np.ones(len(rows)), seen * 1.0
    for _ in range(ROUNDS):
        precision = weights / noise**2
        level, slow, covariance = _solve(
            rows,
            count,
            logs,
            share,
            precision,
            kernel,
            kernel_weights / kernel_noise**2,
            gaps,
            wander,
        )
        residual = logs - level[rows] - share * slow
        calm = residual * NOISE / np.hypot(NOISE, crowd)
        noise = np.hypot(_scale(calm, len(rows) - count), crowd)
        weights = _huber(residual / noise)
        kernel_weights = seen * _huber((kernel - slow) / kernel_noise)
    return level, covariance


def _solve(
    rows: NDArray[np.int64],
    count: int,
    logs: Floats,
    share: Floats,
    precision: Floats,
    kernel: Floats,
    kernel_weights: Floats,
    gaps: Floats,
    wander: float,
) -> tuple[Floats, Floats, Floats]:
    """Solve the normal equations: tridiagonal in the slowness, which is eliminated."""
    steps = 1.0 / (wander * gaps)
    band = np.zeros((2, len(rows)))
    band[1] = share**2 * precision + kernel_weights
    band[1, :-1] += steps
    band[1, 1:] += steps
    band[0, 1:] = -steps
    band[1, 0] += FAR  # where no kernel was run, the slowness is known up to a constant: none
    across = np.zeros((len(rows), count))
    across[np.arange(len(rows)), rows] = share * precision
    right_slow = share * precision * logs + kernel_weights * kernel
    right_level = np.bincount(rows, precision * logs, count)
    right = np.column_stack([across, right_slow])
    solved = solveh_banded(band, right) if len(rows) > 1 else right / band[1]
    reduced = np.diag(np.bincount(rows, precision, count)) - across.T @ solved[:, :-1]
    covariance = np.linalg.inv(reduced)
    level = covariance @ (right_level - across.T @ solved[:, -1])
    slow = solved[:, -1] - solved[:, :-1] @ level
    return level, slow, covariance


def _wander(kernel: Floats, at: Floats) -> tuple[float, float]:
    """Estimate from the kernels how fast the slowness wanders, and their own noise.

    Neighbours differ mostly by noise, those farther apart by what lies between as well.
    """
    if len(kernel) < 2:
        return WANDER, KERNEL_NOISE
    trust = len(kernel) / (len(kernel) + TRUSTED)
    cap = (6 * KERNEL_NOISE) ** 2

    def apart(lag: int) -> tuple[float, float]:
        gap = np.maximum(at[lag:] - at[:-lag], FAR)
        squares = np.minimum((kernel[lag:] - kernel[:-lag]) ** 2, cap)
        return float(np.mean(gap)), float(np.mean(squares))

    gap, near = apart(1)
    if len(kernel) <= 2 * LAG:
        wander = max((near - 2 * KERNEL_NOISE**2) / gap, WANDER)
        return trust * wander + (1 - trust) * WANDER, KERNEL_NOISE
    long, far = apart(LAG)
    wander = max((far - near) / max(long - gap, FAR), WANDER / 100)
    noise2 = max((near - wander * gap) / 2, KERNEL_NOISE**2 / 10)
    noise2 = trust * noise2 + (1 - trust) * KERNEL_NOISE**2
    return trust * wander + (1 - trust) * WANDER, float(np.sqrt(noise2))


def _huber(residual: Floats) -> Floats:
    weights: Floats = np.minimum(1.0, HUBER / np.maximum(np.abs(residual), 1e-12))
    return weights


def _scale(residual: Floats, free: int) -> float:
    """Return a robust standard deviation, shrunk to what is usual while there are few residuals."""
    if free <= 0:
        return NOISE
    robust = 1.4826 * float(np.median(np.abs(residual))) * np.sqrt(len(residual) / free)
    return float(np.sqrt((free * robust**2 + NOISE_WEIGHT * NOISE**2) / (free + NOISE_WEIGHT)))
