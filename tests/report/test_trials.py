"""All trials as files: what is read back is what was recorded."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from tests.studies import make_trials
from tuner.report import trials


def test_csv_and_parquet_hold_every_trial(tmp_path: Path) -> None:
    records = make_trials(20)
    hostile = {**records[3].params, "init": 'a,"b"\n=1'}
    records[3] = replace(records[3], params=hostile)
    records[4] = replace(records[4], params={**records[4].params, "init": 7})  # of another kind
    trials.write_trials(tmp_path, records[::-1])
    for table in (
        pd.read_csv(tmp_path / "trials.csv", index_col="trial"),
        pd.read_parquet(tmp_path / "trials.parquet"),
    ):
        assert list(table.index) == list(range(20))
        assert list(table["state"]) == [record.state for record in records]
        complete = [r for r in records if r.state == "complete"]
        scores = table["score"].dropna()
        assert list(scores) == pytest.approx([r.metrics["score"] for r in complete], rel=1e-12)
        assert table["init"][3] == hostile["init"]
        assert str(table["init"][4]) == "7"
        assert table["reason"][5].startswith("worker died with signal 9\nTraceback")


def test_without_pyarrow_there_is_the_csv_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trials.importlib.util, "find_spec", lambda name: None)
    trials.write_trials(tmp_path, make_trials(2))
    assert [path.name for path in tmp_path.iterdir()] == ["trials.csv"]


def test_hosts_and_losses_have_columns_where_there_are_any() -> None:
    records = make_trials(3)
    assert not {"host", "machine", "losses"} & set(trials.trials_table(records).columns)
    records[1] = replace(records[1], host="second", machine="Abacus", losses=2)
    table = trials.trials_table(records)
    assert list(table["host"]) == ["", "second", ""]
    assert list(table["machine"]) == ["", "Abacus", ""]
    assert list(table["losses"]) == [0, 2, 0]
    records[2] = replace(records[2], params={**records[2].params, "host": "a value"})
    assert trials.trials_table(records)["host"][2] == "a value"
