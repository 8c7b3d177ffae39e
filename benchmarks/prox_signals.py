"""Signals that proximal operators are raced on: rough, smooth, piled up, and a grid of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from scipy.ndimage import uniform_filter1d

Array = np.ndarray[Any, Any]


def random_signal(n: int, rng: np.random.Generator) -> Array:
    """Simulate the roughest signal: independent standard normal values."""
    return rng.normal(size=n)


def pileup_signal(n: int, rng: np.random.Generator) -> Array:
    """Simulate a track of a sharp mark: 200-bp fragments, piled up to integers.

    Kilobase domains of gamma-distributed intensity: two thirds zeros, mean 2, variance 14 times
    the mean, 18 runs a kilobase.
    """
    domains = n // 1000 + 1
    fragments = rng.poisson(rng.gamma(0.15, 2.0 / 0.15, domains) * 1000 / 200)
    starts = np.repeat(np.arange(domains) * 1000, fragments)
    starts += rng.integers(0, 1000, starts.size)
    change = (
        np.bincount(starts, minlength=n + 1200)
        - np.bincount(starts + 200, minlength=n + 1200)[: n + 1200]
    )
    return np.cumsum(change)[:n].astype(float)


def smooth_signal(n: int, rng: np.random.Generator) -> Array:
    """Simulate a smoothed track: rare gamma impulses under three 200-bp windows, no two equal."""
    y = rng.gamma(0.05, 20.0, n)
    for _ in range(3):
        y = uniform_filter1d(y, 200)
    return y


def drift_signal(n: int, rng: np.random.Generator) -> Array:
    """Simulate a random walk: rough from near, smooth from afar."""
    return np.cumsum(rng.normal(size=n)) * 0.05


def dense_signal(every: int) -> Callable[[int, np.random.Generator], Array]:
    """Return what simulates a pile-up of 200-bp fragments, one begun at every so many bases."""

    def simulate(n: int, rng: np.random.Generator) -> Array:
        starts = rng.integers(0, n, n // every)
        change = np.bincount(starts, minlength=n + 200)
        change[200:] -= np.bincount(starts, minlength=n + 200)[:n]
        return np.cumsum(change)[:n].astype(float)

    return simulate


GRID: Mapping[str, Callable[[int, np.random.Generator], Array]] = {
    **{
        f"a fragment per {every} bp": dense_signal(every)
        for every in (3, 5, 8, 12, 20, 50, 100, 400)
    },
    "the same, 8 bp, log1p": lambda n, rng: np.log1p(dense_signal(8)(n, rng)),
    "counts, mean 3": lambda n, rng: rng.poisson(3, n).astype(float),
    "counts, mean .1": lambda n, rng: rng.poisson(0.1, n).astype(float),
    "walk of -1, 0, 1": lambda n, rng: np.cumsum(rng.integers(-1, 2, n)).astype(float),
    "walk": drift_signal,
    "random": random_signal,
    "steps with noise": lambda n, rng: (
        np.repeat(3 * rng.normal(size=n // 500 + 1), 500)[:n] + rng.normal(size=n)
    ),
    "smooth": smooth_signal,
}
