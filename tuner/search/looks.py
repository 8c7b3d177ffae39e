"""What has been measured of the trials that are not told yet: a first look each, and repeats."""

from __future__ import annotations

from dataclasses import replace

from tuner.config.objective import Reference
from tuner.config.task import Task
from tuner.execution.jobs import JobDone
from tuner.measure.noise import Noise, combine
from tuner.records import Trial, TrialRecord
from tuner.search.clocks import Clocks
from tuner.search.trials import judge


class Looks:
    """Puts together a trial's record of all that was measured of it.

    Parameters
    ----------
    task : Task
        Of the study.
    clocks : Clocks
        By which times are stated.
    noise : Noise
        What one measurement scatters by, as far as it is known.
    """

    def __init__(self, task: Task, clocks: Clocks, noise: Noise) -> None:
        self._task, self._clocks, self._noise = task, clocks, noise
        self._looks: dict[int, list[JobDone]] = {}

    def __contains__(self, number: int) -> bool:
        """Whether a trial has been measured once at least."""
        return number in self._looks

    def forget(self, number: int) -> None:
        """Forget a trial that is told."""
        del self._looks[number]

    def add(self, trial: Trial, done: JobDone) -> TrialRecord:
        """Take in a look; return the record of all. A repeat that fails takes none of them away."""
        clocks = self._clocks
        if not trial.is_baseline:
            done = replace(done, cases=clocks.of(done).drift.correct(done.cases, done.started))
        stated = replace(done, cases=clocks.stated(done, trial.params))
        looks = self._looks.setdefault(trial.number, [])
        if not looks or done.state == "complete":
            looks.append(stated)
        repeats = zip(*(look.cases for look in looks), strict=True)
        whole = replace(looks[0], cases=tuple(map(combine, repeats)), finished=done.finished)
        reference = clocks.reference_of(whole, self._noise)
        if trial.is_baseline and whole.state == "complete":
            reference = Reference.of(whole.cases, self._task.objective.primary, self._noise)
        return judge(trial, whole, self._task, reference, self._noise)
