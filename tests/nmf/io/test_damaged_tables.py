"""BED and GTF files that are damaged, hostile or no files at all: one line, and soon."""

from __future__ import annotations

import gzip
import itertools
import os
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tuner_plugins.genome_tables import lines
from tuner_plugins.nmf.config import DataSection
from tuner_plugins.nmf.inputs import Inputs
from tuner_plugins.nmf.io.annotation import AnnotationError, read_annotation
from tuner_plugins.nmf.io.bigwig import BigWigError, read_runs

from tests.devices import null_device
from tests.fuzzing import FUZZ_SECONDS, cpu_seconds
from tests.nmf.io.test_tracks import make_bigwig

BED = "".join(f"chr{i % 2 + 1}\t{7 * i}\t{7 * i + 5}\tg{i}\t0\t{'+-'[i % 2]}\n" for i in range(60))
GTF = "##gff-version 2\n" + "".join(
    f"chr{i % 2 + 1}\tx\t{('gene', 'exon', 'transcript')[i % 3]}\t{7 * i + 1}\t{7 * i + 5}"
    f'\t.\t+\t.\tgene_id "g{i}"; transcript_id "t{i // 4}";\n'
    for i in range(60)
)
SOUND = {
    "a.bed": BED.encode(),
    "a.gtf": GTF.encode(),
    "a.gff3": GTF.replace('transcript_id "', "Parent=").encode(),
    "b.bed.gz": gzip.compress(BED.encode(), mtime=0),
    "b.gtf.gz": gzip.compress(GTF.encode(), mtime=0),
}
WORDS = (
    *(b"\0", b"\xff\xfe", b"\r", b"\n", b"\t", b"\x1b[31m", b"\x85", b"chr1\t", b"9" * 5000, b"-1"),
    *(b"1e9", b"nan", b"1099511627775", b"1099511627776", b"18446744073709551616", b"##FASTA\n"),
    *(b"\x1f\x8b\x08\0", b"\x26\xfc\x8f\x88", "\u0661\u2028".encode(), b"1_0", b'"', b"Parent="),
)


def read_one(path: Path, feature: str = "gene_body") -> None:
    """Read a file: either a sound step function or one line; anything else is raised."""
    try:
        runs = read_annotation(path, "chr1", 0, 400, feature, 50)
    except (AnnotationError, BigWigError) as error:
        text = str(error)
        assert text.startswith(str(path))
        assert text.isprintable()
        assert len(text) < len(str(path)) + 500
    else:
        assert runs.ends[-1] == 400
        assert set(np.unique(runs.values)) <= {0.0, 1.0}


