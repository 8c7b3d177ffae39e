"""Samplers for many trials: what Optuna draws, but a trial that has ended is looked at once."""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, GridSampler, TPESampler
from optuna.samplers._tpe import parzen_estimator
from optuna.samplers._tpe.sampler import _split_trials, default_gamma
from optuna.trial import TrialState, create_trial

from tuner.config import long_studies, parzen
from tuner.config.long_studies import LongGrid, LongTPE
from tuner.config.samplers import SAMPLERS, Choice, make_sampler
from tuner.config.space import Space

SPACE = {
    "x": FloatDistribution(-5, 5),
    "rate": FloatDistribution(1e-4, 10, log=True),
    "how": CategoricalDistribution(["a", "b", "c"]),
    "n": IntDistribution(1, 9),
    "even": IntDistribution(2, 100, step=2),
    "many": IntDistribution(1, 500, log=True),
    "part": FloatDistribution(0, 1, step=0.125),
}
SOME = {name: SPACE[name] for name in ("x", "n", "how")}
MANY = 300


def value(params: dict) -> float:
    given = {"x": 0, "rate": 0.1, "how": "a", "n": 4, "even": 30, "many": 20, "part": 0} | params
    found = given["x"] ** 2 + abs(np.log10(given["rate"]) + 1) + 0.7 * (given["how"] == "b")
    found += 0.1 * abs(given["n"] - 4.3) + 0.02 * abs(given["even"] - 30.3)
    return float(found + abs(np.log(given["many"] / 20.3)) + abs(given["part"] - 0.4))


def run(
    sampler: BaseSampler,
    trials: int,
    direction: str = "minimize",
    several: bool = False,
    space: dict = SOME,
    pruner: optuna.pruners.BasePruner | None = None,
) -> optuna.Study:
    """Run a study in which two trials run at a time, some are pruned, and some fail."""
    sign = 1.0 if direction == "minimize" else -1.0
    directions = [direction] * (2 if several else 1)
    study = optuna.create_study(sampler=sampler, directions=directions, pruner=pruner)
    if "x" in space:
        study.enqueue_trial({"x": 4.0})
    waiting: list[optuna.Trial] = []
    for number in range(trials):
        waiting.append(study.ask(space))
        if len(waiting) > 1 + number % 2:
            trial = waiting.pop(number % 2)
            found = sign * value(trial.params)
            if number % 11 == 5 and not several:
                if number % 2:  # as one that broke a limit
                    trial.set_constraint("limits", 1.0)
                trial.report(found, 1)
                study.tell(trial, state=TrialState.PRUNED)
            elif number % 13 == 7:
                study.tell(trial, state=TrialState.FAIL)
            else:
                study.tell(trial, [found] * len(directions))
    return study


def drawn(study: optuna.Study) -> list[dict]:
    return [trial.params for trial in study.get_trials(deepcopy=False)]


def assert_same_draws(ours: optuna.Study, theirs: optuna.Study) -> None:
    for mine, other in zip(drawn(ours), drawn(theirs), strict=True):
        assert mine.keys() == other.keys()
        for name, one in mine.items():
            assert one == (other[name] if isinstance(one, str) else pytest.approx(other[name]))


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    yield
    optuna.logging.set_verbosity(optuna.logging.INFO)


