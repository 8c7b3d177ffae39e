"""The loader of the C kernels: what it keeps, what it trusts, and what it does without."""

from __future__ import annotations

import os
import shlex
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from tuner_plugins import kernel_folder
from tuner_plugins.native import machine
from tuner_plugins.nmf.kernels import build

needs_compiler = pytest.mark.skipif(
    machine.find_compiler() is None, reason="no C compiler here: there is nothing to load"
)

KERNELS = Path(build.__file__).parent
C_FILES = sorted(str(path.relative_to(KERNELS)) for path in KERNELS.rglob("*.c"))
HEADERS = sorted(KERNELS.rglob("*.h"))

PROBE = """
import sys, numpy
from tuner_plugins.nmf.kernels.build import load_kernels
from tuner_plugins.nmf.model.prox_tv import prox_tv1d
print(prox_tv1d(numpy.array([0.0, 0, 6, 6]), 1.0).tolist(), "numba" in sys.modules)
print(getattr(load_kernels(), "_name", None))
"""


def probe(**environment):
    """Run the operator in a fresh process: return what it printed, and where its kernels lie."""
    done = start(**environment)
    out, err = done.communicate(timeout=120)
    assert done.returncode == 0, err
    assert err == ""
    answer, library = out.splitlines()
    return answer, library


@pytest.fixture(scope="module")
def quick_compiler(tmp_path_factory):
    """Return the compiler under a name that compiles plainly, in a fifth of the time."""
    path = tmp_path_factory.mktemp("compiler") / "plainly"
    words = shlex.join(machine.find_compiler())
    path.write_text(f'#!/bin/sh\nexec {words} "$@" -O0\n')
    path.chmod(0o700)
    return str(path)


def start(**environment):
    settings = {k: v for k, v in os.environ.items() if k not in ("CC", "TUNER_NATIVE")}
    settings |= {k: str(v) for k, v in environment.items()}
    return subprocess.Popen(
        [sys.executable, "-c", PROBE],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=settings,
    )


def libraries(cache: Path):
    return sorted(cache.glob("tuner-kernels/*.so"))


