"""How far a study is: read from its storage alone, by any process, while it runs and after."""

from __future__ import annotations

import shlex
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from tuner.config.load import Config
from tuner.records import TrialRecord, baseline_of
from tuner.report.console import SURE, show_duration, standing
from tuner.run.next_steps import tuner_command
from tuner.search.channel import channel_of
from tuner.search.fenced_storage import LEASE, STOP
from tuner.search.lease import SEARCHED, has_ended, is_held
from tuner.search.record_json import BASELINE, ROLE, records_of
from tuner.search.storage import enqueued_in, read_study
from tuner.selection.finalists import kept_final
from tuner.selection.measured import measured_baseline, measured_trial
from tuner.selection.results import plain_record

MEANINGS = {
    "running": "is running",
    "stopping": "ends after its running trials, as it was asked to",
    "lost": "was left by a process that ended without a word",
    "new": "has not been run yet",
    "complete": "has run to its end",
    "timeout": "has run for study.timeout",
    "exhausted": "has tried all that its search space and pruner leave",
    "interrupted": "was stopped",
    "failed": "ended with an error",
}
"""States, and what each is called in a sentence."""

FINISHED = ("complete", "timeout", "exhausted")

COORDINATOR = ("host", "pid", "taken", "renewed")
RECENT = 20
"""Trials by whose pace the time that is left is estimated."""


@dataclass(frozen=True)
class Status:
    """A study as it stands.

    Attributes
    ----------
    study : str
        Its name in the storage.
    state : str
        A key of `MEANINGS`.
    coordinator : mapping
        Who runs it, ran it last and was lost, or is asked to stop: ``host``, ``pid``, ``taken`` and
        ``renewed`` (seconds since 1970); empty otherwise.
    partners : sequence of mapping
        Who lends it slots: ``host``, ``pid``, ``slots`` and ``running``, the numbers of its trials.
    phase : str
        What a coordinator does now; empty where none does.
    wanted : int
        Completed trials that it runs to.
    counts : mapping
        Trials by state: of `tuner.records.State`, ``running`` and ``enqueued``.
    running : sequence of (number, params, seconds)
        Trials under way, and for how long; the baseline has no params.
    best, baseline : TrialRecord or None
        The best complete trial so far and the baseline; by the final timing where there was one.
    seconds_left : float or None
        Of the search, at the pace of the last trials and within its timeout; None where unknown.
    """

    study: str
    state: str
    coordinator: Mapping[str, Any]
    phase: str
    wanted: int
    counts: Mapping[str, int]
    running: Sequence[tuple[int, Mapping[str, Any], float]]
    best: TrialRecord | None
    baseline: TrialRecord | None
    seconds_left: float | None
    partners: Sequence[Mapping[str, Any]] = ()

    def plain(self) -> dict[str, Any]:
        """Return the status as data fit for JSON."""
        names = ("number", "params", "seconds")
        return {
            **vars(self),
            "running": [dict(zip(names, trial, strict=True)) for trial in self.running],
            "best": plain_record(self.best),
            "baseline": plain_record(self.baseline),
        }


def status_of(config: Config) -> Status:
    """Read how far the study of `config` is; `InputError` where there is none.

    Nothing is written, and a coordinator notices nothing of it.
    """
    study = read_study(config)
    records, now = records_of(study), time.time()
    lease = {"timeout": None, **(study.user_attrs.get(LEASE) or {})}
    lease.setdefault("taken", lease.get("renewed"))  # an earlier version's
    complete = [record for record in records if record.state == "complete"]
    running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    wanted = lease.get("trials", config.engine.study.trials)
    ran = "complete" if len(complete) >= wanted else "interrupted" if records else "new"
    state = _state(lease, study.user_attrs.get(STOP), ran)
    is_led = state in ("running", "stopping")
    baseline = baseline_of(records)
    final = kept_final(study, records)
    best = config.objective.best(records)
    stated = baseline
    if final is not None:  # by whole scripts, beside the baseline: the search estimated
        best = measured_trial(final.first_of(records), baseline, final, config.objective)
        stated = measured_baseline(baseline, final, config.objective)
    phase = ""
    if is_led:
        is_begun = baseline is not None or config.task.baseline is None
        phase = "searching" if is_begun else "measuring the baseline"
        phase = "timing the finalists, drawing, freezing" if SEARCHED in lease else phase
    return Status(
        study=study.study_name,
        state=state,
        coordinator={name: lease[name] for name in COORDINATOR if "token" in lease},
        phase=phase,
        wanted=wanted,
        counts={
            **Counter(record.state for record in records),
            "running": len(running),
            "enqueued": enqueued_in(study),
        },
        running=[_under_way(trial, now, lease["taken"] if is_led else 0.0) for trial in running],
        best=best,
        baseline=stated,
        seconds_left=_left(complete, wanted, lease, now) if phase == "searching" else None,
        partners=_partners(study, lease["token"]) if is_led else (),
    )


