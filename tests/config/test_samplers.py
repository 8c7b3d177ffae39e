"""Samplers and pruners by Optuna's names, and grids."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from tuner.config.load import load_config
from tuner.config.samplers import PRUNERS, SAMPLERS, Choice, grid, make_pruner, make_sampler
from tuner.config.space import Space, nearest
from tuner.plugin import InputError
from tuner.run.check import check

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


# -- samplers of others ---------------------------------------------------------------------------

MINE = """\
import optuna


class Mine(optuna.samplers.RandomSampler):
    def __init__(self, seed=None, pace: int = 1):
        super().__init__(seed)
        self.given = seed, pace


class Unseeded(optuna.samplers.BaseSampler):
    def __init__(self, **rest):
        self.rest = rest

    def infer_relative_search_space(self, study, trial):
        return {}

    def sample_relative(self, study, trial, search_space):
        return {}

    def sample_independent(self, study, trial, name, dist):
        return dist.high


def no_sampler():
    return 3
"""
HUB = """\
import importlib.util, pathlib, sys


def load_module(package):
    path = pathlib.Path(__file__).parent / "registry" / package / "__init__.py"
    if not path.exists():
        raise ConnectionError(f"no answer about {package}\\nnor later")
    spec = importlib.util.spec_from_file_location("optunahub_registry." + path.parent.name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
"""


@pytest.fixture
def others(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Install a package with samplers, and an OptunaHub whose registry is a local folder."""
    folder = tmp_path_factory.mktemp("others")
    (folder / "mine_samplers.py").write_text(MINE)
    info = folder / "mine_samplers-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mine-samplers\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[tuner.samplers]\nmine = mine_samplers:Mine\n")
    (folder / "optunahub.py").write_text(HUB)
    for name, exported in (("one", '["Mine"]'), ("two", '["Mine", "Unseeded"]')):
        package = folder / "registry" / "samplers" / name
        package.mkdir(parents=True)
        (package / "__init__.py").write_text(f"{MINE}\n__all__ = {exported}\n")
    monkeypatch.syspath_prepend(str(folder))
    for module in ("mine_samplers", "optunahub"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    return folder


def made(choice: object) -> optuna.samplers.BaseSampler:
    return make_sampler(Choice.model_validate(choice).checked(SAMPLERS, "sampler"), SPACE, 7, False)


@pytest.mark.usefixtures("others")
@pytest.mark.parametrize(
    "name",
    ["mine", "mine_samplers:Mine", "optunahub:samplers/one", "optunahub:samplers/two:Mine"],
)
def test_a_sampler_of_others_gets_the_seed_and_its_options(name: str) -> None:
    assert made(name).given == (7, 1)
    assert made({"name": name, "pace": 3}).given == (7, 3)
    with pytest.raises(ValueError, match=r"has no option 'pase'; it has: pace"):
        made({"name": name, "pase": 3})
    with pytest.raises(ValueError, match=r"'pace': expected a whole number from 0, got 'x'"):
        made({"name": name, "pace": "x"})


@pytest.mark.usefixtures("others")
def test_a_sampler_that_takes_no_seed_gets_none_and_any_option_where_it_says_so() -> None:
    assert made({"name": "mine_samplers:Unseeded", "a": 1}).rest == {"a": 1}


@pytest.mark.usefixtures("others")
@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "mien",
            r"no sampler called 'mien'; expected one of tpe,.*, mine; did you mean 'mine'\?$",
        ),
        ("absent_package:Mine", r"needs the package 'absent_package', which is not installed"),
        ("mine_samplers:Gone", r"cannot be loaded: AttributeError: .*'Gone'"),
        ("not a place:Mine", r"expected package.module:Class"),
        ("mine_samplers:no_sampler", r"'mine_samplers:no_sampler' is no optuna.*BaseSampler: 3"),
        (
            "optunahub:samplers/three",
            r"OptunaHub: ConnectionError: no answer about samplers/three;",
        ),
        ("optunahub:samplers/two", r"not one .*: optunahub:samplers/two:Mine, .*two:Unseeded$"),
    ],
)
def test_a_sampler_that_cannot_be_had_is_one_line(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        made(name)
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("toy")
def test_optunahub_is_named_where_it_is_not_installed(
    write_config: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    absent = lambda name, *rest: None if name == "optunahub" else find(name, *rest)  # noqa: E731
    monkeypatch.setattr(importlib.util, "find_spec", absent)
    path = write_config(plugin="toy", study={"sampler": "optunahub:samplers/one"})
    with pytest.raises(InputError, match=r"line 3: study.sampler: .*pip install optunahub"):
        load_config(path)


@pytest.mark.usefixtures("toy", "others")
def test_validate_takes_a_sampler_of_others(write_config: Callable[..., Path]) -> None:
    sampler = {"name": "optunahub:samplers/one", "pace": 2}
    path = write_config(plugin="toy", study={"sampler": sampler}, tracking={"enabled": False})
    config = load_config(path)
    check(config)
    assert config.deciding()["sampler"] == sampler
