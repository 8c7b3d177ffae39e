"""One plug-in with its cases loaded: runs jobs, with what is timed on the clock.

It knows neither Optuna nor MLflow, nor who asks it.
"""

from __future__ import annotations

import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from tuner.execution.folders import working_folder
from tuner.execution.jobs import (
    FixedCostJob,
    FreezeJob,
    Job,
    JobDone,
    PresentJob,
    Setup,
    TimeJob,
    TrialJob,
    now,
)
from tuner.execution.text import described
from tuner.export.bundle import write_script
from tuner.measure.cores import Cores
from tuner.measure.luck import compare
from tuner.measure.stopwatch import Timed, anchor, spare_imports, timed, timed_process
from tuner.plugin import Case, Cases, InputError, Params, Plugin, Provenance, Result
from tuner.plugin.registry import plugin_class
from tuner.records import CaseRecord, Null

AGAIN, CHEAP = 1, 5.0
"""How often a disturbed measurement is repeated, and up to how many seconds it may take."""

FRESH = 0.1
"""Seconds for which a measurement of the machine's speed stands."""

PRESENTING = ("figures", "tables", "files", "null_metrics", "findings")
"""Verbs of a plug-in that look at what the chosen setting gives."""

Notify = Callable[[str], None]
"""Reports to the watcher of time which phase begins: one of `tuner.execution.limits.PHASES`."""


