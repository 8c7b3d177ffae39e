"""The coordinator: counts completed trials, loses none, repeats none, whatever happens."""

from __future__ import annotations

import gc
import json
import math
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from tuner.config.load import Config, load_config
from tuner.execution.jobs import CaseDone, Event, Job, JobDone, Setup, TrialJob
from tuner.execution.runner import Bench
from tuner.plugin import InputError
from tuner.plugin.registry import plugin_class
from tuner.records import TrialRecord
from tuner.search.loop import Coordinator
from tuner.search.record_json import records_of
from tuner.search.stopped import StudyStopped
from tuner.search.storage import open_study

pytestmark = pytest.mark.usefixtures("toy")


class Inline:
    """An executor that runs jobs in this process, on the worker's own code."""

    def __init__(self, setup: Setup, slots: int = 1) -> None:
        self.slots = slots
        self.bench = Bench(setup)
        self.jobs: list[TrialJob] = []
        self.repeats: list[TrialJob] = []
        self.waiting: list[Job] = []
        self.asked: list[CaseDone] = []
        self.answers: list[bool] = []

    def submit(self, job: Job) -> None:
        assert len(self.waiting) < self.slots
        if isinstance(job, TrialJob):
            (self.jobs if job.scored else self.repeats).append(job)
        self.waiting.append(job)

    def wait(self, timeout: float) -> Event | None:
        if not self.waiting:
            return None
        job = self.waiting[0]
        answers = iter(self.answers)
        asked: list[CaseDone] = []

        def ask(cases: object) -> bool:
            asked.append(CaseDone(job.ticket, tuple(cases), len(self.bench.names)))
            return next(answers, True) if len(asked) <= len(self.answers) else self._suspend()

        try:
            done = self.bench.run(job, ask)
        except _Suspended:
            return asked[-1]
        self.waiting.pop(0)
        self.answers = []
        return done

    def _suspend(self) -> bool:
        raise _Suspended

    def proceed(self, ticket: int, onward: bool) -> None:
        self.answers.append(onward)

    def close(self) -> None:
        self.waiting.clear()


class _Suspended(BaseException):
    """Leaves the bench until the coordinator has answered."""


class Listener:
    def __init__(self) -> None:
        self.heard: list[TrialRecord] = []
        self.phases: list[tuple[str, str]] = []

    def trial(self, record: TrialRecord) -> None:
        self.heard.append(record)

    def beat(self) -> None:
        pass

    def phase(self, name: str, detail: str = "") -> None:
        self.phases.append((name, detail))


class Harness:
    """A study in the current folder that can be run, stopped and resumed."""

    def __init__(self, path: Path, *overrides: str) -> None:
        gc.freeze()  # as a worker does: collecting before each timed run is cheap only then
        self.config: Config = load_config(path, overrides)
        self.study, self.storage = open_study(self.config)
        self.executor = Inline(Setup("toy", self.config.sections), self.config.engine.workers)
        self.listener = Listener()
        self.stop_after = math.inf
        self.before = len(self.records)

    def coordinator(self) -> Coordinator:
        return Coordinator(
            self.config.task,
            self.study,
            self.storage,
            self.executor,
            self.listener,
            lambda: len(self.records) - self.before >= self.stop_after,
        )

    def run(self) -> str:
        return self.coordinator().run()

    @property
    def records(self) -> list[TrialRecord]:
        return records_of(self.study)


@pytest.fixture
def harness(write_config: Callable[..., Path]) -> Iterator[Callable[..., Harness]]:
    def _harness(*overrides: str, **sections: object) -> Harness:
        given = {
            "plugin": "toy",
            # A journal is many times faster to open than a database; the last test has the latter.
            "study": {
                "trials": 8,
                "sampler": "random",
                "storage": "journal:///journal.log",
                **sections.pop("study", {}),
            },
            "search_space": {"x": {"low": -5, "high": 5}},
            "tracking": {"enabled": False},
            **sections,
        }
        return Harness(write_config(**given), *overrides)

    return _harness


