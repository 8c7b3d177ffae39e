"""`tuner` commands in forks of a process that has imported what they need, as whole commands are.

A command is started as a shell starts it, in a session, a folder and an environment of its own, but
for the imports, which are most of what it takes. Run as ``python -m tests.driver``: requests and
answers are JSON, one a line.
"""

from __future__ import annotations

import gc
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.fork import end_of, fork_command, preload

PROJECT = Path(__file__).resolve().parents[1]

HANGING = 240.0
"""Seconds after which a command hangs."""


class Driver:
    """The other side: asks the process for commands.

    Attributes
    ----------
    site : Path
        A folder on the commands' path.
    """

    def __init__(self, site: Path) -> None:
        self.site = site
        path = os.pathsep.join([str(site), str(PROJECT)])
        self._outputs = Path(tempfile.mkdtemp(prefix="driver-"))
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.driver"],
            env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def start(
        self,
        *arguments: str,
        folder: Path | None = None,
        environment: Mapping[str, str] = os.environ,
    ) -> Command:
        """Start a command in `folder`, by default the current one."""
        outputs = tempfile.mkdtemp(dir=self._outputs)
        files = [f"{outputs}/out", f"{outputs}/err"]
        asked = {
            "arguments": arguments,
            "folder": str(folder or Path.cwd()),
            "output": files,
            "environment": dict(environment),
        }
        return Command(self, self.ask(asked)["pid"], *map(Path, files))

    def run(
        self,
        *arguments: str,
        folder: Path | None = None,
        environment: Mapping[str, str] = os.environ,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        command = self.start(*arguments, folder=folder, environment=environment)
        out, err = command.communicate()
        assert command.returncode is not None
        return subprocess.CompletedProcess(arguments, command.returncode, out, err)

    def ask(self, asked: Mapping[str, Any]) -> Any:
        """Send a request; return the answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        """End the process."""
        self._process.communicate()
        shutil.rmtree(self._outputs)


@dataclass
class Command:
    """A command that was started; what `subprocess.Popen` offers of it.

    Attributes
    ----------
    returncode : int or None
        Negative for a signal; None while it runs.
    """

    driver: Driver
    pid: int
    stdout: Path
    stderr: Path
    returncode: int | None = None

    def poll(self) -> int | None:
        """Return the exit code; None while it runs."""
        if self.returncode is None:
            self.returncode = self.driver.ask({"ended": self.pid})["code"]
        return self.returncode

    def wait(self, timeout: float = HANGING) -> int:
        """Return the exit code; kill the command where it does not end."""
        until = time.monotonic() + timeout
        while (code := self.poll()) is None:
            if time.monotonic() > until:
                os.killpg(self.pid, signal.SIGKILL)
                raise subprocess.TimeoutExpired(str(self.pid), timeout, self.said(self.stderr))
            time.sleep(0.01)
        return code

    def communicate(self, timeout: float = HANGING) -> tuple[str, str]:
        """Wait; return what it wrote to standard output and to standard error."""
        self.wait(timeout)
        return self.said(self.stdout), self.said(self.stderr)

    def send_signal(self, number: int) -> None:
        """Send the command a signal."""
        os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill the command."""
        self.send_signal(signal.SIGKILL)

    @staticmethod
    def said(path: Path) -> str:
        """Return what has been written so far."""
        return path.read_text() if path.exists() else ""


def _serve() -> None:
    preload()
    gc.freeze()
    for line in sys.stdin:
        asked = json.loads(line)
        if "ended" in asked:
            answer = {"code": end_of(asked["ended"])}
        else:
            asked["folder"] = Path(asked["folder"])
            answer = {"pid": fork_command(*asked.pop("arguments"), **asked)}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    _serve()
