"""The quick path gives what the careful path gives, or leaves it alone."""

from __future__ import annotations

import ctypes
import os
import resource
import struct
import subprocess
import sys
import tempfile
import zlib
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tuner_plugins.nmf import pipeline
from tuner_plugins.nmf.io.bigwig import BigWigError, chromosomes
from tuner_plugins.nmf.kernels import build, fast_path
from tuner_plugins.nmf.kernels.build import load_kernels
from tuner_plugins.nmf.kernels.fast_path import quick_bins, quick_loadings
from tuner_plugins.nmf.kernels.parallel import run_each
from tuner_plugins.nmf.model.signal import SCALINGS, TRANSFORMS, SignalError
from tuner_plugins.nmf.params import DEFAULTS
from tuner_plugins.nmf.script import fast_main, placing
from tuner_plugins.nmf.script.fast_main import run_quick
from tuner_plugins.nmf.script.main import read_options
from tuner_plugins.nmf.script.placing import put_in_place

from tests.nmf.bigwig_files import Section, write_bigwig
from tests.nmf.io.test_bigwig import CHROMS, in_folder, regions, sections
from tests.nmf.tracks import CHROM, bin_carefully, make_tracks
from tests.nmf.tracks import write_bigwig as write_track

pytestmark = pytest.mark.skipif(
    load_kernels(quick=True) is None,
    reason="no C compiler here: then there is no quick path, and test_pipeline.py tests the other",
)

START, END = 1_500, 37_011
SETTING = {**DEFAULTS, "nan": "zero", "resolution": 100, "fl_lambda": 20.0}


@pytest.fixture(scope="module")
def tracks(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return make_tracks(tmp_path_factory.mktemp("tracks"), seed=5, tracks=6)


def carefully(*arguments: object) -> pipeline.Loadings:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "quick_loadings", lambda *_: None)
        return pipeline.compute_loadings(*arguments)


