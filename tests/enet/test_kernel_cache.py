from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tuner_plugins.enet.kernel_cache import drop_stale

INNER = "from numba import njit\n@njit(cache=True)\ndef inner(x):\n    return x + {}\n"
OUTER = """
from numba import njit
from kernels.inner import inner
@njit(cache=True)
def outer(x):
    return inner(x)
"""
CALL = """
import sys
from pathlib import Path
from tuner_plugins.enet.kernel_cache import drop_stale
sys.path.insert(0, "")
if sys.argv[1] == "drop":
    drop_stale(Path("kernels"))
from kernels.outer import outer
print(outer(1))
"""


@pytest.fixture
def package(tmp_path: Path) -> Path:
    folder = tmp_path / "kernels"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "inner.py").write_text(INNER.format(1))
    (folder / "outer.py").write_text(OUTER)
    return folder


def call(package: Path, what: str) -> str:
    settings = {key: value for key, value in os.environ.items() if key != "NUMBA_CACHE_DIR"}
    done = subprocess.run(
        [sys.executable, "-c", CALL, what],
        cwd=package.parent,
        env=settings,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def test_a_changed_kernel_reaches_those_that_call_it(package):
    assert call(package, "drop") == "2"
    (package / "inner.py").write_text(INNER.format(10))
    assert call(package, "leave") == "2", "Numba keeps caches true by itself now: drop this module"
    assert call(package, "drop") == "11"


def test_nothing_is_dropped_that_is_true(package):
    assert drop_stale(package)
    compiled = package / "__pycache__" / "outer.nbc"
    compiled.touch()
    assert not drop_stale(package)
    assert compiled.exists()
    (package / "inner.py").write_text(INNER.format(10))
    assert drop_stale(package)
    assert not compiled.exists()
    assert sorted(path.name for path in compiled.parent.iterdir()) == ["kernels.sha256"]
