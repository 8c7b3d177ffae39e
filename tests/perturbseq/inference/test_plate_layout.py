from __future__ import annotations

from itertools import product

import anndata
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tuner_plugins.perturbseq.data.labels import Labels
from tuner_plugins.perturbseq.data.matrix import CellsError
from tuner_plugins.perturbseq.data.screen import Recipe, Screen, open_screen
from tuner_plugins.perturbseq.inference.exchangeable_units import units_of
from tuner_plugins.perturbseq.inference.plate_layout import (
    place_of,
    places_of_units,
    stand_together,
)

from tests.perturbseq.screens import plate_screen

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
ROWS = [*LETTERS, *(f"A{letter}" for letter in "ABCDEF")]
rows, columns = st.integers(0, len(ROWS) - 1), st.integers(1, 48)


def _open(adata: anndata.AnnData) -> Screen:
    return open_screen(adata, Recipe(Labels("perturbation", ["ctrl"])))


@given(rows, columns, rows, columns)
def test_wells_stand_row_by_row(row, column, other_row, other_column):
    a = place_of(f"{ROWS[row]}{column}")
    b = place_of(f"{ROWS[other_row]}{other_column:03d}")
    assert a is not None
    assert b is not None
    assert (a < b) == ((row, column) < (other_row, other_column))
    assert (a == b) == ((row, column) == (other_row, other_column))


@given(st.integers(0, 120), st.integers(0, 120), rows, columns, st.sampled_from("-_: "))
def test_plates_stand_one_after_the_other(plate, other, row, column, mark):
    a, b = place_of(f"P{plate}{mark}{ROWS[row]}{column:02d}"), place_of(f"P{other}_A1")
    assert a is not None
    assert b is not None
    if plate != other:
        assert (a < b) == (plate < other)
    assert place_of(f"{ROWS[row]}{column}") < a


@pytest.mark.parametrize(
    "label",
    [
        "",
        "A",
        "1",
        "A0",
        "A49",
        "A1x",
        "ABC1",
        "AG1",
        "JU2",
        "1A",
        "_A1",
        "A-1",
        "PA01",
        "A01_",
        "A1 B",
        "Ä1",
    ],
)
def test_what_is_no_well(label):
    assert place_of(label) is None


@given(st.text(max_size=8))
def test_any_label_is_a_well_or_none(label):
    place = place_of(label)
    assert place is None or (place.row >= 1 and 1 <= place.column <= 48)


def test_small_letters_and_zeros_do_not_matter():
    assert place_of("a1") == place_of("A01") == place_of(" A001 ")
    assert place_of("p1 : a1") == place_of("p1_A01")


def test_a_unit_stands_where_its_first_well_is():
    wells = np.array(["B02", "A10", "A9", "C01", "A1", "B2"])
    codes = np.array([0, 1, 1, 1, 2, 0])
    assert places_of_units(codes, wells).tolist() == [2, 1, 0]
    # down the columns A1, C1, B2, A9
    assert places_of_units(codes, wells, by_column=True).tolist() == [2, 1, 0]
    wells = np.array(["A01", "B01", "A02", "B02"])
    assert places_of_units(np.arange(4), wells).tolist() == [0, 2, 1, 3]
    assert places_of_units(np.arange(4), wells, by_column=True).tolist() == [0, 1, 2, 3]


def test_a_well_of_two_units_ties_none_to_a_place():
    assert places_of_units(np.array([0, 1]), np.array(["A1", "A01"])) is None
    assert places_of_units(np.array([0, 1]), np.array(["A1", "here"])) is None
    assert places_of_units(np.array([0, 1]), np.array(["P1_A1", "P2_A1"])) is not None


@pytest.mark.parametrize(("labels", "each"), [(5, 2), (20, 2), (8, 4), (2, 40)])
def test_like_labels_side_by_side_are_seen(labels, each):
    assert stand_together(np.repeat(np.arange(labels), each))
    assert not stand_together(np.tile(np.arange(labels), each))


@pytest.mark.parametrize(("pairs", "expected"), [(3, False), (4, False), (6, True)])
def test_how_many_neighbours_are_too_many(pairs, expected):
    """Of 20 pairs in random order one is side by side on average, four or more in 2 % of orders."""
    rest = np.arange(pairs, 20)
    labels = np.concatenate([np.repeat(np.arange(pairs), 2), rest, rest])
    assert stand_together(labels) is expected


def test_random_layouts_seldom_look_like_neighbours():
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(20), 2)
    seen = [stand_together(rng.permutation(labels)) for _ in range(100)]
    assert np.mean(seen) <= 0.01 + 3 * np.sqrt(0.01 * 0.99 / 100)
    assert stand_together(np.array(["x"])) is False


def test_units_stand_along_the_plate_where_guides_of_a_gene_are_neighbours():
    screen = _open(plate_screen(1))
    units = units_of(screen)
    assert units is not None
    assert units.well == "well"
    assert units.among == "guide, moved along the plate"
    first = screen.obs.groupby(units.codes)["well"].min()
    assert first.rank().astype(int).sub(1).tolist() == units.places.tolist()
    assert units_of(screen, well="well").places.tolist() == units.places.tolist()
    free = units_of(screen, well=None)
    assert free is not None
    assert (free.places, free.well, free.among) == (None, None, "guide")
    assert units_of(screen, "cells", well="well") is None
    of_wells = units_of(screen, "well")
    assert of_wells is not None
    assert of_wells.among == "well, moved along the plate"


def test_guides_down_the_columns_are_neighbours_too():
    adata = plate_screen(1)
    names = [f"{row}{column}" for column, row in product(range(1, 13), "AB")]
    guides = adata.obs["guide"].to_numpy()[:: len(adata) // 24]
    adata.obs["well"] = adata.obs["guide"].map(dict(zip(guides, names, strict=True)))
    units = units_of(_open(adata))
    assert units is not None
    assert units.places is not None
    assert units.places.tolist() == list(range(24))


def test_a_randomised_layout_exchanges_freely():
    adata = plate_screen(1)
    names = sorted(set(adata.obs["well"]))
    dealt = dict(zip(names, np.random.default_rng(3).permutation(names), strict=True))
    adata.obs["well"] = adata.obs["well"].map(dealt)
    for well in ("auto", "well"):
        units = units_of(_open(adata), well=well)
        assert units is not None
        assert units.places is None


@pytest.mark.parametrize("kind", ["none", "missing", "names", "shared"])
def test_columns_that_tell_no_place_leave_the_exchange_free(kind):
    units = units_of(_open(_bad(kind)))
    assert units is not None
    assert units.places is None


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("none", "no obs column 'well' for well"),
        ("missing", "obs column 'well' for well has 1 cells without a value"),
        ("names", "obs column 'well' for well: 'here' is no well; expected names such as A01"),
        ("shared", "obs column 'well' for well: 'A01' has cells of several units of 'guide'"),
    ],
)
def test_wells_that_cannot_be_are_named(kind, message):
    with pytest.raises(CellsError, match=message) as error:
        units_of(_open(_bad(kind)), well="well")
    assert "\n" not in str(error.value)


def _bad(kind: str) -> anndata.AnnData:
    adata = plate_screen(1)
    if kind == "none":
        del adata.obs["well"]
    if kind == "missing":
        adata.obs["well"] = adata.obs["well"].where(adata.obs_names != "cell3")
    if kind == "names":
        adata.obs["well"] = pd.Categorical(["here", *adata.obs["well"][1:]])
    if kind == "shared":
        adata.obs["well"] = adata.obs["well"].replace({"A02": "A01"})
    return adata