def test_it_runs_to_the_number_of_completed_trials(harness: Callable[..., Harness]) -> None:
    study = harness(data={"targets": [1.0, 2.0]})
    assert study.run() == "complete"
    records = study.records
    assert [record.number for record in records] == list(range(8))
    assert records == study.listener.heard
    assert all(record.state == "complete" for record in records)


def test_trial_0_is_the_baseline_with_its_true_parameters(harness: Callable[..., Harness]) -> None:
    study = harness(data={"targets": [1.0, 2.0]})
    study.run()
    baseline = study.records[0]
    assert baseline.is_baseline
    assert baseline.params == {"x": 0.0, "size": 5, "mode": "reference"}
    assert baseline.metrics["score"] == 0.0
    assert not study.executor.jobs[0].limited
    for record in study.records[1:]:
        assert not record.is_baseline
        for case, reference in zip(record.cases, baseline.cases, strict=True):
            gain = case.metrics["fit"] - reference.metrics["fit"]
            expected = gain * math.sqrt(reference.seconds / case.seconds)
            assert case.metrics["score"] == pytest.approx(expected)


def test_a_baseline_outside_of_the_space_is_still_trial_0(harness: Callable[..., Harness]) -> None:
    study = harness(search_space={"x": {"low": 2, "high": 5}}, study={"sampler": "tpe"})
    study.run()
    trials = study.study.get_trials()
    assert trials[0].params["x"] == 0.0
    assert all(2 <= trial.params["x"] <= 5 for trial in trials[1:])


def test_no_plugin_baseline_means_no_baseline_trial(harness: Callable[..., Harness]) -> None:
    study = harness(data={"has_baseline": False}, objective="fit")
    assert study.run() == "complete"
    assert not any(record.is_baseline for record in study.records)


def test_resuming_goes_on_without_repeating(harness: Callable[..., Harness]) -> None:
    study = harness()
    study.stop_after = 4
    assert study.run() == "interrupted"
    again = harness()
    assert again.run() == "complete"
    assert len(again.records) == 8
    assert len(again.executor.jobs) == 4
    settings = {tuple(sorted(record.params.items())) for record in again.records}
    assert len(settings) == 8


def test_a_study_begins_with_what_the_plug_in_takes_for_good(
    harness: Callable[..., Harness],
) -> None:
    study = harness(search_space={"x": {"low": 1, "high": 5}, "size": {"low": 2, "high": 4}})
    study.stop_after = 2
    study.run()
    first = study.records[1]
    assert not first.is_baseline
    assert (first.params["x"], first.params["size"]) == (1.0, 2)  # 0 and 1, brought into range
    again = harness(search_space={"x": {"low": 1, "high": 5}, "size": {"low": 2, "high": 4}})
    again.run()
    drawn = [(record.params["x"], record.params["size"]) for record in again.records]
    assert drawn.count((1.0, 2)) == 1


def test_defaults_that_are_the_baseline_are_not_run_twice(harness: Callable[..., Harness]) -> None:
    study = harness(search_space={"x": {}, "size": 5, "mode": "reference"})
    study.run()
    assert [record.params["x"] for record in study.records].count(0.0) == 1


def test_an_asked_trial_runs_in_place_after_a_crash(harness: Callable[..., Harness]) -> None:
    study = harness()
    study.stop_after = 3
    study.run()
    lost = study.study.ask(dict(study.config.space.searched))
    study.storage.settle()  # as before every dispatch; then the power went
    again = harness()
    assert again.run() == "complete"
    assert again.executor.jobs[0].ticket == lost.number
    assert again.executor.jobs[0].trial.params["x"] == lost.params["x"]
    assert len(again.records) == 8
    assert {trial.state for trial in again.study.get_trials()} == {TrialState.COMPLETE}


