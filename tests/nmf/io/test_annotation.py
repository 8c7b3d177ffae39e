from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pyBigWig
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tuner_plugins.nmf.io.annotation import AnnotationError, read_annotation
from tuner_plugins.nmf.io.bigwig import BigWigError

from tests.nmf.tracks import expand_runs

GTF = "chr1\thavana\t{kind}\t{first}\t{last}\t.\t{strand}\t.\t{about}\n"
in_folder = settings(
    max_examples=50,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
genes = st.lists(
    st.tuples(st.integers(0, 180), st.integers(1, 60), st.sampled_from("+-")),
    min_size=1,
    max_size=12,
)


def painted(intervals, start, end):
    bases = np.zeros(400, np.float32)
    for first, last in intervals:
        bases[max(first, 0) : max(last, 0)] = 1
    return bases[start:end]


def read(path, start=0, end=300, **options):
    runs = read_annotation(path, "chr1", start, end, **options)
    assert (np.diff(runs.ends, prepend=start) > 0).all()
    assert (np.diff(runs.values) != 0).all()
    return expand_runs(runs, start)


def write(path: Path, text: str) -> Path:
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text)
    return path


@in_folder
@given(genes, st.integers(0, 100), st.integers(101, 300), st.integers(0, 30))
def test_bed_gtf_and_gff3_give_the_union_of_genes(tmp_path, found, start, end, window):
    bed = "".join(f"chr1\t{s}\t{s + n}\tg\t0\t{strand}\n" for s, n, strand in found)
    bed += "chr2\t0\t300\tother\t0\t+\n"
    about = ['gene_id "g"; gene_name "x";', "ID=g;Name=x"]
    rows = [
        "".join(
            GTF.format(kind="gene", first=s + 1, last=s + n, strand=strand, about=text)
            + GTF.format(kind="exon", first=1, last=400, strand=strand, about=text)
            for s, n, strand in found
        )
        for text in about
    ]
    bodies = painted([(s, s + n) for s, n, _ in found], start, end)
    points = [s if strand == "+" else s + n - 1 for s, n, strand in found]
    around = painted([(p - window, p + window + 1) for p in points], start, end)
    for name, text in ("a.bed", bed), ("a.bed.gz", bed), ("a.gtf", rows[0]), ("a.gff3", rows[1]):
        path = write(tmp_path / name, text)
        np.testing.assert_array_equal(read(path, start, end), bodies)
        tss = read(path, start, end, feature="tss", tss_window=window)
        np.testing.assert_array_equal(tss, around)


def test_comments_and_other_lines_are_passed_over(tmp_path):
    text = "#c\nbrowser position chr1\ntrack name=x\n\nchr1 10 20\r\nchr1\t15\t30\n"
    expected = painted([(10, 30)], 0, 300)
    np.testing.assert_array_equal(read(write(tmp_path / "a.bed", text)), expected)
    row = GTF.format(kind="gene", first=11, last=30, strand="+", about="")
    text = f"##gff-version 3\n#!x\n{row}##FASTA\n>chr1\nACGT\n"
    np.testing.assert_array_equal(read(write(tmp_path / "a.gff3", text)), expected)


def test_transcripts_stand_in_for_genes_and_exons_for_transcripts(tmp_path):
    def row(kind, first, last, about):
        return GTF.format(kind=kind, first=first, last=last, strand="-", about=about)

    exons = row("exon", 11, 20, 'transcript_id "a";') + row("exon", 31, 40, 'transcript_id "a";')
    exons += row("exon", 61, 70, "ID=e;Parent=b") + row("exon", 91, 95, "")
    spans = painted([(10, 40), (60, 70), (90, 95)], 0, 300)
    np.testing.assert_array_equal(read(write(tmp_path / "e.gtf", exons)), spans)
    tss = painted([(39, 40), (69, 70), (94, 95)], 0, 300)
    found = read(tmp_path / "e.gtf", feature="tss", tss_window=0)
    np.testing.assert_array_equal(found, tss)
    transcripts = exons + row("mRNA", 6, 45, "ID=a") + row("transcript", 40, 50, "ID=b")
    found = read(write(tmp_path / "t.gff3", transcripts))
    np.testing.assert_array_equal(found, painted([(5, 50)], 0, 300))


def test_a_bigwig_keeps_its_values(tmp_path):
    path = str(tmp_path / "a.bw")
    with pyBigWig.open(path, "w") as file:
        file.addHeader([("chr1", 300)])
        starts, ends = [10, 20, 40, 90], [20, 30, 90, 95]
        file.addEntries(["chr1"] * 4, starts, ends=ends, values=[1.0, 0.0, 0.5, 0.0])
    with pyBigWig.open(path) as file:
        expected = np.nan_to_num(file.values("chr1", 5, 200, numpy=True))
    np.testing.assert_array_equal(read(path, 5, 200), expected)
    with pytest.raises(AnnotationError, match="no strands"):
        read(path, feature="tss")
    with pytest.raises(BigWigError, match="did you mean 'chr1'"):
        read_annotation(path, "1", 0, 10)


