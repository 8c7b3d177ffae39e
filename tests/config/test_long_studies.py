"""Samplers for many trials: Optuna's own draws, and what they look at does not grow."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, GridSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState

from tuner.config import long_studies
from tuner.config.long_studies import BEST, BoundedTPE, FollowingGrid

SPACE = {
    "x": FloatDistribution(-5, 5),
    "n": IntDistribution(1, 9),
    "how": CategoricalDistribution(["a", "b"]),
}


def value(params: dict) -> float:
    return float(params["x"] ** 2 + abs(params["n"] - 4) + (params["how"] == "b"))


def run(
    sampler: BaseSampler,
    trials: int,
    direction: str = "minimize",
    several: bool = False,
    space: dict = SPACE,
) -> optuna.Study:
    """Run a study in which two trials run at a time, some are pruned, and some fail."""
    sign = 1.0 if direction == "minimize" else -1.0
    directions = [direction] * (2 if several else 1)
    study = optuna.create_study(sampler=sampler, directions=directions)
    study.enqueue_trial({"x": 4.0, "n": 9, "how": "b"})
    waiting: list[optuna.Trial] = []
    for number in range(trials):
        waiting.append(study.ask(space))
        if len(waiting) > 1 + number % 2:
            trial = waiting.pop(number % 2)
            found = sign * value(trial.params)
            if number % 11 == 5 and not several:
                trial.report(found, 1)
                study.tell(trial, state=TrialState.PRUNED)
            elif number % 13 == 7:
                study.tell(trial, state=TrialState.FAIL)
            else:
                study.tell(trial, [found] * len(directions))
    return study


def drawn(study: optuna.Study) -> list[dict]:
    return [trial.params for trial in study.get_trials(deepcopy=False)]


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    yield
    optuna.logging.set_verbosity(optuna.logging.INFO)


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
@pytest.mark.parametrize("several", [False, True])
def test_up_to_the_bound_it_draws_what_optuna_draws(direction: str, several: bool) -> None:
    ours = run(BoundedTPE(seed=3), 70, direction, several)
    assert drawn(ours) == drawn(run(TPESampler(seed=3), 70, direction, several))


def seen_by(sampler: BoundedTPE, study: optuna.Study) -> list[FrozenTrial]:
    found = sampler._seen(study)._get_trials(False, (TrialState.COMPLETE, TrialState.PRUNED))
    return list(found)


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_beyond_it_the_best_are_seen_and_others_evenly(
    direction: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(long_studies, "BOUND", 60)
    sampler = BoundedTPE(seed=3)
    study = run(sampler, 400, direction)
    ended = [t for t in study.trials if t.state in (TrialState.COMPLETE, TrialState.PRUNED)]
    seen = seen_by(sampler, study)
    assert 30 <= len(seen) <= 60 + BEST < len(ended)
    assert seen == sorted(seen, key=lambda trial: trial.number)
    assert seen[-1].number == ended[-1].number
    numbers = {trial.number for trial in seen}
    assert max(b - a for a, b in pairwise(sorted(numbers))) < 2 * len(ended) / 30
    complete = [trial for trial in ended if trial.state is TrialState.COMPLETE]
    sign = 1 if direction == "minimize" else -1
    ranked = sorted(complete, key=lambda trial: sign * trial.value)
    assert {trial.number for trial in ranked[:BEST]} <= numbers
    resumed = BoundedTPE(seed=3)  # one that has not followed the study
    assert seen_by(resumed, study) == seen


def test_where_few_are_complete_all_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(long_studies, "BOUND", 10)
    study = optuna.create_study()
    for number in range(60):
        trial = study.ask(SPACE)
        trial.report(number, 1)
        study.tell(trial, state=TrialState.PRUNED)
    assert len(seen_by(BoundedTPE(), study)) == 60


def test_beyond_the_bound_it_finds_the_optimum_as_optuna_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On Rosenbrock's valley: the median of the last draws, over seeds, is no worse."""
    monkeypatch.setattr(long_studies, "BOUND", 60)
    space = {"x": FloatDistribution(-2, 2), "y": FloatDistribution(-1, 3)}

    def late(make: Callable[..., BaseSampler]) -> float:
        medians = []
        for seed in range(2):
            study = optuna.create_study(sampler=make(seed=seed))
            found = []
            for _ in range(200):
                trial = study.ask(space)
                x, y = trial.params["x"], trial.params["y"]
                found.append((1 - x) ** 2 + 100 * (y - x**2) ** 2)
                study.tell(trial, found[-1])
            medians.append(np.median(found[-100:]))
        return float(np.median(medians))

    assert late(BoundedTPE) < 2 * late(TPESampler)
    assert late(BoundedTPE) < late(optuna.samplers.RandomSampler) / 5


GRID = {"x": [-1.0, 0.0, 2.0], "n": [1, 2], "how": ["a", "b"]}


def test_the_grid_is_run_as_optuna_runs_it() -> None:
    ours = run(FollowingGrid(GRID, seed=5), 9)
    assert drawn(ours) == drawn(run(GridSampler(GRID, seed=5), 9))


def test_each_point_of_the_grid_is_tried_once_also_after_a_restart() -> None:
    study = optuna.create_study(sampler=FollowingGrid(GRID, seed=5))
    study.enqueue_trial({"x": 4.0, "n": 9, "how": "b"})  # a baseline takes the first number
    found = []
    for number in range(13):
        if number == 7:  # another process goes on
            study.sampler = FollowingGrid(GRID, seed=5)
        trial = study.ask(SPACE)
        found.append(tuple(trial.params.values()))
        if number < 12:
            study.tell(trial, 1.0)
            continue
        with pytest.raises(RuntimeError, match="stop"):  # Optuna's way to say that it is over
            study.tell(trial, 1.0)
    assert len(set(found[1:])) == 12
    attributes = [trial.system_attrs for trial in study.get_trials(deepcopy=False)]
    assert all("search_space" not in held for held in attributes)  # all of it, with each trial
