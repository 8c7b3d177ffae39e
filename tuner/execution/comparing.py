"""One setting in the script, or one for each size of problem: both as whole scripts, held out.

Settings by size have more freedom to fit what they were tuned on. So they are judged where neither
was tuned: on the held-out cases, by the score, each script timed in turns with the other.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tuner.execution.jobs import CompareJob, JobDone, now
from tuner.execution.subprocesses import working_folder
from tuner.export.bundle import write_script
from tuner.measure.noise import combine
from tuner.plugin import Case, Cases, Params, Plugin, Provenance, Rule, rule_for
from tuner.records import CaseRecord, TrialRecord

Measure = Callable[[Case, Params], CaseRecord]
"""Runs a case with a setting and scores it."""

Clock = Callable[[Path, Case, Path, Params, int], CaseRecord]
"""Times a script on a case; where the plug-in gives no command, `run` with the setting."""


def compare_scripts(
    job: CompareJob, plugin: Plugin[Any], cases: Cases, measure: Measure, clock: Clock
) -> JobDone:
    """Do a `CompareJob` in the worker."""
    started = now()
    rules = [
        Rule(dict(plugin.case_features(case)), job.settings[case.name]) for case in cases.tuned
    ]
    here = Provenance("comparison")
    with working_folder() as folder:
        scripts = {name: folder / f"{name}.py" for name in ("single", "per_case", "baseline")}
        write_script(scripts["single"], lambda path: plugin.freeze(job.single, path, here))
        write_script(scripts["per_case"], lambda path: plugin.freeze_rules(rules, path, here))
        write_script(scripts["baseline"], plugin.freeze_baseline)
        compared: dict[str, list[CaseRecord]] = {name: [] for name in scripts}
        for case in cases.held_out:
            chosen = {
                "single": job.single,
                "per_case": rule_for(rules, plugin.case_features(case)).params,
                "baseline": job.baseline,
            }
            for name, record in _one_case(job, case, chosen, scripts, measure, clock).items():
                compared[name].append(record)
    ended = now()
    return JobDone(job.ticket, "complete", started, ended, rules=rules, compared=compared)


def _one_case(
    job: CompareJob,
    case: Case,
    chosen: Mapping[str, Params],
    scripts: Mapping[str, Path],
    measure: Measure,
    clock: Clock,
) -> dict[str, CaseRecord]:
    """Score each script's setting once; time the two in turns, the baseline once."""
    order = random.Random(job.seed)
    looks: dict[str, list[CaseRecord]] = {name: [] for name in scripts}
    for turn in range(job.rounds):
        names = ["single", "per_case"] + (["baseline"] if turn == 0 else [])
        for name in order.sample(names, len(names)):
            script = scripts[name]
            looks[name].append(clock(script, case, script.parent, chosen[name], job.seed))
    metrics: list[tuple[Params, Mapping[str, float]]] = []
    found = {}
    for name, params in chosen.items():
        known = next((m for p, m in metrics if p == params), None)
        if known is None:
            known = measure(case, params).metrics
            metrics.append((params, known))
        found[name] = replace(combine(looks[name]), metrics=known)
    return found


def own_settings(records: Sequence[TrialRecord], names: Sequence[str]) -> dict[str, Params]:
    """Return for each case the setting of the trial that had the best score in it."""
    best: dict[str, tuple[float, Params]] = {}
    for record in records:
        for case in record.cases if record.state == "complete" else ():
            score = case.metrics.get("score", 0.0)
            if case.name not in best or score > best[case.name][0]:
                best[case.name] = score, record.params
    return {name: best[name][1] for name in names}
