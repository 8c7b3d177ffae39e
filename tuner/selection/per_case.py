"""Whether the script gets one setting, or one for each size: decided, kept and read back."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict

import optuna

from tuner.config.load import Config
from tuner.execution.comparing import own_settings
from tuner.execution.jobs import CompareJob, Executor, run_alone
from tuner.objective import Objective, Reference
from tuner.plugin import Rule
from tuner.records import PerCase, TrialRecord

PER_CASE = "tuner:per_case"
TICKET = -4


def kept_per_case(
    study: optuna.Study, best: TrialRecord, records: Sequence[TrialRecord]
) -> PerCase | None:
    """Read what was decided, if it was on this trial and these trials."""
    text = study.user_attrs.get(PER_CASE)
    if text is None:
        return None
    plain = json.loads(text)
    found = PerCase(rules=[Rule(**rule) for rule in plain.pop("rules")], **plain)
    complete = sum(record.state == "complete" for record in records)
    return found if (found.trial, found.trials) == (best.number, complete) else None


def compare_settings(
    config: Config,
    study: optuna.Study,
    executor: Executor,
    best: TrialRecord,
    records: Sequence[TrialRecord],
    objective: Objective,
    beat: Callable[[], None],
) -> tuple[PerCase | None, str]:
    """Compare on the held-out cases; keep and give the outcome, and a line about it."""
    if (kept := kept_per_case(study, best, records)) is not None:
        return kept, sentence(kept)
    settings = own_settings(records, [case.name for case in best.cases])
    if len({json.dumps(dict(params), sort_keys=True) for params in settings.values()}) < 2:
        return None, "timing.per_case: every case has the same best setting; the script has one"
    baseline = config.plugin.baseline() or config.plugin.defaults()
    seed = config.engine.study.seed
    done = run_alone(executor, CompareJob(TICKET, best.params, settings, baseline, seed), beat)
    if done.state != "complete":
        return None, f"timing.per_case: the scripts could not be compared: {done.reason}"
    if not done.compared["baseline"]:
        return None, "timing.per_case: there are no held-out cases to decide on; add data.held_out"
    reference = Reference.of(done.compared["baseline"], objective.primary)
    scores = {
        name: {
            case.name: objective.annotate(case, reference).metrics["score"]
            for case in done.compared[name]
        }
        for name in ("single", "per_case")
    }
    found = PerCase(
        done.rules,
        scores["single"],
        scores["per_case"],
        sum(scores["per_case"].values()) > sum(scores["single"].values()),
        best.number,
        sum(record.state == "complete" for record in records),
    )
    study.set_user_attr(PER_CASE, json.dumps(asdict(found)))
    return found, sentence(found)


def sentence(found: PerCase) -> str:
    """Describe in a line what came out."""
    single, by_size = (
        sum(scores.values()) / len(scores) for scores in (found.single, found.by_size)
    )
    verdict = f"a setting for each of {len(found.rules)} sizes" if found.chosen else "one setting"
    return (
        f"held out, one setting scores {single:.4g} and one for each size {by_size:.4g}: "
        f"the script has {verdict} (held-out scores are optimistic by that choice)"
    )
