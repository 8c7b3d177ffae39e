"""What the user picks: a trial's number, or bounds on metrics."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.driver import Driver
from tests.studies import make_trials
from tuner.config.bounds import holds
from tuner.config.load import load_config
from tuner.config.objective import Objective
from tuner.plugin import InputError
from tuner.selection.picking import picked_number, picked_within

TRIALS = make_trials(30)
BOTH = Objective({"r": "maximize"}, {"r": "maximize", "time": "minimize"})
COMPLETE = [
    replace(trial, values=(trial.metrics["r"], trial.metrics["time"]))
    for trial in TRIALS
    if trial.state == "complete"
]


def test_what_is_not_bounded_decides() -> None:
    chosen, reason = picked_within(COMPLETE, {"r": ">= 0.5"}, BOTH)
    good = [trial for trial in COMPLETE if trial.metrics["r"] >= 0.5]
    assert 1 < len(good) < len(COMPLETE)
    assert chosen.metrics["time"] == min(trial.metrics["time"] for trial in good)
    text = f"the lowest time of {len(good)} of {len(COMPLETE)} trials with r >= 0.5 (export.select)"
    assert reason == text
    limit = sorted(trial.metrics["time"] for trial in COMPLETE)[5]
    chosen, _ = picked_within(COMPLETE, {"time": f"< {limit!r}"}, BOTH)
    quick = [trial for trial in COMPLETE if trial.metrics["time"] < limit]
    assert len(quick) == 5
    assert chosen.metrics["r"] == max(trial.metrics["r"] for trial in quick)
    chosen, reason = picked_within(COMPLETE, {"r": ">0.5", "time": "<= 9"}, BOTH)
    assert reason.startswith("the highest r of")  # both are bounded: the first decides


def test_where_no_trial_keeps_the_bounds_the_reach_is_told() -> None:
    low, high = (f([t.metrics["r"] for t in COMPLETE]) for f in (min, max))
    message = re.escape(f"no trial has r > 2 (r is {low:.6g} to {high:.6g}); give another bound")
    with pytest.raises(InputError, match=message):
        picked_within(COMPLETE, {"r": "> 2"}, BOTH)


def test_a_trial_by_its_number() -> None:
    assert picked_number(TRIALS, 3)[0] is TRIALS[3]
    with pytest.raises(InputError, match="there is no trial 99 that has ended"):
        picked_number(TRIALS, 99)
    with pytest.raises(InputError, match="trial 5 is failed; expected one that is complete"):
        picked_number(TRIALS, 5)


@pytest.mark.parametrize(
    ("bound", "value", "kept"),
    [
        (">= 0.5", 0.5, True),
        (">0.5", 0.5, False),
        (" <= -1e-3 ", -0.001, True),
        ("<.5", 0.4, True),
    ],
)
def test_bounds(bound: str, value: float, kept: bool) -> None:
    assert holds(bound, value) is kept


@pytest.mark.usefixtures("toy")
@pytest.mark.parametrize(
    ("select", "message"),
    [
        ("bset", "expected best, smoothed, one_standard_error, a trial's number, or bounds on"),
        (-1, "or bounds on metrics such as {r: '>= 0.5'}, got -1"),
        (True, "or bounds on metrics such as {r: '>= 0.5'}, got true"),
        ({}, "got {}"),
        ({"fit": 0.5}, "expected a bound such as '>= 0.5', got '0.5'"),
        ({"fit": "about 1"}, "expected a bound such as '>= 0.5', got 'about 1'"),
        ({"r": ">= 1"}, "expected a bound on one of fit, error, score, speedup, time, got 'r'"),
    ],
)
def test_a_bad_selector_is_one_line(
    write_config: Callable[..., Path], select: object, message: str
) -> None:
    path = write_config(plugin="toy", search_space={"x": {}}, export={"select": select})
    with pytest.raises(InputError, match=rf"line \d+: export\.select.*{re.escape(message)}") as bad:
        load_config(path)
    assert "\n" not in str(bad.value)


@pytest.mark.usefixtures("toy", "undrawn")
def test_a_run_says_how_the_trial_was_chosen(
    driver: Driver, write_config: Callable[..., Path], workplace: Path
) -> None:
    write_config(
        plugin="toy",
        study={"trials": 8, "sampler": "random"},
        data={"targets": [1.0, 2.0]},
        search_space={"x": {"low": -3, "high": 3}, "size": {}},
        objective=["fit", "time"],
        timing={"finalists": 0, "nulls": 0, "fixed_cost_repeats": 0},
        tracking={"enabled": False},
    )

    def tuner(*arguments: str, code: int = 0) -> str:
        done = driver.run(*arguments)
        assert done.returncode == code, done.stderr
        return done.stdout if code == 0 else done.stderr

    assert "of several objectives score decides; export.select takes" in tuner("run", "study.yaml")
    text = tuner("run", "study.yaml", "--set", "export.select={fit: '> -9'}")
    number, count = re.search(
        r"trial (\d+) is frozen.*: the lowest time of (\d) of 8 trials with fit > -9", text
    ).groups()
    records = tuner("best", "study.yaml", "--json", "--set", "export.select={fit: '> -9'}")
    best = json.loads(records)["best"]
    assert best["number"] == int(number)
    assert best["metrics"]["fit"] > -9
    tuner("export", "study.yaml", "-o", "two.py", "--set", "export.select=2")
    shown = json.loads(tuner("best", "study.yaml", "--json", "--set", "export.select=2"))["best"]
    assert shown["number"] == 2
    assert f'"x": {shown["params"]["x"]}' in (workplace / "two.py").read_text()
    line = tuner("run", "study.yaml", "--set", "export.select={fit: '> 1'}", code=2)
    assert "no trial has fit > 1 (fit is -" in line.splitlines()[-1]
    assert int(count) >= 1