class Bench:
    """One plug-in with its cases loaded, ready to run jobs."""

    def __init__(self, setup: Setup, notify: Notify = lambda phase: None) -> None:
        notify("load")
        cls = plugin_class(setup.plugin)
        self._plugin: Plugin[Any] = cls(cls.Config.model_validate(setup.sections))
        self._cases: Cases = self._plugin.load()
        if not self._cases.tuned:
            raise InputError(
                f"plug-in '{setup.plugin}' found no case to tune on; give one at least"
            )
        self._notify = notify
        self._beat, self._beaten = 0.0, -FRESH
        self._cores = Cores(Path(setup.locks) if setup.locks else None, setup.threads)
        self._modules = spare_imports(0)

    @property
    def names(self) -> list[str]:
        """Names of the tuned cases."""
        return [case.name for case in self._cases.tuned]

    def measure(
        self, case: Case, params: Params, seed: int, scored: bool = True, again: int = AGAIN
    ) -> Result:
        """Run one case on the clock and score it off the clock."""
        self._warm_up(params)
        call = partial(self._plugin.run, case, params, seed)
        watch, beat = self._clock(lambda: timed(call), again)
        own, cpu, crowded = watch.own_seconds, watch.cpu_seconds, watch.crowded
        if not scored:
            return Result(case, params, None, {}, own, cpu, anchor=beat, crowded=crowded)
        self._notify("score")
        metrics = {name: float(v) for name, v in self._plugin.score(case, watch.output).items()}
        if missing := set(self._plugin.metrics) - set(metrics):
            raise ValueError(f"plug-in '{self._plugin.name}' gave no metric {sorted(missing)}")
        return Result(case, params, watch.output, metrics, own, cpu, anchor=beat, crowded=crowded)

    def _warm_up(self, params: Params) -> None:
        self._notify("load")
        self._plugin.warm_up(params)
        self._modules = spare_imports(self._modules)

    def _clock(self, measure: Callable[[], Timed], again: int = AGAIN) -> tuple[Timed, float]:
        """Measure on cores of our own; again where others got in the way, if that is cheap.

        Returns what was measured, and the anchor kernel's seconds beside it.
        """
        self._notify("wait")
        with self._cores.reserve():
            before = self._beat if time.monotonic() < self._beaten + FRESH else anchor()
            self._notify("run")
            found = measure()
            for _ in range(again):
                if not found.disturbed or found.seconds > CHEAP:
                    break
                self._notify("run")
                found = min(found, measure(), key=lambda watch: watch.waited / watch.seconds)
            self._beat, self._beaten = anchor(), time.monotonic()
            return found, (before + self._beat) / 2

    @contextmanager
    def _stopwatch(
        self, params: Params, seed: int, baseline: bool, again: int
    ) -> Iterator[Callable[[Case], CaseRecord]]:
        """Freeze params, or the baseline's own script; return what times it on a case.

        Where the plug-in gives no command for a case, `run` is timed.
        """
        with working_folder() as folder:
            script = folder / "script.py"
            self._notify("freeze")
            if baseline:
                write_script(script, self._plugin.freeze_baseline)
            else:
                here = Provenance("timing")
                write_script(script, lambda path: self._plugin.freeze(params, path, here))

            def time_case(case: Case) -> CaseRecord:
                place = Path(tempfile.mkdtemp(dir=folder))
                output = place / "output"
                command = self._plugin.command(case, script, output)
                if command is None:
                    self._warm_up(params)

                def measure() -> Timed:
                    output.unlink(missing_ok=True)
                    if command is not None:
                        return timed_process(command)
                    return timed(lambda: self._plugin.run(case, params, seed))

                watch, beat = self._clock(measure, again)
                shutil.rmtree(place)
                own, cpu = watch.own_seconds, watch.cpu_seconds
                part = own if command is None else None
                return CaseRecord(case.name, {}, own, cpu, part, beat, watch.crowded)

            yield time_case

    def time(self, job: TimeJob) -> JobDone:
        """Time a setting, or the baseline, on the tuned or the held-out cases; score nothing."""
        started = now()
        cases = self._cases.held_out if job.held_out else self._cases.tuned
        # A race knows who was crowded, and measures the others again sooner than these.
        with self._stopwatch(job.params, job.seed, job.baseline, again=0) as time_case:
            records = tuple(time_case(case) for case in cases)
        return JobDone(job.ticket, "complete", started, now(), records)

    def trial(self, job: TrialJob, ask: Callable[[Sequence[CaseRecord]], bool]) -> JobDone:
        """Run the tuned cases; between cases `ask` says whether to go on."""
        started, records = now(), list[CaseRecord]()
        params, again = job.trial.params, AGAIN * job.timed
        with ExitStack() as stack:
            time_case = None
            if job.process:
                watch = self._stopwatch(params, job.seed, job.trial.is_baseline, AGAIN)
                time_case = stack.enter_context(watch)
            for case in self._cases.tuned:
                if records and job.stepwise and not ask(records):
                    reason = f"pruned after case '{records[-1].name}'"
                    return JobDone(job.ticket, "pruned", started, now(), tuple(records), reason)
                if time_case is not None and not job.scored:
                    records.append(time_case(case))
                    continue
                record = _record(self.measure(case, params, job.seed, job.scored, again))
                if time_case is not None:
                    record = replace(time_case(case), metrics=record.metrics)
                records.append(record)
        return JobDone(job.ticket, "complete", started, now(), tuple(records))

    def freeze(self, job: FreezeJob) -> JobDone:
        """Write the script of some params."""
        started = now()
        self._notify("freeze")
        write_script(job.path, lambda path: self._plugin.freeze(job.params, path, job.provenance))
        return JobDone(job.ticket, "complete", started, now())

    def fixed_costs(self, job: FixedCostJob) -> JobDone:
        """Time what a whole process takes beside ``run``: median of paired differences."""
        started, costs = now(), dict[str, float]()
        with working_folder() as folder:
            script, here = folder / "script.py", Provenance("fixed cost")
            self._notify("freeze")
            write_script(script, lambda path: self._plugin.freeze(job.params, path, here))
            for case in self._cases.held_out if job.held_out else self._cases.tuned:
                place = Path(tempfile.mkdtemp(dir=folder))
                output = place / "output"
                command = self._plugin.command(case, script, output)
                if command is None:
                    return JobDone(job.ticket, "complete", started, now())
                differences = []
                for repeat in range(job.repeats + 1):
                    output.unlink(missing_ok=True)
                    self._notify("wait")
                    with self._cores.reserve():
                        self._notify("run")
                        whole = timed_process(command)
                        part = timed(partial(self._plugin.run, case, job.params, job.seed))
                    if repeat:  # the first pair fills caches: of files, of compiled kernels
                        differences.append(whole.own_seconds - part.own_seconds)
                costs[case.name] = max(0.0, statistics.median(differences))
                shutil.rmtree(place)
        return JobDone(job.ticket, "complete", started, now(), fixed_costs=costs)

    def present(self, job: PresentJob, tell: Notify) -> JobDone:
        """Run the chosen setting on all cases; write its figures, tables and files."""
        started = now()
        looked_at = self._cases.tuned if self._offers(*PRESENTING) else ()
        held_out: list[Result] = []
        if looked_at:
            tell("running the chosen setting on every tuned case")
        tuned = [self.measure(case, job.params, job.seed) for case in looked_at]
        for case in self._cases.held_out:
            tell(f"running the chosen setting on held-out case '{case.name}'")
            held_out.append(self.measure(case, job.params, job.seed))
        results = [*tuned, *(replace(result, held_out=True) for result in held_out)]
        beside = []
        if job.baseline is not None:
            for number, case in enumerate(self._cases.held_out, 1):
                tell(f"running the baseline on held-out cases ({number} of {len(held_out)})")
                beside.append(_record(self.measure(case, job.baseline, job.seed)))
        self._notify("figures")
        tell("drawing figures and making tables")
        job.folder.mkdir(parents=True, exist_ok=True)
        for name, figure in self._plugin.figures(results).items():
            figure.savefig(job.folder / f"{name}.png", dpi=150, bbox_inches="tight")
        self._notify("tables")
        for name, table in self._plugin.tables(results).items():
            table.to_csv(job.folder / f"{name}.csv", index=False)
        self._plugin.files(results, job.folder)
        if job.nulls and self._offers("null_metrics"):
            tell(f"drawing the null, what luck alone gives ({job.nulls} draws a case)")
        nulls = tuple(null for result in results for null in self._null(result, job))
        self._notify("findings")
        found, held = tuple(self._plugin.findings(results)), tuple(map(_record, held_out))
        done = JobDone(job.ticket, "complete", started, now(), tuple(map(_record, tuned)))
        return replace(done, nulls=nulls, findings=found, held_out=held, held_out_baseline=beside)

    def _offers(self, *verbs: str) -> bool:
        """Return whether the plug-in has any of these optional verbs."""
        return any(getattr(type(self._plugin), verb) is not getattr(Plugin, verb) for verb in verbs)

    def _null(self, result: Result, job: PresentJob) -> Iterator[Null]:
        """Return a result's null, where the plug-in has one."""
        draws: Sequence[float] = ()
        if job.nulls:
            self._notify("null")
            draws = self._plugin.null_metrics(result.case, result.output, job.seed, job.nulls)
        if len(draws):
            name = self._plugin.primary
            metric, direction = result.metrics[name], self._plugin.metrics[name]
            yield compare(result.case.name, metric, draws, direction, result.held_out)

    def run(
        self,
        job: Job,
        ask: Callable[[Sequence[CaseRecord]], bool],
        tell: Notify = lambda phase: None,
    ) -> JobDone:
        """Run any job; what the plug-in raises makes it a failed one, with the traceback's end.

        `tell` is called with what a long job does, in words for the user.
        """
        started = now()
        try:
            match job:
                case TrialJob():
                    return self.trial(job, ask)
                case TimeJob():
                    return self.time(job)
                case PresentJob():
                    return self.present(job, tell)
                case FixedCostJob():
                    return self.fixed_costs(job)
                case FreezeJob():
                    return self.freeze(job)
        except InputError as error:
            return JobDone(job.ticket, "failed", started, now(), (), str(error), bad_input=True)
        except MemoryError as error:
            reason = f"out of memory: {error}" if str(error) else "out of memory"
            return JobDone(job.ticket, "infeasible", started, now(), (), reason)
        except Exception as error:  # noqa: BLE001 - a plug-in may raise anything; it is reported
            return JobDone(job.ticket, "failed", started, now(), (), described(error))


def _record(result: Result) -> CaseRecord:
    own, cpu, metrics = result.seconds, result.cpu_seconds, dict(result.metrics)
    return CaseRecord(result.case.name, metrics, own, cpu, own, result.anchor, result.crowded)
