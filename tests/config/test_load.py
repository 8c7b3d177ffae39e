"""Every error of a configuration is one line that names key, place, expectation and remedy."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from optuna.distributions import IntDistribution
from pydantic import BaseModel, Field

from tuner.config.errors import validated
from tuner.config.load import load_config
from tuner.config.yaml import read_yaml
from tuner.plugin import InputError
from tuner.plugin.registry import plugin_class

pytestmark = pytest.mark.usefixtures("toy")

GOOD = """\
plugin: toy
study: {name: first, trials: 5, timeout: 30m, sampler: tpe}
data:
  targets: [1, 2]
search_space:
  x: {low: -1, high: 4}
objective: score
"""

BAD = [
    (("trials: 5", "trails: 5"), 2, "unknown key 'trails'; expected one of: name, trials"),
    (("trials: 5", "trials: five"), 2, "study.trials"),
    (("trials: 5", "trials: 0"), 2, "at least 1, got 0"),
    (("30m", "30 parsecs"), 2, "expected a time such as 90s, 30m or 2h"),
    (("sampler: tpe", "sampler: tpa"), 2, "no sampler called 'tpa'; expected one of tpe"),
    (("sampler: tpe", "sampler: {name: tpe, sede: 1}"), 2, "has no option 'sede'"),
    (("targets: [1, 2]", "targets: [1, two]"), 4, "data.targets.1"),
    (("targets: [1, 2]", "target: [1, 2]"), 4, "unknown key 'target'; expected one of"),
    (("targets: [1, 2]", "file: absent.txt"), 4, "no such file or folder"),
    (("data:\n  targets", "date:\n  targets"), 3, "unknown key 'date'"),
    (("objective: score", "objective: speed"), 7, "expected one of score, fit, error, time"),
    (
        ("plugin: toy", "plugin: toi"),
        1,
        "no plug-in called 'toi'; installed: broken, chaos, command, elasticnet",
    ),
    (("plugin: toy", "plugin: nothing"), 1, "is no subclass of tuner.plugin.Plugin"),
    (("plugin: toy", "plugin: missing"), 1, "needs the package 'tuner_absent'"),
    (("  x: {low: -1, high: 4}", "  y: {low: -1, high: 4}"), 6, "unknown parameter 'y'"),
    (("  x: {low: -1, high: 4}", "  x: {low: 4, high: 4}"), 6, "expected low < high"),
    (("  x: {low: -1, high: 4}", "  x: {low: a, high: 4}"), 6, "expected a number, got 'a'"),
    (("  x: {low: -1, high: 4}", "  x: {min: 1, high: 4}"), 6, "unknown key 'min'"),
    (("  x: {low: -1, high: 4}", "  x: {lo: 1, high: 4}"), 6, "did you mean 'low'?"),
    (("  x: {low: -1, high: 4}", "  x: {choice: [1, 4]}"), 6, "did you mean 'choices'?"),
    (("  x: {low: -1, high: 4}", "  mode: {chioces: [fine]}"), 6, "did you mean 'choices'?"),
    (("  x: {low: -1, high: 4}", "  x: {low: 0, high: 4, log: true}"), 6, "search_space.x"),
    (("  x: {low: -1, high: 4}", "  size: {low: 1.5, high: 4}"), 6, "whole number"),
    (("  x: {low: -1, high: 4}", "  mode: [fine, splendid]"), 6, "expected one of"),
    (("  x: {low: -1, high: 4}", "  x: 2.0"), 5, "the search space is empty"),
    (("  x: {low: -1, high: 4}", "  x: {low: 1, high: 5000}"), 5, "at most 1000 in size"),
    (("search_space:\n  x: {low: -1, high: 4}", "search_space: {}"), 5, "space is empty"),
    (("objective: score", "objective: []"), 7, "expected different objectives"),
    (("plugin: toy", "plugin: toy\nplugin: toy"), 2, "is given twice"),
    (("trials: 5", "trails: 5"), 2, "did you mean 'trials'?"),
    (("data:\n  targets", "date:\n  targets"), 3, "did you mean 'data'?"),
    (("targets: [1, 2]", "target: [1, 2]"), 4, "did you mean 'targets'?"),
    (("objective: score", "objective: scores"), 7, "did you mean 'score'?"),
    (("plugin: toy", "plugin: hollow"), 1, "(tuner-toy, tuner_toy:Hollow) lacks freeze, "),
    (("plugin: toy", "plugin: gone"), 1, "(tuner-toy, tuner_toy:Gone) cannot be loaded: Attr"),
    (("plugin: toy", "plugin: broken"), 1, "cannot be loaded: ZeroDivisionError: division by"),
    (("plugin: toy", "plugin: twice"), 1, "two packages offer a plug-in called 'twice': (tun"),
    (("x: {low: -1, high: 4}", "x: {low: 0, high: .inf}"), 6, "x.high: expected a finite"),
    (("x: {low: -1, high: 4}", "x: {low: .nan, high: 4}"), 6, "x.low: expected a finite numb"),
    (("x: {low: -1, high: 4}", "size: .inf"), 6, "size: expected a finite number, got inf"),
    (("x: {low: -1, high: 4}", "x: {low: 1, high: 1e301}"), 6, "expected a finite number"),
    (("x: {low: -1, high: 4}", "x: [1, .nan]"), 6, "expected a finite number, got nan"),
    (("x: {low: -1, high: 4}", "size: {step: 0}"), 6, "size.step: expected a step above 0 and"),
    (("x: {low: -1, high: 4}", "x: {low: 0, high: 1, step: 2}"), 6, "at most 1, got 2"),
    (("x: {low: -1, high: 4}", "x: {low: 1, high: 4, log: true, step: 1}"), 6, "has no step"),
    (("x: {low: -1, high: 4}", "x: {low: 9, high: 4}"), 6, "expected low < high, got 9.0"),
    (("x: {low: -1, high: 4}", "x: {low: 0, high: 4, log: true}"), 6, "expected low > 0 on"),
    (("name: first", "name: .."), 2, "neither begins nor ends with a dot"),
    (("name: first", "storage: tuner.db"), 2, "expected an address such as sqlite:///tuner.db"),
    (("name: first", "storage: 'sqlite:///:memory:'"), 2, "a study in memory is gone when"),
    (("data:\n  targets: [1, 2]", "data: 3"), 3, "data: expected a mapping, got 3"),
    (("name: first", "name: a/b"), 2, "expected letters, digits, '_', '-' and '.', got 'a/b'"),
    (("name: first", "name: ''"), 2, "expected letters, digits"),
    (("name: first", "name: 'a\\0b'"), 2, "expected letters, digits"),
    (("name: first", "name: end."), 2, "neither begins nor ends with a dot"),
    (("name: first", "name: unsent"), 2, "'unsent' is a folder of the program's own"),
    (("name: first", f"name: {'n' * 101}"), 2, "expected at most 100 bytes, got 101"),
    (("30m", "0s"), 2, "study.timeout: expected more than 0"),
    (("30m", ".inf"), 2, "study.timeout: expected a finite number"),
    (("30m", "1.2.3s"), 2, "expected a time such as 90s, 30m or 2h"),
    (("trials: 5", "trials: -5"), 2, "at least 1, got -5"),
    (("trials: 5", "trials: true"), 2, "study.trials: expected a whole number, got true"),
    (("objective: score", "objective: score\nworkers: 0"), 8, "workers: expected at least 1"),
    (("objective: score", "objective: score\nlimits: {memory: -1}"), 8, "limits.memory"),
    (("objective: score", "study2: {}"), 7, "did you mean 'study'?"),
    (("name: first", "name: '${NO_SUCH}'"), 2, "study.name: the environment variable 'NO_SUC"),
    (("targets: [1, 2]", "targets: [1, 2"), 5, "not valid YAML"),
]
"""What is written in place of what, the line of the error, and a part of it."""


@pytest.fixture
def load(workplace: Path) -> Callable[..., object]:
    def _load(text: str, *overrides: str) -> object:
        path = workplace / "study.yaml"
        path.write_text(text)
        return load_config(path, overrides)

    return _load


def test_a_good_file_is_read(load: Callable[..., object]) -> None:
    config = load(GOOD)
    assert config.name == "first"
    assert config.engine.study.timeout == 1800
    assert config.plugin.config.data.targets == [1, 2]
    assert list(config.space.searched) == ["x"]
    assert config.space.fixed == {"size": 1, "mode": "fine"}
    assert config.objectives == {"score": "maximize"}


def test_only_the_plugin_is_required(load: Callable[..., object]) -> None:
    config = load("plugin: toy\n")
    assert config.name == "study"
    assert set(config.space.searched) == {"x", "size", "mode"}


@pytest.mark.parametrize(("change", "line", "expected"), BAD)
def test_each_error_is_one_line_with_its_place(
    load: Callable[..., object], change: tuple[str, str], line: int, expected: str
) -> None:
    assert change[0] in GOOD
    with pytest.raises(InputError) as caught:
        load(GOOD.replace(*change))
    message = str(caught.value)
    assert "\n" not in message
    assert f"study.yaml, line {line}:" in message
    assert expected in message


def test_a_date_is_the_text_that_it_is(load: Callable[..., object]) -> None:
    assert load(GOOD.replace("name: first", "name: 2024-01-31")).name == "2024-01-31"


@pytest.mark.parametrize(
    ("space", "remark", "high"),
    [
        ("x: {low: 0, high: 1, step: 0.3}", "0.3 does not divide 0 to 1; the largest value", 0.9),
        ("size: {low: 1, high: 4, step: 2}", "2 does not divide 1 to 4; the largest value", 3),
        ("x: {low: 0, high: 0.3, step: 0.1}", None, 0.3),
        ("size: {}", None, 5),
    ],
)
def test_a_range_that_its_step_does_not_divide_is_remarked(
    load: Callable[..., object], space: str, remark: str | None, high: float
) -> None:
    config = load(GOOD.replace("x: {low: -1, high: 4}", space))
    (dist,) = config.space.searched.values()
    assert dist.high == high
    notes = [note for note in config.notes if "search_space" in note]
    assert len(notes) == (remark is not None)
    if remark:
        assert f"study.yaml, line 6: search_space.{space.partition(':')[0]}: {remark}" in notes[0]
        assert notes[0].endswith(f"tried is {high:g}")


def test_a_file_whose_name_names_no_study_is_refused(workplace: Path) -> None:
    (workplace / "a.b..yaml").write_text("plugin: toy\n")
    with pytest.raises(InputError, match=r"a\.b\.\.yaml: the file's name .* set study\.name"):
        load_config(workplace / "a.b..yaml")
    (workplace / "screen (1).yaml").write_text("plugin: toy\n")
    assert load_config(workplace / "screen (1).yaml").name == "screen (1)"


@pytest.mark.parametrize(
    ("section", "key", "remedy"),
    [
        ("choice: best", "choice", "is now export.select: best or one_standard_error"),
        (
            "export: {choice: neighbours}",
            "export.choice",
            "is now export.select: best, or smoothed for neighbours",
        ),
        (
            "timing: {per_case: true}",
            "timing.per_case",
            "is gone, it gained too little: a script has one set of params; remove it",
        ),
    ],
)
def test_a_key_of_an_earlier_version_names_the_new_one(
    load: Callable[..., object], section: str, key: str, remedy: str
) -> None:
    where = rf"study\.yaml, line {len(GOOD.splitlines()) + 1}: {key}: {remedy}"
    with pytest.raises(InputError, match=where):
        load(f"{GOOD.rstrip()}\n{section}\n")


def test_a_rule_that_the_plug_in_lacks_is_refused(
    load: Callable[..., object], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = f"{GOOD.rstrip()}\nexport: {{select: one_standard_error}}\n"
    assert load(text).engine.export.select == "one_standard_error"
    monkeypatch.delattr(plugin_class("toy"), "one_standard_error")
    with pytest.raises(InputError, match=r"export\.select: plug-in 'toy' has no 'one_standard_er"):
        load(text)


def test_a_key_of_a_script_that_the_plug_in_lacks_is_refused(load: Callable[..., object]) -> None:
    wrong = r"export\.kernels: unknown key 'kernels'; expected one of: path, select$"
    with pytest.raises(InputError, match=wrong):
        load(f"{GOOD.rstrip()}\nexport: {{kernels: binary}}\n")


def test_every_mistake_of_a_section_is_told_once(load: Callable[..., object]) -> None:
    text = GOOD.replace("trials: 5", "trails: 5, seed: one")
    with pytest.raises(InputError) as told:
        load(f"{text.rstrip()}\ntiming: {{repeats: 0.5}}\n")
    lines = [line.split(": ")[1] for line in str(told.value).splitlines()]
    assert sorted(lines) == ["study.seed", "study.trails", "timing.repeats"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("limits:", "limits: expected a mapping, got nothing: fill it in, or remove the key"),
        ("export: {path: 3}", "export.path: expected a path, got 3"),
        ("timing: {repeats: false}", "timing.repeats: expected a whole number, got false"),
        ("timing: {indifference: true}", "timing.indifference: expected a number, got true"),
    ],
)
def test_what_came_is_told_in_plain_words(
    load: Callable[..., object], line: str, said: str
) -> None:
    with pytest.raises(InputError, match=f"{re.escape(said)}$"):
        load(f"{GOOD.rstrip()}\n{line}\n")


class Lengths(BaseModel):
    cases: list[int] = Field(default=[1], min_length=1, max_length=3)
    pair: tuple[int, ...] = Field(default=(1, 2), min_length=2, max_length=2)
    separator: str = Field(default="+", min_length=1, max_length=2)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("cases: []", "cases: expected at least one case, got none"),
        ("cases: [1, 2, 3, 4]", "cases: expected at most 3 cases, got 4"),
        ("pair: [1]", "pair: expected at least 2 items, got 1"),
        ("pair: [1, 2, 3]", "pair: expected at most 2 items, got 3"),
        ("separator: ''", "separator: expected at least one character, got none"),
        ("separator: abc", "separator: expected at most 2 characters, got 3"),
    ],
)
def test_a_list_or_text_of_a_wrong_length_is_told_in_plain_words(
    tmp_path: Path, text: str, said: str
) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(f"{text}\n")
    document = read_yaml(path)
    with pytest.raises(InputError) as caught:
        validated(Lengths, document.data, document)
    assert str(caught.value) == f"{path}, line 1: {said}"


@pytest.mark.parametrize(
    ("space", "said"),
    [
        ("{low: 0}", "expected a whole number of at least 1, got 0; on a log scale more than 0"),
        ("{low: -5, high: 9}", "expected a whole number of at least 1, got -5; on a log scale"),
        ("{low: 0, high: 9, log: true}", "expected a whole number of at least 1, got 0; on"),
    ],
)
def test_no_log_scale_is_offered_where_the_plug_in_takes_no_such_end(
    load: Callable[..., object], monkeypatch: pytest.MonkeyPatch, space: str, said: str
) -> None:
    def check(_: object, params: dict[str, Any]) -> None:
        if params["size"] < 1:
            raise InputError(f"size: expected a whole number of at least 1, got {params['size']}")

    monkeypatch.setattr(plugin_class("toy"), "check", check)
    monkeypatch.setattr(
        plugin_class("toy"), "search_space", lambda _: {"size": IntDistribution(1, 50, log=True)}
    )
    with pytest.raises(InputError) as caught:
        load(GOOD.replace("x: {low: -1, high: 4}", f"size: {space}"))
    assert f"study.yaml, line 6: search_space.size: {said}" in str(caught.value)
    assert "log: false" not in str(caught.value)


def test_a_required_key_that_is_missing_is_named(load: Callable[..., object]) -> None:
    with pytest.raises(InputError, match="'plugin' is missing"):
        load(GOOD.replace("plugin: toy\n", ""))


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "just words"])
def test_a_file_that_is_no_mapping_is_refused(load: Callable[..., object], text: str) -> None:
    with pytest.raises(InputError, match="expected a mapping"):
        load(text)


def test_a_missing_file_is_named(workplace: Path) -> None:
    with pytest.raises(InputError, match="no such configuration"):
        load_config(workplace / "absent.yaml")


def test_score_without_a_baseline_is_refused(load: Callable[..., object]) -> None:
    with pytest.raises(InputError, match="'score' needs a baseline"):
        load(GOOD.replace("  targets: [1, 2]", "  has_baseline: false"))


def test_overrides_apply_and_their_errors_name_them(load: Callable[..., object]) -> None:
    config = load(GOOD, "study.trials=9", "search_space.x.low=0.5", "workers=2")
    assert config.engine.study.trials == 9
    assert config.space.searched["x"].low == 0.5
    assert config.engine.workers == 2
    with pytest.raises(InputError, match=r"^--set study\.trials=many: study\.trials"):
        load(GOOD, "study.trials=many")
    with pytest.raises(InputError, match=r"expected KEY\.KEY=VALUE"):
        load(GOOD, "study.trials")
    with pytest.raises(InputError, match="is not a mapping"):
        load(GOOD, "plugin.x=1")


def test_scientific_notation_is_a_number(load: Callable[..., object]) -> None:
    config = load(GOOD.replace("low: -1", "low: 1e-3"))
    assert config.space.searched["x"].low == 1e-3


def test_input_paths_are_relative_to_the_file(workplace: Path) -> None:
    folder = workplace / "elsewhere"
    folder.mkdir()
    (folder / "numbers.txt").write_text("1")
    (folder / "study.yaml").write_text("plugin: toy\ndata: {file: numbers.txt}\n")
    config = load_config(Path("elsewhere/study.yaml"))
    assert config.plugin.config.data.file == folder / "numbers.txt"


def test_the_signature_changes_with_what_decides_and_with_nothing_else(
    load: Callable[..., object],
) -> None:
    signature = load(GOOD).signature()
    for same in ("study.trials=50", "workers=2", "study.timeout=1h", "tracking.experiment=x"):
        assert load(GOOD, same).signature() == signature
    for other in ("study.seed=1", "search_space.x.low=0", "data.targets=[1]", "objective=fit"):
        assert load(GOOD, other).signature() != signature


def test_the_signature_changes_with_the_data(workplace: Path) -> None:
    (workplace / "numbers.txt").write_text("1")
    path = workplace / "study.yaml"
    path.write_text("plugin: toy\ndata: {file: numbers.txt}\n")
    before = load_config(path).signature()
    (workplace / "numbers.txt").write_text("2")
    assert load_config(path).signature() != before
