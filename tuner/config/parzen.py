"""Optuna's density of TPE, a kernel for each trial, in arrays: quick with thousands of kernels.

A kernel is, for each parameter, a normal distribution cut at the ends of the range, or the share
of each choice; the density of several parameters is the product. Its width is the distance to
its farther neighbour, within bounds. Optuna's one wide kernel over the whole range comes last.
Bergstra et al., "Algorithms for Hyper-Parameter Optimization", NeurIPS 2011, section 4; the rules
are those of ``optuna.samplers.TPESampler`` with its default options.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from scipy.special import ndtr, ndtri

Floats = NDArray[np.float64]
TINY = 1e-300
BLOCK = 1_000
"""Kernels that are computed at a time: with 24 points they stay in a core's cache."""

WHOLE = 25
"""The last trials that count whole in a density; older ones count ever less."""


class Axis:
    """The scale of a parameter's kernels: a range, or its logarithm, from 0 to 1; choices 0, 1, ...

    Where there is a step, the range is half a step longer at both ends.
    """

    def __init__(self, dist: BaseDistribution) -> None:
        self.choices = len(dist.choices) if isinstance(dist, CategoricalDistribution) else 0
        self.step = 0.0
        if isinstance(dist, FloatDistribution | IntDistribution):
            self.step = float(dist.step or 0.0)
            self._ends, self._is_log = (dist.low, dist.high), dist.log
            low, high = dist.low - self.step / 2, dist.high + self.step / 2
            self._low, self._high = map(math.log, (low, high)) if dist.log else (low, high)

    @property
    def is_counted(self) -> bool:
        """Whether it has choices or steps."""
        return bool(self.choices or self.step)

    def scaled(self, values: Floats) -> Floats:
        """Return Optuna's internal values on this scale."""
        if self.choices:
            return values
        values = np.log(values) if self._is_log else values
        return np.asarray((values - self._low) / (self._high - self._low))

    def value(self, scaled: Floats) -> Floats:
        """Return internal values of the range; of one with steps, the nearest."""
        values = self._low + scaled * (self._high - self._low)
        values = np.exp(values) if self._is_log else values
        low, high = self._ends
        if self.step:
            values = low + np.round((values - low) / self.step) * self.step
        return np.asarray(np.clip(values, low, high))


