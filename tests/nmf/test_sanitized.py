"""All C kernels under AddressSanitizer and UndefinedBehaviorSanitizer.

The long runs, ten minutes of processor time for each program, are
``pytest -m slow --timeout=7200 tests/nmf/test_sanitized.py``.
"""

from __future__ import annotations

import struct
import subprocess
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from tuner_plugins.native.machine import NATIVE_FLAG
from tuner_plugins.nmf.io.bigwig_blocks import LARGEST_BLOCK
from tuner_plugins.nmf.kernels.build import QUICK_PARTS, kernel_parts
from tuner_plugins.nmf.kernels.sources import KERNEL_FILES

from tests.fuzzing import FUZZ_SECONDS, cpu_seconds
from tests.nmf.bigwig_files import Section, write_bigwig
from tests.sanitizers import SANITIZERS, compile_watched, sanitizing_compiler

CHROMS = {"chr0": 5000, "chr1": 70_000, "chrX": 1000}
FLAGS = ["-std=gnu11", "-O1", "-g", *SANITIZERS]


def build(folder: Path, driver: str, parts: Sequence[Sequence[str]], *defines: str) -> Path:
    """Compile kernels and the program that drives them with sanitizers; skip without any."""
    compiler = sanitizing_compiler(folder)
    for name, text in KERNEL_FILES.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    kernels = "".join(f'#include "{name}"\n' for part in parts for name in part)
    source = folder / f"{driver}{len(defines)}.c"
    drives = Path(__file__).with_name(f"{driver}.c").read_text()
    source.write_text("#define _GNU_SOURCE\n" + kernels + drives)
    path = source.with_suffix("")
    words = [*compiler, *FLAGS, *defines, str(source), "-o", str(path), "-lm"]
    compile_watched(words, (NATIVE_FLAG, ""))
    return path


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("sanitized"), "sanitize", QUICK_PARTS[:1])


