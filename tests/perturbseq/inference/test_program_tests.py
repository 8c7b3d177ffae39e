from __future__ import annotations

import itertools

import numba
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import mannwhitneyu
from tuner_plugins.perturbseq.errors import AnalysisError
from tuner_plugins.perturbseq.inference.kernels import permuted_sums, van_elteren
from tuner_plugins.perturbseq.inference.program_tests import (
    adjust,
    any_effect,
    compare_programs,
    empirical_p,
    permute_within,
    stratum_codes,
    uniformity,
)


def screen(n=400, n_targets=4, n_programs=3, shift=0.0, seed=0):
    """Scores with batch effects, and perturbations spread unevenly over the batches."""
    rng = np.random.default_rng(seed)
    batch = rng.integers(0, 2, n)
    labels = np.where(
        rng.random(n) < 0.4,
        "control",
        rng.choice([f"T{i}" for i in range(n_targets)], n, p=None),
    )
    # T0 lives mostly in batch 1: a batch effect that is not adjusted for looks like its effect
    batch = np.where((labels == "T0") & (rng.random(n) < 0.8), 1, batch)
    scores = rng.normal(0, 1, (n, n_programs)) + 2.0 * batch[:, None]
    scores[labels == "T1", 0] += shift
    names = [f"T{i}" for i in range(n_targets)]
    design = pd.DataFrame({k: (labels == k).astype(float) for k in names})
    table = pd.DataFrame(scores, columns=[f"P{i}" for i in range(n_programs)])
    return table, design, labels == "control", batch


def test_empirical_p_is_never_zero():
    assert empirical_p([0, 5, 999], 999).tolist() == [0.001, 0.006, 1.0]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.one_of(st.just(float("nan")), st.floats(0, 1)), max_size=40))
def test_adjust_is_the_definition(p):
    p = np.array(p)
    tested = np.sort(p[~np.isnan(p)])
    adjusted = adjust(p)
    assert (np.isnan(adjusted) == np.isnan(p)).all()
    for value, result in zip(p, adjusted, strict=True):
        if not np.isnan(value):
            bounds = [t * len(tested) / (i + 1) for i, t in enumerate(tested) if t >= value]
            assert result == pytest.approx(min(1.0, *bounds, 1.0), abs=1e-12)


def test_any_effect_is_simes_then_benjamini_hochberg():
    p = np.array([[0.01, 0.9, 0.04], [0.5, 0.6, np.nan], [np.nan] * 3])
    joined = [min(0.01 * 3, 0.04 * 3 / 2, 0.9), min(0.5 * 2, 0.6), np.nan]
    np.testing.assert_allclose(any_effect(p, 1), adjust(joined))
    np.testing.assert_allclose(any_effect(p.T, 0), adjust(joined))


def test_rows_with_one_significant_entry_are_too_many_and_any_effect_is_not():
    rng = np.random.default_rng(0)
    shares, naive = [], []
    for _ in range(40):
        p = rng.random((200, 20))
        p[:100, :10] *= 10.0 ** -rng.uniform(2, 6, (100, 10))  # half of the genes answer
        for said, false in (
            (any_effect(p, 1) < 0.05, shares),
            ((adjust(p) < 0.05).any(axis=1), naive),
        ):
            assert said[:100].all()
            false.append(said[100:].sum() / said.sum())
    assert np.mean(shares) <= 0.05
    assert np.mean(naive) > 0.15


def test_labels_are_permuted_within_batches_only():
    strata = np.repeat([0, 1, 2], [10, 20, 5])
    rows = permute_within(strata, np.random.default_rng(0))
    assert sorted(rows) == list(range(35))
    assert (strata[rows] == strata).all()
    assert (rows != np.arange(35)).any()


def test_subsets_are_drawn_uniformly():
    values = np.eye(6)
    sums = permuted_sums(values, np.array([0, 4, 6]), np.array([2, 1]), 20_000, 7)
    assert set(sums.sum(axis=1)) == {3.0}
    np.testing.assert_allclose(sums.mean(axis=0), 0.5, atol=0.02)
    pairs = [(sums[:, i] * sums[:, j]).mean() for i, j in itertools.combinations(range(4), 2)]
    np.testing.assert_allclose(pairs, 1 / 6, atol=0.015)


def test_permutation_p_is_the_exact_one_for_few_cells():
    scores, treated = np.array([3.0, 1.0, 2.0, 5.0, 4.0, 0.5, 6.0]), [0, 3, 6]
    design = pd.DataFrame({"T": np.isin(np.arange(7), treated).astype(float)})
    table = compare_programs(
        pd.DataFrame({"P0": scores}), design, design["T"].to_numpy() == 0, n_permutations=50_000
    )
    centred = scores - scores.mean()
    sums = [abs(centred[list(c)].sum()) for c in itertools.combinations(range(7), 3)]
    exact = np.mean(np.array(sums) >= abs(centred[treated].sum()) - 1e-12)
    assert table["p_permutation"][0] == pytest.approx(exact, abs=0.01)


def test_one_stratum_is_mann_whitney():
    rng = np.random.default_rng(3)
    scores = np.round(rng.normal(size=(60, 4)), 1)  # rounded: with ties
    treated = rng.random(60) < 0.3
    _, p = van_elteren(scores, treated, np.zeros(60, dtype=np.int64))
    for column in range(4):
        expected = mannwhitneyu(
            scores[treated, column],
            scores[~treated, column],
            method="asymptotic",
            use_continuity=False,
        ).pvalue
        assert p[column] == pytest.approx(expected, rel=1e-10)


