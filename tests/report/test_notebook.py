"""Progress in a notebook: one output, drawn anew; the real kernel is in tests/run."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.studies import make_trials
from tuner.config.objective import Objective
from tuner.report.notebook import KEPT_LINES, NotebookProgress, in_notebook


class Output:
    """Stands for what IPython displays."""

    def __init__(self) -> None:
        self.drawn: list[dict[str, str]] = []

    def display(self, shown: Any, raw: bool, display_id: bool) -> Output:
        assert self.drawn == []  # once: it is updated then
        assert raw
        assert display_id
        return self.update(shown, raw)

    def update(self, shown: Any, raw: bool) -> Output:
        self.drawn.append(shown)
        return self


@pytest.fixture
def output(monkeypatch: pytest.MonkeyPatch) -> Output:
    output = Output()
    monkeypatch.setattr("IPython.display.display", output.display)
    return output


def test_a_study_is_shown_in_one_output(output: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(1000))
    monkeypatch.setattr(time, "monotonic", lambda: float(next(clock)))  # never too soon
    progress = NotebookProgress(Objective({"r": "maximize"}, {"score": "maximize"}))
    trials = make_trials(12)
    progress.begin("<b>", 12, [])
    progress.phase("searching", "a & b")
    assert "searching: a &amp; b" in output.drawn[-1]["text/html"]
    for record in trials:
        progress.trial(record, trials[1])
    assert "trial 1 leads: mean r 0." in output.drawn[-1]["text/html"]
    progress.end()
    last = output.drawn[-1]
    complete = sum(record.state == "complete" for record in trials)
    assert complete < 12
    assert f'<progress value="{complete}" max="12"></progress>' in last["text/html"]
    assert "study &#x27;&lt;b&gt;&#x27; starts: 12 trials" in last["text/html"]
    assert "trial 5 failed: worker died with signal 9" in last["text/html"]
    assert last["text/plain"] == f"{complete}/12 trials"
    for line in range(KEPT_LINES):
        progress.note(f"line {line}")
    progress.end()
    assert "starts" not in output.drawn[-1]["text/html"]


def test_what_comes_too_soon_is_drawn_at_the_next_beat(
    output: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    progress = NotebookProgress(Objective({"r": "maximize"}, {"score": "maximize"}))
    progress.begin("study", 10, [])
    progress.phase("searching")
    progress.beat()
    assert len(output.drawn) == 1
    now += 1
    progress.beat()
    assert "searching" in output.drawn[-1]["text/html"]
    progress.beat()
    assert len(output.drawn) == 2


def test_a_test_is_no_notebook() -> None:
    assert not in_notebook()
