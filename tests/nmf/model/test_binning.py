from __future__ import annotations

import itertools
import struct
import zlib
from pathlib import Path

import numpy as np
import pyBigWig
import pytest
from tuner_plugins.nmf.io.bigwig import BigWigError
from tuner_plugins.nmf.kernels import fast_path
from tuner_plugins.nmf.kernels.build import load_kernels
from tuner_plugins.nmf.kernels.fast_path import quick_bins
from tuner_plugins.nmf.model.binning import read_bins
from tuner_plugins.nmf.model.signal import SignalError

from tests.nmf.tracks import CHROM, LENGTH, bin_carefully, make_tracks

needs_kernels = pytest.mark.skipif(load_kernels() is None, reason="no C compiler here")


@pytest.fixture(scope="module")
def tracks(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return make_tracks(tmp_path_factory.mktemp("tracks"), seed=11, tracks=4)


def carefully(path: str, start: int, end: int, width: int, policy: str) -> np.ndarray:
    return bin_carefully(path, (CHROM, start, end), [width], policy)[0]


def quickly(
    path: str, start: int, end: int, widths: list[int], policy: str = "zero"
) -> list[np.ndarray] | None:
    rows = [np.zeros(-(-(end - start) // width)) for width in widths]
    addresses = [row.ctypes.data for row in rows]
    return rows if quick_bins(path, (CHROM, start, end), widths, policy, addresses) else None


@needs_kernels
@pytest.mark.parametrize("policy", ["zero", "mean"])
@pytest.mark.parametrize("region", [(0, LENGTH), (1_234, 35_678), (17, 18), (3, 20_003)])
def test_kernel_agrees_with_the_careful_reader(
    tracks: list[str], region: tuple[int, int], policy: str
) -> None:
    for path, widths in itertools.product(tracks, ([2, 1000], [25, 5000])):
        found = quickly(path, *region, widths, policy)
        assert found is not None
        for width, row in zip(widths, found, strict=True):
            expected = carefully(path, *region, width, policy)
            np.testing.assert_allclose(row, expected, rtol=1e-12, atol=1e-12)


@needs_kernels
def test_kernel_agrees_with_pybigwig_on_every_kind_of_record(tmp_path: Path) -> None:
    path = str(tmp_path / "kinds.bw")
    rng = np.random.default_rng(0)
    with pyBigWig.open(path, "w") as file:
        file.addHeader([(CHROM, LENGTH)])
        starts = np.arange(0, 3000, 30)
        values = rng.uniform(size=100)
        file.addEntries(
            [CHROM] * 100, starts.tolist(), ends=(starts + 20).tolist(), values=values.tolist()
        )
        file.addEntries(CHROM, (starts + 4000).tolist(), values=values.tolist(), span=7)
        file.addEntries(CHROM, 8000, values=values.tolist(), span=3, step=11)
    with pyBigWig.open(path) as file:
        dense = np.nan_to_num(file.values(CHROM, 100, 9100, numpy=True))
    found = quickly(path, 100, 9100, [50])
    assert found is not None
    np.testing.assert_allclose(found[0], dense.reshape(-1, 50).mean(axis=1), rtol=1e-6, atol=1e-9)


def one_block(tmp_path: Path, starts: list[int], ends: list[int], values: list[float]) -> str:
    """Write a bigWig and put other records into its only block."""
    path = tmp_path / "odd.bw"
    with pyBigWig.open(str(path), "w") as file:
        file.addHeader([(CHROM, LENGTH)], maxZooms=0)
        count = len(starts)
        plain = np.arange(count) * (LENGTH // count)
        rng = np.random.default_rng(1)
        file.addEntries(
            [CHROM] * count,
            plain.tolist(),
            ends=[*plain[1:].tolist(), LENGTH],
            values=rng.uniform(size=count).tolist(),
        )
    data = bytearray(path.read_bytes())
    index = struct.unpack_from("<Q", data, 24)[0]
    offset, size = struct.unpack_from("<QQ", data, index + 48 + 4 + 16)
    raw = bytearray(zlib.decompress(data[offset : offset + size]))
    for i, record in enumerate(zip(starts, ends, values, strict=True)):
        struct.pack_into("<IIf", raw, 24 + 12 * i, *record)
    for level in range(10):
        packed = zlib.compress(bytes(raw), level)
        if len(packed) <= size:
            data[offset : offset + size] = packed + bytes(size - len(packed))
            path.write_bytes(data)
            return str(path)
    raise AssertionError("the block does not fit")


ODD = {
    "overlapping": ([0, 500, 900, 2000], [600, 800, 1000, 2500], [1, 2, 3, 4]),
    "out of order": ([2000, 0, 900, 500], [2500, 400, 1000, 800], [1, 2, 3, 4]),
}


@needs_kernels
@pytest.mark.parametrize("which", ODD)
def test_unusual_records_are_left_to_the_careful_reader(tmp_path: Path, which: str) -> None:
    path = one_block(tmp_path, *ODD[which])
    assert quickly(str(path), 0, 3000, [100]) is None
    expected = carefully(path, 0, 3000, 100, "zero")
    np.testing.assert_array_equal(read_bins(path, CHROM, 0, 3000, [100])[0], expected)
    assert expected.max() == 4


@needs_kernels
def test_records_without_length_hold_nothing(tmp_path: Path) -> None:
    path = one_block(tmp_path, [0, 300, 900, 5], [400, 300, 1000, 5], [1, 9, 3, 9])
    found = quickly(str(path), 0, 3000, [100])
    assert found is not None
    np.testing.assert_array_equal(found[0], np.repeat([1.0, 0, 3, 0], [4, 5, 1, 20]))
    np.testing.assert_array_equal(found[0], carefully(path, 0, 3000, 100, "zero"))


@needs_kernels
def test_missing_and_infinite_values(tmp_path: Path) -> None:
    place = [0, 500, 900, 2000], [400, 800, 1000, 2500]
    path = one_block(tmp_path, *place, [1, float("nan"), 3, 4])
    for policy in ("zero", "mean"):
        expected = carefully(path, 0, 3000, 100, policy)
        np.testing.assert_allclose(
            read_bins(path, CHROM, 0, 3000, [100], policy)[0], expected, rtol=1e-12
        )
    path = one_block(tmp_path, *place, [1, 2, float("inf"), 4])
    with pytest.raises(SignalError, match="infinite"):
        read_bins(path, CHROM, 0, 3000, [100])


@needs_kernels
@pytest.mark.parametrize(("field", "value"), [(4, 100), (12, 2400)])
def test_an_index_that_denies_records_is_damage(tmp_path: Path, field: int, value: int) -> None:
    """A search by that index would miss records: narrower bounds than the block's are refused."""
    path = Path(one_block(tmp_path, [0, 500, 900, 2000], [400, 800, 1000, 2500], [1, 2, 3, 4]))
    assert quickly(str(path), 0, 3000, [100]) is not None
    data = bytearray(path.read_bytes())
    index = struct.unpack_from("<Q", data, 24)[0]
    struct.pack_into("<I", data, index + 48 + 4 + field, value)
    path.write_bytes(data)
    assert quickly(str(path), 0, 3000, [100]) is None
    with pytest.raises(BigWigError, match=r"odd\.bw"):
        read_bins(path, CHROM, 0, 3000, [100])


def test_damage_is_an_error_or_leaves_the_answer(tracks: list[str], tmp_path: Path) -> None:
    whole = Path(tracks[1]).read_bytes()
    expected = read_bins(tracks[1], CHROM, 0, LENGTH, [100])[0]
    rng = np.random.default_rng(2)
    path = tmp_path / "damaged.bw"
    refused = 0
    for _ in range(150):
        data = bytearray(whole)
        for at in rng.integers(0, len(data), 3):
            data[at] ^= int(rng.integers(1, 256))
        path.write_bytes(data[: rng.integers(64, len(data) + 1)] if rng.random() < 0.2 else data)
        try:
            found = read_bins(str(path), CHROM, 0, LENGTH, [100])[0]
        except (BigWigError, SignalError):
            refused += 1
            continue
        np.testing.assert_array_equal(found, carefully(str(path), 0, LENGTH, 100, "zero"))
        assert found.shape == expected.shape
    assert refused > 20


def test_without_kernels_the_careful_reader_is_used(
    tracks: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fast_path, "load_kernels", lambda quick: None)
    found = read_bins(tracks[0], CHROM, 100, 9100, [100])[0]
    np.testing.assert_array_equal(found, carefully(tracks[0], 100, 9100, 100, "zero"))


@pytest.mark.parametrize(
    ("chrom", "end", "said"),
    [("chr9", 10, "no chromosome called 'chr9'"), (CHROM, LENGTH + 1, "ends past")],
)
def test_a_region_that_is_not_there(tracks: list[str], chrom: str, end: int, said: str) -> None:
    with pytest.raises(BigWigError, match=said):
        read_bins(tracks[0], chrom, 0, end, [100])
