"""Simulated counts of guides with known truth."""

from __future__ import annotations

import numpy as np


def guide_counts(  # noqa: PLR0913  what a test may vary
    seed: int,
    *,
    cells: int = 1500,
    guides: int = 16,
    moi: float = 1.0,
    ambient: float = 0.3,
    signal: float = 6.0,
    depth: float = 0.5,
    empty: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Return counts and truth, (cells, guides).

    Infections are Poisson (`moi`), background counts Poisson about `ambient` x depth, which is
    log-normal over cells (`depth`), counts of a guide that is there log-normal about 2^`signal`.
    The last `empty` guides are in no cell.
    """
    rng = np.random.default_rng(seed)
    share = rng.gamma(3.0, size=guides)
    truth = np.zeros((cells, guides), dtype=bool)
    for cell, count in enumerate(rng.poisson(moi, cells)):
        truth[cell, rng.choice(guides, min(count, guides), False, share / share.sum())] = True
    truth[:, guides - empty :] = False
    scale = np.exp(rng.normal(0.0, depth, (cells, 1)))
    background = rng.poisson(scale * ambient * rng.gamma(2.0, 0.5, guides))
    present = np.exp2(rng.normal(signal, 1.0, truth.shape)) * scale
    return background + truth * np.floor(present).astype(int), truth