@pytest.fixture
def _by_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Optuna sort equal values by number as well: which of them is wider is luck there."""
    sorting = types.ModuleType("numpy")
    stable = {"argsort": lambda values: np.argsort(values, kind="stable")}
    sorting.__dict__.update(np.__dict__ | stable)
    monkeypatch.setattr(parzen_estimator, "np", sorting)


# -- TPE: the draws --------------------------------------------------------------------------------


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
@pytest.mark.parametrize("several", [False, True])
def test_up_to_the_bound_optuna_draws(direction: str, several: bool) -> None:
    ours = run(LongTPE(seed=3), 70, direction, several)
    assert drawn(ours) == drawn(run(TPESampler(seed=3), 70, direction, several))


@pytest.mark.usefixtures("_by_number")
@pytest.mark.parametrize("direction", ["minimize", "maximize"])
@pytest.mark.parametrize(
    ("space", "options"),
    [
        ({"x": SPACE["x"]}, {}),
        ({"rate": SPACE["rate"]}, {"constant_liar": False}),
        (SPACE, {"n_ei_candidates": 12}),
    ],
)
def test_beyond_it_the_same_is_drawn(
    direction: str, space: dict, options: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both begin with the same random numbers at the first trial that is not random."""
    monkeypatch.setattr(long_studies, "BOUND", 10)
    monkeypatch.setattr(parzen, "BLOCK", 50)
    sampler = LongTPE(seed=3, **options)
    ours = run(sampler, 130, direction, space=space)
    assert sampler._history is not None
    theirs = run(TPESampler(seed=3, **options), 130, direction, space=space)
    assert_same_draws(ours, theirs)


def valley(make: Callable[..., BaseSampler], seed: int, trials: int) -> float:
    """Return the median of the last 50 draws on Rosenbrock's valley, random ones: 100 and more."""
    study = optuna.create_study(sampler=make(seed=seed))
    space = {"x": FloatDistribution(-2, 2), "y": FloatDistribution(-1, 3)}
    found = []
    for _ in range(trials):
        trial = study.ask(space)
        x, y = trial.params["x"], trial.params["y"]
        found.append((1 - x) ** 2 + 100 * (y - x**2) ** 2)
        study.tell(trial, found[-1])
    return float(np.median(found[-50:]))


def test_late_draws_are_as_good_as_optuna_s(monkeypatch: pytest.MonkeyPatch) -> None:
    """Over seeds, and not draw by draw: whatever rounding makes of them."""
    monkeypatch.setattr(long_studies, "BOUND", 10)
    ours, theirs = (
        np.median([valley(make, seed, 150) for seed in range(3)]) for make in (LongTPE, TPESampler)
    )
    assert ours < 1.2 * theirs


def test_a_sampler_goes_on_with_stored_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(long_studies, "BOUND", 10)
    first = LongTPE(seed=3)
    study = run(first, 100)
    first._draws, second = np.random.RandomState(5), LongTPE(seed=5)
    for _ in range(5):
        asked = []
        for study.sampler in (first, second):
            trial = study.ask(SOME)
            asked.append(trial.params)
            study.tell(trial, state=TrialState.FAIL)
        assert asked[0] == asked[1]


class Counted(list):
    """A list that counts what is taken from it."""

    taken = 0

    def __getitem__(self, at: Any) -> Any:
        self.taken += 1
        return super().__getitem__(at)


def test_a_trial_that_has_ended_is_looked_at_once() -> None:
    study = run(optuna.samplers.RandomSampler(3), MANY)
    history = long_studies._History(SOME, study.direction)
    history.follow(study.get_trials(deepcopy=False))
    study.tell(study.ask(SOME), 1.0)
    trials = Counted(study.get_trials(deepcopy=False))
    history.follow(trials)
    assert 0 < trials.taken < 30  # the new one and two that run


# -- TPE: the densities ----------------------------------------------------------------------------


def both(study: optuna.Study, space: dict) -> Iterator[tuple[parzen.Density, Any]]:
    """Return our density and Optuna's, of the good trials and of the others."""
    asked = study.ask().number
    history = long_studies._History(space, study.direction)
    history.follow(study.get_trials(deepcopy=False))
    ours = history.densities(asked, 10, True)
    assert ours is not None
    states = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING)
    trials = study.get_trials(deepcopy=False, states=states)
    ended = sum(trial.state is not TrialState.RUNNING for trial in trials)
    sampler = TPESampler()
    for mine, part in zip(ours, _split_trials(study, trials, default_gamma(ended)), strict=True):
        yield mine, sampler._build_parzen_estimator(study, space, part, handle_below=False)


