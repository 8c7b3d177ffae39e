from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyBigWig
import pytest
from tuner_plugins.nmf import params as nmf_params
from tuner_plugins.nmf.config import NmfConfig
from tuner_plugins.nmf.plugin import NmfPlugin
from tuner_plugins.nmf.script import fast_main, main

from tests.nmf.tracks import CHROM, LENGTH, make_annotation, make_tracks, write_bigwig
from tests.pythons import old_python
from tuner.plugin import Provenance

START, END = 2_500, 38_123
SETTINGS = {
    "default": {},
    "exact": {"resolution": 1, "transform": "none", "num_iter": 8, "start": "randomized_svd"},
    "two levels": {
        **{"resolution": 500, "loadings_resolution": 1, "scaling": "l2"},
        "fl_lambda": 1e5,  # too strong for so short a region
    },
    "single": {"dtype": "float32", "resolution": 20, "transform": "sqrt", "start": "random"},
}
Plug = Callable[..., NmfPlugin]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data")
    make_tracks(path / "tracks", seed=8)
    make_annotation(path / "genes.bw")
    return path


@pytest.fixture(scope="module")
def plugin(folder: Path) -> NmfPlugin:
    section = {
        "bigwigs": [folder / "tracks"],
        "annotation": folder / "genes.bw",
        "cases": [{"region": f"{CHROM}:{START}-{END}", "k": 3}],
        "nan": "mean",
    }
    return NmfPlugin(NmfConfig.model_validate({"data": section}))


def make_script(plugin: NmfPlugin, path: Path, **changes: object) -> Path:
    params = {**nmf_params.DEFAULTS, **changes}
    plugin.freeze(params, path, Provenance("a study", 7, {"r": 0.5}, {"numpy": "2"}, "00ff"))
    return path


def run_script(script: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        [sys.executable, "-W", "error", str(script), *arguments],
        capture_output=True,
        text=True,
        env={**clean, **environment},
        check=False,
    )


def usual(folder: Path, out: Path) -> dict[str, str]:
    return {
        "-b": str(folder / "tracks"),
        "-c": CHROM,
        "-s": str(START),
        "-e": str(END),
        "-k": "3",
        "-o": str(out),
    }


def flat(arguments: dict[str, str]) -> list[str]:
    return [word for pair in arguments.items() for word in pair]


@pytest.mark.parametrize("which", SETTINGS)
def test_the_script_gives_the_plug_ins_loadings(
    plugin: NmfPlugin, folder: Path, tmp_path: Path, which: str
) -> None:
    script = make_script(plugin, tmp_path / "assign2.py", **SETTINGS[which])
    done = run_script(script, *flat(usual(folder, tmp_path / "out.npy")))
    said = [f"assign2.py: 5 tracks, {CHROM}:{START}-{END}, k 3"]
    if which == "two levels":
        said += [f"assign2.py: {fast_main.CONSTANT}"]
    assert (done.returncode, done.stdout, done.stderr.splitlines()) == (0, "", said)
    (case,) = plugin.load().tuned
    expected = plugin.run(case, {**nmf_params.DEFAULTS, **SETTINGS[which]}, 0).expand()
    found = np.load(tmp_path / "out.npy")
    assert found.shape == (END - START, 3)
    assert found.dtype == SETTINGS[which].get("dtype", "float64")
    np.testing.assert_array_equal(found, expected)
    assert np.ptp(found) > 0


def test_a_frozen_baseline_gives_the_baselines_loadings(
    plugin: NmfPlugin, folder: Path, tmp_path: Path
) -> None:
    params = {**nmf_params.BASELINE, "num_iter": 10}
    script = make_script(plugin, tmp_path / "assign2.py", **params)
    done = run_script(script, *flat(usual(folder, tmp_path / "out.npy")))
    assert done.returncode == 0, done.stderr
    (case,) = plugin.load().tuned
    expected = plugin.run(case, params, 0).expand()
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), expected, atol=1e-9)