def test_a_measured_trial_is_told_after_a_crash(
    harness: Callable[..., Harness], monkeypatch: pytest.MonkeyPatch
) -> None:
    study = harness()
    tell = study.study.tell

    def crash(number: int, *args: object, **kwargs: object) -> object:
        if number == 3:
            raise SystemExit
        return tell(number, *args, **kwargs)

    monkeypatch.setattr(study.study, "tell", crash)
    with pytest.raises(SystemExit):
        study.run()
    assert study.study.get_trials()[3].state is TrialState.RUNNING
    again = harness()
    again.run()
    assert [job.ticket for job in again.executor.jobs] == [4, 5, 6, 7]
    assert again.records[3].state == "complete"
    # what follows the trials (summary, tracking) knew of the first three
    assert [record.number for record in again.listener.heard] == [3, 4, 5, 6, 7]


def test_a_trial_that_crashed_while_drawn_is_drawn_to_its_end(
    harness: Callable[..., Harness],
) -> None:
    space = {"x": {"low": -5, "high": 5}, "size": {}, "mode": ["fine"]}
    study = harness(search_space=space)
    study.stop_after = 2
    study.run()
    half = study.study.ask({"x": study.config.space.searched["x"]})
    study.storage.settle()
    again = harness(search_space=space)
    again.run()
    assert [record.state for record in again.records] == ["complete"] * 8
    assert again.records[2].params["x"] == half.params["x"]
    assert 1 <= again.records[2].params["size"] <= 5


def test_a_lost_baseline_is_measured_again(harness: Callable[..., Harness]) -> None:
    study = harness()
    study.study.enqueue_trial({"x": 0.0}, user_attrs={"tuner:role": "baseline"})
    study.study.ask(dict(study.config.space.searched))
    study.storage.settle()
    assert study.run() == "complete"
    assert [record.is_baseline for record in study.records] == [True] + [False] * 7


@pytest.mark.parametrize("mode", ["raise", "nan"])
def test_failures_do_not_count_as_completed(harness: Callable[..., Harness], mode: str) -> None:
    study = harness(search_space={"x": {}, "mode": ["fine", mode]}, study={"trials": 6})
    assert study.run() == "complete"
    states = [record.state for record in study.records]
    assert states.count("complete") == 6
    assert "failed" in states
    failed = next(record for record in study.records if record.state == "failed")
    assert failed.reason
    assert failed.metrics == {}


class Mortal(Inline):
    """An executor whose workers die, at the first trials."""

    deaths = 1

    def wait(self, timeout: float) -> Event | None:
        if not self.deaths or not isinstance(next(iter(self.waiting), None), TrialJob):
            return super().wait(timeout)
        self.deaths -= 1
        ticket = self.waiting.pop(0).ticket
        moment = datetime.now(timezone.utc)
        return JobDone(ticket, "failed", moment, moment, reason="the worker died: x", died=True)


@pytest.mark.parametrize("deaths", [1, 2])
def test_a_baseline_whose_worker_dies_is_measured_once_more(
    harness: Callable[..., Harness], deaths: int
) -> None:
    study = harness(study={"trials": 3})
    study.executor = Mortal(Setup("toy", study.config.sections))
    study.executor.deaths = deaths
    if deaths == 2:
        with pytest.raises(StudyStopped, match="the same command tries again: the worker died"):
            study.run()
        assert [record.state for record in study.records] == ["failed"]
    assert study.run() == "complete"
    assert sum(record.state == "complete" for record in study.records) == 3
    assert sum(record.is_baseline for record in study.records) == deaths
    assert ("measuring the baseline once more", "the worker died: x") in study.listener.phases


def test_too_many_failures_in_a_row_stop_the_study(harness: Callable[..., Harness]) -> None:
    study = harness(search_space={"x": {}, "mode": "raise"}, study={"max_failures": 3, "trials": 6})
    with pytest.raises(StudyStopped, match="3 trials in a row did not complete"):
        study.run()
    assert len(study.records) == 4


