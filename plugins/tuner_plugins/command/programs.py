"""Programs run by a small process beside this one (`tuner_plugins.command.host`)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuner.execution.text import last_lines
from tuner.plugin import RunError
from tuner.plugin.words import how_ended


class ProgramError(RunError):
    """A program that failed; the message says how it ended and what it wrote last."""


@dataclass(frozen=True)
class Call:
    """A program to run.

    Attributes
    ----------
    program : str
        Where it lies.
    words : list of str
        Its command line, the name first.
    folder : Path
        Its working folder.
    environment : mapping
        All of its environment.
    stdout : str or None
        The file that its standard output goes to; None to keep the end of it.
    """

    program: str
    words: Sequence[str]
    folder: Path
    environment: Mapping[str, str]
    stdout: str | None = os.devnull


@dataclass(frozen=True)
class Finished:
    """A program that has ended by itself.

    Attributes
    ----------
    code : int
        Its exit code; negative for a signal.
    seconds, cpu_seconds, waited : float
        Wall time; CPU time of all its processes; time that it was ready to run and did not.
    memory : int
        Bytes that its processes held at their peak: the larger of the kernel's figure for any one
        of them and of the sum over all, looked at 20 times a second.
    stdout, stderr : str
        The end of what it wrote.
    stdout_bytes : int
        How much it wrote there in all.
    """

    code: int
    seconds: float
    cpu_seconds: float
    waited: float
    memory: int
    stdout: str
    stdout_bytes: int
    stderr: str


class Programs:
    """Runs one program at a time. What a program leaves behind ends with it."""

    def __init__(self) -> None:
        self._host: subprocess.Popen[str] | None = None
        self._sent: Mapping[str, str] | None = None
        self._cores = _cores()

    def start(self) -> None:
        """Start the process that runs programs, unless it is there."""
        if self._host is None:
            self._host = subprocess.Popen(
                [sys.executable, "-m", "tuner_plugins.command.host"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )

    def run(self, call: Call) -> Finished:
        """Run a program to its end, on the cores that this thread is on.

        Raises
        ------
        ProgramError
            Where it cannot be started, or the process that runs it is gone.
        """
        self.start()
        host = self._host
        assert host is not None
        assert host.stdin is not None
        assert host.stdout is not None
        asked: dict[str, Any] = {
            "program": call.program,
            "words": list(call.words),
            "folder": str(call.folder),
            "environment": None if call.environment == self._sent else dict(call.environment),
            "stdout": call.stdout,
            "cores": _cores(),
            "all_cores": self._cores,
        }
        self._sent = call.environment
        try:
            host.stdin.write(json.dumps(asked) + "\n")
            host.stdin.flush()
            answer = host.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            self.close()
            raise ProgramError(f"{call.words[0]}: the process that ran it is gone: it was killed")
        plain = json.loads(answer)
        if "trouble" in plain:
            raise ProgramError(f"{call.words[0]} cannot be started: {plain['trouble']}")
        return Finished(**plain)

    def close(self) -> None:
        """End the process, and whatever it runs."""
        if self._host is not None:
            host, self._host, self._sent = self._host, None, None
            assert host.stdin is not None
            assert host.stdout is not None
            host.stdout.close()
            try:
                host.stdin.close()
            except BrokenPipeError:
                pass
            host.wait()


def require_success(name: str, found: Finished, codes: Sequence[int] = (0,)) -> None:
    """Raise `ProgramError` where a program ended otherwise than with one of some exit codes."""
    if found.code in codes:
        return
    how, told = how_ended(found.code), last_lines(found.stderr or found.stdout)
    raise ProgramError(f"{name} ended with {how}" + (f":\n{told}" if told else ""))


def _cores() -> list[int]:
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
