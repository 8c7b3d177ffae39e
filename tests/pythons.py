"""Other Pythons, for scripts that promise to run on them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest


def old_python() -> str:
    """Return a Python 3.10, or skip; a version manager's placeholder does not count."""
    folders = [Path(name) for name in os.environ["PATH"].split(os.pathsep)]
    folders += Path.home().glob(".pyenv/versions/3.10*/bin")
    for folder in folders:
        python = folder / "python3.10"
        if not python.exists():
            continue
        found = subprocess.run([python, "-c", "import venv"], capture_output=True, check=False)
        if found.returncode == 0:
            return str(python)
    pytest.skip("no python3.10 on PATH: the same scripts are run by this Python in other tests")
