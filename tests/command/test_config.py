"""Every mistake in a configuration is one line with the place where it stands."""

from __future__ import annotations

import copy
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tuner.config.load import load_config
from tuner.plugin import InputError
from tuner.run.check import check

FIRST_RESULT = Path(__file__).parents[2] / "benchmarks" / "first_result"

GOOD: dict[str, Any] = {
    "plugin": "command",
    "data": {
        "command": ["sort", "-k", "{k}", "{fast}", "{file}", "-o", "{output}"],
        "flags": {"fast": "--stable"},
        "cases": [{"name": "one", "file": "one.txt"}],
        "metrics": {"size": {"command": ["wc", "-c", "{output}"], "regex": r"(\d+)"}},
        "baseline": {"k": 1, "fast": False},
    },
    "search_space": {"k": {"low": 1, "high": 9}, "fast": [True, False]},
    "tracking": {"enabled": False},
}


@pytest.fixture
def load(write_config: Callable[..., Path], workplace: Path) -> Callable[..., Any]:
    """Return what loads `GOOD` with the value at a dotted key changed; None removes it."""
    (workplace / "one.txt").write_text("b\na\n")
    (workplace / "score.py").write_text("")

    def _load(changes: dict[str, Any]) -> Any:
        sections = copy.deepcopy(GOOD)
        for dotted, value in changes.items():
            *path, last = dotted.split(".")
            inner: Any = sections
            for part in path:
                inner = inner[int(part) if isinstance(inner, list) else part]
            if value is None:
                del inner[last]
            else:
                inner[int(last) if isinstance(inner, list) else last] = value
        config = load_config(write_config(**sections))
        check(config)
        return config

    return _load


def test_the_benchmark_of_first_results_has_a_configuration_that_holds(workplace: Path) -> None:
    for path in (*(FIRST_RESULT / "given").glob("[es]*.py"), FIRST_RESULT / "tuner/program.yaml"):
        shutil.copy(path, workplace)
    for name in ("noisy", "noisy2"):
        (workplace / f"{name}.txt").write_text("1.5 1.0\n")
    config = load_config(workplace / "program.yaml")
    check(config)
    assert config.plugin.metrics["error"] == "minimize"


def test_the_file_decides_parameters_and_metrics(load: Callable[..., Any], workplace: Path) -> None:
    config = load({"data.command": "sort -k {k} {fast} {file} -o {output}"})
    assert config.plugin.primary == "size"
    assert config.plugin.baseline() == {"k": 1, "fast": False}
    described = config.space.describe()
    assert described["k"] == {"type": "int", "low": 1, "high": 9, "log": False, "step": 1}
    assert described["fast"] == {"type": "categorical", "choices": [True, False]}
    assert config.plugin.inputs() == [workplace / "one.txt"]
    assert type(config.plugin)(type(config.plugin.config).model_validate(config.sections))


def test_files_in_command_lines_are_inputs(load: Callable[..., Any], workplace: Path) -> None:
    config = load({"data.metrics.size.command": ["python3", "score.py", "{output}"]})
    assert workplace / "score.py" in config.plugin.inputs()
    assert config.sections["data"]["metrics"]["size"]["command"][1] == str(workplace / "score.py")


