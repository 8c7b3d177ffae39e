"""Runs written at once into a store that is a file: the rows are those of MLflow's own calls."""

from __future__ import annotations

import math
import shutil
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.studies import START, make_study, make_summary, make_trials
from tuner.records import TrialRecord
from tuner.tracking import mlflow_session
from tuner.tracking.mlflow_session import MlflowSession

STUDY = make_study()
TRIALS = [
    *make_trials(14),
    replace(make_trials(1)[0], number=14, metrics={"r": math.inf, "score": 1e-300}),
    replace(make_trials(1)[0], number=15, params={"fl_lambda": 1e-5, "text": "\x00é" * 4000}),
]
TABLES = ("runs", "tags", "params", "metrics", "latest_metrics")


@pytest.fixture
def session(
    made_store: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> MlflowSession:
    return opened(made_store, tmp_path, monkeypatch)


def opened(made: tuple[Path, str], folder: Path, monkeypatch: pytest.MonkeyPatch) -> MlflowSession:
    folder.mkdir(exist_ok=True)
    shutil.copy(made[0], folder / "mlflow.db")
    monkeypatch.chdir(folder)
    uri = f"sqlite:///{folder}/mlflow.db"
    return MlflowSession(uri, "nmf", STUDY, START, lambda: None)


def rows(folder: Path, session: MlflowSession) -> dict[str, list[tuple[Any, ...]]]:
    """Return what the store holds of the trials, whatever their runs are called."""
    ids = {run: f"trial {number}" for number, run in session._children.items()}
    ids[session.parent] = "parent"

    def plain(value: Any) -> Any:
        if not isinstance(value, str):
            return value
        for run, name in ids.items():
            value = value.replace(run, name)
        return value.replace(str(folder), "here")

    with sqlite3.connect(folder / "mlflow.db") as store:
        found = {table: store.execute(f"select * from {table}").fetchall() for table in TABLES}
    store.close()
    return {
        table: sorted((tuple(map(plain, row)) for row in held), key=repr)
        for table, held in found.items()
    }


def test_rows_are_those_of_mlflows_own_calls(
    made_store: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once = opened(made_store, tmp_path / "at-once", monkeypatch)
    assert at_once.send_all(TRIALS) == {trial.number for trial in TRIALS}
    one_by_one = opened(made_store, tmp_path / "one-by-one", monkeypatch)
    for trial in TRIALS:
        one_by_one.send(trial)
    found = rows(tmp_path / "at-once", at_once)
    expected = rows(tmp_path / "one-by-one", one_by_one)
    assert len(found["metrics"]) > 100
    for table in TABLES:
        assert found[table] == expected[table], table
    assert at_once.known() == one_by_one.known() == set(range(len(TRIALS)))
    at_once._file = None
    assert at_once.known() == set(range(len(TRIALS)))  # as MLflow finds them
    assert at_once.close(make_summary(TRIALS), TRIALS) == []


def test_what_mlflow_refuses_is_refused_and_nothing_is_half_there(
    session: MlflowSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mlflow_session.mlflow_runs, "key", lambda name: name)
    bad = replace(TRIALS[3], metrics={"no! such name": 1.0})
    assert session.send_all([TRIALS[0], bad, TRIALS[4]]) == set()
    assert not session._children
    assert session.send_all([TRIALS[0]]) == {0}
    with pytest.raises(mlflow_session.StoreTrouble, match="trial 3: .*Invalid value") as trouble:
        session.send(bad)
    assert trouble.value.refused
    assert session.known() == {0}


def test_a_trial_that_is_half_there_is_sent_to_its_end_by_itself(session: MlflowSession) -> None:
    record: TrialRecord = TRIALS[2]
    run = session._run(record)
    session._children[2] = session._create_run(run.started, run.tags, run.name)
    assert session.send_all(TRIALS[:4]) == {0, 1, 3}
    assert session.known() == {0, 1, 3}
    session.send(record)
    assert session.known() == {0, 1, 2, 3}


def test_a_deleted_experiment_takes_nothing(session: MlflowSession) -> None:
    session._client.delete_experiment(session._experiment_id)
    assert session.send_all(TRIALS[:4]) == set()
    with pytest.raises(mlflow_session.StoreTrouble, match="deleted"):
        session.send(TRIALS[0])
