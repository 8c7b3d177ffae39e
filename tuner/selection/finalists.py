"""The final word: the best settings timed again, beside the baseline, before one is frozen.

The search times a setting once or twice, minutes apart from the next: enough to steer by, not to
choose by. Here the few best run as whole processes where the plug-in can (what its users will run),
in random order, until one is separated from the rest or the time is up; see
`tuner.selection.racing`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace

import numpy as np
import optuna

from tuner.config.objective import Objective, Reference
from tuner.config.task import Task
from tuner.execution.alone import run_alone
from tuner.execution.jobs import JobDone, TimeJob
from tuner.measure.drift import Drift
from tuner.measure.noise import Noise, combine
from tuner.plugin import Params
from tuner.records import MOST_LOSSES, CaseRecord, Final, Finalist, TrialRecord, baseline_of
from tuner.search.clocks import Clock
from tuner.search.loop import Coordinator
from tuner.search.observer import Progress
from tuner.selection.racing import Ending, Race, Value, Verdict, score_value
from tuner.selection.smoothing import smoothed

TIMING = "timing the finalists, beside the baseline"
FINAL = "tuner:final"
HOPELESS = 0.5
"""Share of the best score below which no noise of timing makes a setting the best."""


def choose_finalists(
    records: Sequence[TrialRecord],
    objective: Objective,
    limit: int,
    worth: Mapping[int, float] | None = None,
) -> list[TrialRecord]:
    """Return the best completed trials, best first, one for each setting; at most `limit`.

    By what they are `worth`, where that is given: by number, the larger, the better.
    """
    name, sign = objective.ranked_by(records)
    complete = [record for record in records if record.state == "complete"]
    ranked = sorted(complete, key=lambda record: -sign * record.metrics[name])
    if name == "score" and ranked and ranked[0].metrics["score"] > 0:
        least = HOPELESS * ranked[0].metrics["score"]
        ranked = [record for record in ranked if record.metrics["score"] > least]
    elif name == "score":
        ranked = sorted(complete, key=lambda record: -record.values[0])
    if worth:
        ranked = [record for record in ranked if record.number in worth]
        ranked.sort(key=lambda record: -worth[record.number])
    chosen: dict[str, TrialRecord] = {}
    for record in ranked:
        chosen.setdefault(json.dumps(dict(record.params), sort_keys=True), record)
    return list(chosen.values())[:limit]


def timing_decides(records: Sequence[TrialRecord], objective: Objective) -> bool:
    """Return whether which setting is best depends on times."""
    return objective.ranked_by(records)[0] in ("score", "time")


def kept_final(study: optuna.Study, records: Sequence[TrialRecord]) -> Final | None:
    """Read a final word that was stored, if it was spoken on these trials."""
    text = study.user_attrs.get(FINAL)
    if text is None:
        return None
    plain = json.loads(text)
    final = Final(finalists=[Finalist(**row) for row in plain.pop("finalists")], **plain)
    complete = sum(record.state == "complete" for record in records)
    return final if final.trials == complete else None


class _Moved(Exception):
    """What follows in a race was timed on another host."""


class Referee:
    """Times finalists and baseline by jobs, one at a time.

    Parameters
    ----------
    task : Task
        Of the study.
    coordinator : Coordinator
        Of the search that has ended: its executor, costs and drift are gone on with.
    progress : Progress
        Told how far it is.
    """

    def __init__(self, task: Task, coordinator: Coordinator, progress: Progress) -> None:
        self._task = task
        self._coordinator = coordinator
        self._progress = progress
        self._clock: Clock | None = None
        self._seconds: dict[str, float] = {}
        self._errors: dict[str, float] = {}

    def time(
        self, params: Params, baseline: bool = False, held_out: bool = False
    ) -> JobDone | None:
        """Time some params, or the baseline's own script, on each case; None where that failed."""
        job = TimeJob(params, self._task.seed, baseline, held_out)
        done = run_alone(self._coordinator.executor, job, self._progress.beat)
        if done.state != "complete":
            return None
        return replace(done, cases=self.stated(done, params, held_out))

    def stated(
        self, done: JobDone, params: Params, held_out: bool = False
    ) -> tuple[CaseRecord, ...]:
        """Return cases as `Clocks.stated` does; what they lack is measured."""
        clocks, executor = self._coordinator.clocks, self._coordinator.executor
        clocks.complete(done, params, executor, self._progress.beat, held_out)
        return clocks.stated(done, params, held_out)

    def final_word(self, records: Sequence[TrialRecord], study: optuna.Study) -> Final | None:
        """Race the best trials; store and return how it ended.

        None where nothing is to be decided by times, or it was stopped before the first round
        ended.
        """
        task, timing, objective = self._task, self._task.timing, self._task.objective
        if timing.finalists == 0 or not timing_decides(records, objective):
            return None
        worth = None
        if task.select == "smoothed":
            worth = smoothed(records, task.space.searched, *objective.ranked_by(records))
        chosen = choose_finalists(records, objective, timing.finalists, worth)
        if not chosen:
            return None
        measured = baseline_of(records)
        beside = Reference.of(measured.cases, objective.primary) if measured else None
        verdict = self._verdict(chosen, beside)
        if verdict is None or not verdict.standings:
            return None
        by_number = {record.number: record for record in chosen}
        final = Final(
            finalists=[self._finalist(row, by_number[row.number]) for row in verdict.standings],
            what="process" if task.has_script else "run",
            baseline=self._seconds,
            probability_best=verdict.probability_near,
            probability_order=verdict.probability_order,
            indifference=timing.indifference,
            trials=sum(record.state == "complete" for record in records),
            baseline_errors=self._errors,
            stopped=self._coordinator.should_stop(),
        )
        study.set_user_attr(FINAL, json.dumps(asdict(final)))
        return final

    def _verdict(self, chosen: Sequence[TrialRecord], beside: Reference | None) -> Verdict | None:
        """Race on one host: once more from the start where that is lost. None without a round."""
        timing = self._task.timing
        for _ in range(MOST_LOSSES):
            self._clock = None
            self._seconds = dict(beside.seconds) if beside else {}
            self._errors = dict(beside.errors) if beside else {}
            race = Race(
                [record.number for record in chosen],
                self._value(chosen, beside),
                [case.name for case in chosen[0].cases],
                Ending(timing.final_time, timing.confidence, timing.indifference),
                self._task.seed,
            )
            try:
                return race.verdict() if self._run(race, chosen) else None
            except _Moved:
                continue
        return None

    def _drift(self, done: JobDone) -> Drift:
        """Return the drift of the host of a job; `_Moved` where the race began on another one."""
        clock = self._coordinator.clocks.of(done)
        if self._clock not in (None, clock):
            raise _Moved
        self._clock = clock
        return clock.drift

    def _finalist(self, row: Finalist, record: TrialRecord) -> Finalist:
        name, sign = self._task.objective.ranked_by([record])
        primary = self._task.objective.primary
        return replace(
            row,
            metrics={case.name: case.metrics[primary] for case in record.cases},
            speedup={name: took / row.seconds[name] for name, took in self._seconds.items()},
            estimate=sign * record.metrics[name],
        )

    def _value(self, chosen: Sequence[TrialRecord], beside: Reference | None) -> Value:
        """Return what decides: the score by the baseline's latest times, or minus the time."""
        objective = self._task.objective
        if beside is None or objective.ranked_by(chosen)[0] == "time":
            return lambda index, seconds: -np.asarray(seconds.mean(axis=0))
        gains = [{c.name: objective.gain(c, beside) for c in record.cases} for record in chosen]
        return score_value(gains, self._seconds, self._errors)

    def _run(self, race: Race, chosen: Sequence[TrialRecord]) -> bool:
        """Run the race, the baseline in turns; return whether a first round was finished."""
        params = {record.number: record.params for record in chosen}
        rng = np.random.default_rng(self._task.seed)
        again = self._task.timing.baseline_repeats if self._seconds else 0
        looks: dict[str, list[CaseRecord]] = {}
        rounds = 0
        while order := race.next_round():
            slot = int(rng.integers(len(order) + 1)) if rounds < again else None
            for place, number in enumerate([*order, None]):
                if self._coordinator.should_stop():
                    return rounds > 0
                if number is not None:
                    self._progress.phase(TIMING, f"{place + 1} of {len(order)}, round {rounds + 1}")
                if place == slot:
                    self._time_baseline(looks)
                if number is not None:
                    self._time_finalist(race, number, params[number])
            rounds += 1
        return rounds > 0

    def _time_baseline(self, looks: dict[str, list[CaseRecord]]) -> None:
        """Time the baseline once more, and take its times from all `looks` by case."""
        done = self.time(self._task.baseline or {}, baseline=True)
        for case in self._drift(done).correct(done.cases, done.started) if done else ():
            looks.setdefault(case.name, []).append(case)
        for name, cases in looks.items():
            whole = combine(cases)
            self._seconds[name], self._errors[name] = whole.seconds, Noise().error(whole)

    def _time_finalist(self, race: Race, number: int, params: Params) -> None:
        done = self.time(params)
        if done is None:
            race.drop(number)
            return
        shots = self._drift(done).measurements(done.cases, done.started)
        race.add(number, shots, (done.finished - done.started).total_seconds())