def test_real_genes_agree_between_bed_and_bigwig(shared_data):
    beds = sorted((shared_data / "bigwig").glob("*/genes.bed"))
    assert beds
    for bed in beds:
        track = bed.with_name("Annotation.Gene.bw")
        with pyBigWig.open(str(track)) as file:
            ((chrom, _),) = file.chroms().items()
            intervals = file.intervals(chrom)
        region = chrom, intervals[0][0], intervals[-1][1]
        from_bed, from_track = read_annotation(bed, *region), read_annotation(track, *region)
        np.testing.assert_array_equal(from_bed.ends, from_track.ends)
        np.testing.assert_array_equal(from_bed.values, from_track.values)


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        (
            "a.bed",
            "1\t5\t9\n2\t5\t9\n",
            "nothing on chromosome 'chr1'; did you mean '1'? it has 1, 2",
        ),
        ("a.bed", "# none\n", "no entries at all"),
        ("a.bed", "chr1\t5\t5\nchr1\t7\t7\n", "BED is 0-based with the end not included"),
        ("a.bed", "chr1\t5\n", "line 1: a BED line has 3 columns or more, this one has 2"),
        ("a.bed", "chr1\t5\t9\nchr1\t9\t5\n", "line 2: 9 to 5 is no interval"),
        ("a.bed", "chr1\t-1\t5\n", "-1 to 5 is no interval"),
        ("a.bed", "chr1\ta\t5\n", "a to 5 is no interval"),
        ("a.gtf", "chr1\t5\t9\n", "this one has 3"),
        ("a.gtf", GTF.format(kind="gene", first=0, last=4, strand="+", about=""), "0 to 4"),
        (
            "a.gtf",
            GTF.format(kind="CDS", first=1, last=4, strand="+", about=""),
            "only lines of type CDS",
        ),
        ("a.xls", "chr1\t5\t9\n", "not a known kind of annotation"),
    ],
)
def test_a_file_that_cannot_be_used(tmp_path, name, text, says):
    with pytest.raises(AnnotationError) as caught:
        read(write(tmp_path / name, text))
    assert says in str(caught.value)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_strands_files_and_requests_that_are_missing(tmp_path):
    path = write(tmp_path / "a.bed", "chr1\t5\t9\tx\t0\t+\nchr1\t5\t9\n")
    with pytest.raises(AnnotationError, match="line 2: no strand"):
        read(path, feature="tss")
    with pytest.raises(AnnotationError, match="cannot be read"):
        read(tmp_path / "none.bed")
    with pytest.raises(AnnotationError, match="'gene_body' or 'tss'; got 'exon'"):
        read(path, feature="exon")
    with pytest.raises(AnnotationError, match="0 or more; got -1"):
        read(path, feature="tss", tss_window=-1)
    with pytest.raises(AnnotationError, match="holds no position"):
        read(path, 9, 9)
    packed = gzip.compress(b"chr1\t5\t9\n" * 1000)
    for damaged in packed[: len(packed) // 2], packed[:20] + b"\xff" * 9 + packed[29:]:
        (tmp_path / "b.bed.gz").write_bytes(damaged)
        with pytest.raises(AnnotationError):
            read(tmp_path / "b.bed.gz")
    (tmp_path / "c.bed").write_bytes(b"chr1\t5\t9\t\xff\xfe\n")
    with pytest.raises(AnnotationError, match="not a whole BED text file"):
        read(tmp_path / "c.bed")


def test_a_region_without_genes_is_all_zero(tmp_path):
    runs = read_annotation(write(tmp_path / "a.bed", "chr1\t5\t9\n"), "chr1", 100, 200)
    assert runs.ends.tolist() == [200]
    assert runs.values.tolist() == [0.0]


@pytest.mark.parametrize(
    ("name", "line", "said"),
    [
        (
            "a.bed",
            "chr1\tsrc\tgene\t5\t90\t.\t+\t.\tgene_id 1",
            "like GTF or GFF3, .* 4 and 5 .*[.]gtf",
        ),
        ("a.gtf", "chr1\t5\t90", "like BED, where columns 2 and 3 .* in [.]bed"),
        ("a.gtf", "chr1\t5\t90\tx\t0\t+\t5\t90\t0\t1\t85\t0", "like BED, where columns 2 and 3"),
    ],
)
def test_a_table_under_the_name_of_another_kind_is_told(
    tmp_path: Path, name: str, line: str, said: str
) -> None:
    path = tmp_path / name
    path.write_text(f"{line}\n")
    with pytest.raises(AnnotationError, match=f"looks {said}"):
        read_annotation(path, "chr1", 0, 100)
    path.write_text(line.replace("5\t90", "x\ty") + "\n")
    with pytest.raises(AnnotationError) as caught:
        read_annotation(path, "chr1", 0, 100)
    assert "looks like" not in str(caught.value)
