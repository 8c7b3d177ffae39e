"""The sole writer's storage: what it shows is what another process reads from the database."""

from __future__ import annotations

from pathlib import Path

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState

from tuner.plugin import InputError
from tuner.search.cached_storage import Mirror

SPACE = {
    "x": FloatDistribution(0.1, 10, log=True),
    "n": IntDistribution(1, 5),
    "how": CategoricalDistribution(["a", "b", None]),
}


@pytest.fixture(params=["sqlite:///{}/study.db", "journal"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return request.param.format(tmp_path) if "sqlite" in request.param else str(tmp_path / "log")


def backend(url: str) -> optuna.storages.BaseStorage:
    if url.startswith("sqlite"):
        return optuna.storages.get_storage(url)
    from optuna.storages.journal import JournalFileBackend

    return optuna.storages.JournalStorage(JournalFileBackend(url))


def opened(url: str, name: str = "study") -> tuple[optuna.Study, Mirror]:
    storage = backend(url)
    made = optuna.create_study(storage=storage, study_name=name, load_if_exists=True)
    mirror = Mirror(made._storage, made._study_id)
    sampler = optuna.samplers.TPESampler(seed=0, n_startup_trials=2)
    return optuna.load_study(study_name=name, storage=mirror, sampler=sampler), mirror


def elsewhere(url: str) -> list[FrozenTrial]:
    """Read the study as another process would."""
    return optuna.load_study(study_name="study", storage=backend(url)).get_trials()


def plain(trial: FrozenTrial) -> tuple[object, ...]:
    attributes = trial.user_attrs, trial.system_attrs, trial.intermediate_values
    return trial.number, trial.state, trial.params, trial.distributions, trial.values, attributes


def run_some(study: optuna.Study, mirror: Mirror) -> None:
    study.enqueue_trial({"x": 1.0}, user_attrs={"role": "first"})
    for number in range(8):
        trial = study.ask(SPACE)
        mirror.settle()
        trial.report(trial.params["x"], step=1)
        mirror.set_trial_user_attr(trial._trial_id, "kept", number)
        ended = TrialState.PRUNED if number == 5 else TrialState.COMPLETE
        study.tell(trial.number, None if number == 5 else trial.params["x"], state=ended)


def test_memory_and_storage_agree(url: str) -> None:
    opened(url, "another")[0].ask(SPACE)  # ids and numbers are not the same then
    study, mirror = opened(url)
    run_some(study, mirror)
    read = elsewhere(url)
    assert len(read) == 8
    assert list(map(plain, study.get_trials())) == list(map(plain, read))
    assert (
        study.best_trial.number
        == min((t for t in read if t.state is TrialState.COMPLETE), key=lambda t: t.value).number
    )
    again, _ = opened(url)
    assert list(map(plain, again.get_trials())) == list(map(plain, read))


def test_a_sampler_draws_the_same_through_it(url: str) -> None:
    study, mirror = opened(url)
    run_some(study, mirror)
    bare = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=0, n_startup_trials=2))
    bare.enqueue_trial({"x": 1.0})
    for number in range(8):
        trial = bare.ask(SPACE)
        trial.report(trial.params["x"], step=1)
        ended = TrialState.PRUNED if number == 5 else TrialState.COMPLETE
        bare.tell(trial.number, None if number == 5 else trial.params["x"], state=ended)
    assert [t.params for t in study.get_trials()] == [t.params for t in bare.get_trials()]


def test_a_trial_is_there_once_it_is_settled_and_whole(url: str) -> None:
    study, mirror = opened(url)
    drawn = study.ask(SPACE)
    assert elsewhere(url) == []
    mirror.settle()
    (read,) = elsewhere(url)
    assert read.state is TrialState.RUNNING
    assert read.params == drawn.params
    assert read.datetime_start == study.get_trials()[0].datetime_start


def test_a_trial_that_is_told_unsettled_is_written(url: str) -> None:
    study, _ = opened(url)
    first, second = study.ask(SPACE), study.ask(SPACE)
    study.tell(second, 2.0)
    read = elsewhere(url)
    assert [trial.state for trial in read] == [TrialState.RUNNING, TrialState.COMPLETE]
    assert read[0].params == first.params


def test_another_writer_is_noticed(url: str) -> None:
    study, mirror = opened(url)
    optuna.load_study(study_name="study", storage=backend(url)).ask(SPACE)
    study.ask(SPACE)
    with pytest.raises(InputError, match="another program added trials to study 'study'"):
        mirror.settle()