def assert_same_densities(study: optuna.Study, space: dict, points: dict) -> None:
    """Compare logarithms: up to 2e-6, as our kernels are added up in single precision.

    Optuna's scale is not from 0 to 1, so that its densities differ by a constant.
    """
    for mine, other in both(study, space):
        logs = mine.log_pdf(np.array([points[name] for name in space]))
        expected = other.log_pdf(points)
        np.testing.assert_allclose(logs - logs[0], expected - expected[0], rtol=0, atol=2e-6)


def grid_of(dist: optuna.distributions.BaseDistribution) -> np.ndarray:
    if isinstance(dist, CategoricalDistribution):
        return np.arange(len(dist.choices), dtype=float)
    assert isinstance(dist, FloatDistribution | IntDistribution)
    if dist.step:
        return np.arange(dist.low, dist.high + dist.step / 2, dist.step)
    return (np.geomspace if dist.log else np.linspace)(dist.low, dist.high, 400)


@pytest.mark.usefixtures("_by_number")
@pytest.mark.parametrize("direction", ["minimize", "maximize"])
@pytest.mark.parametrize("name", SPACE)
def test_densities_of_a_parameter_are_optuna_s(name: str, direction: str) -> None:
    space = {name: SPACE[name]}
    study = run(optuna.samplers.RandomSampler(3), MANY, direction, space=space)
    assert_same_densities(study, space, {name: grid_of(SPACE[name])})


@pytest.mark.usefixtures("_by_number")
def test_densities_of_several_are_optuna_s(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parzen, "BLOCK", 64)
    study = run(optuna.samplers.RandomSampler(3), MANY, space=SPACE)
    rng, tried = np.random.default_rng(0), drawn(study)[::3]
    points = {}
    for name, dist in SPACE.items():
        at_trials = [dist.to_internal_repr(params[name]) for params in tried]
        points[name] = np.append(rng.choice(grid_of(dist), 50), at_trials)
    assert_same_densities(study, SPACE, points)


def test_a_lonely_bad_trial_keeps_its_kernel() -> None:
    """Where every second trial is left out, most of these have none: a hole that looks good."""
    space = {"x": FloatDistribution(0, 1)}
    study = optuna.create_study()
    lonely = np.linspace(0.5, 1, 12)
    for number in range(2_000):
        x = lonely[number] if number < 12 else 0.2 + 1e-4 * (number % 1_000)
        bad = 10.0 + number
        study.add_trial(create_trial(params={"x": x}, distributions=space, value=bad))
    assert_same_densities(study, space, {"x": np.sort([*lonely, *np.linspace(0, 1, 100)])})


def test_values_outside_of_the_range_leave_a_density() -> None:
    """A trial that is enqueued may have them."""
    axis = parzen.Axis(FloatDistribution(0, 1))
    values = np.array([[-3.0, 0.2, 0.5, 7.0]])
    density = parzen.Density([axis], values, [np.arange(4)])
    assert np.isfinite(density.log_pdf(np.linspace(0, 1, 11)[np.newaxis])).all()
    points = density.sample(np.random.RandomState(0), 100)
    assert ((points >= 0) & (points <= 1)).all()