def test_a_slow_trial_is_infeasible_but_the_baseline_may_be_slow(
    harness: Callable[..., Harness],
) -> None:
    study = harness(
        data={"seconds": 0.02},
        limits={"case_time": 0.05},
        search_space={"size": {"low": 1, "high": 5}, "x": {}},
        study={"trials": 5, "max_failures": 100, "sampler": "cmaes"},
    )
    study.run()
    assert study.records[0].state == "complete"
    for record in study.records[1:]:
        assert record.state == ("infeasible" if record.params["size"] >= 3 else "complete")
    infeasible = [record for record in study.records if record.state == "infeasible"]
    assert infeasible
    assert all("limit 0.05 s" in (record.reason or "") for record in infeasible)
    for trial, record in zip(study.study.get_trials(), study.records, strict=True):
        assert trial.constraints == ({"0": 1.0} if record in infeasible else {})
        told = f"infeasible: {record.reason}" if record in infeasible else None
        assert trial.user_attrs.get("tuner:reason") == told


def test_bad_input_ends_the_study(harness: Callable[..., Harness]) -> None:
    study = harness(search_space={"x": {}, "mode": "input"})
    with pytest.raises(InputError, match="cannot be used; give others"):
        study.run()
    assert not study.study.get_trials(states=(TrialState.RUNNING,))


def test_the_timeout_ends_the_study(harness: Callable[..., Harness]) -> None:
    study = harness(study={"timeout": 3, "trials": 10_000}, data={"seconds": 0.05})
    assert study.run() == "timeout"
    assert 2 <= len(study.records) < 100


def test_a_grid_is_run_once_and_ends(harness: Callable[..., Harness]) -> None:
    space = {"x": {"low": -1, "high": 1}, "size": {"low": 1, "high": 2}}
    study = harness(search_space=space, study={"sampler": {"name": "grid", "points": 3}})
    study.config.engine.study.trials  # noqa: B018
    again = harness(
        "study.trials=50", search_space=space, study={"sampler": {"name": "grid", "points": 3}}
    )
    assert again.run() == "exhausted"
    cells = {(r.params["x"], r.params["size"]) for r in again.records if not r.is_baseline}
    assert cells == {(x, size) for x in (-1.0, 0.0, 1.0) for size in (1, 2)}
    assert len(again.records) == 7


def test_a_grid_that_is_resumed_goes_through_the_settings_that_are_left(
    harness: Callable[..., Harness],
) -> None:
    given = {
        "search_space": {"x": {"low": -1, "high": 1}, "size": {"low": 1, "high": 3}},
        "study": {"sampler": {"name": "grid", "points": 3}, "trials": 50},
    }
    for stop_after in (4, 2, math.inf):
        study = harness(**given)
        study.stop_after = stop_after
        ending = study.run()
    assert ending == "exhausted"
    cells = [(r.params["x"], r.params["size"]) for r in study.records if not r.is_baseline]
    assert sorted(cells) == [(x, size) for x in (-1.0, 0.0, 1.0) for size in (1, 2, 3)]


def test_a_grid_whose_last_setting_was_interrupted_ends(harness: Callable[..., Harness]) -> None:
    given = {
        "search_space": {"x": [1.0, 2.0, 3.0]},
        "study": {"sampler": "grid", "trials": 50},
    }
    study = harness(**given)
    study.stop_after = 3  # the baseline and two settings
    study.run()
    study.study.ask(dict(study.config.space.searched))
    study.storage.settle()
    again = harness(**given)
    assert again.run() == "exhausted"
    assert sorted(r.params["x"] for r in again.records if not r.is_baseline) == [1.0, 2.0, 3.0]


def test_brute_force_runs_every_setting_once(harness: Callable[..., Harness]) -> None:
    study = harness(
        search_space={"size": {"low": 1, "high": 5}},
        study={"sampler": "brute-force", "trials": 50},
    )
    assert study.run() == "exhausted"
    sizes = [record.params["size"] for record in study.records if not record.is_baseline]
    assert sorted(sizes) == [1, 2, 3, 4, 5]


