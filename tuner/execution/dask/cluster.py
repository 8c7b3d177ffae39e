"""Where Dask workers come from: a scheduler that runs, or one of our own and a command."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Protocol

from distributed import LocalCluster
from distributed.security import Security
from distributed.utils import get_ip, get_ip_interface

from tuner.execution.folders import working_folder
from tuner.execution.subprocesses import guarded, kill_group
from tuner.execution.text import last_lines

CLOSE = 10.0

STARTS = 3
"""How often the command that starts workers is started, should it end with all of them."""

LOOPBACK = "127.0.0.1"

WORKER = (sys.executable, "-m", "distributed.cli.dask_worker")
ONE_SLOT = ("--nthreads", "1", "--no-dashboard")
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
    """

    address: str
    security: Security | None

    def why_gone(self) -> str | None:
        """Return why no worker will come any more; None while some may."""

    def close(self) -> None:
        """End what is our own."""


class RunningCluster:
    """A scheduler of somebody else's."""

    security: Security | None = None

    def __init__(self, address: str) -> None:
        self.address = address

    def why_gone(self) -> str | None:
        """Return None: workers may come at any time."""
        return None

    def close(self) -> None:
        """Do nothing."""


class OwnCluster:
    """A scheduler in this process and workers that end with it.

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
    """

    def __init__(
        self,
        workers: int,
        memory: str = "0",
        launcher: Sequence[str] = (),
        host: str = LOOPBACK,
    ) -> None:
        self.security: Security | None = Security.temporary()
        self._scheduler = LocalCluster(
            n_workers=0,
            host=host,
            dashboard_address=f"{LOOPBACK}:0",
            silence_logs=logging.CRITICAL,
            security=self.security,
        )
        self.address = str(self._scheduler.scheduler_address)
        self._stack = ExitStack()
        self._folder = self._stack.enter_context(working_folder())  # which all hosts see
        self._log = self._folder / "workers.log"
        sizes = ("--nworkers", str(workers), "--memory-limit", memory)
        certificates = self._certificates()
        self._command = [*launcher, *WORKER, self.address, *ONE_SLOT, *sizes, *certificates]
        self._starts = 0
        self._start()

    def _start(self) -> None:
        self._starts += 1
        with self._log.open("wb") as log:
            # In a session of its own: Ctrl-C is for the coordinator alone.
            self._process = subprocess.Popen(
                guarded(self._command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **ENVIRONMENT},
                start_new_session=True,
            )

    def _certificates(self) -> list[str]:
        """Write what workers need to be trusted; return their options."""
        assert self.security is not None
        options = []
        told = self.security.get_tls_config_for_role("worker")
        for name in ("ca_file", "cert", "key"):
            path = self._folder / name
            path.write_text(told[name])
            options += [f"--tls-{name.replace('_', '-')}", str(path)]
        return options

    def why_gone(self) -> str | None:
        """Return the last words of the command that starts workers, once it has ended for good."""
        if self._process.poll() is None:
            return None
        if self._starts < STARTS:
            self._start()
            return None
        said = last_lines(self._log.read_bytes()).rpartition("\n")[2]
        return said or f"exit code {self._process.returncode}"

    def close(self) -> None:
        """End workers and scheduler."""
        kill_group(self._process)
        self._scheduler.close(timeout=CLOSE)
        self._stack.close()


def own_ip(interface: str | None) -> str:
    """Return the address under which other hosts reach this one."""
    return str(get_ip_interface(interface) if interface else get_ip())
