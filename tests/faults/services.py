"""Trouble with services: a real MLflow server behind a proxy that drops, delays and denies, and a
PostgreSQL server that restarts in mid-study."""

from __future__ import annotations

import contextlib
import http.client
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

from tests.faults.kills import Killed
from tests.faults.resources import several_coordinators
from tests.faults.toll import Toll
from tests.fork import is_running
from tests.services import running_postgres

FAULTS = ("error", "lost reply", "closed", "slow", "garbage")
SLOW = 1.0
PARENT = "mlflow.parentRunId"
"""Tag of the run of a trial."""


def free_port() -> int:
    """Return a port of this machine that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def mlflow_server(
    folder: Path, port: int, store: str | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Serve a real MLflow store at a port: one below `folder`, or the database `store`."""
    store, files = store or f"sqlite:///{folder}/server.db", f"{folder}/artifacts"
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", store]
    command += ["--artifacts-destination", files, "--host", "127.0.0.1", "--port", str(port)]
    command += ["--workers", "1"]
    with (folder / "server.txt").open("w") as log:
        # Its queue of jobs, which nobody here uses, takes most of its memory and start.
        environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        process = subprocess.Popen(
            command, stdout=log, stderr=log, start_new_session=True, env=environment
        )
    try:
        until = time.monotonic() + 120
        while True:
            try:
                with socket.create_connection(("127.0.0.1", port), 1):
                    break
            except OSError:
                assert process.poll() is None, (folder / "server.txt").read_text()
                assert time.monotonic() < until
                time.sleep(0.2)
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


class Proxy(ThreadingHTTPServer):
    """Passes requests on, but for a share of them that meets a fault of `FAULTS`.

    Attributes
    ----------
    share : float
        Of requests that meet one; 0 lets all pass.
    injected : int
        How many did.
    """

    daemon_threads = True

    def __init__(self, server: int, seed: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.server, self.share, self.injected = server, 0.0, 0
        self._chance = random.Random(seed)
        self._lock = threading.Lock()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def fault(self) -> str | None:
        """Draw what befalls a request."""
        with self._lock:
            if self._chance.random() >= self.share:
                return None
            self.injected += 1
            return self._chance.choice(FAULTS)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Keep quiet of connections that were cut."""


class _Handler(BaseHTTPRequestHandler):
    server: Proxy

    def log_message(self, *_: Any) -> None:
        pass

    def _pass(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        fault = self.server.fault()
        if fault == "closed":
            self.close_connection = True
            return
        if fault == "error":
            self._answer(500, b'{"error_code": "INTERNAL_ERROR", "message": "injected"}')
            return
        if fault == "slow":
            time.sleep(SLOW)
        upstream = http.client.HTTPConnection("127.0.0.1", self.server.server, timeout=60)
        headers = {key: value for key, value in self.headers.items() if key != "Host"}
        upstream.request(self.command, self.path, body, headers)
        reply = upstream.getresponse()
        content = reply.read()
        if fault == "lost reply":  # the store has it, and the client does not know
            self.close_connection = True
        elif fault == "garbage":
            self._answer(200, b"<html>the gateway's login page</html>", "text/html")
        else:
            self._answer(reply.status, content, reply.getheader("Content-Type", "text/plain"))
        upstream.close()

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = _pass

    def _answer(self, status: int, content: bytes, kind: str = "application/json") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def faulty_mlflow_server(folder: Path, seed: int, studies: int) -> Toll:
    """Track studies in a server that fails a third of all requests, and then none."""
    folder = folder / f"mlflow-{seed}"
    folder.mkdir()
    toll, server = Toll(), free_port()
    with mlflow_server(folder, server):
        for number in range(studies):
            proxy = Proxy(server, seed + number)
            uri = f"http://127.0.0.1:{proxy.server_port}"
            name = f"experiment{number}"
            study = Killed(folder / f"study{number}", seed=number, tracking=(uri, name))
            proxy.share = 0.3
            code = study.wait(study.start())  # it ends well, whatever becomes of its tracking
            if code is not None:
                study.check(code, study.trials())
            proxy.share = 0.0
            study.finish()
            study.toll.injected += proxy.injected
            check_store(study, f"http://127.0.0.1:{server}", name)
            proxy.shutdown()
            proxy.server_close()
            toll.add(study.toll)
    return toll


def absent_mlflow_server(folder: Path, seed: int, studies: int) -> Toll:
    """Track studies in a server that is not there, or is killed in mid-study, and comes later."""
    folder = folder / f"absent-{seed}"
    folder.mkdir()
    chance, toll, port = random.Random(seed), Toll(), free_port()
    for number in range(studies):
        name = f"experiment{number}"
        where = (f"http://127.0.0.1:{port}", name)
        study = Killed(folder / f"study{number}", seed=number, tracking=where)
        if number % 2:
            with mlflow_server(folder, port):
                child = study.start()
                time.sleep(chance.uniform(0.5, 4.0))
                study.toll.injected += is_running(child)  # else it had ended before
        else:
            child = study.start()
            study.toll.injected += 1
        code = study.wait(child)
        if code is not None:
            study.check(code, study.trials())
        with mlflow_server(folder, port):
            study.finish()
            check_store(study, *where)
        toll.add(study.toll)
    return toll


def several_on_postgres(folder: Path, seed: int, studies: int) -> Toll:
    """Start one study of a PostgreSQL server from three processes at once."""
    try:
        with running_postgres() as (url, _):
            return several_coordinators(folder, seed, studies, storages=[url])
    except pytest.skip.Exception:
        return Toll()  # there is none here


def restarted_postgres(folder: Path, seed: int, studies: int) -> Toll:
    """Restart PostgreSQL while studies run in it: each ends in one line, and then goes on."""
    chance, toll = random.Random(seed), Toll()
    try:
        with running_postgres() as (url, restart):
            for number in range(studies):
                name = f"study{number}"
                where = folder / f"postgres-{seed}-{number}"
                study = Killed(where, url, seed=seed + number, name=name)
                child = study.start()
                time.sleep(chance.uniform(0.2, 2.0))
                restart()
                code = study.wait(child)
                study.look("PostgreSQL restarted")
                study.toll.injected += code != 0  # else it had ended before
                if code not in (0, 2, None) or "Traceback" in study.said():
                    study.toll.harm("misreported", f"exit code {code}{study.said()}")
                toll.add(study.finish())
    except pytest.skip.Exception:
        return toll  # there is none here
    return toll


def check_store(study: Killed, uri: str, name: str) -> None:
    """Hold a server's runs against the trials: a child each, ended."""
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    found = client.get_experiment_by_name(name)
    runs = client.search_runs([found.experiment_id]) if found else []
    children = {run.data.tags["trial"]: run.info.status for run in runs if PARENT in run.data.tags}
    count = sum(PARENT in run.data.tags for run in runs)
    # as in the storage: `check` holds that to account for trials that failed
    states = {TrialState.COMPLETE: "FINISHED", TrialState.FAIL: "FAILED"}
    wanted = {str(trial.number): states.get(trial.state) for trial in study.trials()}
    wrong = study.toll.harm
    gone = sorted(wanted.keys() - children.keys())
    wrong("lost", f"{study.folder}: {gone}", len(gone))
    wrong("repeated", f"{study.folder}: {sorted(children)}", count - len(children))
    other = {name: state for name, state in children.items() if wanted.get(name) != state}
    wrong("misreported", f"{study.folder}: {other}", len(other))
    ends = {run.info.status for run in runs if PARENT not in run.data.tags}
    wrong("misreported", f"{study.folder}: {ends}", int(ends != {"FINISHED"}))
