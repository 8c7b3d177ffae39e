from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pyBigWig
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tuner_plugins.nmf.io import bigwig
from tuner_plugins.nmf.io.bigwig import BigWigError, read_runs

from tests.nmf.bigwig_files import Section, write_bigwig
from tests.nmf.tracks import expand_runs, read_values

CHROMS = {"chr1": 1000, "chr2": 400, "chrX": 3000, "chrEmpty": 0}
in_folder = settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def oracle(path: Path, chrom: str, start: int, end: int) -> np.ndarray:
    with pyBigWig.open(str(path)) as file:
        return file.values(chrom, start, end, numpy=True)


def assert_equal(path: Path, chrom: str, start: int, end: int) -> None:
    runs = read_runs(path, chrom, start, end)
    np.testing.assert_array_equal(expand_runs(runs, start), oracle(path, chrom, start, end))
    assert runs.ends.dtype == np.int64
    assert runs.values.dtype == np.float32
    assert runs.ends[-1] == end
    assert (np.diff(runs.ends, prepend=start) > 0).all()
    assert not np.equal(*(np.nan_to_num(side, nan=7e7) for side in neighbours(runs))).any()


def neighbours(runs):
    return runs.values[1:], runs.values[:-1]


@st.composite
def regions(draw, chroms=CHROMS):
    chrom = draw(st.sampled_from(sorted(name for name in chroms if chroms[name])))
    start = draw(st.integers(0, chroms[chrom] - 1))
    return chrom, start, draw(st.integers(start + 1, chroms[chrom]))


@st.composite
def sections(draw, disorder=False):
    """Draw sections of all types; sorted and apart, or in any order and overlapping."""
    found = []
    values = st.sampled_from([0.0, 1.0, 2.5, -3.0, 1e30, np.nan, np.inf, -np.inf, -0.0, 1e-40])
    for chrom, length in enumerate(CHROMS.values()):
        cursor = 0
        for kind in draw(st.lists(st.sampled_from([1, 2, 3]), max_size=6)):
            low = 0 if disorder else cursor
            if low + 60 > length:
                break
            at = draw(st.integers(low, min(low + 40, length - 20)))
            count = draw(st.integers(1, 6))
            span = draw(st.integers(1, 4))
            step = draw(st.integers(1, 6)) if disorder else draw(st.integers(span, 6))
            records = []
            for i in range(count):
                if kind == 3:
                    start = at + i * step
                elif disorder:
                    start = draw(st.integers(0, length - 20))
                else:
                    start = at if i == 0 else records[-1][1] + draw(st.integers(0, 3))
                end = start + (draw(st.integers(0, 9)) if kind == 1 else span)
                if end <= length:
                    records.append((start, end, draw(values)))
            if records:
                found.append(Section(chrom, kind, records))
                cursor = max(record[1] for record in records)
    if disorder and draw(st.booleans()):
        found = draw(st.permutations(found))
    return sorted(found, key=lambda section: (section.chrom, *section.bounds()[: not disorder]))


@in_folder
@given(
    data=sections(),
    region=regions(),
    compress=st.booleans(),
    version=st.integers(1, 4),
    fan=st.integers(2, 5),
    padding=st.sampled_from([0, 3]),
)
def test_every_section_type_reads_as_pybigwig_reads_it(  # noqa: PLR0913 - drawn values
    tmp_path, data, region, compress, version, fan, padding
):
    path = tmp_path / "a.bw"
    options = {"compress": compress, "version": version, "fan": fan, "padding": padding}
    write_bigwig(path, CHROMS, data, **options)
    assert_equal(path, *region)
    swapped = write_bigwig(tmp_path / "b.bw", CHROMS, data, order=">", **options)
    np.testing.assert_array_equal(read_values(swapped, *region), read_values(path, *region))
    assert bigwig.chromosomes(swapped) == CHROMS


@in_folder
@given(data=sections(disorder=True), region=regions())
def test_of_overlapping_and_unsorted_records_the_last_counts(tmp_path, data, region):
    path = write_bigwig(tmp_path / "a.bw", CHROMS, data, fan=3)
    assert_equal(path, *region)