def test_pruning_stops_a_trial_after_a_case(harness: Callable[..., Harness]) -> None:
    study = harness(
        data={"targets": [0.0, 0.0, 0.0]},
        objective="fit",
        search_space={"x": {"low": -5, "high": 5}},
        study={"pruner": {"name": "threshold", "lower": -1.0}, "trials": 6, "max_failures": 99},
    )
    study.run()
    for record in study.records[1:]:
        good = abs(record.params["x"]) <= 1
        assert (record.state, len(record.cases)) == (("complete", 3) if good else ("pruned", 1))
    assert any(record.state == "pruned" for record in study.records)


def test_what_cannot_catch_up_is_pruned_after_the_first_case(
    harness: Callable[..., Harness],
) -> None:
    study = harness(
        data={"targets": [0.0, 0.0, 0.0]},
        objective="fit",
        search_space={"x": {"low": -5, "high": 5}},
        study={"pruner": {"name": "catch-up", "n_startup_trials": 3}, "trials": 50},
    )
    assert study.run() == "exhausted"
    pruned = [record for record in study.records if record.state == "pruned"]
    whole = [record for record in study.records[1:] if record.state == "complete"]
    assert pruned
    late = [record for record in pruned if len(record.cases) > 1]
    assert len(late) < 0.1 * len(pruned)
    for record in late:  # so near the best that the slack let it go on, once
        assert len(record.cases) == 2
        assert record.cases[0].metrics["fit"] > -0.1
    best = max(record.metrics["fit"] for record in [study.records[0], *whole])
    for record in pruned:  # the cases are alike: what a pruned trial would have had is known
        assert record.cases[0].metrics["fit"] < best
    assert len(pruned) >= 100 > 2 * len(whole)
    assert len(whole) >= 3


def test_contenders_are_timed_again_and_bad_trials_once(harness: Callable[..., Harness]) -> None:
    study = harness(
        data={"targets": [2.0], "seconds": 0.01},
        search_space={"x": [2.0, 0.3]},
        study={"trials": 16},
    )
    study.run()
    tuned = study.records[1:]
    repeats = {x: [r.cases[0].repeats for r in tuned if r.params["x"] == x] for x in (2.0, 0.3)}
    assert max(repeats[2.0]) > 1
    assert max(repeats[2.0]) <= 3
    assert set(repeats[0.3][1:]) == {1}  # the first one may be the best for all that is known
    again = sum(r.cases[0].seconds * (r.cases[0].repeats - 1) for r in tuned)
    # a quarter by what was known before each repeat, which that one changes a little
    assert again <= 1.05 * 0.25 * sum(r.cases[0].seconds for r in study.records)
    for record in tuned:
        metrics = record.metrics
        assert metrics["score_low"] < metrics["score"] < metrics["score_high"]
        assert metrics["speedup_low"] < metrics["speedup"] < metrics["speedup_high"]
    assert len(study.executor.repeats) == sum(r.cases[0].repeats - 1 for r in tuned)


def test_repeats_can_be_turned_off(harness: Callable[..., Harness]) -> None:
    study = harness(data={"targets": [2.0]}, search_space={"x": [2.0]}, timing={"repeats": 1})
    study.run()
    assert study.executor.repeats == []


def test_a_repeat_that_fails_takes_nothing_away(
    harness: Callable[..., Harness], monkeypatch: pytest.MonkeyPatch
) -> None:
    study = harness(data={"targets": [2.0], "seconds": 0.01}, search_space={"x": [2.0]})
    run = study.executor.bench.trial

    def broken(job: TrialJob, ask: Callable[..., bool]) -> JobDone:
        if not job.scored:
            raise RuntimeError("only repeats fail")
        return run(job, ask)

    monkeypatch.setattr(study.executor.bench, "trial", broken)
    assert study.run() == "complete"
    assert study.executor.repeats
    assert [record.state for record in study.records] == ["complete"] * 8


def test_two_objectives(harness: Callable[..., Harness]) -> None:
    study = harness(objective=["fit", "time"])
    study.run()
    assert [d.name for d in study.study.directions] == ["MAXIMIZE", "MINIMIZE"]
    assert study.study.metric_names == ["fit", "time"]
    record = study.records[3]
    assert list(record.values) == [record.metrics["fit"], record.metrics["time"]]


