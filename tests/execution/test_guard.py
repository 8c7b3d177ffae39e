"""A guarded command ends as the command does."""

from __future__ import annotations

import signal
import subprocess

import pytest

from tuner.execution.subprocesses import guarded


@pytest.mark.parametrize(
    ("text", "code"),
    [("exit 0", 0), ("exit 3", 3), ("kill -9 $$", -signal.SIGKILL), ("kill -11 $$", -11)],
)
def test_a_guarded_command_ends_as_the_command_does(text: str, code: int) -> None:
    assert subprocess.call(guarded(["/bin/sh", "-c", text]), start_new_session=True) == code
