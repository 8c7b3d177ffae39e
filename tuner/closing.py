"""What follows the trials: time the best again, present, freeze."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import optuna

from tuner.config import Config
from tuner.executors.base import Executor, PresentJob, run_alone
from tuner.fixedcost import FixedCosts
from tuner.freeze import stamp, write_script
from tuner.neighbours import smoothed
from tuner.objective import Objective, Reference
from tuner.percase import compare_settings
from tuner.plugin import Provenance, Tried
from tuner.provenance import versions
from tuner.recording import records_of
from tuner.records import CaseRecord, Final, PerCase, Summary, TrialRecord
from tuner.remeasure import Referee, decider, final_word, kept_final
from tuner.report import final_rows, null_rows, study_figures
from tuner.results import plain_case
from tuner.study import Coordinator

HELD_OUT = "tuner:held_out"


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
    beat: Callable[[], None],
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
            beat,
            coordinator.should_stop,
            lambda detail: progress.phase("timing the finalists, beside the baseline", detail),
        )
        final = final_word(referee, records, objective, study)
    if final is None:
        return summary
    best = next(r for r in records if r.number == final.finalists[0].number)
    return replace(summary, best=best, final=final)


def try_sizes(
    config: Config,
    study: optuna.Study,
    executor: Executor,
    summary: Summary,
    objective: Objective,
    progress: Progress,
    beat: Callable[[], None],
) -> Summary:
    """Compare one setting with one for each size of problem, where that is asked for."""
    if not config.engine.timing.per_case or summary.best is None:
        return summary
    progress.phase("one setting against one for each size, as whole scripts on held-out cases")
    records = records_of(study)
    found, note = compare_settings(config, study, executor, summary.best, records, objective, beat)
    return replace(summary, per_case=found, notes=[*summary.notes, note])


def choose(
    config: Config, records: Sequence[TrialRecord], best: TrialRecord, final: Final | None
) -> tuple[TrialRecord, str]:
    """Choose what is frozen; give it, and why where it is not the best.

    First by what neighbours say, where that is asked for; then as the plug-in has it.
    """
    complete = [record for record in records if record.state == "complete"]
    reasons = []
    if config.engine.export.choice == "neighbours":
        best, reason = _by_neighbours(config, complete, best, final)
        reasons.append(reason)
    tried = {
        record.number: Tried(
            record.number, record.params, {case.name: case.metrics for case in record.cases}
        )
        for record in complete
    }
    chosen, reason = config.plugin.choose(tried[best.number], list(tried.values()))
    reasons.append(reason)
    return next(r for r in complete if r.number == chosen.number), "; ".join(filter(None, reasons))


def _by_neighbours(
    config: Config, complete: Sequence[TrialRecord], best: TrialRecord, final: Final | None
) -> tuple[TrialRecord, str]:
    name, sign = decider(complete, config.objective)
    worth = smoothed(complete, config.space.searched, name, sign)
    if best.number not in worth:
        return best, ""
    if final is not None:  # those that were timed again, by what that has shown
        searched = {record.number: sign * record.metrics[name] for record in complete}
        worth = {
            row.number: worth[row.number] * max(row.score / searched[row.number], 0.0)
            for row in final.finalists
            if row.number in worth and searched[row.number] > 0 < worth[row.number]
        } or {best.number: 0.0}
    number = max(worth, key=worth.__getitem__)
    if number == best.number:
        return best, ""
    reason = f"its neighbours speak for it: {name} {sign * worth[number]:.3g} by settings like it"
    if best.number in worth:
        reason += f", {sign * worth[best.number]:.3g} by those like trial {best.number}"
    return next(record for record in complete if record.number == number), reason


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
    kept = json.loads(study.user_attrs.get(HELD_OUT, "{}"))
    known = kept.get("trial") == summary.best.number
    plots = folder / "plots"
    shutil.rmtree(plots, ignore_errors=True)
    progress.phase("drawing the study")
    study_figures(study, records_of(study), objective, plots, summary.best)
    if summary.final is not None:
        final_rows(summary.final).to_csv(plots / "finalists.csv", index=False)
    own = config.plugin.baseline()
    job = PresentJob(
        ticket=-1,
        params=summary.best.params,
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
    for params in filter(None, (own, summary.best.params)):
        costs.ensure(params, executor, progress.beat)
    if known:
        beside = [CaseRecord(**case) for case in kept["baseline"]]
    else:
        beside = [costs.charge(case, own or {}) for case in done.held_out_baseline]
        plain = {"trial": summary.best.number, "baseline": [plain_case(case) for case in beside]}
        study.set_user_attr(HELD_OUT, json.dumps(plain))
    reference = Reference.of(beside, objective.primary) if beside else None
    charged = [costs.charge(case, summary.best.params) for case in done.held_out]
    held_out = [objective.annotate(case, reference) for case in charged]
    return replace(
        summary,
        artifacts=folder,
        held_out=held_out,
        held_out_baseline=beside,
        nulls=done.nulls,
    )


def export_best(
    config: Config,
    name: str,
    record: TrialRecord,
    folder: Path,
    choice: str = "",
    sizes: PerCase | None = None,
) -> Path:
    """Freeze into the configured path, or into the study's folder; a copy lies there always."""
    kept = script_path(folder, name)
    kept.parent.mkdir(exist_ok=True)
    path = config.engine.export.path
    if path is not None:
        kept = kept.with_name(path.name)
    freeze_record(config, name, record, kept, choice, sizes)
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
    sizes: PerCase | None = None,
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
    if sizes is not None and sizes.chosen:
        write_script(path, lambda part: plugin.freeze_rules(sizes.rules, part, provenance))
    else:
        write_script(path, lambda part: plugin.freeze(params, part, provenance))
