"""Which of the tried settings is frozen: the best, or the sparsest that is as good."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tuner.plugin import InputError, Tried
from tuner_plugins.enet.cv_results import Sweep, standard_error

FOLD = "r2_fold"


def fold_metrics(output: Sweep) -> dict[str, float]:
    """Return the held-out R2 of each fold at the only setting of `output`, by name."""
    return {f"{FOLD}{fold}": float(r2) for fold, r2 in enumerate(output.r2_folds[:, 0, 0])}


def one_standard_error(best: Tried, tried: Sequence[Tried]) -> tuple[Tried, str]:
    """Choose the trial with the fewest coefficients that is as good as the best.

    As good: it loses, on average over the folds, no more than one standard error of that loss. The
    differences are taken fold by fold, so that what folds have in common falls out of them (Hastie,
    Tibshirani and Friedman, 2009, 10.1007/978-0-387-84858-7, section 7.10).

    Parameters
    ----------
    best : Tried
        What the others are compared with.
    tried : sequence of Tried
        With the metrics of `fold_metrics`, ``nonzeros``; among trials with as few coefficients the
        larger ``alpha`` is chosen.
    """
    top = _by_fold(best)
    near = []
    for trial in tried:
        loss = top - _by_fold(trial)
        if trial is best or loss.mean() <= standard_error(loss):
            near.append(trial)

    def complexity(trial: Tried) -> tuple[float, float]:
        return _metrics(trial)["nonzeros"], -float(trial.params["alpha"])  # type: ignore[arg-type]

    chosen = min(near, key=complexity)
    if chosen is best:
        return best, ""
    loss = top - _by_fold(chosen)
    return chosen, (
        f"one standard error: {_metrics(chosen)['nonzeros']:.3g} coefficients a gene instead of "
        f"{_metrics(best)['nonzeros']:.3g}, held-out R2 lower by {loss.mean():.2g} "
        f"+- {standard_error(loss):.2g}"
    )


def _metrics(trial: Tried) -> Mapping[str, float]:
    return next(iter(trial.metrics.values()))


def _by_fold(trial: Tried) -> np.ndarray:
    """Return the R2 of each fold, (folds,)."""
    metrics, values = _metrics(trial), list[float]()
    while (name := f"{FOLD}{len(values)}") in metrics:
        values.append(metrics[name])
    if not values:
        raise InputError(
            "export.select: one_standard_error needs the R2 of each fold, which trial "
            f"{trial.number} lacks; it is of an older study: start another one (--new)"
        )
    return np.array(values)
