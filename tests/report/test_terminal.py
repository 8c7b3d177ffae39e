"""What cannot be written, because nobody reads it or there is no room, ends no study."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest

pytestmark = pytest.mark.usefixtures("toy", "undrawn")

FULL = os.open("/dev/full", os.O_WRONLY)


def unread() -> int:
    """Return the end of a pipe whose reader is gone."""
    reader, writer = os.pipe()
    os.close(reader)
    return writer


def tuner(*arguments: str, **streams: int) -> subprocess.CompletedProcess[str]:
    given = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams}
    command = [sys.executable, "-m", "tuner", *arguments]
    return subprocess.run(command, text=True, check=False, **given)


@pytest.fixture
def config(write_config: Callable[..., Path]) -> str:
    path = write_config(
        plugin="toy",
        study={"trials": 3, "sampler": "random"},
        data={"targets": [2.0]},
        search_space={"x": {"low": 1, "high": 3}},
        timing={"finalists": 0, "fixed_cost_repeats": 0, "repeats": 1},
        tracking={"enabled": False},
    )
    return path.name


@pytest.mark.parametrize("gone", ["stderr is full", "both are unread"])
def test_a_study_that_nobody_hears_is_run_to_its_end(config: str, gone: str) -> None:
    pipe = unread()
    streams = {"stderr": FULL} if gone == "stderr is full" else {"stdout": pipe, "stderr": pipe}
    done = tuner("run", config, **streams)
    os.close(pipe)
    assert done.returncode == 0
    study = optuna.load_study(study_name="study", storage="sqlite:///tuner.db")
    assert [trial.state.name for trial in study.trials] == ["COMPLETE"] * 3
    assert Path("out/study/script/study.py").exists()


def test_the_exit_code_is_that_of_what_was_done() -> None:
    pipe = unread()
    assert tuner("validate", "absent.yaml", stderr=FULL).returncode == 2
    assert tuner("validate", "absent.yaml", stderr=pipe).returncode == 2
    done = tuner("plugins", "--json", stdout=pipe)
    assert (done.returncode, done.stderr) == (0, "")
    os.close(pipe)
    done = tuner("plugins", "--json", stdout=FULL)  # there the answer is missing
    assert done.returncode == 2
    assert done.stderr.startswith("tuner: cannot write: No space left on device")
