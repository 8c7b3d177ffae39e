"""Files of gene sets that are damaged or meant to harm: read rightly, or refused in one line."""

from __future__ import annotations

import gzip
import os
import random
import tempfile
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tuner_plugins.perturbseq.errors import LONGEST, AnalysisError, one_line
from tuner_plugins.perturbseq.programs import enrichment
from tuner_plugins.perturbseq.programs.enrichment import read_gmt

from tests.fuzzing import FUZZ_SECONDS, cpu_seconds

SETS = {f"TERM_{i}": [f"GENE{i + j}" for j in range(5 + i)] for i in range(20)}
TEXT = "".join(
    f"{name}\tof a\u2028test\t" + "\t".join(genes) + "\n" for name, genes in SETS.items()
)


def read(path: Path) -> dict[str, list[str]] | None:
    """Read gene sets; None where they are refused, in one line that names the file."""
    found, refusal = None, str(path)
    try:
        found = read_gmt(path)
    except AnalysisError as error:
        refusal = str(error)
    assert refusal.isprintable()
    assert str(path) in refusal
    if found is None:
        return None
    for name, genes in found.items():
        assert name
        assert genes
        assert all(genes)
        assert len(set(genes)) == len(genes)
        assert not any(c in "\t\r\n\0" for text in (name, *genes) for c in text)
    return found


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_every_way_to_write_the_same_sets_is_read_alike(tmp_path, end, mark, pack):
    """Neither a byte order mark nor a separator within a description changes a set."""
    path = tmp_path / "sets.gmt"
    path.write_bytes(pack((mark + TEXT.replace("\n", end)).encode()))
    assert read(path) == SETS


REFUSED = {
    "empty": (b"", "holds no gene sets"),
    "blank lines": (b"\n\n \n", "holds no gene sets"),
    "NUL": (b"A\tx\tG1\0\n", "holds NUL characters"),
    "UTF-16": ("A\tx\tG1\n".encode("utf-16"), "expected a text file in the GMT format"),
    "latin": (b"A\tx\tG\xe9\n", "expected a text file in the GMT format"),
    "no name": (b"A\tx\tG1\n\tx\tG2\n", "line 2: no name"),
    "no genes": (b"A\tx\tG1\nB\tx\t\t\n", "line 2: no genes"),
    "weights without genes": (b"A\tx\t,1.0\t,2.0\n", "line 1: no genes"),
    "a name twice": (b"A\tx\tG1\nA\ty\tG2\n", "line 2: term 'A' comes twice"),
    "a name twice but for a space": (b"A\tx\tG1\nA \ty\tG2\n", "line 2: term 'A' comes twice"),
    "commas": (b"A,x,G1\n", "line 1: no genes"),
    "gzip cut": (gzip.compress(TEXT.encode())[:-9], "end-of-stream"),
    "gzip of rubbish": (b"\x1f\x8b" + b"rubbish" * 9, "cannot read gene sets"),
    "gzip with more behind it": (gzip.compress(TEXT.encode()) + b"rubbish", "cannot read"),
    "terminal codes": (b"A\tx\tG1\n\x1b[2J\tx\n", "line 2: no genes"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_holds_no_sets_is_refused_in_one_line(tmp_path, kind):
    content, message = REFUSED[kind]
    path = tmp_path / "sets.gmt"
    path.write_bytes(content)
    with pytest.raises(AnalysisError, match=message):
        read_gmt(path)
    assert read(path) is None


def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe", tmp_path / "absent", Path("/dev/zero")):
        assert read(path) is None


def test_a_bomb_is_not_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(enrichment, "MOST", 1 << 20)
    path = tmp_path / "sets.gmt"
    path.write_bytes(gzip.compress(b"A\tx\tG1" + b"\tG2" * (1 << 20)))
    with pytest.raises(AnalysisError, match="more than 1 MiB"):
        read_gmt(path)
    line = b"A\tx\t" + b"\t".join(b"G%d" % i for i in range(100_000)) + b"\n"
    path.write_bytes(gzip.compress(line))
    assert len(read_gmt(path)["A"]) == 100_000


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300) | st.text(max_size=300).map(lambda text: text.encode("utf-8")))
@example(b"\x1f\x8b")
@example(b"\xef\xbb\xbf")
@example(b"\x85\tx\tG")
def test_any_bytes_are_sets_or_one_line(content):
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "sets.gmt").write_bytes(content)
        read(Path(folder) / "sets.gmt")


def damaged(rng: random.Random, whole: bytes) -> bytes:
    content = bytearray(whole[: rng.randrange(len(whole))] if rng.random() < 0.3 else whole)
    for _ in range(rng.choice([0, 1, 3, 20])):
        if content:
            content[rng.randrange(len(content))] = rng.choice(
                [0, 9, 10, 13, 44, rng.randrange(256)]
            )
    return bytes(content)


def fuzz(path: Path, seed: int, enough) -> int:
    """Damage the two bases until `enough`; a damaged gzip is never other sets. Return how many."""
    bases = (TEXT.encode(), gzip.compress(TEXT.encode(), mtime=0))
    count = 0
    while not enough(count):
        rng = random.Random(seed + count)
        path.write_bytes(damaged(rng, bases[count % 2]))
        found = read(path)
        if count % 2 and path.read_bytes().startswith(enrichment.GZIP):
            assert found in (None, SETS)
        count += 1
    return count


def test_damaged_files_are_sets_or_one_line(tmp_path):
    assert fuzz(tmp_path / "sets.gmt", 0, lambda count: count == 1000) == 1000


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_damaged_files_are_sets_or_one_line_for_long(tmp_path):
    begin = cpu_seconds()
    assert fuzz(tmp_path / "sets.gmt", 10**6, lambda count: cpu_seconds() - begin > FUZZ_SECONDS)


def test_a_message_is_one_printable_line_of_bounded_length():
    text = "gene 'a\nb\x1b[31m\udcff\u2028'" + "x" * 10**6 + "; copy it again"
    line = one_line(text)
    assert line.isprintable()
    assert line.startswith(r"gene 'a\nb\x1b[31m\udcff\u2028'x")
    assert line.endswith("x; copy it again")
    assert len(line) < LONGEST
    assert one_line(line) == line
    assert one_line("plain: 'Ünïcode' is kept") == "plain: 'Ünïcode' is kept"