@pytest.fixture(scope="session", params=["quick", "full"])
def kernels(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    quick = request.param == "quick"
    defines = ["-DPROX_PLAIN"] * quick
    folder = tmp_path_factory.mktemp("sanitized_kernels")
    return build(folder, "sanitize_kernels", kernel_parts(quick)[0], *defines)


def drive(program: Path, seed: int, rounds: int) -> None:
    done = subprocess.run([program, str(seed), str(rounds)], capture_output=True, text=True)
    assert done.returncode == 0, f"seed {seed}: {done.stderr[:3000]}"


def read(program: Path, *files: Path, seed: int = 0, changed: int = 0) -> list[bool]:
    """Return which files were read; fail where the sanitizers object."""
    words = [str(program), str(seed), str(changed), *map(str, files)]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[:3000]
    return [line == "0" for line in done.stdout.split()]


class Deflate:
    """A writer of deflate streams with the fixed code (RFC 1951, 3.2.6), for impossible ones."""

    def __init__(self) -> None:
        self._bits = ["1", "10"]  # the last block; type 1, its lower bit first

    def literal(self, byte: int) -> None:
        code = f"{0x30 + byte:08b}" if byte < 144 else f"{0x190 + byte - 144:09b}"
        self._bits.append(code)

    def match(self, length: int = 258, distance: int = 1) -> None:
        assert length == 258
        assert 1 <= distance <= 4
        self._bits += [f"{0xC0 + 285 - 280:08b}", f"{distance - 1:05b}"]

    def finish(self, data: bytes = b"") -> bytes:
        bits = "".join([*self._bits, "0000000"])
        bits += "0" * (-len(bits) % 8)
        body = bytes(int(bits[i : i + 8][::-1], 2) for i in range(0, len(bits), 8))
        return b"\x78\x01" + body + struct.pack(">I", zlib.adler32(data))


def with_block(path: Path, block: bytes, largest: int | None = None) -> Path:
    """Write a file of one block and let its index lead to `block` instead."""
    records = [(i * 10, i * 10 + 10, 1.0) for i in range(20)]
    write_bigwig(path, CHROMS, [Section(0, 1, records)])
    content = bytearray(path.read_bytes())
    leaf = content.rindex(struct.pack("<IIII", 0, 0, 0, 200))
    struct.pack_into("<QQ", content, leaf + 16, len(content), len(block))
    path.write_bytes(content + block)
    return path


def bombs(before: int, most: int = 60) -> Iterator[bytes]:
    """Yield streams that come to within `before` bytes of the largest block and go on by matches.

    With `0` to 40 bytes behind the stream: the loops that are far from its end, and near to it.
    """
    for behind in (0, 8, 40):
        for matches in (1, 2, 3, most):
            stream = Deflate()
            stream.literal(65)
            count, rest = divmod(LARGEST_BLOCK - before - 1, 258)
            for _ in range(count):
                stream.match()
            for _ in range(rest):
                stream.literal(65)
            for _ in range(matches):
                stream.match()
            yield stream.finish(b"A" * (LARGEST_BLOCK - before + 258 * matches)) + bytes(behind)


def test_nothing_is_written_behind_the_largest_block(program: Path, tmp_path: Path) -> None:
    files = [
        with_block(tmp_path / f"{before}-{number}.bw", bomb)
        for before in (0, 1, 2, 3, 100, 257, 258, 259, 516, 517, 600)
        for number, bomb in enumerate(bombs(before))
    ]
    assert not any(read(program, *files))  # a block of letters is no block of records
    whole = b"\0" * 8 + struct.pack("<IIIBBH", 200, 0, 0, 1, 0, 0)
    padded = whole.ljust(LARGEST_BLOCK, b"\0")
    exact, longer = (
        with_block(tmp_path / f"{name}.bw", zlib.compress(data))
        for name, data in (("exact", padded), ("longer", padded + b"\0"))
    )
    assert read(program, exact, longer) == [True, False]


@pytest.fixture
def corpus(tmp_path: Path) -> list[Path]:
    """Write files of every kind of section, some of several blocks and index levels."""
    rows = [(i * 7, i * 7 + 5, float(i % 11)) for i in range(140)]
    even = [(i * 7, i * 7 + 7, float(i % 5)) for i in range(140)]
    kinds = [(1, rows), (2, rows), (3, even)]
    files = []
    for number, (kind, records) in enumerate(kinds):
        parts = [Section(0, kind, records[i : i + 20]) for i in range(0, 140, 20)]
        parts.append(Section(1, kind, records))
        for order in "<>":
            for compress in (True, False):
                path = tmp_path / f"{number}{order == '>'}{compress}.bw"
                write_bigwig(path, CHROMS, parts, order=order, compress=compress, fan=3)
                files.append(path)
    return files


def test_changed_files_are_read_within_bounds(program: Path, corpus: list[Path]) -> None:
    assert all(read(program, *corpus, changed=0))
    read(program, *corpus, seed=7, changed=400)


def test_kernels_stay_within_bounds_for_any_size_and_value(kernels: Path) -> None:
    drive(kernels, seed=1, rounds=400)


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_kernels_stay_within_bounds_for_long(kernels: Path) -> None:
    begin, seed = cpu_seconds(), 2
    while cpu_seconds() - begin < FUZZ_SECONDS:
        drive(kernels, seed, rounds=2000)
        seed += 1


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_changed_files_are_read_within_bounds_for_long(
    program: Path, corpus: list[Path], tmp_path: Path
) -> None:
    folder = tmp_path / "bombs"
    folder.mkdir()
    for before in (0, 257, 259, 517):
        for number, bomb in enumerate(bombs(before)):
            corpus.append(with_block(folder / f"{before}-{number}.bw", bomb))
    begin, seed = cpu_seconds(), 8
    while cpu_seconds() - begin < FUZZ_SECONDS:
        read(program, *corpus, seed=seed, changed=400)
        seed += 1
