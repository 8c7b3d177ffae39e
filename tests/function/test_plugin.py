"""``plugin: function``: what it takes for a function, and what it says of what is none."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.driver import Driver
from tuner.config.load import Config, load_config
from tuner.execution.jobs import Setup, TrialJob
from tuner.execution.runner import Bench
from tuner.plugin import InputError
from tuner.records import Trial
from tuner.run.check import check

MODULE = """
def loss(x, n, kind="a"):
    return {"loss": (x - 1) ** 2 + n, "size": n}

def one(x, n):
    return x

def text(x, n):
    return "large"

def other(x, n):
    return {"height": x}

number = 3
raise_late = None
"""
SPACE = {"x": {"low": -5.0, "high": 5.0}, "n": {"low": 0, "high": 3}}


@pytest.fixture
def write(write_config: Callable[..., Path], workplace: Path) -> Callable[..., Path]:
    folder = workplace / "project"
    folder.mkdir()
    (folder / "losses.py").write_text(MODULE)

    def write(function: str = "losses:loss", **more: object) -> Path:
        sections = {
            "plugin": "function",
            "study": {"trials": 6},
            "data": {"function": function, "metrics": {"loss": "minimize"}},
            "search_space": SPACE,
            "objective": "loss",
            "tracking": {"enabled": False},
            **more,
        }
        return write_config("project/study.yaml", **sections)

    return write


def test_a_function_beside_the_file_is_tuned_frozen_and_called(
    write: Callable[..., Path], driver: Driver, workplace: Path
) -> None:
    config = write(export={"path": "best.py"})
    done = driver.run("run", "project/study.yaml", "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    params = result["best"]["params"]
    assert set(result["best"]["metrics"]) >= {"loss", "size", "time"}
    assert result["best"]["metrics"]["loss"] == (params["x"] - 1) ** 2 + params["n"]
    for options, printed in (((), params), (("--call",), (params["x"] - 1) ** 2 + params["n"])):
        command = [sys.executable, "-I", "best.py", *options]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        found = json.loads(said) if not options else eval(said)["loss"]
        assert found == printed

    (workplace / "project/losses.py").write_text(MODULE.replace("x - 1", "x - 2"))
    done = driver.run("run", str(config), "--trials", "8")
    assert done.returncode == 2
    assert "input files changed: losses.py" in done.stderr


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("absent:loss", r"line 4: data: .*no module 'absent' in .*project or on Python's path"),
        ("losses.deep:loss", r"no module 'losses.deep' in"),
        (
            "losses",
            "line 5: data.function: expected a function, or module:name of one, got 'losses'",
        ),
        ("losses:lost", "losses:lost cannot be imported: AttributeError: module 'losses' has no"),
        ("losses:number", "losses:number is no function: 3"),
        ("losses:other", "the function does not take the params kind, x, n: got an unexpected"),
        ("__main__:loss@3.11-0123", "was handed over in Python and is in no file; call tuner.opti"),
    ],
)
def test_what_is_no_function_is_one_line(
    write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, function: str, message: str
) -> None:
    monkeypatch.setattr(sys, "path", sys.path[:])
    path = write(function, search_space={"kind": "a", **SPACE})
    with pytest.raises(InputError, match=message) as caught:
        check(load_config(path), load=True)
    assert "\n" not in str(caught.value)
    sys.modules.pop("losses", None)


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"search_space": {"x": {"low": 1}}}, "search_space.x: expected a value, a list of"),
        ({"search_space": {"x": {"low": 2, "high": 1}}}, "search_space.x: expected low < high"),
        ({"search_space": {"x": []}}, "search_space.x: expected a value, a list of"),
        ({"search_space": {"x": [1, [2]]}}, "search_space.x: expected numbers, texts"),
        ({"search_space": {"x": 1.0}}, "the search space is empty"),
        ({"search_space": {"x": {"low": 0, "high": 1, "log": True}}}, "expected low > 0 on a log"),
        ({"search_space": None}, "'search_space' is missing"),
        ({"data": {"function": "losses:one", "metrics": {"time": "minimize"}}}, "engine's own"),
        ({"data": {"function": "losses:one", "metrics": {}}}, "expected at least one metric"),
        ({"data": {"function": "losses:one", "baseline": {"x": 1.0}}}, "got no 'n'"),
        ({"data": {"function": "losses:one", "baseline": {"x": 1, "n": 1, "m": 1}}}, "got 'm', wh"),
        ({"objective": "score"}, "'score' needs a baseline"),
    ],
)
def test_a_wrong_section_is_one_line(
    write: Callable[..., Path], sections: dict[str, object], message: str
) -> None:
    path = write(**{"objective": "value", "data": {"function": "losses:one"}, **sections})
    with pytest.raises(InputError, match=message) as caught:
        load_config(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("losses:text", "expected 'text' to return a number, or a mapping of metrics, got 'large'"),
        ("losses:other", r"'other' returned no metric 'loss', but height; name its metrics as in"),
    ],
)
def test_what_it_returns_is_no_metric(
    write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, function: str, message: str
) -> None:
    monkeypatch.setattr(sys, "path", sys.path[:])
    done = tried(load_config(write(function)), {"x": 1.0, "n": 2})
    assert done.bad_input
    assert message in done.reason
    sys.modules.pop("losses", None)


def test_ends_are_whole_numbers_where_both_are(write: Callable[..., Path]) -> None:
    space = {"x": {"low": 0, "high": 1.0}, "n": {"low": 1, "high": 9, "step": 2}, "m": ["a", 2]}
    config = load_config(write(search_space={**space, "fixed": 3}))
    described = config.space.describe()
    assert {name: entry["type"] for name, entry in described.items()} == {
        "x": "float",
        "n": "int",
        "m": "categorical",
    }
    assert config.space.fixed == {"fixed": 3}
    assert config.plugin.defaults() == {"x": 0.5, "n": 5, "m": "a", "fixed": 3}


def test_a_study_is_resumed_wherever_its_folder_has_gone(write: Callable[..., Path]) -> None:
    path = write()
    before = load_config(path).signature()
    path.parent.rename(path.parent.with_name("moved"))
    moved = path.parent.with_name("moved") / path.name
    assert load_config(moved).signature() == before
    sections = yaml.safe_load(moved.read_text())
    sections["search_space"]["x"]["high"] = 6.0
    moved.write_text(yaml.safe_dump(sections))
    assert load_config(moved).signature() != before


def tried(config: Config, params: dict[str, object]):
    bench = Bench(Setup("function", config.plugin.config.model_dump()))
    trial = Trial(number=0, params=params, searched=params)
    return bench.run(TrialJob(trial, seed=0), lambda cases: True)
