"""What a run leaves behind: no password anywhere, every trial though its text has no encoding."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import optuna
import psutil
import pytest

from tests.driver import Driver
from tests.processes import command_of
from tests.services import PASSWORD, running_postgres

pytestmark = pytest.mark.usefixtures("toy", "undrawn")


Tuner = Callable[..., tuple[int, str, set[str]]]


@pytest.fixture
def tuner(driver: Driver) -> Tuner:
    """Return what runs a command; it returns the exit code, all it said, and what `ps` showed."""

    def run(*arguments: str, **environment: str) -> tuple[int, str, set[str]]:
        lines: set[str] = set()
        command = driver.start(*arguments, environment={**os.environ, **environment})
        while command.poll() is None:
            try:
                for child in psutil.Process(command.pid).children(recursive=True):
                    lines.add(" ".join(command_of(child)))
            except psutil.Error:
                pass
            time.sleep(0.2)
        out, err = command.communicate()
        return command.wait(), err + out, lines

    return run


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    with running_postgres() as (url, _):
        yield url


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize("written", [PASSWORD, "${SECRET}"])
def test_no_password_is_left_anywhere(
    tuner: Tuner, postgres: str, write_config: Callable[..., Path], written: str
) -> None:
    path = write_config(
        plugin="toy",
        study={
            "name": f"s{len(written)}",
            "trials": 4,
            "storage": postgres.replace(PASSWORD, written),
        },
        data={"targets": [1.0]},
        search_space={"x": {"low": -5, "high": 5}},
        timing={"final_time": 0.2},
    )
    code, said, lines = tuner("run", path.name, SECRET=PASSWORD)
    assert code == 0, said
    said += tuner("export", path.name, "-o", "script.py", SECRET=PASSWORD)[1]
    said += tuner("best", path.name, SECRET="wrong")[1]
    assert "script.py: trial" in said
    assert "Traceback" not in said
    assert PASSWORD not in said
    assert any("tuner.execution.worker" in line for line in lines)
    assert PASSWORD not in "".join(lines)
    for file in Path().rglob("*"):
        if file.is_file() and file.name != path.name:
            assert PASSWORD.encode() not in file.read_bytes(), file
    storage = optuna.storages.RDBStorage(postgres)
    assert PASSWORD not in str([vars(study) for study in storage.get_all_studies()])


@pytest.mark.usefixtures("store")
def test_a_trial_whose_error_has_no_encoding_is_tracked_like_any_other(
    tuner: Tuner,
    write_config: Callable[..., Path],
) -> None:
    path = write_config(
        plugin="toy",
        study={"trials": 5, "sampler": "grid"},
        data={"targets": [1.0]},
        search_space={"x": [1.0, 2.0, 3.0], "mode": ["fine", "raise"]},
        timing={"finalists": 0, "fixed_cost_repeats": 0, "repeats": 1},
    )
    code, said, _ = tuner("run", path.name, "--json", TOY_WORDS=r"no file caf\udce9.bw \x1b[2J")
    assert code == 0, said
    result = json.loads(said.splitlines()[-1])
    assert result["trials"]["failed"] >= 1
    assert result["tracking"]["problems"] == []
    assert not Path("out/unsent").exists() or not list(Path("out/unsent").iterdir())
    study = optuna.load_study(study_name="study", storage="sqlite:///tuner.db")
    kept = [trial.user_attrs["tuner:record"] for trial in study.get_trials()]
    assert any("no file caf\\\\xe9.bw \\ufffd" in text for text in kept)


@pytest.fixture
def small_disk(
    write_config: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """Change to a disk of 4 MB of its own."""
    disk = Path("disk").absolute()
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4M", "tmpfs", str(disk)]
    if os.getuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a small disk takes root; its twin in test_harness limits files")
    monkeypatch.chdir(disk)
    yield disk
    os.chdir("/")
    subprocess.run(["umount", str(disk)], check=True)


def fill(disk: Path) -> Path:
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as stream:
        for size in (65536, 4096, 1):
            try:
                while stream.write(b"x" * size):
                    pass
            except OSError:
                continue
    return filler


@pytest.mark.parametrize("storage", ["sqlite:///tuner.db", "journal:///tuner.log"])
def test_a_full_disk_is_one_line_and_nothing_is_lost(
    tuner: Tuner, small_disk: Path, storage: str
) -> None:
    sections = {
        "plugin": "toy",
        "study": {"trials": 3, "storage": storage, "sampler": "random"},
        "data": {"targets": [1.0]},
        "search_space": {"x": {"low": -5, "high": 5}},
        "timing": {"finalists": 0, "fixed_cost_repeats": 0, "repeats": 1},
        "tracking": {"enabled": False},
    }
    path = small_disk / "study.yaml"
    path.write_text(json.dumps(sections))
    assert tuner("run", path.name)[0] == 0
    filler = fill(small_disk)
    code, said, _ = tuner("run", path.name, "--trials", "40")
    assert code == 2, said
    assert "Traceback" not in said
    last = said.splitlines()[-1]
    assert last.startswith("tuner: ")
    assert "space" in last or "full" in last
    assert last.endswith("no trial that was told is lost")
    filler.unlink()
    code, said, _ = tuner("run", path.name, "--trials", "6", "--json")
    assert code == 0, said
    assert json.loads(said.splitlines()[-1])["trials"]["complete"] >= 6
