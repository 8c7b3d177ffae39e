"""What is asked of the sampler, what it is asked first, and what it is told.

With the coordinator, which alone holds one, the only writer to the Optuna study.
"""

from __future__ import annotations

from collections.abc import Mapping

import optuna
from optuna.trial import FrozenTrial, TrialState

from tuner.config import Config
from tuner.pending import Pending
from tuner.plugin import Params
from tuner.quiet import quiet
from tuner.recording import BASELINE, ROLE
from tuner.records import State, TrialRecord
from tuner.samplers import EXHAUSTIVE, settings_in_all
from tuner.space import suggest

STATES: Mapping[State, TrialState] = {
    "complete": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "infeasible": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}
"""Optuna's state for each of ours: an infeasible trial has no value and must not be repeated."""


class Asking:
    """The sampler of one study, as the coordinator sees it.

    Parameters
    ----------
    config : Config
        The configuration; its space, plug-in and sampler are used.
    study
        The Optuna study, opened for writing.
    """

    def __init__(self, config: Config, study: optuna.Study) -> None:
        self._config = config
        self._study = study
        self._sampler = config.engine.study.sampler.name

    def ask(self) -> Pending:
        """Give the next trial to run: what is enqueued, else what the sampler suggests."""
        with quiet():
            trial = self._study.ask(dict(self._config.space.searched))
        return _pending(trial)

    def take_up(self, trial: FrozenTrial) -> Pending:
        """Take up a trial that was asked: what it has drawn stays, what it lacks is drawn now."""
        with quiet():
            live = optuna.Trial(self._study, trial._trial_id)
            for name, dist in self._config.space.searched.items():
                suggest(live, name, dist)
        return _pending(live)

    def ask_baseline(self, params: Params) -> Pending:
        """Enqueue the reference setting as a trial, with what of it the space can express."""
        space = self._config.space
        drawn = space.nearest(params) if self._sampler in EXHAUSTIVE else space.express(params)
        waiting = self._study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
        if not any(trial.user_attrs.get(ROLE) == BASELINE for trial in waiting):
            self._study.enqueue_trial(drawn, user_attrs={ROLE: BASELINE})
            if self._sampler == "brute-force":
                # It would take the baseline's point for visited; the plug-in itself was not there.
                self._study.enqueue_trial(drawn)
        return self.ask()

    def begin_with_defaults(self) -> None:
        """Let a new study try first what the plug-in takes for good: the search goes on from it."""
        drawn = self._config.space.defaults_of(self._config.plugin)
        if drawn and not self._asked() and self._sampler not in EXHAUSTIVE:
            self._study.enqueue_trial(drawn)

    def left(self) -> int | None:
        """Give how many settings were never asked; None where they can't be counted."""
        size = settings_in_all(self._config.engine.study.sampler, self._config.space)
        return None if size is None else size - self._asked()

    def tell(self, number: int, record: TrialRecord) -> None:
        """Tell how a trial ended."""
        values = list(record.values) or None
        with quiet():
            try:
                self._study.tell(number, values, state=STATES[record.state])
            except RuntimeError:
                # Samplers that enumerate stop the study after their last setting, which Optuna
                # allows inside of its own loop only; the trial itself has been told.
                if self._sampler not in EXHAUSTIVE:
                    raise
                if not self._study.get_trials(deepcopy=False)[number].state.is_finished():
                    raise

    def _asked(self) -> int:
        """Count the trials beside the baseline."""
        trials = self._study.get_trials(deepcopy=False)
        return sum(trial.user_attrs.get(ROLE) != BASELINE for trial in trials)


def _pending(trial: optuna.Trial) -> Pending:
    # The storage addresses trials by id; Optuna offers no public way from number to id.
    is_baseline = trial.user_attrs.get(ROLE) == BASELINE
    return Pending(trial.number, trial._trial_id, dict(trial.params), is_baseline, trial)