def test_a_changed_configuration_is_refused_with_the_difference(
    harness: Callable[..., Harness],
) -> None:
    harness().run()
    with pytest.raises(InputError) as caught:
        harness(search_space={"x": {"low": -5, "high": 7}})
    assert "search_space.x.high: was 5.0, now 7.0" in str(caught.value)
    assert "--new" in str(caught.value)


def test_the_best_trial_is_the_one_with_the_highest_score(
    harness: Callable[..., Harness],
) -> None:
    study = harness(data={"targets": [4.0]}, study={"trials": 12})
    study.run()
    objective = study.config.objective
    best = objective.best(study.records)
    assert best is not None
    assert best.metrics["score"] == max(r.metrics["score"] for r in study.records) > 0


def test_the_score_is_made_from_the_primary_of_three_metrics(
    harness: Callable[..., Harness], monkeypatch: pytest.MonkeyPatch
) -> None:
    toy = plugin_class("toy")
    names = {"fit": "maximize", "error": "minimize", "size": "minimize"}
    monkeypatch.setattr(toy, "metrics", names)
    monkeypatch.setattr(
        toy, "score", lambda _, case, output: {"fit": 7, "error": -output, "size": 1}
    )
    monkeypatch.setattr(toy, "primary", "error")
    study = harness(data={"targets": [4.0], "null": 1.0}, study={"trials": 6})
    study.run()
    assert study.config.objective.primary == "error"
    baseline = study.records[0].cases[0]
    assert baseline.metrics["error"] == 16
    for (case,) in (record.cases for record in study.records):
        gain = baseline.metrics["error"] - case.metrics["error"]
        expected = gain * math.sqrt(baseline.seconds / case.seconds)
        assert case.metrics["score"] == pytest.approx(expected)


def test_where_no_trial_beats_the_baseline_slowness_is_not_rewarded(
    harness: Callable[..., Harness],
) -> None:
    study = harness(
        data={"targets": [0.0], "seconds": 0.01},
        search_space={"x": [3.0], "size": [1, 5]},
        study={"trials": 6},
    )
    study.run()
    tuned = [record for record in study.records if not record.is_baseline]
    objective = study.config.objective
    best = objective.best(tuned)
    assert best is not None
    assert best.params["size"] == 1
    slowest = max(tuned, key=lambda record: record.metrics["score"])
    assert slowest.params["size"] == 5


def test_what_is_kept_of_a_trial_is_read_back_equal(harness: Callable[..., Harness]) -> None:
    study = harness(study={"storage": "sqlite:///tuner.db"})
    study.run()
    stored = optuna.load_study(study_name="study", storage="sqlite:///tuner.db")
    assert records_of(stored) == study.listener.heard
    assert json.loads(stored.get_trials()[0].user_attrs["tuner:record"])["is_baseline"] is True
    assert stored.metric_names == ["score"]
    for trial, record in zip(stored.get_trials(), study.listener.heard, strict=True):
        attributes = {k: v for k, v in trial.user_attrs.items() if not k.startswith("tuner:")}
        assert attributes == record.metrics
        assert record.metrics or record.state != "complete"
    assert isinstance(study.listener.heard[0], TrialRecord)
    assert JobDone  # the executor's event type is part of the interface


@pytest.mark.parametrize(
    ("objective", "counts"), [("fit", False), ("score", True), (["fit", "time"], True)]
)
def test_a_timing_is_repeated_only_where_time_is_tuned(
    harness: Callable[..., Harness], objective: object, counts: bool
) -> None:
    study = harness(objective=objective, study={"trials": 2, "storage": "journal:///journal.log"})
    study.run()
    assert {job.timed for job in study.executor.jobs} == {counts}


def enqueued(given: dict[str, object]) -> None:
    """Enqueue params as a program that knows Optuna alone."""
    storage = JournalStorage(JournalFileBackend("journal.log"))
    optuna.load_study(study_name="study", storage=storage).enqueue_trial(given)