@in_folder
@given(data=st.data())
def test_files_of_pybigwig_itself(tmp_path, data):
    path = str(tmp_path / "a.bw")
    cuts = data.draw(st.lists(st.integers(0, 3000), min_size=2, max_size=60, unique=True))
    starts, ends = np.sort(cuts)[:-1], np.sort(cuts)[1:]
    keep = np.array(data.draw(st.lists(st.booleans(), min_size=len(ends), max_size=len(ends))))
    keep[0] = True
    rng = np.random.default_rng(len(cuts))
    values = rng.choice([0.0, 1.0, 0.25, -7.0], len(ends))
    with pyBigWig.open(path, "w") as file:
        file.addHeader(list(CHROMS.items()))
        names = np.array(["chrX"] * keep.sum())
        file.addEntries(names, starts[keep], ends=ends[keep], values=values[keep])
    assert_equal(Path(path), *data.draw(regions({"chrX": 3000})))
    assert_equal(Path(path), "chr2", 0, 400)


def test_many_records_over_many_stretches(tmp_path, monkeypatch):
    rng = np.random.default_rng(3)
    ends = np.cumsum(rng.integers(1, 4, 40_000))
    starts, values = np.append(0, ends[:-1]), rng.integers(0, 3, len(ends)).astype(float)
    path = tmp_path / "a.bw"
    with pyBigWig.open(str(path), "w") as file:
        file.addHeader([("chr1", int(ends[-1]) + 5)])
        keep = rng.random(len(ends)) < 0.9
        names = np.full(keep.sum(), "chr1")
        file.addEntries(names, starts[keep], ends=ends[keep], values=values[keep])
    for stretch in 1 << 22, 10_000, 1:
        monkeypatch.setattr(bigwig, "_LONGEST_READ", stretch)
        assert_equal(path, "chr1", 0, int(ends[-1]) + 5)
        assert_equal(path, "chr1", 1234, 56_789)


def test_a_file_without_data_is_all_nan(tmp_path):
    path = tmp_path / "a.bw"
    with pyBigWig.open(str(path), "w") as file:
        file.addHeader(list(CHROMS.items()))
    runs = read_runs(path, "chr2")
    assert runs.ends.tolist() == [400]
    assert np.isnan(runs.values).all()


def test_real_tracks_read_as_pybigwig_reads_them(shared_data):
    files = sorted((shared_data / "bigwig").glob("*/*.bw"))
    files += sorted((shared_data / "bigwig").glob("*/tracks/*.bw"))[::9]
    assert files
    for path in files:
        with pyBigWig.open(str(path)) as file:
            ((chrom, length),) = file.chroms().items()
            intervals = file.intervals(chrom)
        start, end = intervals[0][0], intervals[-1][1]
        for shift in 0, 100_003:
            assert_equal(path, chrom, max(0, start - 777 + shift), min(length, end + 999 - shift))


@pytest.mark.parametrize(
    ("request_", "says"),
    [
        (("chr3",), "no chromosome called 'chr3'; it has chr"),
        (("1",), "no chromosome called '1'"),
        (("chr1", 5, 5), "holds no position"),
        (("chr1", -5, 5), "holds no position"),
        (("chr1", 5, 1001), "has 1,000 bases"),
        (("chr1", 2000), "holds no position"),
        (("chrEmpty",), "on the chromosome's 0 bases"),
        (("chr0",), "no chromosome called 'chr0'; it has chr"),
    ],
)
def test_a_request_that_cannot_be_served(tmp_path, request_, says):
    path = write_bigwig(tmp_path / "a.bw", CHROMS, [Section(0, 1, [(1, 5, 1.0)])])
    assert_one_line(path, says, *request_)


def assert_one_line(path, says, *request_) -> None:
    with pytest.raises(BigWigError) as caught:
        read_runs(path, *(request_ or ("chr1", 0, 500)))
    assert says in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_not_a_bigwig_file(tmp_path):
    path = tmp_path / "a.bw"
    assert_one_line(path, "cannot be read (No such file")
    assert_one_line(tmp_path, "cannot be read (Is a directory)")
    assert_one_line("ftp://example.org/a.bw", "only local files, http and https are read")
    path.write_bytes(b"")
    assert_one_line(path, "not a bigWig file")
    path.write_bytes(b"track type=bedGraph\n" * 10)
    assert_one_line(path, "not a bigWig file")
    path.write_bytes(struct.pack("<I", 0x8789F2EB) + bytes(100))
    assert_one_line(path, "bigBed")
    path.write_bytes(struct.pack("<IH", 0x888FFC26, 9) + bytes(100))
    assert_one_line(path, "version 9")


def patched(path: Path, at: int, form: str, *values) -> Path:
    content = bytearray(path.read_bytes())
    struct.pack_into(form, content, at, *values)
    path.write_bytes(content)
    return path


@pytest.fixture
def sound(tmp_path) -> Path:
    data = [Section(0, 1, [(i * 10, i * 10 + 5, float(i))]) for i in range(40)]
    return write_bigwig(tmp_path / "a.bw", CHROMS, data, fan=4)


