"""What `run` needs is asked before any work is spent, and `validate` asks the same."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.search.test_series import Silent
from tuner.config import reach
from tuner.config.load import load_config
from tuner.measure import stopwatch
from tuner.plugin import InputError
from tuner.run import session
from tuner.run.check import check
from tuner.selection.finish import Finish

pytestmark = pytest.mark.usefixtures("toy")

Check = Callable[..., list[str]]


@pytest.fixture
def checked(write_config: Callable[..., Path]) -> Check:
    def _checked(*overrides: str, load: bool = True) -> list[str]:
        path = write_config(
            plugin="toy",
            study={"trials": 4, "sampler": "random"},
            search_space={"x": {"low": -5, "high": 5}, "size": {}},
            tracking={"enabled": False},
        )
        return check(load_config(path, overrides), load=load)

    return _checked


@pytest.fixture
def clutter(workplace: Path) -> None:
    (workplace / "file").write_text("no folder")
    (workplace / "garbage.db").write_text("no database at all " * 100)
    (workplace / "garbage.log").write_text("no journal\n")
    (workplace / "mine.py").write_text("print('mine')")
    (workplace / "loop").symlink_to("loop")
    with sqlite3.connect(workplace / "foreign.db") as database:
        database.execute("CREATE TABLE theirs (a)")
    database.close()


@pytest.mark.usefixtures("clutter")
@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["study.sampler=gp"], "study.sampler: 'gp' needs the package 'torch'"),
        (["study.sampler=cmaes", "objective=[fit, time]"], "'cmaes' serves one objective"),
        (["study.sampler=cmaes", "search_space={mode: [fine, die]}"], "two ranges of numbers, got"),
        (["study.sampler=cmaes", "search_space={x: {}}"], "at least two ranges of numbers, got 1"),
        (["study.sampler={name: tpe, n_startup_trials: -3}"], "expected a whole number from 0"),
        (["study.sampler={name: tpe, n_startup_trials: many}"], "whole number from 0, got 'many'"),
        (["study.sampler={name: nsgaii, population_size: 1}"], "'nsgaii' refuses its options"),
        (["study.sampler={name: grid, points: 1}"], "points: expected a whole number above 1"),
        (["study.sampler=brute-force"], "'brute-force' needs a step for every range"),
        (["study.pruner=percentile"], "pruner: 'percentile' needs the option 'percentile'"),
        (["study.pruner={name: percentile, percentile: 150}"], "'percentile' refuses: Percentile"),
        (["study.pruner=threshold"], "'threshold' refuses: Either lower or upper"),
        (["study.pruner=median", "objective=[fit, time]"], "a pruner serves one objective"),
        (["study.storage=mysql+pymysql://u:s3cret@h/x"], "u:***@h/x: the package 'pymysql"),
        (["study.storage=postgresql+psycopg://u:s3cret@127.0.0.1:9/x"], "port 9, does not answer"),
        (["study.storage=postgres://u:s3cret@127.0.0.1:9/x"], "port 9, does not answer"),
        (["study.storage=nosql://u:s3cret@h/x"], "cannot open nosql://u:***@h/x: "),
        (["study.storage=sqlite:///garbage.db"], "file is not a database"),
        (["study.storage=journal:///garbage.log"], "it is no journal of Optuna"),
        (["study.storage=sqlite:///foreign.db"], "holds tables of another program (theirs, ...)"),
        (["study.storage=sqlite:///file/x.db"], "no such folder: file; make it first"),
        (["study.storage=sqlite:////proc/x.db"], "cannot write in /proc"),
        (["tracking={uri: ./mlruns}"], "migrate-filestore --source ./mlruns --target sqlite"),
        (["export.path=no/dir/x.py"], "no folder no/dir; make it first"),
        (["export.path=."], ". is a folder; name a file"),
        (["export.path=/proc/x.py"], "cannot write in /proc"),
        (["export.path=loop"], "loop is a circle of links"),
        (["export.path=mine.py"], "mine.py is there already and no study here wrote it; move it"),
        (["limits.memory=10MB"], "expected at least 80MB, what a worker holds before"),
        (["limits.memory=81MB"], "81MB are less than the"),
        (["data.targets=[1, 1]"], "two cases are called 'target1'"),
        (["data.targets=[]"], "found no case to tune on"),
        (["data.width=13"], "data.width: 13 is unlucky"),
    ],
)
def test_what_run_cannot_do_is_one_line(
    checked: Check, workplace: Path, overrides: list[str], expected: str
) -> None:
    before = sorted(workplace.iterdir())
    with pytest.raises(InputError) as caught:
        checked(*overrides)
    message = str(caught.value)
    assert expected in message
    assert "\n" not in message
    assert "s3cret" not in message
    assert message.startswith(("--set", str(workplace / "study.yaml")))
    assert [path for path in sorted(workplace.iterdir()) if path.name != "study.yaml"] == before


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (
            ["study.sampler=grid"],
            "'grid' has 35 settings and study.trials leaves 3 beside the base",
        ),
        (["study.sampler=grid", "study.trials=99"], "'grid' ends after its 35 settings"),
        (["study.pruner=median"], "there is one case, and trials are pruned between cases"),
        (["workers=640"], "workers: 640 on "),
        (["limits.threads=640"], "limits.threads: 640 on "),
        (["limits.memory=4000GB"], "1 workers of 4e+03GB may take more than the machine's"),
        (["tracking={uri: 'mysql://u:s3cret@127.0.0.1:9/x'}"], "u:***@127.0.0.1:9/x: the package "),
        (["tracking={uri: 'http://u:s3cret@127.0.0.1:9'}"], "127.0.0.1, port 9, does not answer"),
        (["tracking={uri: 'sqlite:////proc/1/x.db'}"], "cannot write in /proc/1"),
        (["search_space.x.step=3"], "3 does not divide -5 to 5; the largest value tried is 4"),
    ],
)
def test_what_run_can_live_with_is_a_note(
    checked: Check, monkeypatch: pytest.MonkeyPatch, overrides: list[str], expected: str
) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    notes = [note for note in checked(*overrides) if expected in note]
    assert len(notes) == 1
    assert "\n" not in notes[0]
    assert "s3cret" not in notes[0]


def test_a_plain_study_has_nothing_to_note(checked: Check, workplace: Path) -> None:
    assert checked() == []
    assert [path.name for path in workplace.iterdir()] == ["study.yaml"]


def test_a_machine_that_does_not_tell_what_was_waited_is_noted(
    checked: Check, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stopwatch, "_SELF", str(workplace / "schedstat"))
    stopwatch.tells_waiting.cache_clear()
    try:
        (note,) = checked()
    finally:
        stopwatch.tells_waiting.cache_clear()
    assert note.startswith("timing: /proc/thread-self/schedstat cannot be read")


def test_the_variable_is_named_where_the_address_comes_from_it(
    checked: Check, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "./mlruns")
    with pytest.raises(InputError, match=r"^MLFLOW_TRACKING_URI: '\./mlruns' is no MLflow store"):
        checked("tracking.enabled=true")
    with pytest.raises(InputError, match=r"tracking\.uri: '\./other' is no MLflow store"):
        checked("tracking={uri: ./other}")


def test_a_server_that_answers_is_reached_and_a_silent_one_told_of(
    checked: Check, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reach, "ANSWER", 0.5)
    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        uri = f"tracking={{uri: 'http://127.0.0.1:{server.server_port}'}}"
        (note,) = checked(uri)
        assert "takes requests and answers none within 0.5 s" in note
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        assert checked(uri) == []
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("change", ["file", "unwritable"])
def test_a_folder_for_results_that_cannot_be_is_refused(
    checked: Check, workplace: Path, change: str
) -> None:
    if change == "file":
        (workplace / "out").write_text("")
    else:
        (workplace / "out").symlink_to("/proc/1")
    with pytest.raises(InputError, match="'out' is a file|cannot write in /proc/1"):
        checked()


def test_run_begins_with_the_same(write_config: Callable[..., Path], workplace: Path) -> None:
    path = write_config(plugin="toy", study={"pruner": "threshold"})
    with pytest.raises(InputError, match="Either lower or upper"):
        session.run(load_config(path), Silent(), lambda: False)
    assert [each.name for each in workplace.iterdir()] == ["study.yaml"]


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the figures out: they take seconds."""
    monkeypatch.setattr(Finish, "present", lambda finish, summary, folder: summary)


