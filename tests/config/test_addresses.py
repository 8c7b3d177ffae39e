"""Addresses are shown and stored without what opens them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest

from tuner.config import addresses
from tuner.config.addresses import (
    as_written,
    expanded,
    masked,
    masked_data,
    with_driver,
    without_user,
)
from tuner.plugin import InputError
from tuner.search.peek import peek_storage
from tuner.search.storage import open_storage


@pytest.mark.parametrize(
    ("installed", "driver"), [({"psycopg", "psycopg2"}, "psycopg"), ({"psycopg2"}, "psycopg2")]
)
def test_an_address_of_postgresql_gets_a_driver_that_is_here(
    monkeypatch: pytest.MonkeyPatch, installed: set[str], driver: str
) -> None:
    monkeypatch.setattr(addresses, "find_spec", lambda name: name if name in installed else None)
    for scheme in ("postgresql", "postgres"):
        assert with_driver(f"{scheme}://a:b@h:5/d?x=y") == f"postgresql+{driver}://a:b@h:5/d?x=y"
    assert with_driver("postgresql+pg8000://h/d") == "postgresql+pg8000://h/d"


def test_an_absent_driver_is_named_with_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("psycopg", "psycopg2"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setattr(addresses, "find_spec", lambda name: None)
    url = "postgresql://ann:s3cret@127.0.0.1:9/db"
    for opening in (peek_storage, open_storage):
        with pytest.raises(InputError, match="'psycopg' is not installed") as caught:
            opening(url)
        assert 'pip install "tunefreeze[postgresql]"' in str(caught.value)
        assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("postgresql+psycopg://ann:s3cret@h:5/db", "postgresql+psycopg://ann:***@h:5/db"),
        ("mysql://ann:s3@cret@h/db", "mysql://ann:***@h/db"),
        ("mysql://ann:s3/cret@h/db", "mysql://ann:***@h/db"),
        ("mysql://ann:s3 'cret\"@h/db", "mysql://ann:***@h/db"),
        ("mysql://:s3cret@h/db", "mysql://:***@h/db"),
        ("https://s3cret@h/p", "https://***@h/p"),
        ("http://ann:s3cret@h:5000/", "http://ann:***@h:5000/"),
        ("postgresql://h/db?user=a&password=s3cret", "postgresql://h/db?user=a&password=***"),
        ("(in mysql://a:s3cret@h/x: refused)", "(in mysql://a:***@h/x: refused)"),
        ("storage: mysql://a:s3cret@h/x\nuri: mysql://b:s3cret@h", None),
        ("mysql://ann:${PW}@h/db", "mysql://ann:${PW}@h/db"),
        ("http://ann:${PW}@h/db", "http://ann:${PW}@h/db"),
        ("mysql://ann:${P}s3cret@h/db", "mysql://ann:***@h/db"),
        ("sqlite:///tuner.db", "sqlite:///tuner.db"),
        ("postgresql://ann@h/db", "postgresql://ann@h/db"),
        ("journal:////tmp/a:b.log", "journal:////tmp/a:b.log"),
        ("chr21:33746350-35442400, me@home", "chr21:33746350-35442400, me@home"),
    ],
)
def test_masked(text: str, expected: str | None) -> None:
    shown = masked(text)
    assert "cret" not in shown
    assert masked(shown) == shown
    if expected is not None:
        assert shown == expected


def test_masked_data_goes_all_the_way_down() -> None:
    data = {"a": [{"b": "mysql://a:s3cret@h"}], "n": 1, "none": None}
    assert masked_data(data) == {"a": [{"b": "mysql://a:***@h"}], "n": 1, "none": None}


def test_pages_are_opened_without_a_user() -> None:
    assert without_user("https://ann:s3cret@h:5000/x") == "https://h:5000/x"
    assert without_user("https://h:5000/x@y") == "https://h:5000/x@y"


def test_what_was_filled_in_is_shown_as_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATA", "/data")
    raw = {"a": "${DATA}/x", "b": ["${DATA}", 2], "c": {"d": "plain"}}
    filled = expanded(raw)
    assert filled == {"a": "/data/x", "b": ["/data", 2], "c": {"d": "plain"}}
    assert as_written({**filled, "default": 5}, raw) == {**raw, "default": 5}


@pytest.mark.usefixtures("toy")
@pytest.mark.parametrize("written", ["s3cret", "${SECRET}"])
def test_nothing_that_is_stored_or_passed_on_holds_a_password(
    write_config: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, written: str
) -> None:
    from dataclasses import asdict

    from tuner.config.load import load_config
    from tuner.run import session
    from tuner.tracking import mlflow_runs

    monkeypatch.setenv("SECRET", "s3cret")
    path = write_config(
        plugin="toy",
        study={"storage": f"postgresql://ann:{written}@h/db"},
        tracking={"uri": f"http://ann:{written}@127.0.0.1:9/"},
        data={"log": f"https://ann:{written}@h/log"},
    )
    config = load_config(path)
    assert "s3cret" in config.engine.study.storage  # what is used
    assert "s3cret" in config.sections["data"]["log"]
    study = optuna.create_study(storage=optuna.storages.InMemoryStorage())
    info = session.describe(config, study)
    stored: list[Any] = [config.plain(), config.text, config.deciding(), asdict(info)]
    stored += [mlflow_runs.study_params(info), mlflow_runs.study_tags(info)]
    assert "s3cret" not in json.dumps(stored)
    shown = written if written.startswith("$") else "***"
    assert config.plain()["tracking"]["uri"] == f"http://ann:{shown}@127.0.0.1:9/"


def test_the_signature_knows_the_value_of_a_variable(
    write_config: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, toy: Path
) -> None:
    from tuner.config.load import load_config

    path = write_config(plugin="toy", data={"log": "${PLACE}/log"})
    monkeypatch.setenv("PLACE", "a")
    config, signature = load_config(path), load_config(path).signature()
    assert config.sections["data"]["log"] == "a/log"
    assert config.deciding()["data"]["log"] == "${PLACE}/log"
    monkeypatch.setenv("PLACE", "b")
    assert load_config(path).signature() != signature


def test_links_and_refusals_hold_no_password(workplace: Path) -> None:
    from tests.studies import make_study
    from tuner.plugin import InputError
    from tuner.search.storage import open_storage
    from tuner.tracking.mlflow_pages import study_links
    from tuner.tracking.mlflow_uri import base_url, check_uri

    assert base_url("https://ann:s3cret@h:5000") == "https://h:5000/"
    for call in (
        lambda: open_storage("nosql://ann:s3cret@h/db"),
        lambda: open_storage("postgresql://ann:s3cret@h/db"),
        lambda: check_uri("ftp://ann:s3cret@h/db"),
        lambda: study_links("postgresql://ann:s3cret@127.0.0.1:9/db", "e", make_study()),
    ):
        with pytest.raises(InputError) as caught:
            call()
        assert "s3cret" not in str(caught.value)
        assert "ann:***@" in str(caught.value)


def test_the_command_line_of_the_pages_holds_no_password(
    workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tuner.plugin import InputError
    from tuner.tracking import mlflow_ui

    started: list[tuple[list[str], dict[str, str]]] = []

    class Ended(subprocess.Popen):  # type: ignore[type-arg]
        def __init__(self, command: list[str], **options: Any) -> None:
            started.append((command, options["env"]))
            super().__init__(["true"], stdout=subprocess.DEVNULL)

    monkeypatch.setattr(mlflow_ui.subprocess, "Popen", Ended)
    with pytest.raises(InputError) as caught, mlflow_ui.running_server("mysql://ann:s3cret@h/db"):
        pytest.fail("no server can have started")
    ((command, environment),) = started
    assert "s3cret" not in " ".join(map(str, command)) + str(caught.value)
    assert environment["MLFLOW_BACKEND_STORE_URI"] == "mysql://ann:s3cret@h/db"