@pytest.fixture
def fresh(monkeypatch, tmp_path):
    """Point the loader, in this process, to an empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir(mode=0o700)
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.delenv("TUNER_NATIVE", raising=False)
    build._OPENED.clear()
    yield tmp_path
    build._OPENED.clear()


@pytest.fixture
def plainly(fresh, monkeypatch, quick_compiler):
    """As `fresh`, and what is compiled is compiled plainly."""
    monkeypatch.setenv("CC", quick_compiler)
    return fresh


@needs_compiler
def test_compiled_once_kept_and_found_again(tmp_path):
    answer, _ = probe(XDG_CACHE_HOME=tmp_path)
    assert answer == "[0.5, 0.5, 5.5, 5.5] False"
    (library,) = libraries(tmp_path)
    assert stat.S_IMODE(library.stat().st_mode) == 0o700
    assert stat.S_IMODE(library.parent.stat().st_mode) == 0o700
    made = library.stat().st_mtime_ns
    answer, opened = probe(XDG_CACHE_HOME=tmp_path)
    assert opened == str(library)
    assert library.stat().st_mtime_ns == made


@needs_compiler
def test_first_runs_at_once_do_not_clash(tmp_path, quick_compiler):
    runs = [start(XDG_CACHE_HOME=tmp_path, CC=quick_compiler) for _ in range(3)]
    outputs = [run.communicate(timeout=120) for run in runs]
    assert [run.returncode for run in runs] == [0, 0, 0]
    assert {out.splitlines()[0] for out, _ in outputs} == {"[0.5, 0.5, 5.5, 5.5] False"}
    assert [path.suffix for path in libraries(tmp_path)] == [".so"]


@pytest.mark.parametrize(
    "environment",
    [
        {"PATH": "/nonexistent"},
        {"TUNER_NATIVE": "0"},
        {"CC": "false"},
        {"CC": "true"},  # succeeds and writes nothing
    ],
)
def test_without_a_working_compiler_python_steps_in(tmp_path, environment):
    answer, library = probe(XDG_CACHE_HOME=tmp_path, **environment)
    assert answer == "[0.5, 0.5, 5.5, 5.5] False"
    assert library == "None"
    assert libraries(tmp_path) == []


@needs_compiler
def test_without_a_home_kernels_are_kept_in_a_private_temporary_folder(tmp_path, quick_compiler):
    settings = {"XDG_CACHE_HOME": "/proc/nowhere", "TMPDIR": tmp_path, "CC": quick_compiler}
    answer, library = probe(**settings)
    assert answer == "[0.5, 0.5, 5.5, 5.5] False"
    (kept,) = tmp_path.glob("tuner-kernels-*/*.so")
    assert library.startswith(str(kept.parent))
    assert probe(**settings)[1] == str(kept)


@needs_compiler
def test_a_read_only_cache_still_works(plainly, monkeypatch):
    def refuse(*args, **kwargs):
        raise PermissionError(30, "Read-only file system")

    (folder,) = kernel_folder.kernel_folders()
    make = tempfile.mkdtemp
    monkeypatch.setattr(
        tempfile,
        "mkdtemp",
        lambda suffix=None, prefix=None, dir=None: (
            refuse() if dir == folder else make(suffix, prefix, dir)
        ),
    )
    assert build.load_kernels() is not None
    assert libraries(plainly) == []


@needs_compiler
def test_nowhere_to_write_at_all(fresh, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nowhere")
    monkeypatch.setattr(tempfile, "tempdir", "/proc/nowhere")
    assert build.load_kernels() is None


@needs_compiler
def test_a_folder_that_others_may_write_is_not_trusted(plainly):
    folder = plainly / "tuner-kernels"
    folder.mkdir()
    folder.chmod(0o777)
    (private,) = kernel_folder.kernel_folders()
    assert build.load_kernels() is not None
    assert len(list(Path(private).glob("*.so"))) == 1
    assert list(folder.iterdir()) == []


@needs_compiler
def test_a_library_that_others_may_write_is_replaced(plainly):
    build.load_kernels()
    (library,) = libraries(plainly)
    library.chmod(0o777)
    before = library.stat().st_ino
    build._OPENED.clear()
    assert build.load_kernels() is not None
    assert library.stat().st_ino != before
    assert stat.S_IMODE(library.stat().st_mode) == 0o700


@needs_compiler
def test_another_users_library_is_not_opened(fresh, monkeypatch):
    (folder,) = kernel_folder.kernel_folders()
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    assert kernel_folder.kernel_folders() == []
    assert machine.open_trusted(os.path.join(folder, "x.so")) is None


@needs_compiler
def test_a_spoilt_library_is_replaced(tmp_path, quick_compiler):
    probe(XDG_CACHE_HOME=tmp_path, CC=quick_compiler)
    (library,) = libraries(tmp_path)
    library.write_bytes(b"\x7fELF spoilt")
    answer, opened = probe(XDG_CACHE_HOME=tmp_path, CC=quick_compiler)
    assert answer == "[0.5, 0.5, 5.5, 5.5] False"
    assert opened.startswith(str(library.parent))
    assert library.stat().st_size > 1_000


@needs_compiler
def test_a_script_carries_its_own_source(fresh, monkeypatch):
    files = {
        "own/one.h": "#define ONE 1",
        "one.c": '#include "own/one.h"\nint one(void) {return ONE;}',
    }
    monkeypatch.setattr(build, "KERNEL_FILES", files)
    monkeypatch.setattr(build, "PARTS", (("one.c",),))
    library = build.load_kernels()
    assert library is not None
    assert library.one() == 1


def test_every_file_is_carried_and_compiled():
    files = build.KERNEL_FILES
    assert list(files) == sorted([*C_FILES, *(str(path.relative_to(KERNELS)) for path in HEADERS)])
    compiled = [name for part in (*build.PARTS, *build.QUICK_PARTS) for name in part]
    assert sorted(set(compiled)) == C_FILES


@needs_compiler
@pytest.mark.parametrize("name", C_FILES)
def test_each_file_compiles_alone_without_a_warning(name):
    """As an editor sees it: no flag but those of the house, for any processor and for wide ones."""
    compiler = machine.find_compiler()
    variants = [[], ["-march=native"], ["-DPROX_PLAIN"], ["-march=skylake-avx512"]]
    if os.uname().machine != "x86_64":
        variants = variants[:-1]
    for extra in variants:
        done = subprocess.run(
            [*compiler, "-fsyntax-only", *build.FLAGS, *extra, "-Wall", "-Wextra", KERNELS / name],
            capture_output=True,
            text=True,
        )
        assert (done.returncode, done.stderr) == (0, "")


@needs_compiler
@pytest.mark.parametrize("path", HEADERS, ids=lambda path: path.name)
def test_each_header_stands_alone_and_may_come_twice(path, tmp_path):
    source = tmp_path / "twice.c"
    source.write_text(f'#include "{path}"\n#include "{path}"\n')
    compiler = machine.find_compiler()
    done = subprocess.run(
        [
            *compiler,
            "-fsyntax-only",
            *build.FLAGS,
            "-Wall",
            "-Wextra",
            "-Wno-unused-function",
            source,
        ],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    words = path.read_text().split("*/", 1)[1].split()
    assert words[0] == "#ifndef"
    assert words[2:4] == ["#define", words[1]]
    assert words[-1] == "#endif"


@needs_compiler
@pytest.mark.parametrize("quick", [False, True])
def test_each_library_compiles_without_a_warning_for_any_processor(tmp_path, quick):
    compiler = machine.find_compiler()
    parts, flags = build.kernel_parts(quick)
    for extra in ([], ["-march=native"]):
        sources = []
        for number, names in enumerate(parts):
            sources.append(tmp_path / f"part{number}.c")
            sources[-1].write_text("".join(f'#include "{KERNELS / name}"\n' for name in names))
        done = subprocess.run(
            [*compiler, *flags, *extra, "-Wall", "-Wextra", "-shared", "-Wl,--no-undefined"]
            + [*sources, "-lm", "-o", tmp_path / "x.so"],
            capture_output=True,
            text=True,
        )
        assert (done.returncode, done.stderr) == (0, "")


@needs_compiler
def test_code_for_any_processor_gives_the_same(fresh, monkeypatch):
    """No -march=native, as where the system does not name its processor."""
    from tuner_plugins.nmf.model import prox_tv

    from tests.nmf.model.test_prox_tv import SHAPES, signals

    def solve_all():
        prox_tv._c_prox.cache_clear()
        build._OPENED.clear()
        rng = np.random.default_rng(0)
        weights = rng.uniform(0.5, 20, 150_000)
        for shape in SHAPES:
            y = signals(shape, 150_000, rng)
            for lam in (0.3, 20.0, 2000.0):
                yield y, prox_tv.prox_tv1d(y, lam), prox_tv.prox_tv1d(y, lam, weights)

    before = list(solve_all())
    scope = build._scope("build.py", build.BUILD)
    scope["processor"] = lambda: ""
    monkeypatch.setattr(build, "_scope", lambda *text: scope)
    for (y, plain, weighted), (_, *expected) in zip(solve_all(), before, strict=True):
        for got, wanted in zip((plain, weighted), expected, strict=True):
            assert np.abs(got - wanted).max() <= 1e-12 * np.abs(y).max()
    prox_tv._c_prox.cache_clear()