def _run(path: Path, *overrides: str, **options: Any) -> tuple[Any, list[str]]:
    progress = Silent()
    result = session.run(
        load_config(path, overrides), progress, options.pop("stop", lambda: False), **options
    )
    return result, progress.notes


@pytest.mark.usefixtures("undrawn")
def test_no_study_takes_the_folder_or_the_script_of_another(
    write_config: Callable[..., Path], workplace: Path
) -> None:
    def written(name: str, storage: str, export: str = "script.py") -> Path:
        return write_config(
            f"{name}-{storage}.yaml",
            plugin="toy",
            study={"name": name, "trials": 2, "storage": f"journal:///{storage}.log"},
            search_space={"x": {"low": -5, "high": 5}},
            timing={"finalists": 0, "nulls": 0, "fixed_cost_repeats": 0},
            export={"path": export},
            tracking={"enabled": False},
        )

    first = written("first", "a")
    _, notes = _run(first)
    assert notes == []
    text = (workplace / "script.py").read_text()
    # another storage, the same name
    with pytest.raises(
        InputError, match=r"out/first holds the results of another study 'first' of"
    ):
        check(load_config(written("first", "b")))
    # another study, the same script
    second = written("second", "a")
    with pytest.raises(InputError, match=r"script\.py is the script of another study 'first' of"):
        _run(second)
    with pytest.raises(InputError, match=r"script\.py is the script of another study"):
        session.export(load_config(_finished(written("second", "a", "own.py"))), Path("script.py"))
    assert (workplace / "script.py").read_text() == text
    # the same study goes on, and what it had frozen is no result of a run that was stopped
    stopped, notes = _run(first, "study.trials=4", stop=lambda: True)
    assert (stopped.ending, stopped.export) == ("interrupted", None)
    assert notes == [
        f"script.py is not this run's result: it is trial {_trial(workplace)} of study 'first', "
        f"frozen earlier; to freeze the best so far: tuner export {first} -o script.py"
    ]
    assert _run(first, "study.trials=3")[1] == []
    # another study of the series says so, and the copy of the first stays
    _, notes = _run(first, new=True)
    assert notes[0].startswith("script.py is trial ")
    assert "of study 'first' until this study ends; a copy is kept in out/first/script" in notes[0]
    assert (workplace / "out" / "first" / "script" / "script.py").exists()
    assert (workplace / "out" / "first-2" / "script" / "script.py").exists()


def _finished(path: Path) -> Path:
    _run(path)
    return path


def _trial(workplace: Path) -> int:
    from tuner.export.ownership import script_of

    return script_of(workplace / "script.py")[1]


@pytest.mark.usefixtures("undrawn")
def test_a_folder_that_an_earlier_version_left_goes_to_the_study_that_has_trials(
    write_config: Callable[..., Path], workplace: Path
) -> None:
    path = write_config(
        plugin="toy",
        study={"trials": 2, "storage": "journal:///a.log"},
        search_space={"x": {"low": -5, "high": 5}},
        timing={"finalists": 0, "nulls": 0, "fixed_cost_repeats": 0},
        tracking={"enabled": False},
    )
    _run(path)
    (workplace / "out" / "study" / "study.json").unlink()
    _run(path, "study.trials=3")
    (workplace / "out" / "study" / "study.json").write_text("damaged")
    (workplace / "a.log").unlink()
    with pytest.raises(InputError, match=r"out/study holds files that are not this study's; move"):
        _run(path)
