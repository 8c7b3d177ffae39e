"""Inputs at the edge: what the answer is, held against the reference model where that has one."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from tuner_plugins.nmf import params as nmf_params
from tuner_plugins.nmf.io.bigwig import BigWigError
from tuner_plugins.nmf.model import reference
from tuner_plugins.nmf.model.signal import SignalError
from tuner_plugins.nmf.pipeline import compute_loadings

from tests.nmf.bigwig_files import Section, write_bigwig

SIZE = 60
PER_BASE = {**nmf_params.BASELINE, "nan": "zero"}


def folder_of(folder: Path, *tracks: list[tuple[int, int, float]]) -> list[str]:
    folder.mkdir(exist_ok=True)
    paths = []
    for number, records in enumerate(tracks):
        path = folder / f"{number}.bw"
        paths.append(str(write_bigwig(path, {"chr1": SIZE}, [Section(0, 1, records)])))
    return paths


def steps(scale: float, shift: int = 0) -> list[tuple[int, int, float]]:
    return [(i, i + 6, scale * ((i // 6 + shift) % 4)) for i in range(0, SIZE, 6)]


def solve(paths: list[str], end: int = SIZE, k: int = 2, **changes: object) -> np.ndarray:
    setting = {**PER_BASE, **changes}
    return compute_loadings(paths, "chr1", 0, end, k, setting).expand()


@pytest.mark.parametrize("resolution", [1, 7])
def test_tracks_of_zeros_give_zeros(tmp_path: Path, resolution: int) -> None:
    paths = folder_of(tmp_path / "t", [(0, SIZE, 0.0)], [(0, SIZE, 0.0)])
    assert not solve(paths, resolution=resolution).any()


@pytest.mark.parametrize("k", [1, 3])
def test_one_position_and_one_track_are_solved(tmp_path: Path, k: int) -> None:
    paths = folder_of(tmp_path / "t", steps(1.0, 1))
    for end in (1, SIZE):
        found = solve(paths, end, k)
        assert found.shape == (end, k)
        assert np.isfinite(found).all()
        assert (found >= 0).all()


@pytest.mark.parametrize(("fl_lambda", "constant"), [(0.0, False), (1e12, True)])
def test_the_penalty_at_its_ends(tmp_path: Path, fl_lambda: float, constant: bool) -> None:
    paths = folder_of(tmp_path / "t", steps(1.0), steps(2.0, 1), steps(1.0, 2))
    found = solve(paths, fl_lambda=fl_lambda)
    assert (np.ptp(found, axis=0) == 0).all() == constant
    rounds = {**reference.ROUNDS, "fl_lambda": fl_lambda}
    signal = reference.read_per_base([Path(path) for path in paths], "chr1", 0, SIZE)
    weights = reference.start_weights(signal, 2, reference.START, seed=0)
    expected, _ = reference.factorize_per_base(signal, weights, **rounds)
    # the scaffold adds values to the penalty: what rounding leaves of them is its own accuracy
    rounding = 4 * np.finfo(float).eps * fl_lambda
    np.testing.assert_allclose(found, expected, rtol=0, atol=max(1e-9, rounding))


def test_equal_tracks_without_l2_are_solved_by_the_pseudo_inverse(tmp_path: Path) -> None:
    paths = folder_of(tmp_path / "t", steps(1.0), steps(1.0))
    found = solve(paths, l2penalty=0.0, k=2)
    assert np.isfinite(found).all()
    assert found.any()


@pytest.mark.parametrize("scale", [1e-44, 1e-38, 1e37])
@pytest.mark.parametrize("resolution", [1, 7])
def test_the_ends_of_float32_give_finite_loadings(
    tmp_path: Path, scale: float, resolution: int
) -> None:
    paths = folder_of(tmp_path / "t", steps(scale), steps(scale, 1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = solve(paths, resolution=resolution)
    assert np.isfinite(found).all()
    assert (found >= 0).all()


def test_values_beyond_single_precision_are_refused_in_one_line(tmp_path: Path) -> None:
    """Written as 1e300 they are infinite in the file."""
    paths = folder_of(tmp_path / "t", [(0, SIZE, float("inf"))], steps(1.0))
    for resolution in (1, 7):
        with pytest.raises((BigWigError, SignalError), match="infinite|not finite") as caught:
            solve(paths, resolution=resolution)
        assert "\n" not in str(caught.value)
