"""Studies in a real MLflow store: complete, once, resumable; also where the store is not well."""

from __future__ import annotations

import resource
import shutil
import socket
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.stores import making_a_store
from tests.studies import START, make_study, make_summary, make_trials
from tuner.plugin import InputError
from tuner.records import StudyInfo, Summary, TrialRecord
from tuner.tracking import (
    mlflow_client,
    mlflow_curve,
    mlflow_notes,
    mlflow_runs,
    mlflow_uri,
    mlflow_views,
    outbox,
)
from tuner.tracking.mlflow_pages import log_folder, study_links
from tuner.tracking.mlflow_process import TrackingProcess
from tuner.tracking.spool import read_spool
from tuner.tracking.tracker import MlflowTracker, NullTracker, TrackingReport

STUDY = make_study()
TRIALS = make_trials(9)
URI = "sqlite:///mlflow.db"


@pytest.fixture
def folder(tmp_path: Path, made_store: tuple[Path, str], monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copy(made_store[0], tmp_path / "mlflow.db")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(outbox, "_FIRST_PAUSE", 0.05)
    monkeypatch.setattr(outbox, "_CLOSING_PAUSE", 0.05)
    return tmp_path


PROCESS = TrackingProcess()


@pytest.fixture(scope="module", autouse=True)
def _one_process() -> Iterator[None]:
    """One process for all: MLflow takes seconds to import."""
    yield
    PROCESS.close()


def client(uri: str = URI) -> Any:
    return mlflow_client.open_client(mlflow_uri.absolute_uri(uri))


def track(
    trials: list[TrialRecord],
    summary: Summary | None = None,
    early: int = 0,
    study: StudyInfo = STUDY,
    uri: str = URI,
    patience: float = 60.0,
    process: TrackingProcess | None = PROCESS,
) -> TrackingReport:
    tracker = MlflowTracker(uri, "nmf", Path("spool"), patience, process)
    tracker.start(study, trials[:early])
    for trial in trials[early:]:
        tracker.log_trial(trial)
    return tracker.finish(summary or make_summary(trials))


def all_runs(role: str, uri: str = URI) -> list[Any]:
    store = client(uri)
    experiment = store.get_experiment_by_name("nmf")
    return list(store.search_runs([experiment.experiment_id], f"tags.role = '{role}'"))


def children() -> dict[int, Any]:
    """Each trial once, none running: what must hold after every story."""
    found = all_runs(mlflow_runs.TRIAL_ROLE)
    numbers = [int(run.data.tags["trial"]) for run in found]
    assert len(set(numbers)) == len(numbers)
    assert {run.info.status for run in found} <= {"FINISHED", "FAILED", "KILLED"}
    return dict(zip(numbers, found, strict=True))


def assert_logged(run: Any, record: TrialRecord, parent: str) -> None:
    assert run.info.start_time == round(record.started.timestamp() * 1000)
    assert run.info.end_time == round(record.finished.timestamp() * 1000)
    assert run.info.status == mlflow_runs.STATUS[record.state]
    assert run.data.tags["mlflow.parentRunId"] == parent
    assert run.data.tags["state"] == record.state
    for name, value in record.params.items():
        assert run.data.params[name] == str(value)
    own = {*record.metrics, "log10_time"} if record.metrics else set()
    assert {name for name in run.data.metrics if "/" not in name} == own
    for name, value in record.metrics.items():
        assert run.data.metrics[name] == pytest.approx(value, rel=1e-5)
    for case in record.cases:
        assert run.data.metrics[f"r/{case.name}"] == pytest.approx(case.metrics["r"], rel=1e-5)


def test_a_study_is_one_parent_and_a_child_a_trial(folder: Path) -> None:
    report = track(TRIALS, early=3)
    assert (report.problems, report.unsent) == ([], None)
    (parent,) = all_runs(mlflow_runs.STUDY_ROLE)
    assert parent.info.run_id == report.run_id
    assert parent.info.status == "FINISHED"
    assert parent.info.start_time == round(START.timestamp() * 1000)
    found = children()
    assert set(found) == set(range(len(TRIALS)))
    for record in TRIALS:
        assert_logged(found[record.number], record, report.run_id)
    best = make_summary(TRIALS).best
    assert [n for n, run in found.items() if run.data.tags.get("best") == "true"] == [best.number]
    assert parent.data.metrics["score"] == pytest.approx(best.metrics["score"], rel=1e-5)
    assert parent.data.metrics["baseline/r"] == pytest.approx(TRIALS[0].metrics["r"], rel=1e-5)
    assert parent.data.params["study.sampler"] == "tpe"
    assert parent.data.tags["signature"] == STUDY.signature
    assert parent.data.tags["data_fingerprint"] == STUDY.fingerprint
    assert parent.data.tags["mlflow.source.git.commit"] == STUDY.git_commit
    assert parent.data.tags["version.optuna"] == "5.0.0"
    curve = client().get_metric_history(report.run_id, mlflow_curve.BEST_SO_FAR)
    assert len(curve) == len(TRIALS)
    assert curve[-1].value == pytest.approx(best.metrics["score"], rel=1e-5)
    assert not (folder / "mlruns").exists()
    assert not (folder / "spool").exists()


def test_resuming_adopts_the_parent_and_logs_what_is_new(folder: Path) -> None:
    first = track(TRIALS[:6], make_summary(TRIALS[:6], finished=False))
    (parent,) = all_runs(mlflow_runs.STUDY_ROLE)
    assert parent.info.status == "KILLED"
    longer = replace(STUDY, config={**STUDY.config, "study": {"trials": 90}})
    second = track(TRIALS, early=6, study=longer)
    assert second.run_id == first.run_id
    assert second.problems == []
    (parent,) = all_runs(mlflow_runs.STUDY_ROLE)
    assert parent.info.status == "FINISHED"
    assert parent.data.params["study.trials"] == "60"
    assert parent.data.tags["resumed.study.trials"] == "90"
    found = children()
    assert set(found) == set(range(len(TRIALS)))
    best = make_summary(TRIALS).best.number
    assert best != make_summary(TRIALS[:6]).best.number, "the data must let the best change"
    marked = {n: run for n, run in found.items() if run.data.tags.get("best") == "true"}
    assert list(marked) == [best]
    strong = [
        n for n, r in found.items() if r.data.tags["mlflow.runColor"] == mlflow_runs.colour(STUDY)
    ]
    assert strong == [best]
    curve = client().get_metric_history(first.run_id, mlflow_curve.BEST_SO_FAR)
    assert [point.step for point in curve] == list(range(1, len(TRIALS) + 1))


def test_another_signature_is_another_study(folder: Path) -> None:
    track(TRIALS[:2])
    track(TRIALS[:2], study=make_study(signature="other"))
    assert len(all_runs(mlflow_runs.STUDY_ROLE)) == 2
    assert len(all_runs(mlflow_runs.TRIAL_ROLE)) == 4


def test_what_a_crash_left_half_logged_is_completed(folder: Path) -> None:
    report = track(TRIALS[:4])
    store = client()
    store.update_run(report.run_id, status="RUNNING")
    home = client().get_run(report.run_id).info.experiment_id
    for number in (2, 4, 4, 5):  # 2 is whole already; 4 was begun twice
        tags = mlflow_runs.trial_tags(STUDY, TRIALS[number], report.run_id)
        run = store.create_run(home, 1, tags, "half")
        if number == 5:
            store.log_metric(run.info.run_id, "r", 0.5)
    store.create_run(home, 1, {**tags, "trial": "3"}, "half")
    report = track(TRIALS, early=5)
    assert report.problems == []
    found = children()
    assert set(found) == set(range(len(TRIALS)))
    for number in (0, 1, 2, 3, 6):
        assert_logged(found[number], TRIALS[number], report.run_id)
    assert found[4].info.status == mlflow_runs.STATUS[TRIALS[4].state]


def test_links_of_the_report_and_of_the_store_agree(folder: Path) -> None:
    report = track(TRIALS)
    fragments = study_links(URI, "nmf", STUDY)
    base = "http://127.0.0.1:5000/"
    assert {title: base + link for title, link in fragments.items()} == dict(report.links)
    assert report.run_id in report.links["study"]
    best = {r.data.tags.get("best"): r for r in all_runs(mlflow_runs.TRIAL_ROLE)}["true"]
    assert best.info.run_id in report.links["best trial"]
    with pytest.raises(InputError, match="no experiment 'other'"):
        study_links(URI, "other", STUDY)
    with pytest.raises(InputError, match="run a study first"):
        study_links("sqlite:///absent.db", "nmf", STUDY)
    assert not (folder / "absent.db").exists()


def test_notes_and_views_are_tags_and_a_users_note_stays(folder: Path) -> None:
    report = track(TRIALS[:3])
    store = client()
    experiment = store.get_experiment_by_name("nmf")
    assert experiment.tags[mlflow_runs.NOTE_TAG].startswith(mlflow_notes.EXPERIMENT_NOTE)
    assert set(mlflow_views.saved_views(STUDY, 0)) <= set(experiment.tags)
    assert store.get_run(report.run_id).data.tags[mlflow_runs.NOTE_TAG].startswith("Best: trial")
    store.set_experiment_tag(experiment.experiment_id, mlflow_runs.NOTE_TAG, "mine")
    track(TRIALS[:3])
    assert store.get_experiment_by_name("nmf").tags[mlflow_runs.NOTE_TAG] == "mine"


def test_artifacts_go_below_the_current_folder(folder: Path) -> None:
    out = folder / "out"
    (out / "plots").mkdir(parents=True)
    (out / "plots" / "history.png").write_bytes(b"png")
    (out / "config.yaml").write_text("plugin: nmf\n")
    report = track(TRIALS[:3], make_summary(TRIALS[:3], artifacts=out))
    assert report.problems == []
    store = client()
    assert [item.path for item in store.list_artifacts(report.run_id)] == ["config.yaml", "plots"]
    kept = folder / "mlartifacts" / "nmf" / report.run_id / "artifacts" / "config.yaml"
    assert kept.read_text() == "plugin: nmf\n"
    note = store.get_run(report.run_id).data.tags[mlflow_runs.NOTE_TAG]
    assert f"get-artifact?path=plots/history.png&run_uuid={report.run_id}" in note


def test_odd_names_many_params_and_infinities(folder: Path) -> None:
    space = {f"p{i}": {"type": "float", "low": 0, "high": 1} for i in range(250)}
    params: dict[str, Any] = {f"p{i}": i / 7 for i in range(250)}
    odd = replace(
        TRIALS[0],
        params={**params, "text": "x" * 9000, "a,b(c)": None},
        metrics={"r": float("inf"), "R²": 0.1, "time": 1 / 3, "score": 0.0},
        cases=(replace(TRIALS[0].cases[0], name="../a;b /"),),
    )
    study = make_study('it\'s; a "study"\nof 100%', search_space=space)
    report = track([odd], make_summary([odd], best=odd), study=study)
    assert report.problems == []
    run = children()[0]
    assert len(run.data.params) == 252
    assert run.data.params["p249"] == str(249 / 7)
    assert "r" not in run.data.metrics
    assert run.data.metrics["time"] == 0.333333
    assert run.data.tags["not_finite"] == "r"


def test_log_trial_returns_at_once_whatever_the_store_does(folder: Path) -> None:
    lock = sqlite3.connect("mlflow.db", isolation_level=None)
    lock.execute("BEGIN EXCLUSIVE")
    tracker = MlflowTracker(URI, "nmf", Path("spool"), process=PROCESS)
    started = time.perf_counter()
    tracker.start(STUDY, [])
    for record in TRIALS:
        tracker.log_trial(record)
    assert time.perf_counter() - started < 0.1
    lock.execute("ROLLBACK")
    lock.close()
    assert tracker.finish(make_summary(TRIALS)).unsent is None
    assert set(children()) == set(range(len(TRIALS)))


def test_a_locked_store_keeps_the_trials_for_the_next_start(folder: Path) -> None:
    lock = sqlite3.connect("mlflow.db", isolation_level=None)
    lock.execute("BEGIN EXCLUSIVE")
    report = track(TRIALS, patience=0.5)
    lock.execute("ROLLBACK")
    lock.close()
    assert "9 of 9 trials are not in the store" in report.problems[-1]
    assert len(read_spool(report.unsent)[0]) == len(TRIALS)
    for thread in [t for t in outbox.threading.enumerate() if t.name == "tuner-tracking"]:
        thread.join(20)
        assert not thread.is_alive()
    assert track([], make_summary(TRIALS)).problems == []
    assert set(children()) == set(range(len(TRIALS)))
    assert not report.unsent.exists()


def test_an_unreachable_server_keeps_the_trials_for_another_store(folder: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    started = time.perf_counter()
    report = track(TRIALS, uri=f"http://127.0.0.1:{port}")
    assert time.perf_counter() - started < 20
    assert report.run_id is None
    assert "Connection refused" in report.problems[0] or "Max retries" in report.problems[0]
    assert len(read_spool(report.unsent)[0]) == len(TRIALS)
    assert track([], make_summary(TRIALS)).problems == []
    assert set(children()) == set(range(len(TRIALS)))


def test_a_deleted_experiment_is_reported_with_its_remedy(folder: Path) -> None:
    track(TRIALS[:3])
    store = client()
    home = store.get_experiment_by_name("nmf").experiment_id
    store.delete_experiment(home)
    report = track(TRIALS)
    assert f"mlflow experiments restore --experiment-id {home}" in report.problems[0]
    assert len(read_spool(report.unsent)[0]) == len(TRIALS)
    store.restore_experiment(home)
    report = track([], make_summary(TRIALS))
    assert report.problems == []
    assert set(children()) == set(range(len(TRIALS)))


def test_a_parent_deleted_in_mid_study_is_made_anew(folder: Path) -> None:
    tracker = MlflowTracker(URI, "nmf", Path("spool"), process=PROCESS)
    tracker.start(STUDY, TRIALS[:3])
    deadline = time.monotonic() + 20
    while len(tracker._outbox._sent) < 3 and time.monotonic() < deadline:
        time.sleep(0.02)
    (parent,) = all_runs(mlflow_runs.STUDY_ROLE)
    client().delete_run(parent.info.run_id)
    tracker.log_trial(TRIALS[3])
    report = tracker.finish(make_summary(TRIALS[:4]))
    assert report.unsent is None
    assert all(problem.endswith("everything was sent") for problem in report.problems)
    (parent,) = all_runs(mlflow_runs.STUDY_ROLE)
    assert report.run_id == parent.info.run_id
    mine = [
        r
        for r in all_runs(mlflow_runs.TRIAL_ROLE)
        if r.data.tags["mlflow.parentRunId"] == parent.info.run_id
    ]
    assert sorted(int(run.data.tags["trial"]) for run in mine) == [0, 1, 2, 3]


def test_artifacts_that_cannot_be_written_do_not_hold_up_the_trials(folder: Path) -> None:
    (folder / "mlartifacts").write_text("a file is in the way")
    (folder / "out").mkdir()
    (folder / "out" / "a.csv").write_text("1\n")
    report = track(TRIALS[:3], make_summary(TRIALS[:3], artifacts=folder / "out"))
    assert len(report.problems) == 1
    assert report.problems[0].startswith("artifact a.csv is not in the store: ")
    assert report.unsent is None
    assert set(children()) == {0, 1, 2}


def test_a_full_disk_keeps_the_trials(folder: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    limit = (folder / "mlflow.db").stat().st_size
    resource.setrlimit(
        resource.RLIMIT_FSIZE, (limit, hard)
    )  # SQLite calls it a full disk or I/O error
    try:
        report = track(TRIALS, process=None)  # a new one: it inherits the limit
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert report.problems
    assert report.unsent is not None
    missing = {record.number for record in read_spool(report.unsent)[0]}
    assert missing
    assert track([], make_summary(TRIALS)).problems == []
    assert set(children()) == set(range(len(TRIALS)))


def test_what_is_no_database_is_reported_in_one_line(folder: Path) -> None:
    (folder / "mlflow.db").write_bytes(b"not a database at all " * 99)
    report = track(TRIALS)
    assert report.problems[0].startswith("DatabaseError: file is not a database (")
    assert len(read_spool(report.unsent)[0]) == len(TRIALS)


def test_optunas_file_is_reported_not_harmed(folder: Path) -> None:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    optuna.create_study(storage="sqlite:///tuner.db", study_name="s")
    before = (folder / "tuner.db").read_bytes()
    report = track(TRIALS, uri="sqlite:///tuner.db")
    assert "tuner.db is no MLflow store" in report.problems[0]
    assert len(read_spool(report.unsent)[0]) == len(TRIALS)
    assert (folder / "tuner.db").read_bytes() == before


def test_mlflow_that_cannot_be_imported_is_reported(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "site").mkdir()
    (folder / "site" / "mlflow.py").write_text("raise ImportError('it is broken')")
    monkeypatch.setenv("PYTHONPATH", str(folder / "site"))
    report = track(TRIALS[:2], process=None)
    assert report.problems[0].startswith("MLflow cannot be imported: it is broken")
    assert report.run_id is None
    assert len(read_spool(report.unsent)[0]) == 2


def test_a_bug_of_ours_crashes_and_says_where(folder: Path) -> None:
    odd = replace(STUDY, objectives={})  # no study is like this
    with pytest.raises(RuntimeError, match="in the tracking process:(.|\n)*runs.py"):
        track(TRIALS[:2], study=odd)
    assert len(read_spool(next(Path("spool").iterdir()))[0]) == 2


def test_a_process_that_is_killed_is_followed_by_another(folder: Path) -> None:
    process = TrackingProcess()
    tracker = MlflowTracker(URI, "nmf", Path("spool"), process=process)
    tracker.start(STUDY, TRIALS[:3])
    deadline = time.monotonic() + 30
    while not tracker._outbox._sent and time.monotonic() < deadline:
        time.sleep(0.005)
    assert process._at is not None
    child = process._at[0]
    child.kill()
    for trial in TRIALS[3:]:
        tracker.log_trial(trial)
    report = tracker.finish(make_summary(TRIALS))
    process.close()
    died = "the tracking process died: killed by signal 9 (SIGKILL); overcome, everything was sent"
    assert report.problems == [died]
    assert report.unsent is None
    assert set(children()) == set(range(len(TRIALS)))
    assert child.poll() is not None


def test_null_tracker_does_nothing() -> None:
    tracker = NullTracker()
    tracker.start(STUDY, TRIALS)
    tracker.log_trial(TRIALS[0])
    assert tracker.finish(make_summary(TRIALS)) == TrackingReport()


def test_a_new_store_is_made_without_a_word(made_store: tuple[Path, str]) -> None:
    path, said = made_store
    assert said == ""
    assert path.is_file()


@pytest.mark.slow
def test_four_processes_may_make_one_store(tmp_path: Path) -> None:
    processes = [making_a_store(tmp_path) for _ in range(4)]
    for process in processes:
        assert process.communicate(timeout=240) == ("", "")
        assert process.returncode == 0


def test_an_analysis_stands_beside_the_study_in_the_store(folder: Path) -> None:
    done = folder / "done"
    (done / "tables").mkdir(parents=True)
    (done / "report.html").write_text("<p>first</p>")
    (done / "tables" / "genes.csv").write_text("gene\nA\n")
    missing = log_folder("sqlite:///none.db", "nmf", STUDY, done, "analysis")
    assert missing[0] is None
    assert "no MLflow store at" in missing[1][0]
    assert not (folder / "none.db").exists()
    untracked = log_folder(URI, "nmf", STUDY, done, "analysis")
    assert untracked == (None, ["study 'chr21' is not in the store: analysis is not logged"])
    report = track(make_trials(2))
    for text in ("<p>first</p>", "<p>second</p>"):  # the same file again takes its place
        (done / "report.html").write_text(text)
        run_id, problems = log_folder(URI, "nmf", STUDY, done, "analysis")
        assert (run_id, problems) == (report.run_id, [])
    store = client()
    assert {f.path for f in store.list_artifacts(run_id, "analysis")} == {
        "analysis/report.html",
        "analysis/tables",
    }
    assert [f.path for f in store.list_artifacts(run_id, "analysis/tables")] == [
        "analysis/tables/genes.csv"
    ]
    kept = Path(store.download_artifacts(run_id, "analysis/report.html"))
    assert kept.read_text() == "<p>second</p>"
    assert store.get_run(run_id).info.status == "FINISHED"


def test_a_store_that_refuses_a_file_does_not_hold_up_the_others(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    track(make_trials(2))
    done = folder / "done"
    done.mkdir()
    for name in ("a.txt", "b.txt"):
        (done / name).write_text(name)
    log = MlflowClient.log_artifact

    def full(self: MlflowClient, run_id: str, path: str, below: str | None = None) -> None:
        if path.endswith("a.txt"):
            raise OSError("no space left on device")
        log(self, run_id, path, below)

    monkeypatch.setattr(MlflowClient, "log_artifact", full)
    run_id, problems = log_folder(URI, "nmf", STUDY, done, "analysis")
    assert problems == ["artifact a.txt is not in the store: OSError: no space left on device"]
    assert [f.path for f in client().list_artifacts(run_id, "analysis")] == ["analysis/b.txt"]


def test_text_that_has_no_encoding_holds_up_nothing(folder: Path) -> None:
    """A file's name that is not UTF-8, in an error, a case's name, the configuration, a figure."""
    trials = make_trials(4)
    odd = replace(trials[2].cases[0], name="caf\udce9")
    trials[1] = replace(trials[1], state="failed", reason="no file caf\udce9.bw\x00\nmore \ud800")
    trials[2] = replace(trials[2], cases=(odd, *trials[2].cases[1:]))
    study = replace(STUDY, config={**STUDY.config, "data": {"file": "caf\udce9.bw"}})
    figures = folder / "figures"
    figures.mkdir()
    (figures / "caf\udce9.png").write_bytes(b"png")
    report = track(trials, make_summary(trials, artifacts=figures), study=study)
    assert [p for p in report.problems if not p.startswith("artifact caf\\xe9.png")] == []
    assert report.unsent is None
    assert set(children()) == {0, 1, 2, 3}
    assert children()[1].data.tags["reason"] == "no file caf\\xe9.bw\\x00"
    (parent,) = all_runs(mlflow_runs.STUDY_ROLE)
    assert parent.data.params["data.file"] == "caf\\xe9.bw"


def test_a_store_is_made_in_a_folder_whose_name_has_quotes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / 'it\'s a "test"'
    folder.mkdir()
    monkeypatch.chdir(folder)
    found = mlflow_client.open_client(mlflow_uri.absolute_uri("sqlite:///mlflow.db"))
    default = found.get_experiment("0")
    assert Path(default.artifact_location) == folder / "mlruns" / "0"
    assert Path.cwd() == folder
    made = mlflow_client.experiment_id(found, "sqlite:///mlflow.db", "tuner")
    assert found.get_experiment(made).name == "tuner"
