"""Which Python make takes, and what it says where it can take none."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAKE = shutil.which("make")

PLACEHOLDER = 'echo "manager: python: command not found" >&2; exit 127'
GOOD = f'exec "{sys.executable}" "$@"'
BEFORE = f'exec "{sys.executable}" -c "import sys; {{}}; exec(sys.argv[1])" "$2"'
OLD = BEFORE.format("sys.version_info = (3, 10, 4, 'final', 0)")
NO_PIP = BEFORE.format(
    "import importlib.util as u; find = u.find_spec; "
    "u.find_spec = lambda name: None if name == 'ensurepip' else find(name)"
)

pytestmark = pytest.mark.skipif(MAKE is None, reason="there is no make here")


def put(folder: Path, name: str, line: str) -> Path:
    """Put a Python there: the line of shell that it is."""
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{line}\n")
    path.chmod(0o755)
    return path


def ask(folders: list[Path], tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Ask make what it would do for an environment, with these folders and few tools on PATH."""
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "head").symlink_to(shutil.which("head"))
    settings = {"PATH": os.pathsep.join(map(str, [*folders, tools]))}  # nothing of an outer make
    command = [MAKE, "--dry-run", f"VENV={tmp_path}/v", f"{tmp_path}/v/locked", *arguments]
    return subprocess.run(command, cwd=ROOT, env=settings, capture_output=True, text=True)


def test_the_newest_that_runs_is_taken(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    put(first, "python3.13", PLACEHOLDER)
    put(first, "python3.12", OLD)
    put(first, "python3", GOOD)
    wanted = put(second, "python3.13", GOOD)
    done = ask([first, second], tmp_path)
    assert done.stdout.startswith(f"{wanted} -m venv --clear {tmp_path}/v\n"), done.stderr


def test_another_is_taken_by_name(tmp_path: Path) -> None:
    put(tmp_path / "first", "python3.13", GOOD)
    wanted = put(tmp_path / "second", "mine", GOOD)
    done = ask([tmp_path / "first"], tmp_path, f"PYTHON={wanted}")
    assert done.stdout.startswith(f"{wanted} -m venv")


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (PLACEHOLDER, "python3: manager: python: command not found"),
        (OLD, "python3: is Python 3.10"),
        (NO_PIP, "python3: has no ensurepip (Debian: apt install python3-venv)"),
        (None, "there is no python3 on PATH"),
    ],
)
def test_where_there_is_none_it_is_one_line(tmp_path: Path, command: str | None, said: str) -> None:
    folder = tmp_path / "first"
    if command is not None:
        put(folder, "python3", command)
    done = ask([folder], tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "expected Python 3.11 to 3.14 with venv and pip" in done.stderr
    assert said in done.stderr
