"""One factorisation of several chromosomes, against that of the same bases end to end."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pyBigWig
import pytest
from tuner_plugins.nmf import genome, streaming
from tuner_plugins.nmf import params as nmf_params
from tuner_plugins.nmf.io.bigwig import BigWigError
from tuner_plugins.nmf.model.factorize import start_gram
from tuner_plugins.nmf.model.prox_tv import prox_tv1d
from tuner_plugins.nmf.model.start import start_weights
from tuner_plugins.nmf.pipeline import compute_loadings, read_signals
from tuner_plugins.nmf.script.whole import array_names

from tests.nmf.tracks import random_runs

LENGTHS = {"chrB": 24_000, "chrA": 15_000, "chrC": 21_000}  # bins of 3 kb, that of the start, fit
SIZE = sum(LENGTHS.values())
K = 3
SETTINGS: dict[str, dict[str, Any]] = {
    "default": {"resolution": 100},
    "exact": {"resolution": 1, "transform": "none", "num_iter": 6, "start": "randomized_svd"},
    "two levels": {"resolution": 500, "loadings_resolution": 50, "scaling": "std", "num_iter": 3},
    "per base ranks": {"resolution": 1, "scaling": "max", "start": "eigh", "tolerance": 0.05},
    "single": {"resolution": 20, "transform": "sqrt", "start": "random", "dtype": "float32"},
    "mean in gaps": {"resolution": 50, "nan": "mean", "scaling": "l2", "transform": "log1p"},
}


@pytest.fixture(scope="module")
def tracks(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], list[str]]:
    """Return tracks of three chromosomes, and the same ones with all bases on one."""
    folder, rng = tmp_path_factory.mktemp("genome"), np.random.default_rng(4)
    hidden = np.stack([np.arange(SIZE) // 7000 % 2, np.arange(SIZE) // 3000 % 3 == 1])
    paths: tuple[list[str], list[str]] = [], []
    for number in range(5):
        ends, noise = random_runs(rng, SIZE, 40)
        ends = np.union1d(ends, np.cumsum(list(LENGTHS.values())))
        noise = rng.negative_binomial(1, 0.3, ends.size)
        values = np.round(rng.uniform(0, 20, 2) @ hidden[:, ends - 1] + noise)
        keep = values > 2 if number % 2 else np.ones(len(values), bool)
        starts = np.concatenate([[0], ends[:-1]])
        edges = np.cumsum([0, *LENGTHS.values()])
        where = np.searchsorted(edges, starts, side="right") - 1
        names = np.array(list(LENGTHS))[where]
        for kind, chroms in enumerate((LENGTHS, {"all": SIZE})):
            path = folder / f"{kind}-{number}.bw"
            shift = 0 if kind else edges[where]
            with pyBigWig.open(str(path), "w") as file:
                file.addHeader(list(chroms.items()))
                file.addEntries(
                    (["all"] * int(keep.sum()) if kind else names[keep].tolist()),
                    (starts - shift)[keep].tolist(),
                    ends=(ends - shift)[keep].tolist(),
                    values=values[keep].tolist(),
                )
            paths[kind].append(str(path))
    return paths


@pytest.mark.parametrize("kept", [streaming.KEPT_BYTES, 0])
@pytest.mark.parametrize("which", SETTINGS)
def test_without_smoothing_it_is_the_factorisation_of_the_bases_end_to_end(
    tracks: tuple[list[str], list[str]], which: str, kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To rounding: sums over positions are added up in another order."""
    monkeypatch.setattr(streaming, "KEPT_BYTES", kept)
    monkeypatch.setattr(streaming, "_BATCH", 100)
    setting = {**nmf_params.DEFAULTS, "nan": "zero", **SETTINGS[which], "fl_lambda": 0.0}
    places = genome.whole_places(tracks[0], list(LENGTHS))
    found = genome.genome_loadings(tracks[0], places, K, setting)
    expected = compute_loadings(tracks[1], "all", 0, SIZE, K, setting)
    tolerance = 2e-4 if setting["dtype"] == "float32" else 1e-9
    np.testing.assert_allclose(found.weights, expected.weights, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(found.expand(), expected.expand(), rtol=tolerance, atol=tolerance)
    assert np.ptp(found.values, axis=1).min() > 0


def test_one_chromosome_is_its_region(tracks: tuple[list[str], list[str]]) -> None:
    setting = {**nmf_params.DEFAULTS, "nan": "zero", "resolution": 50, "num_iter": 5}
    found = genome.genome_loadings(tracks[1], [("all", 0, SIZE)], K, setting)
    expected = compute_loadings(tracks[1], "all", 0, SIZE, K, setting)
    np.testing.assert_allclose(found.weights, expected.weights, rtol=1e-9)
    np.testing.assert_allclose(found.expand(), expected.expand(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("num_iter", [1, 7])
def test_smoothing_ends_with_each_chromosome(
    tracks: tuple[list[str], list[str]], num_iter: int
) -> None:
    """Against plain rounds over the bases end to end, smoothed chromosome by chromosome."""
    setting = {**nmf_params.DEFAULTS, "nan": "zero", "resolution": 1, "transform": "none"}
    setting |= {"num_iter": num_iter, "fl_lambda": 40.0}
    places = genome.whole_places(tracks[0], list(LENGTHS))
    found = genome.genome_loadings(tracks[0], places, K, setting)
    (signal,) = read_signals(tracks[1], ("all", 0, SIZE), setting, 1)
    dense = np.repeat(signal.values.astype(float), np.diff(signal.ends, prepend=0), axis=1)
    weights = start_weights(start_gram([signal], SIZE, "contrast"), K, "contrast")
    cuts = np.cumsum(list(LENGTHS.values()))[:-1]
    for _ in range(num_iter):
        rough = np.maximum(np.linalg.solve(weights @ weights.T + np.eye(K), weights @ dense), 0)
        pieces = np.split(rough, cuts, axis=1)
        loadings = np.hstack([[prox_tv1d(row, 40.0) for row in piece] for piece in pieces])
        answer = np.linalg.lstsq(loadings @ loadings.T, loadings @ dense.T, rcond=None)[0]
        weights = np.maximum(answer, 0)
    np.testing.assert_allclose(found.weights, weights, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(found.expand(), loadings.T, rtol=1e-7, atol=1e-7)


def test_what_an_end_changes_is_bounded_by_the_penalty(
    tracks: tuple[list[str], list[str]],
) -> None:
    """End to end, a step between chromosomes is penalised: over all bases, by 2 fl_lambda an end.

    The operator is a contraction in the sum of absolute differences, and the penalty on one step
    adds `fl_lambda` at most to either side of it.
    """
    setting = {**nmf_params.DEFAULTS, "nan": "zero", "resolution": 50, "fl_lambda": 30.0}
    places = genome.whole_places(tracks[0], list(LENGTHS))
    found = genome.genome_loadings(tracks[0], places, K, setting).expand()
    joined = compute_loadings(tracks[1], "all", 0, SIZE, K, setting).expand()
    apart = np.abs(found - joined).sum(axis=0)
    assert apart.max() > 1  # they do differ
    assert apart.max() <= 2 * 30.0 * (len(LENGTHS) - 1)


def test_chromosomes_are_handed_on_one_by_one(tracks: tuple[list[str], list[str]]) -> None:
    setting = {**nmf_params.DEFAULTS, "nan": "zero", "resolution": 50}
    places = [("chrA", 0, 15_000), ("chrB", 2_000, 24_000)]
    seen: list[tuple[str, int, tuple[int, ...]]] = []
    weights = genome.factorize_genome(
        tracks[0], places, 2, setting, lambda *got: seen.append((*got[:2], got[2].expand().shape))
    )
    assert seen == [("chrA", 0, (15_000, 2)), ("chrB", 2_000, (22_000, 2))]
    assert weights.shape == (2, 5)


def test_common_chromosomes_are_those_of_every_track(
    tracks: tuple[list[str], list[str]], tmp_path: Path
) -> None:
    more = tmp_path / "more.bw"
    with pyBigWig.open(str(more), "w") as file:
        file.addHeader([("chrC", 21_000), ("chrX", 9), ("chrB", 24_000)])
        file.addEntries(["chrC"], [0], ends=[9], values=[1.0])
    found = genome.common_chromosomes([*tracks[0], str(more)])
    assert found == (["chrB", "chrC"], ["chrA", "chrX"])
    with pytest.raises(BigWigError, match="no chromosome is in each of 2 tracks"):
        genome.common_chromosomes([tracks[0][0], tracks[1][0]])


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_passes_and_chromosomes_are_told(
    tracks: tuple[list[str], list[str]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    setting = {**nmf_params.DEFAULTS, "nan": "zero", "resolution": 50, "transform": "none"}
    places = genome.whole_places(tracks[0], ["chrA", "chrC"])
    genome.genome_loadings(tracks[0], places, 2, setting)
    assert capsys.readouterr().err == ""  # soon done, and nobody looks
    monkeypatch.setattr(streaming, "_REPORT_SECONDS", -1.0)
    genome.genome_loadings(tracks[0], places, 2, setting)
    said = [
        f"pass {number}: {chrom} ({place} of 2 chromosomes)"
        for number in (1, 2, 3)  # the start, one round, the loadings
        for place, chrom in ((1, "chrA"), (2, "chrC"))
    ]
    assert capsys.readouterr().err.splitlines() == said
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    genome.genome_loadings(tracks[0], places, 2, setting)
    assert terminal.getvalue() == "".join(f"\r{line}\033[K" for line in said) + "\r\033[K"


def test_a_chromosomes_name_leads_to_no_other_folder(tmp_path: Path) -> None:
    out = str(tmp_path / "x.npy")
    assert array_names(out, ["chr1"]) == {"chr1": str(tmp_path / "x.chr1.npy")}
    for name in ("../../evil", "a/b", "a\0b", "/etc/evil"):
        with pytest.raises(OSError, match="is no part of a file's name"):
            array_names(out, [name])
