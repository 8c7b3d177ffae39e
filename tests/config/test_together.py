"""Mistakes of parts that stand apart are told in one round: each once, in the order of the file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tuner.config.errors import Mistakes
from tuner.config.load import load_config
from tuner.config.yaml import Document
from tuner.plugin import InputError
from tuner.run.check import check
from tuner.run.prepare import load_prepared
from tuner.search.lease import StudyHeld

pytestmark = pytest.mark.usefixtures("toy")

ALL_WRONG = """\
plugin: toy
executor: {kind: local, log: a}
study: {trials: 0, sampler: random}
search_space:
  y: {low: -1, high: 4}
data:
  targets: [1, two]
  width: true
workers: none
export: {path: 3, kernels: both}
"""


def lines_of(path: Path, load: Callable[..., Any] = load_config, *overrides: str) -> list[str]:
    with pytest.raises(InputError) as caught:
        load(path, overrides)
    return [line.removeprefix(f"{path}, ") for line in str(caught.value).splitlines()]


def written(folder: Path, text: str) -> Path:
    path = folder / "study.yaml"
    path.write_text(text)
    return path


def prepared(path: Path, overrides: tuple[str, ...]) -> object:
    return load_prepared(path, overrides, print)


@pytest.mark.parametrize("load", [load_config, prepared])
def test_sections_of_the_engine_and_of_the_plug_in(workplace: Path, load: Any) -> None:
    lines = lines_of(written(workplace, ALL_WRONG), load)
    assert [line.split(": ")[:2] for line in lines] == [
        ["line 3", "study.trials"],
        ["line 7", "data.targets.1"],
        ["line 8", "data.width"],
        ["line 9", "workers"],
        ["line 10", "export.path"],
        ["line 10", "export.kernels"],
    ]


def test_what_only_a_whole_plug_in_can_tell(workplace: Path) -> None:
    text = ALL_WRONG.replace("[1, two]", "[1, 2]").replace("width: true", "width: 1")
    text = (
        text.replace("trials: 0", "trials: 5").replace("none", "1").replace("3, kernels: both", "a")
    )
    lines = lines_of(written(workplace, f"{text}objective: [fit, speed]\ntiming: {{mode: run}}\n"))
    assert [line.split(": ")[:2] for line in lines] == [
        ["line 2", "executor"],
        ["line 5", "search_space.y"],
        ["line 11", "objective"],
    ]


def test_a_file_that_is_not_there_hides_no_other_mistake(workplace: Path) -> None:
    text = "plugin: toy\ndata: {file: absent.txt}\nsearch_space: {x: {lo: 1}}\nobjective: a\n"
    lines = lines_of(written(workplace, text))
    assert [line.split(": ")[:2] for line in lines] == [
        ["line 2", "data.file"],
        ["line 3", "search_space.x.lo"],
        ["line 4", "objective"],
    ]


def test_nor_does_one_that_a_case_of_a_program_names(workplace: Path) -> None:
    text = """\
plugin: command
data: {command: [sort, "-{k}", "{file}"], cases: [{name: a, file: absent.txt}]}
search_space: {k: {low: 3, high: 1}}
objective: recall
"""
    lines = lines_of(written(workplace, text))
    assert [line.split(": ")[:2] for line in lines] == [
        ["line 2", "data.cases.0.file"],
        ["line 3", "search_space.k"],
        ["line 4", "objective"],
    ]


def test_the_order_is_that_of_the_file_and_set_comes_first(workplace: Path) -> None:
    path = written(workplace, "data: {width: 0}\nworkers: 0\nplugin: toy\n")
    lines = lines_of(path, load_config, "study.trials=0")
    assert lines == [
        "--set study.trials=0: study.trials: expected at least 1, got 0",
        "line 1: data.width: expected at least 1, got 0",
        "line 2: workers: expected at least 1, got 0",
    ]


def test_a_mistake_that_a_plug_in_tells_wherever_it_is_asked_is_told_once(
    workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A baseline that the plug-in refuses is asked for by space, objective and selector."""
    from tuner_toy import Toy

    def refuse(self: Toy) -> None:
        raise InputError("no such baseline; give another", ("data", "baseline_mode"))

    monkeypatch.setattr(Toy, "baseline", refuse)
    text = "plugin: toy\ndata: {baseline_mode: odd}\nsearch_space: {y: 1}\n"
    (line,) = lines_of(written(workplace, text))
    assert line == "line 2: data.baseline_mode: no such baseline; give another"


def test_data_that_would_be_simulated_are_not_missed(workplace: Path) -> None:
    text = "plugin: toy\nworkers: 0\nsimulate: {folder: points}\ndata: {file: points/points.json}\n"
    assert lines_of(written(workplace, text), prepared) == [
        "line 2: workers: expected at least 1, got 0"
    ]


def test_what_a_run_needs_is_told_in_one_round(write_config: Callable[..., Path]) -> None:
    path = write_config(
        plugin="toy",
        study={"trials": 4, "sampler": "brute-force", "storage": "sqlite:///no/x.db"},
        search_space={"x": {}},
        executor={"kind": "local", "log": 3},
        limits={"memory": "10MB"},
        tracking={"enabled": False},
        data={"width": 12},
    )
    lines = yaml.safe_load(path.read_text())
    with pytest.raises(InputError) as caught:
        check(load_config(path), load=True)
    told = [line.split(": ")[1] for line in str(caught.value).splitlines()]
    assert sorted(told) == ["data", "executor", "limits.memory", "study.sampler", "study.storage"]
    assert set(lines) >= {each.split(".")[0] for each in told}


def test_a_single_mistake_keeps_its_class() -> None:
    """Whoever joins a study tells by it that the study is led."""
    held = StudyHeld("study 's' is being run")

    def refuse(error: InputError) -> None:
        raise error

    document = Document(Path("study.yaml"), {}, {}, {})
    found = Mistakes(document)
    found.of(refuse, held)
    with pytest.raises(StudyHeld, match="study 's' is being run"):
        found.tell()
    found.of(refuse, InputError("another"))
    with pytest.raises(InputError, match="study 's' is being run\nanother") as raised:
        found.tell()
    assert type(raised.value) is InputError
