"""One timed measurement at a time on a core, and whole processes on the clock."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.faults.oracle import is_locked
from tests.search.test_loop import Harness
from tuner.config.load import load_config
from tuner.measure.cores import Cores, lock_folder, open_lock
from tuner.plugin import InputError
from tuner.search.clocks import FIXED_COSTS

HOLD = """
import sys, time
from pathlib import Path
from tuner.measure.cores import Cores
with Cores(Path(sys.argv[1]), 999).reserve():
    print("held", flush=True)
    time.sleep(float(sys.argv[2]))
"""

FORK = """
import os, sys, time
from pathlib import Path
from tuner.measure.cores import Cores
with Cores(Path(sys.argv[1]), 999).reserve():
    if (child := os.fork()) == 0:
        time.sleep(60)
        os._exit(0)
print(child, flush=True)
"""


def hold(folder: Path, seconds: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", HOLD, str(folder), str(seconds)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_who_wants_a_busy_core_waits(tmp_path: Path) -> None:
    before = os.sched_getaffinity(0)
    with hold(tmp_path, 0.5):
        began = time.monotonic()
        with Cores(tmp_path, 1).reserve():
            assert time.monotonic() - began > 0.2
            assert len(os.sched_getaffinity(0)) == 1
    assert os.sched_getaffinity(0) == before


def test_the_wait_lasts_until_the_holder_ends(tmp_path: Path) -> None:
    process = hold(tmp_path, 60)
    began = time.monotonic()
    with pytest.raises(TimeoutError), Impatient(0.3), Cores(tmp_path, 1).reserve():
        pytest.fail("a busy core was taken")
    assert time.monotonic() - began >= 0.3
    process.kill()
    process.communicate()
    with Cores(tmp_path, 1).reserve():
        assert time.monotonic() - began < 30


def test_a_forked_child_does_not_keep_the_core(tmp_path: Path) -> None:
    command = [sys.executable, "-c", FORK, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        try:
            assert process.wait(20) == 0
            with Impatient(5), Cores(tmp_path, 999).reserve():
                assert psutil.pid_exists(child)
        finally:
            os.kill(child, signal.SIGKILL)


def test_no_link_is_followed_to_a_lock(tmp_path: Path) -> None:
    (tmp_path / "theirs").write_text("precious")
    (tmp_path / "a.lock").symlink_to("theirs")
    with pytest.raises(OSError, match="symbolic links"):
        open_lock(tmp_path / "a.lock")
    assert (tmp_path / "theirs").read_text() == "precious"


def test_who_needs_all_cores_is_not_passed_by(tmp_path: Path) -> None:
    holder = hold(tmp_path, 60)
    code = HOLD.replace("999", "1")
    try:
        waiting = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path), "0"])
        deadline = time.monotonic() + 20
        while not is_locked(tmp_path / "turn.lock") and time.monotonic() < deadline:
            time.sleep(0.02)
        single = subprocess.Popen([sys.executable, "-c", code, str(tmp_path), "0"])
    finally:
        holder.kill()
        holder.communicate()
    assert waiting.wait(20) == 0
    assert single.wait(20) == 0


def test_the_folder_of_locks_is_private_and_no_link(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUNER_LOCKS", str(tmp_path))
    folder = lock_folder()
    assert folder is not None
    assert folder.stat().st_mode & 0o777 == 0o700
    assert lock_folder() == folder
    folder.chmod(0o755)
    assert lock_folder() is None
    folder.rmdir()
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    folder.symlink_to("elsewhere")
    assert lock_folder() is None
    folder.unlink()
    folder.write_text("")
    assert lock_folder() is None


def test_without_a_variable_every_process_finds_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TUNER_LOCKS")
    monkeypatch.setenv("TMPDIR", "/elsewhere")
    found = lock_folder()
    assert found is not None
    assert found.parent in (Path("/dev/shm"), Path(tempfile.gettempdir()))


@pytest.mark.usefixtures("toy")
def test_two_studies_at_once_time_on_different_cores(
    write_config: Callable[..., Path], workplace: Path
) -> None:
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("one core: the studies take turns")
    studies = []
    for name in ("one", "two"):
        write_config(
            f"{name}.yaml",
            plugin="toy",
            study={"trials": 40, "timeout": "60s", "sampler": "random"},
            search_space={"x": {"low": -5, "high": 5}},
            data={"seconds": 0.3},
            timing={"finalists": 0, "nulls": 0, "fixed_cost_repeats": 0},
            tracking={"enabled": False},
        )
        command = [sys.executable, "-m", "tuner", "run", f"{name}.yaml"]
        command += ["--set", f"study.storage=journal:///{name}.log"]
        studies.append(psutil.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
    seen = 0
    try:
        deadline = time.monotonic() + 60
        while seen < 3 and time.monotonic() < deadline:
            began = time.monotonic()
            one, two, again = (_core_of(studies[index]) for index in (0, 1, 0))
            if None not in (one, two) and one == again and time.monotonic() < began + 0.1:
                assert one != two
                seen += 1
            time.sleep(0.05)
    finally:
        for study in studies:
            for process in [*study.children(recursive=True), study]:
                process.kill()
            study.wait()
    assert seen == 3, "the studies never timed at once"


def _core_of(study: psutil.Popen) -> int | None:
    """Return the core that a worker of the study is pinned to; None where none is now."""
    for worker in study.children(recursive=True):
        try:
            if len(cores := worker.cpu_affinity()) == 1:
                return cores[0]
        except psutil.NoSuchProcess:
            continue
    return None


class Impatient:
    """Raises `TimeoutError` in this thread after some seconds."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def __enter__(self) -> None:
        def ring(number: int, frame: object) -> None:
            raise TimeoutError

        self.before = signal.signal(signal.SIGALRM, ring)
        signal.setitimer(signal.ITIMER_REAL, self.seconds)

    def __exit__(self, *error: object) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, self.before)


@pytest.mark.usefixtures("toy")
def test_whole_scripts_are_timed_in_the_search_on_request(
    write_config: Callable[..., Path],
) -> None:
    path = write_config(
        plugin="toy",
        study={"trials": 3, "sampler": "random"},
        search_space={"x": {"low": 1, "high": 5}},
        data={"seconds": 0.02, "start_up": 0.1},
        timing={"mode": "process"},
    )
    study = Harness(path)
    study.run()
    baseline, *trials = (record.cases[0] for record in study.records)
    assert baseline.seconds > 0.1 + 5 * 0.02
    for case in trials:
        assert 0.12 < case.seconds < baseline.seconds
        assert case.run_seconds is None
        assert set(case.metrics) >= {"fit", "speedup", "score"}
    assert json.loads(study.study.user_attrs[FIXED_COSTS])["seconds"] == {}
    assert [p for p in path.parent.iterdir() if p.name.startswith(".tuner-")] == []


def test_whole_scripts_need_a_command(
    write_config: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, toy: Path
) -> None:
    from tuner_toy import Toy

    from tuner.plugin import Plugin

    monkeypatch.setattr(Toy, "command", Plugin.command)
    path = write_config(plugin="toy", timing={"mode": "process"})
    with pytest.raises(InputError, match="timing.mode: plug-in 'toy' gives no command to time"):
        load_config(path)
