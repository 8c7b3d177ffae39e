"""A database is there whole or not at all, whenever the process that makes it dies."""

from __future__ import annotations

import os
from pathlib import Path

import optuna
import pytest
from sqlalchemy import Engine, event

from tuner.search.storage import open_storage


@pytest.mark.parametrize("statement", ["CREATE TABLE studies", "CREATE UNIQUE", "INSERT INTO"])
def test_a_database_whose_maker_died_takes_no_two_studies_of_one_name(
    workplace: Path, statement: str
) -> None:
    child = os.fork()
    if child == 0:

        @event.listens_for(Engine, "before_cursor_execute")
        def _die(connection: object, cursor: object, told: str, *rest: object) -> None:
            if told.strip().startswith(statement):
                os._exit(9)

        open_storage("sqlite:///tuner.db")
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    storage = open_storage("sqlite:///tuner.db")
    optuna.create_study(study_name="one", storage=storage)
    with pytest.raises(optuna.exceptions.DuplicatedStudyError):
        optuna.create_study(study_name="one", storage=storage)
    assert [path.name for path in workplace.iterdir()] == ["tuner.db"]
