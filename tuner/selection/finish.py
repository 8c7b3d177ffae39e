"""What follows the trials: time the best again, present, freeze."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna

from tuner.config.load import Config
from tuner.config.objective import Objective, Reference
from tuner.config.task import Task
from tuner.execution.alone import run_alone
from tuner.execution.jobs import FreezeJob, JobDone, PresentJob
from tuner.export.bundle import write_script
from tuner.export.ownership import Owner, claim_script
from tuner.export.provenance import stamp, versions
from tuner.measure.noise import combine
from tuner.plugin import InputError, Params, Provenance, Tried
from tuner.records import CaseRecord, Final, Summary, TrialRecord
from tuner.search.changes import LONGEST
from tuner.search.loop import Coordinator
from tuner.search.observer import Progress
from tuner.search.record_json import records_of
from tuner.search.stopped import StudyStopped
from tuner.selection.finalists import Referee, kept_final
from tuner.selection.made_plots import remember_made, remove_made
from tuner.selection.measured import measured_baseline, measured_trial
from tuner.selection.picking import picked_number, picked_within
from tuner.selection.results import plain_case
from tuner.selection.smoothing import smoothed_best

HELD_OUT = "tuner:held_out"

NEEDED = ("trial", "what", "baseline", "clock")
"""Of what is kept, what saves the baseline's measurement; the rest saves a look."""

HELD_OUT_LOOKS = 7
QUICK = 5.0
"""How often a script is timed on the held-out cases, and after how many seconds no more."""


class Finish:
    """What follows the trials of a study, in this order: `choose`, then `present`.

    Parameters
    ----------
    task : Task
        Of the study.
    study
        The Optuna study, opened for writing.
    coordinator : Coordinator
        Of the search that has ended.
    progress : Progress
        Told what begins.
    """

    def __init__(
        self, task: Task, study: optuna.Study, coordinator: Coordinator, progress: Progress
    ) -> None:
        self._task = task
        self._study = study
        self._coordinator = coordinator
        self._progress = progress
        self._referee = Referee(task, coordinator, progress)
        self._phase = ""

    def choose(self, summary: Summary) -> tuple[Summary, str]:
        """Time the best trials again and choose what is frozen; why, where it is not the best."""
        records, best = records_of(self._study), summary.best
        assert best is not None
        final = kept_final(self._study, records) or self._referee.final_word(records, self._study)
        if final is not None:
            best = final.first_of(records)
        chosen, reason = select(self._task, records, best, final)
        notes = list(summary.notes)
        if reason:
            other = f", not {best.number}" if chosen.number != best.number else ""
            notes.append(f"trial {chosen.number} is frozen{other}: {reason}")
        elif len(self._task.objective.objectives) > 1:
            objective = self._task.objective
            first, way = next(iter(objective.objectives.items()))
            bound = f"{{{first}: '{'>=' if way == 'maximize' else '<='} ...'}}"
            notes.append(
                f"trial {chosen.number} is frozen: of several objectives "
                f"{objective.ranked_by(records)[0]} decides; export.select takes a trial's number, "
                f"or bounds such as {bound}"
            )
        summary = replace(summary, best=chosen, final=final, notes=notes)
        return state_final(summary, self._task.objective), reason

    def present(self, summary: Summary, folder: Path) -> Summary:
        """Draw the study and the chosen trial; score it on the held-out cases, once."""
        from tuner.report import figures  # a second of imports, which only this needs

        assert summary.best is not None
        params, own, plots = summary.best.params, self._task.baseline, folder / "plots"
        scripts = summary.final is not None and summary.final.what == "process"
        what = "process" if scripts and summary.best.estimate else "run"  # as the tuned cases are
        kept = json.loads(self._study.user_attrs.get(HELD_OUT, "{}"))
        known = (kept.get("trial"), kept.get("what", "run")) == (summary.best.number, what)
        others = remove_made(plots)
        self._draw(summary, plots)
        done = self._presented(params, plots, None if known else own)
        clock = self._coordinator.clocks.of(done).number
        if known and own and clock != kept.get("clock", clock):  # the baseline's is of another host
            known, done = False, self._presented(params, plots, own)
        if done.nulls:
            figures.null_rows(done.nulls).to_csv(plots / "nulls.csv", index=False)
        remember_made(plots, others)
        if done.state != "complete":
            at = f" ({self._phase})" if self._phase else ""
            said = f"the best setting could not be presented{at}: {done.reason}"
            return replace(summary, artifacts=folder, unpresented=said)
        cases = self._held_out(done, params, what)
        if known:
            reference = [CaseRecord(**case) for case in kept["baseline"]]
        else:
            reference = self._held_out(done, own or {}, what, baseline=True)
            plain = [plain_case(case) for case in reference]
            kept = {"trial": summary.best.number, "what": what, "baseline": plain, "clock": clock}
        objective = self._task.objective
        against = Reference.of(reference, objective.primary) if reference else None
        held_out = [objective.annotate(case, against) for case in cases]
        self._keep({**kept, "held_out": held_out, "nulls": done.nulls})
        return replace(
            summary,
            artifacts=folder,
            held_out=held_out,
            held_out_baseline=reference,
            nulls=done.nulls,
            findings=done.findings,
        )

    def _presented(self, params: Params, plots: Path, beside: Params | None) -> JobDone:
        job = PresentJob(params, self._task.seed, plots, beside, self._task.timing.nulls)
        executor, progress, self._phase = self._coordinator.executor, self._progress, ""

        def begun(phase: str) -> None:
            self._phase = phase
            progress.phase(phase)

        return run_alone(executor, job, progress.beat, begun)

    def _keep(self, found: Mapping[str, Any]) -> None:
        """Keep what was found on held-out cases and beside the null; `tuner best` shows it."""
        text = json.dumps(found, default=vars)
        if len(text) > LONGEST:
            text = json.dumps({name: found[name] for name in NEEDED if name in found})
        if text != self._study.user_attrs.get(HELD_OUT):
            self._study.set_user_attr(HELD_OUT, text)

    def export(self, config: Config, owner: Owner, record: TrialRecord, choice: str = "") -> Path:
        """Freeze into the configured path, or into the study's folder; a copy lies there always.

        Raises
        ------
        StudyStopped
            Where it fails, or takes too long: an executor has limits, and this process has none.
        """
        folder = owner.folder
        kept = script_path(folder, owner.study)
        kept.parent.mkdir(exist_ok=True)
        path = config.engine.export.path
        if path is not None:
            kept = kept.with_name(path.name)
        provenance = _provenance(config, owner.study, record, choice)
        job = FreezeJob(record.params, kept.resolve(), provenance)
        done = run_alone(self._coordinator.executor, job, self._progress.beat)
        if done.bad_input:
            raise InputError(done.reason)
        if done.state != "complete":
            raise StudyStopped(
                f"trial {record.number} could not be frozen into a script; mend the cause and run "
                f"the same command again: {done.reason}"
            )
        (folder / "config.yaml").write_text(config.text, encoding="utf-8")
        if path is None:
            claim_script(owner, kept, record.number, kept)
            return kept

        def put(part: Path) -> None:
            shutil.copyfile(kept, part)
            claim_script(owner, path, record.number, part)

        write_script(path, put)
        return path

    def _draw(self, summary: Summary, plots: Path) -> None:
        from tuner.report import figures

        self._progress.phase("drawing the study")
        records = records_of(self._study)
        figures.study_figures(self._study, records, self._task.objective, plots, summary.best)
        if summary.final is not None:
            figures.final_rows(summary.final).to_csv(plots / "finalists.csv", index=False)

    def _held_out(
        self, done: JobDone, params: Params, what: str, baseline: bool = False
    ) -> list[CaseRecord]:
        """Return held-out cases with the time of the whole script, as far as there is one."""
        cases = done.held_out_baseline if baseline else done.held_out
        shown = replace(done, cases=cases)
        if what != "process" or not cases:
            return list(self._referee.stated(shown, params, held_out=True))
        self._progress.phase(f"timing the {'baseline' if baseline else 'script'} on held-out cases")
        looks: list[Sequence[CaseRecord]] = []
        while len(looks) < HELD_OUT_LOOKS:
            timed = self._referee.time(params, baseline, held_out=True)
            if timed is None:
                return list(self._referee.stated(shown, params, held_out=True))
            looks.append(timed.cases)
            if len(looks) * sum(case.seconds for case in timed.cases) > QUICK:
                break
        times = [combine(one) for one in zip(*looks, strict=True)]
        return [replace(t, metrics=c.metrics) for c, t in zip(cases, times, strict=True)]


