"""Times of several hosts: each has a clock of its own, set by a baseline that is measured there.

A score is a ratio of two times, the baseline's and a trial's, and both must be of one host. So the
baseline, and what a script costs beside ``run``, are measured on every host from which a trial
comes back, before that trial is scored. What is kept and told of it is then in the seconds of the
host where the study's baseline, trial 0, was measured: case by case

    seconds = seconds there * (baseline's seconds / baseline's seconds there)

The speed-up is the ratio of the two times that were taken there, and the sampler, the noise and
every table see one clock. Drift is within a host (`tuner.measure.drift`).

There is one clock for all hosts where no time is compared, or where there is no baseline to compare
it by: an executor then takes hosts of one kind alone.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import optuna

from tuner.config.objective import Reference
from tuner.config.task import Task
from tuner.execution.alone import run_alone
from tuner.execution.executor import Executor
from tuner.execution.jobs import (
    CaseDone,
    FixedCostJob,
    JobDone,
    Ticket,
    TrialJob,
)
from tuner.measure.drift import Drift
from tuner.measure.noise import Noise
from tuner.plugin import InputError, Params
from tuner.records import CaseRecord, HostClock, Trial, TrialRecord, baseline_of
from tuner.search.startup_cost import FixedCosts
from tuner.search.stopped import StudyStopped

FIXED_COSTS = "tuner:process_costs"
"""Attribute of a study: its first clock. Further ones have their number behind a colon."""

Place = JobDone | CaseDone | TrialRecord
"""Something that names the host where it was measured."""


@dataclass(eq=False)
class Clock:
    """What the times of one host are compared with.

    Attributes
    ----------
    number : int
        In the order in which hosts turned up.
    host, machine : str
        Where it was set; empty where an earlier version set it.
    costs : FixedCosts
        Of scripts there.
    baseline : sequence of CaseRecord
        The baseline in seconds of this host; empty until it has been measured.
    drift : Drift
        Of this host, since its baseline.
    """

    number: int
    host: str
    machine: str
    costs: FixedCosts
    baseline: Sequence[CaseRecord] = ()
    drift: Drift = field(default_factory=Drift)

    def set(self, baseline: Sequence[CaseRecord]) -> None:
        """Set it by the baseline's cases."""
        self.baseline, self.drift = tuple(baseline), Drift(baseline)

    @property
    def ticket(self) -> int:
        """Ticket of what is measured to set it, one job at a time."""
        return Ticket.CLOCK - self.number


