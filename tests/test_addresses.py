"""Addresses are shown and stored without what opens them."""

from __future__ import annotations

import pytest

from tuner.addresses import as_written, expanded, masked, masked_data, without_user


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
