"""The library that a script carries: the same bytes as its source, and a way out where it fails."""

from __future__ import annotations

import binascii
import re
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tuner_plugins.kernel_folder import digest_of
from tuner_plugins.nmf import params as nmf_params
from tuner_plugins.nmf.config import NmfConfig
from tuner_plugins.nmf.kernels import build, carried, carry
from tuner_plugins.nmf.plugin import NmfPlugin

from tests.nmf.script.test_main import flat, make_script, run_script, usual
from tests.nmf.tracks import CHROM, make_annotation, make_tracks
from tuner.config.load import load_config
from tuner.plugin import InputError, Provenance

pytestmark = pytest.mark.skipif(bool(carry.why_not()), reason=carry.why_not())

NO_COMPILER = {"PATH": "/nonexistent", "CC": ""}
NO_MEMFD = "import os\ndef refuse(*_): raise PermissionError(1, 'forbidden')\n"
NO_MEMFD += "os.memfd_create = refuse\n"
NOTHING_CARRIED_OPENS = """
import ctypes
class CDLL(ctypes.CDLL):
    def __init__(self, name, *rest, **more):
        if name and ("/fd/" in name or "carried-" in name):
            raise OSError(f"{name}: failed to map segment from shared object")
        super().__init__(name, *rest, **more)
ctypes.CDLL = CDLL
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data")
    make_tracks(path / "tracks", seed=8)
    make_annotation(path / "genes.bw")
    return path


def plugin_of(folder: Path, kernels: str) -> NmfPlugin:
    data = {
        "bigwigs": [folder / "tracks"],
        "annotation": folder / "genes.bw",
        "cases": [{"region": f"{CHROM}:2500-38123", "k": 3}],
    }
    return NmfPlugin(NmfConfig.model_validate({"data": data, "export": {"kernels": kernels}}))


@pytest.fixture(scope="module")
def scripts(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    path = tmp_path_factory.mktemp("scripts") / "script.py"
    kinds = ("both", "source", "binary")
    return {kind: make_script(plugin_of(folder, kind), path).read_text() for kind in kinds}


Run = tuple[bytes, str, Path]


def start(
    folder: Path, place: Path, text: str, *options: str, before: str, code: int, **environment: str
) -> Run:
    """Run a script's text in a folder that is made: return its array, its words, its cache."""
    (place / "cache").mkdir(parents=True)
    (place / "sitecustomize.py").write_text(before)
    script, out = place / "assign2.py", place / "out.npy"
    script.write_text(text)
    environment = {"XDG_CACHE_HOME": str(place / "cache"), **environment}
    done = run_script(
        script, *flat(usual(folder, out)), *options, PYTHONPATH=str(place), **environment
    )
    assert done.returncode == code, done.stderr
    assert done.stderr.count("\n") == 1
    return out.read_bytes() if out.exists() else b"", done.stderr, place / "cache"


@pytest.fixture
def run(folder: Path, tmp_path: Path) -> Callable[..., Run]:
    """Run a script's text on an empty cache; see `start`."""
    counter = iter(range(99))

    def once(text: str, *options: str, before: str = "", code: int = 0, **environment: str) -> Run:
        place = tmp_path / f"run{next(counter)}"
        return start(folder, place, text, *options, before=before, code=code, **environment)

    return once


@pytest.fixture(scope="module")
def expected(folder: Path, scripts: dict[str, str], tmp_path_factory: Any) -> dict[str, Run]:
    """Return what each script gives on an empty cache, nothing being amiss."""
    home = tmp_path_factory.mktemp("expected")
    return {
        kind: start(folder, home / kind, text, before="", code=0) for kind, text in scripts.items()
    }


def libraries(cache: Path, count: int) -> list[Path]:
    """Return the libraries in a cache; wait for `count`, which a process may still compile."""
    deadline = time.monotonic() + 120
    while len(found := list(cache.rglob("kernels-*.so"))) < count and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


def change(text: str, key: str, to: str) -> str:
    changed, count = re.subn(rf"^'{key}': .*,$", f"'{key}': {to!r},", text, flags=re.MULTILINE)
    assert count == 1
    return changed


def replace_library(text: str, content: bytes, digest: str | None = None) -> str:
    packed = binascii.b2a_base64(zlib.compress(content)).decode()
    text, count = re.subn(r"'library': r'''.*?'''", f"'library': '''{packed}'''", text, flags=re.S)
    assert count == 1
    return change(text, "digest", digest or digest_of(content))


def library_of(text: str) -> bytes:
    return carried.unpack(re.findall(r"'library': r'''(.*?)'''", text, flags=re.S)[0])


def test_source_library_and_both_write_the_same_bytes(scripts, expected) -> None:
    found = expected
    assert found["both"][0] == found["source"][0] == found["binary"][0]
    assert len(found["both"][0]) > 1000
    assert [len(libraries(found[kind][2], kind == "source")) for kind in found] == [
        int(kind == "source") for kind in found
    ]
    assert "int tuner_quick_read" not in scripts["binary"]
    assert "int tuner_quick_read" in scripts["both"]
    assert "'library': " not in scripts["source"]


