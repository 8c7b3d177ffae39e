"""Addresses of stores, and the file behind them."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tuner.config import folder_lock
from tuner.config.folder_lock import make_whole
from tuner.plugin import InputError
from tuner.tracking import mlflow_uri
from tuner.tracking.mlflow_uri import (
    absolute_uri,
    base_url,
    check_uri,
    sole_creator,
    sqlite_path,
)


@pytest.mark.parametrize(
    "uri",
    ["sqlite:///mlflow.db", "https://host:5000", "postgresql+psycopg2://u:p@h/db", "mysql://h/db"],
)
def test_good_stores(uri: str) -> None:
    check_uri(uri, "sqlite:///tuner.db")


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("./mlruns", "no MLflow store that can be used"),
        ("file:///tmp/mlruns", "no MLflow store that can be used"),
        ("mlflow.db", "expected sqlite:///mlflow.db"),
        ("", "no MLflow store"),
        ("sqlite://", "names no file"),
        ("sqlite:///:memory:", "names no file"),
    ],
)
def test_bad_stores_are_one_line(uri: str, said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        check_uri(uri)
    assert len(str(caught.value).splitlines()) == 1


def test_one_file_cannot_hold_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "below").mkdir()
    with pytest.raises(InputError, match="cannot share one"):
        check_uri("sqlite:///tuner.db", f"sqlite:///{tmp_path}/below/../tuner.db?timeout=5")
    check_uri("sqlite:///tuner.db", "postgresql://host/tuner.db")


def test_paths_are_those_that_sqlalchemy_opens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sqlalchemy

    monkeypatch.chdir(tmp_path)
    names = ["here.db", "a space.db", "a%20percent.db", "q.db?timeout=3", f"{tmp_path}/absolute.db"]
    for name in names:
        engine = sqlalchemy.create_engine(absolute_uri(f"sqlite:///{name}"))
        with engine.begin() as connection:
            connection.exec_driver_sql("create table t (x int)")
        engine.dispose()
        path = sqlite_path(f"sqlite:///{name}")
        assert path is not None
        assert path.is_file()
        beside = sqlalchemy.create_engine(f"sqlite:///{name}")
        with beside.begin() as connection:
            assert connection.exec_driver_sql("select * from t").all() == []
        beside.dispose()


def test_absolute_uri_survives_a_change_of_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    uri = absolute_uri("sqlite:///mlflow.db")
    monkeypatch.chdir("/")
    assert sqlite_path(uri) == tmp_path / "mlflow.db"
    assert absolute_uri("sqlite:///x.db?timeout=3") == "sqlite:////x.db?timeout=3"
    assert absolute_uri("http://host") == "http://host"


def test_base_url() -> None:
    assert base_url("http://host:5000") == "http://host:5000/"
    assert base_url("http://host/below/") == "http://host/below/"
    assert base_url("sqlite:///x.db") is None


def test_what_is_no_database_is_told_at_once(tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"
    path.write_bytes(b"this is a text file, not a database" * 40)
    with pytest.raises(sqlite3.DatabaseError, match="not a database"), sole_creator(path):
        pytest.fail("entered")
    with sole_creator(tmp_path / "new" / "mlflow.db"):
        pass


def test_a_store_is_made_where_a_link_leads(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    link, target = tmp_path / "mlflow.db", tmp_path / "disk" / "store.db"
    link.symlink_to(target)
    with sole_creator(link) as is_new:
        assert is_new
        make_whole(link, lambda url: Path(url.removeprefix("sqlite:///")).write_text("whole"))
    assert link.is_symlink()
    assert target.read_text() == "whole"
    assert os.listdir(tmp_path / "disk") == ["store.db"]


def test_a_store_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"

    def make(url: str, whole: bool) -> None:
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as database:
            database.execute("CREATE TABLE experiments (id)")
            if not whole:
                raise KeyboardInterrupt
            database.execute("CREATE TABLE runs (id)")

    for whole in (False, True):
        with contextlib.suppress(KeyboardInterrupt), sole_creator(path) as is_new:
            assert is_new
            make_whole(path, lambda url, whole=whole: make(url, whole))
        assert [file.name for file in tmp_path.iterdir()] == ["mlflow.db"]  # no part of it stays
    with sole_creator(path) as is_new:
        assert not is_new
    with closing(sqlite3.connect(path)) as database:
        assert len(database.execute("SELECT name FROM sqlite_master").fetchall()) == 2
    assert [file.name for file in tmp_path.iterdir()] == ["mlflow.db"]


def test_a_store_is_made_by_one_process_and_waited_for_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder_lock, "LOCK_SECONDS", 0.1)
    monkeypatch.setenv("TMPDIR", str(tmp_path / "absent"))  # nothing of it lies among strangers
    path = tmp_path / "new" / "mlflow.db"
    with mlflow_uri.sole_creator(path) as is_new:
        assert is_new
        with pytest.raises(TimeoutError, match=r"has held the lock of .*; end it"):
            with mlflow_uri.sole_creator(path):
                pytest.fail("two at once")
    with mlflow_uri.sole_creator(path):
        assert [file.name for file in path.parent.iterdir()] == ["mlflow.db"]


def test_one_database_of_a_server_cannot_hold_both() -> None:
    ours = "postgresql://ann:one@host/tuner"
    check_uri("postgresql+psycopg://ann:two@host/mlflow", ours)
    with pytest.raises(InputError, match="are the same database: Optuna and MLflow") as caught:
        check_uri("postgresql+psycopg://ann:s3cret@host/tuner", ours)
    assert "s3cret" not in str(caught.value)
