"""A study in a real PostgreSQL, tracked by a real MLflow server: talked to, killed, restarted."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from mlflow import MlflowClient
from sqlalchemy.engine import make_url

from tests.driver import Driver
from tests.faults.services import free_port, mlflow_server
from tests.services import running_postgres
from tuner.config.load import load_config
from tuner.run import requests
from tuner.run.status import status_of
from tuner.search.storage import open_storage, read_study

pytestmark = [pytest.mark.usefixtures("toy", "undrawn"), pytest.mark.slow]


@pytest.fixture(scope="module")
def postgres() -> Iterator[tuple[str, Callable[[], object]]]:
    """Return a server's address as users write it, without a driver, and what restarts it."""
    with running_postgres() as (url, restart):
        yield url.replace("postgresql+psycopg://", "postgresql://"), restart


def sections(url: str, name: str, **more: object) -> dict[str, object]:
    return {
        "plugin": "toy",
        "study": {"name": name, "trials": 40, "sampler": "random", "storage": url},
        "data": {"targets": [2.0], "seconds": 0.03, "log": "log.txt"},
        "search_space": {"x": {}, "size": {"low": 1, "high": 2}},
        "objective": "fit",
        "workers": 2,
        "timing": {"finalists": 0, "nulls": 0, "repeats": 1},
        "tracking": {"enabled": False},
        **more,
    }


def measured() -> Counter[float]:
    """Return how often each x was run."""
    lines = map(json.loads, Path("log.txt").read_text().splitlines())
    return Counter(line["x"] for line in lines)


def test_a_study_in_postgresql_is_talked_to(
    driver: Driver, postgres: tuple[str, Callable[[], object]], write_config: Callable[..., Path]
) -> None:
    data = {"targets": [2.0], "seconds": 0.2, "log": "log.txt"}  # it is not to end before it hears
    path = write_config(**sections(postgres[0], "talked", data=data))
    config = load_config(path)
    assert "tuner run begins with it" in requests.enqueue(config, ["x=1.5", "size=1"])
    command = driver.start("run", path.name)
    while status_of(config).counts.get("complete", 0) < 5:
        assert command.poll() is None, command.said(command.stderr)
    for x in (2.5, 77.0):
        read_study(config).enqueue_trial({"x": x, "size": 2})
    while not any(trial.params.get("x") == 2.5 for trial in read_study(config).get_trials()):
        assert command.poll() is None, command.said(command.stderr)
    assert f"asked process {command.pid}" in requests.stop(path)
    _, err = command.communicate()
    assert command.returncode == 130, err
    assert status_of(config).state == "interrupted"
    done = driver.run("run", path.name, "--json")
    assert done.returncode == 0, done.stderr
    trials = read_study(config).get_trials()
    states = Counter(trial.state.name for trial in trials)
    assert states == {"COMPLETE": 40, "FAIL": 1}
    assert trials[1].params == {"x": 1.5, "size": 1}
    ran = measured()
    best = json.loads(done.stdout)["best"]["params"]["x"]  # it is drawn at the end
    assert {x: count for x, count in ran.items() if count > 1}.keys() <= {0.0, best}


def test_an_operation_waits_for_a_server_that_restarts(
    postgres: tuple[str, Callable[[], object]],
) -> None:
    url, restart = postgres
    storage = open_storage(url)
    before = len(storage.get_all_studies())
    thread = threading.Thread(target=restart)
    thread.start()
    where = make_url(url)
    with contextlib.suppress(ConnectionRefusedError):
        while thread.is_alive():
            socket.create_connection((where.host, where.port)).close()
    assert len(storage.get_all_studies()) == before
    thread.join()
    assert len(storage.get_all_studies()) == before  # its connections are those of before


def test_servers_that_are_killed_in_mid_study_cost_nothing(
    driver: Driver, postgres: tuple[str, Callable[[], object]], write_config: Callable[..., Path]
) -> None:
    """PostgreSQL, which holds the tables of both, is killed thrice, and the server for good."""
    url, restart = postgres
    port, folder = free_port(), Path.cwd()
    tracked = {"uri": f"http://127.0.0.1:{port}", "experiment": "killed"}
    path = write_config(**sections(url, "killed", tracking=tracked))
    config = load_config(path)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE DATABASE mlflow")  # it cannot share one with Optuna
    store = (
        url.replace("postgresql://", "postgresql+psycopg://").removesuffix("postgres") + "mlflow"
    )

    def stored() -> int:
        return len(
            [trial for trial in read_study(config).get_trials() if trial.state.is_finished()]
        )

    codes: list[int | None] = []
    with mlflow_server(folder, port, store) as server:
        command = driver.start("run", path.name)
        for enough in (4, 10, 16):
            while not Path("log.txt").exists() or stored() < enough:
                if command.poll() is not None:  # cut off within a write: the same command goes on
                    codes.append(command.returncode)
                    assert "Traceback" not in command.said(command.stderr)
                    command = driver.start("run", path.name)
                time.sleep(0.05)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGKILL)
            restart()
    codes.append(command.wait())
    assert set(codes) <= {0, 2}
    assert list(Path("out/unsent").glob("*"))  # what the server did not live to take
    with mlflow_server(folder, port, store):
        done = driver.run("run", path.name, "--json")
        assert done.returncode == 0, done.stderr
        result = json.loads(done.stdout)
        assert (result["trials"]["complete"], result["tracking"]["problems"]) == (40, [])
        client = MlflowClient(tracked["uri"])
        experiment = client.get_experiment_by_name("killed")
        assert experiment is not None
        runs = client.search_runs([experiment.experiment_id])
        numbers = Counter(r.data.tags["trial"] for r in runs if "mlflow.parentRunId" in r.data.tags)
        assert numbers == Counter(str(number) for number in range(40))
        assert {run.info.status for run in runs} == {"FINISHED"}
    trials = read_study(config).get_trials()
    assert Counter(trial.state.name for trial in trials) == {"COMPLETE": 40}
    assert len({tuple(trial.params.items()) for trial in trials}) == 40
    again = {x: count - 1 for x, count in measured().items() if count > 1}
    best = result["best"]["params"]["x"]
    lost = sum(count for x, count in again.items() if x not in (0.0, best))
    assert lost <= 2 * codes.count(2)  # what was under way when a run ended is run again
    assert not list(Path("out/unsent").glob("*"))
