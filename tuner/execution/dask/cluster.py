"""A scheduler in this process, and Dask workers that a command starts, here or on many hosts."""

from __future__ import annotations

import logging
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from distributed import LocalCluster

from tuner.execution.subprocesses import guarded, kill_group
from tuner.execution.text import last_lines

CLOSE = 10.0

WORKER = (
    *(sys.executable, "-m", "distributed.cli.dask_worker"),
    *("--nthreads", "1", "--memory-limit", "0", "--no-dashboard"),
)
"""One slot a process. Memory is limited by our executor, which sees what a trial has started."""


class OwnCluster:
    """A scheduler in this process and workers that end with it.

    Parameters
    ----------
    workers : int
        Dask workers, a process each.
    """

    def __init__(self, workers: int) -> None:
        self._scheduler = LocalCluster(
            n_workers=0,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            silence_logs=logging.CRITICAL,
        )
        self._folder = tempfile.TemporaryDirectory(prefix="tuner-dask-")
        self._log = Path(self._folder.name) / "workers.log"
        where = ("--nworkers", str(workers), "--local-directory", self._folder.name)
        self._start([*WORKER, self.address, *where])

    def _start(self, command: Sequence[str]) -> None:
        with self._log.open("wb") as log:
            # In a session of its own: Ctrl-C is for the coordinator alone.
            self._process = subprocess.Popen(
                guarded(list(command)),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def address(self) -> str:
        """Where the scheduler listens."""
        return str(self._scheduler.scheduler_address)

    def why_gone(self) -> str | None:
        """Return the last lines of the command that starts workers, once it has ended."""
        if self._process.poll() is None:
            return None
        return last_lines(self._log.read_bytes()) or f"exit code {self._process.returncode}"

    def close(self) -> None:
        """End workers and scheduler."""
        kill_group(self._process)
        self._scheduler.close(timeout=CLOSE)
        self._folder.cleanup()
