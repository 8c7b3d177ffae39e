"""All trials of a study as a table, and as the files ``trials.csv`` and ``trials.parquet``."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuner.records import TrialRecord
from tuner.report.page import write_file

if TYPE_CHECKING:
    import pandas as pd


def trials_table(records: Sequence[TrialRecord]) -> pd.DataFrame:
    """Return every trial that has ended, by number: state, params, metrics, times, reason.

    A metric with the name of a parameter stands as ``metrics.NAME``. Where any trial has such,
    ``host``, ``machine`` and ``losses`` say where it ran, what that is, and how many workers were
    lost under it.
    """
    import pandas as pd

    ordered = sorted(records, key=lambda record: record.number)
    index = pd.Index([record.number for record in ordered], name="trial")
    rows = [_row(record) for record in ordered]
    for name in ("host", "machine", "losses"):
        if any(getattr(record, name) for record in ordered):
            for row, record in zip(rows, ordered, strict=True):
                row.setdefault(name, getattr(record, name))  # a parameter may have this name
    return pd.DataFrame(rows, index=index)


def write_trials(folder: Path, records: Sequence[TrialRecord]) -> None:
    """Write ``trials.csv`` into a folder, and ``trials.parquet`` where pyarrow is installed."""
    table = trials_table(records)
    write_file(folder / "trials.csv", table.to_csv)
    if importlib.util.find_spec("pyarrow") is not None:
        write_file(folder / "trials.parquet", _of_one_kind(table).to_parquet)


def _of_one_kind(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table with columns of several kinds of values as text: Parquet has one kind."""
    mixed = [
        name
        for name in table.columns
        if len({type(value) for value in table[name].dropna() if value is not None}) > 1
    ]
    return table.assign(**{name: table[name].map(str, na_action="ignore") for name in mixed})


def _row(record: TrialRecord) -> dict[str, Any]:
    metrics = {
        f"metrics.{name}" if name in record.params else name: value
        for name, value in record.metrics.items()
    }
    told = {"state": record.state, "baseline": record.is_baseline}
    ended = {"started": record.started, "finished": record.finished, "reason": record.reason}
    return {**told, **record.params, **metrics, **ended}
