"""Trials, asked of the sampler and told to it.

With the coordinator, which alone holds one `AskTell`, the only writer to the Optuna study.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import FrozenTrial, TrialState

from tuner.config.quiet import quiet
from tuner.config.samplers import EXHAUSTIVE, settings_in_all
from tuner.config.task import Task
from tuner.config.text import cleaned
from tuner.execution.jobs import JobDone
from tuner.measure.noise import Noise
from tuner.objective import Reference
from tuner.records import State, Trial, TrialRecord
from tuner.search.record_json import BASELINE, ROLE

STATES: Mapping[State, TrialState] = {
    "complete": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "infeasible": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}
"""Optuna's state for each of ours: an infeasible trial has no value and must not be repeated."""


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
        self._looked = self._baselines = 0

    def ask(self) -> Trial:
        """Return the next trial to run: what is enqueued, else what the sampler suggests."""
        with quiet():
            return self._trial(self._study.ask(dict(self._task.space.searched)))

    def take_up(self, trial: FrozenTrial) -> Trial:
        """Take up a trial that was asked: what it has drawn stays, what it lacks is drawn now."""
        with quiet():
            live = optuna.Trial(self._study, trial._trial_id)
            for name, dist in self._task.space.searched.items():
                _suggest(live, name, dist)
        return self._trial(live)

    def ask_baseline(self) -> Trial:
        """Enqueue the baseline as a trial, with what of it the space can express."""
        space, params = self._task.space, self._task.baseline or {}
        drawn = space.nearest(params) if self._sampler in EXHAUSTIVE else space.express(params)
        waiting = self._study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
        if not any(trial.user_attrs.get(ROLE) == BASELINE for trial in waiting):
            self._study.enqueue_trial(drawn, user_attrs={ROLE: BASELINE})
            if self._sampler == "brute-force":
                # It would take the baseline's point for visited; the plug-in itself was not there.
                self._study.enqueue_trial(drawn)
        return self.ask()

    def begin_with_defaults(self) -> None:
        """Let a new study try first what the plug-in takes for good: the search goes on from it."""
        drawn = self._task.space.defaults_of(self._task.plugin)
        if drawn and not self._asked() and self._sampler not in EXHAUSTIVE:
            self._study.enqueue_trial(drawn)

    def left(self) -> int | None:
        """Return how many settings were never asked; None where they can't be counted."""
        return None if self._size is None else self._size - self._asked()

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

    def _asked(self) -> int:
        """Count the trials beside the baseline."""
        trials = self._study.get_trials(deepcopy=False)
        new = trials[self._looked :]
        self._baselines += sum(trial.user_attrs.get(ROLE) == BASELINE for trial in new)
        self._looked = len(trials)
        return self._looked - self._baselines

    def _trial(self, live: optuna.Trial) -> Trial:
        self._live[live.number] = live
        is_baseline = live.user_attrs.get(ROLE) == BASELINE
        drawn, task = dict(live.params), self._task
        params = dict(task.baseline or {}) if is_baseline else task.space.complete(drawn)
        return Trial(number=live.number, params=params, searched=drawn, is_baseline=is_baseline)


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
