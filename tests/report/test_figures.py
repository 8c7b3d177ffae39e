"""Figures of a study: the front, and the mark on what is frozen."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tests.studies import make_trials
from tuner.objective import Objective
from tuner.report.figures import history, pareto, trade_off


def test_the_front_holds_what_no_other_beats_in_both() -> None:
    times, values = np.array([3.0, 1.0, 2.0, 2.0, 4.0]), np.array([0.9, 0.1, 0.5, 0.6, 0.8])
    assert list(pareto(times, values, upward=True)) == [1, 3, 0]
    assert list(pareto(times, -values, upward=False)) == [1, 3, 0]


def test_of_two_objectives_the_front_is_drawn_and_the_frozen_setting_marked() -> None:
    objective = Objective({"r": "maximize"}, {"r": "maximize", "time": "minimize"})
    complete = [record for record in make_trials(20) if record.state == "complete"]
    luckiest = max(complete, key=lambda record: record.metrics["score"])
    frozen = next(r for r in complete if r is not luckiest and not r.is_baseline)
    axes = trade_off(complete, objective, frozen).axes[0]
    marks = {mark.get_label(): mark.get_offsets() for mark in axes.collections}
    place = [[frozen.metrics["time"], frozen.metrics["r"]]]
    assert np.allclose(marks[f"trial {frozen.number}"], place)
    (front,) = axes.lines
    for time, value in zip(*front.get_data(), strict=True):
        beaten = [r for r in complete if r.metrics["time"] < time and r.metrics["r"] > value]
        assert beaten == []


def test_intervals_are_drawn_where_there_are_some() -> None:
    objective = Objective({"r": "maximize"}, {"score": "maximize"})
    complete = [record for record in make_trials(9) if record.state == "complete"]
    assert "95 % interval" not in labels(history(complete, objective))
    ends = {"score_low": -1.0, "score_high": 1.0}
    known = [replace(r, metrics={**r.metrics, **ends}) for r in complete]
    assert "95 % interval" in labels(history(known, objective))


def labels(figure: object) -> list[str]:
    return [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
