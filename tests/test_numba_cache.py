"""Numba's cache in a read-only installation, with and without a home."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import tuner_plugins

CALL = """
import os, sys
if sys.argv[1] == "numba first":
    import numba
import numpy
from tuner_plugins.perturbseq.inference import kernels
import tuner_plugins
steps = numpy.zeros((1, 2), dtype=numpy.int64)
kernels.count_reached(numpy.ones((1, 1)), numpy.ones((1, 4)), steps)
print(steps[0, 1], os.environ.get("NUMBA_CACHE_DIR", ""))
print(tuner_plugins.__file__)
"""


@pytest.fixture
def installation(tmp_path: Path) -> Path:
    """Copy the plug-ins so that no cache can be made beside them, not even by root.

    A file stands where each ``__pycache__`` would: an open of what is below it fails with an
    OSError, as it does on a read-only file system.
    """
    site = tmp_path / "site"
    source = Path(tuner_plugins.__file__).parent
    shutil.copytree(source, site / source.name, ignore=shutil.ignore_patterns("__pycache__"))
    for folder in [site / source.name, *(site / source.name).rglob("*/")]:
        (folder / "__pycache__").touch()
    return site


def call(site: Path, how: str = "", **environment: object) -> str:
    """Import and call a kernel in a fresh process; return where NUMBA_CACHE_DIR then points."""
    settings = {key: value for key, value in os.environ.items() if key != "NUMBA_CACHE_DIR"}
    settings |= {"PYTHONPATH": str(site)} | {k: str(v) for k, v in environment.items()}
    done = subprocess.run(
        [sys.executable, "-c", CALL, how], env=settings, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    answer, origin = done.stdout.splitlines()
    assert origin == str(site / "tuner_plugins" / "__init__.py")
    number, _, folder = answer.partition(" ")
    assert number == "4"
    return folder


def kernels(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.rglob("*.nbc")}


def test_without_a_home_kernels_go_to_a_private_folder(installation: Path, tmp_path: Path) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir(mode=0o700)
    nowhere = {"HOME": "/proc/nowhere", "XDG_CACHE_HOME": "/proc/nowhere", "TMPDIR": temporary}
    folder = Path(call(installation, **nowhere))
    assert folder.parent == temporary / f"tuner-kernels-{os.geteuid()}"
    made = kernels(folder)
    assert len(made) == 1
    assert Path(call(installation, "numba first", **nowhere)) == folder
    assert kernels(folder) == made, "the second process compiled again"


def test_other_sources_have_another_folder(installation: Path, tmp_path: Path) -> None:
    first = Path(call(installation, XDG_CACHE_HOME=tmp_path))
    assert first.parent == tmp_path / "tuner-kernels"
    with (installation / "tuner_plugins" / "enet" / "penalty.py").open("a") as file:
        file.write("# another\n")
    second = Path(call(installation, XDG_CACHE_HOME=tmp_path))
    assert second.parent == first.parent
    assert second != first


def test_a_folder_that_the_user_has_set_is_kept(installation: Path, tmp_path: Path) -> None:
    chosen = tmp_path / "chosen"
    assert call(installation, NUMBA_CACHE_DIR=chosen, XDG_CACHE_HOME="/proc/nowhere") == str(chosen)
    assert len(kernels(chosen)) == 1


def test_where_numba_can_write_nothing_is_set(installation: Path, tmp_path: Path) -> None:
    for folder in installation.rglob("__pycache__"):
        folder.unlink()
    assert call(installation, XDG_CACHE_HOME=tmp_path / "unused") == ""
    assert len(kernels(installation)) == 1
    assert not (tmp_path / "unused").exists()
