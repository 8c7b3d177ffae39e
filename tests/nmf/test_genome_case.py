"""A case that is several chromosomes: scored, drawn, frozen and written as a region is."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pyBigWig
import pytest
from tuner_plugins.nmf import params as nmf_params
from tuner_plugins.nmf.config import NmfConfig
from tuner_plugins.nmf.io.annotation import read_annotations
from tuner_plugins.nmf.model.null import draw_shifts
from tuner_plugins.nmf.plugin import NmfPlugin
from tuner_plugins.nmf.simulate.tracks import simulate_tracks

from tuner.plugin import InputError, Provenance, Result

LENGTHS = {"chr1": 200_000, "chr2": 150_000, "chr3": 90_000}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("genome")
    layout = {chrom: (size, 0, size) for chrom, size in LENGTHS.items()}
    simulate_tracks(path, seed=3, tracks=4, layout=layout)
    return path


def make_plugin(folder: Path, region: str, **changes: Any) -> NmfPlugin:
    data = {"bigwigs": [folder / "tracks"], "annotation": folder / "genes.bed"}
    data |= {"cases": [{"region": region, "k": 3}], **changes}
    return NmfPlugin(NmfConfig.model_validate({"data": data}))


PARAMS = {**nmf_params.DEFAULTS, "resolution": 200, "num_iter": 2}


def test_scores_null_and_figures_are_those_of_all_bases(folder: Path, tmp_path: Path) -> None:
    plugin = make_plugin(folder, "genome")
    (case,) = plugin.load().tuned
    assert case.name == "genome_k3"
    output = plugin.run(case, PARAMS, 0)
    dense = output.expand()
    assert dense.shape == (sum(LENGTHS.values()), 3)
    with pyBigWig.open(str(folder / "Annotation.Gene.bw")) as file:
        genes = np.concatenate([file.values(chrom, 0, size) for chrom, size in LENGTHS.items()])
    genes = np.nan_to_num(genes)
    by_hand = [np.corrcoef(column, genes)[0, 1] for column in dense.T]
    found = plugin.score(case, output)
    assert found["r"] == pytest.approx(max(by_hand), abs=1e-9)
    assert found["r"] > 0.3
    shifts = draw_shifts(len(genes), 3, 1)
    rolled = [np.roll(genes, shift) for shift in shifts]
    expected = [max(np.corrcoef(row, genes)[0, 1] for row in dense.T) for genes in rolled]
    assert plugin.null_metrics(case, output, seed=1, count=3) == pytest.approx(expected, abs=1e-9)
    result = Result(case, PARAMS, output, found, 1.0)
    (figure,) = plugin.figures([result]).values()
    figure.savefig(tmp_path / "figure.png")
    assert "chr1, chr2, chr3 end to end (Mb)" in [axes.get_xlabel() for axes in figure.axes]
    plugin.files([result], tmp_path)
    for number, column in enumerate(dense.T.astype(np.float32)):
        with pyBigWig.open(str(tmp_path / f"loadings_genome_k3.loading{number}.bw")) as file:
            assert file.chroms() == LENGTHS
            written = np.concatenate([file.values(c, 0, size) for c, size in LENGTHS.items()])
        np.testing.assert_array_equal(written.astype(np.float32), column)


def test_the_frozen_script_gives_the_cases_loadings(folder: Path, tmp_path: Path) -> None:
    plugin = make_plugin(folder, "chr2,chr3")
    (case,) = plugin.load().tuned
    assert case.name == "chr2-to-chr3_2_chromosomes_k3"
    script = tmp_path / "assign2.py"
    plugin.freeze(PARAMS, script, Provenance("a study"))
    (tmp_path / "out").mkdir()
    command = plugin.command(case, script, tmp_path / "out" / "output")
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (
        *(0, "assign2.py: 4 tracks, 2 chromosomes, 240,000 bases, k 3\n"),
    )
    dense = plugin.run(case, PARAMS, 0).expand().astype(np.float32)
    for number, column in enumerate(dense.T):
        with pyBigWig.open(str(tmp_path / "out" / f"output.loading{number}.bw")) as file:
            found = [file.values(chrom, 0, LENGTHS[chrom]) for chrom in ("chr2", "chr3")]
        np.testing.assert_array_equal(np.concatenate(found).astype(np.float32), column)
    words, _ = plugin.usage(script)
    assert list(words[3:5]) == ["--chroms", "chr2,chr3"]
    assert words[-1] == "loadings.bw"


def test_the_baseline_is_binned_and_said_to_be(folder: Path, tmp_path: Path) -> None:
    plugin = make_plugin(folder, "chr2", held_out=[{"region": "chr1,chr3", "k": 2}])
    assert plugin.baseline() == nmf_params.GENOME_BASELINE
    plugin.check(plugin.baseline() or {})
    assert nmf_params.GENOME_BASELINE_NOTE in plugin.notes()
    case = plugin.load().held_out[0]
    assert np.ptp(plugin.run(case, plugin.baseline() or {}, 0).values) > 0
    plugin.freeze_baseline(tmp_path / "baseline.py")
    assert "'resolution': 1000" in (tmp_path / "baseline.py").read_text().replace('"', "'")
    alone = make_plugin(folder, "chr2")
    assert alone.baseline() == nmf_params.BASELINE
    assert nmf_params.GENOME_BASELINE_NOTE not in alone.notes()
    # the reference itself takes chromosomes end to end
    plain = {**nmf_params.BASELINE, "num_iter": 1}
    assert plugin.run(case, plain, 0).size == LENGTHS["chr1"] + LENGTHS["chr3"]


def test_notes_are_of_the_chromosomes_together(folder: Path) -> None:
    plugin = make_plugin(folder, "genome", held_out=[{"region": "chr3:1000-90000", "k": 2}])
    notes = "\n".join(plugin.notes())
    assert "case 'genome_k3': 3 chromosomes, 440,000 bases" in notes
    assert "'chr3_1000-90000_k2' shares 89,000 bases with case 'genome_k3'" in notes


def test_chromosomes_that_some_tracks_lack_are_told(folder: Path, tmp_path: Path) -> None:
    with pyBigWig.open(str(tmp_path / "more.bw"), "w") as file:
        file.addHeader([(chrom, LENGTHS[chrom]) for chrom in ("chr1", "chr3")])
        file.addEntries("chr1", 0, values=[1.0, 2.0], span=5000, step=5000)
    tracks = [folder / "tracks", tmp_path / "more.bw"]
    plugin = make_plugin(folder, "genome", bigwigs=tracks)
    said = "case 'genome_k3': left out: 1 chromosome that some tracks lack (chr2)"
    assert said in plugin.notes()
    assert [place[0] for place in plugin.load().tuned[0].data.places] == ["chr1", "chr3"]


def test_chromosomes_without_genes_count_unless_none_has_any(folder: Path, tmp_path: Path) -> None:
    genes = tmp_path / "genes.bed"
    genes.write_text("chr2\t100\t300\n")
    places = [(chrom, 0, size) for chrom, size in LENGTHS.items()]
    found = read_annotations(genes, places, "gene_body", 1000)
    assert [runs.values.tolist() for runs in found] == [[0.0], [0.0, 1.0, 0.0], [0.0]]
    (case,) = make_plugin(folder, "genome", annotation=genes).load().tuned
    assert case.data.genes.ends.tolist() == [200_000, 200_100, 200_300, 350_000, 440_000]
    genes.write_text("2\t100\t300\n")
    with pytest.raises(InputError, match="nothing on chromosome 'chr1'"):
        make_plugin(folder, "genome", annotation=genes).load()


@pytest.mark.parametrize("region", ["chr1,chr2:5-9", "chr1,", "chr1,chr1"])
def test_several_chromosomes_are_whole_and_named_once(folder: Path, region: str) -> None:
    with pytest.raises(ValueError, match="named once each and taken whole"):
        make_plugin(folder, region)