def test_the_whole_chromosome_is_the_default(
    plugin: NmfPlugin, folder: Path, tmp_path: Path
) -> None:
    script = make_script(plugin, tmp_path / "assign2.py")
    arguments = usual(folder, tmp_path / "out.npy")
    del arguments["-s"], arguments["-e"]
    assert run_script(script, *flat(arguments)).returncode == 0
    assert np.load(tmp_path / "out.npy").shape == (LENGTH, 3)


@pytest.mark.parametrize("region", [(START, START + 1), (LENGTH - 1, LENGTH)])
def test_one_base_is_a_region(
    plugin: NmfPlugin, folder: Path, tmp_path: Path, region: tuple[int, int]
) -> None:
    script = make_script(plugin, tmp_path / "assign2.py")
    arguments = {**usual(folder, tmp_path / "out.npy"), "-s": str(region[0]), "-e": str(region[1])}
    done = run_script(script, *flat(arguments))
    assert done.returncode == 0, done.stderr
    assert np.load(tmp_path / "out.npy").shape == (1, 3)


def test_tracks_of_nothing_but_zeros_give_zeros(plugin: NmfPlugin, tmp_path: Path) -> None:
    (tmp_path / "tracks").mkdir()
    for name in ("a", "b"):
        path, ends = tmp_path / "tracks" / f"{name}.bw", np.array([LENGTH])
        write_bigwig(path, ends, np.zeros(1, np.float32))
    script = make_script(plugin, tmp_path / "assign2.py")
    done = run_script(script, *flat(usual(tmp_path, tmp_path / "out.npy")))
    assert done.returncode == 0, done.stderr
    assert not np.load(tmp_path / "out.npy").any()


@pytest.mark.parametrize("quick", [True, False])
def test_loadings_that_are_all_constant_are_told(
    plugin: NmfPlugin, folder: Path, tmp_path: Path, quick: bool
) -> None:
    told = "every loading is constant"
    for fl_lambda, expected in ((400.0, False), (1e12, True)):
        script = make_script(plugin, tmp_path / "assign2.py", fl_lambda=fl_lambda, resolution=50)
        words = flat(usual(folder, tmp_path / "out.npy"))
        done = run_script(script, *words, TUNER_NATIVE="1" if quick else "0")
        assert done.returncode == 0
        loadings = np.load(tmp_path / "out.npy")
        assert (np.ptp(loadings, axis=0).max() == 0) == expected
        assert (told in done.stderr) == expected


def test_the_script_needs_no_tuner_and_says_where_it_comes_from(
    plugin: NmfPlugin, folder: Path, tmp_path: Path
) -> None:
    script = make_script(plugin, tmp_path / "assign2.py", num_iter=4, fl_lambda=10.0)
    text = script.read_text()
    for part in ("a study", "trial 7", "00ff", "numpy 2", "# /// script", '"num_iter": 4'):
        assert part in text
    blocked = tmp_path / "blocked"
    blocked.mkdir()
    for name in ("tuner", "tuner_plugins", "mlflow", "optuna", "numba", "sklearn", "scipy"):
        (blocked / f"{name}.py").write_text("raise ImportError('not to be imported')")
    arguments = flat(usual(folder, tmp_path / "out.npy"))
    done = run_script(script, *arguments, PYTHONPATH=str(blocked))
    assert (done.returncode, done.stderr.count("\n")) == (0, 1)


@pytest.mark.parametrize("quick", ["1", "0"])
def test_the_script_says_what_is_odd(plugin: NmfPlugin, tmp_path: Path, quick: str) -> None:
    make_tracks(tmp_path / "tracks", seed=8, tracks=3)
    write_bigwig(tmp_path / "tracks" / "zero.bw", np.array([LENGTH]), np.zeros(1, np.float32))
    with pyBigWig.open(str(tmp_path / "tracks" / "plain.bw"), "w") as file:
        file.addHeader([("7", LENGTH)])
        file.addEntries(["7"], [0], ends=[9], values=[1.0])
    script = make_script(plugin, tmp_path / "assign2.py", fl_lambda=1.0, resolution=100)
    words = flat({**usual(tmp_path, tmp_path / "out.npy"), "-k": "5"})
    done = run_script(script, *words, TUNER_NATIVE=quick)
    assert done.returncode == 0, done.stderr
    taken, few, idle = done.stderr.splitlines()
    assert taken.endswith("left out: 1 without chr7 (plain.bw: it has '7')")
    assert few == "assign2.py: k 5 is more than its number of tracks: at most 4 loadings can differ"
    assert "weight 0 in every loading, of 1 of 4 tracks (zero.bw)" in idle


