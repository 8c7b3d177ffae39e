"""The held-out R2 of the choice itself: nested cross-validation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tuner_plugins.enet.arrays import Floats
from tuner_plugins.enet.cross_validation import Problem
from tuner_plugins.enet.cv_results import Sweep, held_out_r2
from tuner_plugins.enet.path import fit_grid


@dataclass(frozen=True)
class Nested:
    """What cross-validation of the choice itself gives.

    Attributes
    ----------
    r2, delta_r2, partial_r2 : float
        On cells that neither the fit nor the choice of the penalty has seen.
    alphas, l1_ratios : array, shape (folds,)
        What was chosen without each fold.
    """

    r2: float
    delta_r2: float
    partial_r2: float
    alphas: Floats
    l1_ratios: Floats


def nested(problem: Problem, surface: Sweep, *, threads: int = 1) -> Nested | None:
    """Choose alpha and l1_ratio without each fold in turn, and score the choice on that fold.

    The best of a surface is optimistic, being chosen on the cells that it is scored on; this is
    not. None with two folds, which leave none to choose by.
    """
    folds = problem.n_folds
    if folds < 3:
        return None
    choices = []
    for fold in range(folds):
        others = problem.statistics.folds(np.arange(folds) != fold)
        part = others.columns(problem.columns[fold]).rescaled(*problem.scales(fold))
        fits = fit_grid(
            part, surface.alphas, surface.l1_ratios, problem.penalty_factor, threads=threads
        )
        chosen = problem.mask[fold]
        sse = fits.sse[..., chosen].sum(axis=(0, 3))
        r2 = held_out_r2(sse, part.total_sum_of_squares()[:, chosen].sum())
        choices.append(np.unravel_index(np.argmax(r2), r2.shape))
    alpha, ratio = (np.array(index) for index in zip(*choices, strict=True))
    picked = surface.pick(alpha, ratio)
    return Nested(
        float(picked.r2[0, 0]),
        float(picked.delta_r2[0, 0]),
        float(picked.partial_r2[0, 0]),
        surface.alphas[alpha],
        surface.l1_ratios[ratio],
    )
