"""Samplers and pruners by Optuna's names, and grids."""

from __future__ import annotations

import importlib.util

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from tuner.config.samplers import PRUNERS, SAMPLERS, Choice, grid, make_pruner, make_sampler
from tuner.config.space import Space, nearest
from tuner.plugin import InputError

SPACE = Space(
    {
        "a": FloatDistribution(1.0, 100.0, log=True),
        "b": IntDistribution(1, 9, step=4),
        "c": CategoricalDistribution(["x", "y"]),
        "d": FloatDistribution(0.0, 1.0, step=0.25),
        "e": IntDistribution(1, 3),
    },
    {},
)


@pytest.mark.parametrize("name", SAMPLERS)
def test_each_sampler_can_be_made(name: str) -> None:
    if name == "gp" and importlib.util.find_spec("torch") is None:
        with pytest.raises(InputError, match="needs the package 'torch'"):
            make_sampler(Choice(name=name), SPACE, 0, False)
        return
    sampler = make_sampler(Choice(name=name).checked(SAMPLERS, "sampler"), SPACE, 0, False)
    assert isinstance(sampler, getattr(optuna.samplers, SAMPLERS[name]))


OPTIONS = {
    "percentile": {"percentile": 25.0},
    "threshold": {"lower": 0.0},
    "patient": {"patience": 2, "wrapped_pruner": "median"},
}


@pytest.mark.parametrize("name", PRUNERS)
def test_each_pruner_can_be_made(name: str) -> None:
    choice = Choice.model_validate({"name": name, **OPTIONS.get(name, {})})
    pruner = make_pruner(choice.checked(PRUNERS, "pruner"))
    assert type(pruner).__name__ == PRUNERS[name]
    assert isinstance(pruner, optuna.pruners.BasePruner)


@pytest.mark.parametrize("spelling", ["TPESampler", "tpe", "TPE"])
def test_spellings_of_a_name(spelling: str) -> None:
    assert Choice(name=spelling).checked(SAMPLERS, "sampler").name == "tpe"


def test_options_are_passed_and_checked() -> None:
    choice = Choice.model_validate({"name": "tpe", "n_startup_trials": 3})
    assert make_sampler(choice, SPACE, 0, False)._n_startup_trials == 3
    with pytest.raises(InputError, match="refuses"):
        make_pruner(Choice(name="percentile"))
    with pytest.raises(InputError, match="serves one objective"):
        make_sampler(Choice(name="cmaes"), SPACE, 0, True)


def test_a_grid_takes_choices_and_steps_whole_and_spaces_the_rest() -> None:
    values = grid(SPACE, 3)
    assert values["a"] == pytest.approx([1.0, 10.0, 100.0])
    assert values["b"] == [1, 5, 9]
    assert values["c"] == ["x", "y"]
    assert values["d"] == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert values["e"] == [1, 2, 3]
    with pytest.raises(InputError, match="above 1"):
        grid(SPACE, 1)


def test_the_nearest_value_lies_in_the_range() -> None:
    assert nearest(1000, SPACE.searched["a"]) == 100.0
    assert nearest(4, SPACE.searched["b"]) == 5
    assert nearest("z", SPACE.searched["c"]) == "x"
    assert nearest(0.3, SPACE.searched["d"]) == 0.25
