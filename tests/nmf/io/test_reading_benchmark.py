from __future__ import annotations

import json
import sys

import numpy as np
import pytest

from benchmarks import reading


def test_it_prints_and_writes_a_row_for_each_reader(tmp_path, monkeypatch, capsys):
    file = tmp_path / "figures.json"
    options = ["--length", "60000", "--tracks", "2", "--rounds", "1", "--json", str(file)]
    monkeypatch.setattr(sys, "argv", ["reading", *options])
    reading.main()
    figures = json.loads(file.read_text())
    printed = capsys.readouterr().out
    assert figures["length"] == 60_000
    assert len(figures["rows"]) >= 6
    for row in figures["rows"]:
        assert row["reader"] in printed
        assert row["seconds"] > 0
    assert figures["rows"][0]["times_faster"] == 1


def test_it_refuses_readers_that_disagree(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "_own_values", lambda paths, end: [np.zeros(1)] * len(paths))
    with pytest.raises(AssertionError, match="readers disagree"):
        reading.measure(60_000, 1, 1, tmp_path)