@pytest.mark.parametrize("kind", ["both", "binary"])
def test_no_compiler_is_needed(scripts, expected, run, kind) -> None:
    blocked = "import sys\nsys.modules['numpy'] = sys.modules['numba'] = None\n"
    assert run(scripts[kind], before=blocked, **NO_COMPILER)[0] == expected["source"][0]


@pytest.mark.parametrize("numpy", [True, False])
def test_without_compiler_library_and_numpy(scripts, expected, run, numpy) -> None:
    """The same answer to rounding, in Python alone; Numba is not asked."""
    blocked = "import sys\nsys.modules['numba'] = None\n"
    blocked += "" if numpy else "sys.modules['numpy'] = None\n"
    compiled, told, _ = expected["source"]
    found, said, cache = run(scripts["source"], before=blocked, **NO_COMPILER)
    assert (said, libraries(cache, 0), found[:128]) == (told, [], compiled[:128])
    values, wanted = (np.frombuffer(content[128:]) for content in (found, compiled))
    np.testing.assert_allclose(values, wanted, rtol=0, atol=1e-11 * np.abs(wanted).max())


def test_what_python_alone_does_not_do_is_one_line(scripts, run) -> None:
    blocked = "import sys\nsys.modules['numpy'] = None\n"
    _, said, _ = run(scripts["source"], "-k", "900", before=blocked, code=2, **NO_COMPILER)
    assert "pip install numpy" in said


