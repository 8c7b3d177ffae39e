"""The folder of the assignment: chromosomes mixed, the annotation among the tracks, three lines."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyBigWig
import pytest
from optuna.samplers import RandomSampler
from optuna.study import create_study
from tuner_plugins.nmf.config import NmfConfig
from tuner_plugins.nmf.pipeline import compute_loadings
from tuner_plugins.nmf.plugin import NmfPlugin
from tuner_plugins.nmf.simulate.tracks import simulate_tracks

from tests.pythons import old_python
from tuner.plugin import Provenance

CHROMS = ("chr10", "chrX")
LAYOUT = {"chr10": (135_374_737, 1_000_000, 1_200_000), "chrX": (154_913_754, 1_000_000, 1_100_000)}
LINES = (
    "-b data -c chr10 -s 1000000 -e 1500000 -k 15 -o one.npy",
    "-b data -c chr10 -s 1000000 -e 11000000 -k 10 -o two.npy",
    "-b data -c chrX -s 1000000 -e 11000000 -k 5 -o three.npy",
)
SHORTER = tuple(line.replace("-e 11000000", "-e 1300000") for line in LINES)
SAID = (
    "assign2.py: 7 tracks of 14 files, {region}, k {k}; left out: 5 without {chrom} "
    "({names}, ...), 1 annotation (Annotation_hg18.Gene.bw), 1 no bigWig (README.txt)\n"
)

TOO_MANY = "assign2.py: k {k} is more than its number of tracks: at most 7 loadings can differ\n"


def keep_chromosome(source: Path, chrom: str, target: Path) -> None:
    with pyBigWig.open(str(source)) as whole, pyBigWig.open(str(target), "w") as part:
        part.addHeader([(chrom, whole.chroms()[chrom])])
        starts, ends, values = zip(*whole.intervals(chrom), strict=True)
        part.addEntries([chrom] * len(starts), list(starts), ends=list(ends), values=list(values))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a working folder: ``data`` as the assignment has it, ``clean`` of one chromosome each.

    Seven targets: five in a file for each chromosome, two in one file for the whole genome.
    """
    root = tmp_path_factory.mktemp("graded")
    simulate_tracks(root / "sim", seed=3, tracks=7, layout=LAYOUT)
    for chrom in CHROMS:
        (root / "clean" / chrom).mkdir(parents=True)
    (root / "data").mkdir()
    for number, path in enumerate(sorted((root / "sim" / "tracks").iterdir())):
        stem = f"{path.name.split('.')[0]}.K562.rawSignal.hg18"
        for chrom in CHROMS:
            name = f"{stem}.bw" if number % 3 == 1 else f"{stem}.{chrom}.bw"
            if number % 3 == 1:
                shutil.copy(path, root / "data" / name)
            else:
                keep_chromosome(path, chrom, root / "data" / name)
            shutil.copy(root / "data" / name, root / "clean" / chrom)
    shutil.copy(root / "sim" / "Annotation.Gene.bw", root / "data" / "Annotation_hg18.Gene.bw")
    (root / "data" / "README.txt").write_text("K562, hg18")
    return root


def make_plugin(place: Path, clean: bool) -> NmfPlugin:
    tracks = [place / "clean" / c if clean else place / "data" for c in CHROMS]
    annotation = place / ("sim/Annotation.Gene.bw" if clean else "data/Annotation_hg18.Gene.bw")
    cases = [
        {"region": f"{chrom}:1000000-{end}", "k": k, "bigwigs": [folder]}
        for chrom, end, k, folder in zip(
            CHROMS, (1_200_000, 1_100_000), (4, 3), tracks, strict=True
        )
    ]
    return NmfPlugin(NmfConfig.model_validate({"data": {"annotation": annotation, "cases": cases}}))


@pytest.fixture(scope="module")
def script(place: Path) -> Path:
    path = place / "assign2.py"
    plugin = make_plugin(place, clean=False)
    plugin.freeze(plugin.defaults(), path, Provenance("graded", 1, {"r": 0.5}))
    return path


