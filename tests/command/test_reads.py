"""Simulated reads carry their origin, and the scoring command finds who was mapped there."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tuner_plugins.command.simulate import simulate_reads

SIZES = {"chromosomes": 2, "length": 20_000, "reads": 40, "read_length": 800}


def bases(path: Path) -> str:
    return "".join(path.read_text().splitlines()[1:])


def test_reads_come_from_where_their_names_say(tmp_path: Path) -> None:
    simulate_reads(tmp_path, seed=3, error_rate=0.0, **SIZES)
    assert {path.name for path in tmp_path.iterdir()} == {
        *("chr1.fa", "chr2.fa"),
        *("reads1.fq", "reads2.fq"),
    }
    chromosome = bases(tmp_path / "chr2.fa")
    assert len(chromosome) == SIZES["length"]
    lines = (tmp_path / "reads2.fq").read_text().splitlines()
    assert len(lines) == 4 * SIZES["reads"]
    strands = set()
    for title, read, quality in zip(lines[::4], lines[1::4], lines[3::4], strict=True):
        _, name, span, strand = title[1:].split(":")
        start, end = map(int, span.split("-"))
        origin = chromosome[start:end]
        if strand == "-":
            origin = origin[::-1].translate(str.maketrans("ACGT", "TGCA"))
        assert (name, read) == ("chr2", origin)
        assert len(quality) == len(read)
        strands.add(strand)
    assert strands == {"+", "-"}


def test_errors_come_at_their_rate_and_a_seed_gives_the_same(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        (tmp_path / name).mkdir()
        simulate_reads(tmp_path / name, seed=seed, error_rate=0.3, **SIZES)
    first, again, other = ((tmp_path / name / "reads1.fq").read_bytes() for name in "abc")
    assert first == again != other
    lines = first.decode().splitlines()
    chromosome = bases(tmp_path / "a" / "chr1.fa")
    exact = sum(read in chromosome for read in lines[1::4])
    assert exact == 0
    spans = [title.split(":")[2].split("-") for title in lines[::4]]
    ratio = sum(map(len, lines[1::4])) / sum(int(end) - int(start) for start, end in spans)
    assert 0.97 < ratio < 1.03, "insertions and deletions are as many"


@pytest.mark.parametrize("wrong", [{"reads": 0}, {"error_rate": 1.0}, {"length": 1000}])
def test_options_without_sense_are_refused(tmp_path: Path, wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="expected"):
        simulate_reads(tmp_path, seed=1, **{**SIZES, **wrong})


def test_recall_is_the_share_of_reads_at_their_origin(tmp_path: Path) -> None:
    names = [
        "a:chr1:100-200:+",
        "b:chr1:100-200:-",
        "c:chr1:100-200:+",
        "d:chr1:1-2:+",
        "e:c:1-9:+",
    ]
    text = "".join(f"@{name}\nACGT\n+\n!!!!\n" for name in names)
    (tmp_path / "reads.fq").write_text(text)
    rows = [
        (names[0], "+", "chr1", 190, 290, "tp:A:P"),  # too little of it: 10 of 190
        (names[0], "+", "chr1", 100, 200, "tp:A:P"),  # not its first
        (names[1], "-", "chr1", 110, 210, "tp:A:P"),
        (names[2], "+", "chr1", 900, 990, "tp:A:S"),  # secondary
        (names[2], "+", "chr1", 100, 200, "tp:A:P"),
        (names[3], "-", "chr1", 1, 2, "tp:A:P"),  # the other strand
    ]
    lines = (
        "\t".join(map(str, (n, 4, 0, 4, s, c, 999, a, b, 4, 4, 60, t))) for n, s, c, a, b, t in rows
    )
    (tmp_path / "found.paf").write_text("\n".join(lines) + "\n")
    module = "tuner_plugins.command.score_reads"
    arguments = [tmp_path / "found.paf", tmp_path / "reads.fq"]
    said = subprocess.check_output([sys.executable, "-m", module, *arguments])
    assert json.loads(said) == {"recall": 0.4, "precision": 0.5, "mapped": 4}
