"""What has changed since a study was made is named, wherever the study is read or resumed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import optuna
import pytest

from tests.studies import make_trials
from tuner.config.load import Config, load_config
from tuner.plugin import InputError
from tuner.run import session
from tuner.search.changes import (
    FILES,
    Change,
    changes_since,
    difference,
    fingerprint_of,
    require_same_script,
    space_of,
)
from tuner.search.storage import open_study

pytestmark = pytest.mark.usefixtures("toy")


@pytest.fixture
def configured(write_config: Callable[..., Path], workplace: Path) -> Callable[..., Config]:
    (workplace / "tracks").mkdir()
    for name in ("a.bw", "b.bw", "c.bw"):
        (workplace / "tracks" / name).write_text(name)

    def _configured(*overrides: str) -> Config:
        path = write_config(
            plugin="toy",
            data={"file": "tracks"},
            study={"name": "screen", "storage": "journal:///journal.log", "sampler": "random"},
            search_space={"x": {"low": -5, "high": 5}, "size": 2},
            tracking={"enabled": False},
        )
        return load_config(path, overrides)

    return _configured


def made(config: Config) -> optuna.Study:
    study, _ = open_study(config)
    study.add_trial(optuna.trial.create_trial(value=1.0))
    return study


def trial(x: float, size: int = 2) -> object:
    params = {"x": x, "size": size, "mode": "fine"}
    return replace(make_trials(2)[1], params=params, searched={"x": x}, is_baseline=False)


def change_files(folder: Path) -> None:
    (folder / "a.bw").write_text("other")
    (folder / "b.bw").unlink()
    (folder / "d.bw").write_text("new")


def test_run_names_the_files_that_changed_appeared_and_are_gone(configured, workplace) -> None:
    made(configured())
    change_files(workplace / "tracks")
    expected = "input files changed: a.bw, appeared: d.bw, gone: b.bw. Undo the change"
    with pytest.raises(InputError, match=expected) as caught:
        open_study(configured())
    assert "data_fingerprint" not in str(caught.value)


def test_a_study_of_an_earlier_version_says_so_in_words(configured, workplace) -> None:
    held = {k: v for k, v in made(configured()).user_attrs.items() if k != FILES}
    change_files(workplace / "tracks")
    [change] = changes_since(held, configured())
    assert "the input files or their content (which of them is not known: " in change


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("search_space.x.high=1", "search_space.x.high: was 5.0, now 1.0;"),
        ("study.seed=3", "seed: was 0, now 3;"),
        ("data.width=2", "data.width: was 1, now 2;"),
    ],
)
def test_who_reads_a_study_is_told_what_changed_since(configured, override, expected) -> None:
    made(configured())
    assert session.changed(configured()) == []
    [note] = session.changed(configured(override))
    assert "since study 'screen' was run, its configuration has changed: " in note
    assert expected in note
    assert session.searched(configured(override))["x"]["high"] == 5.0


def test_a_script_of_other_params_or_sections_than_were_tuned_is_refused(configured) -> None:
    study = made(configured())
    require_same_script(study, configured(), trial(4))
    require_same_script(study, configured("study.seed=3"), trial(4))
    require_same_script(study, configured("search_space.x.high=4.5"), trial(4))
    for override, params, expected in (
        ("search_space.x.high=1", trial(4), r"has x 4, which .*\(search_space.x.high: was 5.0, n"),
        ("search_space.size=3", trial(4), r"has size 2, which .*search_space.fixed.size: was 2"),
        ("data.width=2", trial(4), "was run with data.width: was 1, now 2; a script made now"),
    ):
        with pytest.raises(InputError, match=expected):
            require_same_script(study, configured(override), params)
    baseline = replace(trial(40), is_baseline=True)
    require_same_script(study, configured("search_space.x.high=1"), baseline)


def test_a_script_names_the_data_that_was_tuned_on(configured, workplace) -> None:
    study, before = made(configured()), configured().fingerprint
    change_files(workplace / "tracks")
    now = configured()
    assert fingerprint_of(study, now) == before != now.fingerprint
    require_same_script(study, now, trial(4))


def test_a_study_in_another_folder_may_be_exported(configured, workplace) -> None:
    study = made(configured())
    (workplace / "moved").mkdir()
    (workplace / "tracks").rename(workplace / "moved" / "tracks")
    require_same_script(study, configured("data.file=moved/tracks"), trial(4))


def test_the_space_of_a_study_is_what_it_was_run_with(configured) -> None:
    study = made(configured())
    assert space_of(study, configured("search_space.x.high=1"))["x"]["high"] == 5.0
    assert "fixed" not in space_of(study, configured())


@pytest.mark.parametrize(
    ("was", "now", "moved"),
    [
        ("/a/x.bw", "/b/x.bw", True),
        ("/a/x.bw", "/b/y.bw", False),
        ("log", "raw", False),
        (["/a/x.bw", "/a/y.bw"], ["/b/x.bw", "/b/y.bw"], True),
        (["/a/x.bw", "/a/y.bw"], ["/b/x.bw"], False),
        ([1], [2], False),
    ],
)
def test_another_place_of_the_same_files_is_told_from_other_files(was, now, moved) -> None:
    assert Change("data.bigwigs", was, now).of_place is moved


def test_a_difference_is_named_key_by_key() -> None:
    found = list(map(str, difference({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "d": 3}})))
    assert found == ["a.c: was 2, now None", "a.d: was None, now 3"]
