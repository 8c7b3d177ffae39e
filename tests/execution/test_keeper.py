"""A keeper ends what its worker leaves, says how it ended, and bounds what it writes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tuner.execution.keeper import KEPT_BYTES, Tail
from tuner.execution.subprocesses import end_kept, how_it_ended, spawn

WORKER = """
import os, signal, subprocess, sys, time
def main(descriptor, parent):
    {body}
"""

LEAVE = """
    if os.fork() == 0:
        os.setsid()
        if os.fork():
            os._exit(0)
        os.execve(sys.executable, [sys.executable, '-S', '-c', {code!r}], {{}})
    while not os.path.exists('child'):
        time.sleep(0.01)
"""

CHILD = "import os, time; open('part', 'w').write(str(os.getpid())); os.rename('part', 'child'); "
CHILD += "time.sleep(60)"

Keep = Callable[[str], subprocess.Popen[bytes]]


@pytest.fixture
def keep(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> Keep:
    """Return a function that starts a worker of some lines under a keeper."""
    monkeypatch.setenv("PYTHONPATH", str(workplace))

    def _keep(body: str) -> subprocess.Popen[bytes]:
        Path("worker.py").write_text(WORKER.format(body=body.strip()))
        with open("log", "a+b") as log:
            process, connection = spawn("worker", log, kept=True)
        connection.close()
        return process

    return _keep


def child() -> psutil.Process:
    until = time.monotonic() + 60
    while not Path("child").exists():
        assert time.monotonic() < until
        time.sleep(0.01)
    return psutil.Process(int(Path("child").read_text()))


def gone(process: psutil.Process) -> bool:
    return bool(psutil.wait_procs([process], timeout=20)[0])


@pytest.mark.parametrize(
    ("end", "how"),
    [
        ("return", "exited with code 0"),
        ("os._exit(3)", "exited with code 3"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "killed by signal 9 (SIGKILL)"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "killed by signal 11 (SIGSEGV)"),
        ("os.kill(os.getpid(), signal.SIGRTMIN + 3)", "killed by signal 37"),
    ],
)
def test_it_ends_as_the_worker_does_and_with_all_that_is_left(
    keep: Keep, end: str, how: str
) -> None:
    process = keep(LEAVE.format(code=CHILD) + f"    {end}")
    assert how_it_ended(process, 60) == how
    assert not psutil.pid_exists(int(Path("child").read_text()))


def test_it_ends_all_when_it_is_told_to(keep: Keep) -> None:
    process = keep(LEAVE.format(code=CHILD) + "    signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
                   "    time.sleep(60)")  # fmt: skip
    left = child()
    end_kept(process, "NAME=value")
    assert gone(left)


def test_where_it_was_killed_a_mark_tells_what_is_left(
    keep: Keep, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NAME", "of this test")
    code = CHILD
    process = keep(LEAVE.format(code=code).replace("{}", "os.environ") + "    time.sleep(60)")
    left = child()
    process.kill()
    end_kept(process, "NAME=of this test")
    assert gone(left)


def test_it_ends_all_when_its_parent_is_killed(workplace: Path) -> None:
    Path("worker.py").write_text(
        WORKER.format(body=(LEAVE.format(code=CHILD) + "    time.sleep(60)").strip())
    )
    program = (
        "import time\n"
        "from tuner.execution.subprocesses import spawn\n"
        "with open('log', 'a+b') as log:\n"
        "    spawn('worker', log, kept=True)\n"
        "time.sleep(60)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(workplace)}
    with subprocess.Popen([sys.executable, "-c", program], env=environment) as parent:
        left = child()
        parent.send_signal(signal.SIGKILL)
    assert gone(left)


def test_only_the_end_of_an_output_is_kept(keep: Keep) -> None:
    process = keep("for n in range(100_000): print(n, 'x' * 90, flush=True)")
    assert how_it_ended(process, 120) == "exited with code 0"
    kept = Path("log").read_bytes()
    assert KEPT_BYTES <= len(kept) <= 2 * KEPT_BYTES
    assert kept.splitlines()[-1].startswith(b"99999 ")


def test_a_file_that_was_emptied_meanwhile_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with path.open("a+b") as file:
        tail = Tail(file.fileno())
        tail.write(b"a" * 2 * KEPT_BYTES)
        path.write_bytes(b"")
        tail.write(b"new")
        assert path.read_bytes() == b"new"
        for _ in range(5):
            tail.write(b"b" * KEPT_BYTES)
        assert set(path.read_bytes()) == set(b"b")
        assert path.stat().st_size <= 2 * KEPT_BYTES
