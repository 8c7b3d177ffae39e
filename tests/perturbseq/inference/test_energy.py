from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse
from scipy.spatial.distance import cdist
from tuner_plugins.perturbseq.inference.energy import energy_distances
from tuner_plugins.perturbseq.report.effects import note_on_distances


def _found(x, labels, strata=None, **options):
    design = sparse.csr_matrix((labels[:, None] == np.arange(labels.max() + 1)).astype(float))
    strata = np.zeros(len(x), dtype=np.int64) if strata is None else strata
    names = [f"P{i}" for i in range(design.shape[1])]
    return energy_distances(x, design, names, strata=strata, **options)


def test_the_distance_is_that_of_its_definition():
    rng = np.random.default_rng(0)
    x, labels = rng.normal(size=(70, 3)), np.repeat([0, 1, -1], [20, 10, 40])
    x[labels == 0] += 0.5
    found = _found(x, labels, n_permutations=9)
    for at in (0, 1):
        mine, others = x[labels == at], x[labels == -1]
        n, m = len(mine), len(others)
        within = cdist(mine, mine).sum() / (n * (n - 1)) + cdist(others, others).sum() / (
            m * (m - 1)
        )
        assert found["edistance"][at] == pytest.approx(2 * cdist(mine, others).mean() - within)
    assert found["n_cells"].tolist() == [20, 10]


def test_a_spread_that_differs_is_found_and_idle_ones_are_calibrated():
    p = []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        labels = rng.permutation(np.repeat([0, 1, 2, 3, -1], [30, 30, 30, 30, 80]))
        x = rng.normal(size=(200, 4))
        x[labels == 0] *= 2.0  # of the same mean
        p.append(_found(x, labels, n_permutations=99, seed=seed)["p"].to_numpy())
    p = np.array(p)
    assert np.median(p[:, 0]) == 0.01
    assert 0.0 <= (p[:, 1:] < 0.05).mean() < 0.17
    assert 0.35 < p[:, 1:].mean() < 0.65


def test_batches_are_no_distance():
    rng = np.random.default_rng(0)
    strata = np.repeat([0, 1], 100)
    labels = np.where(rng.random(200) < np.where(strata == 0, 0.8, 0.2), 0, -1)
    x = rng.normal(size=(200, 2)) + 3.0 * strata[:, None]
    assert _found(x, labels, strata, n_permutations=199)["p"].item() > 0.05
    assert _found(x, labels, n_permutations=199)["p"].item() < 0.01
    apart = _found(x, np.where(strata == 0, 0, -1), strata, n_permutations=9)
    assert np.isnan(apart["p"].item())
    assert apart["n_cells"].item() == 100
    assert apart["n_compared"].item() == 0


def test_too_few_permutations_are_said():
    rng = np.random.default_rng(0)
    labels = np.repeat([*range(8), -1], [15] * 8 + [60])
    x = rng.normal(size=(180, 2)) + 3.0 * (labels == 0)[:, None]
    (note,) = note_on_distances(_found(x, labels, n_permutations=19), 19)
    assert note.startswith(
        "1 of 8 distances are beyond all permutations, yet no q can be below 0.4"
    )
    (asked,) = (int(word) for word in note.split() if word.isdigit() and int(word) > 19)
    enough = _found(x, labels, n_permutations=asked)
    assert note_on_distances(enough, asked) == []
    assert enough["q"][0] < 0.05
