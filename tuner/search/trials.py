"""Trials, asked of the sampler and told to it.

With the coordinator, which alone holds one `AskTell`, the only writer to the Optuna study.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timezone
from functools import cached_property

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import FrozenTrial, TrialState

from tuner.config.given import drawn_params
from tuner.config.objective import Reference
from tuner.config.quiet import quiet
from tuner.config.samplers import EXHAUSTIVE, settings_in_all
from tuner.config.task import Task
from tuner.config.text import cleaned
from tuner.execution.jobs import JobDone
from tuner.measure.noise import Noise
from tuner.plugin import InputError
from tuner.records import State, Trial, TrialRecord
from tuner.search.record_json import BASELINE, BESIDE, ROLE

STATES: Mapping[State, TrialState] = {
    "complete": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "infeasible": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}
"""Optuna's state for each of ours: an infeasible trial has no value and must not be repeated."""


PRUNED_IN_A_ROW = 100
"""So many settings that were given up show that none is left that is better."""


class AskTell:
    """The sampler of one study, as the coordinator sees it.

    Parameters
    ----------
    task : Task
        Its space, baseline and sampler are used.
    study
        The Optuna study, opened for writing.
    """

    def __init__(self, task: Task, study: optuna.Study) -> None:
        self._task = task
        self._study = study
        self._sampler = task.study.sampler.name
        self._live: dict[int, optuna.Trial] = {}
        self._looked = self._pruned = 0
        self._points: set[object] = set()

    def waiting(self) -> list[FrozenTrial]:
        """Return the trials that are enqueued, the next one first."""
        return self._study.get_trials(deepcopy=False, states=(TrialState.WAITING,))

    def refused(self) -> TrialRecord | None:
        """Return how the next trial ends, where it is enqueued with params not of the space.

        To the sampler it is as if it had never been.
        """
        for trial in self.waiting()[:1]:
            given = {**trial.params, **trial.system_attrs.get("fixed_params", {})}
            try:
                drawn_params(self._task.space, given)
            except InputError as error:
                searched = {
                    name: value if isinstance(value, str | int | float) else str(value)
                    for name, value in given.items()
                    if name in self._task.space.searched
                }
                now = datetime.now(timezone.utc)
                self._begin_waiting(trial)
                return TrialRecord(
                    number=trial.number,
                    state="failed",
                    params=self._task.space.complete(searched),
                    searched=searched,
                    cases=(),
                    metrics={},
                    values=(),
                    started=now,
                    finished=now,
                    reason=cleaned(f"enqueued with params outside of the search space: {error}"),
                )
        return None

    def ask(self) -> Trial:
        """Return the next trial to run: what is enqueued, else what the sampler suggests."""
        with quiet():
            return self._trial(self._study.ask(dict(self._task.space.searched)))

    def renumbered(self, trial: Trial, number: int) -> Trial:
        """Return a trial that was drawn under the number that it has been written under."""
        if number == trial.number:
            return trial
        del self._live[trial.number]
        return self.take_up(self._study.get_trials(deepcopy=False)[number])

    def take_up(self, trial: FrozenTrial) -> Trial:
        """Take up a trial that was asked: what it has drawn stays, what it lacks is drawn now."""
        with quiet():
            live = optuna.Trial(self._study, trial._trial_id)
            for name, dist in self._task.space.searched.items():
                _suggest(live, name, dist)
        return self._trial(live)

    def ask_baseline(self) -> Trial:
        """Return the baseline as the next trial, whatever is enqueued before it."""
        self.enqueue_baseline()
        trial = next(filter(_is_baseline, self.waiting()))
        self._begin_waiting(trial)
        return self.take_up(trial)

    def _begin_waiting(self, trial: FrozenTrial) -> None:
        self._study._storage.set_trial_state_values(trial._trial_id, TrialState.RUNNING)

    def enqueue_baseline(self) -> None:
        """Enqueue the baseline as a trial, with what of it the space can express."""
        space, params = self._task.space, self._task.baseline or {}
        drawn = space.nearest(params) if self._sampler in EXHAUSTIVE else space.express(params)
        if not any(map(_is_baseline, self.waiting())):
            self._study.enqueue_trial(drawn, user_attrs={ROLE: BASELINE})
            if self._sampler == "brute-force":
                # It would take the baseline's point for visited; the plug-in itself was not there.
                self._study.enqueue_trial(drawn, user_attrs={ROLE: BESIDE})

    def begin_with_defaults(self) -> None:
        """Let a new study try first what the plug-in takes for good: the search goes on from it."""
        drawn = self._task.space.defaults_of(self._task.plugin)
        trials = self._study.get_trials(deepcopy=False)
        is_new = all(trial.state == TrialState.WAITING or _is_baseline(trial) for trial in trials)
        if drawn and is_new and self._sampler not in EXHAUSTIVE:
            self._study.enqueue_trial(drawn, skip_if_exists=True)

    def has_next(self, more: bool) -> bool:
        """Return whether there is a trial to run: an enqueued one, or with `more` any other."""
        return (more and not self.exhausted()) or bool(self.waiting())

    def exhausted(self) -> bool:
        """Return whether all are enumerated, or for long none was worth running to its end."""
        left = self._left()
        return self._pruned >= PRUNED_IN_A_ROW if left is None else left <= 0

    def _left(self) -> int | None:
        """Return how many settings were never asked; None where they can't be counted."""
        if self._size is None:
            return None
        for trial in self._study.get_trials(deepcopy=False)[self._looked :]:
            if trial.state == TrialState.WAITING:  # it is the next one, and has no params yet
                break
            self._looked += 1
            if self._sampler == "grid":
                if "grid_id" in trial.system_attrs:
                    self._points.add(trial.number)
            elif trial.params and not _is_baseline(trial):  # enqueued ones are settings too
                self._points.add(tuple(sorted(trial.params.items())))
        return self._size - len(self._points)

    @cached_property
    def _size(self) -> int | None:
        return settings_in_all(self._task.study.sampler, self._task.space)

    def should_prune(self, trial: Trial, value: float, step: int) -> bool:
        """Report a trial's value after `step` cases; return whether to give it up."""
        with quiet():
            self._live[trial.number].report(value, step=step)
            return bool(self._live[trial.number].should_prune())

    def tell(self, record: TrialRecord) -> None:
        """Report to Optuna how a trial ended."""
        self._live.pop(record.number, None)
        if record.state in ("complete", "pruned"):
            self._pruned = self._pruned + 1 if record.state == "pruned" else 0
        values = list(record.values) or None
        with quiet():
            try:
                self._study.tell(record.number, values, state=STATES[record.state])
            except RuntimeError:
                # Samplers that enumerate stop the study after their last setting, which Optuna
                # allows inside of its own loop only; the trial itself has been told.
                if self._sampler not in EXHAUSTIVE:
                    raise
                if not self._study.get_trials(deepcopy=False)[record.number].state.is_finished():
                    raise

    def tell_failed(self, trial: Trial) -> None:
        """Report to Optuna that a trial failed of which no record is kept."""
        with quiet():
            self._study.tell(trial.number, state=TrialState.FAIL)

    def _trial(self, live: optuna.Trial) -> Trial:
        self._live[live.number] = live
        is_baseline = live.user_attrs.get(ROLE) == BASELINE
        drawn, task = dict(live.params), self._task
        params = dict(task.baseline or {}) if is_baseline else task.space.complete(drawn)
        return Trial(number=live.number, params=params, searched=drawn, is_baseline=is_baseline)


