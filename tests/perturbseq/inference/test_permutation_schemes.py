from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tuner_plugins.perturbseq.inference.exchangeable_units import Units
from tuner_plugins.perturbseq.inference.permutation_schemes import (
    arrangements,
    moves,
    shuffle_within,
    smallest_p,
    unit_orders,
)


def _units(places: np.ndarray) -> Units:
    n = len(places)
    return Units("guide", np.arange(n), np.eye(n), np.asarray(places), "well")


@pytest.mark.parametrize(("count", "expected"), [(1, 0), (2, 1), (3, 5), (4, 7), (9, 17)])
def test_every_move_but_none_at_all(count, expected):
    found = [tuple(o.tolist()) for o in unit_orders(_units(np.arange(count)), np.zeros(count), 99)]
    assert len(set(found)) == len(found) == expected == moves(np.zeros(count))
    assert tuple(range(count)) not in found
    # labels stay neighbours on the ring, in one direction or the other
    for order in found:
        steps = {1, count - 1}
        assert set(np.diff(order) % count) <= steps
    assert sum(o[::-1] in [*found, tuple(range(count))] for o in found) >= expected - 1


def test_moves_follow_the_plate_and_go_by_the_same_number_in_each_stratum():
    places = np.array([5, 0, 3, 1, 4, 2])
    strata = np.array([0, 1, 0, 1, 0, 1])
    # along the plate: units 1, 3, 5 of stratum 1 and 2, 4, 0 of stratum 0
    found = {tuple(o.tolist()) for o in unit_orders(_units(places), strata, 99)}
    ring, other = [2, 4, 0], [1, 3, 5]
    expected = set()
    for step in range(3):
        for way in (1, -1):
            order = np.empty(6, dtype=int)
            for members in (ring, other):
                order[members] = np.roll(members, step)[::way]
            expected.add(tuple(order.tolist()))
    assert found == expected - {tuple(range(6))}
    assert len(found) == moves(strata) == 5


@given(
    st.lists(st.integers(0, 3), min_size=1, max_size=30),
    st.integers(0, 2**32 - 1),
    st.integers(0, 70),
)
def test_orders_are_permutations_that_keep_strata(strata, seed, count):
    strata = np.array(strata)
    rng = np.random.default_rng(seed)
    units = _units(rng.permutation(len(strata)))
    for some in (units, replace(units, places=None)):
        found = list(unit_orders(some, strata, count, seed))
        assert len(found) == (count if some.places is None else min(count, moves(strata)))
        for order in found:
            assert sorted(order) == list(range(len(strata)))
            assert (strata[order] == strata).all()
        if some.places is not None:
            assert len({tuple(o.tolist()) for o in found}) == len(found)
            assert all((order != np.arange(len(strata))).any() for order in found)


def test_a_sample_of_moves_is_drawn_by_its_seed():
    units, strata = _units(np.arange(40)), np.zeros(40)
    a, b, c = ({tuple(o.tolist()) for o in unit_orders(units, strata, 20, s)} for s in (1, 1, 2))
    assert a == b != c
    everything = {tuple(o.tolist()) for o in unit_orders(units, strata, 79, 1)}
    assert a | c < everything
    assert len(everything) == 79
    assert moves(strata) == 79
    often = np.zeros(40)
    for seed in range(400):
        for order in unit_orders(units, strata, 10, seed):
            often[order[0]] += 1
    # label of the first place: 4000 draws over 40 units, two moves bring each, one its own
    assert (abs(often[1:] - 4000 * 2 / 79) < 5 * np.sqrt(102)).all()


def test_free_orders_are_shuffles():
    strata = np.array([0, 0, 1, 1, 1, 0])
    rng = np.random.default_rng(3)
    free = replace(_units(np.arange(6)), places=None)
    for order in unit_orders(free, strata, 4, 3):
        np.testing.assert_array_equal(order, shuffle_within(strata, rng))


def test_arrangements_of_placed_units_are_their_moves():
    units = _units(np.arange(8))
    assert arrangements(units, np.zeros(8)) == 16
    assert arrangements(units, np.repeat([0, 1], 4)) == 8
    assert arrangements(replace(units, places=None), np.zeros(8)) == pytest.approx(40320)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        # pairs beside controls: mirrored about these, each pair is another one
        ([0, 0, 1, 1, 2, 2, -1], 2 / 14),
        ([0, 0, 1, 1, 2, 2, -1, -1], 2 / 16),
        # pairs and nothing else: also every second move, in both directions
        ([0, 0, 1, 1, 2, 2], 6 / 12),
        ([0, 0, 1, 1, 1, 2, 2, -1], 2 / 16),
        ([0, 0, 1, 1, 1, 2, 2, 2, 2, -1], 1 / 20),
        ([0, 0, 1, 1, 2, 2, -1, 2, -1], 1 / 18),
    ],
)
def test_the_smallest_p_counts_what_only_renames(labels, expected):
    design = (np.array(labels)[:, None] == np.arange(3)).astype(float)
    units = replace(_units(np.arange(len(labels))), design=design)
    strata = np.zeros(len(labels), dtype=int)
    assert smallest_p(units, strata, 99) == pytest.approx(expected)
    assert smallest_p(units, strata, 4) == pytest.approx(1 / 5)
    folds = np.arange(len(labels)) % 3
    assert smallest_p(units, strata, 99, folds) == pytest.approx(1 / (2 * len(labels)))
    assert smallest_p(units, strata, 99, 0 * folds) == pytest.approx(expected)


def test_the_smallest_p_of_combinations():
    design = np.array([[1, 0], [1, 0], [0, 1], [0, 1], [1, 1], [0, 0], [0, 0]])
    units = replace(_units(np.arange(7)), design=design)
    assert smallest_p(units, np.zeros(7, int), 99) == pytest.approx(1 / 14)
