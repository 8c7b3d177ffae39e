from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from tuner_plugins.nmf.model.factorize import Loadings
from tuner_plugins.nmf.script import npy
from tuner_plugins.nmf.script.npy import save_loadings


def random_loadings(seed: int, k: int, ends: np.ndarray) -> Loadings:
    rng = np.random.default_rng(seed)
    return Loadings(rng.uniform(size=(k, ends.size)), ends, np.ones((k, 2)))


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(
    "ends",
    [
        np.arange(1, 1001),
        np.minimum(np.arange(1, 12) * 1000, 10_500),
        np.array([1, 3, 50_000, 50_001, 123_456]),
        np.array([300_000]),
    ],
)
def test_the_file_holds_the_loadings_per_base(tmp_path: Path, dtype: str, ends: np.ndarray) -> None:
    loadings = random_loadings(0, 3, ends)
    path = tmp_path / "out.npy"
    save_loadings(str(path), loadings, dtype)
    found = np.load(path, allow_pickle=False)
    assert found.dtype == dtype
    assert found.shape == (ends[-1], 3)
    assert found.flags.c_contiguous
    np.testing.assert_array_equal(found, loadings.expand().astype(dtype))
    assert os.listdir(tmp_path) == ["out.npy"]


def test_zeros_are_written_not_left_as_holes(tmp_path: Path) -> None:
    path = tmp_path / "out.npy"
    save_loadings(str(path), Loadings(np.zeros((4, 1)), np.array([100_000]), np.ones((4, 2))))
    assert path.stat().st_blocks * 512 >= 4 * 8 * 100_000


def test_a_failure_leaves_the_old_file_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "out.npy"
    path.write_bytes(b"old")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(npy, "_write_all", fail)
    with pytest.raises(OSError, match="No space"):
        save_loadings(str(path), random_loadings(0, 2, np.array([10, 20])))
    assert os.listdir(tmp_path) == ["out.npy"]
    assert path.read_bytes() == b"old"


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="absent"):
        save_loadings(str(tmp_path / "absent" / "out.npy"), random_loadings(0, 2, np.array([10])))


def test_progress_is_shown_to_a_person(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(npy, "_PROGRESS_SECONDS", -1.0)
    loadings = random_loadings(0, 2, np.array([100_000, 200_000]))
    save_loadings(str(tmp_path / "out.npy"), loadings)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(npy.sys.stderr, "isatty", lambda: True)
    save_loadings(str(tmp_path / "out.npy"), loadings)
    shown = capsys.readouterr().err
    assert "writing: 50%" in shown
    assert "writing: 100%" in shown
    assert shown.endswith("\r\033[K")
