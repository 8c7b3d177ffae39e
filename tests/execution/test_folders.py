"""Working folders: gone with their work, and swept up where a crash kept them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from tuner.execution.folders import WorkersFolder, sweep, working_folder

HOLD = """
import time
from tuner.execution.folders import working_folder
with working_folder() as folder:
    (folder / "script.py").write_text("")
    print(folder, flush=True)
    time.sleep(60)
"""


def test_a_folder_is_gone_after_its_work(workplace: Path) -> None:
    with working_folder() as folder:
        assert folder.parent == workplace
        (folder / "a").write_text("")
    assert list(workplace.iterdir()) == []


def test_what_a_killed_process_left_is_swept_up_and_nothing_else(workplace: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", HOLD], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    left = Path(process.stdout.readline().strip())
    others = [workplace / name for name in (".tuner-elsewhere-1-x", ".tuner-notes", "data")]
    for other in others:
        other.mkdir()
    sweep(workplace)
    assert left.is_dir(), "its process is alive"
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    until = time.monotonic() + 5
    while left.is_dir() and time.monotonic() < until:
        sweep(workplace)
    assert sorted(workplace.iterdir()) == sorted(others)


OWN = """
import time
from tuner.execution.folders import WorkersFolder
print(WorkersFolder().path, flush=True)
time.sleep(60)
"""


def test_the_folders_of_dead_coordinators_are_swept_and_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(
        [sys.executable, "-c", OWN], stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        theirs = Path(process.stdout.readline().strip())
        (tmp_path / "tuner-workers-mine").mkdir()
        (tmp_path / "elsewhere").mkdir()
        (tmp_path / "elsewhere" / "owner.lock").write_text("")
        (tmp_path / "tuner-workers-link").symlink_to("elsewhere")
        folder = WorkersFolder()
        assert theirs.is_dir(), "its process is alive"
        process.kill()
    folder.close()
    folder.close()
    WorkersFolder().close()
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == ["elsewhere", "tuner-workers-link", "tuner-workers-mine"]
    assert (tmp_path / "elsewhere" / "owner.lock").exists()