def _is_baseline(trial: FrozenTrial) -> bool:
    return trial.user_attrs.get(ROLE) == BASELINE


def judge(
    trial: Trial, done: JobDone, task: Task, reference: Reference | None, noise: Noise
) -> TrialRecord:
    """Make a trial's record.

    Parameters
    ----------
    done : JobDone
        Its cases' times are what enters the score. A case over `Task.case_time` makes the trial
        infeasible, a baseline excepted.
    reference : Reference or None
        The baseline; its own cases for the baseline itself.
    noise : Noise
        What one measurement scatters by.
    """
    objective = task.objective
    record = TrialRecord(
        **vars(trial),
        state=done.state,
        cases=tuple(done.cases),
        metrics={},
        values=(),
        started=done.started,
        finished=done.finished,
        reason=cleaned(done.reason) if done.reason is not None else None,
        losses=done.losses,
        host=done.host,
        machine=done.machine,
    )
    for case in done.cases:
        took = case.run_seconds or case.seconds
        if took > task.case_time and not trial.is_baseline:
            reason = f"case '{case.name}' took {took:.1f} s; limit {task.case_time:g} s"
            return replace(record, state="infeasible", reason=reason)
        for name, value in case.metrics.items():
            if not math.isfinite(value):
                reason = f"metric '{name}' of case '{case.name}' is not a finite number"
                return replace(record, state="failed", reason=reason)
    cases = tuple(objective.annotate(case, reference) for case in done.cases)
    if done.state != "complete":
        return replace(record, cases=cases)
    return replace(
        record,
        cases=cases,
        metrics={**objective.summarise(cases), **objective.bounds(cases, reference, noise)},
        values=tuple(objective.values(cases, reference)),
    )


def _suggest(trial: optuna.Trial, name: str, dist: BaseDistribution) -> None:
    """Let a trial that is already there draw one parameter; what it has drawn stays."""
    if isinstance(dist, CategoricalDistribution):
        trial.suggest_categorical(name, dist.choices)
    elif isinstance(dist, FloatDistribution):
        trial.suggest_float(name, dist.low, dist.high, step=dist.step, log=dist.log)
    elif isinstance(dist, IntDistribution):
        trial.suggest_int(name, dist.low, dist.high, step=dist.step, log=dist.log)
