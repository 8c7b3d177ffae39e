"""The two configurations that come with it, end to end, on less data."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.driver import PROJECT, Driver

SMALL = {"length": 40_000, "reads": 60}
QUICK = ["timing.final_time=0.5s", "timing.finalists=2", "timing.repeats=1"]


def small(name: str, workplace: Path) -> Path:
    """Copy a configuration into a folder of its own, with less data."""
    sections = yaml.safe_load((PROJECT / "configs" / name).read_text())
    sections["simulate"] |= SMALL
    folder = workplace / "configs"
    folder.mkdir()
    (folder / name).write_text(yaml.safe_dump(sections, sort_keys=False))
    return folder / name


def finished(driver: Driver, config: Path, *settings: str) -> dict:
    options = [part for one in (*QUICK, *settings) for part in ("--set", one)]
    done = driver.run("run", str(config), *options)
    assert done.returncode == 0, done.stderr
    for part in ("against the baseline", "(held out)", "finalists: the", "script: "):
        assert part in done.stdout
    best = driver.run("best", str(config), "--json", *options)
    assert best.returncode == 0, best.stderr
    return json.loads(best.stdout)["best"]


def elsewhere(workplace: Path) -> Path:
    folder = workplace / 'it\'s "else where"'
    folder.mkdir()
    return folder


@pytest.mark.usefixtures("store")
def test_compress(driver: Driver, workplace: Path) -> None:
    config = small("compress.yaml", workplace)
    best = finished(driver, config, "study.trials=4")
    assert {"ratio", "memory", "time", "score"} <= set(best["metrics"])
    text = (workplace / "gzip_best.py").read_text()
    assert "Checked:  on case 'reads' it gives these metrics: ratio = " in text
    folder = elsewhere(workplace)
    shutil.copy(workplace / "data" / "reads" / "reads1.fq", folder / "-my 'reads'.fq")
    done = subprocess.run(
        [
            sys.executable,
            "-I",
            workplace / "gzip_best.py",
            "--file",
            "-my 'reads'.fq",
            "-o",
            "-out",
        ],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    sizes = [(folder / name).stat().st_size for name in ("-my 'reads'.fq", "-out")]
    (case,) = (case for case in best["cases"] if case["name"] == "reads")
    assert sizes[0] / sizes[1] == pytest.approx(case["metrics"]["ratio"], rel=1e-3)  # it is named
    exported = driver.run("export", str(config), "-o", "gzip_best.sh")
    assert exported.returncode == 0, exported.stderr
    line = ["/bin/sh", workplace / "gzip_best.sh", "--file", "-my 'reads'.fq", "-o", "-out 2"]
    subprocess.run(line, cwd=folder, check=True)
    assert (folder / "-out 2").read_bytes() == (folder / "-out").read_bytes()


@pytest.mark.usefixtures("store")
@pytest.mark.skipif(shutil.which("minimap2") is None, reason="minimap2 is not installed here")
def test_minimap2(driver: Driver, workplace: Path) -> None:
    best = finished(driver, small("minimap2.yaml", workplace), "study.trials=5")
    folder, data = elsewhere(workplace), workplace / "data" / "reads"
    shutil.copy(data / "chr1.fa", folder / "-the 'reference'.fa")
    shutil.copy(data / "reads1.fq", folder / "my reads.fq")
    script = workplace / "map_reads.py"
    options = ["--reference", "-the 'reference'.fa", "--reads", "my reads.fq", "-o", "-out.paf"]
    subprocess.run([sys.executable, "-I", script, *options], cwd=folder, check=True)
    scoring = ["-m", "tuner_plugins.command.score_reads", "./-out.paf", "my reads.fq"]
    said = subprocess.check_output([sys.executable, *scoring], cwd=folder)
    (case,) = (case for case in best["cases"] if case["name"] == "chr1")
    assert json.loads(said)["recall"] == case["metrics"]["recall"]
    assert re.search(r"Checked:  on case 'chr1' it gives these metrics: recall", script.read_text())


def test_a_program_that_is_not_there_is_told_by_validate(driver: Driver, workplace: Path) -> None:
    config = small("minimap2.yaml", workplace)
    config.write_text(config.read_text().replace("- minimap2\n", "- minimap0\n"))
    done = driver.run("validate", str(config))
    assert done.returncode == 2
    assert "data.command.0: no program 'minimap0': it is not installed" in done.stderr
    assert "Traceback" not in done.stderr
