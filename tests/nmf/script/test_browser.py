"""Loadings for a genome browser, read by pyBigWig and as text."""

from __future__ import annotations

import resource
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyBigWig
import pytest
from tuner_plugins.nmf import params as nmf_params
from tuner_plugins.nmf.config import NmfConfig
from tuner_plugins.nmf.model.factorize import Loadings
from tuner_plugins.nmf.plugin import NmfPlugin
from tuner_plugins.nmf.script import fast_main, main
from tuner_plugins.nmf.script.browser import browser_files, browser_names, browser_problem

from tests.nmf.tracks import CHROM, LENGTH, make_annotation, make_tracks
from tuner.plugin import Provenance, Result

START, END = 2_500, 38_123
SETTINGS: dict[str, dict[str, Any]] = {
    "binned": {"resolution": 50, "fl_lambda": 3.0},
    "per base, single": {"resolution": 1, "dtype": "float32", "fl_lambda": 3.0},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data")
    make_tracks(path / "tracks", seed=8)
    make_annotation(path / "genes.bw")
    return path


@pytest.fixture(scope="module")
def plugin(folder: Path) -> NmfPlugin:
    data = {"bigwigs": [folder / "tracks"], "annotation": folder / "genes.bw"}
    data["cases"] = [{"region": f"{CHROM}:{START}-{END}", "k": 3}]
    return NmfPlugin(NmfConfig.model_validate({"data": data}))


def read_bigwig(path: Path, chrom: str, start: int, end: int) -> np.ndarray:
    with pyBigWig.open(str(path)) as file:
        return np.asarray(file.values(chrom, start, end), dtype=np.float32)


def read_bedgraph(path: Path, chrom: str, start: int, end: int) -> np.ndarray:
    head, *lines = path.read_text().splitlines()
    assert head == f'track type=bedGraph name="{path.stem}"'
    values = np.full(end - start, np.nan, np.float32)
    for line in lines:
        name, low, high, value = line.split("\t")
        assert name == chrom
        values[int(low) - start : int(high) - start] = value
    return values


@pytest.mark.parametrize("which", SETTINGS)
def test_the_script_writes_what_is_in_the_array(
    plugin: NmfPlugin, folder: Path, tmp_path: Path, which: str
) -> None:
    script = tmp_path / "assign2.py"
    plugin.freeze({**nmf_params.DEFAULTS, **SETTINGS[which]}, script, Provenance("a study"))
    region = ["-c", CHROM, "-s", str(START), "-e", str(END), "-k", "3"]
    for _ in range(2):  # the second time over what is there
        for out in ("x.npy", "x.bw", "x.bedGraph"):
            words = ["-b", str(folder / "tracks"), *region, "-o", str(tmp_path / out)]
            command = [sys.executable, "-W", "error", str(script), *words]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            assert (done.returncode, done.stderr.count("\n")) == (0, 1), done.stderr
    expected = np.load(tmp_path / "x.npy").astype(np.float32)
    assert np.ptp(expected) > 0
    for number in range(3):
        place = CHROM, START, END
        track = tmp_path / f"x.loading{number}.bw"
        np.testing.assert_array_equal(read_bigwig(track, *place), expected[:, number])
        text = tmp_path / f"x.loading{number}.bedGraph"
        np.testing.assert_array_equal(read_bedgraph(text, *place), expected[:, number])
        with pyBigWig.open(str(track)) as file:
            assert file.chroms() == {CHROM: LENGTH}
            assert file.header()["nLevels"] > 0  # without them a browser reads it all
    assert len(list(tmp_path.iterdir())) == 2 + 2 * 3


def test_chromosomes_follow_each_other_and_equal_neighbours_are_one(tmp_path: Path) -> None:
    ends, weights = np.array([2, 5, 9]), np.eye(1)
    first = Loadings(np.array([[0.1, 0.1, 0.0]]), ends, weights)
    second = Loadings(np.array([[1e-30, 1e30, 7.0]]), ends, weights)
    for name in ("x.bw", "x.bg"):
        with browser_files(str(tmp_path / name), 1, {"chrB": 20, "chrA": 9}) as write:
            write("chrB", 4, first)
            write("chrA", 0, second)
    single = [float(np.float32(value)) for value in (0.1, 1e-30, 1e30)]
    with pyBigWig.open(str(tmp_path / "x.loading0.bw")) as file:
        assert file.intervals("chrB") == ((4, 9, single[0]), (9, 13, 0.0))
        assert file.intervals("chrA") == ((0, 2, single[1]), (2, 5, single[2]), (5, 9, 7.0))
    lines = (tmp_path / "x.loading0.bg").read_text().splitlines()[1:]
    rows = [
        (name, int(low), int(high), float(value))
        for name, low, high, value in map(str.split, lines)
    ]
    assert rows[:2] == [("chrB", 4, 9, pytest.approx(0.1)), ("chrB", 9, 13, 0.0)]
    assert [row[1:3] for row in rows[2:]] == [(0, 2), (2, 5), (5, 9)]


def test_what_cannot_be_written_is_one_line_before_any_work(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    for module in (fast_main, main):
        monkeypatch.setattr(module, "PARAMS", {**nmf_params.DEFAULTS, "nan": "zero"})
    monkeypatch.setattr(main, "compute_loadings", lambda *_: pytest.fail("work was spent"))
    (tmp_path / "f.loading1.bw").mkdir()
    tracks = folder / "tracks"
    for out, said in (
        (tracks / "x.bw", "lies among the tracks and would be one the next time"),
        (tmp_path / "f.bw", "f.loading1.bw is a folder"),
        (tmp_path / "absent" / "x.bedGraph", "no such folder"),
    ):
        words = ["-b", str(tracks), "-c", CHROM, "-s", "0", "-e", "9000", "-k", "3", "-o", str(out)]
        assert not fast_main.run_quick(words)
        assert main.main(words) == 2
        err = capfd.readouterr().err
        assert said in err
        assert err.count("\n") == 1


def test_without_pybigwig_the_line_names_it_and_the_other_format(
    plugin: NmfPlugin, folder: Path, tmp_path: Path
) -> None:
    """A name of None in sys.modules is what an absent module looks like."""
    script = tmp_path / "assign2.py"
    plugin.freeze({**nmf_params.DEFAULTS, "resolution": 50}, script, Provenance("a study"))
    absent = (
        "import runpy, sys\n"
        "sys.modules['pyBigWig'] = None\n"
        "sys.argv = sys.argv[1:]\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')\n"
    )
    words = ["-b", str(folder / "tracks"), "-c", CHROM, "-k", "2", "-o"]
    for out, code in (("x.bw", 2), ("x.bedGraph", 0)):
        command = [sys.executable, "-c", absent, str(script), *words, str(tmp_path / out)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr.count("\n")) == (code, 1), done.stderr
        if code:
            assert "pip install pyBigWig), or give a name that ends in .bedGraph" in done.stderr
    assert len(list(tmp_path.iterdir())) == 3


def long_loadings() -> Loadings:
    values = np.random.default_rng(0).random((1, 30_000))
    return Loadings(values, np.arange(1, 30_001), np.eye(1))


def test_a_full_disk_leaves_what_was_there(tmp_path: Path) -> None:
    (place,) = browser_names(str(tmp_path / "x.bedGraph"), 1)
    Path(place).write_text("of before")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, hard))
    try:
        write_long(tmp_path / "x.bedGraph", r"File too large")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [path.read_text() for path in tmp_path.iterdir()] == ["of before"]


