"""What is asked of the sampler, what it is asked first, and what it is told.

With the coordinator, which alone holds one, the only writer to the Optuna study.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import optuna
from optuna.trial import FrozenTrial, TrialState

from tuner.config.load import Config
from tuner.config.quiet import quiet
from tuner.config.samplers import EXHAUSTIVE, settings_in_all
from tuner.config.space import suggest
from tuner.execution.jobs import JobDone, TrialJob
from tuner.measure.noise import Noise
from tuner.objective import Objective, Reference
from tuner.plugin import Params
from tuner.records import State, TrialRecord
from tuner.search.record_json import BASELINE, ROLE

STATES: Mapping[State, TrialState] = {
    "complete": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "infeasible": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}
"""Optuna's state for each of ours: an infeasible trial has no value and must not be repeated."""


class Asking:
    """The sampler of one study, as the coordinator sees it.

    Parameters
    ----------
    config : Config
        The configuration; its space, plug-in and sampler are used.
    study
        The Optuna study, opened for writing.
    """

    def __init__(self, config: Config, study: optuna.Study) -> None:
        self._config = config
        self._study = study
        self._sampler = config.engine.study.sampler.name

    def ask(self) -> Pending:
        """Return the next trial to run: what is enqueued, else what the sampler suggests."""
        with quiet():
            trial = self._study.ask(dict(self._config.space.searched))
        return _pending(trial)

    def take_up(self, trial: FrozenTrial) -> Pending:
        """Take up a trial that was asked: what it has drawn stays, what it lacks is drawn now."""
        with quiet():
            live = optuna.Trial(self._study, trial._trial_id)
            for name, dist in self._config.space.searched.items():
                suggest(live, name, dist)
        return _pending(live)

    def ask_baseline(self, params: Params) -> Pending:
        """Enqueue the reference setting as a trial, with what of it the space can express."""
        space = self._config.space
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
        drawn = self._config.space.defaults_of(self._config.plugin)
        if drawn and not self._asked() and self._sampler not in EXHAUSTIVE:
            self._study.enqueue_trial(drawn)

    def left(self) -> int | None:
        """Return how many settings were never asked; None where they can't be counted."""
        size = settings_in_all(self._config.engine.study.sampler, self._config.space)
        return None if size is None else size - self._asked()

    def tell(self, number: int, record: TrialRecord) -> None:
        """Return how a trial ended."""
        values = list(record.values) or None
        with quiet():
            try:
                self._study.tell(number, values, state=STATES[record.state])
            except RuntimeError:
                # Samplers that enumerate stop the study after their last setting, which Optuna
                # allows inside of its own loop only; the trial itself has been told.
                if self._sampler not in EXHAUSTIVE:
                    raise
                if not self._study.get_trials(deepcopy=False)[number].state.is_finished():
                    raise

    def _asked(self) -> int:
        """Count the trials beside the baseline."""
        trials = self._study.get_trials(deepcopy=False)
        return sum(trial.user_attrs.get(ROLE) != BASELINE for trial in trials)


def _pending(trial: optuna.Trial) -> Pending:
    # The storage addresses trials by id; Optuna offers no public way from number to id.
    is_baseline = trial.user_attrs.get(ROLE) == BASELINE
    return Pending(trial.number, trial._trial_id, dict(trial.params), is_baseline, trial)


@dataclass(frozen=True)
class Pending:
    """A trial under way.

    Attributes
    ----------
    number, trial_id : int
        Optuna's.
    searched : mapping
        What the sampler drew.
    live : Trial or None
        What intermediate values are reported to.
    looks : list of JobDone
        What has been measured of it, the first with its metrics; times corrected.
    """

    number: int
    trial_id: int
    searched: Params
    is_baseline: bool
    live: optuna.Trial | None
    looks: list[JobDone] = field(default_factory=list)

    def params(self, config: Config) -> Params:
        """Return every parameter: of the baseline those that the plug-in itself names."""
        if self.is_baseline:
            return dict(config.plugin.baseline() or {})
        return config.space.complete(self.searched)

    def job(self, config: Config) -> TrialJob:
        """Return the job that measures it, for the first time or once more."""
        engine = config.engine
        prunes = engine.study.pruner.name != "nop" and len(config.objectives) == 1
        first = not self.looks
        return TrialJob(
            self.number,
            self.params(config),
            engine.study.seed,
            # the baseline is slow: it tells of each case, for the user to see how far it is
            stepwise=first and (self.is_baseline or (prunes and self.live is not None)),
            limited=not self.is_baseline,
            process=engine.timing.mode == "process",
            baseline=self.is_baseline,
            scored=first,
        )


@dataclass(frozen=True)
class Asked:
    """What a trial was asked to run; the fields are those of its record."""

    number: int
    params: Params
    searched: Params
    is_baseline: bool


def judge(
    asked: Asked,
    done: JobDone,
    objective: Objective,
    reference: Reference | None,
    limit: float,
    noise: Noise,
) -> TrialRecord:
    """Make a trial's record.

    Parameters
    ----------
    done : JobDone
        Its cases' times are what enters the score.
    reference : Reference or None
        The baseline; its own cases for the baseline itself.
    limit : float
        Seconds that one case may take; over it the trial is infeasible, a baseline excepted.
    noise : Noise
        What one measurement scatters by.
    """
    record = TrialRecord(
        number=asked.number,
        state=done.state,
        params=asked.params,
        searched=asked.searched,
        cases=done.cases,
        metrics={},
        values=(),
        started=done.started,
        finished=done.finished,
        reason=done.reason,
        is_baseline=asked.is_baseline,
    )
    for case in done.cases:
        took = case.run_seconds or case.seconds
        if took > limit and not asked.is_baseline:
            reason = f"case '{case.name}' took {took:.1f} s; limit {limit:g} s"
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
