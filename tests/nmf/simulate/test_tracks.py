from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pyBigWig
import pytest
from tuner_plugins.nmf.io.annotation import read_annotation
from tuner_plugins.nmf.io.bigwig import chromosomes, read_runs
from tuner_plugins.nmf.simulate.genome import FACTORS, make_genome
from tuner_plugins.nmf.simulate.tracks import TRACK_TYPES, simulate_tracks

from tests.nmf.tracks import expand_runs
from tuner.plugin import InputError

LENGTH = 4_000_000
START, END = 2_000_000, 2_000_000 + LENGTH
LAYOUT = {"chr10": (135_374_737, START, END)}
STRIDE = 20
BROAD, SHARP = ("H3K36me3", "H3K27me3", "H3K9me3"), ("H3K4me3", "CTCF", "H3K27ac", "DNase", "Pol2")


def correlate(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a, b)[0, 1])


def measure(folder: Path, name: str) -> dict[str, float]:
    runs = read_runs(folder / "tracks" / f"{name}.bw", "chr10", START, END)
    values = expand_runs(runs, START)
    filled = np.nan_to_num(values)
    thin = filled[::STRIDE].astype(np.float64)
    logs = np.log1p(thin)
    genes, starts = (
        expand_runs(read_annotation(folder / "genes.bed", "chr10", START, END, feature), START)
        for feature in ("gene_body", "tss")
    )
    lags = {f"lag{lag}": lag // STRIDE for lag in (200, 1000, 5000, 20_000, 100_000)}
    return {
        "runs": len(runs.ends) / LENGTH * 1000,
        "nan": np.isnan(values).mean(),
        "zeros": (filled == 0).mean(),
        "mean": filled.mean(dtype=np.float64),
        "dispersion": thin.var() / thin.mean(),
        "p99": np.percentile(thin, 99) / thin.mean(),
        "genes": correlate(thin, genes[::STRIDE]),
        "starts": correlate(logs, starts[::STRIDE]),
        **{name: correlate(logs[:-lag], logs[lag:]) for name, lag in lags.items()},
    }


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    folder = tmp_path_factory.mktemp("simulated")
    return [
        simulate_tracks(folder / str(seed), seed=seed, layout=LAYOUT, tracks=15) for seed in (1, 2)
    ]


@pytest.fixture(scope="module")
def statistics(simulated):
    """Means over two seeds, by type of track."""
    names = [f"{kind.name}.rep1" for kind in TRACK_TYPES]
    found = {}
    for name in names:
        each = [measure(truth.folder, name) for truth in simulated]
        found[name.split(".")[0]] = {key: np.mean([one[key] for one in each]) for key in each[0]}
    return found


def test_tracks_look_like_measured_ones(statistics):
    """Hold the statistics against those of ENCODE and Roadmap tracks."""
    of = statistics
    zeros = {"Input": (0.02, 0.1), "RNA": (0.86, 0.95)}
    zeros |= dict.fromkeys(BROAD, (0.28, 0.52)) | dict.fromkeys(SHARP, (0.6, 0.84))
    for name, (low, high) in zeros.items():
        assert low < of[name]["zeros"] < high, name
    for name in of:
        assert 0.2 < of[name]["mean"] < 7.5, name
    for name in set(of) - {"RNA", "GATA1"}:
        assert 4 < of[name]["runs"] < 65, name
        assert of[name]["nan"] == 0, name
    assert of["RNA"]["nan"] == of["RNA"]["zeros"]
    assert 2 < of["Input"]["dispersion"] < 4
    assert 5 < of["H3K36me3"]["dispersion"] < 40
    assert 60 < of["H3K4me3"]["dispersion"] < 250
    assert 8 < of["H3K36me3"]["p99"] < 16
    assert 8 < of["H3K4me3"]["p99"] < 35


@pytest.mark.parametrize(
    ("name", "expected", "tolerance"),
    [
        ("H3K36me3", (0.79, 0.72, 0.63, 0.40, 0.05), 0.17),
        ("H3K4me3", (0.73, 0.49, 0.06, 0.0, 0.0), 0.17),
        ("Input", (0.27, 0.10, 0.09, 0.06, 0.01), 0.1),
    ],
)
def test_autocorrelation_falls_as_measured(statistics, name, expected, tolerance):
    lags = (200, 1000, 5000, 20_000, 100_000)
    found = [statistics[name][f"lag{lag}"] for lag in lags]
    np.testing.assert_allclose(found, expected, atol=tolerance)


def test_links_with_genes_and_their_starts(statistics):
    assert 0.12 < statistics["H3K36me3"]["genes"] < 0.45
    assert -0.41 < statistics["H3K27me3"]["genes"] < -0.03
    for name in ("H3K4me3", "Pol2", "H3K27ac"):
        assert -0.05 < statistics[name]["genes"] < 0.17, name
        assert 0.2 < statistics[name]["starts"] < 0.55, name
    assert abs(statistics["Input"]["genes"]) < 0.1


def test_tracks_share_little_but_replicates_share_much(simulated):
    logs = {}
    for path in sorted((simulated[0].folder / "tracks").glob("*.bw")):
        values = expand_runs(read_runs(path, "chr10", START, END), START)[::100]
        logs[path.stem] = np.log1p(np.nan_to_num(values))
    others = [name for name in logs if not name.endswith("rep2")]
    pairs = np.corrcoef([logs[name] for name in others])[np.triu_indices(len(others), 1)]
    assert 0 < np.median(pairs) < 0.12
    for name in ("H3K36me3", "H3K4me3"):
        assert 0.5 < correlate(logs[f"{name}.rep1"], logs[f"{name}.rep2"]) < 0.95


def test_genes_have_the_lengths_and_gaps_of_a_genome():
    genes = make_genome(np.random.default_rng(4), "chr1", 0, 60_000_000).genes
    lengths = np.array([gene.end - gene.start for gene in genes])
    gaps = np.array([b.start - a.end for a, b in zip(genes, genes[1:], strict=False)])
    assert 0.25 < lengths.sum() / 60e6 < 0.4
    assert np.median(lengths) == pytest.approx(28_000, rel=0.2)
    assert lengths.mean() == pytest.approx(57_000, rel=0.25)
    assert np.median(gaps) == pytest.approx(38_000, rel=0.25)
    assert gaps.mean() == pytest.approx(118_000, rel=0.25)
    active = np.mean([gene.level > 0 for gene in genes])
    assert active == pytest.approx(0.5, abs=0.1)
    assert gaps.min() > 0


def test_where_one_gene_is_most_bases_of_genes_the_simulation_ends():
    genome = make_genome(np.random.default_rng([23, 0]), "chr1", 0, 400_000)
    lengths = np.array([gene.end - gene.start for gene in genome.genes])
    active = np.array([gene.level > 0 for gene in genome.genes])
    assert lengths.max() / lengths.sum() > 0.7
    shares = [
        lengths[np.array(choice)].sum() / lengths.sum()
        for choice in itertools.product([False, True], repeat=len(lengths))
        if any(choice)
    ]
    assert not any(0.4 <= share <= 0.7 for share in shares)
    nearest = min(shares, key=lambda share: abs(share - 0.55))
    assert lengths[active].sum() / lengths.sum() == nearest


def test_the_folder_agrees_with_the_truth(simulated):
    truth = simulated[0]
    region = "chr10", START, END
    bed = read_annotation(truth.folder / "genes.bed", *region)
    track = read_annotation(truth.folder / "Annotation.Gene.bw", *region)
    np.testing.assert_array_equal(bed.ends, track.ends)
    np.testing.assert_array_equal(bed.values, track.values)
    edges = [edge for gene in truth.genes for edge in (gene.start, gene.end)]
    assert set(edges) - {START, END} == set(track.ends.tolist()) - {END}
    assert {path.stem for path in (truth.folder / "tracks").glob("*.bw")} == set(truth.tracks)
    known = json.loads((truth.folder / "truth.json").read_text())
    assert known["seed"] == truth.seed
    assert [gene["level"] for gene in known["genes"]] == [gene.level for gene in truth.genes]
    with np.load(truth.folder / "factors.npz") as factors:
        np.testing.assert_array_equal(factors["chr10"], truth.factors["chr10"])
    assert truth.factors["chr10"].shape == (LENGTH // 1000, len(FACTORS))
    assert chromosomes(truth.folder / "Annotation.Gene.bw") == {"chr10": 135_374_737}
    assert not list(truth.folder.rglob(".*"))


def test_the_planted_factors_can_be_seen_in_the_tracks(simulated):
    truth = simulated[0]
    runs = read_runs(truth.folder / "tracks" / "H3K36me3.rep1.bw", "chr10", START, END)
    means = expand_runs(runs, START).reshape(-1, 1000).mean(1)
    factors = truth.factors["chr10"]
    assert correlate(means, factors[:, FACTORS.index("transcribed")]) > 0.8
    assert abs(correlate(means, factors[:, FACTORS.index("distal")])) < 0.1


@pytest.mark.parametrize("kind", ["pileup", "smooth"])
def test_a_seed_gives_the_same_bytes_and_another_seed_others(tmp_path, kind):
    folders = [tmp_path / name for name in "abc"]
    for folder, seed in zip(folders, (7, 7, 8), strict=True):
        layout = {"chr1": (70_000, 0, 70_000), "chrX": (200_000, 100_000, 171_234)}
        simulate_tracks(folder, seed=seed, layout=layout, tracks=14, kind=kind)
    names = sorted(path.relative_to(folders[0]) for path in folders[0].rglob("*.b[we]*"))
    assert len(names) == 16
    for name in names:
        first, second, third = ((folder / name).read_bytes() for folder in folders)
        assert first == second, name
        assert first != third, name


def test_smooth_tracks_are_real_valued_runs_of_two_bases(tmp_path):
    simulate_tracks(tmp_path, seed=1, region_length=50_001, tracks=5, kind="smooth")
    for path in sorted((tmp_path / "tracks").glob("*.bw")):
        with pyBigWig.open(str(path)) as file:
            intervals = np.array(file.intervals("chr1"))
        assert (intervals[:, 1] - intervals[:, 0] == 2).all()
        assert len(intervals) in (25_000, 24_999)
        steps, spread = np.abs(np.diff(intervals[:, 2])), np.ptp(intervals[:, 2])
        assert steps.max() < spread / 5
        assert (intervals[:, 2] != np.round(intervals[:, 2])).mean() > 0.5


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"tracks": 0}, "at least one track"),
        ({"seed": -1}, "0 or more; got -1"),
        ({"kind": "bumpy"}, "'pileup' or 'smooth'; got 'bumpy'"),
        ({"region_length": 10}, "at least 20,000 bases are simulated; got 10"),
        ({"layout": {"chr1": (100, 50, 40)}}, "need 0 <= start < end <= length; got 50, 40, 100"),
    ],
)
def test_settings_that_make_no_sense(tmp_path, options, says):
    with pytest.raises(InputError, match=says):
        simulate_tracks(tmp_path / "new", **{"seed": 1, **options})
    assert not (tmp_path / "new").exists()


def test_other_tracks_in_the_folder_are_neither_kept_nor_lost(tmp_path):
    simulate_tracks(tmp_path, seed=1, region_length=20_000, tracks=3)
    simulate_tracks(tmp_path, seed=2, region_length=20_000, tracks=3)
    with pytest.raises(InputError, match=r"holds 2 other tracks \(H3K27me3\.rep1\.bw"):
        simulate_tracks(tmp_path, seed=1, region_length=20_000, tracks=1)
    assert len(list((tmp_path / "tracks").iterdir())) == 3
