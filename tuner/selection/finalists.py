"""The final word: the best settings timed again, beside the baseline, before one is frozen.

The search times a setting once or twice, minutes apart from the next: enough to steer by, not to
choose by. Here the few best run as whole processes where the plug-in can (what its users will run),
in random order, until one is separated from the rest or the time is up; see
`tuner.selection.racing`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import optuna

from tuner.config.load import Config
from tuner.execution.jobs import Executor, JobDone, TimeJob, run_alone
from tuner.measure.drift import measurement
from tuner.measure.machine import Drift
from tuner.measure.noise import Noise, combine
from tuner.objective import Objective, Reference
from tuner.plugin import Params, Plugin
from tuner.records import CaseRecord, Final, Finalist, TrialRecord
from tuner.search.startup_cost import FixedCosts
from tuner.selection.racing import Race, Times, Value, score_value
from tuner.selection.smoothing import smoothed

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


@dataclass
class Referee:
    """Times finalists and baseline by jobs, one at a time.

    Parameters
    ----------
    config, executor, costs
        Of the study.
    beat : callable
        Called at least twice a second.
    should_stop : callable
        True once the user wants it to end.
    phase : callable
        Told how far it is, in words for the user.
    """

    config: Config
    executor: Executor
    costs: FixedCosts
    drift: Drift
    beat: Callable[[], None]
    should_stop: Callable[[], bool]
    phase: Callable[[str], None] = lambda text: None

    def time(
        self, params: Params, baseline: bool = False, held_out: bool = False
    ) -> tuple[list[CaseRecord], JobDone] | None:
        """Return a setting's times by case, uncorrected, and the job; None where it failed."""
        job = TimeJob(-3, params, self.config.engine.study.seed, baseline, held_out)
        done = run_alone(self.executor, job, self.beat)
        if done.state != "complete":
            return None
        return [self.costs.charge(case, params) for case in done.cases], done


def final_word(
    referee: Referee, records: Sequence[TrialRecord], objective: Objective, study: optuna.Study
) -> Final | None:
    """Race the best settings; store and give the verdict.

    None where nothing is to be decided by times, or it was stopped before the first round ended.
    """
    timing = referee.config.engine.timing
    if timing.finalists == 0 or not timing_decides(records, objective):
        return None
    worth = None
    if referee.config.engine.export.select == "smoothed":
        worth = smoothed(records, referee.config.space.searched, *objective.ranked_by(records))
    chosen = choose_finalists(records, objective, timing.finalists, worth)
    if not chosen:
        return None
    measured = [r for r in records if r.is_baseline and r.state == "complete"]
    reference = measured[-1] if measured else None
    names = [case.name for case in chosen[0].cases]
    baseline = {case.name: case.seconds for case in reference.cases} if reference else {}
    errors = {case.name: Noise().error(case) for case in reference.cases} if reference else {}
    race = Race(
        [record.number for record in chosen],
        _value(chosen, reference, baseline, errors, objective),
        len(names),
        timing.final_time,
        timing.confidence,
        timing.indifference,
        referee.config.engine.study.seed,
    )
    if not _run(referee, race, chosen, baseline if reference else None, errors):
        return None
    verdict = race.verdict()
    if not verdict.standings:
        return None
    by_number = {record.number: record for record in chosen}
    name, sign = objective.ranked_by(records)
    finalists = []
    for standing in verdict.standings:
        seconds = dict(zip(names, standing.seconds, strict=True))
        finalists.append(
            Finalist(
                standing.number,
                standing.rounds,
                seconds,
                {c.name: c.metrics[objective.primary] for c in by_number[standing.number].cases},
                {name: baseline[name] / seconds[name] for name in baseline},
                standing.value,
                standing.low,
                standing.high,
                standing.probability_best,
                dict(zip(names, standing.error, strict=True)),
                sign * by_number[standing.number].metrics[name],
            )
        )
    final = Final(
        finalists,
        "process" if type(referee.config.plugin).command is not Plugin.command else "run",
        baseline,
        verdict.probability_near,
        verdict.probability_order,
        timing.indifference,
        sum(record.state == "complete" for record in records),
        {name: errors[name] for name in baseline},
        referee.should_stop(),
    )
    study.set_user_attr(FINAL, json.dumps(asdict(final)))
    return final


def _value(
    chosen: Sequence[TrialRecord],
    reference: TrialRecord | None,
    baseline: dict[str, float],
    errors: dict[str, float],
    objective: Objective,
) -> Value:
    name, _ = objective.ranked_by(chosen)
    if name == "time" or reference is None:

        def minus_time(index: int, seconds: Times) -> Times:
            return -np.asarray(seconds.mean(axis=0))

        return minus_time
    known = Reference.of(reference.cases, objective.primary)
    gains = [{c.name: objective.gain(c, known) for c in record.cases} for record in chosen]
    return score_value(gains, baseline, errors)


def _run(
    referee: Referee,
    race: Race,
    chosen: Sequence[TrialRecord],
    baseline: dict[str, float] | None,
    errors: dict[str, float],
) -> bool:
    """Run the race; `baseline` and its `errors` are brought up to date.

    Give whether a first round was finished.
    """
    params = {record.number: record.params for record in chosen}
    rng = np.random.default_rng(referee.config.engine.study.seed)
    again = referee.config.engine.timing.baseline_repeats if baseline is not None else 0
    own = referee.config.plugin.baseline() or {}
    found: dict[str, list[CaseRecord]] = {}
    rounds = 0
    while order := race.next_round():
        slot = int(rng.integers(len(order) + 1)) if rounds < again else None
        for place, number in enumerate([*order, None]):
            if referee.should_stop():
                return rounds > 0
            last = place == len(order)
            if not last:
                referee.phase(f"{place + 1} of {len(order)}, round {rounds + 1}")
            if place == slot and baseline is not None and (timed := referee.time(own, True)):
                for case in map(referee.drift.correct, timed[0]):
                    found.setdefault(case.name, []).append(case)
                for name, looks in found.items():
                    whole = combine(looks)
                    baseline[name], errors[name] = whole.seconds, Noise().error(whole)
            if number is None:
                break
            result = referee.time(params[number])
            if result is None:
                race.drop(number)
                continue
            cases, done = result
            at, shots = done.started.timestamp(), []
            for case in cases:
                at += case.seconds
                shots.append(measurement(case, at, referee.drift.reference(case.name)))
            race.add(number, shots, (done.finished - done.started).total_seconds())
        rounds += 1
    return rounds > 0
