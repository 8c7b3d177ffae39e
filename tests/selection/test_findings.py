"""The verdict in words: each rule with the value that it should give, and where it is silent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from tests.studies import make_trials
from tuner.config.load import load_config
from tuner.config.objective import Objective
from tuner.config.task import Task
from tuner.records import CaseRecord, Final, Finalist, Null, Summary, TrialRecord
from tuner.selection.findings import (
    beyond,
    certainty,
    edge_of,
    edges,
    held_out,
    luck,
    no_gain,
    uncompleted,
    unfinished,
    verdict,
    weak_baseline,
)

OBJECTIVE = Objective({"r": "maximize"}, {"score": "maximize"})


def trial(number: int, *r: float, score: float = 1.0, **changes: Any) -> TrialRecord:
    cases = [CaseRecord(f"c{i}", {"r": value}, 1.0) for i, value in enumerate(r)]
    metrics = {"r": sum(r) / len(r), "score": score, "time": 1.0}
    template = make_trials(2)[1]
    changed = {"number": number, "cases": cases, "metrics": metrics, "is_baseline": number == 0}
    return replace(template, **{**changed, **changes})


def summary(best: TrialRecord, baseline: TrialRecord, **changes: Any) -> Summary:
    return replace(Summary(best, baseline, {"complete": 2}, finished=True), **changes)


def null(case: str, p: float, *, held: bool = False, metric: float = 0.52) -> Null:
    return Null(case, held, metric, 0.41, 0.6, p, 1000)


# -- a weak baseline -------------------------------------------------------------------------


def test_a_baseline_that_luck_beats() -> None:
    best, baseline = trial(1, 0.5, 0.6), trial(0, 0.4, 0.45)
    given = summary(best, baseline, nulls=[null("c0", 0.01), null("c1", 0.01)])
    (line,) = weak_baseline(given, OBJECTIVE)
    assert line.startswith("the baseline's r is below the null mean (0.4000 in c0): a gain")
    held = summary(
        trial(1, 0.5),
        trial(0, 0.42),
        nulls=[null("c0", 0.01), null("h", 0.5, held=True)],
        held_out_baseline=[CaseRecord("h", {"r": 0.1}, 1.0)],
    )
    (line,) = weak_baseline(held, OBJECTIVE)
    assert "(0.1000 in h)" in line
    assert not list(weak_baseline(summary(best, baseline), OBJECTIVE))


# -- no gain ---------------------------------------------------------------------------------


def test_no_trial_beats_the_baseline() -> None:
    baseline = trial(0, 0.4, score=0.0)
    below = summary(trial(3, 0.3, score=-0.5), baseline)
    itself = summary(baseline, baseline)
    for given in (below, itself):
        assert list(no_gain(given, OBJECTIVE)) == ["no trial beats the baseline (trial 0) in score"]
    assert list(no_gain(summary(trial(3, 0.5, score=0.1), baseline), OBJECTIVE)) == []


@pytest.mark.parametrize(("value", "silent"), [(0.1, True), (0.5, False)])
def test_less_is_better_where_the_objective_is_minimised(value: float, silent: bool) -> None:
    objective = Objective({"r": "minimize"}, {"r": "minimize"})
    given = summary(trial(3, value), trial(0, 0.4))
    assert (list(no_gain(given, objective)) == []) is silent


def test_tuned_cases_may_disagree() -> None:
    given = summary(trial(3, 0.5, 0.3, 0.9), trial(0, 0.4, 0.35, 0.4, score=0.0))
    assert list(no_gain(given, OBJECTIVE)) == [
        "the tuned cases disagree: r is better than the baseline's in 2 of 3, not in c1"
    ]


# -- luck --------------------------------------------------------------------------------------


def test_a_metric_that_luck_gives_too() -> None:
    assert list(luck([null("a", 0.63), null("b", 0.4, metric=0.56)], "r", "tuned")) == [
        "tuned cases: r 0.5400 (mean of 2) is not distinguishable from luck: "
        "p 0.63, 0.4, null mean 0.4100"
    ]


def test_a_metric_that_luck_does_not_give() -> None:
    assert list(luck([null("a", 0.049)], "r", "held-out")) == [
        "held-out case: r 0.5200 is better than luck: p 0.049, null mean 0.4100"
    ]
    (line,) = luck([null("a", 0.001), null("b", 0.002)], "r", "tuned")
    assert "is better than luck in each: p 0.001, 0.002" in line
    assert line.endswith("; optimistic: the trial was chosen by its results there")


def test_a_metric_that_luck_gives_in_some_cases() -> None:
    (line,) = luck([null("a", 0.05), null("b", 0.001)], "r", "held-out")
    assert "is distinguishable from luck in 1 of 2 only" in line
    assert "optimistic" not in line


def test_nothing_is_said_without_a_null() -> None:
    assert list(luck([], "r", "tuned")) == []


# -- held out ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("r", "expected"),
    [
        (0.55, "held out: r gains +0.1500 over the baseline (tuned +0.2000)"),
        (
            0.45,
            "held out: r gains +0.0500 over the baseline (tuned +0.2000): "
            "less than half of it carries over to other data",
        ),
        (
            0.38,
            "held out: r gains -0.0200 over the baseline (tuned +0.2000): the tuned and the "
            "held-out cases disagree about the best; the baseline is better on the held-out ones",
        ),
    ],
)
def test_the_held_out_gain_beside_the_tuned_one(r: float, expected: str) -> None:
    held, beside = CaseRecord("h", {"r": r}, 1.0), CaseRecord("h", {"r": 0.4}, 1.0)
    found = summary(trial(3, 0.6), trial(0, 0.4), held_out=[held], held_out_baseline=[beside])
    lines = list(held_out(found, OBJECTIVE))
    assert lines[0] == expected
    assert lines[1:] == (["what to do: tune on more cases"] if r < 0.4 else [])
    assert list(held_out(replace(found, held_out=[]), OBJECTIVE)) == [
        "r gains +0.2000 over the baseline; no case was held out"
    ]
    assert list(held_out(replace(found, held_out=[], unpresented="it fell"), OBJECTIVE)) == [
        "r gains +0.2000 over the baseline; held-out cases are not known of"
    ]


# -- edges -------------------------------------------------------------------------------------

LOG = FloatDistribution(0.1, 1000.0, log=True)
LINEAR = FloatDistribution(0.0, 50.0)
WHOLE = IntDistribution(1, 5)
WIDE = IntDistribution(1, 5000, log=True)


@pytest.mark.parametrize(
    ("value", "distribution", "expected"),
    [
        (999.0, LOG, "upper"),
        (920.0, LOG, "upper"),  # 4 decades; 1 % of them is a factor of 1.096
        (900.0, LOG, None),
        (0.109, LOG, "lower"),
        (0.12, LOG, None),
        (49.6, LINEAR, "upper"),
        (49.4, LINEAR, None),
        (0.4, LINEAR, "lower"),
        (0.6, LINEAR, None),
        (1, WHOLE, "lower"),
        (5, WHOLE, "upper"),
        (4, WHOLE, None),
        (4900, WIDE, "upper"),
        (4000, WIDE, None),
        ("a", CategoricalDistribution(("a", "b")), None),
        (3.0, FloatDistribution(3.0, 3.0), None),
    ],
)
def test_what_lies_at_an_edge(value: object, distribution: Any, expected: str | None) -> None:
    assert edge_of(value, distribution) == expected


def test_what_lies_beyond_an_edge() -> None:
    assert beyond(LOG, "upper") == pytest.approx(1000 * 10**0.04)
    assert beyond(LOG, "lower") == pytest.approx(0.1 / 10**0.04)
    assert beyond(LINEAR, "lower") == pytest.approx(-0.5)
    assert (beyond(WHOLE, "lower"), beyond(WHOLE, "upper")) == (0, 6)
    assert beyond(IntDistribution(10, 50, step=10), "upper") == 60


@pytest.fixture
def task(toy: None, write_config: Callable[..., Path]) -> Callable[..., Task]:
    def make(**sections: Any) -> Task:
        given = {"plugin": "toy", "search_space": {"x": {"low": 0, "high": 1000}, "size": {}}}
        return load_config(write_config(**{**given, **sections})).task

    return make


def test_a_range_is_to_be_widened_where_a_wider_one_can_be_run(
    task: Callable[..., Task],
) -> None:
    params = {"x": 999.0, "size": 5, "mode": "fine"}
    searched = {"x": 999.0, "size": 5}
    # the toy refuses an x beyond 1000, and takes any size
    assert list(edges(searched, params, task())) == [
        "the best lies at the upper end of size's range (5 of 1 to 5): widen it in search_space"
    ]
    narrow = task(search_space={"x": {"low": 1, "high": 100, "log": True}})
    assert list(edges({"x": 99.0}, {**params, "x": 99.0}, narrow)) == [
        "the best lies at the upper end of x's range (99 of 1 to 100, log): widen it in "
        "search_space"
    ]


def test_what_the_user_fixed_has_no_edge(task: Callable[..., Task]) -> None:
    fixed = task(search_space={"x": {"low": -5, "high": 5}, "size": 5})
    assert list(edges({"x": 0.0}, {"x": 0.0, "size": 5, "mode": "fine"}, fixed)) == []


# -- trials --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ending", "why"),
    [
        ("timeout", "study.timeout (90 s) was reached"),
        ("interrupted", "the run was stopped"),
        ("exhausted", "no setting is left that is worth trying"),
    ],
)
def test_fewer_trials_than_asked_for(task: Callable[..., Task], ending: str, why: str) -> None:
    given = task(study={"trials": 60, "timeout": "90s"})
    assert list(unfinished(given, {"complete": 6, "failed": 2}, ending)) == [
        f"only 6 of 60 trials completed: {why}"
    ]
    assert list(unfinished(given, {"complete": 60}, "complete")) == []


def test_why_trials_did_not_complete() -> None:
    ended = [
        trial(1, 0.1, state="infeasible", reason="case 'a' took 12.1 s; limit 10 s\ntail"),
        trial(2, 0.1, state="infeasible", reason="case 'a' took 99 s; limit 10 s"),
        trial(3, 0.1, state="infeasible", reason="over the memory limit: 3 GB held"),
        trial(4, 0.1, state="pruned", reason="pruned after case 'a'"),
        trial(5, 0.1),
    ]
    assert list(uncompleted(ended)) == [
        "3 trials infeasible, 2 of them because: case 'a' took 12.1 s; limit 10 s",
        "1 trial pruned, because: pruned after case 'a'",
    ]


# -- the finalists ---------------------------------------------------------------------------------


def final_of(*estimates: float, stopped: bool = False) -> Final:
    rows = [
        Finalist(number, 3, {"c0": 1.0}, {"c0": 0.5}, {"c0": 2.0}, 1, 0, 2, 0.9, {}, estimate)
        for number, estimate in enumerate(estimates, 7)
    ]
    return Final(rows, "process", {"c0": 2.0}, 0.97, 0.5, 0.01, 60, {}, stopped)


def test_a_leader_of_the_search_that_the_final_timing_overruled() -> None:
    known = summary(trial(7, 0.5), trial(0, 0.4), final=final_of(2.0, 2.4, 1.0))
    assert list(certainty(known)) == [
        "of 3 finalists trial 7 is within 1% of the best with probability 0.97",
        "the search had trial 8 in front, by estimated times; timed again, trial 7 is ahead of it",
    ]
    alone = summary(trial(7, 0.5), trial(0, 0.4), final=final_of(2.0, stopped=True))
    assert list(certainty(alone)) == [
        "the timing of the finalists was stopped early: the choice among them is less sure"
    ]


def test_all_of_it_in_order(task: Callable[..., Task]) -> None:
    given = task(study={"trials": 3}, objective="score")
    best = trial(1, 0.5, params={"x": 999.0, "size": 5, "mode": "fine"}, searched={"size": 5})
    fits = {"fit": 0.5, "score": 1.0, "time": 1.0}
    best = replace(best, metrics=fits, cases=[CaseRecord("c0", {"fit": 0.5}, 1.0)])
    baseline = replace(
        best,
        number=0,
        is_baseline=True,
        metrics={**fits, "fit": 0.4, "score": 0.0},
        cases=[CaseRecord("c0", {"fit": 0.4}, 1.0)],
    )
    whole = summary(
        best,
        baseline,
        nulls=[null("c0", 0.2)],
        final=final_of(1.0),
        counts={"complete": 2},
        findings=["the plug-in's own"],
    )
    lines = verdict(given, whole, [baseline, best], "timeout")
    assert [line.split(":")[0].split(" (")[0] for line in lines] == [
        "tuned case",
        "the baseline's fit is below the null mean",
        "the plug-in's own",
        "fit gains +0.1000 over the baseline; no case was held out",
        "the best lies at the upper end of size's range",
        "only 2 of 3 trials completed",
    ]
    interrupted = replace(whole, finished=False)
    assert verdict(given, interrupted, [baseline, best], "interrupted") == [
        "only 2 of 3 trials completed: the run was stopped"
    ]