@pytest.mark.parametrize("quick", ["1", "0"])
@pytest.mark.parametrize("how", ["itself", "link", "hard link"])
def test_the_script_does_not_replace_itself(
    plugin: NmfPlugin, folder: Path, tmp_path: Path, quick: str, how: str
) -> None:
    script, out = make_script(plugin, tmp_path / "assign2.py"), tmp_path / "assign2.py"
    if how != "itself":
        out = tmp_path / "out.npy"
        out.symlink_to(script) if how == "link" else out.hardlink_to(script)
    text = script.read_text()
    done = run_script(script, *flat(usual(folder, out)), TUNER_NATIVE=quick)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "is this script, which would be lost; give another name" in done.stderr
    assert script.read_text() == text


@pytest.mark.slow
def test_without_kernels_the_script_still_works(
    plugin: NmfPlugin, folder: Path, tmp_path: Path
) -> None:
    script = make_script(plugin, tmp_path / "assign2.py")
    found = []
    for switch in ("1", "0"):
        out = tmp_path / f"{switch}.npy"
        done = run_script(script, *flat(usual(folder, out)), TUNER_NATIVE=switch)
        assert done.returncode == 0, done.stderr
        found.append(np.load(out))
    np.testing.assert_allclose(found[0], found[1], atol=1e-10)


