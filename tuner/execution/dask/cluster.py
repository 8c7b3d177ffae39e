"""Where Dask workers come from: a scheduler that runs, or one of our own and a command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Protocol

from distributed.security import Security
from distributed.utils import get_ip, get_ip_interface

from tuner.execution.folders import sweep, working_folder
from tuner.execution.subprocesses import guarded, kill_group
from tuner.execution.text import last_lines
from tuner.plugin import InputError
from tuner.plugin.words import how_ended

PATIENCE = 60.0
"""Seconds in which a scheduler of our own must have started."""

LOOK = 0.05

ENDING = 3.0
"""Seconds in which trials of workers that were killed must have ended."""

AGAIN = "run the same command again, which goes on"

STARTS = 3
"""How often the command that starts workers is started, should it end with all of them."""

LOOPBACK = "127.0.0.1"

SCHEDULER = (sys.executable, "-m", "distributed.cli.dask_scheduler")
WORKER = (sys.executable, "-m", "distributed.cli.dask_worker")
NO_PAGES = ("--no-dashboard", "--dashboard-address", f"{LOOPBACK}:0")
"""Dask serves some pages without a dashboard too, by default to every host."""

ONE_SLOT = ("--nthreads", "1", *NO_PAGES)
ENVIRONMENT = {
    f"DASK_DISTRIBUTED__WORKER__MEMORY__{part}": "False"
    for part in ("TARGET", "SPILL", "PAUSE", "TERMINATE")
}
"""The executor looks after memory: Dask sees the worker, and not the trial below it."""


class Cluster(Protocol):
    """A scheduler.

    Attributes
    ----------
    address : str
    security : Security or None
        What a client connects with; None for what Dask's own configuration says.
    remedy : str
        What a user does once the scheduler is gone.
    """

    address: str
    security: Security | None
    remedy: str

    def why_gone(self) -> str | None:
        """Return why no worker will come any more; None while some may."""

    def close(self) -> None:
        """End what is our own."""


class RunningCluster:
    """A scheduler of somebody else's."""

    security: Security | None = None
    remedy = "start it again, and its workers, then the same command goes on"

    def __init__(self, address: str) -> None:
        self.address = address

    def why_gone(self) -> str | None:
        """Return None: workers may come at any time."""
        return None

    def close(self) -> None:
        """Do nothing."""


class OwnCluster:
    """A scheduler and workers, processes of their own that end with this one.

    They talk by TLS, with a certificate of their own: whoever reaches a Dask scheduler runs code.

    Parameters
    ----------
    workers : int
        Dask workers that the command starts, a process each.
    memory : str
        What Dask allows each; 0 for no limit.
    launcher : sequence of str
        What starts the command, such as ``srun``, on as many hosts.
    host : str
        Where the scheduler listens.

    Raises
    ------
    InputError
        Where the scheduler does not start.
    """

    remedy = AGAIN

    def __init__(
        self,
        workers: int,
        memory: str = "0",
        launcher: Sequence[str] = (),
        host: str = LOOPBACK,
    ) -> None:
        self.security: Security | None = Security.temporary()
        self._stack = ExitStack()
        self._folder = self._stack.enter_context(working_folder())  # which all hosts see
        certificates = self._certificates()
        try:
            self.address = self._start_scheduler(host, certificates)
        except BaseException:
            self._stack.close()
            raise
        self._log = self._folder / "workers.log"
        sizes = ("--nworkers", str(workers), "--memory-limit", memory)
        here = ("--host", host) if host == LOOPBACK else ()  # no port is open to other hosts
        self._command = [*launcher, *WORKER, self.address, *ONE_SLOT, *here, *sizes, *certificates]
        self._starts = 0
        self._start_workers()

    def _start_scheduler(self, host: str, certificates: Sequence[str]) -> str:
        """Start the scheduler, whose work is not to be the coordinator's; return its address."""
        told, log = self._folder / "scheduler.json", self._folder / "scheduler.log"
        where = ("--host", host, "--port", "0", "--scheduler-file", str(told))
        process = _start([*SCHEDULER, *where, *NO_PAGES, *certificates], log)
        self._stack.callback(kill_group, process)
        why, until = f"it took over {PATIENCE:g} s", time.monotonic() + PATIENCE
        while time.monotonic() < until:
            with suppress(OSError, ValueError):  # it is not there, or half of it is
                return str(json.loads(told.read_text())["address"])
            if process.poll() is not None:
                why = _last_line(log, process)
                break
            time.sleep(LOOK)
        raise InputError(f"a Dask scheduler on {host} does not start: {why}")

    def _start_workers(self) -> None:
        self._starts += 1
        self._workers = _start(self._command, self._log)

    def _certificates(self) -> list[str]:
        """Write what makes scheduler and workers trust each other; return their options."""
        assert self.security is not None
        options = []
        told = self.security.get_tls_config_for_role("worker")  # it is one for all roles
        for name in ("ca_file", "cert", "key"):
            path = self._folder / name
            path.write_text(told[name])
            options += [f"--tls-{name.replace('_', '-')}", str(path)]
        return options

    def why_gone(self) -> str | None:
        """Return the last words of the command that starts workers, once it has ended for good."""
        if self._workers.poll() is None:
            return None
        if self._starts < STARTS:
            self._start_workers()
            return None
        return _last_line(self._log, self._workers)

    def close(self) -> None:
        """End workers and scheduler; remove what their trials leave."""
        kill_group(self._workers)
        self._stack.close()
        sweep(Path.cwd(), ENDING)


def _start(command: list[str], log: Path) -> subprocess.Popen[bytes]:
    """Start a command that ends with this process; what it says goes to `log`."""
    with log.open("wb") as output:
        # In a session of its own: Ctrl-C is for the coordinator alone.
        return subprocess.Popen(
            guarded(command),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **ENVIRONMENT},
            start_new_session=True,
        )


def _last_line(log: Path, process: subprocess.Popen[bytes]) -> str:
    """Return the last thing that a process of `_start` said, or how it ended."""
    said = last_lines(log.read_bytes()).rpartition("\n")[2]
    return said or how_ended(process.returncode)


def own_ip(interface: str | None) -> str:
    """Return the address under which other hosts reach this one."""
    return str(get_ip_interface(interface) if interface else get_ip())
