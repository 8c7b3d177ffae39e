"""Whatever bytes a configuration has: it is read, or refused in one line."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tuner.config.yaml import read_yaml
from tuner.plugin import InputError

SEEDS = [
    b"plugin: toy\nstudy: {name: a, trials: 5, timeout: 30m}\ndata:\n  targets: [1, 2.5, 1e-3]\n",
    b"base: &b {seed: 1, x: [1, {y: 2}]}\nstudy: {<<: *b, trials: 2}\nlist: [*b, *b]\n",
    b"plugin: 'a''b'\ntext: |\n  one\n  two\nmore: >-\n  folded\n\"k\\u00e9y\": \"\\x41\\n\"\n",
    "plugin: tö\n# commented\nsearch_space:\n- &x 1\n- *x\n- ~\n- yes\n- 0x1F\n".encode(),
]
PIECES = [
    *(b"&b", b"*b", b"*x", b"<<: *b\n", b"<<: [*b, *b]\n", b"!!int ''", b"!!float ''", b"!!bool x"),
    *(b"!!null x", b"!!map x", b"!!seq x", b"!!str", b"!!python/name:os.system", b"!!binary ="),
    *(b"!!set {a}", b"!!omap [a: 1]", b"!!timestamp 2001-99-99", b"2001-99-99", b"? [a]\n: 1\n"),
    *(b"%YAML 9.9\n---\n", b"%TAG ! x\n", b"---\n", b"...\n", b"\x00", b"\xff", b"\xed\xa0\x80"),
    *(b'"\\ud800"', b'"\\U00110000"', b"\xe2\x80\xa8", b"\x85", b"\t", b"\r", b"[", b"]", b"{"),
    *(b"}", b":", b"- ", b"? ", b"|9\n", b">+\n", b"@", b"`", b"'", b'"', b"\\", b"0b", b"0o8"),
    *(b".inf", b".nan", b"1:2:3", b"1_000", b"_", b"=", b"9" * 5000, b"[" * 40, b"1e999999"),
    b"".join(b"a%d: &a%d [*a%d,*a%d]\n" % (i + 1, i + 1, i, i) for i in range(30)),
]

edits = st.lists(
    st.tuples(
        st.integers(0, 400), st.integers(0, 6), st.sampled_from(PIECES) | st.binary(max_size=3)
    ),
    max_size=6,
)


def mutated(seed: bytes, changes: list[tuple[int, int, bytes]]) -> bytes:
    """Return `seed` with pieces in place of a few bytes each."""
    for place, length, piece in changes:
        start = place % (len(seed) + 1)
        seed = seed[:start] + piece + seed[start + length :]
    return seed


def check(folder: Path, content: bytes) -> None:
    path = folder / "study.yaml"
    path.write_bytes(content)
    try:
        read = read_yaml(path)
    except InputError as error:
        line = str(error)
        assert line.isprintable(), line
        assert len(line) < 1000
        assert "study.yaml" in line
    else:
        assert isinstance(read.data, dict)
        repr(read.data).encode()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


@settings(max_examples=300, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(SEEDS), edits)
@example(b"x: !!int ''\n", [])
@example(b"x: !!float ''\n", [])
@example(b"x: !!bool maybe\n", [])
@example(b'x: "\\UFFFFFFFF"\n', [])
@example(b"%YAML " + b"9" * 5000 + b".1\n---\na: 1\n", [])
@example(b"? !!int ''\n: 1\n", [])
@example(b"? |\n  a\n  b\n: 1\n? |\n  a\n  b\n: 2\n", [])
@example(b"a: ${N\x1b}\n", [])
@example(b"a: *" + b"9" * 5000 + b"\n", [])
def test_bytes_are_read_or_refused(
    folder: Path, seed: bytes, changes: list[tuple[int, int, bytes]]
) -> None:
    check(folder, mutated(seed, changes))


@pytest.mark.slow
@settings(max_examples=30_000, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(SEEDS), edits)
def test_bytes_are_read_or_refused_for_long(
    folder: Path, seed: bytes, changes: list[tuple[int, int, bytes]]
) -> None:
    check(folder, mutated(seed, changes))


@pytest.mark.slow
@settings(max_examples=5_000, suppress_health_check=list(HealthCheck))
@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode()))
def test_noise_is_read_or_refused(folder: Path, content: bytes) -> None:
    check(folder, content)