def _partners(study: optuna.Study, leader: str) -> list[Mapping[str, Any]]:
    channel = channel_of(study._storage, study._study_id)
    return [
        {
            "host": each.process["host"],
            "pid": each.process["pid"],
            "slots": each.slots,
            "running": [ticket for ticket in each.running if ticket >= 0],
        }
        for each in (channel.partners(leader) if channel is not None else ())
        if not has_ended(each.process)
    ]


def _state(lease: Mapping[str, Any], asked: str | None, ran: str) -> str:
    """Return a study's state; `ran` is what it is called where no run has said how it ended."""
    if is_held(lease):
        return "stopping" if asked == lease["token"] else "running"
    return "lost" if "token" in lease else lease.get("ending", ran)


def _under_way(
    trial: FrozenTrial, now: float, begun: float
) -> tuple[int, Mapping[str, Any], float]:
    """Return a trial that runs; one that an earlier run drew runs again since this one began."""
    is_baseline = trial.user_attrs.get(ROLE) == BASELINE
    since = now - max(trial.datetime_start.timestamp(), begun) if trial.datetime_start else 0.0
    return trial.number, {} if is_baseline else dict(trial.params), since


def _left(
    complete: Sequence[TrialRecord], wanted: int, lease: Mapping[str, Any], now: float
) -> float | None:
    """Return the seconds that are left at the pace of the last trials, and within the timeout."""
    begun, bounds = lease["taken"], []
    ends = sorted(r.finished.timestamp() for r in complete if r.started.timestamp() >= begun)
    if len(ends) >= SURE:
        ends = ends[-RECENT:]
        each = (now - ends[0]) / (len(ends) - 1)
        bounds.append(each * max(0, wanted - len(complete)))
    if lease["timeout"] is not None:
        bounds.append(max(0.0, begun + lease["timeout"] - now))
    return min(bounds, default=None)


def lines_of(status: Status, config: Config) -> Iterator[str]:
    """Yield a status as lines of text."""
    by, who = status.coordinator, ""
    if by:
        took = show_duration(time.time() - by["taken"])
        who = f": process {by['pid']} on {by['host']}, begun {took} ago"
    yield f"study '{status.study}' {MEANINGS[status.state]}{who}"
    for each in status.partners:
        numbers = ", ".join(map(str, each["running"])) or "none now"
        at_once = f"{each['slots']} at a time" if each["slots"] else "leaves"
        yield f"  partner: process {each['pid']} on {each['host']}, {at_once}; trials: {numbers}"
    done = f"{status.counts.get('complete', 0)} of {status.wanted} complete"
    others = [f"{n} {state}" for state, n in status.counts.items() if n and state != "complete"]
    yield f"trials: {', '.join([done, *others])}"
    for number, params, seconds in status.running:
        what = ", ".join(f"{name} {value}" for name, value in params.items()) or "the baseline"
        how = f"for {show_duration(seconds)}" if status.phase else "to be run again"
        yield f"  trial {number}, {how}: {what}"
    if status.best is not None:
        what = "best" if status.state in FINISHED else "best so far"
        yield f"{what}: trial {status.best.number}, {standing(status.best, config.objective)}"
    if status.baseline is not None and not (status.best and status.best.is_baseline):
        yield f"baseline: {standing(status.baseline, config.objective)}"
    if status.phase:
        left = status.seconds_left
        estimate = f"; about {show_duration(left)} of search left" if left is not None else ""
        yield f"now: {status.phase}{estimate}"
    elif status.state not in ("complete", "exhausted"):
        yield f"to go on: {tuner_command()} run {shlex.quote(str(config.document.path))}"
