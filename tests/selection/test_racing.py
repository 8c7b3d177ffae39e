"""The race and what it stands on: planted truths, limits, and probabilities that hold."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable

import numpy as np
import pytest

from benchmarks.timing import simulate
from tuner.measure.drift import Measurement
from tuner.measure.stopwatch import Timed, anchor, timed
from tuner.selection.racing import Ending, Race, score_value

BASE = {"a": 10.0, "b": 20.0}


clock = itertools.count()


def shots(seconds: Iterable[float], slowness: float | None = None) -> list[Measurement]:
    return [Measurement(next(clock), float(value), slowness=slowness) for value in seconds]


def run_race(truth: np.ndarray, noise: float, seed: int, budget: float = 1e3, **options: float):
    """Race settings of equal gain; `truth` gives seconds of shape (settings, cases)."""
    rng = np.random.default_rng(seed)
    names = list(BASE)[: truth.shape[1]]
    gains = [dict.fromkeys(names, 0.1)] * len(truth)
    race = Race(
        range(100, 100 + len(truth)),
        score_value(gains, BASE),
        names,
        Ending(budget, **options),
    )
    shown = []
    while order := race.next_round():
        shown.append(order)
        drift = math.exp(rng.normal(0, 0.5))
        for number in order:
            seconds = truth[number - 100] * drift * np.exp(rng.normal(0, noise, len(names)))
            race.add(number, shots(seconds, drift * rng.normal(1, 0.02)), float(seconds.sum()))
    return race.verdict(), shown


def test_a_clear_winner_is_found_in_the_first_rounds() -> None:
    verdict, rounds = run_race(np.array([[1.0], [0.5], [2.0]]), 0.02, seed=0, confidence=0.99)
    assert [standing.number for standing in verdict.standings] == [101, 100, 102]
    assert len(rounds) <= 3
    assert verdict.probability_near > 0.99
    assert verdict.probability_order > 0.99
    best = verdict.standings[0]
    assert best.low < best.score < best.high
    assert best.probability_best > 0.99


def test_drift_common_to_a_round_does_not_change_the_ranking() -> None:
    truth = np.array([[1.0, 1.0], [0.94, 0.94], [1.1, 1.0], [1.05, 1.2]])
    winners = [run_race(truth, 0.01, seed)[0].standings[0].number for seed in range(20)]
    assert winners == [101] * 20


def test_time_goes_to_the_contenders() -> None:
    truth = np.array([[1.0], [1.01], [1.5], [3.0]])
    verdict, rounds = run_race(truth, 0.05, seed=1, budget=60.0, indifference=0.0)
    counts = {standing.number: standing.repeats for standing in verdict.standings}
    assert counts[103] <= 3
    assert min(counts[100], counts[101]) > 2 * counts[103]
    assert all(set(order) <= {100, 101, 102, 103} for order in rounds)


def test_the_budget_is_kept() -> None:
    truth = np.array([[1.0], [1.0], [1.0]])
    for budget in (3.5, 9.5, 30.0):
        _, rounds = run_race(truth, 0.0, seed=0, budget=budget, indifference=0.0, confidence=0.999)
        assert sum(map(len, rounds)) <= budget * 2  # drift makes a unit cost more or less


def test_orders_differ_from_round_to_round() -> None:
    _, rounds = run_race(np.ones((5, 1)), 0.02, seed=3, budget=100, indifference=0.0)
    assert len({tuple(order) for order in rounds[:3]}) > 1


def test_one_finalist_has_an_interval_and_no_rival() -> None:
    verdict, rounds = run_race(np.array([[1.0]]), 0.02, seed=0)
    assert verdict.standings[0].probability_best == 1.0
    assert verdict.standings[0].low < verdict.standings[0].score
    assert len(rounds) == 2


def test_a_finalist_that_cannot_be_timed_is_left_out() -> None:
    race = Race([1, 2], score_value([{"a": 0.1}, {"a": 0.2}], {"a": 10.0}), ["a"], Ending(10.0))
    while order := race.next_round():
        for number in order:
            if number == 2:
                race.drop(2)
            else:
                race.add(1, shots([1.0]), 1.0)
    assert [standing.number for standing in race.verdict().standings] == [1]


def test_the_stated_probability_holds() -> None:
    truths = np.random.default_rng(5).uniform(1.0, 1.1, (60, 4, 1))
    stated, right = [], []
    for seed, truth in enumerate(truths):
        verdict, _ = run_race(truth, 0.03, seed, budget=40.0)
        leader = verdict.standings[0].number - 100
        stated.append(verdict.probability_near)
        right.append((truth[leader] / truth.min())[0] ** -0.5 >= 0.99)
    assert np.mean(right) >= np.mean(stated) - 0.05


def test_below_the_baseline_slowness_does_not_win() -> None:
    race = Race([1, 2], score_value([{"a": -0.1}, {"a": -0.1}], {"a": 10.0}), ["a"], Ending(50.0))
    while order := race.next_round():
        for number in order:
            race.add(number, shots([number]), 1.0)
    assert race.verdict().standings[0].number == 1


def test_the_rule_finds_the_best_where_single_times_do_not() -> None:
    found = simulate(30)
    right = found["probability_best"]
    assert right["ours"] >= 0.9
    assert right["ours"] > max(right["single"], right["mean_of_3"])
    assert found["cost"]["ours"] <= 1.05


def test_one_burst_does_not_end_a_finalists_hopes() -> None:
    race = Race(
        [0, 1, 2], score_value([{"a": 0.1}] * 3, {"a": 10.0}), ["a"], Ending(1e3, indifference=0.0)
    )
    truth, timed = [1.0, 1.02, 0.97], []
    while (order := race.next_round()) and len(timed) < 60:
        for number in order:
            burst = 2.5 if number == 2 and timed.count(2) == 0 else 1.0
            timed.append(number)
            race.add(number, shots([truth[number] * burst]), 1.0)
    assert race.verdict().standings[0].number == 2


# -- what times are made of ----------------------------------------------------------------------


def test_time_that_others_took_is_not_counted() -> None:
    alone = Timed(None, 1.0, 1.0, 0.0)
    beside = Timed(None, 2.2, 1.0, 1.2)
    reading = Timed(None, 1.5, 1.0, 0.0)  # waits for a disk: its own time
    threads = Timed(None, 1.0, 1.9, 0.0)
    assert alone.own_seconds == 1.0
    assert beside.own_seconds == pytest.approx(1.0)
    assert reading.own_seconds == 1.5
    assert threads.own_seconds == 1.0
    assert [w.disturbed for w in (alone, beside, reading, threads)] == [False, True, False, False]


def test_the_stop_watch_sees_sleep_and_work() -> None:
    import time

    slept = timed(lambda: time.sleep(0.1))
    assert 0.09 < slept.own_seconds <= slept.seconds
    worked = timed(lambda: sum(range(2_000_000)))
    assert worked.own_seconds >= 0.99 * worked.cpu_seconds > 0.01
    assert 1e-5 < anchor() < 0.5
