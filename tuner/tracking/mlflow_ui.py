"""Serve MLflow's pages for a store: starts the server on 127.0.0.1, and ends it whole."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import webbrowser
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import FrameType

from tuner.config.addresses import masked
from tuner.execution.subprocesses import guarded
from tuner.plugin import InputError
from tuner.plugin.words import how_ended
from tuner.tracking.mlflow_uri import (
    ARTIFACT_FOLDER,
    DEFAULT_PORT,
    absolute_uri,
    base_url,
    check_uri,
    sole_creator,
    sqlite_path,
)

HOST = "127.0.0.1"
_START_SECONDS, _STOP_SECONDS = 90.0, 5.0
_SIGNALS = (signal.SIGTERM, signal.SIGHUP)


def serve(
    uri: str,
    landing: str = "",
    port: int | None = None,
    open_browser: bool = True,
    links: Mapping[str, str] | None = None,
) -> None:
    """Show a store's pages until Ctrl-C (or SIGTERM, SIGHUP); print where they are.

    Parameters
    ----------
    uri : str
        The MLflow store. Where it is a server, its own pages are opened and nothing is started.
    landing : str
        Fragment (``#/...``) of the page to open first, one of `mlflow_pages.study_links`.
    port : int, optional
        Default: 5000, or any that is free where it is taken.
    open_browser : bool
        Whether to open the landing page in the user's browser.
    links : mapping, optional
        Title to fragment of further pages, to be printed.

    Raises
    ------
    InputError
        Where there is no such store, the port is taken, or the server does not start.
    """
    check_uri(uri)
    base = base_url(uri)
    if base is not None:
        _announce(base, landing, links or {}, open_browser)
        return
    with _signals_as_interrupt(), contextlib.suppress(KeyboardInterrupt):
        with running_server(uri, port) as (base, process):
            _announce(base, landing, links or {}, open_browser)
            print("Ctrl-C ends the server.", flush=True)
            process.wait()
        raise InputError(f"the MLflow server ended by itself, with {how_ended(process.returncode)}")


@contextlib.contextmanager
def running_server(
    uri: str, port: int | None = None
) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Run an MLflow server for a database store; return its address and its process."""
    path = sqlite_path(uri)
    if path is not None and not path.exists():
        raise InputError(f"no MLflow store at {path} yet: run a study first (tuner run CONFIG)")
    if path is not None:
        try:
            with sole_creator(path):  # MLflow's server would try for minutes
                pass
        except (sqlite3.Error, TimeoutError) as error:
            raise InputError(f"cannot show {path}: {error}") from error
    chosen = _free_port(port)
    folder = Path(ARTIFACT_FOLDER).resolve()
    command = [
        *(sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(chosen)),
        *("--artifacts-destination", folder.as_uri()),
        *("--workers", "1"),
    ]
    environment = {
        **os.environ,
        "MLFLOW_BACKEND_STORE_URI": absolute_uri(uri),  # not an argument: those anybody can read
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # 2 processes instead of 10
    }
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            guarded(command),  # MLflow's server would outlive a `kill -9` of ours
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # its own process group: workers end with it
        )
        try:
            base = f"http://{HOST}:{chosen}/"
            if not _wait_until_up(process, base):
                log.seek(0)
                lines = log.read().decode(errors="replace").strip().splitlines()
                raise InputError(
                    f"the MLflow server for {masked(uri)} did not start: "
                    + masked(lines[-1] if lines else "silent")
                )
            yield base, process
        finally:
            _end_group(process)


def _announce(base: str, landing: str, links: Mapping[str, str], open_browser: bool) -> None:
    print(f"MLflow: {base}{landing}")
    width = max(map(len, links), default=0)
    for title, fragment in links.items():
        print(f"  {title:<{width}}  {base}{fragment}")
    sys.stdout.flush()
    if open_browser:
        webbrowser.open(base + landing)


def _free_port(wanted: int | None) -> int:
    candidates = (wanted,) if wanted else (DEFAULT_PORT, 0)
    for candidate in candidates:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind((HOST, candidate))
                return int(probe.getsockname()[1])
    raise InputError(f"port {wanted} is taken: leave out --port, or name another")


def _wait_until_up(process: subprocess.Popen[bytes], base: str) -> bool:
    """Poll the server's health page; return whether it answered before it ended or time ran out."""
    # no proxy: the user's may not know this machine
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + _START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(urllib.error.URLError, OSError):
            with opener.open(f"{base}health", timeout=2) as answer:
                return bool(answer.status == 200)
        time.sleep(0.1)
    return False


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """End the server and its workers, firmly after a while."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, sign)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_STOP_SECONDS)


@contextlib.contextmanager
def _signals_as_interrupt() -> Iterator[None]:
    """Let SIGTERM and a closed terminal end the server as Ctrl-C does."""

    def interrupt(signum: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {sign: signal.signal(sign, interrupt) for sign in _SIGNALS}
    try:
        yield
    finally:
        for sign, handler in before.items():
            signal.signal(sign, handler)