def index_at(path: Path) -> int:
    return struct.unpack_from("<Q", path.read_bytes(), 24)[0]


def test_an_index_that_leads_in_circles(sound):
    root = index_at(sound) + 48
    patched(sound, root + 4 + 16, "<Q", root)
    assert_one_line(sound, "index contradicts itself")


def test_chromosome_list_that_leads_in_circles(sound):
    assert CHROMS == bigwig.chromosomes(sound)
    patched(sound, 64 + 32 + 4 + 4, "<Q", 64 + 32)
    assert_one_line(sound, "chromosome list")


@pytest.mark.parametrize("offset", [8, 24])
@pytest.mark.parametrize("value", [2**63, 2**64 - 1, 10**6, 70])
def test_offsets_in_the_header_that_lead_nowhere(sound, offset, value):
    assert_one_line(patched(sound, offset, "<Q", value), "truncated or damaged")


@pytest.mark.parametrize("size", [2**63, 2**64 - 1, 2**31])
def test_absurd_block_sizes(sound, size):
    content = sound.read_bytes()
    leaf = content.rindex(struct.pack("<IIII", 0, 390, 0, 395))
    assert_one_line(patched(sound, leaf + 24, "<Q", size), "impossible block sizes")


@pytest.mark.parametrize("offset", [2**63, 2**64 - 1])
def test_absurd_block_offsets(sound, offset):
    content = sound.read_bytes()
    leaf = content.rindex(struct.pack("<IIII", 0, 390, 0, 395))
    assert_one_line(patched(sound, leaf + 16, "<Q", offset), "truncated or damaged")


def test_an_index_that_hides_records(tmp_path):
    data = [Section(0, 1, [(10, 15, 1.0), (20, 25, 2.0)])]
    path = write_bigwig(tmp_path / "a.bw", CHROMS, data)
    leaf = path.read_bytes().rindex(struct.pack("<IIII", 0, 10, 0, 25))
    patched(path, leaf + 12, "<I", 17)
    assert_one_line(path, "index does not match its data")


def test_a_bomb_is_not_inflated(tmp_path):
    bomb = zlib.compress(bytes(50 << 20), 9)
    path = write_bigwig(tmp_path / "a.bw", CHROMS, [Section(0, 1, [(10, 15, 1.0)])])
    content = path.read_bytes()
    leaf = content.rindex(struct.pack("<IIII", 0, 10, 0, 15))
    path.write_bytes(content + bomb)
    patched(path, leaf + 16, "<QQ", len(content), len(bomb))
    assert_one_line(path, "longer or shorter")


@pytest.mark.parametrize("compress", [True, False])
def test_damage_is_noticed_or_hides_data_but_never_makes_any_up(tmp_path, compress):
    """Flip bytes and cut the file: one line, or data that are right where there are any.

    Blocks carry a checksum where they are compressed. The index carries none: what it conceals
    without a contradiction cannot be noticed.
    """
    rng = np.random.default_rng(8)
    edges = np.cumsum(rng.integers(1, 9, 400)).tolist()
    pairs = [(a, b, float(b % 7)) for a, b in zip(edges[:-1], edges[1:], strict=True)]
    data = [Section(2, 1, pairs[i : i + 20]) for i in range(0, len(pairs), 20)]
    path = write_bigwig(tmp_path / "a.bw", CHROMS, data, fan=3, compress=compress)
    content, expected = path.read_bytes(), read_values(path, "chrX")
    blocks = struct.unpack_from("<Q", content, 16)[0], index_at(path)
    outcomes = {"right": 0, "hidden": 0, "refused": 0}
    for trial in range(800):
        damaged = bytearray(content)
        place = int(rng.integers(len(content)))
        if trial % 5:
            damaged[place] ^= int(rng.integers(1, 256))
        else:
            del damaged[place:]
        path.write_bytes(damaged)
        outcome = damage_outcome(path, expected)
        if blocks[0] <= place < blocks[1] and not compress:
            continue
        outcomes[outcome] += 1
        assert outcome != "hidden" or place >= blocks[1]
    assert outcomes["refused"] > 20 * outcomes["hidden"]
    assert outcomes["right"] > 0


def damage_outcome(path: Path, expected: np.ndarray) -> str:
    try:
        values = read_values(path, "chrX", 0, 3000)
    except BigWigError as error:
        return "refused" if "\n" not in str(error) else str(error)
    if np.array_equal(values, expected, equal_nan=True):
        return "right"
    return "hidden" if (np.isnan(values) | (values == expected)).all() else "made up"
