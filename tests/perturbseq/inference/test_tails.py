from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm, t
from tuner_plugins.perturbseq.errors import AnalysisError
from tuner_plugins.perturbseq.inference.coefficients import permutation_p
from tuner_plugins.perturbseq.inference.tails import MOST, keep_largest, tail_p
from tuner_plugins.perturbseq.report.options import AnalysisOptions


def test_the_largest_are_kept_whatever_the_pieces():
    values = np.random.default_rng(0).normal(size=(3, 2000))
    kept = None
    for piece in np.split(values, 8, axis=1):
        kept = keep_largest(kept, piece)
    np.testing.assert_array_equal(np.sort(kept), np.sort(values)[:, -MOST - 1 :])


@pytest.mark.parametrize("law", [norm(), t(6)])
def test_small_p_values_are_of_the_right_size(law):
    """Orders of magnitude below the floor of 2e-5; heavy tails are no trap."""
    ratios = []
    for seed in range(10):
        null = np.abs(law.rvs(size=50_000, random_state=seed))
        at = law.isf(np.array([5e-6, 5e-7, 5e-8]) / 2)
        found = tail_p(at, keep_largest(None, null[None])[0], len(null))
        ratios.append(np.log10(found) - np.log10([5e-6, 5e-7, 5e-8]))
    assert (np.min(ratios, axis=0) > [-0.7, -1.5, -2.5]).all()  # hardly too small
    assert (np.median(ratios, axis=0) < [1.0, 1.5, 2.0]).all()  # and below the floor by far


def test_no_effect_is_not_found_more_often_than_p_says():
    rng = np.random.default_rng(1)
    rare = 0
    for _ in range(20):
        nulls = [rng.normal(size=(500, 4)) for _ in range(20)]
        p = permutation_p(rng.normal(size=(500, 4)), nulls, pooled_scale=np.ones(500), tail=True).p
        assert ((p > 0) & (p <= 1)).all()
        rare += int((p < 1e-4).sum())
    assert rare <= 12  # 4 of 40,000 are expected


def test_p_goes_below_the_floor_only_where_null_values_are_few():
    rng = np.random.default_rng(2)
    observed = rng.normal(size=(400, 2))
    observed[0, 0] = 9.0
    nulls = [rng.normal(size=(400, 2)) for _ in range(20)]
    counted = permutation_p(observed, nulls, pooled_scale=np.ones(400)).p
    fitted = permutation_p(observed, nulls, pooled_scale=np.ones(400), tail=True).p
    assert counted[0, 0] == 1 / 8001
    assert fitted[0, 0] < 1e-7
    often = counted > 11 / 8001
    np.testing.assert_array_equal(fitted[often], counted[often])


def test_a_tail_needs_the_shared_null():
    with pytest.raises(AnalysisError, match="tail_fit needs pooled_null"):
        AnalysisOptions(tail_fit=True, pooled_null=False)