def test_a_disk_that_may_be_too_full_is_not_handed_to_pybigwig(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It hangs at the end of a file that finds no room, so that the room is asked for before."""
    (place,) = browser_names(str(tmp_path / "x.bw"), 1)
    Path(place).write_text("of before")
    for free, full in ((17_000_000, True), (18_000_000, False)):
        usage = shutil.disk_usage(tmp_path)._replace(free=free)
        monkeypatch.setattr(shutil, "disk_usage", lambda _, usage=usage: usage)
        if full:
            write_long(tmp_path / "x.bw", "No space left on device")
            assert [path.read_text() for path in tmp_path.iterdir()] == ["of before"]
        else:
            with browser_files(str(tmp_path / "x.bw"), 1, {"chr1": 40_000}) as write:
                write("chr1", 7, long_loadings())


def write_long(path: Path, said: str) -> None:
    with (
        pytest.raises(OSError, match=rf"{path.name}: cannot be written \({said}"),
        browser_files(str(path), 1, {"chr1": 40_000}) as write,
    ):
        write("chr1", 7, long_loadings())


def test_bedgraph_among_the_tracks_is_no_trouble(tmp_path: Path) -> None:
    assert browser_problem(str(tmp_path / "x.bedGraph"), 2, [str(tmp_path)]) is None


def test_a_study_leaves_its_loadings_beside_its_figures(plugin: NmfPlugin, tmp_path: Path) -> None:
    (case,) = plugin.load().tuned
    params = {**nmf_params.DEFAULTS, "resolution": 50}
    output = plugin.run(case, params, 0)
    plugin.files([Result(case, params, output, {}, 1.0)], tmp_path)
    assert len(list(tmp_path.iterdir())) == 3
    for number, row in enumerate(output.expand().T.astype(np.float32)):
        path = tmp_path / f"loadings_{case.name}.loading{number}.bw"
        np.testing.assert_array_equal(read_bigwig(path, CHROM, START, END), row)
