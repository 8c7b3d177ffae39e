"""Figures of a study: the front, and the mark on what is frozen."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from tests.studies import make_trials
from tuner.config.objective import Objective
from tuner.report.figures import front_of, history, pareto, slices, trade_off


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


def test_slices_show_the_most_important_parameters_each_on_its_scale() -> None:
    """Names and choices that mathematical text would read, or fail at, are shown as they are."""
    space = {
        "log": FloatDistribution(1e-3, 1e3, log=True),
        "n$^": IntDistribution(1, 9),
        "how": CategoricalDistribution(["$a^$", "b", True, None]),
    }
    records, study = make_trials(12), optuna.create_study()
    for record in records:
        searched = {"log": 10.0 ** (record.number % 7 - 3), "n$^": 1 + record.number % 9}
        searched["how"] = ["$a^$", "b", True, None][record.number % 4]
        record.params.update(searched)
        record.searched.clear()
        record.searched.update(searched)
        values = {"params": searched, "distributions": space, "value": 1.0}
        study.add_trial(optuna.trial.create_trial(**values))
    tuned = [r for r in records if r.state == "complete" and not r.is_baseline]
    objective = Objective({"r": "maximize"}, {"score": "maximize"})
    figure = slices(study, tuned, objective, ["n$^", "how", "gone", "log"], tuned[2])
    count, how, log, *rest = figure.axes
    assert [axes.get_xlabel() for axes in (count, how, log)] == ["n$^", "how", "log"]
    assert not any(axes.get_visible() for axes in rest)
    assert [label.get_text() for label in how.get_xticklabels()] == ["$a^$", "b", "True", "None"]
    assert log.get_xscale() == "log"
    assert 1e-4 < log.get_xlim()[0] < 1e-3 < 1e3 < log.get_xlim()[1] < 1e4  # the whole range
    assert 0.5 < count.get_xlim()[0] < 1 < 9 < count.get_xlim()[1] < 9.5
    decades = [label.get_text() for label in log.get_xticklabels()]
    assert decades == ["0.001", "0.01", "0.1", "1", "10", "100", "1000"]
    for axes, name in ((count, "n$^"), (log, "log")):
        dots, star = (marks.get_offsets() for marks in axes.collections)
        places = [[r.searched[name], r.metrics["score"]] for r in tuned]
        assert np.allclose(dots, places)
        assert np.allclose(star, places[2:3])
    places = how.collections[0].get_offsets()[:, 0]
    assert list(np.round(places)) == [r.number % 4 for r in tuned]
    assert figure._repr_png_().startswith(b"\x89PNG")


def test_two_objectives_beside_the_time_have_a_front_of_their_own() -> None:
    objective = Objective({"r": "maximize"}, {"r": "maximize", "speedup": "maximize"})
    complete = [record for record in make_trials(20) if record.state == "complete"]
    axes = front_of(complete, objective).axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("speedup", "r")
    for speedup, r in zip(*axes.lines[0].get_data(), strict=True):
        better = [t for t in complete if t.metrics["speedup"] > speedup and t.metrics["r"] > r]
        assert better == []
