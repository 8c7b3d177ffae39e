"""Servers that tests start for themselves."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

PASSWORD = "S3cretPG"


@contextlib.contextmanager
def running_postgres() -> Iterator[tuple[str, Callable[[], object]]]:
    """Run a PostgreSQL server of our own; return its address, and what kills and restarts it.

    Skips where it is not installed.
    """
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    initdb = shutil.which("initdb") or (str(found[-1]) if found else None)
    if initdb is None:
        pytest.skip("no PostgreSQL server here (apt-get install postgresql)")
    if importlib.util.find_spec("psycopg") is None:
        pytest.skip("no driver of PostgreSQL here (pip install 'psycopg[binary]')")
    programs = Path(initdb).resolve().parent
    user = "postgres" if os.getuid() == 0 else None  # the server refuses to run as root
    with tempfile.TemporaryDirectory() as folder, socket.socket() as probe:
        if user:
            shutil.chown(folder, user)
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        data, secret = f"{folder}/data", Path(folder) / "password"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)
        command = [str(programs / "initdb"), "-D", data, "-U", "tuner", "--auth=scram-sha-256"]
        quiet = {"check": True, "user": user, "cwd": folder, "stdout": subprocess.DEVNULL}
        subprocess.run([*command, f"--pwfile={secret}", "--no-sync", "-E", "UTF8"], **quiet)
        options = f"-F -k {folder} -p {port} -c listen_addresses=127.0.0.1"
        control = [str(programs / "pg_ctl"), "-D", data, "-w", "-l", f"{folder}/log"]
        start = [*control, "-o", options, "-t", "120", "start"]
        subprocess.run(start, **quiet)
        try:
            url = f"postgresql+psycopg://tuner:{PASSWORD}@127.0.0.1:{port}/postgres"

            def restart() -> None:
                first = psutil.Process(int(Path(data, "postmaster.pid").read_text().split()[0]))
                family = [first, *first.children()]
                for process in family:
                    with contextlib.suppress(psutil.NoSuchProcess):
                        process.kill()
                psutil.wait_procs(family)
                subprocess.run(start, **quiet, stderr=subprocess.DEVNULL)  # of the old one's file

            yield url, restart
        finally:
            subprocess.run([*control, "-m", "immediate", "stop"], **quiet)
