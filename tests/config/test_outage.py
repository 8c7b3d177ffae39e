"""A full disk or a lost database is one line; a bug stays a bug."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import optuna
import pytest
from sqlalchemy.exc import OperationalError

from tuner.config.outage import RESUME, outage
from tuner.search.storage import open_storage


def test_a_full_disk_names_the_file() -> None:
    error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "out/plots/a.png")
    line = outage(error)
    assert line == f"cannot write out/plots/a.png: No space left on device; {RESUME}"


def test_a_lost_database_is_told_without_its_password(workplace: Path) -> None:
    study = optuna.create_study(storage=open_storage("sqlite:///t.db"), study_name="s")
    Path("t.db").write_bytes(b"")
    with pytest.raises(optuna.exceptions.StorageInternalError) as caught:
        study.set_user_attr("a", 1)
    line = outage(caught.value)
    assert line is not None
    assert line.startswith(
        "study.storage: the database does not take it: (sqlite3.OperationalError)"
    )
    lost = OperationalError("", {}, Exception("in postgresql://a:s3cret@h/db\nmore"))
    assert "postgresql://a:***@h/db; mend" in str(outage(lost))


@pytest.mark.parametrize("bug", [ValueError("x"), FileNotFoundError(2, "none", "x"), KeyError(1)])
def test_a_bug_is_none(bug: Exception) -> None:
    assert outage(bug) is None
