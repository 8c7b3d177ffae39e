"""Factor programs: planted ones come back, and limits that scikit-learn knows."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import optimize, sparse
from sklearn.decomposition import NMF
from threadpoolctl import threadpool_limits
from tuner_plugins.perturbseq.errors import AnalysisError
from tuner_plugins.perturbseq.programs import consensus_nmf as module
from tuner_plugins.perturbseq.programs.consensus import NmfOptions, consensus
from tuner_plugins.perturbseq.programs.consensus_nmf import consensus_nmf
from tuner_plugins.perturbseq.programs.nonnegative import (
    compress,
    factorise,
    nonnegative_fit,
)

from tests.perturbseq.factor_screens import matched, planted_factors

PLANTED = 5
QUICK = NmfOptions((PLANTED,), replicates=6)


def logged(counts: sparse.csr_matrix) -> sparse.csr_matrix:
    scale = sparse.diags_array(1e4 / np.asarray(counts.sum(axis=1)).ravel())
    return sparse.csr_matrix((scale @ counts).log1p())


def spread(counts: sparse.csr_matrix) -> np.ndarray:
    return counts.toarray().std(axis=0, ddof=1)


@pytest.fixture(scope="module")
def planted():
    return planted_factors(0, programs=PLANTED)


@pytest.fixture(scope="module")
def found(planted):
    return consensus_nmf(planted.counts, logged(planted.counts), QUICK)


def test_planted_spectra_and_usages_come_back(planted, found):
    place, of_spectra = matched(planted.spectra, found.spectra)
    of_usage = [
        np.corrcoef(u, f)[0, 1] for u, f in zip(planted.usage.T, found.usage.T[place], strict=True)
    ]
    assert of_spectra.min() > 0.98
    assert min(of_usage) > 0.95
    assert np.allclose(found.usage.sum(axis=1), 1.0)
    assert (found.usage >= 0).all()
    assert (found.spectra >= 0).all()
    for program, mine in enumerate(planted.raised):  # top genes are those that were raised
        top = np.argsort(-found.scores[place[program]])[:20]
        assert np.isin(top, mine).mean() >= 0.9
    assert found.stability["replicates"].min() == 1.0


def test_consensus_is_more_stable_than_single_factorisations():
    weak = planted_factors(1, cells=400, genes=150, programs=8, depth=800, fold=0.8)
    log = logged(weak.counts)

    def agreement(replicates: int) -> float:
        """Return the mean correlation of programs between seeds, each with its nearest."""
        runs = [
            consensus_nmf(weak.counts, log, NmfOptions((8,), replicates, seed=seed)).spectra
            for seed in range(3)
        ]
        pairs = [(a, b) for a in range(3) for b in range(a)]
        return float(np.mean([matched(runs[a], runs[b])[1].min() for a, b in pairs]))

    alone, together = agreement(1), agreement(12)
    assert alone < 0.93
    assert together > 0.97


def test_the_planted_number_is_chosen(planted):
    options = NmfOptions((3, 4, 5, 6, 8), replicates=6)
    choices = consensus_nmf(planted.counts, logged(planted.counts), options).choices
    assert choices["n_programs"][choices["chosen"]].tolist() == [PLANTED]
    assert (np.diff(choices["error"]) < 0).all()


def test_one_program_of_one_replicate_is_that_of_scikit_learn(planted):
    ours = consensus_nmf(planted.counts, logged(planted.counts), NmfOptions((1,), replicates=1))
    scaled = planted.counts.toarray().astype(float) / spread(planted.counts)
    theirs = NMF(1, init="random", random_state=0, tol=1e-8, max_iter=1000)
    usage = theirs.fit_transform(scaled)
    error = np.linalg.norm(scaled - usage @ theirs.components_) / np.linalg.norm(scaled)
    assert ours.choices["error"].item() == pytest.approx(error, rel=1e-6)
    data = compress(planted.counts, np.arange(scaled.shape[1]), spread(planted.counts), 60)
    spectrum = factorise(data, 1, np.random.default_rng(0))[0]
    expected = theirs.components_[0]
    # spectra are updated in single precision
    assert spectrum / spectrum.sum() == pytest.approx(expected / expected.sum(), rel=1e-4)


def test_a_factorisation_is_as_good_as_that_of_scikit_learn(planted):
    counts = planted.counts
    scaled = (counts.toarray() / spread(counts)).astype(np.float32)
    data = compress(counts, np.arange(scaled.shape[1]), spread(counts), 60)
    mine = factorise(data, PLANTED, np.random.default_rng(0)).astype(float)
    theirs = NMF(PLANTED, init="random", random_state=0, max_iter=1000).fit(scaled)

    def error(spectra: np.ndarray) -> float:
        usage = nonnegative_fit(spectra @ spectra.T, scaled @ spectra.T)
        return float(np.linalg.norm(scaled - usage @ spectra))

    # 1e-3: what singular directions beyond the 60th and single precision may cost
    assert error(mine) < error(theirs.components_.astype(float)) * 1.001


def test_cells_in_another_order_give_the_same_programs(planted, found):
    order = np.random.default_rng(1).permutation(planted.counts.shape[0])
    again = consensus_nmf(planted.counts[order], logged(planted.counts)[order], QUICK)
    place, _ = matched(found.spectra, again.spectra)
    # sums over cells in single precision, in another order
    assert again.spectra[place] == pytest.approx(found.spectra, rel=0.01, abs=0.05)
    assert again.usage[:, place] == pytest.approx(found.usage[order], abs=2e-3)


def test_the_same_on_any_number_of_threads(planted, found):
    with threadpool_limits(2):
        again = consensus_nmf(planted.counts, logged(planted.counts), QUICK, threads=2)
    assert np.array_equal(again.usage, found.usage)
    assert np.array_equal(again.spectra, found.spectra)
    assert again.choices.equals(found.choices)


def test_replicates_of_a_part_of_the_cells_find_the_same(planted, found, monkeypatch):
    monkeypatch.setattr(module, "MOST_CELLS", 400)
    part = consensus_nmf(planted.counts, logged(planted.counts), QUICK)
    assert part.usage.shape == found.usage.shape
    assert matched(found.spectra, part.spectra)[1].min() > 0.98


def test_non_negative_least_squares_are_exact():
    rng = np.random.default_rng(0)
    matrix, sides = rng.normal(size=(30, 4)), rng.normal(size=(50, 30))
    found = nonnegative_fit(matrix.T @ matrix, sides @ matrix)
    expected = np.array([optimize.nnls(matrix, side)[0] for side in sides])
    assert found == pytest.approx(expected, abs=1e-9)
    twice = np.column_stack([matrix, matrix[:, 0]])  # a spectrum that comes twice
    again = nonnegative_fit(twice.T @ twice, sides @ twice)
    assert again @ twice.T == pytest.approx(expected @ matrix.T, abs=1e-6)


def test_components_far_from_all_others_are_left_out():
    rng = np.random.default_rng(0)
    base = np.eye(3)[:, [0, 0, 0, 1, 1, 1, 2, 2, 2]]
    components = np.concatenate([base + 0.01 * rng.random((3, 9)) for _ in range(10)])
    components[0] = [0, 0, 1, 1, 0, 0, 0, 0, 1]  # between all programs
    found = consensus(components, 3, NmfOptions((3,), replicates=10))
    assert np.flatnonzero(found.programs < 0).tolist() == [0]
    assert np.sort(np.bincount(found.programs[1:])).tolist() == [9, 10, 10]
    everything = consensus(components, 3, NmfOptions((3,), 10, density_threshold=2.0))
    assert (everything.programs >= 0).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_programs": ()}, "n_programs is none; expected whole numbers from 1"),
        ({"n_programs": (5, 5.5)}, "n_programs is 5, 5.5; expected whole numbers from 1"),
        ({"n_programs": (0,)}, "n_programs is 0; expected whole numbers from 1"),
        ({"n_programs": (3, 4), "replicates": 1}, "ask for 2 or more"),
        ({"replicates": 0}, "replicates is 0; expected 1 or more"),
        ({"density_threshold": 0.0}, "density_threshold is 0; expected a distance"),
    ],
)
def test_options_that_cannot_be_run_are_refused(options, message):
    with pytest.raises(AnalysisError, match=message):
        NmfOptions(**options)


def test_more_programs_than_cells_are_refused(planted):
    few = planted.counts[:6]
    with pytest.raises(AnalysisError, match=r"n_programs is 9; .* there are 6 cells"):
        consensus_nmf(few, logged(few), NmfOptions((9,)))


def test_a_cell_without_counts_of_these_genes_uses_nothing(planted):
    counts = planted.counts.copy().tolil()
    counts[0] = 0
    counts[0, 0] = 1  # not among the two hundred that vary most
    counts = sparse.csr_matrix(counts)
    options = NmfOptions((2,), replicates=2, n_genes=200)
    found = consensus_nmf(counts, logged(counts), options)
    assert np.isfinite(found.usage).all()
    assert found.usage[1:].sum(axis=1) == pytest.approx(1.0)
