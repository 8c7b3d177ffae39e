from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from tuner_plugins.nmf import pipeline
from tuner_plugins.nmf.io.bigwig import BigWigError
from tuner_plugins.nmf.kernels import fast_path
from tuner_plugins.nmf.kernels.parallel import available_threads
from tuner_plugins.nmf.model import reference
from tuner_plugins.nmf.model.signal import SignalError, transform_values
from tuner_plugins.nmf.params import DEFAULTS
from tuner_plugins.nmf.pipeline import compute_loadings, whole_region

from tests.nmf.tracks import CHROM, make_tracks, write_bigwig

START, END = 1_500, 21_500
FACTORS = {
    "none": lambda signal: np.ones(signal.shape[1]),
    "max": lambda signal: signal.max(axis=0),
    "l2": lambda signal: np.sqrt((signal**2).mean(axis=0)),
    "std": lambda signal: signal.std(axis=0),
}


@pytest.fixture(scope="module")
def tracks(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return make_tracks(tmp_path_factory.mktemp("tracks"), seed=21, tracks=4)


@pytest.mark.parametrize(
    ("resolution", "transform", "scaling", "start"),
    [
        (1, "log1p", "std", "randomized_svd"),
        (1, "none", "max", "random"),
        (40, "sqrt", "l2", "randomized_svd"),
        (500, "asinh", "none", "random"),
    ],
)
def test_settings_mean_the_same_as_on_positions(
    tracks: list[str], resolution: int, transform: str, scaling: str, start: str
) -> None:
    """Average, transform and scale base by base, then run the plain implementation."""
    setting = {
        **DEFAULTS,
        "nan": "zero",
        "resolution": resolution,
        "transform": transform,
        "scaling": scaling,
        "start": start,
        "num_iter": 4,
        "fl_lambda": 3.0,
    }
    found = compute_loadings(tracks, CHROM, START, END, 3, setting)
    signal = reference.read_per_base([Path(path) for path in tracks], CHROM, START, END)
    bins = signal.reshape(-1, resolution, len(tracks)).mean(axis=1)
    dense = np.repeat(transform_values(bins, transform), resolution, axis=0)
    dense /= FACTORS[scaling](dense)
    first = reference.start_weights(dense, 3, start, 0)
    expected, weights = reference.factorize_per_base(dense, first, 4, 1.0, 3.0)
    np.testing.assert_allclose(found.expand(), expected, atol=1e-9)
    np.testing.assert_allclose(found.weights, weights, atol=1e-9)


def test_fine_loadings_use_the_weights_learnt_on_bins(tracks: list[str]) -> None:
    setting = {
        **DEFAULTS,
        **{"nan": "zero", "resolution": 400, "fl_lambda": 5.0, "scaling": "max"},
        **{"num_iter": 3, "transform": "log1p", "start": "eigh"},
    }
    coarse = compute_loadings(tracks, CHROM, START, END, 2, setting)
    for fine_width in (1, 25):
        setting["loadings_resolution"] = fine_width
        fine = compute_loadings(tracks, CHROM, START, END, 2, setting)
        np.testing.assert_allclose(fine.weights, coarse.weights, rtol=1e-9)
        assert fine.size == coarse.size
        assert fine.ends.size > 2 * coarse.ends.size
        for loading, smooth in zip(fine.expand().T, coarse.expand().T, strict=True):
            assert np.corrcoef(loading, smooth)[0, 1] > 0.8


def test_a_region_may_be_open(tracks: list[str]) -> None:
    assert whole_region(tracks, CHROM, 5, 10) == (5, 10)
    assert whole_region(tracks, CHROM, None, 10) == (0, 10)


@pytest.mark.parametrize("start", [None, 7, 99_999_999_999])
@pytest.mark.parametrize("end", [40_001, 2**32, 2**63 - 1, 2**63 + 40, 10**20])
def test_an_end_past_the_chromosome_is_told_before_anything_is_as_long(
    tracks: list[str], start: int | None, end: int
) -> None:
    with pytest.raises(BigWigError, match="ends past the chromosome, which has 40,000 bases; "):
        whole_region(tracks, CHROM, start, end)
    setting = {**DEFAULTS, "nan": "zero"}
    with pytest.raises(BigWigError, match="ends past the chromosome, which has 40,000 bases; "):
        compute_loadings(tracks, CHROM, min(start or 0, 7), end, 2, setting)


def test_an_open_region_ends_with_the_chromosome(tracks: list[str]) -> None:
    assert whole_region(tracks, CHROM, 7, None) == (7, 40_000)


def test_the_track_with_infinite_values_is_named(tracks: list[str], tmp_path: Path) -> None:
    bad = tmp_path / "bad.bw"
    write_bigwig(bad, np.array([2000, 40_000]), np.array([1, np.inf], np.float32))
    for resolution in (1, 100):
        setting = {**DEFAULTS, "nan": "zero", "resolution": resolution}
        with pytest.raises(SignalError, match=r"bad\.bw: chr7:1500-21500 holds infinite"):
            compute_loadings([*tracks, str(bad)], CHROM, START, END, 2, setting)


@pytest.mark.parametrize("resolution", [1, 40])
def test_what_overflows_float32_is_refused_in_one_line(
    tracks: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, resolution: int
) -> None:
    write_bigwig(tmp_path / "big.bw", np.array([20_000, 40_000]), np.float32([1e30, 1]))
    setting = {**DEFAULTS, "nan": "zero", "resolution": resolution, "transform": "none"}
    files = [tracks[0], str(tmp_path / "big.bw")]
    fine = compute_loadings(files, CHROM, START, END, 2, setting)
    assert np.isfinite(fine.values).all()
    monkeypatch.setattr(pipeline, "quick_loadings", lambda *_: None)
    with pytest.raises(SignalError, match="use dtype float64 or a scaling"):
        compute_loadings(files, CHROM, START, END, 2, {**setting, "dtype": "float32"})
    scaled = {**setting, "dtype": "float32", "scaling": "max"}
    assert np.isfinite(compute_loadings(files, CHROM, START, END, 2, scaled).values).all()


EDGES = {
    "no penalty": {"fl_lambda": 0.0},
    "no ridge": {"l2penalty": 0.0},
    "neither": {"fl_lambda": 0.0, "l2penalty": 0.0},
    "one value": {"fl_lambda": 1e12},
    "beyond": {"fl_lambda": 1e300, "l2penalty": 1e300},
}


@pytest.mark.parametrize("which", EDGES)
@pytest.mark.parametrize("kind", ["zero", "one value", "one track", "the same twice"])
@pytest.mark.parametrize("start", ["eigh", "randomized_svd", "random"])
def test_the_edges_of_the_numbers_are_defined(
    tracks: list[str], tmp_path: Path, which: str, kind: str, start: str
) -> None:
    path = str(tmp_path / "flat.bw")
    write_bigwig(tmp_path / "flat.bw", np.array([40_000]), np.float32([3.0 * (kind != "zero")]))
    files = {"one track": [tracks[0]], "the same twice": [tracks[0]] * 2}.get(kind, [path, path])
    for resolution, end in ((500, END), (1, END), (1, START + 1)):
        setting = {**DEFAULTS, **EDGES[which], "nan": "zero", "resolution": resolution}
        found = compute_loadings(files, CHROM, START, end, 3, {**setting, "start": start})
        assert np.isfinite(found.values).all()
        assert (found.values >= 0).all()
        assert np.isfinite(found.weights).all()
        if kind in ("zero", "one value") or which in ("one value", "beyond"):
            wide = found.values.max(axis=1)
            assert (np.ptp(found.values, axis=1) <= 1e-9 * np.maximum(wide, 1e-300)).all()
        if kind == "zero":
            assert not found.values.any()


def test_threads_follow_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    cores = len(os.sched_getaffinity(0))
    for asked, expected in (("1", 1), ("0", cores), ("", cores), ("4096", cores), ("x", cores)):
        monkeypatch.setenv("OMP_NUM_THREADS", asked)
        assert available_threads() == expected


def test_progress_is_shown_to_a_person(
    tracks: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    setting = {**DEFAULTS, "nan": "zero"}
    for module in (pipeline, fast_path):
        monkeypatch.setattr(module, "PROGRESS_BASES", 1)
    compute_loadings(tracks, CHROM, START, END, 1, setting)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(pipeline.sys.stderr, "isatty", lambda: True)
    compute_loadings(tracks, CHROM, START, END, 1, setting)
    shown = capsys.readouterr().err
    assert "reading: 4 of 4 tracks" in shown
    assert shown.endswith("\r\033[K")