def damaged(text: str) -> str:
    content = bytearray(library_of(text))
    content[len(content) // 2] ^= 1
    return replace_library(text, bytes(content), digest_of(library_of(text)))


CHANGES = {
    "library": damaged,
    "cut": lambda text: replace_library(text, library_of(text)[:5000], "0" * 32),
    "no base64": lambda text: re.sub(r"('library': r''')\n..", r"\1\n!", text),
    "no library": lambda text: text.replace("'library': r'''", "'elsewhere': r'''"),
    "no ELF": lambda text: replace_library(text, b"not a library at all"),
    "machine": lambda text: change(text, "machine", "Linux aarch64 glibc"),
    "libc": lambda text: change(text, "machine", "Linux x86_64 musl"),
    "source": lambda text: text.replace("enum { QUICK_ROWS = 64 };", "enum { QUICK_ROWS = 64  };"),
    "digest of the source": lambda text: change(text, "source", "0" * 32),
}


@pytest.mark.parametrize("what", CHANGES)
def test_what_does_not_fit_is_compiled_instead(scripts, expected, run, what) -> None:
    text = scripts["both"]
    changed = CHANGES[what](text)
    assert changed != text
    found, told, cache = run(changed)
    assert (found, told, len(libraries(cache, 1))) == (*expected["both"][:2], 1)


@pytest.mark.parametrize(
    ("before", "compiles"), [(NO_MEMFD, 0), (NOTHING_CARRIED_OPENS, 1)], ids=["memfd", "noexec"]
)
def test_where_memory_may_not_be_executed(scripts, expected, run, before, compiles) -> None:
    found, told, cache = run(scripts["both"], before=before)
    assert (found, told, len(libraries(cache, compiles))) == (*expected["both"][:2], compiles)


def test_nothing_is_left_in_the_cache_folder(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delattr(carried.os, "memfd_create")
    made = carry.make_carried()
    assert carried.open_carried(made, made["source"]) is not None
    assert list(tmp_path.glob("tuner-kernels/*.so")) == []
    monkeypatch.setattr(carried, "kernel_folders", list)
    assert carried.open_carried(made, made["source"]) is None


def test_it_runs_on_any_processor_of_its_kind() -> None:
    made = carry.make_carried()
    assert "-march=x86-64" in made["flags"]
    assert "native" not in made["flags"]
    assert made["source"] == build.source_digest()
    library = carried.unpack(made["library"])
    assert digest_of(library) == made["digest"]
    assert max(map(int, re.findall(rb"GLIBC_2\.(\d+)", library))) <= 17  # that of 2012


def test_rebuild_agrees(scripts, expected, run) -> None:
    found, said, _ = run(scripts["both"], "--rebuild")
    assert (found, said) == (expected["source"][0], "assign2.py: --rebuild: the same bytes\n")


@pytest.fixture(scope="module")
def another(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Return a library that works, made of other source: loadings are twice as large."""
    files = dict(build.KERNEL_FILES)
    before = files["fast/factorize.c"]
    files["fast/factorize.c"] = before.replace("out[i] > 0 ? out[i]", "out[i] > 0 ? 2 * out[i]")
    assert files["fast/factorize.c"] != before
    patch = pytest.MonkeyPatch()
    patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
    patch.setattr(build, "KERNEL_FILES", files)
    patch.setattr(carry, "KERNEL_FILES", files)
    carry.make_carried.cache_clear()
    content = carried.unpack(carry.make_carried()["library"])
    patch.undo()
    carry.make_carried.cache_clear()
    return content


def test_rebuild_finds_another_library(scripts, expected, run, another) -> None:
    changed = replace_library(scripts["both"], another)
    assert run(changed)[0] != expected["both"][0]  # it is used
    found, said, _ = run(changed, "--rebuild", code=1)
    assert "different bytes" in said
    assert found == expected["source"][0]


@pytest.mark.parametrize("what", ["library", "machine", "no library"])
def test_rebuild_refuses_a_library_that_is_not_used(scripts, run, what) -> None:
    assert "damaged" in run(CHANGES[what](scripts["both"]), "--rebuild", code=1)[1]


@pytest.mark.parametrize(
    ("kind", "environment", "lacks"),
    [
        ("source", {}, "a script that carries a library"),
        ("binary", {}, "the C source"),
        ("both", NO_COMPILER, "a C compiler"),
    ],
)
def test_rebuild_needs_both(scripts, run, kind, environment, lacks) -> None:
    assert lacks in run(scripts[kind], "--rebuild", code=2, **environment)[1]


def test_rebuild_of_what_the_kernels_do_not_do(scripts, run) -> None:
    assert "without --rebuild" in run(scripts["both"], "--rebuild", "-k", "900", code=2)[1]
    assert "expected it beside" in run(scripts["both"], "--rebuild", "--what", "1", code=2)[1]


def test_where_no_library_can_be_made_the_source_is_carried(folder, monkeypatch, tmp_path) -> None:
    carry.make_carried.cache_clear()
    monkeypatch.setattr(carry, "machine_name", lambda: "Darwin arm64")
    text = make_script(plugin_of(folder, "binary"), tmp_path / "a.py").read_text()
    assert "int tuner_quick_read" in text
    assert "Kernels: C source\n" in text
    (note,) = [n for n in plugin_of(folder, "both").notes() if "C source" in n]
    assert "no Linux x86_64 glibc" in note
    assert not [n for n in plugin_of(folder, "source").notes() if "C source" in n]
    carry.make_carried.cache_clear()


def test_what_the_library_is_no_use_for_does_not_carry_it(folder, tmp_path) -> None:
    plugin = plugin_of(folder, "binary")
    exact = {**nmf_params.DEFAULTS, "resolution": 1}
    plugin.freeze(exact, tmp_path / "a.py", Provenance("s"))
    text = (tmp_path / "a.py").read_text()
    assert "CARRIED = {}" in text
    assert "void tuner_products" in text


def test_one_library_is_compiled_once(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    make, compiled = carry.make_carried.__wrapped__, []
    content = b""

    def compile_it(*arguments):
        nonlocal content  # a second of work, and the same bytes each time
        content = content or really(*arguments)
        compiled.append(1)
        return content

    really = carry._compile
    monkeypatch.setattr(carry, "_compile", compile_it)
    first = make()
    (path,) = tmp_path.rglob("carried-*.json")
    assert (make(), len(compiled)) == (first, 1)
    path.chmod(0o666)  # anybody's
    assert (make(), len(compiled)) == (first, 2)
    for spoilt in (b"{", b"[]", b"{}", path.read_bytes().replace(b"eN", b"eM", 1)):
        path.write_bytes(spoilt)
        assert make() == first
    assert len(compiled) == 6
    monkeypatch.setattr(carry, "kernel_folders", list)
    assert (make(), len(compiled)) == (first, 7)


def test_the_key_of_the_configuration(folder, tmp_path) -> None:
    study = tmp_path / "study.yaml"

    def load(export: str):
        study.write_text(
            f"plugin: nmf\ndata: {{bigwigs: {folder}/tracks, annotation: {folder}/genes.bw, "
            f"cases: [{{region: {CHROM}, k: 2}}]}}\nexport: {{{export}}}\n"
        )
        return load_config(study)

    config = load("path: a.py, kernels: binary")
    assert (config.plugin.config.export.kernels, str(config.engine.export.path)) == (
        "binary",
        "a.py",
    )
    assert config.plain()["export"] == {"path": "a.py", "select": "best", "kernels": "binary"}
    assert config.signature() == load("path: a.py").signature()  # a study is resumed with it
    for wrong, said in {
        "kernels: native": "export.kernels: expected 'both', 'source' or 'binary', got 'native'",
        "kernel: both": "did you mean 'kernels'?",
        "choice: best": "export.choice: is now export.select",
        "selct: best": "expected one of: path, select, kernels; did you mean 'select'?",
    }.items():
        with pytest.raises(InputError, match=re.escape(said)) as error:
            load(wrong)
        assert "study.yaml, line 3" in str(error.value)