def run_lines(place: Path, script: Path, python: str, lines: tuple[str, ...]) -> None:
    """Run the lines in the working folder; check what they say, write and leave behind."""
    setting = {**make_plugin(place, clean=True).defaults(), "nan": "zero"}
    for line in lines:
        words = line.split()
        _, _, _, chrom, _, start, _, end, _, k, _, out = words
        before = sorted(place.rglob("*"))
        command = [python, str(script), *words]
        done = subprocess.run(command, cwd=place, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert sorted(place.rglob("*")) == sorted([*before, place / out])
        other = CHROMS[chrom == "chr10"]
        lacking = sorted(path.name for path in (place / "data").glob(f"*.{other}.bw"))
        region = f"{chrom}:{start}-{end}"
        names = ", ".join(lacking[:3])
        said = SAID.format(region=region, k=k, chrom=chrom, names=names)
        assert done.stderr == said + (TOO_MANY.format(k=k) if int(k) > 7 else "")
        assert done.stdout == ""
        tracks = sorted(map(str, (place / "clean" / chrom).iterdir()))
        expected = compute_loadings(tracks, chrom, int(start), int(end), int(k), setting)
        found = np.load(place / out, mmap_mode="r")
        (place / out).unlink()
        assert found.shape == (int(end) - int(start), int(k))
        for column, values in enumerate(expected.values):
            values = np.repeat(values, np.diff(expected.ends, prepend=0))
            np.testing.assert_allclose(found[:, column], values, rtol=1e-9, atol=1e-12)


def test_three_lines_like_the_graded_ones_run(place: Path, script: Path) -> None:
    assert "Never taken as a track" in script.read_text()
    run_lines(place, script, sys.executable, SHORTER)


@pytest.mark.slow
def test_the_three_graded_lines_run_as_they_stand(
    place: Path, script: Path, tmp_path: Path
) -> None:
    """On Python 3.10 with numpy<2 and pyBigWig 0.3.22."""
    venv = tmp_path / "venv"
    subprocess.run([old_python(), "-m", "venv", str(venv)], check=True)
    python = str(venv / "bin" / "python")
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "numpy<2", "pyBigWig==0.3.22"], check=True)
    run_lines(place, script, python, LINES)


def test_a_study_on_the_mixed_folder_gives_what_one_on_a_clean_folder_gives(place: Path) -> None:
    mixed, clean = (make_plugin(place, clean=clean) for clean in (False, True))
    study = create_study(sampler=RandomSampler(seed=4))
    settings = [clean.defaults()]
    for _ in range(3):
        params = study.ask({**clean.search_space()}).params
        settings.append({**clean.defaults(), **params, "num_iter": min(params["num_iter"], 2)})
    found = []
    for plugin in (mixed, clean):
        cases = plugin.load().tuned
        assert [len(case.data.tracks) for case in cases] == [7, 7]
        found.append(
            [
                plugin.score(case, plugin.run(case, setting, 0))
                for case in cases
                for setting in settings
            ]
        )
    assert found[0] == found[1]
    assert len({metrics["r"] for metrics in found[0]}) > 4
    names = [{path.name for path in plugin.inputs()} for plugin in (mixed, clean)]
    assert names[0] - names[1] == {"Annotation_hg18.Gene.bw"}


def test_an_annotation_that_is_moved_is_known_by_its_content(place: Path, script: Path) -> None:
    annotation = place / "data" / "Annotation_hg18.Gene.bw"
    moved = place / "data" / "K562.genes.bw"
    os.rename(annotation, moved)
    try:
        line = SHORTER[0].replace("Annotation_hg18.Gene", "K562.genes").split()
        command = [sys.executable, str(script), *line]
        done = subprocess.run(command, cwd=place, capture_output=True, text=True, check=False)
        assert "7 tracks of 14 files" in done.stderr
        assert "1 annotation (K562.genes.bw)" in done.stderr
        (place / "one.npy").unlink()
    finally:
        os.rename(moved, annotation)