def bins_of(path: Path, chrom: str, start: int, end: int, widths: list[int], policy: str):
    """Return what `quick_bins` says and writes."""
    rows = [np.zeros(-(-(end - start) // width)) for width in widths]
    addresses = [row.ctypes.data for row in rows]
    return quick_bins(str(path), (chrom, start, end), widths, policy, addresses), rows


def both_paths_of(*ends: int):
    """Return the test that both paths give the same, on regions that end between two positions."""

    @settings(deadline=None)
    @given(
        k=st.integers(1, 5),
        num_iter=st.integers(1, 6),
        resolution=st.integers(2, 800),
        fine=st.sampled_from([0, 25, 100]),
        transform=st.sampled_from(TRANSFORMS),
        scaling=st.sampled_from(SCALINGS),
        start=st.sampled_from(["eigh", "contrast", "randomized_svd"]),
        l2penalty=st.sampled_from([1e-2, 1.0]),
        fl_lambda=st.sampled_from([0.0, 0.3, 5.0]),
        lambda_ladder=st.sampled_from([1.0, 1.5, 10.0]),
        tolerance=st.sampled_from([0.0, 0.01]),
        nan=st.sampled_from(["zero", "mean"]),
        region=st.tuples(st.integers(0, 2000), st.integers(*ends)),
        threads=st.integers(1, 3),
    )
    def test(tracks, region, k, threads, fine, **changes):
        setting = {**SETTING, "loadings_resolution": fine, **changes}
        found = quick_loadings(tracks, (CHROM, *region), k, setting, threads)
        assert found is not None
        values = np.frombuffer(found.values).reshape(k, found.bins)
        expected = carefully(tracks, CHROM, *region, k, setting)
        scale = np.abs(expected.values).max()
        np.testing.assert_allclose(values, expected.values, rtol=1e-7, atol=1e-8 * scale)
        weights = np.frombuffer(found.weights).reshape(k, len(tracks))
        np.testing.assert_allclose(
            weights, expected.weights, rtol=1e-6, atol=1e-7 * expected.weights.max()
        )

    return test


test_both_paths_give_the_same = both_paths_of(30_000, 40_000)


def test_the_plug_in_takes_the_quick_path(tracks, monkeypatch):
    monkeypatch.setattr(pipeline, "read_signals", None)
    loadings = pipeline.compute_loadings(tracks, CHROM, START, END, 3, SETTING)
    assert loadings.expand().shape == (END - START, 3)
    assert np.ptp(loadings.values) > 0


@pytest.mark.parametrize("start", ["eigh", "contrast"])
@pytest.mark.parametrize("k", [7, 14])
def test_more_loadings_than_tracks(tracks, k, start):
    """Rows beyond the tracks are the other halves of the vectors, then single tracks."""
    setting = {**SETTING, "num_iter": 1, "start": start}
    found = quick_loadings(tracks, (CHROM, START, END), k, setting, 1)
    expected = carefully(tracks, CHROM, START, END, k, setting)
    assert found is not None
    np.testing.assert_allclose(
        np.frombuffer(found.values).reshape(k, -1), expected.values, rtol=1e-9, atol=1e-9
    )


@pytest.mark.parametrize(
    "change",
    [
        {"resolution": 1},
        {"loadings_resolution": 1},
        {"start": "random"},
        {"resolution": 2, "region": (0, 600_000)},
    ],
)
def test_what_is_not_quick_is_left_alone(tracks, change):
    start, end = change.pop("region", (START, END))
    assert quick_loadings(tracks, (CHROM, start, end), 2, {**SETTING, **change}, 1) is None


def test_tracks_without_the_chromosome_are_left_out(tracks, tmp_path):
    """Wherever they lie among the others; and a damaged one is nothing to leave out."""
    expected = quick_loadings(tracks, (CHROM, START, END), 3, {**SETTING, "scaling": "l2"}, 2)
    assert (expected.tracks, expected.absent) == (6, {})
    short, long = {"chrX": 900}, {"chromosome_of_a_long_name": 900, "chr2": 5}
    absent = [
        str(write_bigwig(tmp_path / f"{i}.bw", chroms, [Section(0, 1, [(0, 9, 1.0)])]))
        for i, chroms in enumerate((short, long, short))
    ]
    mixed = [absent[0], *tracks[:2], absent[1], *tracks[2:], absent[2]]
    found = quick_loadings(mixed, (CHROM, START, END), 3, {**SETTING, "scaling": "l2"}, 2)
    assert (found.tracks, found.absent) == (6, dict.fromkeys(absent, ""))
    assert bytes(found.values) == bytes(expected.values)
    assert bytes(found.weights)[: len(bytes(expected.weights))] == bytes(expected.weights)
    assert quick_loadings(absent, (CHROM, START, END), 3, SETTING, 1) is None
    damaged = Path(absent[1])
    damaged.write_bytes(damaged.read_bytes().replace(b"chr2", b"chr3").replace(b"chrom", b"chr3\0"))
    damaged.write_bytes(damaged.read_bytes()[:90])
    assert quick_loadings(mixed, (CHROM, START, END), 3, SETTING, 1) is None


@pytest.mark.parametrize(("start", "most"), [("eigh", 2), ("contrast", 4)])
def test_equal_tracks_are_left_alone(tracks, start, most):
    """Beyond the rank, what the start is would hang on rounding."""
    twice, setting = [*tracks[:2], *tracks[:2]], {**SETTING, "start": start}
    assert quick_loadings(twice, (CHROM, START, END), most, setting, 1) is not None
    assert quick_loadings(twice, (CHROM, START, END), 2 * most, setting, 1) is None


def test_a_ladder_of_penalties():
    setting = {**SETTING, "fl_lambda": 20.0, "lambda_ladder": 10.0}
    found = fast_path.column_lambdas(setting, 5)
    np.testing.assert_allclose(found, [2, 2 * 10**0.5, 20, 20 * 10**0.5, 200], rtol=1e-14)
    assert fast_path.column_lambdas(setting, 1) == [20.0]
    for value in (0.0, 0.3, 20.0, 1e300):
        level = {**SETTING, "fl_lambda": value, "lambda_ladder": 1.0}
        assert fast_path.column_lambdas(level, 7) == [value] * 7  # to the last bit
    steep = {**SETTING, "fl_lambda": 1e307, "lambda_ladder": 1000.0}
    assert np.isfinite(fast_path.column_lambdas(steep, 3)).all()


def test_ranks_of_ties_zeros_and_both_signs(tmp_path):
    """Bins of equal averages, a last one that is shorter, and values below 0."""
    rng = np.random.default_rng(8)
    paths = []
    for number in range(3):
        values = np.repeat(rng.integers(-3, 4, 100), 4).astype(np.float32)
        paths.append(str(tmp_path / f"{number}.bw"))
        write_track(Path(paths[-1]), np.arange(100, 40_001, 100), values)
    setting = {**SETTING, "transform": "rank", "num_iter": 3}
    found = quick_loadings(paths, (CHROM, 0, 39_970), 2, setting, 1)
    expected = carefully(paths, CHROM, 0, 39_970, 2, setting)
    values = np.frombuffer(found.values).reshape(2, -1)
    np.testing.assert_allclose(values, expected.values, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("k", [1, 2, 5])
def test_loadings_that_are_all_constant(tracks, k):
    """Their rank is 1, up to rounding: the smallest weights that do are taken."""
    flat = {**SETTING, "fl_lambda": 1e9}
    found = quick_loadings(tracks, (CHROM, START, END), k, flat, 1)
    expected = carefully(tracks, CHROM, START, END, k, flat)
    assert found is not None
    np.testing.assert_allclose(
        np.frombuffer(found.values).reshape(k, -1), expected.values, rtol=1e-9
    )


@in_folder
@given(
    data=sections(),
    region=regions(),
    compress=st.booleans(),
    version=st.integers(1, 4),
    order=st.sampled_from("<>"),
    widths=st.lists(st.integers(1, 400), min_size=1, max_size=2),
    policy=st.sampled_from(["zero", "mean"]),
)
def test_files_of_every_kind_are_binned_alike(  # noqa: PLR0913 - drawn values
    tmp_path, data, region, compress, version, order, widths, policy
):
    path = tmp_path / "a.bw"
    write_bigwig(path, CHROMS, data, compress=compress, version=version, order=order, fan=3)
    chrom, start, end = region
    end = chromosomes(path)[chrom] if end is None else end
    try:
        expected = bin_carefully(path, (chrom, start, end), widths, policy)
    except SignalError:
        assert not bins_of(path, chrom, start, end, widths, policy)[0]
        return
    done, rows = bins_of(path, chrom, start, end, widths, policy)
    assert done
    for row, careful in zip(rows, expected, strict=True):
        np.testing.assert_allclose(row, careful, rtol=1e-12, atol=1e-300)


@in_folder
@given(data=sections(disorder=True), region=regions())
def test_disorder_is_left_alone(tmp_path, data, region):
    path = write_bigwig(tmp_path / "a.bw", CHROMS, data, fan=3)
    chrom, start, end = region
    end = CHROMS[chrom] if end is None else end
    done, rows = bins_of(path, chrom, start, end, [7], "zero")
    if done:
        expected = bin_carefully(path, (chrom, start, end), [7])
        np.testing.assert_allclose(rows[0], expected[0], rtol=1e-12)


def bits_flipped(content: bytes):
    """Return a file with every single bit flipped, then cut at every byte."""
    for place in range(len(content)):
        for bit in range(8):
            damaged = bytearray(content)
            damaged[place] ^= 1 << bit
            yield f"byte {place}, bit {bit}", bytes(damaged)
        yield f"cut at byte {place}", content[:place]


@pytest.mark.parametrize("every", [pytest.param(1, marks=pytest.mark.slow), 5])
@pytest.mark.parametrize("compress", [True, False])
def test_what_the_careful_reader_refuses_is_left_alone(tmp_path, compress, every):
    """Every fifth of all damages is one of each byte or two, and of all bits."""
    data = [Section(2, 1, [(at, at + 3, 1.0), (at + 5, at + 9, 2.0)]) for at in range(0, 50, 10)]
    path = write_bigwig(tmp_path / "a.bw", CHROMS, data, fan=2, compress=compress)
    outcomes = {"same": 0, "refused": 0}
    for what, damaged in islice(bits_flipped(path.read_bytes()), 0, None, every):
        path.write_bytes(damaged)
        done, rows = bins_of(path, "chrX", 12, 300, [11], "mean")
        try:
            expected = bin_carefully(path, ("chrX", 12, 300), [11], "mean")
        except (BigWigError, SignalError):
            assert not done, what
            outcomes["refused"] += 1
            continue
        if done:
            np.testing.assert_allclose(rows[0], expected[0], rtol=1e-12, err_msg=what)
            outcomes["same"] += 1
    assert min(outcomes.values()) > 200 / every


class Tool(ctypes.Structure):
    """The kernels' ``inflate_tool``."""

    _fields_ = tuple((name, ctypes.c_void_p) for name in ("library", "machine", "deflate", "zlib"))


def zlib_tool() -> Tool:
    return Tool(zlib=ctypes.cast(ctypes.CDLL("libz.so.1").uncompress, ctypes.c_void_p).value)


def inflate(packed: bytes, room: int, by_zlib: bool = False) -> bytes | None:
    library, opened = load_kernels(quick=True), zlib_tool() if by_zlib else Tool()
    assert library is not None
    assert by_zlib or not library.tuner_inflate_open(ctypes.byref(opened))
    size = ctypes.c_int64(room)
    out = ctypes.create_string_buffer(b"\xa5" * (max(room, 0) + 64), max(room, 0) + 64)
    length = ctypes.c_int64(len(packed))
    bad = library.tuner_inflate(ctypes.byref(opened), out, ctypes.byref(size), packed, length)
    assert out.raw[max(room, 0) :] == b"\xa5" * 64
    library.tuner_inflate_close(ctypes.byref(opened))
    return None if bad else out.raw[: size.value]


@st.composite
def packed_texts(draw):
    """Draw bytes of many kinds, and how zlib may write them."""
    rng, size = np.random.default_rng(draw(st.integers(0, 2**32))), draw(st.integers(0, 70_000))
    ends = np.cumsum(rng.integers(1, 90, size // 12 + 1)).astype(np.uint32)
    counts = rng.geometric(0.1, ends.size).astype(np.float32).view(np.uint32)
    kinds = {
        "noise": lambda: rng.bytes(size),
        "zeros": lambda: bytes(size),
        "records": lambda: np.stack([ends[:-1], ends[1:], counts[1:]], axis=1).tobytes(),
        "skewed": lambda: rng.geometric(0.02, size).clip(0, 255).astype(np.uint8).tobytes(),
        "few": lambda: rng.choice([0, 1, 2, 200], size).astype(np.uint8).tobytes(),
    }
    text = kinds[draw(st.sampled_from(sorted(kinds)))]()
    level, bits, memory = (draw(st.integers(*ends)) for ends in ((0, 9), (9, 15), (1, 9)))
    machine = zlib.compressobj(level, zlib.DEFLATED, bits, memory, draw(st.integers(0, 4)))
    cut = draw(st.integers(0, len(text)))
    packed = machine.compress(text[:cut]) + machine.flush(zlib.Z_FULL_FLUSH)
    return text, packed + machine.compress(text[cut:]) + machine.flush()


@in_folder
@given(pair=packed_texts(), damage=st.lists(st.tuples(st.floats(0, 1), st.integers(1, 255))))
def test_inflates_as_zlib_does_or_not_at_all(pair, damage):
    text, packed = pair
    for by_zlib in (False, True):
        assert inflate(packed, max(len(text), 1), by_zlib) == text
        assert inflate(packed, len(text) - 1, by_zlib) is None
        assert inflate(packed + b"behind", len(text) + 1, by_zlib) == text
    damaged = bytearray(packed)
    for place, flip in damage:
        damaged[int(place * (len(packed) - 1))] ^= flip
    for spoilt in (bytes(damaged), packed[: len(packed) // 2], packed[:-1]):
        found = inflate(spoilt, 80_000)
        if found is not None:
            assert found == zlib.decompressobj().decompress(spoilt)


@pytest.mark.parametrize(
    ("where", "change"),
    [(b"chr1", b"chr2"), (struct.pack("<II", 0, 1000), struct.pack("<II", 1, 1000))]
    + [(struct.pack("<QQ", 4, 0), struct.pack("<QQ", count, 0)) for count in (3, 5)],
)
def test_a_chromosome_list_that_contradicts_itself_is_left_alone(tmp_path, where, change):
    path = write_bigwig(tmp_path / "a.bw", CHROMS, [Section(2, 1, [(5, 9, 1.0)])])
    assert bins_of(path, "chrX", 0, 3000, [11], "zero")[0]
    content = path.read_bytes()
    assert where in content
    path.write_bytes(content.replace(where, change))
    assert not bins_of(path, "chrX", 0, 3000, [11], "zero")[0]


def command(folder: Path, out: Path) -> list[str]:
    region = ["-c", CHROM, "-s", str(START), "-e", str(END)]
    return ["-b", str(folder), *region, "-k", "3", "-o", str(out)]


@pytest.fixture
def frozen_setting(monkeypatch):
    monkeypatch.setattr(fast_main, "PARAMS", SETTING)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("positions", [4, 2_000, 35_511])
def test_the_file_is_an_array_of_numpys(tracks, tmp_path, monkeypatch, dtype, positions):
    plain = {**SETTING, "transform": "log1p", "start": "eigh"}  # all ranks of a single bin are 0
    monkeypatch.setattr(fast_main, "PARAMS", {**plain, "dtype": dtype})
    words = command(Path(tracks[0]).parent, tmp_path / "out.npy")
    words[words.index("-e") + 1], k = str(START + positions), 1 if positions < 100 else 3
    words[words.index("-k") + 1] = str(k)
    assert run_quick(words)
    found = np.load(tmp_path / "out.npy", allow_pickle=False)
    loadings = pipeline.compute_loadings(tracks, CHROM, START, START + positions, k, plain)
    assert found.dtype == dtype
    assert found.flags.c_contiguous
    np.testing.assert_array_equal(found, loadings.expand().astype(dtype))
    assert [path.name for path in tmp_path.iterdir()] == ["out.npy"]
    assert (tmp_path / "out.npy").stat().st_size == 128 + found.nbytes


@settings(max_examples=80, deadline=None)
@given(
    k=st.sampled_from([1, 2, 3, 5, 7, 64]),
    bins=st.integers(1, 40),
    width=st.sampled_from([1, 3, 25, 1_000, 5_000, 150_000]),
    short=st.floats(0, 0.999),
    single=st.booleans(),
    begin=st.sampled_from([0, 128, 1_000_001, (1 << 20) - 8]),
)
@example(k=2, bins=3, width=150_000, short=0.9, single=False, begin=0)
def test_every_row_is_written_where_it_belongs(k, bins, width, short, single, begin):
    """Long bins are given to the system a pattern at a time, and cut where pages end."""
    library, rng = load_kernels(quick=True), np.random.default_rng(bins)
    assert library is not None
    bins = min(bins, max(1, 20_000_000 // (8 * k * width)))
    values = rng.random((k, bins))
    size = bins * width - int(short * width)
    with tempfile.TemporaryFile() as file:
        file.seek(begin)
        sizes = map(ctypes.c_int64, (k, bins, width, size))
        assert not library.tuner_quick_write(
            file.fileno(), ctypes.c_void_p(values.ctypes.data), *sizes, single
        )
        assert os.lseek(file.fileno(), 0, os.SEEK_END) == begin + size * k * (4 if single else 8)
        file.seek(begin)
        found = np.fromfile(file, np.float32 if single else np.float64).reshape(-1, k)
    expected = np.repeat(values.T, width, axis=0)[:size].astype(found.dtype)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    "change",
    [
        lambda words: [*words, "--help"],
        lambda words: words[:-2],
        lambda words: [*words[:-2], "-o"],
        lambda words: ["--bw_dirs" if word == "-b" else word for word in words],
        lambda words: ["x3" if word == "3" else word for word in words],
        lambda words: [str(END) if word == str(START) else word for word in words],
        lambda words: [*words[:-1], str(Path(words[-1]).parent / "no" / "such.npy")],
        lambda words: [*words[:-1], str(Path(words[-1]).parent)],
        lambda words: [words[0], words[1] + "-absent", *words[2:]],
    ],
)
@pytest.mark.usefixtures("frozen_setting")
def test_an_odd_command_line_is_left_alone(tracks, tmp_path, change):
    words = command(Path(tracks[0]).parent, tmp_path / "out.npy")
    assert not run_quick(change(words))
    assert not list(tmp_path.iterdir())


ASKED = {"b": "a data", "c": "chr7", "s": "15", "e": "20", "k": "3", "o": "out.npy"}
LONG = {**{word[1]: name for word, name in fast_main.OPTIONS.items()}, "k": "k"}
FORMS = (
    lambda name, value: [f"-{name}", value],
    lambda name, value: [f"--{LONG[name]}" if name != "k" else "-k", value],
    lambda name, value: [f"-{name}{value}"],
    lambda name, value: [f"-{name}={value}"],
    lambda name, value: [f"--{LONG[name]}={value}"],
    lambda name, value: [f"--{LONG[name][:4]}", value],
    lambda name, value: [f"-{name}"],
    lambda name, value: [],
)


@settings(deadline=None)
@given(
    forms=st.lists(st.integers(0, 1) | st.integers(0, len(FORMS) - 1), min_size=6, max_size=6),
    changes=st.dictionaries(
        st.sampled_from(sorted(ASKED)),
        st.sampled_from(["-5", "", "=", "1_0", " 7", "x", "--", "-k", "1e3", "2.5"]),
        max_size=2,
    ),
    order=st.permutations(sorted(ASKED)),
    more=st.lists(
        st.sampled_from(["-k", "-k7", "--k=7", "-h", "word", "--", "-s", "9"]), max_size=2
    ),
)
@example(forms=[0, 0, 0, 0, 0, 7], changes={}, order=["b", "c", "s", "e", "o", "k"], more=[])
@example(forms=[1, 1, 1, 1, 1, 1], changes={}, order=["b", "c", "s", "e", "o", "k"], more=[])
def test_both_paths_read_a_command_line_alike(forms, changes, order, more):
    """What the quick path reads, argparse reads as the same; the plain forms it reads."""
    words = []
    for name, form in zip(order, forms, strict=True):
        words += FORMS[form](name, changes.get(name, ASKED[name]))
    words += more
    found = fast_main.read_words(words)
    plain = [
        form < 2 or (form == 7 and name == "k") for name, form in zip(order, forms, strict=True)
    ]
    if all(plain) and not changes and not more:
        assert found is not None
    try:
        numbers = (
            {name: int(found[name]) for name in ("start_pos", "end_pos", "k")} if found else {}
        )
    except ValueError:
        return  # left to argparse
    if found:
        one = {"chroms": None, "genome": False}
        assert vars(read_options(words)) == {**found, **numbers, **one}


@pytest.mark.usefixtures("frozen_setting")
def test_a_full_disk_leaves_the_old_file(tracks, tmp_path):
    out = tmp_path / "out.npy"
    out.write_bytes(b"old")
    words = command(Path(tracks[0]).parent, out)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        assert not run_quick(words)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"old"]
    assert run_quick(words)
    assert np.load(out).shape == (END - START, 3)


def test_a_failure_in_a_helper_thread_is_not_lost():
    done = []

    def work(number: int) -> bool:
        done.append(number)
        return number != 3

    assert False in run_each(work, range(8), 2)
    assert run_each(lambda number: number != 1 or None, [2, 0, 1], 3) == [True, None, True]
    assert run_each(lambda number: True, [0], 3) == [True]
    assert 3 in done


@pytest.mark.parametrize("exchange", [True, False])
def test_a_file_is_put_in_place(tmp_path, monkeypatch, exchange):
    if not exchange:
        monkeypatch.setattr(placing.ctypes, "CDLL", lambda name: object())
    new, target, link = (tmp_path / name for name in ("new", "target", "link"))
    for content in ("first", "second"):
        new.write_text(content)
        put_in_place(str(new), str(target))
        assert target.read_text() == content
        assert not new.exists()
    link.symlink_to(target)
    new.write_text("third")
    put_in_place(str(new), str(link))  # as os.replace: the link goes, its target stays
    assert (link.is_symlink(), link.read_text(), target.read_text()) == (False, "third", "second")


def test_nothing_heavy_is_imported(tracks, tmp_path):
    """What makes it quick: neither NumPy nor typing, functools or argparse."""
    heavy = ["numpy", "typing", "functools", "argparse", "threading", "re", "zlib", "collections"]
    program = (
        "import sys, types; folder = sys.argv.pop()\n"
        "for name, path in (('tuner_plugins', folder), ('tuner_plugins.nmf', folder + '/nmf')):\n"
        "    sys.modules[name] = types.ModuleType(name); sys.modules[name].__path__ = [path]\n"
        "from tuner_plugins.nmf.script import fast_main\n"
        f"fast_main.PARAMS = {SETTING!r}\n"
        "assert fast_main.run_quick(sys.argv[1:])\n"
        f"print([name for name in {heavy} if name in sys.modules])\n"
    )
    words = command(Path(tracks[0]).parent, tmp_path / "out.npy")
    folder = str(Path(fast_path.__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program, *words, folder],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ},
    )
    assert (done.returncode, done.stderr) == (0, f"-c: 6 tracks, {CHROM}:{START}-{END}, k 3\n")
    assert done.stdout == "[]\n"


def test_files_are_read_by_zlib_where_libdeflate_is_absent(tracks, monkeypatch):
    """A library compiled to find none of libdeflate's names, and one that finds none at all."""
    files = dict(build.KERNEL_FILES)
    source = files["fast/inflate.c"]
    region, widths = (CHROM, START, END), [50]
    rows = [np.zeros(-(-(END - START) // 50)) for _ in range(3)]
    for number, gone in enumerate(([], ["libdeflate"], ["libdeflate", "libz"])):
        for name in gone:
            source = source.replace(f'"{name}.', f'"{name}-absent.')
        monkeypatch.setitem(files, "fast/inflate.c", source)
        monkeypatch.setattr(build, "KERNEL_FILES", files)
        library = build._find_kernels(True)
        monkeypatch.setattr(fast_path, "load_kernels", lambda quick, found=library: found)
        address = [rows[number].ctypes.data]
        assert fast_path.quick_bins(tracks[0], region, widths, "zero", address) is (number < 2)
    assert rows[0].any()
    np.testing.assert_array_equal(rows[0], rows[1])
    assert not rows[2].any()