def truncated(folder: Path, tmp_path: Path) -> str:
    tracks = tmp_path / "cut"
    tracks.mkdir()
    data = (folder / "tracks" / "track0.bw").read_bytes()
    (tracks / "cut.bw").write_bytes(data[: len(data) // 2])
    return str(tracks)


def unreadable(folder: Path, tmp_path: Path) -> str:
    tracks = tmp_path / "junk"
    tracks.mkdir()
    (tracks / "junk.bw").write_bytes(b"no bigWig" * 100)
    return str(tracks)


def empty(folder: Path, tmp_path: Path) -> str:
    tracks = tmp_path / "empty"
    tracks.mkdir()
    return str(tracks)


def own_track(folder: Path, tmp_path: Path) -> str:
    return str(folder / "tracks" / "track0.bw")


def linked_track(folder: Path, tmp_path: Path) -> str:
    (tmp_path / "linked.npy").symlink_to(own_track(folder, tmp_path))
    return str(tmp_path / "linked.npy")


def pipe(folder: Path, tmp_path: Path) -> str:
    os.mkfifo(tmp_path / "pipe")
    return str(tmp_path / "pipe")


@pytest.mark.parametrize(
    ("argument", "value", "said"),
    [
        ("-c", "chr99", "none of 5 bigWig files has a chromosome called 'chr99'"),
        ("-e", str(LENGTH + 1), f"{LENGTH:,} bases; choose an end of at most that"),
        ("-e", str(2**63 - 1), f"ends past the chromosome, which has {LENGTH:,} bases"),
        ("-e", "99999999999999999999", f"ends past the chromosome, which has {LENGTH:,} bases"),
        ("-b", "", "-b: expected a name, got nothing"),
        ("-c", "", "-c: expected a name, got nothing"),
        ("-o", "-", "expected the name of a file, got - (/dev/stdout is standard output)"),
        ("-s", str(END), "holds no position"),
        ("-s", "-5", "holds no position"),
        ("-b", "absent", "no such file or folder"),
        (
            "-b",
            "a,b",
            "-b: a,b: no such file or folder; expected one folder of bigWig files, or ad",
        ),
        ("-b", empty, "no bigWig files"),
        ("-b", truncated, "cut.bw"),
        ("-b", unreadable, "left out: 1 no bigWig (junk.bw)"),
        ("-e", str(START - 1), "holds no position"),
        ("-k", "0", "expected 1 to 1000"),
        ("-k", "two", "invalid int"),
        ("-k", "1000000000000", "expected 1 to 1000"),
        ("-o", "absent/out.npy", "no such folder"),
        ("-o", ".", "is a folder"),
        ("-o", "", "expected the name of a file"),
        ("-o", pipe, "nobody reads the pipe"),
        ("-o", own_track, "lies among the tracks"),
        ("-o", linked_track, "a bigWig file, which would be lost"),
        ("-b", pipe, "neither a file nor a folder"),
        ("-c", "7", "did you mean 'chr7'?"),
        ("-e", "1e4", "invalid int"),
        ("-k", "1001", "expected 1 to 1000"),
        ("-x", "1", "unrecognized arguments"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(  # noqa: PLR0913 - fixtures and a table's columns
    plugin: NmfPlugin,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    argument: str,
    value: str | Callable[[Path, Path], str],
    said: str,
) -> None:
    arguments = usual(folder, tmp_path / "out.npy")
    arguments[argument] = value if isinstance(value, str) else value(folder, tmp_path)
    for module in (fast_main, main):
        monkeypatch.setattr(module, "PARAMS", {**nmf_params.DEFAULTS, "nan": "zero"})
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    assert not fast_main.run_quick(flat(arguments))  # leaves it to the careful path
    assert main.main(flat(arguments)) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert said in err
    assert err.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_the_scaffolds_options_and_those_of_before_are_read() -> None:
    long = ["--bw_dir=d", "--chromosome_number", "chr1", "--start_pos=1", "--end_pos=2"]
    before = ["--bigwigs", "d", "--chrom", "chr1", "--start", "1", "--end=2"]
    expected = {"bw_dir": "d", "chromosome_number": "chr1", "start_pos": 1, "end_pos": 2}
    for words in (long, before):
        for output in ("--output", "--output_file"):
            found = vars(main.read_options([*words, output, "o"]))
            whole = {"chroms": None, "genome": False}
            assert found == {**expected, **whole, "k": 10, "output_file": "o"}


@pytest.mark.parametrize("missing", ["-b", "-c", "-o"])
def test_a_missing_argument_is_named(
    folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], missing: str
) -> None:
    arguments = usual(folder, tmp_path / "out.npy")
    del arguments[missing]
    assert main.main(flat(arguments)) == 2
    err = capfd.readouterr().err
    assert missing in err
    assert err.count("\n") == 1


@pytest.mark.slow
def test_the_script_runs_on_an_old_stack(plugin: NmfPlugin, folder: Path, tmp_path: Path) -> None:
    """Python 3.10, numpy<2, pyBigWig 0.3.22, without the project: the same loadings."""
    venv = tmp_path / "venv"
    subprocess.run([old_python(), "-m", "venv", str(venv)], check=True)
    packages = ["numpy<2", "numba", "scikit-learn", "pyBigWig==0.3.22"]
    pip = [str(venv / "bin" / "python"), "-m", "pip", "install", "--quiet"]
    subprocess.run([*pip, "--disable-pip-version-check", *packages], check=True)
    for number, changes in enumerate(SETTINGS.values()):
        script = make_script(plugin, tmp_path / f"assign{number}.py", **changes)
        new, old, old_numba = (str(tmp_path / f"{name}{number}.npy") for name in "abc")
        python = str(venv / "bin" / "python")
        runs = ((sys.executable, new, "1"), (python, old, "1"), (python, old_numba, "0"))
        for interpreter, out, native in runs:
            arguments = flat(usual(folder, Path(out)))
            done = subprocess.run(
                [interpreter, str(script), *arguments],
                env={**os.environ, "TUNER_NATIVE": native},
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, done.stderr
            told = [line for line in done.stderr.splitlines() if fast_main.CONSTANT not in line]
            assert len(told) == 1
        expected = np.load(new)
        tolerance = 1e-5 if expected.dtype == np.float64 else 1e-4
        for out in (old, old_numba):
            np.testing.assert_allclose(np.load(out), expected, atol=tolerance)


def genome_tracks(folder: Path) -> dict[str, int]:
    """Write four tracks of three chromosomes, and one that lacks the last; return the lengths."""
    lengths, rng = {"chr2": 30_000, "chr10": 12_000, "chr7": 5_000}, np.random.default_rng(3)
    folder.mkdir()
    for number in range(5):
        with pyBigWig.open(str(folder / f"{number}.bw"), "w") as file:
            known = dict(list(lengths.items())[: 2 if number == 4 else 3])
            file.addHeader(list(known.items()))
            for chrom, size in known.items():
                values = np.repeat(rng.random(size // 1000), 10) * number + rng.random(size // 100)
                file.addEntries(chrom, 0, values=values.tolist(), span=100, step=100)
    return lengths


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_genome_gives_an_array_a_chromosome_or_bigwig_files_of_all(
    plugin: NmfPlugin, tmp_path: Path, dtype: str
) -> None:
    lengths = genome_tracks(tmp_path / "tracks")
    script = make_script(
        plugin, tmp_path / "assign2.py", resolution=200, dtype=dtype, fl_lambda=9.0
    )
    words = ["-b", str(tmp_path / "tracks"), "-k", "2", "--genome", "-o"]
    done = run_script(script, *words, str(tmp_path / "x.npy"))
    assert done.stderr.splitlines() == [
        "assign2.py: 5 tracks, 2 chromosomes, 42,000 bases, k 2",
        "assign2.py: left out: 1 chromosome that some tracks lack (chr7)",
    ]
    assert run_script(script, *words, str(tmp_path / "x.bw")).returncode == 0
    assert sorted(path.name for path in tmp_path.glob("x.*")) == [
        *("x.chr10.npy", "x.chr2.npy", "x.loading0.bw", "x.loading1.bw")
    ]
    arrays = {chrom: np.load(tmp_path / f"x.{chrom}.npy") for chrom in ("chr2", "chr10")}
    for chrom, array in arrays.items():
        assert array.shape == (lengths[chrom], 2)
        assert array.dtype == dtype
        assert np.ptp(array, axis=0).min() > 0
        for number, column in enumerate(array.T.astype(np.float32)):
            with pyBigWig.open(str(tmp_path / f"x.loading{number}.bw")) as file:
                assert file.chroms() == {"chr2": 30_000, "chr10": 12_000}
                found = np.array(file.values(chrom, 0, lengths[chrom]), np.float32)
            np.testing.assert_array_equal(found, column)
    # the order of the chromosomes is given; one track lacks one of them and is left out
    words[4:5] = ["--chroms", "chr7,chr2"]
    done = run_script(script, *words, str(tmp_path / "y.npy"))
    assert done.stderr == (
        "assign2.py: 4 tracks of 5 files, 2 chromosomes, 35,000 bases, k 2; "
        "left out: 1 without chr7 or chr2 (4.bw)\n"
    )
    assert np.load(tmp_path / "y.chr7.npy").shape == (5_000, 2)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--genome", "-c", "chr2"], "expected one of -c, --chroms and --genome"),
        (["--genome", "-s", "5"], "-s, -e: for one chromosome"),
        (["--chroms", "chr2,"], "--chroms: expected a name"),
        (["--chroms", "chr2,chr2"], "'chr2' is named twice"),
        (["--chroms", "chr2,chr8"], "chromosome called 'chr8'"),
        (["--chroms", "chr2", "-o", "absent/x.npy"], "no such folder"),
        (["--chroms", "chr2,chr10", "-o", "y.npy"], "y.chr10.npy is a folder"),
    ],
)
def test_what_cannot_be_done_of_a_genome_is_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    words: list[str],
    said: str,
) -> None:
    genome_tracks(tmp_path / "tracks")
    (tmp_path / "y.chr10.npy").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(main, "PARAMS", {**nmf_params.DEFAULTS, "nan": "zero"})
    before = sorted(tmp_path.rglob("*"))
    assert main.main(["-b", "tracks", "-o", "x.npy", "-k", "2", *words]) == 2
    err = capfd.readouterr().err
    assert said in err
    assert err.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before
