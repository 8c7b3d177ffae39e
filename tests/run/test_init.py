"""A configuration is written for the user's own files; it runs, and its script verifies."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from tuner_plugins.nmf.io.annotation import read_annotation
from tuner_plugins.nmf.simulate.tracks import simulate_tracks

from tests.driver import Driver
from tests.fork import UNDRAWN
from tuner.config.load import load_config
from tuner.plugin import InputError
from tuner.run.init import write_config

SHORT = ("study.trials=3", "timing.final_time=1", "timing.finalists=1", "timing.nulls=20")
SHORT += ("tracking.enabled=false", "timing.fixed_cost_repeats=1")
LAYOUT = {"chr21": (100_000, 10_000, 70_000)}  # with this seed a gene ends in two stretches
QUICK = tuple(word for setting in SHORT for word in ("--set", setting))


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory, driver: Driver) -> Path:
    """Return a folder where tracks were found, a configuration written and its study run."""
    home = tmp_path_factory.mktemp("user")
    simulate_tracks(home / "my tracks", seed=7, tracks=4, layout=LAYOUT)
    done = driver.run("init", "my tracks", "-o", "own.yaml", folder=home)
    assert done.returncode == 0, done.stderr
    assert "4 of 4 bigWig tracks have chr21; annotation: genes.bed" in done.stdout
    checked = driver.run("validate", "own.yaml", folder=home)
    assert checked.returncode == 0, checked.stderr
    environment = {**os.environ, UNDRAWN: "1"}
    ran = driver.run("run", "own.yaml", *QUICK, folder=home, environment=environment)
    assert ran.returncode == 0, ran.stderr
    return home


def test_regions_lie_where_the_data_and_some_genes_are(tuned: Path) -> None:
    config = load_config(tuned / "own.yaml")
    data = config.plugin.config.data
    regions = [case.region for case in (*data.cases, *data.held_out)]
    assert len(set(regions)) == 2
    for region in regions:
        start, end = map(int, re.findall(r"\d+", region)[1:])
        assert 10_000 <= start < end <= 70_000
        genes = read_annotation(data.annotation, "chr21", start, end)
        lengths = np.diff(genes.ends, prepend=start)
        assert 0.02 <= (genes.values * lengths).sum() / (end - start) <= 0.98
    assert (tuned / "my_tracks.py").is_file()


def test_what_a_study_leaves_means_the_same_from_anywhere(tuned: Path, tmp_path: Path) -> None:
    copy = load_config(shutil.copy(tuned / "out" / "my_tracks" / "config.yaml", tmp_path))
    assert copy.signature() == load_config(tuned / "own.yaml", SHORT).signature()
    assert (copy.name, copy.engine.study.trials) == ("my_tracks", 3)  # as it was run
    assert copy.engine.export.path == Path("my_tracks.py")


def test_studies_are_listed(tuned: Path, driver: Driver, tmp_path: Path) -> None:
    (row,) = json.loads(driver.run("studies", "--json", folder=tuned).stdout)
    assert (row["name"], row["plugin"], row["trials"]) == ("my_tracks", "nmf", {"complete": 3})
    best = json.loads(driver.run("best", "own.yaml", "--json", *QUICK, folder=tuned).stdout)["best"]
    assert row["best"] == best["number"]
    assert row["objectives"]["score"] == pytest.approx(best["metrics"]["score"])
    assert "my_tracks" in driver.run("studies", folder=tuned).stdout
    none = driver.run("studies", folder=tmp_path)
    assert (none.returncode, "no studies in sqlite:///tuner.db" in none.stdout) == (0, True)


def test_export_writes_where_the_configuration_says(tuned: Path, driver: Driver) -> None:
    (tuned / "my_tracks.py").unlink()
    done = driver.run("export", "own.yaml", *QUICK, folder=tuned)
    assert done.stdout.startswith("my_tracks.py: trial "), done.stderr
    assert (tuned / "my_tracks.py").is_file()


def test_a_script_is_verified(tuned: Path, driver: Driver) -> None:
    done = driver.run("verify", "my_tracks.py", "--json", folder=tuned)
    found = json.loads(done.stdout)
    assert (done.returncode, found["holds"]) == (0, True), done.stdout + done.stderr
    assert len(found["cases"]) == 1
    assert found["cases"][0]["null"]["draws"] == 20
    assert [line["holds"] for line in found["lines"]][:3] == [True] * 3


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("print(1)\n", "has no head with study, metrics, setting and data"),
        ("print(\n", "is no Python script"),
        (
            '"""A.\n\nStudy:    gone, trial\nMetrics:  r = 1\nSetting:  {}\nData:     sha256 0"""',
            "",
        ),
    ],
)
def test_what_makes_no_claim_is_refused(
    driver: Driver, workplace: Path, text: str, said: str
) -> None:
    (workplace / "script.py").write_text(text)
    done = driver.run("verify", "script.py")
    (line,) = done.stderr.splitlines()
    assert done.returncode == 2
    assert (said or "study 'gone' of script.py is not here (out/gone/config.yaml)") in line
    absent = driver.run("verify", "absent.py")
    assert (absent.returncode, "cannot read absent.py" in absent.stderr) == (2, True)


def screen(path: Path, **changes: object) -> None:
    rng = np.random.default_rng(3)
    names = ["non-targeting", "KLF1", "GATA1", "non-targeting+GATA1"]
    targets = np.repeat(names, [120, 90, 80, 20])
    guides = [f"{target}_g{i % 2}" for i, target in enumerate(targets)]
    obs = pd.DataFrame(
        {
            "nUMI": rng.integers(150, 200, len(targets)),
            "n_genes": rng.integers(100, 200, len(targets)),
            "sgRNA": guides,
            "gene_target": targets,
            "lane": rng.choice(["a", "b"], len(targets)),
            "pct_counts_mt": rng.random(len(targets)),
        },
        index=[f"cell{i}" for i in range(len(targets))],
    )
    counts = sparse.csr_matrix(rng.poisson(2.0, (len(targets), 40)).astype(np.float32))
    adata = ad.AnnData(counts, obs=obs)
    adata.layers["counts"] = counts
    adata.X = np.log1p(counts.toarray())
    for name, value in changes.items():
        setattr(adata, name, value)
    adata.write_h5ad(path)


@pytest.mark.usefixtures("undrawn")
def test_a_screen_is_understood_and_its_study_runs(driver: Driver, workplace: Path) -> None:
    (workplace / "data").mkdir()
    screen(workplace / "data" / "screen.h5ad")
    done = driver.run("init", "data/screen.h5ad")
    assert done.returncode == 0, done.stderr
    data = load_config(workplace / "screen.yaml").plugin.config.data
    assert (data.perturbation, data.control, data.layer) == (
        "gene_target",
        ["non-targeting"],
        "counts",
    )
    assert (data.guide, data.batch, data.size_factor) == ("sgRNA", "lane", "nUMI")
    assert data.covariates == ["nUMI", "pct_counts_mt"]
    assert (data.separator, data.multiple) == ("+", "drop")
    short = ("--set", "surface.permutations=5", "--set", "surface.alphas=3", *QUICK)
    ran = driver.run("run", "screen.yaml", *short)
    assert ran.returncode == 0, ran.stderr
    assert (workplace / "screen.py").is_file()
    kept = load_config("out/screen/config.yaml")
    assert kept.signature() == load_config("screen.yaml", SHORT).signature()


def test_measured_tracks_and_screens_are_understood(shared_data: Path, workplace: Path) -> None:
    """Twins of the tests on simulated ones: as they come, with what they have besides."""
    tracks = shared_data / "bigwig" / "K562_hg19_chr1_22.5-25M"
    data = load_config(write_config(tracks, Path("tracks.yaml"))[0]).plugin.config.data
    assert [case.k for case in data.cases] == [3, 3]  # as many as there are tracks
    assert data.cases[0].region.startswith("chr1:2")
    screens = shared_data / "perturbseq"
    names = {"papalexi2021_thp1_lowmoi_299genes": None, "hill2018_mcf10a_dox_28genes": "+"}
    for name, separator in names.items():
        path, _ = write_config(screens / f"{name}.h5ad", Path(f"{name}.yaml"))
        data = load_config(path).plugin.config.data
        assert (data.perturbation, data.guide, data.separator) == (
            "perturbation",
            "guide",
            separator,
        )
        assert len(data.control) == 1


@pytest.mark.usefixtures("undrawn")
def test_any_files_become_cases_of_a_program(driver: Driver, workplace: Path) -> None:
    (workplace / "texts").mkdir()
    for name in ("a b.txt", "c.txt", "d.txt"):
        (workplace / "texts" / name).write_text(f"{name} " * 5000)
    assert driver.run("init", "texts").returncode == 0
    ran = driver.run("run", "texts.yaml", *QUICK)
    assert ran.returncode == 0, ran.stderr
    assert "3-d (held out)" in ran.stdout
    kept = load_config("out/texts/config.yaml")
    assert kept.signature() == load_config("texts.yaml", SHORT).signature()
    refused = driver.run("init", "texts")
    assert (refused.returncode, "texts.yaml is there already" in refused.stderr) == (2, True)


def test_what_cannot_be_drafted_is_told_in_one_line(workplace: Path) -> None:
    def at(name: str) -> Path:
        return workplace / name

    with pytest.raises(InputError, match="no such file or folder: gone"):
        write_config(Path("gone"))
    at("empty").mkdir()
    with pytest.raises(InputError, match="holds nothing that a plug-in knows"):
        write_config(at("empty"))
    simulate_tracks(at("lone"), seed=1, tracks=2, layout={"chr1": (60_000, 0, 60_000)})
    for path in at("lone").iterdir():
        if path.is_file():
            path.unlink()
    with pytest.raises(InputError, match="2 bigWig tracks, and no annotation beside them"):
        write_config(at("lone"))
    screen(at("no.h5ad"), obs=pd.DataFrame({"x": ["p", "q"] * 155}, index=map(str, range(310))))
    with pytest.raises(InputError, match="no column of obs has labels of control cells"):
        write_config(at("no.h5ad"))