def damage(content: bytes, draw: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(draw.randint(1, 4)):
        at, kind = draw.randrange(len(changed) + 1), draw.randrange(6)
        if kind == 0:
            del changed[at:]
        elif kind == 1 and at < len(changed):
            changed[at] ^= 1 << draw.randrange(8)
        elif kind == 2:
            changed[at:at] = draw.choice(WORDS) * draw.choice((1, 1, 1, 300))
        elif kind == 3:
            changed[at : at + draw.randint(0, 30)] = draw.choice(WORDS)
        elif kind == 4:
            changed[at:at] = draw.randbytes(draw.randint(1, 200))
        else:
            other = draw.randrange(len(changed) + 1)
            changed[at:at] = changed[other : other + draw.randint(0, 100)]
    return bytes(changed)


def fuzz(folder: Path, seed: int, is_enough: Callable[[int], bool]) -> None:
    draw = random.Random(seed)
    for number in itertools.takewhile(lambda number: not is_enough(number), itertools.count()):
        name = draw.choice(sorted(SOUND))
        content = SOUND[name]
        if name.endswith(".gz") and draw.random() < 0.5:
            content = gzip.compress(damage(gzip.decompress(content), draw), mtime=0)
        else:
            content = damage(content, draw)
        path = folder / name
        path.write_bytes(content)
        try:
            read_one(path, draw.choice(("gene_body", "tss")))
        except Exception as error:
            path.rename(folder / f"found-{seed}-{number}-{name}")
            raise AssertionError(f"seed {seed}, file {number}: {content[:300]!r}") from error


def test_sound_files_are_read(tmp_path: Path) -> None:
    for name, content in SOUND.items():
        (tmp_path / name).write_bytes(content)
        assert read_annotation(tmp_path / name, "chr1", 0, 400).values.any()


def test_damaged_tables_are_one_line(tmp_path: Path) -> None:
    fuzz(tmp_path, 1, lambda number: number == 1500)


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_damaged_tables_are_one_line_for_long(tmp_path: Path) -> None:
    begin = cpu_seconds()
    fuzz(tmp_path, 2, lambda number: cpu_seconds() - begin > FUZZ_SECONDS)


@settings(
    max_examples=200,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.binary(max_size=300), st.sampled_from(sorted(SOUND)))
def test_garbage_is_one_line(tmp_path: Path, content: bytes, name: str) -> None:
    path = tmp_path / name
    for whole in (content, b"chr1\t" + content, gzip.compress(content, mtime=0)):
        path.write_bytes(whole)
        read_one(path)


def test_a_gzip_bomb_is_refused_before_it_is_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "_FREE_TEXT", 1 << 16)
    text, path = "chr1\t1\t2\n" * 100_000, tmp_path / "bomb.bed.gz"
    path.write_bytes(gzip.compress(text.encode()))
    with pytest.raises(AnnotationError, match="unpack to over .*, as no table does; give it unp"):
        read_annotation(path, "chr1", 0, 400)
    (tmp_path / "whole.bed").write_text(text)  # as text it is what it is
    assert read_annotation(tmp_path / "whole.bed", "chr1", 0, 400).values.any()


def test_a_line_without_an_end_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "line.gtf.gz"
    path.write_bytes(gzip.compress(b"chr1" * 5_000_000))
    with pytest.raises(AnnotationError, match="no table, a line has 1,048,576 characters or more"):
        read_annotation(path, "chr1", 0, 400)


def test_many_strange_names_are_told_of_at_once(tmp_path: Path) -> None:
    path = tmp_path / "names.bed"
    path.write_text("".join(f"{'contig' * 9}{i}\x1b\t1\t2\n" for i in range(60_000)))
    with pytest.raises(AnnotationError, match="nothing on chromosome 'chr1'") as caught:
        read_annotation(path, "chr1", 0, 400)
    assert str(caught.value).isprintable()


def test_a_window_beyond_every_chromosome_covers_all(tmp_path: Path) -> None:
    (tmp_path / "a.bed").write_text(BED)
    runs = read_annotation(tmp_path / "a.bed", "chr1", 0, 400, "tss", 10**30)
    assert (runs.ends.tolist(), runs.values.tolist()) == ([400], [1.0])


NAMES = ["x.bw", "x.bed", "x.gtf", "x.gff3", "x.bed.gz"]


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("device", [False, True])
def test_a_pipe_or_a_device_as_annotation_is_one_line(
    tmp_path: Path, name: str, device: bool
) -> None:
    path = tmp_path / name
    null_device(path) if device else os.mkfifo(path)
    said = "x[.].*: cannot be read [(]a pipe or a device, no regular file[)]"
    with pytest.raises(AnnotationError, match=said):
        read_annotation(path, "chr10", 0, 400)
    make_bigwig(tmp_path / "track.bw")
    section = {"bigwigs": [tmp_path / "track.bw"], "cases": [{"region": "chr10:0-90", "k": 1}]}
    data = DataSection.model_validate({**section, "annotation": path})
    with pytest.raises(BigWigError, match=said):
        Inputs(data).tuned  # noqa: B018 - reads


@pytest.mark.timeout(60)
def test_a_pipe_or_a_device_as_track_is_one_line(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.bw")
    null_device(tmp_path / "y.bw")
    for name in ("x.bw", "y.bw"):
        with pytest.raises(BigWigError, match=f"{name}: cannot be read [(]a pipe or a device"):
            read_runs(tmp_path / name, "chr10")
