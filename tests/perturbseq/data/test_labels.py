from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tuner_plugins.perturbseq.data.labels import Labels, read_design
from tuner_plugins.perturbseq.data.matrix import CellsError


def _obs(labels: list[object]) -> pd.DataFrame:
    return pd.DataFrame({"p": labels}, index=[f"c{i}" for i in range(len(labels))])


def _read(labels: list[object], **options):
    return read_design(_obs(labels), Labels("p", **{"control": ["ctrl"], **options}))


def test_control_cells_have_rows_of_zeros():
    design = _read(["B", "ctrl", "A", "B"])
    assert design.names == ["A", "B"]
    np.testing.assert_array_equal(design.matrix.toarray(), [[0, 1], [0, 0], [1, 0], [0, 1]])
    assert design.groups.tolist() == ["B", "", "A", "B"]


def test_labels_of_any_dtype():
    expected = _read(["1", "2", "1"], control=["2"]).matrix.toarray()
    for labels in (
        pd.Series([1, 2, 1]),
        pd.Series([1, 2, 1], dtype="category"),
        pd.Series(["1", "2", "1"], dtype="string"),
    ):
        obs = pd.DataFrame({"p": labels})
        design = read_design(obs, Labels("p", control=["2"]))
        assert design.names == ["1"]
        np.testing.assert_array_equal(design.matrix.toarray(), expected)


def test_order_is_by_name_whatever_the_order_of_cells():
    labels = ["ctrl", "z", "a", "m", "a", "z"]
    for seed in range(5):
        shuffled = np.random.default_rng(seed).permutation(labels).tolist()
        assert _read(shuffled).names == ["a", "m", "z"]


def test_several_controls_and_none():
    design = _read(["A", "nt1", "nt2"], control=["nt1", "nt2"])
    assert design.matrix.sum() == 1
    assert _read(["A", "B"], control=[]).names == ["A", "B"]


@pytest.mark.parametrize("empty", [None, np.nan, "", "unassigned", pd.NA])
def test_unassigned_cells_need_a_policy(empty):
    labels = ["A", "ctrl", empty, "A"]
    with pytest.raises(CellsError, match="1 cells without a perturbation.*drop or control"):
        _read(labels)
    dropped = _read(labels, unassigned="drop")
    assert dropped.rows.tolist() == [0, 1, 3]
    kept = _read(labels, unassigned="control")
    np.testing.assert_array_equal(kept.matrix.toarray().ravel(), [1, 0, 0, 1])
    assert "kept as controls" in kept.notes[0]


def test_a_comma_in_a_name_is_a_name_unless_a_separator_is_given():
    assert _read(["A,B", "ctrl", "A"]).names == ["A", "A,B"]
    with pytest.raises(CellsError, match="1 cells with several perturbations"):
        _read(["A,B", "ctrl", "A"], separator=",")


def test_policies_for_cells_with_several_perturbations():
    labels = ["B,A", "ctrl", "A", "ctrl,B", "A, B", "A,A"]
    additive = _read(labels, separator=",", multiple="additive")
    np.testing.assert_array_equal(
        additive.matrix.toarray(), [[1, 1], [0, 0], [1, 0], [0, 1], [1, 1], [1, 0]]
    )
    both = _read(labels, separator=",", multiple="additive", combinations=True)
    assert both.names == ["A", "B", "A,B"]
    np.testing.assert_array_equal(both.matrix.toarray()[:, 2], [1, 0, 0, 0, 1, 0])
    assert _read(labels, separator=",", multiple="drop").rows.tolist() == [1, 2, 3, 5]
    control = _read(labels, separator=",", multiple="control")
    assert control.matrix.toarray().sum() == 3


def test_rare_perturbations_leave_until_none_is_rare():
    # B falls below two cells only once the cell of the rare C is gone
    design = _read(["A", "A", "B", "B,C", "ctrl"], separator=",", multiple="additive", min_cells=2)
    assert design.names == ["A"]
    assert design.rows.tolist() == [0, 1, 4]


def test_a_perturbation_of_one_cell_is_kept_by_default():
    assert _read(["A", "B", "B", "ctrl"]).names == ["A", "B"]


def test_bad_labels_are_one_line():
    with pytest.raises(CellsError, match="no obs column 'q'.*there are: p"):
        read_design(_obs(["A"]), Labels("q"))
    with pytest.raises(CellsError, match="control label 'ctl' is not in.*it has: ctrl"):
        _read(["A", "ctrl"], control=["ctl"])
    unused = pd.DataFrame({"p": pd.Categorical(["A", "ctrl"], ["A", "B", "ctrl"])})
    with pytest.raises(CellsError, match="perturbation 'B' has no cells") as error:
        read_design(unused, Labels("p", control=["ctrl"]))
    assert "\n" not in str(error.value)
    with pytest.raises(CellsError, match="no perturbed cell"):
        _read(["ctrl", "ctrl"])


@given(
    st.lists(
        st.lists(st.sampled_from(["A", "B", "C", "ctrl"]), min_size=1, max_size=4),
        min_size=1,
        max_size=30,
    )
)
def test_a_row_holds_exactly_the_parts_of_its_label(labels):
    joined = [";".join(part) for part in labels] + ["ctrl", "A"]
    design = _read(joined, separator=";", multiple="additive")
    found = design.matrix.toarray()
    for row, label in zip(design.rows, found, strict=True):
        names = {design.names[k] for k in np.flatnonzero(label)}
        assert names == set(joined[row].split(";")) - {"ctrl"}
    assert set(np.unique(found)) <= {0.0, 1.0}
