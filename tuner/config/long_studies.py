"""Optuna's samplers for studies of many trials: what they take for one does not grow with them.

Optuna's own look at every trial again, for each that they draw: TPE builds a density with a kernel
for each, and the grid compares its points with those that each trial carries along.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Container
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

BOUND = 800
"""Trials that TPE makes its densities of; beside them always the best, whatever their age."""

BEST = 25
"""So many trials Optuna's TPE takes for good at most: its ``gamma``."""

_ENDED = (TrialState.COMPLETE, TrialState.PRUNED)


class BoundedTPE(optuna.samplers.TPESampler):
    """Optuna's TPE. Of more than `BOUND` trials that have ended it sees a part, evenly spaced.

    TPE draws where the density of the good trials (25 at most, all of which are seen) is high and
    that of the others is low. Of the latter every second, third, ... makes the same density but
    for noise: with more than 100 kernels Optuna's bandwidth is a hundredth of the range, however
    many there are. Up to `BOUND` trials, and with several objectives, it is Optuna's own.
    """

    _ended: _Ended | None = None

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Return the parameters that are drawn together."""
        return super().infer_relative_search_space(self._seen(study), trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Draw them."""
        return super().sample_relative(self._seen(study), trial, search_space)

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Draw another one."""
        seen = self._seen(study)
        return super().sample_independent(seen, trial, param_name, param_distribution)

    def _seen(self, study: Study) -> Any:
        if len(study.directions) > 1:
            return study
        if self._ended is None:
            self._ended = _Ended(study.direction)
        self._ended.follow(study)
        return _Seen(study, self._ended.kept())


class _Ended:
    """The trials of one study that have ended, followed as they end."""

    def __init__(self, direction: StudyDirection) -> None:
        self._sign = -1.0 if direction is StudyDirection.MAXIMIZE else 1.0
        self._looked = 0
        self._open: list[int] = []
        self._ended: list[tuple[int, FrozenTrial]] = []
        self._ranked: list[tuple[float, int]] = []

    def follow(self, study: Study) -> None:
        """Take in what has ended since the last time."""
        trials = study._storage.get_all_trials(study._study_id, deepcopy=False)
        open_before, self._open = self._open, []
        for number in (*open_before, *range(self._looked, len(trials))):
            trial = trials[number]
            if not trial.state.is_finished():
                self._open.append(number)
            elif trial.state in _ENDED:
                insort(self._ended, (number, trial), key=lambda pair: pair[0])
                if trial.state is TrialState.COMPLETE and trial.value is not None:
                    insort(self._ranked, (self._sign * trial.value, number))
        self._looked = len(trials)

    def kept(self) -> list[FrozenTrial]:
        """Return the best and, evenly spaced from the last one back, others; by number."""
        count = len(self._ended)
        if count <= BOUND or len(self._ranked) < BEST:
            return [trial for _, trial in self._ended]
        spaced = dict(self._ended[-1 :: -(-count // -BOUND)])
        best = {number for _, number in self._ranked[:BEST]} - spaced.keys()
        for number in best:
            spaced |= [self._ended[bisect_left(self._ended, number, key=lambda pair: pair[0])]]
        return [spaced[number] for number in sorted(spaced)]


class _Seen:
    """A study of which some trials are seen."""

    def __init__(self, study: Study, ended: list[FrozenTrial]) -> None:
        self._study = study
        self._ended = ended

    def __getattr__(self, name: str) -> Any:
        return getattr(self._study, name)

    def _get_trials(
        self,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
        use_cache: bool = False,
    ) -> list[FrozenTrial]:
        found = [trial for trial in self._ended if states is None or trial.state in states]
        if states is None or TrialState.RUNNING in states:
            running = (TrialState.RUNNING,)
            storage = self._study._storage
            found += storage.get_all_trials(self._study._study_id, False, running)
        return found


class FollowingGrid(optuna.samplers.GridSampler):
    """Optuna's grid; which of its points were tried is followed, not looked up for each trial."""

    _unvisited: set[int] | None = None

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Give a trial its point."""
        if "grid_id" in trial.system_attrs or "fixed_params" in trial.system_attrs:
            return
        if trial.number < self._n_min_trials:
            point = trial.number
        else:
            left = self._get_unvisited_grid_ids(study) or range(self._n_min_trials)
            point = int(self._rng.rng.choice(left))
        study._storage.set_trial_system_attr(trial._trial_id, "grid_id", point)

    def _get_unvisited_grid_ids(self, study: Study) -> list[int]:
        """Return the points that are left; those that are being tried, where no other is."""
        if self._unvisited is None:
            self._unvisited, self._looked = set(range(self._n_min_trials)), 0
            self._open: list[int] = []
        trials = study._storage.get_all_trials(study._study_id, deepcopy=False)
        open_before, self._open = self._open, []
        running = set()
        for number in (*open_before, *range(self._looked, len(trials))):
            point = trials[number].system_attrs.get("grid_id")
            if not trials[number].state.is_finished():
                self._open.append(number)
                running.add(point)
            else:
                self._unvisited.discard(point)
        self._looked = len(trials)
        return sorted(self._unvisited - running or self._unvisited)