class Enqueuing(Listener):
    """Enqueues from outside as soon as a trial is told."""

    def __init__(self, after: int, *given: dict[str, object]) -> None:
        super().__init__()
        self.after, self.given = after, given

    def trial(self, record: TrialRecord) -> None:
        super().trial(record)
        if len(self.heard) == self.after:
            for given in self.given:
                enqueued(given)


@pytest.mark.parametrize("workers", [1, 3])
def test_what_is_enqueued_from_outside_is_run_and_what_is_not_of_the_space_fails(
    harness: Callable[..., Harness], workers: int
) -> None:
    study = harness(workers=workers, study={"trials": 9})
    wrong = [{"x": 7.0}, {"x": [1]}, {"x": "2"}, {}, {"x": 1.0, "y": 2}, {"x": 1.0, "size": 4}]
    study.listener = Enqueuing(4, {"x": 1.25}, *wrong, {"x": -1.5})
    assert study.run() == "complete"
    records = study.records
    complete = len(study.executor.jobs)
    assert 9 <= complete <= 8 + workers  # those that ran already when the last were enqueued
    assert [record.number for record in records] == list(range(complete + len(wrong)))
    states = [trial.state for trial in study.study.get_trials()]
    assert states.count(TrialState.COMPLETE) == complete
    first = next(r.number for r in records if r.params["x"] == 1.25)
    failed = records[first + 1 : first + 1 + len(wrong)]
    assert [(record.state, record.cases) for record in failed] == [("failed", ())] * len(wrong)
    assert records[first + 1 + len(wrong)].params == {"x": -1.5, "size": 1, "mode": "fine"}
    said = "enqueued with params outside of the search space: "
    assert [str(record.reason).removeprefix(said) for record in failed] == [
        "x: expected a number from -5 to 5, got 7.0",
        "x: expected a number from -5 to 5, got [1]",
        "x: expected a number from -5 to 5, got '2'",
        "x is not given; expected a value of each searched parameter: x",
        "unknown parameter 'y'; the plug-in has: x, size, mode",
        "size: the search space fixes it at 1, got 4",
    ]
    assert sorted(study.listener.heard, key=lambda record: record.number) == records


def test_a_complete_study_runs_what_is_enqueued_and_no_more(
    harness: Callable[..., Harness],
) -> None:
    assert harness(study={"trials": 3}).run() == "complete"
    enqueued({"x": 1.25})
    enqueued({"x": 2.5})
    again = harness(study={"trials": 3})
    assert again.run() == "complete"
    assert [record.params["x"] for record in again.records[3:]] == [1.25, 2.5]
    assert {record.state for record in again.records} == {"complete"}


@pytest.mark.parametrize("sampler", ["grid", "brute-force"])
def test_every_setting_is_run_beside_what_is_enqueued(
    harness: Callable[..., Harness], sampler: str
) -> None:
    study = harness(
        study={"trials": 50, "sampler": sampler},
        search_space={"x": {"low": 0, "high": 4, "step": 1}},
    )
    study.listener = Enqueuing(2, {"x": 3.0}, {"x": 9.0})
    assert study.run() == "exhausted"
    done = [r.params["x"] for r in study.records if r.state == "complete" and not r.is_baseline]
    trials = study.study.get_trials()
    drawn = [t.params["x"] for t in trials if "fixed_params" not in t.system_attrs]
    assert set(done) == {0.0, 1.0, 2.0, 3.0, 4.0}
    assert len(drawn) == len(set(drawn))
    assert done.count(3.0) == drawn.count(3.0) + 1


def test_a_baseline_that_is_asked_again_comes_before_what_is_enqueued(
    harness: Callable[..., Harness],
) -> None:
    study = harness(data={"baseline_mode": "raise"})
    with pytest.raises(StudyStopped, match="the baseline did not complete"):
        study.run()
    enqueued({"x": 1.25})
    again = harness(data={"baseline_mode": "raise"})
    with pytest.raises(StudyStopped, match="the baseline did not complete"):
        again.run()
    assert [record.is_baseline for record in again.records] == [True, True]
    assert again.study.get_trials()[1].state == TrialState.WAITING
