"""How fast the machine is, and what times are without its drift: one model, for search and race.

The logarithm of measurement i of setting and case l(i), made at time t(i), and of the short kernel
that was run beside it are taken as

    log seconds(i) = level(l(i)) + share(i) * slow(i) + noise
    log kernel(i)  =                          slow(i) + noise
    slow(i + 1)    = slow(i) + a step of variance wander * (t(i + 1) - t(i))

where `share` is the part of the time spent computing: waiting for disks does not slow. The kernel's
time is taken over that beside the baseline, where `slow` is 0. Levels and slowness are estimated
together by least squares, which is the fixed-interval smoother (H. E. Rauch, F. Tung and C. T.
Striebel, 1965, doi:10.2514/3.3166) and for the levels their best linear unbiased prediction: a
kernel that was run after a measurement helps as much as one before, and so does another setting's
measurement. Bursts are kept out by weights (P. J. Huber, 1964, doi:10.1214/aoms/1177703732).

The race fits all that it timed (`Fit`); the search corrects each trial as it comes, by the
kernels so far (`Drift`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from tuner.measure.noise import CROWD_NOISE, CROWDED, NOISE, NOISE_WEIGHT
from tuner.records import CaseRecord

Floats = NDArray[np.float64]

KERNEL_NOISE = 0.03
"""Standard deviation of the logarithm of a kernel's time on a quiet machine."""

WANDER = 1e-4
"""Variance by which the slowness usually wanders in a second."""

LAG = 4
TRUSTED = 8
"""Kernels that are compared, and how many make an estimate from them as good as what is usual."""

WINDOW = 20
"""Measurements that a trial's correction looks back on."""

DOUBT = 0.02
"""Noise that is left in the slowness: a trial's correction is shrunk towards none below it."""

HUBER = 1.345
ROUNDS = 6
SETTLED = 0.01
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


class Drift:
    """Expresses times, as they come, in the minutes of the baseline.

    Parameters
    ----------
    baseline : iterable of CaseRecord
        The kernel's time beside each of them is what slowness is measured against. Other cases are
        left as they are.
    """

    def __init__(self, baseline: Iterable[CaseRecord] = ()) -> None:
        self._reference = {case.name: case.anchor for case in baseline}
        self._recent: list[Measurement] = []

    def measurements(self, cases: Iterable[CaseRecord], started: datetime) -> list[Measurement]:
        """Return the cases of a job, timed one after the other from `started` on."""
        at, found = started.timestamp(), []
        for case in cases:
            at += case.seconds
            anchor, reference = case.anchor, self._reference.get(case.name)
            slowness = anchor / reference if anchor and reference else None
            share = min(1.0, case.cpu_seconds / case.seconds)
            found.append(Measurement(at, case.seconds, share, slowness, case.crowded))
        return found

    def correct(self, cases: Sequence[CaseRecord], started: datetime) -> tuple[CaseRecord, ...]:
        """Divide what the cases of a job computed by how slow the machine was."""
        measured = self.measurements(cases, started)
        if all(m.slowness is None for m in measured):
            return tuple(cases)
        self._recent = [*self._recent, *measured][-max(WINDOW, len(measured)) :]
        # each a level of its own: the kernels alone tell how slow the machine is
        alone = [replace(m, level=index) for index, m in enumerate(self._recent)]
        slow = Fit(alone, sure=2 * LAG).slow[-len(measured) :]
        slow *= slow**2 / (slow**2 + DOUBT**2)
        rows = zip(cases, measured, np.exp(slow), strict=True)
        return tuple(c if m.slowness is None else _without(c, float(f)) for c, m, f in rows)


def _without(case: CaseRecord, factor: float) -> CaseRecord:
    """Return a case as it is where all that computes takes `factor` times less."""
    share = 1 - 1 / factor
    seconds = case.seconds - share * min(case.seconds, case.cpu_seconds)
    run = case.run_seconds
    run = None if run is None else run - share * min(run, case.cpu_seconds)
    return replace(case, seconds=seconds, run_seconds=run)


