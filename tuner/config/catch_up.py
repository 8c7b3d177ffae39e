"""A pruner between cases: it gives up trials that could not become the best any more."""

from __future__ import annotations

import math
import statistics

import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

SLACK = 0.1


class CatchUpPruner(optuna.pruners.BasePruner):
    """Prunes a trial that would not be the best even with a record in every case to come.

    After some of its cases a trial has a mean. What the rest can add at most is taken to be what
    the rest added in the luckiest trial so far, and `slack` more. Where even that leaves it short
    of the best trial, the remaining cases are not run.

    Parameters
    ----------
    slack : float
        How much more than any trial so far, as a share of what the best is ahead of the median.
    n_startup_trials : int
        Completed trials before which nothing is pruned.
    """

    def __init__(self, slack: float = SLACK, n_startup_trials: int = 5) -> None:
        if not slack >= 0 or n_startup_trials < 1:
            raise ValueError(
                f"expected slack >= 0 and n_startup_trials >= 1, got {slack} and {n_startup_trials}"
            )
        self._slack = slack
        self._startup = n_startup_trials

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        """Return whether `trial` is to be stopped."""
        step = trial.last_step
        done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        whole = [other for other in done if other.intermediate_values]
        if step is None or len(whole) < self._startup:
            return False
        sign = 1.0 if study.direction == StudyDirection.MAXIMIZE else -1.0
        best = max(sign * float(other.value or 0.0) for other in done)
        # The last case reports nothing: there is nothing left to prune after it.
        count = 1 + max(max(other.intermediate_values) for other in whole)
        rest = [
            sign * (count * float(other.value or 0.0) - step * other.intermediate_values[step])
            for other in whole
            if step in other.intermediate_values
        ]
        now = sign * trial.intermediate_values[step]
        if not rest or not math.isfinite(now):
            return False
        middle = statistics.median(sign * float(other.value or 0.0) for other in whole)
        hoped = (step * now + max(rest)) / count + self._slack * (best - middle)
        return hoped < best
