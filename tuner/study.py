"""The coordinator: asks the sampler, dispatches, tells; the only writer to the Optuna study.

Nothing is lost in a crash: a trial that was asked but not told is dispatched again in place, under
its number and with its parameters, and one that was measured but not told is told.
"""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import optuna
from optuna.distributions import FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState

from tuner.config import Config
from tuner.drift import Drift
from tuner.executors.base import CaseDone, Executor, FixedCostJob, JobDone, TrialJob
from tuner.fixedcost import FixedCosts, kept_costs, wanted
from tuner.mirror import Mirror
from tuner.objective import Objective, Reference
from tuner.plugin import InputError, Params, Value
from tuner.recording import BASELINE, ROLE, kept_record, records_of, write_record
from tuner.records import State, TrialRecord
from tuner.samplers import EXHAUSTIVE, GRID_POINTS, grid
from tuner.space import cardinality, nearest, suggest
from tuner.store import quiet
from tuner.timing import machine
from tuner.verdict import Asked, judge

TICK = 0.5
COSTS_TICKET = -2
STATES: Mapping[State, TrialState] = {
    "complete": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "infeasible": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}
"""Optuna's state for each of ours: an infeasible trial has no value and must not be repeated."""


class StudyStopped(RuntimeError):
    """The study cannot go on: too many trials in a row did not complete."""


class Observer(Protocol):
    """Hears how the study goes, for progress and for tracking."""

    def trial(self, record: TrialRecord) -> None:
        """Hear of a finished trial."""

    def beat(self) -> None:
        """Be called at least twice a second."""


@dataclass(frozen=True)
class _Pending:
    """A trial that was asked and not yet told."""

    number: int
    trial_id: int
    searched: Params
    is_baseline: bool
    live: optuna.Trial | None