def select(
    task: Task, records: Sequence[TrialRecord], best: TrialRecord, final: Final | None
) -> tuple[TrialRecord, str]:
    """Select what is frozen by `Task.select`; return it, and why where it is not the best."""
    complete = [record for record in records if record.state == "complete"]
    if task.select == "best":
        return best, ""
    if isinstance(task.select, int):
        return picked_number(records, task.select)
    if isinstance(task.select, Mapping):
        return picked_within(complete, task.select, task.objective)
    if task.select == "smoothed":
        return smoothed_best(complete, best, final, task.objective, task.space.searched)
    tried = {
        record.number: Tried(
            record.number, record.params, {case.name: case.metrics for case in record.cases}
        )
        for record in complete
    }
    chosen, reason = task.plugin.one_standard_error(tried[best.number], list(tried.values()))
    return next(r for r in complete if r.number == chosen.number), reason


def state_final(summary: Summary, objective: Objective) -> Summary:
    """State the chosen trial and the baseline by the final measurement, where there was one."""
    if summary.best is None or summary.final is None:
        return summary
    best = measured_trial(summary.best, summary.baseline, summary.final, objective)
    if best is summary.best:  # chosen by something else than time: it was not timed again
        return summary
    baseline = measured_baseline(summary.baseline, summary.final, objective)
    return replace(summary, best=best, baseline=baseline)


def script_path(folder: Path, name: str) -> Path:
    """Return where the script of study `name` lies within the study's folder."""
    return folder / "script" / f"{name}.py"


def freeze_record(
    config: Config,
    owner: Owner,
    record: TrialRecord,
    path: Path,
    choice: str,
    fingerprint: str,
) -> None:
    """Freeze a trial's setting into a script at `path`, with where it comes from.

    `fingerprint` is that of the data which the study was run on: it may have changed since.
    """
    provenance = _provenance(config, owner.study, record, choice)
    provenance = replace(provenance, fingerprint=fingerprint)

    def put(part: Path) -> None:
        config.plugin.freeze(record.params, part, provenance)
        if owner.id:
            claim_script(owner, path, record.number, part)

    write_script(path, put)


def _provenance(config: Config, name: str, record: TrialRecord, choice: str) -> Provenance:
    return Provenance(
        study=name,
        trial=record.number,
        metrics=record.metrics,
        versions=versions(),
        fingerprint=config.fingerprint,
        created=stamp(),
        choice=choice,
        cases={case.name: case.metrics for case in record.cases},
        seed=config.engine.study.seed,
        threads=config.engine.limits.threads,
    )
