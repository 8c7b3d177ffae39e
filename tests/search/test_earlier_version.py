"""Studies in storages that the version before wrote, interrupted, are gone on with.

`data/earlier.journal` ends with a trial that was dispatched, `data/earlier.sql` with one that was
measured and not told. In both, MACHINE stands for the machine that they were timed on.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.search.test_loop import Harness
from tuner.config.load import load_config
from tuner.measure.stopwatch import machine
from tuner.run import session
from tuner.search.record_json import records_of
from tuner.search.storage import open_storage, read_study

pytestmark = pytest.mark.usefixtures("toy")

DATA = Path(__file__).parent / "data"


def restored(folder: Path, kind: str) -> str:
    """Restore a storage in `folder`; return its address."""
    text = (DATA / f"earlier.{kind}").read_text(encoding="utf-8").replace("MACHINE", machine())
    if kind == "journal":
        (folder / "journal.log").write_text(text, encoding="utf-8")
        return "journal:///journal.log"
    with sqlite3.connect(folder / "tuner.db") as database:
        database.executescript(text)
    database.close()
    return "sqlite:///tuner.db"


@pytest.fixture(params=["journal", "sql"])
def config(request: pytest.FixtureRequest, write_config: Callable[..., Path]) -> Path:
    path = write_config(
        plugin="toy",
        study={"name": "earlier", "trials": 9, "sampler": "tpe", "seed": 3},
        data={"targets": [1.0, 2.0], "seconds": 0.002},
        search_space={"x": {"low": -5, "high": 5}, "size": {}, "mode": ["fine", "nan"]},
        timing={"repeats": 1},
        tracking={"enabled": False},
    )
    url = restored(path.parent, request.param)
    path.write_text(path.read_text().replace("name: earlier", f"name: earlier\n  storage: {url}"))
    return path


def test_a_study_of_the_version_before_resumes(config: Path) -> None:
    url = load_config(config).engine.study.storage
    storage = open_storage(url)
    stored = storage.get_all_trials(storage.get_study_id_from_name("earlier"))
    held = records_of(read_study(load_config(config)))
    running = stored[-1]
    assert [record.number for record in held] == list(range(running.number))
    study = Harness(config)
    assert study.run() == "complete"
    records = study.records
    assert repr(records[: len(held)]) == repr(held)  # they hold metrics that are not a number
    assert [record.number for record in records] == list(range(len(records)))
    assert sum(record.state == "complete" for record in records) == 9
    assert (records[0].is_baseline, records[0].params["mode"]) == (True, "reference")
    taken_up = records[running.number]
    assert taken_up.searched == running.params
    was_measured = "tuner:record" in running.user_attrs
    assert taken_up.state == ("failed" if was_measured else "complete")
    assert [job.trial.number for job in study.executor.jobs][0] == running.number + was_measured


def test_what_the_version_before_found_can_be_exported(config: Path, workplace: Path) -> None:
    loaded = load_config(config)
    held = records_of(read_study(loaded))
    record, _ = session.export(loaded, workplace / "best.py")
    assert record == loaded.objective.best(held)
    assert f'"x": {record.params["x"]}' in (workplace / "best.py").read_text()
