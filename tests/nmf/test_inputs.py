"""A study takes the tracks of a mixed folder, and never the answer."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tuner_plugins.nmf import params as nmf_params
from tuner_plugins.nmf.config import NmfConfig
from tuner_plugins.nmf.io.annotation import read_annotation
from tuner_plugins.nmf.leaks import annotation_correlation, equals_annotation
from tuner_plugins.nmf.plugin import NmfPlugin

from tests.nmf.bigwig_files import Section, write_bigwig
from tests.nmf.tracks import (
    CHROM,
    LENGTH,
    make_annotation,
    make_tracks,
    random_runs,
    read_values,
)
from tests.nmf.tracks import write_bigwig as write_runs
from tuner.config.space import build_space
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
    assert len(said) == 5


def test_what_is_taken_is_told(clean: dict[str, Any]) -> None:
    first, second, *cases = make_plugin(clean).notes()
    assert first == "5 tracks, 1 region, 2 genes, .46 of it genes"
    assert second == "held out: 1 region, 2 genes, .53 of it genes"
    assert cases == [
        f"case 'chr7_{start}-{end}_k{k}': {CHROM}:{start}-{end} (0-based, end not included), "
        f"{end - start:,} bases"
        for start, end, k in ((1000, 25_000, 3), (25_000, LENGTH, 2))
    ]
    twice = [{"region": f"{CHROM}:1000-25000", "k": k} for k in (2, 3)]
    assert make_plugin(clean, cases=twice).notes()[0] == first


def test_a_bin_as_wide_as_a_region_is_refused(clean: dict[str, Any]) -> None:
    short = {"region": f"{CHROM}:6000-8000", "k": 1}
    plugin = make_plugin(clean, held_out=[short])
    for name, width in (("resolution", 1999), ("loadings_resolution", 1999)):
        plugin.check({**plugin.defaults(), name: width})
        with pytest.raises(InputError, match=f"^{name}: bins of 2000 bases .* 2,000 bases of case"):
            plugin.check({**plugin.defaults(), name: 2000})
    one = make_plugin(clean, held_out=[{"region": f"{CHROM}:6999-7001", "k": 1}])
    one.check({**one.defaults(), "resolution": 1})


NOTED = {
    "overlap": (
        {"held_out": [{"region": f"{CHROM}:24000-{LENGTH}", "k": 2, "name": "late"}]},
        "held-out case 'late' shares 1,000 bases with case 'chr7_1000-25000_k3'",
    ),
    "inside": (
        {"held_out": [{"region": f"{CHROM}:6000-8000", "k": 2, "name": "in"}]},
        "held-out case 'in' shares 2,000 bases with case 'chr7_1000-25000_k3'",
    ),
    "doubled": (
        {"cases": [{"region": f"{CHROM}:1000-9000", "k": 3, "name": name} for name in "ab"]},
        "cases 'a' and 'b' are the same",
    ),
    "rank": (
        {"cases": [{"region": f"{CHROM}:1000-9000", "k": 6}]},
        "case 'chr7_1000-9000_k6': k 6 is more than its number of tracks: at most 5",
    ),
}


@pytest.mark.parametrize("which", NOTED)
def test_doubtful_cases_are_noted(clean: dict[str, Any], which: str) -> None:
    change, said = NOTED[which]
    notes = make_plugin(clean, **change).notes()
    assert len([line for line in notes if said in line]) == 1
    assert all("\n" not in line for line in notes)
    assert not any(said in line for line in make_plugin(clean).notes())


def test_cases_that_touch_or_differ_are_not_noted(clean: dict[str, Any]) -> None:
    regions = [("1000-9000", 3), ("1000-9000", 2), ("9000-15000", 3)]
    cases = [{"region": f"{CHROM}:{at}", "k": k} for at, k in regions]
    plugin = make_plugin(clean, cases=cases, held_out=[{"region": f"{CHROM}:15000-30000", "k": 5}])
    assert not [line for line in plugin.notes() if line.startswith(("held-out", "cases"))]


def test_tracks_without_data_in_a_region_are_noted_or_refused(
    clean: dict[str, Any], tmp_path: Path
) -> None:
    for name, values in (("zero", 0.0), ("late", 1.0), ("none", np.nan)):
        ends = np.array([30_000, LENGTH])
        write_runs(tmp_path / "tracks" / f"{name}.bw", ends, np.float32([0, values]))
    notes = make_plugin(clean).notes()
    first, second = (line for line in notes if "have no data there" in line)
    assert first.startswith("case 'chr7_1000-25000_k3': 3 of 8 tracks have no data there")
    assert all(name in first for name in ("zero.bw", "late.bw", "none.bw"))
    assert second.startswith("case 'chr7_25000-40000_k2': 2 of 8 tracks")
    even = np.array([7, LENGTH])
    write_runs(tmp_path / "tracks" / "late.bw", even, np.float32([0, 4]))
    write_runs(tmp_path / "tracks" / "none.bw", even, np.float32([-1, -2]))
    empty = [tmp_path / "tracks" / f"{name}.bw" for name in ("zero", "late", "none")]
    plugin = make_plugin(clean, bigwigs=empty)
    with pytest.raises(InputError, match="no track has data in chr7:1000-25000") as caught:
        plugin.notes()
    assert "\n" not in str(caught.value)


def test_a_copy_of_a_track_is_noted(clean: dict[str, Any], tmp_path: Path) -> None:
    tracks = sorted((tmp_path / "tracks").glob("*.bw"))
    assert not any("counts twice" in line for line in make_plugin(clean).notes())
    shutil.copy(tracks[0], tmp_path / "tracks" / "zz_copy.bw")
    lines = [line for line in make_plugin(clean).notes() if "counts twice" in line]
    assert len(lines) == 2  # one for each region
    assert all("1 of 6 tracks" in line and line.endswith("zz_copy.bw") for line in lines)


def test_tracks_with_negative_values_are_noted(clean: dict[str, Any], tmp_path: Path) -> None:
    ends = np.array([26_000, 27_000, LENGTH])
    write_runs(tmp_path / "tracks" / "ratio.bw", ends, np.float32([3, -1, 2]))
    (line,) = (line for line in make_plugin(clean).notes() if "negative values" in line)
    assert line.startswith("case 'chr7_25000-40000_k2': 1 of 6 tracks have negative values")
    assert line.endswith("ratio.bw")


def test_infinite_values_and_damage_in_a_region_are_told_before_the_trials(
    clean: dict[str, Any], tmp_path: Path
) -> None:
    bad = tmp_path / "tracks" / "bad.bw"
    write_runs(bad, np.array([20_000, 20_100, LENGTH]), np.float32([1, np.inf, 2]))
    with pytest.raises(InputError, match=r"bad\.bw: chr7:1000-25000 holds infinite values"):
        make_plugin(clean).notes()
    content = bytearray((tmp_path / "tracks" / "track1.bw").read_bytes())
    middle = len(content) // 2
    content[middle : middle + 200] = bytes(200)
    bad.write_bytes(content)
    with pytest.raises(InputError, match=r"bad\.bw: .*truncated or damaged"):
        make_plugin(clean).notes()


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
    for name, turned, sign in (("scaled", "", ""), ("inverted", ", upside down,", "-")):
        assert f"{name}.bw follows the annotation{turned} in 2 of 2 regions" in notes
        assert f"{sign}1.000 per base, in case '" in notes
    assert "if it was derived from the annotation, take it out; if it was measured" in notes
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


def test_an_annotation_of_another_assembly_is_noted(clean: dict[str, Any], tmp_path: Path) -> None:
    bed = tmp_path / "genes.bed"
    past = [*GENES, (LENGTH - 5, LENGTH + 1), (LENGTH + 500, LENGTH + 900)]
    for intervals, count in ((GENES, 0), (past, 2)):
        bed.write_text("".join(f"{CHROM}\t{start}\t{end}\n" for start, end in intervals))
        lines = [line for line in make_plugin(clean, annotation=bed).notes() if "assembly" in line]
        told = f"{bed}: 2 of 5 intervals on {CHROM} end past its 40,000 bases in the tracks: a sign"
        assert [line.startswith(told) for line in lines] == [True] * (count > 0)
    data = [Section(0, 1, [(7000, 14000, 1.0), (26000, 30000, 1.0)])]
    longer = write_bigwig(tmp_path / "longer.bw", {CHROM: LENGTH + 9}, data)
    notes = make_plugin(clean, annotation=longer).notes()
    assert any("longer.bw: chr7 has 40,009 bases, 40,000 in the tracks: a sign" in x for x in notes)


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
    found, fine = [], []
    for values in (bases, np.log1p(bases)):
        fine.append(np.corrcoef(values, truth)[0, 1])
        edges = np.arange(0, end - start, 1000)
        widths = np.diff(edges, append=end - start)
        binned = [np.add.reduceat(row, edges) / widths for row in (values, truth)]
        found.append(np.corrcoef(binned)[0, 1])
    like = annotation_correlation(path, CHROM, start, end, genes)
    expected = max(fine, key=abs), max(found, key=abs)
    assert (like.bases, like.bins) == pytest.approx(expected)
    assert like.r == pytest.approx(max(expected, key=abs))
    assert str(like) == (f"R {expected[1]:.3f} in bins of 1,000 bases, {expected[0]:.3f} per base")
    rng = np.random.default_rng(1)
    ends, noise = random_runs(rng, LENGTH, 20)
    noisy = 3 * noise + 20 * ((ends - 1) // 7000 % 2)
    write_runs(tmp_path / "noisy.bw", ends, noisy.astype(np.float32))
    own = np.corrcoef(read_values(tmp_path / "noisy.bw", CHROM, start, end), truth)[0, 1]
    assert own < 0.85
    like = annotation_correlation(str(tmp_path / "noisy.bw"), CHROM, start, end, genes)
    assert like.bases < 0.9
    assert like.r == like.bins
    assert like.r > 0.95


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


def test_a_track_named_twice_and_a_signal_as_annotation_are_told(
    clean: dict[str, Any], tmp_path: Path
) -> None:
    track = tmp_path / "tracks" / "track0.bw"
    with pytest.raises(InputError, match="named twice"):
        make_plugin(clean, bigwigs=[track, track]).inputs()
    told = "more than two values there: it looks like a signal"
    assert not any(told in note for note in make_plugin(clean).notes())
    assert any(told in note for note in make_plugin(clean, annotation=track).notes())


def test_a_key_that_would_mean_nothing_is_refused(clean: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="tss_window is for feature: tss"):
        make_plugin(clean, tss_window=500)


@pytest.mark.parametrize("name", ["num_iter", "l2penalty", "fl_lambda", "resolution"])
@pytest.mark.parametrize("low", [0, -5])
def test_what_is_advised_for_a_range_is_taken(clean: dict[str, Any], name: str, low: int) -> None:
    plugin = make_plugin(clean)
    with pytest.raises(InputError) as caught:
        build_space(plugin, {name: {"low": low}})
    if "set log: false" in str(caught.value):
        build_space(plugin, {name: {"low": low, "log": False}})
    else:
        assert f"of at least {nmf_params.BOUNDS[name][1]}" in str(caught.value) or (
            f"from {nmf_params.BOUNDS[name][1]} to" in str(caught.value)
        )
