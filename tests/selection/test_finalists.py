"""The final word: who is timed again, how, what is kept of it, and what goes wrong."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from tests.search.test_loop import Harness
from tuner.config.objective import Objective
from tuner.execution.jobs import Job, TimeJob
from tuner.records import Final, TrialRecord
from tuner.selection import racing
from tuner.selection.finalists import (
    Referee,
    choose_finalists,
    kept_final,
    timing_decides,
)

pytestmark = pytest.mark.usefixtures("toy")


class Match:
    """A finished study and the referee of its final word."""

    def __init__(self, study: Harness) -> None:
        self.study = study
        coordinator = study.coordinator()
        coordinator.run()
        self.jobs: list[TimeJob] = []
        submit = study.executor.submit

        def listen(job: Job) -> None:
            assert isinstance(job, TimeJob)
            self.jobs.append(job)
            submit(job)

        study.executor.submit = listen  # type: ignore[method-assign]
        self.stop_after = math.inf
        coordinator.should_stop = lambda: len(self.jobs) >= self.stop_after
        self.referee = Referee(study.config.task, coordinator, study.listener)
        self.objective = study.config.objective

    def play(self) -> Final | None:
        return self.referee.final_word(self.study.records, self.study.study)


@pytest.fixture
def match(write_config: Callable[..., Path]) -> Callable[..., Match]:
    def make(data: dict[str, object] | None = None, **sections: object) -> Match:
        given = {
            "plugin": "toy",
            "study": {"trials": 6, "sampler": "random"},
            "search_space": {"x": {"low": 1, "high": 5}},
            "data": {"seconds": 0.005, **(data or {})},
            **sections,
            "timing": {"final_time": 1, **sections.get("timing", {})},
        }
        return Match(Harness(write_config(**given)))

    return make


def test_the_best_are_timed_in_rounds_with_the_baseline_among_them(
    match: Callable[..., Match], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(racing, "FIRST_ROUNDS", 3)  # as many as nothing can decide it before
    game = match(
        {"targets": [3.0, 3.5]}, timing={"finalists": 3, "confidence": 0.999, "final_time": 60}
    )
    final = game.play()
    assert final is not None
    records = {record.number: record for record in game.study.records}
    chosen = choose_finalists(game.study.records, game.objective, 3)
    assert {row.number for row in final.finalists} <= {record.number for record in chosen}
    assert [job.baseline for job in game.jobs].count(True) == 1
    assert game.jobs.index(next(job for job in game.jobs if job.baseline)) <= len(chosen)
    leader = final.finalists[0]
    assert leader.repeats >= 3
    assert leader.score == max(row.score for row in final.finalists)
    gains = [
        case.metrics["fit"] - reference.metrics["fit"]
        for case, reference in zip(records[leader.number].cases, records[0].cases, strict=True)
    ]
    expected = [
        gain * math.sqrt(final.baseline[name] / leader.seconds[name])
        for gain, name in zip(gains, final.baseline, strict=True)
    ]
    assert leader.score == pytest.approx(sum(expected) / 2)
    assert leader.low <= leader.score <= leader.high
    assert final.what == "process"
    assert kept_final(game.study.study, game.study.records) == final


def test_more_trials_make_the_kept_word_void(match: Callable[..., Match]) -> None:
    game = match()
    assert game.play() is not None
    assert kept_final(game.study.study, game.study.records[:-1]) is None


def test_whole_scripts_are_timed_where_there_is_a_command(match: Callable[..., Match]) -> None:
    game = match({"start_up": 0.1}, timing={"finalists": 1, "fixed_cost_repeats": 1})
    final = game.play()
    assert final is not None
    assert min(final.finalists[0].seconds.values()) > 0.1
    assert min(final.baseline.values()) > 0.1


def test_a_script_that_fails_takes_its_setting_out(
    match: Callable[..., Match], monkeypatch: pytest.MonkeyPatch
) -> None:
    # by time alone: a score by times of a busy machine may leave a single finalist within reach
    game = match(timing={"finalists": 2}, objective="time")
    first = choose_finalists(game.study.records, game.objective, 2)[0]
    run = game.study.executor.bench.time

    def broken(job: TimeJob) -> object:
        if job.params == first.params:
            raise RuntimeError("this script is broken")
        return run(job)

    monkeypatch.setattr(game.study.executor.bench, "time", broken)
    final = game.play()
    assert final is not None
    assert first.number not in {row.number for row in final.finalists}


def test_stopping_before_the_first_round_decides_nothing(match: Callable[..., Match]) -> None:
    game = match()
    game.stop_after = 1
    assert game.play() is None
    assert kept_final(game.study.study, game.study.records) is None


@pytest.mark.parametrize(
    ("sections", "expected"),
    [
        ({"objective": "fit"}, False),
        ({"objective": ["fit", "time"]}, True),
        ({"timing": {"finalists": 0}}, False),
        ({"objective": "time", "data": {"has_baseline": False}}, True),
    ],
)
def test_it_is_spoken_only_where_times_decide(
    match: Callable[..., Match], sections: dict[str, object], expected: bool
) -> None:
    game = match(**sections)
    assert (game.play() is not None) is expected
    if "timing" not in sections:
        assert timing_decides(game.study.records, game.objective) is expected


def make_record(
    number: int, score: float, x: float, searched: Mapping[str, object] | None = None
) -> TrialRecord:
    from tests.studies import make_trials

    record = next(trial for trial in make_trials(4) if trial.state == "complete")
    metrics = {**record.metrics, "score": score}
    return replace(
        record,
        number=number,
        metrics=metrics,
        values=[score],
        params={"x": x},
        searched=searched or {"x": x},
        is_baseline=False,
    )


def test_finalists_are_different_settings_within_reach_of_the_best() -> None:
    objective = Objective({"r": "maximize"}, {"score": "maximize"})
    scores = [(1, 0.9, 1.0), (2, 1.0, 2.0), (3, 0.95, 2.0), (4, 0.3, 3.0), (5, 0.7, 4.0)]
    records = [make_record(*row) for row in scores]
    assert [r.number for r in choose_finalists(records, objective, 9)] == [2, 1, 5]
    assert [r.number for r in choose_finalists(records, objective, 1)] == [2]
    # by their smoothed worth, of those within reach
    worth = {1: 0.5, 3: 0.6, 4: 0.9, 5: 0.8}
    assert [r.number for r in choose_finalists(records, objective, 9, worth)] == [5, 3, 1]