class Clocks:
    """The clocks of a study's hosts, kept with the study.

    Parameters
    ----------
    task : Task
        Of the study.
    study
        The Optuna study, opened for writing.
    """

    def __init__(self, task: Task, study: optuna.Study) -> None:
        self._task, self._study = task, study
        self._apart = task.baseline is not None and task.compares_times
        self._blank = FixedCosts(task, {})
        self._clocks: list[Clock] = []
        for kept in _kept(study):
            costs = FixedCosts(task, kept["seconds"])
            clock = Clock(len(self._clocks), kept.get("host", ""), kept["machine"], costs)
            clock.set([CaseRecord(**case) for case in kept.get("baseline", ())])
            self._clocks.append(clock)
        self._home: Clock | None = None
        self.reference: Reference | None = None

    def of(self, place: Place) -> Clock:
        """Return the clock of the host where something was measured; a new one has no baseline."""
        for clock in self._clocks:
            if not self._apart or _is_of(clock.host, clock.machine, place, self._task.alike):
                return clock
        costs = FixedCosts(self._task, {})
        clock = Clock(len(self._clocks), place.host, place.machine, costs)
        self._clocks.append(clock)
        self._keep(clock)
        return clock

    def begin(self, baseline: TrialRecord, noise: Noise) -> None:
        """Take the study's baseline, trial 0: its seconds are those of the study."""
        self._home = self.of(baseline)
        known = [case.seconds for case in self._home.baseline]
        self._home.set(baseline.cases)
        if known != [case.seconds for case in baseline.cases]:
            self._keep(self._home)
        self.reference = Reference.of(baseline.cases, self._task.objective.primary, noise)

    def knows(self, params: Params) -> bool:
        """Return whether what a script of `params` costs is known on any host."""
        known = [self._blank, *(clock.costs for clock in self._clocks)]
        return any(costs.knows(params) for costs in known)

    def cost_job(self, params: Params) -> FixedCostJob:
        """Return the job that measures what a script of `params` costs, on whatever host."""
        return self._blank.job(params)

    def lacks(
        self, done: Place, params: Params, held_out: bool = False
    ) -> FixedCostJob | TrialJob | None:
        """Return what must be measured on its host before `done` can be stated; None if nothing.

        There may be more after it: `take` how it ended and ask again.
        """
        clock, baseline = self.of(done), self._task.baseline
        if not done.cases:
            return None
        is_set = self._home in (None, clock) or clock.baseline
        wanted = (params, held_out) if is_set or baseline is None else (baseline, False)
        runs = any(case.run_seconds is not None for case in done.cases)
        if runs and not clock.costs.knows(*wanted):
            return clock.costs.job(*wanted, clock.ticket, done.host)
        if is_set or baseline is None:
            return None
        trial = Trial(number=clock.ticket, params=baseline, searched={}, is_baseline=True)
        process = self._task.timing.mode == "process"
        return TrialJob(trial, self._task.seed, process=process, scored=False, host=done.host)

    def take(self, job: FixedCostJob | TrialJob, done: JobDone) -> None:
        """Take in what a job of `lacks` or `cost_job` has measured, and keep it.

        Raises
        ------
        InputError
            Where the plug-in finds its input at fault.
        StudyStopped
            Where the script, or the baseline, fails.
        """
        if done.bad_input:
            raise InputError(done.reason)
        clock = self.of(done)
        if isinstance(job, TrialJob):
            if done.state != "complete":
                raise StudyStopped(
                    f"the baseline did not complete on {done.host}, and every trial there is "
                    "compared with it; mend that host or leave it out, and run the same command "
                    f"again: {done.reason}"
                )
            clock.set([clock.costs.charge(case, job.trial.params) for case in done.cases])
        else:
            clock.costs.take(job, done)
        self._keep(clock)

    def complete(
        self,
        done: Place,
        params: Params,
        executor: Executor,
        beat: Callable[[], None],
        held_out: bool = False,
    ) -> None:
        """Measure all that `done` lacks, on an idle executor; errors as of `take`."""
        while (job := self.lacks(done, params, held_out)) is not None:
            self.take(job, run_alone(executor, job, beat))

    def stated(self, done: Place, params: Params, held_out: bool = False) -> tuple[CaseRecord, ...]:
        """Return cases with the fixed cost of `params`, in the seconds of the study."""
        clock = self.of(done)
        charged = [clock.costs.charge(case, params, held_out) for case in done.cases]
        if self._home in (None, clock) or not clock.baseline:
            return tuple(charged)
        ratios = self._ratios(clock)
        # of a case that is not tuned, such as a held-out one, only the others tell
        usual = math.exp(sum(map(math.log, ratios.values())) / len(ratios))
        return tuple(_times(case, ratios.get(case.name, usual)) for case in charged)

    def reference_of(self, done: Place, noise: Noise) -> Reference | None:
        """Return the reference for what `stated` gives, with the errors of the host's baseline."""
        clock = self.of(done)
        if self.reference is None or clock is self._home or not clock.baseline:
            return self.reference
        errors = {case.name: noise.error(case) for case in clock.baseline}
        return replace(self.reference, errors=errors)

    def _ratios(self, clock: Clock) -> dict[str, float]:
        assert self.reference is not None
        seconds = self.reference.seconds
        return {case.name: seconds[case.name] / case.seconds for case in clock.baseline}

    def _keep(self, clock: Clock) -> None:
        plain = {
            "host": clock.host,
            "machine": clock.machine,
            "seconds": clock.costs.seconds,
            "baseline": [vars(case) | {"metrics": {}} for case in clock.baseline],
        }
        self._study.set_user_attr(_key(clock.number), json.dumps(plain))


def host_clocks(
    study: optuna.Study, records: Sequence[TrialRecord], alike: bool
) -> list[HostClock]:
    """Return the hosts whose baseline was measured, that of trial 0 first.

    Parameters
    ----------
    study
        The Optuna study; reading it is enough.
    records : sequence of TrialRecord
        Its trials.
    alike : bool
        As of `Task`.
    """
    found: list[HostClock] = []
    home = baseline_of(records)
    for kept in _kept(study):
        place = kept.get("host", ""), kept["machine"]
        ran = [record.host for record in records if _is_of(*place, record, alike)]
        names = ", ".join(sorted({place[0], *ran} - {""}))
        seconds = {case["name"]: case["seconds"] for case in kept.get("baseline", ())}
        first = home is not None and _is_of(*place, home, alike)
        if seconds:
            found.insert(0 if first else len(found), HostClock(names, place[1], len(ran), seconds))
    return found


def kept_machine(study: optuna.Study) -> str:
    """Return the kind of machine that a study was first timed on; empty for a new one."""
    return next((str(kept["machine"]) for kept in _kept(study)), "")


def _kept(study: optuna.Study) -> list[Mapping[str, Any]]:
    held = study.user_attrs
    names = itertools.takewhile(held.__contains__, map(_key, itertools.count()))
    return [json.loads(held[name]) for name in names]


def _key(number: int) -> str:
    return f"{FIXED_COSTS}:{number}" if number else FIXED_COSTS


def _is_of(host: str, machine: str, place: Place, alike: bool) -> bool:
    """Whether a clock serves a place; one of an earlier version knows no host."""
    return machine in ("", place.machine) and (alike or host in ("", place.host))


def _times(case: CaseRecord, factor: float) -> CaseRecord:
    """Return a case whose every time is `factor` times as long."""
    run = None if case.run_seconds is None else factor * case.run_seconds
    seconds, cpu_seconds = factor * case.seconds, factor * case.cpu_seconds
    return replace(case, seconds=seconds, cpu_seconds=cpu_seconds, run_seconds=run)
