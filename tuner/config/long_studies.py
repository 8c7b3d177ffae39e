"""Optuna's TPE and grid for studies of many trials: quick, however many there are.

Optuna's own look at every trial again for each that they draw: TPE makes its densities of Python
objects, and the grid compares its points with those that each trial carries along. Here a trial
is looked at while it runs and once when it has ended. Nothing is kept outside of the study.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution
from optuna.samplers import BruteForceSampler, GridSampler, TPESampler
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

if TYPE_CHECKING:
    from tuner.config.parzen import Density

BOUND = 200
"""Up to so many trials TPE is drawn by Optuna's own code."""

GOOD = 25
"""So many trials TPE takes for good at most, else a tenth: Optuna's ``gamma``."""

_STATES = {TrialState.COMPLETE: 1, TrialState.PRUNED: 2, TrialState.RUNNING: 3}
_COMPLETE, _PRUNED, _RUNNING = _STATES.values()
_SERVED = ("seed", "n_startup_trials", "n_ei_candidates", "constant_liar")


class LongTPE(TPESampler):
    """Optuna's TPE, with Optuna's densities, in little more time for 10,000 trials than for 200.

    Left to Optuna are the first `BOUND` trials, several objectives, constraints of complete trials,
    a Hyperband pruner, parameters that not every trial has, fewer complete trials than the good
    ones should be, and all options but ``n_startup_trials``, ``n_ei_candidates``,
    ``constant_liar`` and ``seed``. Params of a trial that runs count once it has them all.
    """

    __signature__ = inspect.signature(TPESampler)

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        defaults = {"group": (None, False), "multivariate": (None, True)}
        self._is_served = all(
            name in _SERVED or value in defaults.get(name, (None,))
            for name, value in options.items()
        )
        self._candidates = options.get("n_ei_candidates", 24)
        self._least = options.get("n_startup_trials", 10)
        self._is_liar = options.get("constant_liar", True)
        self._draws = np.random.RandomState(options.get("seed"))
        self._history: _History | None = None

    def reseed_rng(self) -> None:
        """Draw other trials than a copy of this sampler."""
        super().reseed_rng()
        self._draws.seed()

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return params of the good density, where it is highest compared with the other one."""
        densities = None
        is_plain = type(study) is Study and len(study.directions) == 1  # no bracket of Hyperband
        if self._is_served and is_plain and search_space and trial.number >= BOUND:
            if self._history is None or self._history.space != search_space:
                self._history = _History(search_space, study.direction)
            self._history.follow(study.get_trials(deepcopy=False))
            densities = self._history.densities(trial.number, self._least, self._is_liar)
        if densities is None:
            return super().sample_relative(study, trial, search_space)
        good, others = densities
        points = good.sample(self._draws, self._candidates)
        best = np.argmax(good.log_pdf(points) - others.log_pdf(points))
        drawn = zip(search_space.items(), points[:, best].tolist(), strict=True)
        return {name: dist.to_external_repr(value) for (name, dist), value in drawn}


class _History:
    """The trials of a study in arrays, a column for each, by number."""

    def __init__(self, space: Mapping[str, BaseDistribution], direction: StudyDirection) -> None:
        from tuner.config.parzen import Axis, Density  # SciPy is for long studies only

        self.space, self._made = dict(space), Density
        self._axes = [Axis(dist) for dist in space.values()]
        self._sign = -1.0 if direction is StudyDirection.MAXIMIZE else 1.0
        self._values = np.empty((len(space), 0))
        self._scores, self._states = np.empty(0), np.empty(0, dtype=np.int8)
        self._orders = [np.empty(0, dtype=np.intp) for _ in space]
        self._open: list[int] = []
        self._is_constrained = False

    def follow(self, trials: Sequence[FrozenTrial]) -> None:
        """Take in all trials of the study: those that are new or had not ended are looked at."""
        looked = self._states.size
        new = len(trials) - looked
        unknown = np.full((len(self.space), new), np.inf)  # sorted to the end
        self._values = np.append(self._values, unknown, axis=1)
        self._scores = np.append(self._scores, np.zeros(new))
        self._states = np.append(self._states, np.zeros(new, dtype=np.int8))
        numbers = [*self._open, *range(looked, len(trials))]
        self._open = [n for n in numbers if not trials[n].state.is_finished()]
        known = [n for n in numbers if self.space.keys() <= trials[n].params.keys()]
        for number in known:
            trial = trials[number]
            is_complete = trial.state is TrialState.COMPLETE  # no other is ever among the good
            self._is_constrained |= is_complete and bool(trial.constraints)
            self._states[number] = _STATES.get(trial.state, 0)
            if trial.state is TrialState.COMPLETE and trial.value is not None:
                self._scores[number] = self._sign * trial.value
        for i, (name, dist) in enumerate(self.space.items()):
            internal = [dist.to_internal_repr(trials[number].params[name]) for number in known]
            self._values[i, known] = self._axes[i].scaled(np.array(internal))
            order = np.append(self._orders[i], range(looked, len(trials))).astype(np.intp)
            # Sorted but for a few: the stable sort takes little more than a look at each.
            self._orders[i] = order[np.argsort(self._values[i, order], kind="stable")]

    def densities(self, asked: int, least: int, is_liar: bool) -> tuple[Density, Density] | None:
        """Return the densities of the good trials and of all others; None where it is not for us.

        Parameters
        ----------
        asked : int
            The trial that is drawn.
        least : int
            Trials that must have ended.
        is_liar : bool
            Whether trials that run count among the others.
        """
        ended = np.count_nonzero((self._states == _COMPLETE) | (self._states == _PRUNED))
        complete = np.flatnonzero(self._states == _COMPLETE)
        count = min(math.ceil(0.1 * ended), GOOD)
        if self._is_constrained or ended < max(least, 2) or len(complete) < count:
            return None
        scores = self._scores[complete]
        worst = np.partition(scores, count - 1)[count - 1]
        good = np.zeros(len(self._states), dtype=bool)
        good[complete[scores < worst]] = True
        good[complete[scores == worst][: count - np.count_nonzero(good)]] = True  # the oldest
        others = (self._states > 0) & ~good
        others[asked] = False
        if not is_liar:
            others &= self._states != _RUNNING
        return self._density(good), self._density(others)

    def _density(self, chosen: NDArray[np.bool_]) -> Density:
        place = np.cumsum(chosen) - 1
        orders = [place[order[chosen[order]]] for order in self._orders]
        return self._made(self._axes, self._values[:, chosen], orders)


class LongGrid(GridSampler):
    """Optuna's grid; which of its points were tried is followed, not looked up for each trial.

    A trial carries the number of its point, not all points: the grid of a study must stay.
    """

    def __init__(self, search_space: Mapping[str, Sequence[Any]], seed: int | None = None) -> None:
        super().__init__(search_space, seed)
        self._size = math.prod(map(len, search_space.values()))
        self._left = set(range(self._size))
        self._draws = np.random.default_rng(seed or 0)
        self._looked = 0
        self._open: list[int] = []

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Assign a point: that of the trial's number, then one of those that are left."""
        if "grid_id" in trial.system_attrs or "fixed_params" in trial.system_attrs:
            return
        point = trial.number
        if point >= self._size:
            running = self._follow(study)
            left = sorted(self._left - running or self._left) or range(self._size)
            point = int(self._draws.choice(left))
        study._storage.set_trial_system_attr(trial._trial_id, "grid_id", point)

    def after_trial(
        self,
        study: Study,
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
        """Stop the study after its last point."""
        self._follow(study)
        if self._left <= {trial.system_attrs.get("grid_id")}:
            study.stop()

    def is_exhausted(self, study: Study) -> bool:
        """Return whether every point was tried."""
        self._follow(study)
        return not self._left

    def _follow(self, study: Study) -> set[Any]:
        """Take in what has ended; return the points that are being tried."""
        # Not the study's own list, of which a Hyperband pruner shows the sampler a part.
        trials = study._storage.get_all_trials(study._study_id, deepcopy=False)
        numbers = [*self._open, *range(self._looked, len(trials))]
        self._looked = len(trials)
        self._open = [number for number in numbers if not trials[number].state.is_finished()]
        points = {number: trials[number].system_attrs.get("grid_id") for number in numbers}
        running = {points.pop(number) for number in self._open}
        self._left.difference_update(points.values())
        return running


class BruteForce(BruteForceSampler):
    """Optuna's, to which a trial that ended before it had params is none of its settings."""

    @staticmethod
    def _populate_tree(tree: Any, trials: list[FrozenTrial], params: dict[str, Any]) -> None:
        known = [trial for trial in trials if trial.params or not trial.state.is_finished()]
        BruteForceSampler._populate_tree(tree, known, params)