class Coordinator:
    """Drives one study to its number of completed trials.

    Parameters
    ----------
    config : Config
        The configuration; its space and objectives are used.
    study, storage
        The Optuna study, opened for writing, and its storage.
    executor : Executor
        Where the trials run.
    observer : Observer
        Told of every trial that ends.
    should_stop : callable
        Asked often; once it says True no further trial is started.
    """

    def __init__(
        self,
        config: Config,
        study: optuna.Study,
        storage: Mirror,
        executor: Executor,
        observer: Observer,
        should_stop: Callable[[], bool],
    ) -> None:
        self._config = config
        self._study = study
        self._storage = storage
        self._executor = executor
        self._observer = observer
        self.should_stop = should_stop
        self._objective = Objective(config.plugin.metrics, config.objectives)
        self._pending: dict[int, _Pending] = {}
        self._reference: Reference | None = None
        self._idle_failures = 0
        self.completed = 0
        self.costs = FixedCosts(machine())
        self.drift = Drift({})

    def run(self) -> str:
        """Run until done; give why it ended.

        Returns
        -------
        str
            ``"complete"``, ``"timeout"``, ``"exhausted"`` (no setting is left) or
            ``"interrupted"``.

        Raises
        ------
        StudyStopped
            Where the baseline fails, or too many trials in a row do.
        InputError
            Where the plug-in finds its input at fault.
        """
        section = self._config.engine.study
        until = time.monotonic() + section.timeout if section.timeout else math.inf
        self._ensure_costs()
        records = records_of(self._study)
        self.completed = sum(record.state == "complete" for record in records)
        interrupted = self._recover()
        self._ensure_baseline(records, interrupted)
        for pending in interrupted:
            while not self._has_slot():
                self._step()
            self._dispatch(pending)
        while True:
            if ending := self._ending(until):
                break
            wanted_more = self.completed + len(self._pending) < section.trials
            if self._has_slot() and wanted_more and not self._exhausted():
                self._dispatch(self._ask())
            else:
                self._step()
        while self._pending:
            self._step()
        return ending

    def _ending(self, until: float) -> str | None:
        if self.should_stop():
            return "interrupted"
        if self.completed >= self._config.engine.study.trials:
            return "complete"
        if time.monotonic() >= until:
            return "timeout"
        if self._exhausted() and not self._pending:
            return "exhausted"
        return None

    def _has_slot(self) -> bool:
        return len(self._pending) < self._executor.slots

    def _exhausted(self) -> bool:
        """Whether a sampler that enumerates has given out its last setting."""
        choice = self._config.engine.study.sampler
        if choice.name not in EXHAUSTIVE:
            return False
        points = choice.options.get("points", GRID_POINTS) if choice.name == "grid" else None
        size = (
            math.prod(map(len, grid(self._config.space, points).values()))
            if points
            else math.prod(map(cardinality, self._config.space.searched.values()))
        )
        trials = self._study.get_trials(deepcopy=False)
        return bool(sum(trial.user_attrs.get(ROLE) != BASELINE for trial in trials) >= size)

    # -- recovering ---------------------------------------------------------------------------

    def _recover(self) -> list[_Pending]:
        """Tell what was measured before a crash; give what is still to be run."""
        again = []
        running = self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        for trial in running:
            if (record := kept_record(trial)) is not None:
                self._tell(trial.number, record)
                self.completed += record.state == "complete"
            else:
                again.append(self._taken_up(trial))
        return again

    def _taken_up(self, trial: FrozenTrial) -> _Pending:
        """Take up a trial that was asked: what it has drawn stays, what it lacks is drawn now."""
        with quiet():
            live = optuna.Trial(self._study, trial._trial_id)
            for name, dist in self._config.space.searched.items():
                suggest(live, name, dist)
        is_baseline = trial.user_attrs.get(ROLE) == BASELINE
        return self._as_pending(trial, live.params, is_baseline, live)

    def _as_pending(
        self, trial: FrozenTrial, searched: Params, is_baseline: bool, live: optuna.Trial | None
    ) -> _Pending:
        # The storage addresses trials by id; Optuna offers no public way from number to id.
        return _Pending(trial.number, trial._trial_id, dict(searched), is_baseline, live)

    # -- the baseline -------------------------------------------------------------------------

    def _ensure_costs(self) -> None:
        """Measure once what a whole process costs beside ``run``; on resuming, read it back."""
        kept = kept_costs(self._study, machine())
        if kept is not None:
            self.costs = kept
            return
        self.costs = FixedCosts(machine())
        if wanted(self._config):
            with tempfile.TemporaryDirectory(prefix=".tuner-", dir=".") as folder:
                self._executor.submit(
                    FixedCostJob(
                        COSTS_TICKET,
                        {**self._config.plugin.defaults(), **self._config.space.fixed},
                        self._config.engine.study.seed,
                        Path(folder).resolve(),
                        self._config.engine.timing.fixed_cost_repeats,
                    )
                )
                while not isinstance(event := self._executor.wait(TICK), JobDone):
                    self._observer.beat()
            if event.bad_input:
                raise InputError(event.reason)
            if event.state != "complete":
                raise StudyStopped(
                    f"the frozen script could not be timed: {event.reason} "
                    "(timing.fixed_cost_repeats: 0 leaves it out)"
                )
            self.costs = FixedCosts(machine(), event.fixed_costs)
        self.costs.keep(self._study)

    def _ensure_baseline(self, records: list[TrialRecord], interrupted: list[_Pending]) -> None:
        params = self._config.plugin.baseline()
        if params is None:
            return
        done = [r for r in records_of(self._study) if r.is_baseline and r.state == "complete"]
        if not done:
            pending = next((p for p in interrupted if p.is_baseline), None)
            if pending is not None:
                interrupted.remove(pending)
            else:
                pending = self._ask_baseline(params)
            self._dispatch(pending)
            while self._pending:
                self._step()
            done = [r for r in records_of(self._study) if r.is_baseline]
            if done[-1].state != "complete":
                if self.should_stop():
                    return
                raise StudyStopped(f"the baseline did not complete: {done[-1].reason}")
        self._reference = Reference.of(done[-1].cases, self._objective.primary)
        self.drift = Drift.since(done[-1].cases)

    def _ask_baseline(self, params: Params) -> _Pending:
        """Enqueue the reference setting as a trial, with what of it the space can express."""
        enumerates = self._config.engine.study.sampler.name in EXHAUSTIVE
        drawn: dict[str, Value] = {}
        for name, dist in self._config.space.searched.items():
            value = params[name]
            expressible = isinstance(dist, FloatDistribution | IntDistribution) and (
                isinstance(value, int | float) and (value > 0 or not dist.log)
            )
            drawn[name] = value if expressible and not enumerates else nearest(value, dist)
        waiting = self._study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
        if not any(trial.user_attrs.get(ROLE) == BASELINE for trial in waiting):
            self._study.enqueue_trial(drawn, user_attrs={ROLE: BASELINE})
            if self._config.engine.study.sampler.name == "brute-force":
                # It would take the baseline's point for visited; the plug-in itself was not there.
                self._study.enqueue_trial(drawn)
        return self._ask()

    # -- one trial ----------------------------------------------------------------------------

    def _ask(self) -> _Pending:
        with quiet():
            trial = self._study.ask(dict(self._config.space.searched))
        is_baseline = trial.user_attrs.get(ROLE) == BASELINE
        return _Pending(trial.number, trial._trial_id, dict(trial.params), is_baseline, trial)

    def _params(self, pending: _Pending) -> Params:
        if pending.is_baseline:
            return dict(self._config.plugin.baseline() or {})
        return self._config.space.complete(pending.searched)

    def _dispatch(self, pending: _Pending) -> None:
        prunes = self._config.engine.study.pruner.name != "nop"
        stepwise = prunes and pending.live is not None and not pending.is_baseline
        self._pending[pending.number] = pending
        self._storage.settle()
        self._executor.submit(
            TrialJob(
                pending.number,
                self._params(pending),
                self._config.engine.study.seed,
                stepwise=stepwise and len(self._config.objectives) == 1,
                limited=not pending.is_baseline,
                process=self._config.engine.timing.mode == "process",
                baseline=pending.is_baseline,
            )
        )

    def _step(self) -> None:
        """Wait for one event and act on it."""
        event = self._executor.wait(TICK)
        self._observer.beat()
        if isinstance(event, CaseDone):
            self._executor.proceed(event.ticket, not self._prune(event))
        elif isinstance(event, JobDone):
            self._finish(self._pending.pop(event.ticket), event)

    def _prune(self, event: CaseDone) -> bool:
        live = self._pending[event.ticket].live
        if live is None:
            return False
        cases = tuple(map(self.costs.charge, event.cases))
        values = self._objective.values(cases, self._reference)
        with quiet():
            live.report(values[0], step=len(event.cases))
            return bool(live.should_prune())

    def _finish(self, pending: _Pending, done: JobDone) -> None:
        if done.bad_input:
            with quiet():
                self._study.tell(pending.number, state=TrialState.FAIL)
            raise InputError(done.reason)
        cases = done.cases
        if not pending.is_baseline:
            cases = tuple(map(self.drift.correct, cases))
        cases = tuple(map(self.costs.charge, cases))
        reference = self._reference
        if pending.is_baseline and done.state == "complete":
            reference = Reference.of(cases, self._objective.primary)
        asked = Asked(pending.number, self._params(pending), pending.searched, pending.is_baseline)
        limit = self._config.engine.limits.case_time
        record = judge(asked, replace(done, cases=cases), self._objective, reference, limit)
        write_record(self._storage, pending.trial_id, record)
        self._tell(pending.number, record)
        self._observer.trial(record)
        if record.state == "complete":
            self.completed += 1
            self._idle_failures = 0
        elif not pending.is_baseline:
            self._idle_failures += 1
            if self._idle_failures >= self._config.engine.study.max_failures:
                raise StudyStopped(
                    f"{self._idle_failures} trials in a row did not complete "
                    f"(study.max_failures); the last one: {record.reason}"
                )

    def _tell(self, number: int, record: TrialRecord) -> None:
        values = list(record.values) or None
        with quiet():
            try:
                self._study.tell(number, values, state=STATES[record.state])
            except RuntimeError:
                # Samplers that enumerate stop the study after their last setting, which Optuna
                # allows inside of its own loop only; the trial itself has been told.
                if self._config.engine.study.sampler.name not in EXHAUSTIVE:
                    raise
                if not self._study.get_trials(deepcopy=False)[number].state.is_finished():
                    raise