def test_stratified_ranks_have_the_variance_of_permutations():
    rng = np.random.default_rng(5)
    strata = np.repeat([0, 1], [30, 50])
    scores = rng.normal(size=(80, 1)) + 5 * strata[:, None]
    treated = rng.random(80) < np.where(strata == 1, 0.6, 0.2)
    draws = []
    for _ in range(2000):
        draws.append(van_elteren(scores, treated[permute_within(strata, rng)], strata)[0][0])
    assert np.mean(draws) == pytest.approx(0.0, abs=0.08)
    assert np.std(draws) == pytest.approx(1.0, abs=0.06)


def test_p_is_never_zero_even_for_an_enormous_effect():
    scores = np.concatenate([np.zeros(5000), np.ones(5000)])[:, None]
    scores += np.random.default_rng(0).uniform(0, 0.1, scores.shape)
    _, p = van_elteren(scores, scores[:, 0] > 0.5, np.zeros(10_000, dtype=np.int64))
    assert p[0] > 0
    assert np.isfinite(-np.log10(p[0]))


def test_a_batch_effect_is_not_taken_for_an_effect():
    scores, design, control, batch = screen(n=1500)
    within = compare_programs(scores, design, control, strata=batch).query("perturbation == 'T0'")
    assert (within["q_permutation"] > 0.05).all()
    assert (within["q_mannwhitney"] > 0.05).all()
    pooled = compare_programs(scores, design, control).query("perturbation == 'T0'")
    assert (pooled["q_permutation"] < 0.05).all()
    assert (pooled["q_mannwhitney"] < 0.05).all()


def test_a_planted_effect_is_found_and_measured():
    scores, design, control, batch = screen(n=3000, shift=0.8)
    table = compare_programs(scores, design, control, strata=batch)
    hits = table[(table["q_permutation"] < 0.05) & (table["q_mannwhitney"] < 0.05)]
    assert list(zip(hits["program"], hits["perturbation"], strict=True)) == [("P0", "T1")]
    assert hits["difference"].item() == pytest.approx(0.8, abs=0.15)
    assert hits["effect_size"].item() == pytest.approx(0.8, abs=0.15)


def test_difference_and_effect_size_are_the_regression_on_batch():
    scores, design, control, batch = screen(n=300, shift=0.5)
    table = compare_programs(scores, design, control, strata=batch, n_permutations=9)
    used = control | (design["T1"] == 1).to_numpy()
    x = np.column_stack([np.ones(used.sum()), batch[used], design["T1"][used]])
    y = scores["P0"].to_numpy()[used]
    beta, rss, *_ = np.linalg.lstsq(x, y, rcond=None)
    row = table.query("program == 'P0' and perturbation == 'T1'")
    assert row["difference"].item() == pytest.approx(beta[2])
    assert row["effect_size"].item() == pytest.approx(beta[2] / np.sqrt(rss[0] / (len(y) - 3)))


def test_null_p_values_are_uniform_and_bh_keeps_its_promise():
    p, ranks, false = [], [], 0
    for seed in range(40):
        scores, design, control, batch = screen(n=400, seed=seed)
        table = compare_programs(
            scores, design, control, strata=batch, n_permutations=499, seed=seed
        )
        p.extend(table["p_permutation"])
        ranks.extend(table["p_mannwhitney"])
        false += bool((table["q_permutation"] < 0.1).any())
    assert uniformity(p) > 0.01
    assert uniformity(ranks) > 0.01
    assert false <= 10  # 40 runs at 10 %: more than 10 has probability 0.0005


def test_same_tables_twice_and_with_one_or_two_threads():
    scores, design, control, batch = screen()
    tables = []
    for threads in (1, 2, 1):
        numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))
        tables.append(compare_programs(scores, design, control, strata=batch, seed=3))
    pd.testing.assert_frame_equal(tables[0], tables[1], check_exact=True)
    pd.testing.assert_frame_equal(tables[0], tables[2], check_exact=True)


def test_one_cell_a_constant_program_and_a_batch_without_controls():
    scores, design, control, batch = screen()
    scores["P0"] = 1.0
    single = np.flatnonzero(control)[0]
    control[single] = False
    design["one"] = 0.0
    design.loc[single, "one"] = 1.0
    batch = np.where(design["T3"] == 1, 2, batch)
    table = compare_programs(scores, design, control, strata=batch).set_index("perturbation")
    assert (table.loc["one", "n_compared"] == 1).all()
    assert table.loc["one", "p_permutation"].between(0, 1).all()
    constant = table[table["program"] == "P0"]
    assert (constant["p_permutation"].dropna() == 1).all()
    assert table.loc["T3"][["difference", "p_permutation", "q_permutation"]].isna().all(axis=None)
    assert table.loc["T1", "q_permutation"].notna().all()


def test_integer_and_text_batches_are_the_same():
    codes = [3, 1, 3, 2]
    assert stratum_codes(codes, 4).tolist() == stratum_codes(list(map(str, codes)), 4).tolist()
    with pytest.raises(AnalysisError, match="1 cells have no batch"):
        stratum_codes(["a", None], 2)


def test_no_controls_and_bad_scores_are_refused():
    scores, design, control, _ = screen()
    with pytest.raises(AnalysisError, match="needs control cells"):
        compare_programs(scores, design, control & False)
    scores.iloc[0, 0] = np.nan
    with pytest.raises(AnalysisError, match="must be finite"):
        compare_programs(scores, design, control)