class Density:
    """A mixture of kernels around the values of trials.

    Parameters
    ----------
    axes : sequence of Axis, length p
    values : ndarray, shape (p, n)
        Of n > 0 trials by number, on the axes' scales.
    orders : sequence of ndarray, shape (n,)
        What sorts each row of `values`.
    """

    def __init__(
        self, axes: Sequence[Axis], values: Floats, orders: Sequence[NDArray[np.intp]]
    ) -> None:
        self._axes, self._values, self._orders = axes, values, orders
        count = values.shape[1]
        weights = np.append(_ramp(count), 1.0)
        self._weights = weights / weights.sum()
        self._numbers = [i for i, axis in enumerate(axes) if not axis.choices]
        self._means, self._widths = np.full((2, len(axes), count + 1), 0.5)
        for i in self._numbers:
            self._means[i, :-1] = values[i]
            self._widths[i] = _widths(values[i], orders[i])

    def sample(self, rng: np.random.RandomState, size: int) -> Floats:
        """Return internal values, shape (p, size); random numbers are used as Optuna uses them."""
        kernels = rng.choice(len(self._weights), p=self._weights, size=size)
        drawn = np.empty((len(self._axes), size))
        for i, axis in enumerate(self._axes):
            if axis.choices:
                shares, which = self._shares(i)
                ends = np.cumsum(shares[:, which[kernels]], axis=0)[:-1]
                drawn[i] = np.sum(ends < rng.uniform(size=size), axis=0)
        uniform = rng.uniform(size=(len(self._numbers), size))
        for i, quantiles in zip(self._numbers, uniform, strict=True):
            mean, width = self._means[i, kernels], self._widths[i, kernels]
            low, high = ndtr(-mean / width), ndtr((1 - mean) / width)
            scaled = mean + width * ndtri(low + quantiles * (high - low))
            drawn[i] = self._axes[i].value(np.clip(scaled, 0.0, 1.0))
        return drawn

    def log_pdf(self, points: Floats) -> Floats:
        """Return the logarithm of the density at internal values, shape (p, m): shape (m,).

        Its error is that of single precision, 1e-6, in which the kernels are added up.
        """
        left, right = self._squares(points)
        tables = [self._table(i, points[i]) for i, axis in enumerate(self._axes) if axis.is_counted]
        tops, sums = [], []
        for start in range(0, len(self._weights), BLOCK):
            block = slice(start, start + BLOCK)
            # Not by BLAS, whose threads would wait for cores that the trials are using.
            logs = np.einsum("ik,ij->kj", left, right[:, block])
            for table, which in tables:
                logs += table[:, which[block]]
            tops.append(logs.max(axis=1))
            logs -= tops[-1][:, np.newaxis]
            sums.append(np.exp(logs.astype(np.float32)).sum(axis=1, dtype=np.float64))
        top = np.max(tops, axis=0)
        return np.asarray(top + np.log(np.sum(sums * np.exp(tops - top), axis=0)))

    def _squares(self, points: Floats) -> tuple[Floats, Floats]:
        """Return the log-density of kernels over ranges without a step as a product of matrices.

        ``-((x - mean) / width)**2 / 2`` is a row for x**2, one for x and a constant: shapes
        (k, m) and (k, n + 1).
        """
        rest = np.log(self._weights)
        left, right = [], []
        for i in self._numbers:
            mean, width = self._means[i], self._widths[i]
            mass = _mass_inside(mean, width)
            if self._axes[i].step:
                rest -= np.log(mass)
                continue
            x, curve = self._axes[i].scaled(points[i]), -0.5 / width**2
            slope = -2 * mean * curve
            left += [x**2, x]
            right += [curve, slope]
            rest -= np.log(mass * width * np.sqrt(2 * np.pi)) + slope * mean / 2
        return np.array([*left, np.ones(points.shape[1])]), np.array([*right, rest])

    def _table(self, i: int, points: Floats) -> tuple[Floats, NDArray[np.intp]]:
        """Return the log-mass of the different kernels at `points`, and which of them each one is.

        Shapes (m, different kernels) and (n + 1,): many trials share a value and so a kernel.
        """
        if self._axes[i].choices:
            shares, which = self._shares(i)
            return np.log(shares[points.astype(int)]), which
        order = np.append(self._orders[i], self._values.shape[1])
        mean, width = self._means[i, order], self._widths[i, order]
        is_new = np.append(True, (np.diff(mean) != 0) | (np.diff(width) != 0))
        mean, width = mean[is_new], width[is_new]
        which = np.empty(len(order), dtype=np.intp)
        which[order] = np.cumsum(is_new) - 1
        steps, at = np.unique(points, return_inverse=True)
        half = self._axes[i].step / 2
        low, high = (
            (self._axes[i].scaled(edge)[:, np.newaxis] - mean) / width
            for edge in (steps - half, steps + half)
        )
        is_right = low + high > 0  # there the difference of two numbers close to 1 would be lost
        low, high = np.where(is_right, -high, low), np.where(is_right, -low, high)
        return np.log(np.maximum(ndtr(high) - ndtr(low), TINY))[at], which

    def _shares(self, i: int) -> tuple[Floats, NDArray[np.intp]]:
        """Return the probabilities of choices under the different kernels, and which each one is.

        Shapes (choices, choices + 1) and (n + 1,): a kernel for each choice, the wide one last.
        """
        choices, kernels = self._axes[i].choices, len(self._weights)
        shares = np.full((choices, choices + 1), 1 / kernels)
        np.fill_diagonal(shares, 1 + 1 / kernels)
        return shares / shares.sum(axis=0), np.append(self._values[i].astype(int), choices)


def _ramp(count: int) -> Floats:
    """Return the weights of trials by number."""
    whole = min(count, WHOLE)
    return np.append(np.linspace(1 / count, 1, count - whole), np.ones(whole))


def _widths(values: Floats, order: NDArray[np.intp]) -> Floats:
    """Return the standard deviations of the kernels, that of the wide one last."""
    if len(values) == 1:
        return np.append(np.maximum(values, 1 - values), 1.0)
    gaps = np.diff(values[order])
    widths = np.ones(len(values) + 1)
    widths[order] = np.maximum(np.append(gaps[:1], gaps), np.append(gaps, gaps[-1:]))
    return np.clip(widths, 1 / min(100, len(values) + 2), 1.0)


def _mass_inside(mean: Floats, width: Floats) -> Floats:
    """Return how much of each normal distribution lies between 0 and 1."""
    nearer = np.minimum(mean, 1 - mean) / width
    mass = np.ones(len(mean))
    cut = nearer < 9  # beyond it nothing is cut that double precision holds
    mass[cut] = ndtr(nearer[cut]) - ndtr(nearer[cut] - 1 / width[cut])
    return np.maximum(mass, TINY)
