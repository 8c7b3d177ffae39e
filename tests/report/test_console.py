"""Progress: phases by name on a terminal and in a log file, wide and narrow."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from tests.search.test_loop import Harness
from tests.studies import make_trials
from tuner.config.load import load_config
from tuner.config.objective import Objective
from tuner.report import console
from tuner.report.console import LiveProgress
from tuner.run import session

OBJECTIVE = Objective({"r": "maximize"}, {"score": "maximize"})


def log_file(objective: Objective = OBJECTIVE) -> tuple[LiveProgress, Callable[[], list[str]]]:
    stream = io.StringIO()
    progress = LiveProgress(Console(file=stream, width=60), objective)
    return progress, lambda: stream.getvalue().splitlines()


def test_a_log_file_gets_one_line_for_each_phase() -> None:
    progress, lines = log_file()
    progress.begin("s", 4, [])
    for finished in range(50):
        progress.phase("timing the finalists", f"{finished + 1} of 50")
        progress.beat()
    progress.phase("writing the script")
    progress.end()
    assert lines() == [
        "study 's' starts: 4 trials",
        "timing the finalists: 1 of 50",
        "writing the script",
    ]


def test_a_long_phase_says_now_and_then_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(console.time, "monotonic", lambda: now)
    progress, lines = log_file()
    for case in range(1, 5):
        progress.phase("measuring the baseline", f"case {case} of 4")
        now += 16
    assert lines() == ["measuring the baseline: case 1 of 4", "measuring the baseline: case 3 of 4"]


def test_a_log_file_holds_no_control_characters_and_breaks_no_line() -> None:
    progress, lines = log_file()
    records = make_trials(12)
    progress.begin("s", 12, [])
    for number in range(1, 13):
        done = [r for r in records[:number] if r.state == "complete"]
        progress.trial(records[number - 1], max(done, key=lambda r: r.metrics["score"]))
    progress.end()
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", "\n".join(lines()))
    assert lines()[1].startswith("1/12 trials; trial 0 leads: mean r ")
    assert lines()[1].endswith("(the baseline)")


def test_what_a_trial_took_is_called_an_estimate() -> None:
    progress, lines = log_file()
    best = next(r for r in make_trials(9) if r.state == "complete" and not r.is_baseline)
    progress.begin("s", 9, [])
    progress.trial(best, best)
    metrics = best.metrics
    estimates = f"(estimated: speed-up {metrics['speedup']:.3g}x, score {metrics['score']:.4g})"
    assert lines()[-1].endswith(f"trial 1 leads: mean r {metrics['r']:.4f} {estimates}")


def test_time_is_told_after_some_trials_and_the_last_one_has_a_line() -> None:
    done = [r for r in make_trials(12) if r.state == "complete"]
    total = len(done)
    progress, lines = log_file()
    progress.begin("s", total, [])
    for record in done:  # each leads
        progress.trial(record, record)
    told = ["search left" in line for line in lines()[1:]]
    assert told == [False] * console.SURE + [True] * (total - console.SURE - 1) + [False]
    progress, lines = log_file()
    progress.begin("s", total, [])
    for record in done:
        progress.trial(record, done[0])
    assert [line.split("/")[0] for line in lines()[1:]] == ["1", str(total)]


def terminal(stream: io.StringIO, width: int, kind: str) -> Console:
    return Console(file=stream, width=width, force_terminal=True, _environ={"TERM": kind})


def test_a_terminal_that_moves_no_cursor_gets_lines() -> None:
    stream = io.StringIO()
    progress = LiveProgress(terminal(stream, 60, "dumb"), OBJECTIVE)
    progress.begin("s", 60, [])
    progress.phase("searching")
    progress.end()
    assert stream.getvalue().splitlines() == ["study 's' starts: 60 trials", "searching"]


@pytest.mark.parametrize("width", [60, 120])
def test_a_terminal_shows_the_phase_in_one_line(width: int) -> None:
    stream = io.StringIO()
    progress = LiveProgress(terminal(stream, width, "xterm"), OBJECTIVE)
    progress.begin("s", 60, [])
    progress.phase("measuring the baseline, the plug-in's reference setting", "case 2 of 2")
    assert progress._bar is not None
    progress._bar.refresh()
    progress.end()
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", stream.getvalue()).replace("\r", "\n")
    lines = [line for line in shown.splitlines() if "trials" in line and "starts" not in line]
    assert all(len(line) <= width for line in lines)
    # at 60 columns the text is cut, never wrapped into further lines
    assert "0/60 trials" in lines[-1]
    assert "measuring the base"[: width - 45] in lines[-1]
    assert all("trials" in line or "study" in line for line in shown.splitlines() if line.strip())


@pytest.mark.usefixtures("toy")
def test_a_run_names_its_phases_in_order(write_config: Callable[..., Path]) -> None:
    path = write_config(
        plugin="toy",
        study={"trials": 4, "sampler": "random"},
        data={"targets": [2.0, 4.0], "held_out": [3.0], "seconds": 0.005, "null": -1.0},
        search_space={"x": {}},
        timing={"finalists": 2, "final_time": 0.1, "nulls": 10},
        tracking={"enabled": False},
    )
    config = load_config(path)
    progress, lines = log_file(Objective(config.plugin.metrics, config.objectives))
    result = session.run(config, progress, lambda: False)
    phases = [
        "loading the data: timing what a script takes beside run (start-up, writing)",
        "measuring the baseline, the plug-in's reference setting (trial 0): its first case",
        "searching",
        "timing the finalists, beside the baseline: 1 of 2, round 1",
        "drawing the study",
        "running the chosen setting on every tuned case",
        "running the chosen setting on held-out case 'held3'",
        "running the baseline on held-out cases (1 of 1)",
        "drawing figures and making tables",
        "drawing the null, what luck alone gives (10 draws a case)",
        "timing the script on held-out cases",
        "timing the baseline on held-out cases",
        "writing the script",
        "writing the report",
    ]
    assert [line for line in lines() if "trials" not in line] == phases
    assert json.dumps(result.plain())


@pytest.mark.usefixtures("toy")
def test_the_baseline_tells_of_its_cases(write_config: Callable[..., Path]) -> None:
    harness = Harness(
        write_config(
            plugin="toy",
            study={"trials": 2, "sampler": "random"},
            data={"targets": [2.0, 3.0, 4.0]},
            timing={"fixed_cost_repeats": 0},
            search_space={"x": {}},
            tracking={"enabled": False},
        )
    )
    harness.run()
    told = [detail for name, detail in harness.listener.phases if name.startswith("measuring")]
    assert told[0] == "loading the data, then its first case"
    assert [re.match(r"case \d of \d; case 'target\d' took", text)[0] for text in told[1:]] == [
        "case 2 of 3; case 'target2' took",
        "case 3 of 3; case 'target3' took",
    ]
