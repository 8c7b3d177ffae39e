"""The coordinator: what is asked of the sampler is dispatched, judged and told.

Nothing is lost in a crash: a trial that was asked but not told is dispatched again in place, under
its number and with its parameters, and one that was measured but not told is told.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

import optuna
from optuna.trial import TrialState

from tuner.config.load import Config
from tuner.config.quiet import quiet
from tuner.execution.jobs import TICK, CaseDone, Executor, JobDone
from tuner.measure.drift import Drift
from tuner.measure.noise import combine
from tuner.objective import Reference
from tuner.plugin import InputError, Params
from tuner.records import TrialRecord
from tuner.search.cached_storage import Mirror
from tuner.search.record_json import kept_record, records_of, write_record
from tuner.search.repeats import Contenders
from tuner.search.startup_cost import CostError, FixedCosts
from tuner.search.trials import Asked, Asking, Pending, judge

LOADING = "loading the data"
START_UP = "timing what a script takes beside run (start-up, writing)"
BASELINE = "measuring the baseline, the plug-in's reference setting (trial 0)"
SEARCHING = "searching"

PRUNED_IN_A_ROW = 100
"""So many settings that were given up show that none is left that is better."""


class StudyStopped(RuntimeError):
    """The study cannot go on: too many trials in a row did not complete."""


class Observer(Protocol):
    """Hears how the study goes, for progress and for tracking."""

    def trial(self, record: TrialRecord) -> None:
        """Handle a finished trial."""

    def beat(self) -> None:
        """Be called at least twice a second."""

    def phase(self, name: str, detail: str = "") -> None:
        """Show what begins, and how far it is."""


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
        self._asking = Asking(config, study)
        self._storage = storage
        self._executor = executor
        self._observer = observer
        self.should_stop = should_stop
        self._objective = config.objective
        self._contenders = Contenders(self._objective, config.engine.timing.repeats)
        self._pending: dict[int, Pending] = {}
        self._reference: Reference | None = None
        self._idle_failures = 0
        self._pruned = 0
        self.completed = 0
        self.costs = FixedCosts(config, study)
        self.drift = Drift()

    def run(self) -> str:
        """Run until done; return why it ended.

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
        records = records_of(self._study)
        for record in records:
            self._contenders.heard(record)
        self.completed = sum(record.state == "complete" for record in records)
        interrupted = self._recover()
        self._ensure_baseline(records, interrupted)
        self._observer.phase(SEARCHING)
        self._asking.begin_with_defaults()
        for pending in interrupted:
            while not self._has_slot():
                self._step()
            self._dispatch(pending)
        while True:
            if ending := self._ending(until):
                break
            wanted_more = self.completed + len(self._pending) < section.trials
            if self._has_slot() and wanted_more and not self._exhausted():
                self._dispatch(self._asking.ask())
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
        """Whether no setting is left: all enumerated, or for long none worth running to its end."""
        left = self._asking.left()
        return self._pruned >= PRUNED_IN_A_ROW if left is None else left <= 0

    # -- recovering ---------------------------------------------------------------------------

    def _recover(self) -> list[Pending]:
        """Return what was measured before a crash; return what is still to be run."""
        again = []
        running = self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        for trial in running:
            if (record := kept_record(trial)) is not None:
                self._asking.tell(trial.number, record)
                self.completed += record.state == "complete"
            else:
                again.append(self._asking.take_up(trial))
        return again

    # -- the baseline -------------------------------------------------------------------------

    def _ensure_baseline(self, records: list[TrialRecord], interrupted: list[Pending]) -> None:
        params = self._config.plugin.baseline()
        if params is None:
            return
        done = [r for r in records_of(self._study) if r.is_baseline and r.state == "complete"]
        if not done:
            pending = next((p for p in interrupted if p.is_baseline), None)
            if pending is not None:
                interrupted.remove(pending)
            else:
                pending = self._asking.ask_baseline(params)
            loaded = not self.costs.knows(params)  # by the job that times what a script takes
            self._dispatch(pending)
            first = "its first case" if loaded else "loading the data, then its first case"
            self._observer.phase(BASELINE, first)
            while self._pending:
                self._step()
            done = [r for r in records_of(self._study) if r.is_baseline]
            if done[-1].state != "complete":
                if self.should_stop():
                    return
                why = "the baseline did not complete, and every trial is compared with it"
                raise StudyStopped(f"{why}: {done[-1].reason}")
        noise = self._contenders.noise
        self._reference = Reference.of(done[-1].cases, self._objective.primary, noise)
        self.drift = Drift(done[-1])

    # -- one trial ----------------------------------------------------------------------------

    def _ensure_cost(self, params: Params) -> None:
        """Measure what a process with such a setting costs beside ``run``, once a study."""
        while self._pending and not self.costs.knows(params):  # it is timed alone
            self._step()
        if not self.costs.knows(params):
            self._observer.phase(SEARCHING if self._reference else LOADING, START_UP)
        try:
            self.costs.ensure(params, self._executor, self._observer.beat)
        except CostError as error:
            raise StudyStopped(str(error)) from error

    def _dispatch(self, pending: Pending) -> None:
        self._ensure_cost(pending.params(self._config))
        self._pending[pending.number] = pending
        self._storage.settle()
        self._executor.submit(pending.job(self._config))

    def _step(self) -> None:
        """Wait for one event and act on it."""
        event = self._executor.wait(TICK)
        self._observer.beat()
        if isinstance(event, CaseDone):
            self._executor.proceed(event.ticket, not self._prune(event))
        elif isinstance(event, JobDone):
            self._finish(self._pending.pop(event.ticket), event)

    def _prune(self, event: CaseDone) -> bool:
        if self._pending[event.ticket].is_baseline:
            last, done = event.cases[-1], len(event.cases)
            took = f"case '{last.name}' took {last.seconds:.3g} s"
            self._observer.phase(BASELINE, f"case {done + 1} of {event.total}; {took}")
            return False
        live = self._pending[event.ticket].live
        if live is None:
            return False
        params = self._pending[event.ticket].params(self._config)
        cases = tuple(self.costs.charge(case, params) for case in event.cases)
        values = self._objective.values(cases, self._reference)
        with quiet():
            live.report(values[0], step=len(event.cases))
            return bool(live.should_prune())

    def _finish(self, pending: Pending, done: JobDone) -> None:
        if done.bad_input:
            with quiet():
                self._study.tell(pending.number, state=TrialState.FAIL)
            raise InputError(done.reason)
        record = self._judged(pending, done)
        if self._contenders.wants(record, self._reference) and done.state == "complete":
            if not self.should_stop():
                self._dispatch(pending)
                return
        write_record(self._storage, pending.trial_id, record)
        self._asking.tell(pending.number, record)
        self._contenders.heard(record)
        self._observer.trial(record)
        if record.state == "complete":
            self.completed += 1
            self._idle_failures = self._pruned = 0
        elif record.state == "pruned":
            self._pruned += 1
        elif not pending.is_baseline:
            self._idle_failures += 1
            if self._idle_failures >= self._config.engine.study.max_failures:
                raise StudyStopped(
                    f"{self._idle_failures} trials in a row did not complete (study.max_failures), "
                    f"{self.completed} did in all; mend the cause, or narrow search_space, and run "
                    f"the same command again; the last one: {record.reason}"
                )

    def _judged(self, pending: Pending, done: JobDone) -> TrialRecord:
        """Make a trial's record from all its looks; a repeat that fails takes none of them away."""
        cases = done.cases
        if not pending.is_baseline:
            cases = self.drift.correct(cases, done.started)
        params = pending.params(self._config)
        done = replace(done, cases=tuple(self.costs.charge(case, params) for case in cases))
        if not pending.looks or done.state == "complete":
            pending.looks.append(done)
        first = pending.looks[0]
        repeats = zip(*(look.cases for look in pending.looks), strict=True)
        done = replace(first, cases=tuple(map(combine, repeats)), finished=done.finished)
        reference, noise = self._reference, self._contenders.noise
        if pending.is_baseline and done.state == "complete":
            reference = Reference.of(done.cases, self._objective.primary, noise)
        asked = Asked(pending.number, params, pending.searched, pending.is_baseline)
        limit = self._config.engine.limits.case_time
        return judge(asked, done, self._objective, reference, limit, noise)
