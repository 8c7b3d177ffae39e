"""The coordinator: what is asked of the sampler is dispatched, judged and told.

Nothing is lost in a crash: a trial that was asked but not told is dispatched again in place, under
its number and with its parameters, and one that was measured but not told is told.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import optuna
from optuna.trial import TrialState

from tuner.config.quiet import quiet
from tuner.config.task import Task
from tuner.execution.alone import TICK, run_alone
from tuner.execution.executor import Executor
from tuner.execution.jobs import CaseDone, JobDone, TrialJob
from tuner.plugin import InputError, Params
from tuner.records import Trial, TrialRecord
from tuner.search.cached_storage import Mirror
from tuner.search.clocks import Clocks
from tuner.search.held import SEARCHING, Held
from tuner.search.looks import Looks
from tuner.search.observer import Observer
from tuner.search.record_json import kept_record, records_of, write_record
from tuner.search.repeats import Contenders
from tuner.search.stopped import StudyStopped
from tuner.search.trials import AskTell

LOADING = "loading the data"
START_UP = "timing what a script takes beside run (start-up, writing)"
BASELINE = "measuring the baseline, the plug-in's reference setting (trial 0)"


class Coordinator:
    """Drives one study to its number of completed trials.

    Parameters
    ----------
    task : Task
        What is searched, and within what bounds.
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
        task: Task,
        study: optuna.Study,
        storage: Mirror,
        executor: Executor,
        observer: Observer,
        should_stop: Callable[[], bool],
    ) -> None:
        self._task = task
        self._study = study
        self._asking = AskTell(task, study)
        self._storage = storage
        self.executor = executor
        self._observer = observer
        self.should_stop = should_stop
        self._contenders = Contenders(task.objective, task.timing.repeats)
        self._pending: dict[int, Trial] = {}
        self._told: list[TrialRecord] = []
        self._is_second = False
        self._idle_failures = self.completed = 0
        self.clocks = Clocks(task, study)
        self._held = Held(self.clocks, observer)
        self._looks = Looks(task, self.clocks, self._contenders.noise)

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
        try:
            with quiet():
                return self._run()
        finally:
            self._settle()

    def _run(self) -> str:
        section = self._task.study
        until = time.monotonic() + section.timeout if section.timeout else math.inf
        records = records_of(self._study)
        for record in records:
            self._contenders.heard(record)
        self.completed = sum(record.state == "complete" for record in records)
        interrupted = self._recover()
        self._ensure_baseline(interrupted)
        self._observer.phase(SEARCHING)
        if self.completed + len(self._asking.waiting()) < section.trials:
            self._asking.begin_with_defaults()
        for trial in interrupted:
            while not self._has_slot():
                self._step()
            self._dispatch(trial)
        while True:
            if ending := self._ending(until):
                break
            under_way = len(self._pending) + self._held.trials
            wanted_more = self.completed + under_way < section.trials
            if self._has_slot() and self._asking.has_next(wanted_more):
                self._storage.hold()  # how an enqueued trial begins, and ends, is written at once
                if (refused := self._asking.refused()) is not None:
                    self._keep(refused)
                else:
                    self._dispatch(self._asking.ask())
            else:
                self._step()
        while self._is_busy():
            self._step()
        return "interrupted" if self._held else ending

    def _is_busy(self) -> bool:
        """Whether jobs are to be waited for: what is held is left open once it is to end."""
        return bool(self._pending) or (bool(self._held) and not self.should_stop())

    def _ending(self, until: float) -> str | None:
        if self.should_stop():
            return "interrupted"
        if time.monotonic() >= until:
            return "timeout"
        is_full = self.completed >= self._task.study.trials
        if is_full or (self._asking.exhausted() and not self._is_busy()):
            self._storage.look()  # what is enqueued is run, whatever else there is
            if not self._asking.waiting():
                return "complete" if is_full else "exhausted"
        return None

    def _has_slot(self) -> bool:
        return len(self._pending) + len(self._held) < self.executor.slots

    def _recover(self) -> list[Trial]:
        """Return what is still to be run; what was measured before a crash is told."""
        again = []
        for trial in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if (record := kept_record(trial)) is not None:
                self._announce(record)
            else:
                again.append(self._asking.take_up(trial))
        return again

    def _ensure_baseline(self, interrupted: list[Trial]) -> None:
        params = self._task.baseline
        if params is None:
            return
        done = [r for r in records_of(self._study) if r.is_baseline and r.state == "complete"]
        if not done:
            trial = next((trial for trial in interrupted if trial.is_baseline), None)
            if trial is not None:
                interrupted.remove(trial)
            else:
                trial = self._asking.ask_baseline()
            loaded = not self.clocks.knows(params)  # by the job that times what a script takes
            self._dispatch(trial)
            first = "its first case" if loaded else "loading the data, then its first case"
            self._observer.phase(BASELINE, first)
            while self._is_busy():
                self._step()
            done = [r for r in records_of(self._study) if r.is_baseline]
            if not done or done[-1].state != "complete":
                if self.should_stop():
                    return
                why = "the baseline did not complete, and every trial is compared with it"
                raise StudyStopped(f"{why}; the same command tries again: {done[-1].reason}")
        self.clocks.begin(done[-1], self._contenders.noise)

    def _ensure_cost(self, params: Params) -> None:
        """Measure what a process with such a setting costs beside ``run``, where none is known."""
        while (self._pending or self._held) and not self.clocks.knows(params):  # timed alone
            self._step()
        if self.clocks.knows(params):
            return
        self._settle()  # it takes a while
        self._observer.phase(SEARCHING if self.clocks.reference else LOADING, START_UP)
        job = self.clocks.cost_job(params)
        self.clocks.take(job, run_alone(self.executor, job, self._observer.beat))

    def _dispatch(self, trial: Trial) -> None:
        self._ensure_cost(trial.params)
        self._storage.settle()
        trial = self._asking.renumbered(trial, self._storage.number_of(trial.number))
        self._pending[trial.number] = trial
        first = trial.number not in self._looks
        job = TrialJob(
            trial,
            self._task.seed,
            # the baseline is slow: it tells of each case, for the user to see how far it is
            stepwise=first and (trial.is_baseline or self._task.prunes),
            process=self._task.timing.mode == "process",
            scored=first,
            timed=self._task.compares_times,
        )
        self.executor.submit(job)

    def _settle(self) -> None:
        """Write how trials ended, where no new one has come to be written with it; then say so."""
        self._storage.settle()
        told, self._told = self._told, []
        for record in told:
            self._observer.trial(record)

    def _step(self) -> None:
        """Wait for one event and act on it."""
        self._settle()
        event = self.executor.wait(TICK)
        self._observer.beat()
        if isinstance(event, CaseDone):
            self.executor.proceed(event.ticket, not self._prune(event))
        elif isinstance(event, JobDone) and event.ticket in self._held:
            for trial, done in self._held.release(event):
                if done is not None:
                    self._finish(trial, done, again=False)
                else:
                    self._dispatch(trial)
        elif isinstance(event, JobDone):
            self._finish(self._pending.pop(event.ticket), event)

    def _prune(self, event: CaseDone) -> bool:
        trial = self._pending[event.ticket]
        if trial.is_baseline:
            last, done = event.cases[-1], len(event.cases)
            took = f"case '{last.name}' took {last.seconds:.3g} s"
            self._observer.phase(BASELINE, f"case {done + 1} of {event.total}; {took}")
            return False
        if self.clocks.lacks(event, trial.params) is not None:
            return False  # nothing is known yet of the host
        cases = self.clocks.stated(event, trial.params)
        value = self._task.objective.values(cases, self.clocks.reference)[0]
        return self._asking.should_prune(trial, value, step=len(event.cases))

    def _finish(self, trial: Trial, done: JobDone, again: bool = True) -> None:
        """Report how a trial ended, unless timed again, or held; `again`: its slot is free."""
        if done.bad_input:
            self._asking.tell_failed(trial)
            raise InputError(done.reason)
        if done.died and trial.is_baseline and not self._is_second and not self.should_stop():
            self._is_second = True  # who killed it is not known; a study is not to end by it
            self._observer.phase("measuring the baseline once more", done.outcome)
            self._dispatch(trial)
            return
        if (job := self.clocks.lacks(done, trial.params)) is not None:
            if job.ticket in self._held or not self.should_stop():  # else open, as after a crash
                self._settle()
                self._held.hold(trial, done, job, self.executor)
            return
        record = self._looks.add(trial, done)
        if self._contenders.wants(record, self.clocks.reference) and done.state == "complete":
            if again and not self.should_stop():
                self._dispatch(trial)
                return
        self._looks.forget(trial.number)
        self._keep(record)
        if record.state == "complete":
            self._idle_failures = 0
        elif record.state != "pruned" and not trial.is_baseline:
            self._idle_failures += 1
            if self._idle_failures >= self._task.study.max_failures:
                raise StudyStopped(
                    f"{self._idle_failures} trials in a row did not complete (study.max_failures), "
                    f"{self.completed} did in all; mend the cause, or narrow search_space, and run "
                    f"the same command again; the last one: {record.reason}"
                )

    def _keep(self, record: TrialRecord) -> None:
        self._storage.hold()
        write_record(self._storage, record)
        self._announce(record)

    def _announce(self, record: TrialRecord) -> None:
        """Pass a record to the sampler and, once it is written, to all that follow the trials."""
        self._asking.tell(record)
        self._contenders.heard(record)
        self._told.append(record)
        self.completed += record.state == "complete"
