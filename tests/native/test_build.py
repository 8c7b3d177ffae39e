"""C sources as a library: what is kept, what is trusted, and when there is none."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from tuner_plugins.kernel_folder import kernel_folders
from tuner_plugins.native import build, machine

# What the callers do without one is tested everywhere: test_plain, test_penalty.
pytestmark = pytest.mark.skipif(
    machine.find_compiler() is None, reason="no C compiler here: there is nothing to build"
)

FILES = {
    "own/one.h": "#define ONE 1\n",
    "one.c": '#include "own/one.h"\nint one(void) {return ONE;}',
}
PARTS, FLAGS = (("one.c",),), ("-O0", "-fPIC")

PROBE = f"""
from tuner_plugins.native.build import open_library
library = open_library("test", {FILES!r}, {PARTS!r}, {FLAGS!r})
print(library and library.one(), getattr(library, "_name", None))
"""


def start(**environment: object) -> subprocess.Popen[str]:
    settings = {k: v for k, v in os.environ.items() if k not in ("CC", "TUNER_NATIVE")}
    return subprocess.Popen(
        [sys.executable, "-c", PROBE],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=settings | {k: str(v) for k, v in environment.items()},
    )


def probe(**environment: object) -> list[str]:
    """Open the library in a fresh process: return what it answers, and its path."""
    done = start(**environment)
    out, err = done.communicate(timeout=120)
    assert (done.returncode, err) == (0, "")
    return out.split()


def libraries(cache: Path) -> list[Path]:
    return sorted(cache.glob("tuner-kernels/*"))


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Point the loader, in this process, to an empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir(mode=0o700)
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.delenv("TUNER_NATIVE", raising=False)
    return tmp_path


def opened() -> object:
    return build.open_library("test", FILES, PARTS, FLAGS)


def test_compiled_once_kept_and_found_again(tmp_path):
    assert probe(XDG_CACHE_HOME=tmp_path)[0] == "1"
    (library,) = libraries(tmp_path)
    assert stat.S_IMODE(library.stat().st_mode) == 0o700
    made = library.stat().st_mtime_ns
    assert probe(XDG_CACHE_HOME=tmp_path) == ["1", str(library)]
    assert library.stat().st_mtime_ns == made


def test_first_runs_at_once_do_not_clash(tmp_path):
    runs = [start(XDG_CACHE_HOME=tmp_path) for _ in range(3)]
    assert {run.communicate(timeout=120)[0].split()[0] for run in runs} == {"1"}
    assert [path.suffix for path in libraries(tmp_path)] == [".so"]


@pytest.mark.parametrize(
    "environment",
    [{"PATH": "/nonexistent"}, {"TUNER_NATIVE": "0"}, {"CC": "false"}, {"CC": "true"}],
)
def test_without_a_working_compiler_there_is_no_library(tmp_path, environment):
    assert probe(XDG_CACHE_HOME=tmp_path, **environment) == ["None", "None"]
    assert libraries(tmp_path) == []


def test_without_a_home_it_is_kept_in_a_private_temporary_folder(tmp_path):
    nowhere = {"XDG_CACHE_HOME": "/proc/nowhere", "TMPDIR": tmp_path}
    assert probe(**nowhere)[0] == "1"
    (kept,) = tmp_path.glob("tuner-kernels-*/*")
    assert probe(**nowhere) == ["1", str(kept)]


def test_a_cache_that_cannot_be_written_is_done_without(fresh, monkeypatch):
    (folder,) = kernel_folders()
    make = tempfile.mkdtemp

    def refuse(suffix=None, prefix=None, dir=None):
        if dir == folder:
            raise PermissionError(30, "Read-only file system")
        return make(suffix, prefix, dir)

    monkeypatch.setattr(tempfile, "mkdtemp", refuse)
    assert opened() is not None
    assert libraries(fresh) == []


def test_nowhere_to_write_at_all(fresh, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nowhere")
    monkeypatch.setattr(tempfile, "tempdir", "/proc/nowhere")
    assert opened() is None


def test_a_library_that_others_may_write_is_replaced(fresh):
    opened()
    (library,) = libraries(fresh)
    library.chmod(0o777)
    before = library.stat().st_ino
    assert opened() is not None
    assert library.stat().st_ino != before
    assert stat.S_IMODE(library.stat().st_mode) == 0o700


def test_a_spoilt_library_is_replaced(tmp_path):
    probe(XDG_CACHE_HOME=tmp_path)
    (library,) = libraries(tmp_path)
    library.write_bytes(b"\x7fELF spoilt")
    assert probe(XDG_CACHE_HOME=tmp_path)[0] == "1"
    assert library.stat().st_size > 1_000


@pytest.mark.parametrize("what", ["source", "header", "parts", "flags", "compiler", "processor"])
def test_the_name_depends_on_everything_that_shapes_the_code(monkeypatch, what, tmp_path):
    compiler = tmp_path / "cc"
    compiler.write_text("one")
    files, parts, command = {"a.c": "int x;", "a.h": ""}, (("a.c",),), [str(compiler), "-O2"]
    before = machine.compiled_digest(files, parts, command)
    assert machine.compiled_digest(files, parts, command) == before
    if what == "source":
        files["a.c"] += " "
    elif what == "header":
        files["a.h"] += " "
    elif what == "parts":
        parts = ()
    elif what == "flags":
        command.append("-g")
    elif what == "compiler":
        compiler.write_text("another")
    else:
        monkeypatch.setattr(machine, "processor", lambda: "model name: another")
    assert machine.compiled_digest(files, parts, command) != before


def test_the_compiler_of_the_environment_comes_first(monkeypatch, tmp_path):
    mine = tmp_path / "mycc"
    mine.write_text("#!/bin/sh\n")
    mine.chmod(0o700)
    monkeypatch.setenv("CC", f"{mine} -m64")
    assert machine.find_compiler() == [str(mine), "-m64"]
    monkeypatch.setenv("CC", "no-such-compiler")
    assert machine.find_compiler() != ["no-such-compiler"]


def test_sources_are_named_by_their_place_below_a_folder(tmp_path):
    (tmp_path / "own").mkdir()
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "notes.txt").touch()
    assert build.c_files(tmp_path) == dict(sorted(FILES.items()))