# -- TPE: what is left to Optuna -------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::FutureWarning")  # what Optuna deprecates
@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@pytest.mark.parametrize(
    "options",
    [
        {"multivariate": False},
        {"multivariate": True, "group": True},
        {"consider_magic_clip": False},
        {"prior_weight": 0.5},
        {"gamma": lambda n: n // 2},
        {"constraints_func": lambda trial: [trial.params["x"]]},
    ],
)
def test_other_options_are_left_to_optuna(options: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(long_studies, "BOUND", 10)
    ours, theirs = (run(make(seed=3, **options), 50) for make in (LongTPE, TPESampler))
    assert drawn(ours) == drawn(theirs)


def test_brackets_constraints_and_few_complete_trials_are_left_to_optuna(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(long_studies, "BOUND", 10)
    pruner = optuna.pruners.HyperbandPruner
    ours, theirs = (run(make(seed=3), 60, pruner=pruner()) for make in (LongTPE, TPESampler))
    assert drawn(ours) == drawn(theirs)

    def search(sampler: BaseSampler, kind: str) -> optuna.Study:
        study = optuna.create_study(sampler=sampler)
        for number in range(50):
            trial = study.ask(SOME)
            if kind == "constrained":
                trial.set_constraint("low", trial.params["x"])
            if kind == "conditional" and number % 3 == 0:
                trial.suggest_float("rest", 0, 1)
            trial.report(value(trial.params), number % 3)
            if kind == "pruned":
                study.tell(trial, state=TrialState.PRUNED)
            else:
                study.tell(trial, value(trial.params))
        return study

    for kind in ("constrained", "pruned"):
        assert drawn(search(LongTPE(seed=3), kind)) == drawn(search(TPESampler(seed=3), kind))
    assert len(drawn(search(LongTPE(seed=3), "conditional"))[-2]) == 4


def test_the_names_of_samplers_stand_for_these() -> None:
    space = Space(dict(SOME), {})
    for name, cls in {"tpe": LongTPE, "grid": LongGrid}.items():
        choice = Choice.model_validate({"name": name}).checked(SAMPLERS, "sampler")
        assert type(make_sampler(choice, space, 0, False)) is cls
    with pytest.raises(ValueError, match="no option 'n_trials'; it has: .*constant_liar"):
        Choice.model_validate({"name": "tpe", "n_trials": 3}).checked(SAMPLERS, "sampler")
    with pytest.raises(ValueError, match="n_ei_candidates.*expected a whole number"):
        Choice.model_validate({"name": "tpe", "n_ei_candidates": "x"}).checked(SAMPLERS, "sampler")


# -- the grid --------------------------------------------------------------------------------------

GRID = {"x": [-1.0, 0.0, 2.0], "n": [1, 2], "how": ["a", "b"]}


def test_the_grid_is_run_as_optuna_runs_it() -> None:
    def search(sampler: BaseSampler) -> list[dict]:
        study = optuna.create_study(sampler=sampler)
        running = [study.ask(SOME)]
        for _ in range(11):
            running.append(study.ask(SOME))
            study.tell(running.pop(0), 1.0)
        return drawn(study)

    assert search(LongGrid(GRID, seed=5)) == search(GridSampler(GRID, seed=5))


def test_each_point_of_the_grid_is_tried_once_also_after_a_restart() -> None:
    study = optuna.create_study(sampler=LongGrid(GRID, seed=5))
    study.enqueue_trial({"x": 4.0, "n": 9, "how": "b"})  # a baseline takes the first number
    found = []
    for number in range(13):
        if number == 7:  # another process goes on
            study.sampler = LongGrid(GRID, seed=5)
        trial = study.ask(SOME)
        found.append(tuple(trial.params.values()))
        if number < 12:
            study.tell(trial, 1.0)
            continue
        assert not study.sampler.is_exhausted(study)
        with pytest.raises(RuntimeError, match="stop"):  # Optuna's way to say that it is over
            study.tell(trial, 1.0)
    assert study.sampler.is_exhausted(study)
    assert len(set(found[1:])) == 12
    attributes = [trial.system_attrs for trial in study.get_trials(deepcopy=False)]
    assert all("search_space" not in held for held in attributes)  # all of it, with each trial
    assert tuple(study.ask(SOME).params.values()) in set(found[1:])  # one more is one again


def test_two_trials_at_once_end_a_grid() -> None:
    study = optuna.create_study(sampler=LongGrid(GRID, seed=5))
    running = [study.ask(SOME) for _ in range(12)]
    again = study.ask(SOME)  # all are being tried: one of them
    assert again.params in [trial.params for trial in running]
    for trial in running[:-1]:
        study.tell(trial, 1.0)
    study.tell(again, state=TrialState.FAIL)
    with pytest.raises(RuntimeError, match="stop"):
        study.tell(running[-1], 1.0)
