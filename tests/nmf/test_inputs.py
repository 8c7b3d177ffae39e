"""A study takes the tracks of a mixed folder, and never the answer."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tuner_plugins.nmf.annotation import read_annotation
from tuner_plugins.nmf.answers import annotation_correlation, equals_annotation
from tuner_plugins.nmf.bigwig import read_values
from tuner_plugins.nmf.config import NmfConfig
from tuner_plugins.nmf.plugin import NmfPlugin

from tests.nmf.bigwig_files import Section, write_bigwig
from tests.nmf.tracks import CHROM, LENGTH, make_annotation, make_tracks, random_runs
from tests.nmf.tracks import write_bigwig as write_runs
from tuner.plugin import InputError

GENES = [(7000, 14000), (21000, 28000), (35000, LENGTH)]


@pytest.fixture
def clean(tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "tracks").mkdir()
    make_annotation(tmp_path / "genes.bw")
    rng = np.random.default_rng(5)
    for number in range(5):  # noise in long runs, and a little of the genes
        ends, values = random_runs(rng, LENGTH, 600)
        genes = number * ((ends - 1) // 7000 % 2)
        write_runs(tmp_path / "tracks" / f"track{number}.bw", ends, values + genes)
    return {
        "bigwigs": [tmp_path / "tracks"],
        "annotation": tmp_path / "genes.bw",
        "cases": [{"region": f"{CHROM}:1000-25000", "k": 3}],
        "held_out": [{"region": f"{CHROM}:25000-{LENGTH}", "k": 2}],
    }


def make_plugin(section: dict[str, Any], **changes: Any) -> NmfPlugin:
    return NmfPlugin(NmfConfig.model_validate({"data": {**section, **changes}}))


def taken(plugin: NmfPlugin) -> list[list[str]]:
    cases = plugin.load()
    both = [*cases.tuned, *cases.held_out]
    return [[os.path.basename(path) for path in case.data.tracks] for case in both]


def write_genes(path: Path, change: Any) -> None:
    """Write the annotation of `make_annotation` with other values and, without zeros, with gaps."""
    ends = np.append(np.arange(7000, LENGTH, 7000), LENGTH)
    values = change(((ends - 1) // 7000 % 2).astype(np.float32))
    write_runs(path, ends, values.astype(np.float32))


def test_a_mixed_folder_gives_what_a_clean_one_gives(clean: dict[str, Any], tmp_path: Path) -> None:
    mixed = tmp_path / "mixed"
    shutil.copytree(tmp_path / "tracks", mixed)
    shutil.copy(clean["annotation"], mixed / "Annotation_hg18.Gene.bw")
    write_genes(mixed / "another_name.bw", lambda values: values)
    for number in range(3):
        write_bigwig(mixed / f"{number}.chrX.bw", {"chrX": 900}, [Section(0, 1, [(0, 9, 1.0)])])
    (mixed / "notes.txt").touch()
    one, other = make_plugin(clean), make_plugin(clean, bigwigs=[mixed])
    inside = make_plugin(clean, bigwigs=[mixed], annotation=mixed / "Annotation_hg18.Gene.bw")
    assert taken(one) == taken(other) == taken(inside) == [[f"track{i}.bw" for i in range(5)]] * 2
    for params in (one.defaults(), {**(one.baseline() or {}), "num_iter": 3}):
        found = [
            plugin.score(case, plugin.run(case, params, 0))
            for plugin in (one, other, inside)
            for case in plugin.load().tuned
        ]
        assert found[0] == found[1] == found[2]
    assert {path.name for path in one.inputs()} == {*taken(one)[0], "genes.bw"}
    said = other.notes()
    assert said[2] == (
        "5 tracks of 11 files; left out: 3 without chr7 (0.chrX.bw, 1.chrX.bw, 2.chrX.bw), "
        "2 annotation (Annotation_hg18.Gene.bw, another_name.bw), 1 no bigWig (notes.txt)"
    )
    assert len(said) == 3


def test_what_is_taken_is_told(clean: dict[str, Any]) -> None:
    first, second = make_plugin(clean).notes()
    assert first == "5 tracks, 1 region, 2 genes, .46 of it genes"
    assert second == "held out: 1 region, 2 genes, .53 of it genes"
    twice = [{"region": f"{CHROM}:1000-25000", "k": k} for k in (2, 3)]
    assert make_plugin(clean, cases=twice).notes()[0] == first


@pytest.mark.parametrize("held_out", [False, True])
def test_a_track_that_follows_the_annotation_is_told(
    clean: dict[str, Any], tmp_path: Path, held_out: bool
) -> None:
    write_genes(tmp_path / "tracks" / "scaled.bw", lambda values: 3 * values + 1)
    write_genes(tmp_path / "tracks" / "inverted.bw", lambda values: 1 - values)
    region = {"region": f"{CHROM}:1000-25000", "k": 3, "name": "whole"}
    narrow = {"region": f"{CHROM}:6000-8000", "k": 1}
    cases = {"cases": [narrow], "held_out": [region]} if held_out else {"cases": [region]}
    notes = "\n".join(make_plugin(clean, **cases).notes())
    for name, sign in (("scaled", ""), ("inverted", "-")):
        assert f"{name}.bw follows the annotation in 2 of 2 regions" in notes
        assert f"(R {sign}1.000 in case '" in notes
    assert notes.count("follows the annotation") == 2


def test_an_annotation_as_text_is_known_among_the_tracks(
    clean: dict[str, Any], tmp_path: Path
) -> None:
    bed = tmp_path / "genes.bed"
    bed.write_text("".join(f"{CHROM}\t{start}\t{end}\n" for start, end in GENES))
    shutil.copy(clean["annotation"], tmp_path / "tracks" / "body.bw")
    plugin = make_plugin(clean, annotation=bed)
    assert taken(plugin) == [[f"track{i}.bw" for i in range(5)]] * 2
    assert "left out: 1 annotation (body.bw)" in "\n".join(plugin.notes())


def test_only_where_it_varies_does_a_track_equal_the_annotation(tmp_path: Path) -> None:
    silent = tmp_path / "silent.bw"
    write_runs(silent, np.array([LENGTH]), np.array([0.0], np.float32))
    genes = read_annotation(silent, CHROM, 0, 6000)
    assert not equals_annotation(str(silent), CHROM, 0, 6000, genes)


def test_a_track_that_is_called_an_annotation_is_asked_about(
    clean: dict[str, Any], tmp_path: Path
) -> None:
    shutil.copy(tmp_path / "tracks" / "track0.bw", tmp_path / "tracks" / "Annotation_Exon.bw")
    assert "called an annotation" in make_plugin(clean).notes()[-1]


def test_nothing_but_the_annotation_is_an_error(clean: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="left out: 1 annotation .genes.bw."):
        make_plugin(clean, bigwigs=[clean["annotation"]]).inputs()
    write_genes(tmp_path / "copy.bw", lambda values: values)
    with pytest.raises(InputError, match="every track equals the annotation"):
        make_plugin(clean, bigwigs=[tmp_path / "copy.bw"]).inputs()


def test_correlation_is_that_of_bases_or_of_bins(tmp_path: Path) -> None:
    """Against NumPy, base by base; and noise within bins does not hide what follows the genes."""
    make_annotation(tmp_path / "genes.bw")
    (path,) = make_tracks(tmp_path / "tracks", seed=3, tracks=1)
    start, end = 1_003, 38_001
    genes = read_annotation(tmp_path / "genes.bw", CHROM, start, end)
    bases = np.nan_to_num(read_values(path, CHROM, start, end).astype(float))
    truth = np.nan_to_num(read_values(tmp_path / "genes.bw", CHROM, start, end).astype(float))
    found = []
    for values in (bases, np.log1p(bases)):
        found.append(np.corrcoef(values, truth)[0, 1])
        edges = np.arange(0, end - start, 1000)
        widths = np.diff(edges, append=end - start)
        binned = [np.add.reduceat(row, edges) / widths for row in (values, truth)]
        found.append(np.corrcoef(binned)[0, 1])
    expected = max(found, key=abs)
    assert annotation_correlation(path, CHROM, start, end, genes) == pytest.approx(expected)
    rng = np.random.default_rng(1)
    ends, noise = random_runs(rng, LENGTH, 20)
    noisy = 3 * noise + 20 * ((ends - 1) // 7000 % 2)
    write_runs(tmp_path / "noisy.bw", ends, noisy.astype(np.float32))
    own = np.corrcoef(read_values(tmp_path / "noisy.bw", CHROM, start, end), truth)[0, 1]
    assert own < 0.85
    assert annotation_correlation(str(tmp_path / "noisy.bw"), CHROM, start, end, genes) > 0.95


@pytest.mark.parametrize(("region", "equal"), [((0, LENGTH), True), ((13_000, 22_500), True)])
def test_equal_is_equal_at_every_base(tmp_path: Path, region: tuple[int, int], equal: bool) -> None:
    make_annotation(tmp_path / "genes.bw")
    genes = read_annotation(tmp_path / "genes.bw", CHROM, *region)
    assert equals_annotation(str(tmp_path / "genes.bw"), CHROM, *region, genes) is equal
    ends = np.append(np.arange(7000, LENGTH, 7000), LENGTH)
    for moved in range(len(ends) - 1):  # one base of one edge, near the window or far from it
        other = ends.copy()
        other[moved] += 1
        values = ((ends - 1) // 7000 % 2).astype(np.float32)
        write_runs(tmp_path / "other.bw", other, values, gaps=True)
        inside = region[0] <= ends[moved] < region[1]
        same = equals_annotation(str(tmp_path / "other.bw"), CHROM, *region, genes)
        assert same is not inside
