from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tuner_plugins.perturbseq.data.folds import (
    leave_batch_out_folds,
    leave_guide_out_folds,
    small_groups,
    stratified_folds,
)
from tuner_plugins.perturbseq.data.labels import Labels, read_design
from tuner_plugins.perturbseq.data.matrix import CellsError


@given(
    st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from("xyz")), min_size=6, max_size=80),
    st.integers(2, 6),
    st.integers(0, 5),
)
def test_every_stratum_is_spread_within_one_cell(cells, n_folds, seed):
    groups, batches = (np.array(part) for part in zip(*cells, strict=True))
    folds = stratified_folds(groups, batches, n_folds, seed)
    for frame in (
        pd.crosstab([groups, batches], folds),
        pd.crosstab(groups, folds),
        pd.crosstab(np.zeros(len(folds)), folds),
    ):
        table = frame.reindex(columns=range(n_folds), fill_value=0).to_numpy()
        assert (np.ptp(table, axis=1) <= 1).all()


def test_an_eight_cell_group_keeps_its_training_cells():
    # a random split left 3 of 8; dealing leaves at least 8 - ceil(8 / 5)
    groups = np.array(["rare"] * 8 + ["x"] * 992)
    batches = np.array(["1", "2"] * 500)
    for seed in range(20):
        held = np.bincount(stratified_folds(groups, batches, 5, seed)[:8], minlength=5)
        assert held.max() <= 2


def test_folds_follow_the_seed():
    groups, batches = np.repeat(["a", "b"], 50), np.tile(["1", "2"], 50)
    one, again, other = (stratified_folds(groups, batches, 5, seed) for seed in (1, 1, 2))
    assert (one == again).all()
    assert (one != other).any()


def test_a_guide_is_never_in_training_and_held_out_at_once():
    groups = np.repeat(["", "A", "B", "C"], 30)
    guides = np.array([f"{g}_{i % 3}" for i, g in enumerate(groups)])
    folds = leave_guide_out_folds(groups, guides, 3, 0)
    assert (pd.crosstab(guides, folds) > 0).sum(axis=1).eq(1).all()
    # and each perturbation keeps guides in every training set
    assert (pd.crosstab(groups, folds) > 0).all(axis=None)


def test_a_batch_is_never_in_training_and_held_out_at_once():
    batches = np.repeat(["a", "b", "c", "d"], [40, 10, 10, 20])
    folds = leave_batch_out_folds(batches, 2)
    assert (pd.crosstab(batches, folds) > 0).sum(axis=1).eq(1).all()
    assert np.bincount(folds).tolist() == [40, 40]
    assert len(np.unique(leave_batch_out_folds(batches, 10))) == 4


def _design(labels: list[str], **options: str):
    return read_design(pd.DataFrame({"perturbation": labels}), Labels(control=(), **options))


def test_small_groups_are_flagged_not_fatal():
    design = _design(["A"] * 3 + ["B"] * 20 + ["C"])
    alone, few = small_groups(design, stratified_folds(design.groups, np.zeros(24), 5, 0))
    assert few.endswith("folds without a held-out cell: 'A' (3 cells, none in 2 of 5 folds)")
    assert alone.endswith("in one fold only, which is predicted without them: 'C' (1 cell)")


def test_many_small_groups_are_one_line():
    design = _design([f"P{i:02d}" for i in range(30)] * 2)
    (note,) = small_groups(design, np.repeat([0, 1, 2], 20))
    assert note.count("cells,") == 5
    assert note.endswith(" and 25 more")


def test_combinations_are_judged_by_the_columns_of_the_design():
    """No combination is in two folds, but every perturbation is."""
    labels = ["A+B", "A+C", "B+C", "A", "B", "C"]
    design = _design(labels, separator="+", multiple="additive")
    assert not small_groups(design, np.array([0, 0, 0, 1, 1, 1]))


def test_bad_splits_are_one_line():
    with pytest.raises(CellsError, match="folds is 1; expected 2"):
        stratified_folds(np.array(["a", "b"]), np.array([0, 0]), 1, 0)
    with pytest.raises(CellsError, match="two batches or more"):
        leave_batch_out_folds(np.zeros(4), 2)
    with pytest.raises(CellsError, match="fewer guides than folds"):
        leave_guide_out_folds(np.array(["a"] * 9), np.array(["g1"] * 9), 2, 0)