def test_a_range_of_floats_on_a_log_scale(load: Callable[..., Any]) -> None:
    config = load({"search_space.k": {"low": 0.1, "high": 10, "log": True}})
    assert config.space.describe()["k"]["type"] == "float"
    assert config.space.describe()["k"]["log"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"data.command.4": "{fil}"}, r"line 8: data\.command\.4: unknown placeholder '\{fil\}'.*"
                                      r"did you mean 'file'"),
        ({"data.command.2": "1"}, r"line \d+: data\.baseline\.k: 'k' is used nowhere"),
        ({"search_space.kk": [1, 2]}, r"line \d+: search_space\.kk: 'kk' is used nowhere.*'k'"),
        ({"data.cases.0.extra": 3}, r"line \d+: data\.cases\.0\.extra: 'extra' is used nowhere"),
        ({"data.held_out": [{"name": "two"}]}, r"data\.held_out\.0: lacks 'file'"),
        ({"data.held_out": [{"name": "one", "file": "one.txt"}]}, "two cases are called 'one'"),
        ({"data.cases.0.file": "two.txt"}, r"data\.cases\.0\.file: no such file or folder: .*two"),
        ({"data.cases.0.seed": 3}, r"data\.cases\.0\.seed: 'seed' is filled in by the plug-in"),
        ({"data.command.2": "{k"}, r"data\.command\.2: expected a placeholder"),
        ({"data.command": "sort '{k}"},
         r"data\.command: expected words as a shell .*, got .*: no closing quotation"),
        ({"data.command": ["no-such-program", "{k}", "{fast}", "{file}"]},
         r"data\.command\.0: no program 'no-such-program': it is not installed"),
        ({"data.metrics.size.command": ["no-such-program"]},
         r"data\.metrics\.size\.command\.0: no program 'no-such-program'"),
        ({"data.metrics.size.stdout": True}, r"metrics\.size: expected one of command, file"),
        ({"data.metrics.size.regex": "(a)(b)"}, r"size\.regex: expected a pattern with one group"),
        ({"data.metrics.size.regex": "("}, r"size\.regex: not a pattern"),
        ({"data.metrics.time": {"stdout": True}}, r"metrics\.time: 'time' is measured anyway"),
        ({"data.flags.slow": "-s"}, r"data\.flags\.slow: no such parameter"),
        ({"data.command.3": "-x{fast}"}, r"command\.3: the flag '\{fast\}' must be a word of its"),
        ({"search_space.k": [1, None]}, r"command\.2: without a value '-k' would be left alone"),
        ({"data.baseline.k": None}, r"data\.baseline: lacks k"),
        ({"data.baseline.k": "two"}, r"data\.baseline\.k: expected a number, got 'two'"),
        ({"search_space.k": {"low": 9, "high": 1}}, r"search_space\.k: expected low < high"),
        ({"search_space.k": {"lo": -5, "high": 9}},
         r"search_space\.k\.lo: unknown key 'lo'; .* high, log, step; did you mean 'low'\?"),
        ({"search_space.k": {"choice": [1, 2]}},
         r"search_space\.k\.choice: unknown key 'choice'; .*; did you mean 'choices'\?"),
        ({"search_space.k": {"high": 1}}, r"search_space\.k: expected a value, a list of choices"),
        ({"search_space.k": {"low": float("nan"), "high": 1}}, "k: expected a value, a list"),
        ({"search_space.k": [[1], [2]]}, r"search_space\.k: expected numbers, texts, .*got \[1\]"),
        ({"search_space.k": []}, r"search_space\.k: expected a value, a list of choices or"),
        ({"data.shell": True}, r"data\.command: with shell: true expected one text"),
        ({"data.shell": True, "data.command": "sort -k {k} {fast} \"{file}\""},
         r"data\.command: a placeholder stands within quotes"),
        ({"data.shell": True, "data.command": "sort '-k {k}' {fast} {file}"},
         r"data\.command: a placeholder stands within quotes"),
        ({"data.stdout": "{output}", "data.metrics.out": {"stdout": True}},
         r"line \d+: data\.metrics\.out\.stdout: standard output goes to a file; "
         r"use file: '\{output\}'"),
        ({"data.command": "sort -k {k} {fast} {file} | head > {output}"},
         r"line \d+: data\.command: no shell runs this: '>' would be a plain word; quote it if"),
        ({"data.nonsense": 1}, r"data\.nonsense: unknown key 'nonsense'"),
        (
            {"data.metrics.size.jsn": "a"},
            r"size\.jsn: unknown key 'jsn'; expected one of: direction, .*json, .*mean 'json'\?",
        ),
        ({"objective": "recall"}, r"objective: expected one of score, size, memory, time"),
    ],
)  # fmt: skip
def test_mistakes_are_told_in_a_line(load: Callable[..., Any], changes: Any, said: str) -> None:
    with pytest.raises(InputError, match=said) as error:
        load(changes)
    assert "\n" not in str(error.value)
    assert "study.yaml, line" in str(error.value)


def test_an_operator_of_the_shell_may_be_a_plain_word(load: Callable[..., Any]) -> None:
    text = "sort -t '|' -k {k} {fast} {file} -o {output}"
    for command in (text, shlex.split(text)):
        assert load({"data.command": command}).plugin.config.data.command[2] == "|"


def test_a_text_that_looks_like_a_file_may_be_one(load: Callable[..., Any]) -> None:
    config = load({"data.cases.0.file": "two.txt", "data.texts": ["file"]})
    assert config.plugin.inputs() == []


def test_memory_and_time_are_objectives(load: Callable[..., Any]) -> None:
    config = load({"objective": ["time", "memory"], "data.metrics": None})
    assert dict(config.objectives) == {"time": "minimize", "memory": "minimize"}
    assert "data.metrics: there is none" in config.notes[0]
