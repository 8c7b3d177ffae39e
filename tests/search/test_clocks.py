"""Hosts of different speed: a score is a ratio of two times of one host."""

from __future__ import annotations

import itertools
import json
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.search.test_loop import Harness, Inline
from tuner.execution.jobs import (
    CaseDone,
    Event,
    FixedCostJob,
    Job,
    JobDone,
    Setup,
    TimeJob,
    TrialJob,
    now,
)
from tuner.records import MOST_LOSSES, Final, TrialRecord
from tuner.search import repeats
from tuner.search.clocks import FIXED_COSTS, Clocks, host_clocks
from tuner.search.loop import Coordinator
from tuner.search.stopped import StudyStopped
from tuner.selection.finalists import Referee

pytestmark = pytest.mark.usefixtures("toy")

SPEED = {"fast": 1.0, "slow": 2.5}
"""Seconds of a run of size 1."""

START_UP = 0.5
QUIET = {"anchor": None, "crowded": 0.0}
MACHINE = {"fast": "model A", "slow": "model B"}


class Hosts(Inline):
    """Runs jobs as `Inline` does, on hosts that take their own time for it.

    Trials go to `order` in turn; what is no trial goes where it must, else to the first host, which
    is another one after each of `moves`.
    """

    def __init__(self, setup: Setup, order: Iterable[str], slots: int = 1) -> None:
        super().__init__(setup, slots)
        self.crowded: dict[str, float] = {}
        self._order = itertools.cycle(order)
        self._first = next(self._order)
        self._begun: tuple[Job, str] | None = None
        self.gone: set[str] = set()
        self.failing: set[str] = set()
        self.measured: list[tuple[str, str]] = []
        self.timed: list[str] = []
        self.moves: list[str] = []

    def wait(self, timeout: float) -> Event | None:
        job, host = self.waiting[0], self._host()
        if job.host in self.gone:
            self.waiting.pop(0)
            failed = JobDone(job.ticket, "failed", now(), now(), (), "gone")
            return replace(failed, losses=MOST_LOSSES, host=job.host)
        if isinstance(job, FixedCostJob):
            self.waiting.pop(0)
            self.measured.append(("cost", host))
            costs = dict.fromkeys(self.bench.names, START_UP * SPEED[host])
            done = JobDone(job.ticket, "complete", now(), now(), fixed_costs=costs)
            return replace(done, host=host, machine=MACHINE[host])
        event = super().wait(timeout)
        assert isinstance(event, CaseDone | JobDone)
        return self._took(event, job, host)

    def _host(self) -> str:
        job = self.waiting[0]
        if self._begun is None or self._begun[0] is not job:
            free = isinstance(job, TrialJob) and not job.trial.is_baseline
            self._begun = job, job.host or (next(self._order) if free else self._first)
        return self._begun[1]

    def _took(self, event: CaseDone | JobDone, job: Job, host: str) -> Event:
        assert isinstance(job, TrialJob | TimeJob)
        params = job.trial.params if isinstance(job, TrialJob) else job.params
        seconds = SPEED[host] * params["size"]
        run = {"seconds": seconds, "run_seconds": seconds, "cpu_seconds": seconds, **QUIET}
        event = replace(event, host=host, machine=MACHINE[host])
        if isinstance(job, TimeJob):
            self.timed.append(host)
            self._first = self.moves.pop(0) if self.moves else self._first
        elif job.trial.is_baseline and isinstance(event, JobDone):
            self.measured.append(("baseline", host))
            run["crowded"] = self.crowded.get(host, 0.0)
            if host in self.failing:
                return replace(event, state="failed", reason="it has no licence")
        return replace(event, cases=[replace(case, **run) for case in event.cases])


SPACE = {"x": {"low": 1, "high": 5}, "size": {"low": 1, "high": 4}}
Run = Callable[..., Harness]


