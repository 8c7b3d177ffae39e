"""Fixtures that the whole suite shares."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import settings
from sqlalchemy import Connection, Engine, event

from tests.driver import PROJECT, Driver
from tests.fork import UNDRAWN, no_figures
from tests.stores import making_a_store

TESTS = Path(__file__).parent

# The same examples every time; and no test fails because the machine is busy.
settings.register_profile("suite", deadline=None, derandomize=True)
settings.load_profile("suite")
# What the tests start reads compiled Python and buffers what it writes, as a user's command does.
for name in ("PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED"):
    os.environ.pop(name, None)


LONGEST = (
    "faults/test_harness.py",
    "elasticnet/test_plugin.py",
    "faults/test_crash.py",
    "tracking/test_tracker.py",
    "test_cli.py",
    "perturbseq/report/test_analysis.py",
    "elasticnet/test_script.py",
    "run/test_init.py",
    "faults/test_misbehaviour.py",
    "perturbseq/inference/test_traps.py",
    "execution/test_dask.py",
    "perturbseq/model/test_composition.py",
    "command/test_faults.py",
    "run/test_printout.py",
    "run/test_requests.py",
    "run/test_new_plugin.py",
    "perturbseq/inference/test_plate_null.py",
)
"""Files that take longest, in that order."""


def pytest_configure(config: pytest.Config) -> None:
    """Let xdist take files as they come; by itself it takes those of most tests first."""
    if hasattr(config.option, "loadscopereorder"):
        config.option.loadscopereorder = False


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest files, so that no worker is left with one of them at the end."""
    ranks = {TESTS / name: rank for rank, name in enumerate(LONGEST)}
    items.sort(key=lambda item: ranks.get(item.path, len(ranks)))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder of real data beside the project; skip where it is absent."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("TUNER_SHARED_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"real data is not here ({folder}); the simulated twin of this test runs")
    return folder


@pytest.fixture(autouse=True, scope="session")
def own_locks(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Let no study outside of the suite hold up the timings in it."""
    os.environ["TUNER_LOCKS"] = str(tmp_path_factory.mktemp("locks"))


_engines: list[Engine] = []


@event.listens_for(Engine, "engine_connect")
def _remember(connection: Connection) -> None:
    _engines.append(connection.engine)


@pytest.fixture(autouse=True)
def closed_databases() -> Iterator[None]:
    """Close what the test left in SQLAlchemy's pools.

    Optuna and MLflow leave it to the garbage collector, of which Python 3.13 warns.
    """
    yield
    for engine in {id(engine): engine for engine in _engines}.values():
        engine.dispose()
    _engines.clear()


TOY = TESTS / "toy"


def install_toy(folder: Path) -> None:
    """Install the toy plug-ins in a folder of Python's path."""
    for module in TOY.glob("*.py"):
        shutil.copy(module, folder)
    info = folder / "tuner_toy-1.0.dist-info"
    info.mkdir()
    shutil.copy(TOY / "entry_points.txt", info)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tuner-toy\nVersion: 1.0\n")
    rival = folder / "rival-2.0.dist-info"
    rival.mkdir()
    (rival / "METADATA").write_text("Metadata-Version: 2.1\nName: rival\nVersion: 2.0\n")
    (rival / "entry_points.txt").write_text("[tuner.plugins]\ntwice = rival:Toy\n")


@pytest.fixture
def toy(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Install the toy plug-ins for this test and for the processes that it starts."""
    folder = tmp_path_factory.mktemp("site")
    install_toy(folder)
    monkeypatch.syspath_prepend(str(folder))
    paths = [str(folder), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))
    return folder


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let studies draw no figures, which are most of what they take, and the toy no tables.

    Neither here, nor in commands of the driver, see `tests.fork`.
    """
    monkeypatch.setenv(UNDRAWN, "1")
    monkeypatch.setattr("tuner.report.figures.study_figures", no_figures)


@pytest.fixture(scope="session")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Driver]:
    """Return what runs `tuner` commands, with the toy plug-ins among the installed."""
    site = tmp_path_factory.mktemp("site")
    install_toy(site)
    driver = Driver(site)
    yield driver
    driver.close()


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return tmp_path


@pytest.fixture
def write_config(workplace: Path) -> Callable[..., Path]:
    """Return a function that writes a configuration from sections and says where."""

    def write(name: str = "study.yaml", **sections: object) -> Path:
        path = workplace / name
        path.write_text(yaml.safe_dump(sections, sort_keys=False))
        return path

    return write


@pytest.fixture(scope="session")
def made_store(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Return a store, and what was said while it was made: its tables take seconds.

    It is one for all processes of the suite, and nobody may write to it.
    """
    base = tmp_path_factory.getbasetemp()
    home = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "made-store"
    home.mkdir(exist_ok=True)
    said = home / "said.txt"
    with (home / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not said.exists():
            process = making_a_store(home)
            text = "".join(process.communicate(timeout=200))
            assert process.returncode == 0, text
            said.write_text(text)
    return home / "mlflow.db", said.read_text()


@pytest.fixture
def store(made_store: tuple[Path, str], workplace: Path) -> None:
    """Let the current folder have a store: to make one takes a study two seconds."""
    shutil.copy(made_store[0], workplace / "mlflow.db")


WORDS = "<script>alert(1)</script>"
SECTIONS = {
    "plugin": "toy",
    "data": {"targets": [1.0, 2.0, 4.0], "held_out": [3.0, 3.5], "null": -6.0},
    "study": {"name": "<b>", "trials": 14, "sampler": "random", "max_failures": 99},
    "search_space": {"x": {}, "mode": {"choices": ["fine", "reference", "raise"]}},
    "objective": ["fit", "time"],
    "timing": {"finalists": 0, "nulls": 9},
    "tracking": {"enabled": False},
}


@pytest.fixture(scope="session")
def ran(driver: Driver, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder in which a study ran, with trials that failed in hostile words."""
    home = tmp_path_factory.mktemp("ran")
    sections = {**SECTIONS, "study": {**SECTIONS["study"], "name": "s"}}
    (home / "study.yaml").write_text(yaml.safe_dump(sections))
    path = os.pathsep.join([str(driver.site), str(PROJECT)])
    environment = {**os.environ, "TOY_WORDS": WORDS, "PYTHONPATH": path}
    done = driver.run("run", "study.yaml", folder=home, environment=environment)
    assert done.returncode == 0, done.stderr
    assert "report: out/s/report.html" in done.stdout
    return home


@contextmanager
def working_cluster(factory: pytest.TempPathFactory, workers: int = 2) -> Iterator[Any]:
    """Start a Dask cluster whose workers, processes of their own, have the toy plug-ins."""
    distributed = pytest.importorskip(
        "distributed",
        reason="the extra `dask` is not installed",
    )
    site = factory.mktemp("site")
    install_toy(site)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(factory.mktemp("dask"))
        patch.setenv("PYTHONPATH", str(site))
        patch.syspath_prepend(str(site))  # of which a spawned process has a copy
        quiet = {"dashboard_address": ":0", "silence_logs": 50, "memory_limit": None}
        cluster = distributed.LocalCluster(workers, threads_per_worker=1, **quiet)
    with cluster:
        yield cluster


@pytest.fixture(scope="session")
def dask_scheduler(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return the address of a Dask scheduler with two workers."""
    with working_cluster(tmp_path_factory) as cluster:
        yield cluster.scheduler_address
