"""The C kernels under AddressSanitizer and UndefinedBehaviorSanitizer.

The kernels are loaded into Python as ever, so that what is checked is also the sizes that Python
tells them; NumPy's arrays come from the allocator that the sanitizer watches. The long run is
``pytest -m slow --timeout=7200 tests/enet/test_sanitized.py``.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tuner_plugins.enet import kernels
from tuner_plugins.native.machine import NATIVE_FLAG, find_compiler

from tests.fuzzing import FUZZ_SECONDS, cpu_seconds
from tests.sanitizers import SANITIZERS, compile_watched, sanitizing_compiler

ROOT = Path(__file__).resolve().parents[2]
PROBE = "import ctypes; ctypes.CDLL(None).__asan_init"


FLAGS = ["-O1", "-g", "-shared", *SANITIZERS]


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compile the kernels with sanitizers; skip where there are none."""
    place = tmp_path_factory.mktemp("sanitized")
    compiler, folder = sanitizing_compiler(place), Path(kernels.__file__).parent
    sources = [str(folder / name) for part in kernels.PARTS for name in part]
    path = place / "kernels.so"
    words = [*compiler, *kernels.FLAGS, *FLAGS, *sources, "-o", str(path), "-lm"]
    compile_watched(words, (NATIVE_FLAG, ""))
    return path


@pytest.fixture(scope="session")
def environment() -> dict[str, str]:
    """Return the variables under which Python runs watched; skip where that can't be."""
    words = [*(find_compiler() or ["cc"]), "-print-file-name=libasan.so"]
    settings = {
        **os.environ,
        "LD_PRELOAD": subprocess.run(words, capture_output=True, text=True).stdout.strip(),
        "ASAN_OPTIONS": "detect_leaks=0",  # Python itself leaves some
        "PYTHONMALLOC": "malloc",
        "PYTHONPATH": str(ROOT),
    }
    words = [sys.executable, "-c", PROBE]
    if subprocess.run(words, env=settings, capture_output=True).returncode:
        pytest.skip("the sanitizers cannot be loaded into Python")
    return settings


def drive(library: Path, environment: dict[str, str], seed: int, rounds: int) -> None:
    program = Path(__file__).with_name("drive_kernels.py")
    words = [sys.executable, program, library, str(seed), str(rounds)]
    done = subprocess.run(words, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"seed {seed}: {done.stderr[:3000]}"


def test_kernels_stay_within_bounds_for_any_size_and_value(
    library: Path, environment: dict[str, str]
) -> None:
    drive(library, environment, seed=1, rounds=150)


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_kernels_stay_within_bounds_for_long(library: Path, environment: dict[str, str]) -> None:
    begin, seed = cpu_seconds(), 2
    while cpu_seconds() - begin < FUZZ_SECONDS:
        drive(library, environment, seed, rounds=1000)
        seed += 1