@pytest.fixture
def study(write_config: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setattr(os, "fsync", lambda file: None)  # no power goes here

    def make(*order: str, name: str = "hosts", **sections: object) -> Harness:
        study = Harness(
            write_config(
                plugin="toy",
                study={
                    "name": name,
                    "trials": 9,
                    "sampler": "random",
                    "storage": "journal:///journal.log",
                    **sections.pop("study", {}),
                },
                data={"targets": [3.0, 4.0], **sections.pop("data", {})},
                tracking={"enabled": False},
                **{"search_space": SPACE, "timing": {"repeats": 1}, **sections},
            )
        )
        slots = study.config.engine.workers
        study.executor = Hosts(Setup("toy", study.config.sections), order, slots)
        return study

    return make


def seen(records: Iterable[TrialRecord]) -> list[tuple[int, dict[str, float]]]:
    return [(record.number, pytest.approx(dict(record.metrics))) for record in records]


def best(study: Harness) -> TrialRecord:
    found = study.config.objective.best(study.records)
    assert found is not None
    return found


def test_hosts_of_two_speeds_tell_what_either_tells_alone(study: Run) -> None:
    mixed = study("fast", "slow", "slow", "slow")
    alone = [study("fast", name="fast"), study("slow", name="slow")]
    for each in (mixed, *alone):
        assert each.run() == "complete"
    assert {record.host for record in mixed.records} == {"fast", "slow"}
    assert mixed.executor.measured == [
        *[("cost", "fast"), ("baseline", "fast")],
        *[("cost", "slow"), ("baseline", "slow")],
    ]
    assert [seen(mixed.records)] == [
        [(r.number, dict(r.metrics)) for r in alone[0].records]
    ]  # in seconds of the host where the baseline was measured first
    for record in mixed.records:
        ratio = (5 + START_UP) / (record.params["size"] + START_UP)
        assert record.metrics["speedup"] == pytest.approx(ratio)
        assert record.machine == MACHINE[record.host]
    for each in alone:
        assert best(mixed).params == best(each).params
        assert best(mixed).metrics["score"] == pytest.approx(best(each).metrics["score"])


def test_without_a_baseline_on_each_host_another_setting_is_best(
    study: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = study("fast", "slow", "slow", "slow")
    right.run()
    of = Clocks.of

    def one_clock(self: Clocks, place: object) -> object:
        self._apart = False
        return of(self, place)

    monkeypatch.setattr(Clocks, "of", one_clock)
    wrong = study("fast", "slow", "slow", "slow", name="wrong")
    wrong.run()
    assert [r.params for r in wrong.records] == [r.params for r in right.records]
    assert best(wrong).params != best(right).params
    assert best(right).host == "slow"


def test_a_new_host_measures_its_baseline_when_a_study_is_resumed_there(study: Run) -> None:
    first = study("fast")
    first.stop_after = 3
    assert first.run() == "interrupted"
    there = study("slow")
    there.stop_after = 3
    assert there.run() == "interrupted"
    assert there.executor.measured == [("cost", "slow"), ("baseline", "slow")]
    again = study("slow")
    assert again.run() == "complete"
    assert again.executor.measured == []
    assert [r.host for r in again.records] == ["fast"] * 3 + ["slow"] * 6
    for record in again.records:
        assert record.metrics["time"] == pytest.approx(record.params["size"] + START_UP)
    hosts = host_clocks(again.study, again.records, alike=False)
    assert [(each.host, each.machine, each.trials) for each in hosts] == [
        ("fast", "model A", 3),
        ("slow", "model B", 6),
    ]
    assert hosts[0].baseline == pytest.approx({"target3": 5.5, "target4": 5.5})
    assert hosts[1].baseline == pytest.approx({"target3": 13.75, "target4": 13.75})
    moved = [replace(again.records[0], host="slow", machine="model B"), *again.records[1:]]
    assert [each.host for each in host_clocks(again.study, moved, False)] == ["slow", "fast"]


def test_hosts_of_one_kind_share_a_clock_where_they_are_said_to_be_alike(
    study: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(MACHINE, "slow", MACHINE["fast"])
    apart = study("fast", "slow")
    alike = study("fast", "slow", name="alike", executor={"alike": True})
    for each, hosts in ((apart, 2), (alike, 1)):
        each.run()
        assert len(each.executor.measured) == 2 * hosts
        assert len(host_clocks(each.study, each.records, hosts == 1)) == hosts


@pytest.mark.parametrize(
    "sections", [{"objective": "fit"}, {"data": {"has_baseline": False}, "objective": "time"}]
)
def test_one_clock_is_enough_where_no_time_counts_or_none_can_be_compared(
    study: Run, sections: dict
) -> None:
    found = study("fast", "slow", **sections)
    found.run()
    assert ("baseline", "slow") not in found.executor.measured
    assert host_clocks(found.study, found.records, alike=False)[1:] == []


def test_times_are_told_in_the_seconds_of_the_first_host(study: Run) -> None:
    found = study("slow", "fast", objective="time")
    found.run()
    for record in found.records[1:]:
        assert record.values == (record.metrics["time"],)
        expected = SPEED["slow"] * (record.params["size"] + START_UP)
        assert record.metrics["time"] == pytest.approx(expected)


def test_the_interval_of_a_trial_has_the_noise_of_the_baseline_of_its_host(study: Run) -> None:
    found = study("fast", "slow")
    found.executor.crowded = {"slow": 0.3}
    found.run()
    widths = {"fast": set(), "slow": set()}
    for record in found.records[1:]:
        width = record.metrics["speedup_high"] - record.metrics["speedup"]
        widths[record.host].add(round(width / record.metrics["speedup"], 6))
    (quiet,), (crowded,) = widths["fast"], widths["slow"]
    assert crowded > 1.5 * quiet


def test_each_kind_of_script_is_timed_on_each_host(study: Run) -> None:
    found = study("fast", "slow", data={"slow_mode": "reference"})
    found.run()
    fast, slow = [("cost", "fast"), ("baseline", "fast")], [("cost", "slow"), ("baseline", "slow")]
    assert found.executor.measured == [*fast, fast[0], *slow, slow[0]]


def test_trials_that_waited_for_one_baseline_take_no_slot_that_is_not_there(
    study: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is as good as the best and would be timed again, and one slot alone has become free."""
    monkeypatch.setattr(repeats, "SHARE", 9.0)
    order = [*["fast"] * 7, *["slow"] * 9]
    space = {"x": {"low": 1, "high": 1.001}, "size": 1}
    found = study(*order, workers=2, search_space=space, timing={"repeats": 3})
    assert found.run() == "complete"
    assert found.executor.repeats
    for record in found.records[1:]:
        assert record.metrics["speedup"] == pytest.approx((5 + START_UP) / (1 + START_UP))


def test_a_trial_whose_host_goes_before_its_baseline_is_measured_begins_again(study: Run) -> None:
    found = study("fast", "slow", "fast")
    found.executor.gone = {"slow"}
    assert found.run() == "complete"
    assert [record.number for record in found.records] == list(range(9))
    begun = [job.ticket for job in found.executor.jobs]
    assert len(begun) > 9
    assert {record.host for record in found.records} == {"fast"}


def test_a_host_on_which_the_baseline_fails_ends_the_study_and_is_named(study: Run) -> None:
    found = study("fast", "slow")
    found.executor.failing = {"slow"}
    with pytest.raises(StudyStopped, match="did not complete on slow, .* it has no licence"):
        found.run()
    mended = study("fast", "slow")
    assert mended.run() == "complete"
    assert [record.number for record in mended.records] == list(range(9))


def asked_once_a_trial_runs(study: Harness) -> Coordinator:
    """Return a coordinator that is to stop as soon as trial 1 has begun."""
    executor = study.executor
    given = study.config.task, study.study, study.storage, executor, study.listener
    return Coordinator(*given, lambda: any(job.ticket == 1 for job in executor.jobs))


def test_a_study_that_is_to_stop_measures_no_host_and_loses_no_trial(study: Run) -> None:
    found = study("fast", "slow")
    found.coordinator = lambda: asked_once_a_trial_runs(found)
    assert found.run() == "interrupted"
    assert found.executor.waiting == []
    assert [record.number for record in found.records] == [0]
    again = study("fast", "slow")
    assert again.run() == "complete"
    assert [record.number for record in again.records] == list(range(9))
    assert again.executor.jobs[0].ticket == 1


def test_a_study_that_is_to_stop_while_a_host_is_measured_is_interrupted(study: Run) -> None:
    """Whatever else had ended it: the executor is not idle, and nothing else may be timed."""
    found = study("fast", "slow", study={"timeout": 0.5})
    executor = found.executor
    submit = executor.submit

    def late(job: Job) -> None:
        submit(job)
        time.sleep(0.6 * (job.ticket == 1))

    executor.submit = late
    given = found.config.task, found.study, found.storage, executor, found.listener
    coordinator = Coordinator(*given, lambda: any(job.host for job in executor.waiting))
    assert coordinator.run() == "interrupted"
    assert [record.number for record in found.records] == [0]


def test_a_trial_is_pruned_by_times_that_compare(study: Run) -> None:
    """Between cases of hosts whose baseline is known; by the median of the trials before."""
    given = {"study": {"pruner": "median", "trials": 12}, "data": {"targets": [3.0, 4.0]}}
    mixed, alone = study("fast", "slow", **given), study("fast", name="alone", **given)
    for each in (mixed, alone):
        each.run()
    states = [[record.state for record in each.records] for each in (mixed, alone)]
    assert states[0] == states[1]
    assert "pruned" in states[0]


def test_what_is_kept_of_a_host_is_small(study: Run) -> None:
    found = study("fast", "slow")
    found.run()
    kept = json.loads(found.study.user_attrs[f"{FIXED_COSTS}:1"])
    assert (kept["host"], kept["machine"], list(kept["seconds"])) == ("slow", "model B", ["{}"])
    assert len(json.dumps(kept)) < 1000


def race(study: Harness) -> Final:
    coordinator = study.coordinator()
    coordinator.run()
    referee = Referee(study.config.task, coordinator, study.listener)
    final = referee.final_word(study.records, study.study)
    assert final is not None
    return final


def test_finalists_are_timed_on_one_host_from_the_start_again_where_it_is_lost(study: Run) -> None:
    timing = {"finalists": 3, "repeats": 1, "final_time": "1s"}
    moved, alone = study("fast", "slow", timing=timing), study("fast", name="alone", timing=timing)
    moved.executor.moves = ["fast", "slow"]
    finals = [race(each) for each in (moved, alone)]
    hosts = moved.executor.timed
    assert hosts == ["fast"] * 2 + ["slow"] * (len(hosts) - 2)
    assert len(hosts) - 2 >= sum(row.repeats for row in finals[0].finalists) + 1
    for final in finals:
        assert final.baseline == pytest.approx({"target3": 5.5, "target4": 5.5})
    numbers = [[row.number for row in final.finalists] for final in finals]
    assert numbers[0] == numbers[1]
    for one, other in zip(*(final.finalists for final in finals), strict=True):
        assert dict(one.seconds) == pytest.approx(dict(other.seconds))
        assert dict(one.speedup) == pytest.approx(dict(other.speedup))
