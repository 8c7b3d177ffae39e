"""Runs one `tuner` command after the other in forks of itself, which saves each the imports.

Run as ``python -m tests.faults.driver``: a JSON object a line in and out. In: ``folder``,
``environment``, ``arguments`` and ``timeout``; out: ``code``, or None where it hung and was killed.
The command's output is in the folder, in ``stdout`` and ``stderr``.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[2]


class Driver:
    """The other side: asks the process for a command at a time."""

    def __init__(self, site: Path) -> None:
        path = os.pathsep.join([str(site), str(PROJECT)])
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.driver"],
            env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(
        self, folder: Path, environment: Mapping[str, str], *arguments: str, timeout: float = 120
    ) -> int | None:
        """Run a command; return its exit code, negative for a signal, None where it hung."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        asked = {
            "folder": str(folder),
            "environment": dict(environment),
            "arguments": arguments,
            "timeout": timeout,
        }
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        code: int | None = json.loads(self._process.stdout.readline())["code"]
        return code

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


def _command(asked: Mapping[str, Any]) -> None:
    """Be the command, in a session of its own."""
    os.setsid()
    os.chdir(asked["folder"])
    os.environ.update(asked["environment"])
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC
        os.dup2(os.open(os.devnull if name == "stdin" else name, flags, 0o600), descriptor)
    import tempfile

    from tuner.cli import main

    tempfile.tempdir = None
    sys.argv = ["tuner", *asked["arguments"]]
    main()


def _serve() -> None:
    import matplotlib.pyplot  # noqa: F401
    import optuna.visualization.matplotlib  # noqa: F401

    import tuner.run.printout
    import tuner.run.session  # noqa: F401

    gc.freeze()
    for line in sys.stdin:
        asked = json.loads(line)
        child = os.fork()
        if child == 0:
            code = 1
            try:
                _command(asked)
                code = 0
            except SystemExit as ended:
                code = int(ended.code or 0)
            except BaseException:  # noqa: BLE001 - the test looks for it
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
        print(json.dumps({"code": _wait(child, asked["timeout"])}), flush=True)


def _wait(child: int, timeout: float) -> int | None:
    until = time.monotonic() + timeout
    while time.monotonic() < until:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.02)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


if __name__ == "__main__":
    _serve()
