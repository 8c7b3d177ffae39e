"""What follows the trials: time the best again, present, freeze."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import optuna

from tuner.config.load import Config
from tuner.execution.jobs import Executor, PresentJob, TimeJob, run_alone
from tuner.export.bundle import stamp, write_script
from tuner.export.provenance import versions
from tuner.measure.noise import combine
from tuner.objective import Objective, Reference
from tuner.plugin import Params, Provenance, Tried
from tuner.records import CaseRecord, Final, Summary, TrialRecord
from tuner.report.figures import final_rows, null_rows, study_figures
from tuner.search.loop import Coordinator
from tuner.search.record_json import records_of
from tuner.search.startup_cost import FixedCosts
from tuner.selection.finalists import Referee, final_word, kept_final
from tuner.selection.measured import measured_baseline, measured_trial
from tuner.selection.results import plain_case
from tuner.selection.smoothing import smoothed_best

HELD_OUT = "tuner:held_out"
HELD_OUT_LOOKS = 7
QUICK = 5.0
"""How often a script is timed on the held-out cases, and after how many seconds no more."""


class Progress(Protocol):
    """Shows what goes on after the trials."""

    def beat(self) -> None:
        """Be called at least twice a second."""

    def phase(self, name: str, detail: str = "") -> None:
        """Show what begins, and how far it is."""


def decide(
    config: Config,
    study: optuna.Study,
    executor: Executor,
    coordinator: Coordinator,
    summary: Summary,
    objective: Objective,
    progress: Progress,
) -> Summary:
    """Time the best settings again, and choose among them by that."""
    records = records_of(study)
    final = kept_final(study, records)
    if final is None:
        referee = Referee(
            config,
            executor,
            coordinator.costs,
            coordinator.drift,
            progress.beat,
            coordinator.should_stop,
            lambda detail: progress.phase("timing the finalists, beside the baseline", detail),
        )
        final = final_word(referee, records, objective, study)
    if final is None:
        return summary
    best = next(r for r in records if r.number == final.finalists[0].number)
    return replace(summary, best=best, final=final)


def select(
    config: Config, records: Sequence[TrialRecord], best: TrialRecord, final: Final | None
) -> tuple[TrialRecord, str]:
    """Choose what is frozen; return it, and why where it is not the best.

    By `export.select`.
    """
    rule = config.engine.export.select
    complete = [record for record in records if record.state == "complete"]
    if rule == "best":
        return best, ""
    if rule == "smoothed":
        return smoothed_best(complete, best, final, config.objective, config.space.searched)
    tried = {
        record.number: Tried(
            record.number, record.params, {case.name: case.metrics for case in record.cases}
        )
        for record in complete
    }
    chosen, reason = config.plugin.one_standard_error(tried[best.number], list(tried.values()))
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


def present(
    config: Config,
    study: optuna.Study,
    executor: Executor,
    summary: Summary,
    objective: Objective,
    costs: FixedCosts,
    folder: Path,
    progress: Progress,
) -> Summary:
    """Draw the study and the best setting; score it on the held-out cases, once."""
    assert summary.best is not None
    scripts = summary.final is not None and summary.final.what == "process"
    what = "process" if scripts and summary.best.estimate else "run"  # as the tuned cases are
    kept = json.loads(study.user_attrs.get(HELD_OUT, "{}"))
    known = (kept.get("trial"), kept.get("what", "run")) == (summary.best.number, what)
    plots = folder / "plots"
    shutil.rmtree(plots, ignore_errors=True)
    progress.phase("drawing the study")
    study_figures(study, records_of(study), objective, plots, summary.best)
    if summary.final is not None:
        final_rows(summary.final).to_csv(plots / "finalists.csv", index=False)
    own, params = config.plugin.baseline(), summary.best.params
    job = PresentJob(
        ticket=-1,
        params=params,
        seed=config.engine.study.seed,
        folder=plots,
        baseline=None if known else own,
        nulls=config.engine.timing.nulls,
    )
    done = run_alone(executor, job, progress.beat, progress.phase)
    if done.nulls:
        null_rows(done.nulls).to_csv(plots / "nulls.csv", index=False)
    if done.state != "complete":
        note = f"the best setting could not be presented: {done.reason}"
        return replace(summary, artifacts=folder, notes=[*summary.notes, note])
    for each in filter(None, (own, params)):
        costs.ensure(each, executor, progress.beat)
    charged = [costs.charge(case, params) for case in done.held_out]
    beside = [costs.charge(case, own or {}) for case in done.held_out_baseline]
    if what == "process" and charged:
        progress.phase("timing the script on held-out cases")
        charged = _timed_as_scripts(config, executor, charged, params, False, progress)
        if beside:
            progress.phase("timing the baseline on held-out cases")
            beside = _timed_as_scripts(config, executor, beside, own or {}, True, progress)
    if known:
        beside = [CaseRecord(**case) for case in kept["baseline"]]
    else:
        cases = [plain_case(case) for case in beside]
        plain = {"trial": summary.best.number, "what": what, "baseline": cases}
        study.set_user_attr(HELD_OUT, json.dumps(plain))
    reference = Reference.of(beside, objective.primary) if beside else None
    held_out = [objective.annotate(case, reference) for case in charged]
    return replace(
        summary,
        artifacts=folder,
        held_out=held_out,
        held_out_baseline=beside,
        nulls=done.nulls,
    )


def _timed_as_scripts(
    config: Config,
    executor: Executor,
    cases: list[CaseRecord],
    params: Params,
    baseline: bool,
    progress: Progress,
) -> list[CaseRecord]:
    """Return held-out cases with the time of the whole script; as they are where it fails."""
    job = TimeJob(-5, params, config.engine.study.seed, baseline, held_out=True)
    looks: list[Sequence[CaseRecord]] = []
    while len(looks) < HELD_OUT_LOOKS:
        done = run_alone(executor, job, progress.beat)
        if done.state != "complete":
            return cases
        looks.append(done.cases)
        if len(looks) * sum(case.seconds for case in done.cases) > QUICK:
            break
    times = [combine(one) for one in zip(*looks, strict=True)]
    return [replace(t, metrics=c.metrics) for c, t in zip(cases, times, strict=True)]


def export_best(
    config: Config,
    name: str,
    record: TrialRecord,
    folder: Path,
    choice: str = "",
) -> Path:
    """Freeze into the configured path, or into the study's folder; a copy lies there always."""
    kept = script_path(folder, name)
    kept.parent.mkdir(exist_ok=True)
    path = config.engine.export.path
    if path is not None:
        kept = kept.with_name(path.name)
    freeze_record(config, name, record, kept, choice)
    (folder / "config.yaml").write_text(config.text, encoding="utf-8")
    if path is not None:
        text = kept.read_bytes()
        write_script(path, lambda part: _copy(text, part))
    return path or kept


def _copy(text: bytes, path: Path) -> None:
    path.write_bytes(text)


def script_path(folder: Path, name: str) -> Path:
    """Return where the script of study `name` lies within the study's folder."""
    return folder / "script" / f"{name}.py"


def freeze_record(
    config: Config,
    name: str,
    record: TrialRecord,
    path: Path,
    choice: str = "",
) -> None:
    """Freeze a trial's setting into a script at `path`, with where it comes from."""
    provenance = Provenance(
        study=name,
        trial=record.number,
        metrics=record.metrics,
        versions=versions(),
        fingerprint=config.fingerprint,
        created=stamp(),
        choice=choice,
    )
    plugin, params = config.plugin, record.params
    write_script(path, lambda part: plugin.freeze(params, part, provenance))
