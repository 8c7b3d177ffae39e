"""Which stored study answers to a configured name, and what a study is pinned to."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest

from tuner.config.load import Config, load_config
from tuner.plugin import InputError
from tuner.run import session
from tuner.search.changes import SIGNATURE
from tuner.search.fenced_storage import LEASE
from tuner.search.lease import Lease
from tuner.search.plan import IDENTITY, plan_study
from tuner.search.series import SERIES, find_study, next_in_series
from tuner.search.storage import open_study, read_study

pytestmark = pytest.mark.usefixtures("toy")

URL = "journal:///journal.log"


def stored(*names: str, **of_series: tuple[str, int]) -> optuna.storages.BaseStorage:
    storage = optuna.storages.InMemoryStorage()
    for name in (*names, *(key.replace("_", "-") for key in of_series)):
        study = optuna.create_study(storage=storage, study_name=name)
        if (series := of_series.get(name.replace("-", "_"))) is not None:
            study.set_user_attr(SERIES, {"name": series[0], "number": series[1]})
    return storage


@pytest.mark.parametrize("other", ["screen-2024", "screen-2", "chr21-22", "screen-2-2"])
def test_a_name_is_never_parsed(other: str) -> None:
    name = "chr21" if other.startswith("chr21") else "screen"
    assert find_study(stored(other), name) is None
    assert find_study(stored(name, other), name) == name
    assert find_study(stored(name, other), other) == other


def test_what_new_made_is_the_latest_of_its_series() -> None:
    storage = stored("screen", "screen-2024", screen_2=("screen", 2), screen_10=("screen", 10))
    assert find_study(storage, "screen") == "screen-10"
    assert next_in_series(storage, "screen") == ("screen-11", 11)
    assert find_study(storage, "screen-2024") == "screen-2024"
    assert next_in_series(storage, "screen-2024") == ("screen-2024-2", 2)


def test_a_taken_name_is_passed_over() -> None:
    assert next_in_series(stored("screen", "screen-2"), "screen") == ("screen-3", 3)


def test_a_name_that_new_gave_to_another_study_is_refused() -> None:
    storage = stored("screen", screen_2=("screen", 2))
    with pytest.raises(InputError, match=r"'screen-2' is what --new made of study 'screen'; set"):
        find_study(storage, "screen-2")


@pytest.fixture
def configured(write_config: Callable[..., Path]) -> Callable[..., Config]:
    def _configured(name: str, *overrides: str) -> Config:
        study = {"name": name, "storage": URL, "trials": 2, "sampler": "random"}
        search = {"x": {"low": -5, "high": 5}}
        path = write_config(
            f"{name}.yaml",
            plugin="toy",
            study=study,
            search_space=search,
            timing={"finalists": 0, "nulls": 0},
            tracking={"enabled": False},
        )
        return load_config(path, overrides)

    return _configured


class Silent:
    """Shows nothing, remembers the notes."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def begin(self, *args: object) -> None: ...
    def trial(self, *args: object) -> None: ...
    def beat(self) -> None: ...
    def end(self) -> None: ...
    def phase(self, *args: object) -> None: ...

    def note(self, text: str) -> None:
        self.notes.append(text)


def finish(config: Config, new: bool = False) -> optuna.Study:
    study, _ = open_study(config, new)
    study.add_trial(optuna.trial.create_trial(value=1.0))
    return study


def test_each_name_has_a_study_of_its_own(configured: Callable[..., Config]) -> None:
    finish(configured("screen-2024"))
    with pytest.raises(InputError, match="no study 'screen' in"):
        read_study(configured("screen"))
    for verb in (session.best, lambda c: session.show(c, None, False), session.analyse):
        with pytest.raises(InputError, match="first: tuner run"):
            verb(configured("screen"))
    assert finish(configured("screen", "study.seed=5")).study_name == "screen"
    assert finish(configured("screen"), new=True).study_name == "screen-2"
    assert read_study(configured("screen")).study_name == "screen-2"
    assert read_study(configured("screen-2024")).study_name == "screen-2024"


def test_what_an_earlier_version_left_is_found_by_its_exact_name(
    configured: Callable[..., Config],
) -> None:
    study = finish(configured("screen"))
    backend = study._storage._backend
    made = optuna.create_study(storage=backend, study_name="screen-2")
    for key, value in study.user_attrs.items():
        if key not in (SERIES, IDENTITY):
            made.set_user_attr(key, value)
    assert read_study(configured("screen")).study_name == "screen"
    assert open_study(configured("screen-2"))[0].user_attrs[SERIES]["name"] == "screen-2"


def test_a_study_without_a_completed_trial_does_not_pin_its_configuration(
    configured: Callable[..., Config],
) -> None:
    from tuner.search.stopped import StudyStopped

    broken = configured("screen", "data.baseline_mode=raise", "objective=[fit, time]")
    with pytest.raises(StudyStopped, match="the baseline did not complete"):
        session.run(broken, Silent(), lambda: False)
    before = read_study(broken).user_attrs[IDENTITY]
    mended = session.run(configured("screen"), Silent(), lambda: False)
    assert (mended.study, mended.summary.counts["complete"]) == ("screen", 2)
    after = read_study(configured("screen"))
    assert after.user_attrs[IDENTITY] == before
    assert [direction.name for direction in after.directions] == ["MAXIMIZE"]
    with pytest.raises(InputError, match="was made with another configuration: seed: was 0, now 1"):
        open_study(configured("screen", "study.seed=1"))


def test_a_study_that_another_process_has_begun_is_not_begun_anew(
    configured: Callable[..., Config],
) -> None:
    study, storage = open_study(configured("screen"))
    storage.set_study_user_attr(
        0, LEASE, {**study.user_attrs[LEASE], "host": "elsewhere", "pid": 7}
    )
    with pytest.raises(InputError, match="is being run by process 7 on elsewhere"):
        plan_study(study._storage, configured("screen", "study.seed=1"))


def test_who_was_taken_over_ends_and_leaves_the_lease(configured: Callable[..., Config]) -> None:
    study, _ = open_study(configured("screen"))
    first, second = Lease(study), Lease(study)
    first.take()
    second.take()  # of one process: the first counts as gone
    first.renew()  # not yet due
    with pytest.raises(InputError, match=r"'screen' was taken over by process \d+ on .*; this run"):
        first.renew(force=True)
    first.release()
    second.renew()
    assert "token" in study.user_attrs[LEASE]
    second.release()
    assert study.user_attrs[LEASE] == {"number": 3}


def test_a_study_of_another_program_is_left_alone(configured: Callable[..., Config]) -> None:
    config = configured("screen")
    study = finish(config)
    backend = study._storage._backend
    optuna.create_study(storage=backend, study_name="theirs").add_trial(
        optuna.trial.create_trial(value=1.0)
    )
    with pytest.raises(InputError, match="has a study 'theirs' of another program"):
        open_study(configured("theirs"))
    assert SIGNATURE not in optuna.load_study(storage=backend, study_name="theirs").user_attrs
    assert json.loads(study.user_attrs["tuner:deciding"])["plugin"] == "toy"
