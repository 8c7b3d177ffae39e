"""Datasets and the script's model in a real store; and logging where the environment says later."""

from __future__ import annotations

import json
import shutil
import threading
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import mlflow
import pytest

from tests.studies import CASES, START, make_study, make_summary, make_trials
from tuner.records import Summary
from tuner.tracking import mlflow_inputs, mlflow_notes, mlflow_runs
from tuner.tracking.mlflow_session import MlflowSession

STUDY, TRIALS = make_study(), make_trials(9)
MODEL = mlflow_runs.study_label(STUDY)


@pytest.fixture
def session(
    made_store: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> MlflowSession:
    shutil.copy(made_store[0], tmp_path / "mlflow.db")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_ENABLE_ASYNC_LOGGING", "true")
    found = MlflowSession(f"sqlite:///{tmp_path}/mlflow.db", "nmf", STUDY, START, lambda: None)
    for trial in TRIALS:
        found.send(trial)
    return found


def ended(text: str, **changes: object) -> Summary:
    """Return how a study ended that froze a script with this text."""
    folder = Path("out/chr21")
    (folder / "script").mkdir(parents=True, exist_ok=True)
    (folder / "script/chr21.py").write_text(text)
    return make_summary(TRIALS, artifacts=folder, **changes)


def run_of(session: MlflowSession, number: int | None = None) -> Any:
    run_id = session.parent if number is None else session._children[number]
    return session._client.get_run(run_id)


def test_the_data_and_the_script_are_in_the_store(session: MlflowSession) -> None:
    summary = ended("print('frozen')\n")
    assert session.close(summary, TRIALS) == []
    assert session.close(summary, TRIALS) == []  # as it is after an error in between
    for run in (run_of(session), run_of(session, summary.best.number)):
        found = {tag.value: each.dataset for each in run.inputs.dataset_inputs for tag in each.tags}
        assert set(found) == {"tuned", "held-out"}
        assert {dataset.digest for dataset in found.values()} == {STUDY.fingerprint[:36]}
        assert json.loads(found["tuned"].profile) == {"cases": list(CASES)}
        assert json.loads(found["held-out"].profile) == {"cases": ["held"]}
        assert json.loads(found["tuned"].source)["data"] == STUDY.config["data"]
    versions = session._client.search_model_versions(f"name = '{MODEL}'")
    assert [int(version.version) for version in versions] == [1]
    assert versions[0].run_id == session.parent
    assert versions[0].tags["trial"] == str(summary.best.number)


def test_what_is_confirmed_is_in_the_store_whatever_the_environment_says(
    session: MlflowSession,
) -> None:
    """`MLFLOW_ENABLE_ASYNC_LOGGING` is set: MLflow would start threads that write later."""
    session.update(TRIALS)
    assert not [thread.name for thread in threading.enumerate() if "MLflow" in thread.name]


def test_the_champion_is_the_script_that_is_in_use(session: MlflowSession) -> None:
    for text in ("print('first')\n", "print('second')\n", "print('second')\n"):
        session.close(ended(text), TRIALS)
    champion = session._client.get_model_version_by_alias(MODEL, mlflow_inputs.CHAMPION)
    assert int(champion.version) == 2
    mlflow.set_registry_uri("sqlite:///mlflow.db")
    try:
        place = mlflow.artifacts.download_artifacts(
            f"models:/{MODEL}@champion", dst_path="back", tracking_uri="sqlite:///mlflow.db"
        )
    finally:
        mlflow.set_registry_uri(None)
    assert (Path(place) / "chr21.py").read_text() == "print('second')\n"
    assert mlflow.models.Model.load(place).flavors["script"]["file"] == "chr21.py"
    # what did not end has frozen nothing
    session.close(ended("print('third')\n", finished=False), TRIALS)
    champion = session._client.get_model_version_by_alias(MODEL, mlflow_inputs.CHAMPION)
    assert int(champion.version) == 2


def test_a_store_without_registry_or_datasets_is_told_and_has_the_rest(
    session: MlflowSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise mlflow.MlflowException("no such thing here")

    monkeypatch.setattr(session._client, "log_inputs", refuse)
    monkeypatch.setattr(session._client, "get_registered_model", refuse)
    problems = session.close(ended("print('frozen')\n"), TRIALS)
    assert [line.partition(":")[0] for line in problems] == [
        "the study's datasets are not in the store",
        "the script is not in the model registry",
    ]
    assert run_of(session).info.status == "FINISHED"


def test_the_best_trial_has_the_table_and_the_figures(session: MlflowSession) -> None:
    first = ended("print(1)\n")
    (first.artifacts / "plots").mkdir()
    (first.artifacts / "plots/loadings.png").write_bytes(b"\x89PNG")
    session.close(first, TRIALS)
    note = run_of(session, first.best.number).data.tags[mlflow_runs.NOTE_TAG]
    assert note.startswith(f"{mlflow_notes.BEST_NOTE}[{MODEL}](#/experiments/")
    assert "| best trial" in note
    assert f"get-artifact?path=plots/loadings.png&run_uuid={session.parent}" in note
    other = next(t for t in TRIALS if t.state == "complete" and t.number != first.best.number)
    session.close(replace(first, best=other), TRIALS)
    assert run_of(session, first.best.number).data.tags[mlflow_runs.NOTE_TAG] == ""
    assert run_of(session, other.number).data.tags[mlflow_runs.NOTE_TAG].startswith("The best")


def test_the_script_is_told_from_other_files() -> None:
    files = [PurePosixPath(name) for name in ("script/a.py", "script/chr21.py", "plots/chr21.py")]
    assert mlflow_inputs.script_of(STUDY, files) == files[1]
    named = make_study(config={"export": {"path": "/somewhere/a.py"}})
    assert mlflow_inputs.script_of(named, files) == files[0]
    assert mlflow_inputs.script_of(make_study("other"), files) is None