class Fit:
    """Levels and slowness by least squares.

    Parameters
    ----------
    measurements : sequence of Measurement
        Of every level, from 0 on, one at least.
    sure : int, optional
        Up to so many kernels the usual wander is taken: a burst among few looks like a jump.

    Attributes
    ----------
    level : ndarray of shape (levels,)
        Logarithms of seconds, at the machine's speed beside the baseline.
    covariance : ndarray of shape (levels, levels)
        Of their errors.
    slow : ndarray of shape (measurements,)
        Logarithms of how slow the machine was.
    """

    def __init__(self, measurements: Sequence[Measurement], sure: int = 1) -> None:
        order = np.argsort([m.at for m in measurements], kind="stable")
        ordered = [measurements[index] for index in order]
        at = np.array([m.at for m in ordered])
        seen = np.array([m.slowness is not None for m in ordered])
        self._rows = np.array([m.level for m in ordered])
        self._belongs = self._rows[:, None] == np.arange(self._rows.max() + 1)
        self._logs = np.log([m.seconds for m in ordered])
        self._kernel = np.log([m.slowness or 1.0 for m in ordered])
        # without any kernel nothing tells the machine from the settings
        self._share = np.array([m.share for m in ordered]) * seen.any()
        wander, jitter = _wander(self._kernel[seen], at[seen], sure)
        self._steps = 1 / (wander * np.maximum(np.diff(at), FAR))
        self._crowd = CROWD_NOISE * np.minimum(1, np.array([m.crowded for m in ordered]) / CROWDED)
        self._kernel_noise = np.where(seen, np.hypot(jitter, self._crowd), np.inf)
        precisions = np.array([np.hypot(NOISE, self._crowd), self._kernel_noise]) ** -2
        for _ in range(ROUNDS):
            self.level, self.covariance, slow = self._solve(*precisions)
            before, precisions = precisions, self._weigh(slow)
            if np.all(np.abs(precisions - before) <= SETTLED * before):
                break
        self.slow = slow[np.argsort(order)]

    def _solve(self, precision: Floats, kernel_precision: Floats) -> tuple[Floats, Floats, Floats]:
        """Solve the normal equations ``[T B; B' D] [slow; level] = [p; q]``.

        T is tridiagonal, for the walk ties neighbours; B couples each slowness to its level, and D
        is diagonal. The slowness is eliminated: ``(D - B' T^-1 B) level = q - B' T^-1 p``.
        """
        weighted = self._share * precision
        from scipy.linalg import solveh_banded  # takes half a second, and most commands need none

        band = np.zeros((2, len(self._logs)))  # T: diagonal below, what is above it on top
        band[1] = self._share * weighted + kernel_precision
        band[1, :-1] += self._steps
        band[1, 1:] += self._steps
        band[0, 1:] = -self._steps
        band[1, 0] += FAR  # where no kernel was run, slowness is known up to a constant: none
        coupling = weighted[:, None] * self._belongs  # B
        right = np.column_stack([coupling, weighted * self._logs + kernel_precision * self._kernel])
        solved = solveh_banded(band, right) if len(band.T) > 1 else right / band[1]  # T^-1 [B p]
        diagonal = np.diag(np.bincount(self._rows, precision))
        covariance = np.linalg.inv(diagonal - coupling.T @ solved[:, :-1])
        right_level = np.bincount(self._rows, precision * self._logs)  # q
        level = covariance @ (right_level - coupling.T @ solved[:, -1])
        return level, covariance, solved[:, -1] - solved[:, :-1] @ level

    def _weigh(self, slow: Floats) -> Floats:
        """Return the precisions of measurements and of kernels, from their residuals."""
        residual = self._logs - self.level[self._rows] - self._share * slow
        calm = residual * NOISE / np.hypot(NOISE, self._crowd)
        noise = np.hypot(_scale(calm, len(calm) - len(self.level)), self._crowd)
        residuals = np.array([residual, self._kernel - slow])
        noises = np.array([noise, self._kernel_noise])
        huber = np.minimum(1, HUBER / np.maximum(np.abs(residuals / noises), FAR))
        precisions: Floats = huber / noises**2
        return precisions


def _wander(kernel: Floats, at: Floats, sure: int) -> tuple[float, float]:
    """Estimate the variance that the slowness gains in a second, and the kernels' own noise.

    Kernels `lag` apart differ by a variance of ``2 noise**2 + wander * gap(lag)``: two lags give
    both, shrunk to what is usual while there are few.
    """
    if len(kernel) <= sure:
        return WANDER, KERNEL_NOISE
    trust = len(kernel) / (len(kernel) + TRUSTED)

    def apart(lag: int) -> tuple[float, float]:
        squares = np.minimum((kernel[lag:] - kernel[:-lag]) ** 2, (6 * KERNEL_NOISE) ** 2)
        return max(float(np.mean(at[lag:] - at[:-lag])), FAR), float(np.mean(squares))

    gap, near = apart(1)
    noise2, wander = KERNEL_NOISE**2, max((near - 2 * KERNEL_NOISE**2) / gap, WANDER)
    if len(kernel) > 2 * LAG:
        long, far = apart(LAG)
        wander = max((far - near) / max(long - gap, FAR), WANDER / 100)
        noise2 = max((near - wander * gap) / 2, KERNEL_NOISE**2 / 10)
    noise2 = trust * noise2 + (1 - trust) * KERNEL_NOISE**2
    return trust * wander + (1 - trust) * WANDER, float(np.sqrt(noise2))


def _scale(residual: Floats, free: int) -> float:
    """Return a robust standard deviation, shrunk to what is usual while there are few residuals."""
    if free <= 0:
        return NOISE
    robust = 1.4826 * float(np.median(np.abs(residual))) * np.sqrt(len(residual) / free)
    return float(np.sqrt((free * robust**2 + NOISE_WEIGHT * NOISE**2) / (free + NOISE_WEIGHT)))
